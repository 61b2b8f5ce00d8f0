//! The database: can it be opened, may its user do what the server does, does the pool fit, is the schema ours, does it agree about the
//! time. Then what is in it.

use std::path::Path;
use std::time::Duration;

use super::{Check, Finding, Report, day, keys, name, registrations, secrets};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::service::audit::DATABASE_WENT_BACK;
use crate::storage::doctor::{self as store, Right};
use crate::storage::{Db, Kind, StoreError, audit, clock_offset, migrate, reach};

/// What is examined here.
pub const CHECKS: &[Check] = &[
    Check::DatabaseUnreachable,
    Check::DatabaseRights,
    Check::DatabasePool,
    Check::SchemaBehind,
    Check::SchemaAhead,
    Check::ClockOff,
    Check::DatabaseWentBack,
    Check::ProxyUntrusted,
    Check::MasterKeyWrong,
    Check::MasterKeyOld,
    Check::KeysOfNewerVersion,
    Check::SigningKeyOverdue,
    Check::NoAdministrator,
    Check::RedirectSuspicious,
    Check::ClientSecretUnused,
    Check::ClientSecretOld,
    Check::LogoutUndelivered,
];

/// What needs the schema as this program knows it.
const CONTENT: &[Check] = &[
    Check::ClockOff,
    Check::DatabaseWentBack,
    Check::ProxyUntrusted,
    Check::MasterKeyWrong,
    Check::MasterKeyOld,
    Check::KeysOfNewerVersion,
    Check::SigningKeyOverdue,
    Check::NoAdministrator,
    Check::RedirectSuspicious,
    Check::ClientSecretUnused,
    Check::ClientSecretOld,
    Check::LogoutUndelivered,
];

/// How long a report of a database that went back is repeated.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Opens it for looking, and asks one thing after the other.
pub async fn examine(config: &Config, now: Timestamp) -> Report {
    let mut report = Report::default();
    if config.database.is_sqlite() {
        rights_to_file(&secrets::sqlite_file(config), &mut report);
    }
    let db = match Db::look(&config.database).await {
        Ok(db) => db,
        Err(error) => {
            let text = error.to_string();
            // SQLSTATE 53300: too many connections.
            let check = if text.contains("53300") { Check::DatabasePool } else { Check::DatabaseUnreachable };
            report.found(Finding::error(check, text));
            report.not_examined(CHECKS, "the database cannot be opened");
            return report;
        }
    };
    asked(&mut report, &[Check::DatabaseRights], rights(&db).await);
    asked(&mut report, &[Check::DatabasePool], pool(&db, config).await);
    if schema(&db, &mut report).await {
        asked(&mut report, &[Check::ClockOff], clock(&db, now).await);
        asked(&mut report, &[Check::DatabaseWentBack], went_back(&db, now).await);
        report.join(keys::examine(&db, config, now).await);
        report.join(registrations::examine(&db, config, now).await);
    } else {
        report.not_examined(CONTENT, "the schema is not the one that this program knows");
    }
    db.close().await;
    report
}

/// Takes in what a question found, or that the database did not answer it.
pub fn asked(report: &mut Report, checks: &[Check], answer: Result<Vec<Finding>, StoreError>) {
    match answer {
        Ok(findings) => findings.into_iter().for_each(|finding| report.found(finding)),
        Err(error) => report.not_examined(checks, &error.to_string()),
    }
}

/// SQLite: the file and its folder, where the log is kept, must be writable.
fn rights_to_file(file: &Path, report: &mut Report) {
    for hindrance in [reach::to_files(file), reach::to_folder(file)].into_iter().flatten() {
        let finding = Finding::error(Check::DatabaseRights, hindrance.what);
        report.found(finding.about(hindrance.path.display().to_string()).mended_by(hindrance.mend));
    }
}

async fn rights(db: &Db) -> Result<Vec<Finding>, StoreError> {
    if db.kind() == Kind::Sqlite {
        return Ok(Vec::new());
    }
    let Some(user) = store::usable_schema(db).await? else {
        let what = "the database user may use no schema of its search path";
        let mend = "GRANT USAGE ON SCHEMA public TO the server's user, or set its search_path";
        return Ok(vec![Finding::error(Check::DatabaseRights, what).mended_by(mend)]);
    };
    let lacking = store::lacking_rights(db).await?;
    let mut tables: Vec<(String, Vec<&'static str>)> = Vec::new();
    for Right { table, right } in lacking {
        match tables.last_mut().filter(|(last, _)| *last == table) {
            Some((_, rights)) => rights.push(right),
            None => tables.push((table, vec![right])),
        }
    }
    let finding = |(table, rights): (String, Vec<&str>)| {
        let rights = rights.join(", ");
        let mend = format!("GRANT {rights} ON {table} TO {:?}", user.user);
        Finding::error(Check::DatabaseRights, format!("the user {:?} lacks {rights} on {table}", user.user))
            .about(table)
            .mended_by(mend)
    };
    Ok(tables.into_iter().map(finding).collect())
}

async fn pool(db: &Db, config: &Config) -> Result<Vec<Finding>, StoreError> {
    let Some(limit) = store::connection_limit(db).await? else { return Ok(Vec::new()) };
    // One more hears of changes.
    let wanted = i64::from(config.database.max_connections) + 1;
    if wanted <= limit.connections {
        return Ok(Vec::new());
    }
    let what = format!(
        "[database] max_connections is {}, and one more connection hears of changes; {} allows {}",
        config.database.max_connections, limit.by, limit.connections
    );
    Ok(vec![Finding::error(Check::DatabasePool, what)])
}

/// Whether the schema is ours.
async fn schema(db: &Db, report: &mut Report) -> bool {
    match migrate::pending(db).await {
        Ok(pending) if pending.is_empty() => true,
        Ok(pending) => {
            let what = match i64::try_from(pending.len()) {
                Ok(all) if all == migrate::newest() => "the database is empty".to_owned(),
                _ => format!("the database lacks {}", pending.join(", ")),
            };
            report.found(Finding::error(Check::SchemaBehind, what));
            false
        }
        Err(StoreError::Schema(what)) => {
            report.found(Finding::error(Check::SchemaAhead, what));
            false
        }
        // It was opened, and is none: SQLite looks into a file at the first question.
        Err(error) => {
            report.found(Finding::error(Check::DatabaseUnreachable, error.to_string()));
            report.not_examined(&[Check::SchemaBehind, Check::SchemaAhead], "the database does not answer");
            false
        }
    }
}

async fn clock(db: &Db, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    // SQLite has no other clock than this machine's.
    if db.kind() == Kind::Postgres {
        let asked_at = std::time::Instant::now();
        let theirs = clock_offset::database_time(db).await?;
        let took = asked_at.elapsed();
        let apart = theirs.since(now.plus(took)).max(now.since(theirs));
        if apart > name::FARTHEST {
            let what = format!("this machine's clock shows {}, and the database's {}", now.rfc3339(), theirs.rfc3339());
            findings.push(Finding::error(Check::ClockOff, what).about("database"));
        }
    }
    if let Some(newest) = store::newest_event(db).await?
        && newest.since(now) > name::FARTHEST
    {
        let what = format!("the audit log has an event of {}, and it is {} here", newest.rfc3339(), now.rfc3339());
        findings.push(Finding::error(Check::ClockOff, what).about("audit log"));
    }
    Ok(findings)
}

async fn went_back(db: &Db, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let Some(at) = audit::last(db, DATABASE_WENT_BACK, now.minus(REMEMBERED)).await? else { return Ok(Vec::new()) };
    let what = format!("on {} somebody presented a refresh token that is newer than the database", day(at));
    Ok(vec![Finding::warning(Check::DatabaseWentBack, what)])
}
