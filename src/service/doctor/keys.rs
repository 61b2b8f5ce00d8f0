//! The master key and the signing keys, opened as a server would open them.

use std::time::Duration;

use super::{Check, Finding, Report};
use crate::app::key_life;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::jose::{Alg, Event, KeyState};
use crate::service::keys::{self, KeyError};
use crate::service::master_key::{self, MasterKeyError};
use crate::storage::{Db, StoreError, keys as store};

/// How late a step in a key's life may be: servers take it within seconds.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// Opens them.
pub async fn examine(db: &Db, config: &Config, now: Timestamp) -> Report {
    let mut report = Report::default();
    match look(db, config, now).await {
        Ok(findings) => findings.into_iter().for_each(|finding| report.found(finding)),
        Err(error) => {
            let checks = [Check::MasterKeyWrong, Check::MasterKeyOld, Check::KeysOfNewerVersion, Check::SigningKeyOverdue];
            report.not_examined(&checks, &error.to_string());
        }
    }
    report
}

async fn look(db: &Db, config: &Config, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let wrong = |what: String| vec![Finding::error(Check::MasterKeyWrong, what)];
    let master = match master_key::load(config, store::exist(db).await?) {
        Ok(Some(master)) => master,
        // A first start makes it.
        Ok(None) => return Ok(Vec::new()),
        Err(error @ MasterKeyError::File { .. }) => {
            let finding = Finding::error(Check::MasterKeyWrong, error.to_string());
            return Ok(vec![finding]);
        }
        Err(error) => return Ok(wrong(error.to_string())),
    };
    let inspected = match keys::inspect(db, &master, &key_life(config), now, now.minus(GRACE)).await {
        Ok(Some(inspected)) => inspected,
        Ok(None) => return Ok(Vec::new()),
        Err(KeyError::Store(error)) => return Err(error),
        Err(error) => return Ok(wrong(error.to_string())),
    };
    let mut findings = Vec::new();
    if inspected.under_older > 0 {
        let what = format!("{} keys are still sealed under the older of the two master keys", inspected.under_older);
        findings.push(Finding::warning(Check::MasterKeyOld, what));
    }
    findings.extend(inspected.unknown.iter().map(|key| Finding::warning(Check::KeysOfNewerVersion, format!("there is a {key}"))));
    findings.extend(inspected.due.iter().map(|(alg, event)| overdue(*alg, event)));
    Ok(findings)
}

fn overdue(alg: Alg, event: &Event) -> Finding {
    let what = match event {
        Event::Insert(_, state) => format!("there is no {state} {alg} key"),
        Event::Become { kid, state: KeyState::Active } => format!("the next {alg} key {kid} should be signing by now"),
        Event::Become { kid, state: KeyState::Retiring } => format!("the {alg} key {kid} has been signing for too long"),
        Event::Become { kid, state } => format!("the {alg} key {kid} should be {state} by now"),
        Event::Forget { kid } => format!("the {alg} key {kid} should be gone by now"),
    };
    match event {
        Event::Insert(..) | Event::Become { state: KeyState::Active | KeyState::Retiring, .. } => {
            Finding::error(Check::SigningKeyOverdue, what)
        }
        Event::Become { .. } | Event::Forget { .. } => Finding::warning(Check::SigningKeyOverdue, what),
    }
    .about(alg.as_str())
}
