//! What is registered and noted in the database: administrators, clients with their redirects, secrets and sign-outs, proxies.

use std::collections::HashMap;
use std::time::Duration;

use super::database::asked;
use super::{Check, Finding, Report, day};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::oauth::client::Client;
use crate::oauth::redirect_uri::doubts;
use crate::service::forwarded;
use crate::storage::{Db, StoreError, clients, doctor as store, logouts, secret_uses};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a secret may wait for its first use before it is more than a note.
const FIRST_USE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How old a secret may become.
const OLDEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a proxy that was seen counts.
const LATELY: Duration = DAY;
/// How long a logout token may be on its way: a few attempts.
const DELIVERY: Duration = Duration::from_secs(10 * 60);
/// Clients read at once.
const PAGE: u32 = 200;

/// Reads it all.
pub async fn examine(db: &Db, config: &Config, now: Timestamp) -> Report {
    let mut report = Report::default();
    asked(&mut report, &[Check::NoAdministrator], administrators(db).await);
    asked(&mut report, &[Check::ProxyUntrusted], proxies(db, config, now).await);
    let checks = [Check::RedirectSuspicious, Check::ClientSecretUnused, Check::ClientSecretOld];
    asked(&mut report, &checks, registered(db, config, now).await);
    asked(&mut report, &[Check::LogoutUndelivered], undelivered(db, now).await);
    report
}

async fn administrators(db: &Db) -> Result<Vec<Finding>, StoreError> {
    let none = store::administrators(db).await? == 0;
    Ok(none.then(|| Finding::warning(Check::NoAdministrator, "nobody who may sign in is an administrator")).into_iter().collect())
}

async fn proxies(db: &Db, config: &Config, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let trusted = |seen: &forwarded::Seen| config.proxies.trusted.iter().any(|network| network.contains(&seen.peer));
    let lately = forwarded::seen(db).await?.into_iter().filter(|seen| now.since(seen.at) < LATELY && !trusted(seen));
    let finding = |seen: forwarded::Seen| {
        let what = format!("{} sent a forwarded header at {} and is not a trusted proxy", seen.peer, seen.at.rfc3339());
        let mend =
            format!("If it is your proxy, put it into [proxies] trusted: trusted = [\"{}\"]. If not, nothing is wrong.", seen.peer);
        let public = crate::service::address::is_public(seen.peer);
        let finding =
            if public { Finding::note(Check::ProxyUntrusted, what) } else { Finding::warning(Check::ProxyUntrusted, what) };
        finding.about(seen.peer.to_string()).mended_by(mend)
    };
    Ok(lately.map(finding).collect())
}

async fn undelivered(db: &Db, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for (client_id, _) in logouts::waiting(db).await? {
        let Some(old) = logouts::old(db, &client_id, now.minus(DELIVERY)).await? else { continue };
        let (number, since, attempts) = (old.number, old.since.rfc3339(), old.attempts);
        let what =
            format!("it has not been told of {number} sessions that ended, the first at {since}, after up to {attempts} attempts");
        findings.push(Finding::warning(Check::LogoutUndelivered, what).about(client_id));
    }
    Ok(findings)
}

async fn registered(db: &Db, config: &Config, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let counted_since = store::migrated_at(db, secret_uses::SINCE).await?;
    let mut findings = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = clients::list(db, PAGE, after.as_deref()).await?;
        for client in page.iter().filter(|client| client.enabled) {
            findings.extend(redirects(client, config));
            // What registered itself and is never used goes by itself.
            let goes = client.registered.as_ref().is_some_and(|registered| registered.unused_until.is_some());
            if !goes && client.secrets.iter().any(|secret| secret.is_live(now)) {
                let uses = secret_uses::of_client(db, &client.client_id).await?.into_iter().collect();
                findings.extend(secrets(client, &uses, counted_since, now));
            }
        }
        match page.last() {
            Some(last) => after = Some(last.client_id.clone()),
            None => return Ok(findings),
        }
    }
}

fn redirects(client: &Client, config: &Config) -> Vec<Finding> {
    let each = client.metadata.redirect_uris.iter().flat_map(|uri| {
        let found = doubts(uri, client.is_native(), config.issuer.is_loopback());
        found.into_iter().map(move |doubt| (uri, doubt))
    });
    let finding = |(uri, doubt)| {
        Finding::warning(Check::RedirectSuspicious, format!("{uri}: {doubt}")).about(client.client_id.clone()).mended_by(format!(
            "If nobody needs it, take it out of redirect_uris: chancery client update {} --file PATCH",
            client.client_id
        ))
    };
    each.map(finding).collect()
}

fn secrets(
    client: &Client,
    uses: &HashMap<uuid::Uuid, Timestamp>,
    counted_since: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for secret in client.secrets.iter().filter(|secret| secret.is_live(now)) {
        let made = day(secret.created_at);
        if !uses.contains_key(&secret.id) {
            // Uses were not noted before the table was there.
            let since = secret.created_at.max(counted_since.unwrap_or(secret.created_at));
            let what = match counted_since {
                Some(begun) if begun > secret.created_at => {
                    format!("its secret of {made} was not used since {}, when uses began to be noted", day(begun))
                }
                Some(_) | None => format!("its secret of {made} was never used"),
            };
            let check = Check::ClientSecretUnused;
            let finding = if now.since(since) < FIRST_USE { Finding::note(check, what) } else { Finding::warning(check, what) };
            findings.push(finding.about(client.client_id.clone()).mended_by(format!(
                "If nobody waits for it: chancery client remove {0}, or chancery client rotate-secret {0}",
                client.client_id
            )));
        }
        if now.since(secret.created_at) > OLDEST && secret.expires_at.is_none() {
            let finding = Finding::warning(Check::ClientSecretOld, format!("its secret is of {made}, over a year old"));
            let mend = format!("chancery client rotate-secret {}; the old one lives on for a day", client.client_id);
            findings.push(finding.about(client.client_id.clone()).mended_by(mend));
        }
    }
    findings
}
