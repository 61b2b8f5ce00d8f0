//! `chancery doctor`: what is wrong with this deployment, and how to mend it.
//!
//! It looks, and changes nothing: the database is opened so that it cannot be written, files are read, the issuer is asked as a client
//! would ask it. It runs beside servers at work, takes two of the database's connections, and everything it waits for has a limit: what
//! does not answer in time is reported as not examined.
//!
//! [`Check`] is the catalogue of what it can find; `docs/doctor.md` holds the same list, and a test compares them.

pub(crate) mod certificate;
mod database;
mod keys;
mod management;
mod name;
mod registrations;
mod request;
mod secrets;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, ConfigErrors};

/// How long each group of questions may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know; nothing has to be done, and the exit code stays 0.
    Note,
    /// It works, but it is not right.
    Warning,
    /// Something does not work, or is not safe.
    Error,
}

impl Severity {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! checks {
    ($($name:ident $id:literal, $finds:literal, $mend:literal;)*) => {
        /// Everything that can be found. The ids are stable: scripts and alerts may name them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check { $(#[doc = $finds] $name,)* }

        impl Check {
            /// All, in the order in which they are reported.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable id.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// What is wrong when it finds something.
            pub const fn finds(self) -> &'static str {
                match self { $(Self::$name => $finds,)* }
            }

            /// How it is mended, in general; a finding says it for its case.
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$name => $mend,)* }
            }
        }
    };
}

checks! {
    Configuration "configuration",
        "The configuration is refused, so no server starts with it, and where it cannot be read, nothing else is examined. Or a variable is ignored that looks like a misspelt one.",
        "Correct the line or variable that is named; `chancery config check` says the same.";
    SecretFileReadable "secret-file-readable",
        "A file that holds a secret, or the database, may be read by every user of the machine.",
        "`chmod o-rwx FILE`; for a Kubernetes secret `defaultMode: 0400`. If strangers have accounts on the machine, take the secret for known: docs/runbooks.md.";
    IssuerUnreachable "issuer-unreachable",
        "The issuer does not answer under its own name: no such host, no connection, no answer in time, or another answer than a discovery document.",
        "Start the server; check DNS, the proxy's route to `[server] listen`, and firewalls. Run doctor where clients are.";
    IssuerMismatch "issuer-mismatch",
        "What answers under the issuer's name calls itself otherwise; every client refuses that (OpenID Connect Discovery section 4.3).",
        "Make `[server] issuer` exactly the URL that clients use, or lead that name to this server.";
    IssuerTrailingSlash "issuer-trailing-slash",
        "The issuer is written or answered with a slash at its end. Clients compare it byte for byte, and half of them are given the other spelling.",
        "Write the issuer without the slash, here and in every client: exactly as discovery says it.";
    IssuerMetadataPath "issuer-metadata-path",
        "The issuer has a path, and the document of RFC 8414 section 3.1 does not answer at the root of its host.",
        "Let the proxy pass `/.well-known/oauth-authorization-server/PATH` and `/.well-known/openid-configuration/PATH` to this server too.";
    CertificateExpired "certificate-expired",
        "The TLS certificate under the issuer's name has expired, is not valid yet, or expires within 14 days.",
        "Renew it, and see why renewal does not happen by itself.";
    CertificateName "certificate-name",
        "The TLS certificate under the issuer's name is for another name.",
        "Give the proxy a certificate for the issuer's host, or correct the issuer.";
    CertificateUntrusted "certificate-untrusted",
        "Nobody whom clients trust vouches for the TLS certificate: an unknown authority, or a chain with a gap.",
        "Serve the whole chain of a public authority. For an authority of your own set `[outbound] extra_ca_file`, and give it to every client.";
    ClockOff "clock-off",
        "This machine's clock is more than five seconds off the database's or the server's, or the database holds events from the future.",
        "Run an NTP client (chrony, systemd-timesyncd) on every machine.";
    ManagementPublic "management-public",
        "Health and metrics answer under a public address.",
        "Bind `[server] management_listen` to loopback or a private address, and let no proxy or firewall pass it on.";
    ProxyUntrusted "proxy-untrusted",
        "Requests came from a proxy that is not trusted: everybody behind it shares one address for throttling and in the log.",
        "Name the proxy's address in `[proxies] trusted`.";
    DatabaseUnreachable "database-unreachable",
        "The database cannot be opened. What is in it is not examined then.",
        "Check `[database] url`, that the database runs, and that this machine may reach it.";
    DatabaseRights "database-rights",
        "The database user, or this user of the machine for SQLite, lacks a right that the server needs.",
        "Grant it: the finding has the statement or command.";
    DatabasePool "database-pool",
        "The pool is larger than the number of connections that PostgreSQL allows.",
        "Lower `[database] max_connections` or raise the limit that is named; count every replica, each with one connection more than its pool.";
    SchemaBehind "schema-behind",
        "The schema is older than this program.",
        "`chancery migrate`, or start the server without `--no-migrate`.";
    SchemaAhead "schema-ahead",
        "The schema is newer than this program, or was changed by hand.",
        "Run the version that made it, or a newer one.";
    DatabaseWentBack "database-went-back",
        "A refresh token was presented that is newer than the database: a backup was restored, or commits were lost.",
        "Follow docs/runbooks.md, \"A restored backup\".";
    MasterKeyWrong "master-key-wrong",
        "The master key is missing, malformed, or not the one that the database was made with.",
        "Bring back the right one. Without it the signing keys and everything sealed are lost.";
    MasterKeyOld "master-key-old",
        "Keys are still sealed under the older of two master keys.",
        "`chancery key rewrap`, then take the older one out of the configuration.";
    KeysOfNewerVersion "keys-of-newer-version",
        "The database holds keys that this program does not know: a newer version made them, and this one leaves them alone.",
        "Finish the update: every server, and every command on this database, of the newer version. Until then `chancery key rewrap` refuses.";
    SigningKeyOverdue "signing-key-overdue",
        "A signing key is past its time, or one is missing: no server has done for an hour what was due.",
        "Start a server, or see in its log why the job \"key rotation\" fails.";
    NoAdministrator "no-administrator",
        "Nobody who may sign in is an administrator.",
        "`chancery user add --username NAME --email ADDRESS --admin`.";
    RedirectSuspicious "redirect-suspicious",
        "A client has a redirect URI that looks left over from trying things out, or like a place where others read along.",
        "If nobody needs it, take it out: `chancery client update CLIENT_ID --file PATCH`.";
    ClientSecretUnused "client-secret-unused",
        "A client's secret was never used: a note in its first week, a warning after that.",
        "If nobody waits for it: `chancery client remove CLIENT_ID`, or end the secret.";
    ClientSecretOld "client-secret-old",
        "A client's secret is over a year old.",
        "`chancery client rotate-secret CLIENT_ID`; the old one lives on for a day.";
    LogoutUndelivered "logout-undelivered",
        "An app has not been told for over ten minutes that sessions ended. It is tried again, for twelve hours.",
        "See why its server does not answer the POST to `backchannel_logout_uri` with 200 (docs/flows/logout.md). If no server tries: start one.";
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    pub severity: Severity,
    /// The client, file, key or address that it is about; nothing for the deployment as a whole.
    pub subject: Option<String>,
    /// What is wrong. Never holds a secret.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl Finding {
    /// Something that does not work or is not safe, to be mended as the catalogue says.
    pub fn error(check: Check, what: impl Into<String>) -> Self {
        Self { check, severity: Severity::Error, subject: None, what: what.into(), mend: check.mend().to_owned() }
    }

    /// Something that is not right.
    pub fn warning(check: Check, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(check, what) }
    }

    /// Something to know.
    pub fn note(check: Check, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(check, what) }
    }

    /// What it is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// How it is mended in this case.
    #[must_use]
    pub fn mended_by(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }
}

/// What came of the examination.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    not_examined: Vec<(Check, String)>,
}

impl FromIterator<Finding> for Report {
    fn from_iter<T: IntoIterator<Item = Finding>>(findings: T) -> Self {
        Self { findings: findings.into_iter().collect(), not_examined: Vec::new() }
    }
}

impl Report {
    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn not_examined(&mut self, checks: &[Check], because: &str) {
        self.not_examined.extend(checks.iter().map(|check| (*check, because.to_owned())));
    }

    fn join(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.not_examined.extend(other.not_examined);
    }

    /// What is wrong, by check, the worst first within one.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = self.findings.iter().collect();
        all.sort_by(|a, b| (a.check, b.severity, &a.subject).cmp(&(b.check, a.severity, &b.subject)));
        all
    }

    /// Whether there is nothing to mend, as far as is known: what was not examined is not known to be well.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note) && self.not_examined.is_empty()
    }

    /// How many checks were not made.
    pub fn unknown(&self) -> usize {
        Check::ALL.iter().filter(|check| self.result(**check) == "not examined").count()
    }

    /// Why a check was not made.
    pub fn why_not(&self, check: Check) -> Option<&str> {
        self.not_examined.iter().find(|(not, _)| *not == check).map(|(_, because)| because.as_str())
    }

    /// How a check came out: `ok`, `found` or `not examined`.
    pub fn result(&self, check: Check) -> &'static str {
        if self.findings.iter().any(|finding| finding.check == check) {
            "found"
        } else if self.why_not(check).is_some() {
            "not examined"
        } else {
            "ok"
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "id": finding.check.id(),
                "severity": finding.severity.as_str(),
                "subject": finding.subject,
                "what": finding.what,
                "mend": finding.mend,
            })
        };
        let check = |check: &Check| json!({ "id": check.id(), "result": self.result(*check), "because": self.why_not(*check) });
        json!({
            "ok": self.is_well(),
            "findings": self.findings().into_iter().map(finding).collect::<Vec<_>>(),
            "checks": Check::ALL.iter().map(check).collect::<Vec<_>>(),
        })
    }
}

/// Examines a deployment, by the configuration that its servers would read.
pub async fn examine(config: &Result<Config, ConfigErrors>, clock: &Arc<dyn Clock>) -> Report {
    let mut report = Report::default();
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            for error in &errors.0 {
                let check = if error.exposes { Check::SecretFileReadable } else { Check::Configuration };
                let finding = Finding::error(check, error.message.clone()).about(error.place.clone());
                report.found(match &error.hint {
                    Some(hint) => finding.mended_by(hint.clone()),
                    None => finding,
                });
            }
            report.not_examined(Check::ALL, "the configuration is refused");
            return report;
        }
    };
    for variable in &config.misspelt {
        let finding = Finding::warning(Check::Configuration, variable.message.clone()).about(variable.place.clone());
        report.found(finding.mended_by(variable.hint.clone().unwrap_or_default()));
    }
    let now = clock.now();
    report.join(secrets::examine(config));
    let (name, stored, management) = tokio::join!(
        in_time(name::CHECKS, name::examine(config, clock)),
        in_time(database::CHECKS, database::examine(config, now)),
        in_time(management::CHECKS, management::examine(config)),
    );
    report.join(name);
    report.join(stored);
    report.join(management);
    report
}

/// A group of checks, or word that it took too long.
async fn in_time(checks: &[Check], group: impl Future<Output = Report>) -> Report {
    match tokio::time::timeout(PATIENCE, group).await {
        Ok(report) => report,
        Err(_elapsed) => {
            let mut report = Report::default();
            report.not_examined(checks, "it took longer than 20 seconds");
            report
        }
    }
}

/// An instant's day, for messages.
fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list in `docs/doctor.md` is this catalogue, line by line.
    #[test]
    fn the_documentation_lists_every_finding() {
        let row = |check: &Check| format!("| `{}` | {} | {} |\n", check.id(), check.finds(), check.mend());
        let list: String = Check::ALL.iter().map(row).collect();
        let list = format!("| id | what is wrong | how to mend it |\n|---|---|---|\n{list}");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(&list), "docs/doctor.md must hold:\n\n{list}");
    }

    #[test]
    fn ids_are_unique_and_can_stand_in_any_script() {
        for (index, check) in Check::ALL.iter().enumerate() {
            assert!(check.id().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", check.id());
            assert!(Check::ALL.iter().skip(index + 1).all(|other| other.id() != check.id()));
        }
    }

    #[test]
    fn notes_leave_a_deployment_well_and_silence_does_not() {
        let mut report = Report::default();
        assert!(report.is_well());
        report.found(Finding::note(Check::ClientSecretUnused, "made today"));
        assert!(report.is_well());
        report.found(Finding::warning(Check::ClientSecretOld, "two years"));
        assert!(!report.is_well());
        let mut silent = Report::default();
        silent.not_examined(&[Check::ClockOff], "it took longer than 20 seconds");
        silent.found(Finding::note(Check::ClientSecretUnused, "made today"));
        assert!(!silent.is_well());
        assert_eq!((silent.result(Check::ClockOff), silent.result(Check::DatabasePool)), ("not examined", "ok"));
    }
}
