//! The issuer under its own name, as a client finds it: name, connection, certificate, discovery document, clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use time::format_description::well_known::Rfc2822;
use url::Url;

use super::request::{self, Answer};
use super::{Check, Finding, Report, certificate};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;

/// What is examined here.
pub const CHECKS: &[Check] = &[
    Check::IssuerUnreachable,
    Check::IssuerMismatch,
    Check::IssuerTrailingSlash,
    Check::IssuerMetadataPath,
    Check::CertificateExpired,
    Check::CertificateName,
    Check::CertificateUntrusted,
];

/// How far two clocks may be apart (design 5).
pub const FARTHEST: Duration = Duration::from_secs(5);

/// Asks for the discovery document.
pub async fn examine(config: &Config, clock: &Arc<dyn Clock>) -> Report {
    let mut report = Report::default();
    let issuer = config.issuer.as_str();
    if config.issuer.was_written_with_slash() {
        let what = format!("[server] issuer is written with a slash at its end; this server calls itself {issuer} without it");
        report.found(Finding::warning(Check::IssuerTrailingSlash, what).about(format!("{issuer}/")));
    }
    let Ok(url) = Url::parse(&config.issuer.url("/.well-known/openid-configuration")) else { return report };
    let before = clock.now();
    let visit = request::get(&url).await;
    let after = clock.now();
    judge_certificate(config, &url, &visit.chain, after, &mut report);
    let of_file = judge_file(config, &url, &visit.chain, after, &mut report);
    let answer = match visit.answer {
        Ok(answer) => answer,
        Err(why) => {
            report.found(Finding::error(Check::IssuerUnreachable, why).about(url.as_str()));
            report.not_examined(&[Check::IssuerMismatch, Check::IssuerMetadataPath], "the issuer does not answer");
            if visit.chain.is_empty() && !of_file && config.issuer.is_https() {
                let certificate = [Check::CertificateExpired, Check::CertificateName, Check::CertificateUntrusted];
                report.not_examined(&certificate, "no certificate was shown");
            }
            return report;
        }
    };
    if let Some(finding) = ahead(&answer, before, after) {
        report.found(finding);
    }
    match issuer_of(&answer) {
        Err(why) => {
            report.found(Finding::error(Check::IssuerUnreachable, why).about(url.as_str()));
            report.not_examined(&[Check::IssuerMismatch, Check::IssuerMetadataPath], "there is no discovery document");
        }
        Ok(theirs) if theirs == issuer => {
            if !config.issuer.path().is_empty() {
                examine_inserted(config, &mut report).await;
            }
        }
        Ok(theirs) if theirs.trim_end_matches('/') == issuer => {
            let what =
                format!("the discovery document says {theirs:?}, and the issuer is {issuer:?}: another version or server answers");
            report.found(Finding::error(Check::IssuerTrailingSlash, what).about(url.as_str()));
        }
        Ok(theirs) => {
            let what = format!("the discovery document says that the issuer is {theirs:?}, and the configuration says {issuer:?}");
            report.found(Finding::error(Check::IssuerMismatch, what).about(url.as_str()));
        }
    }
    report
}

/// RFC 8414 §3.1: with a path, the well-known string goes between it and the host, where a proxy may know nothing of us.
async fn examine_inserted(config: &Config, report: &mut Report) {
    for document in ["oauth-authorization-server", "openid-configuration"] {
        let url = format!("{}/.well-known/{document}{}", config.issuer.origin(), config.issuer.path());
        let Ok(url) = Url::parse(&url) else { continue };
        let found = request::get(&url).await.answer.and_then(|answer| issuer_of(&answer));
        let what = match found {
            Ok(theirs) if theirs == config.issuer.as_str() => continue,
            Ok(theirs) => format!("it says that the issuer is {theirs:?}"),
            Err(why) => why,
        };
        report.found(Finding::warning(Check::IssuerMetadataPath, what).about(url.as_str()));
    }
}

fn judge_certificate(config: &Config, url: &Url, chain: &[CertificateDer<'static>], now: Timestamp, report: &mut Report) {
    let Some(name) = url.host().and_then(|host| request::server_name(&host)) else { return };
    match certificate::authorities(config.outbound.extra_ca_file.as_deref()) {
        Ok(roots) => certificate::judge(chain, &name, &roots, now).into_iter().for_each(|finding| report.found(finding)),
        Err(why) => report.not_examined(&[Check::CertificateUntrusted], &why),
    }
}

/// Judges the certificate that a server of this configuration would show, unless it was shown just now. What stands before such a server
/// shows another one, and may take ours whatever its name; old it must not be. Answers whether there was one to judge.
fn judge_file(config: &Config, url: &Url, shown: &[CertificateDer<'static>], now: Timestamp, report: &mut Report) -> bool {
    let Some((path, key)) = config.tls.files() else { return false };
    let refuse = |report: &mut Report, path: &Path, what: String| {
        let mend =
            "Name the certificate with its chain and the private key that belongs to it, both as PEM: no server starts like this.";
        report.found(Finding::error(Check::Configuration, what).about(path.display().to_string()).mended_by(mend));
    };
    let chain = CertificateDer::pem_file_iter(path).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            refuse(report, path, "[tls] certificate_file holds no certificate".to_owned());
            return false;
        }
        Err(error) => {
            refuse(report, path, format!("[tls] certificate_file cannot be read: {error}"));
            return false;
        }
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match PrivateKeyDer::from_pem_file(key).map(|key| CertifiedKey::from_der(chain.clone(), key, &provider)) {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => refuse(report, key, format!("[tls] private_key_file does not belong to the certificate: {error}")),
        Err(error) => refuse(report, key, format!("[tls] private_key_file cannot be read: {error}")),
    }
    if chain.first() == shown.first() {
        return true;
    }
    let Some(name) = url.host().and_then(|host| request::server_name(&host)) else { return false };
    let Ok(roots) = certificate::authorities(config.outbound.extra_ca_file.as_deref()) else { return false };
    let found = certificate::judge(&chain, &name, &roots, now);
    let counts = |finding: &Finding| shown.is_empty() || finding.check == Check::CertificateExpired;
    found.into_iter().filter(counts).for_each(|finding| report.found(finding.about(path.display().to_string())));
    true
}

/// The issuer that a discovery document names.
fn issuer_of(answer: &Answer) -> Result<String, String> {
    if let (300..=399, Some(location)) = (answer.status, &answer.location) {
        return Err(format!("it redirects to {location}, where many clients do not follow"));
    }
    if answer.status != 200 {
        return Err(format!("it answers with status {}", answer.status));
    }
    let document: Value =
        serde_json::from_slice(&answer.body).map_err(|_| "it answers with something that is no discovery document".to_owned())?;
    let issuer = document.get("issuer").and_then(Value::as_str);
    issuer.map(str::to_owned).ok_or_else(|| "it answers with a document that names no issuer".to_owned())
}

/// Compares this machine's clock with the `Date` of the answer, which has whole seconds.
fn ahead(answer: &Answer, before: Timestamp, after: Timestamp) -> Option<Finding> {
    // HTTP writes GMT where RFC 2822 allows a zone's name.
    let date = time::OffsetDateTime::parse(answer.date.as_deref()?, &Rfc2822).ok()?;
    let theirs = Timestamp::from_seconds(date.unix_timestamp());
    let apart = theirs.since(after).max(before.since(theirs.plus(Duration::from_secs(1))));
    (apart > FARTHEST).then(|| {
        let what = format!("this machine's clock shows {}, and the server's {}", after.rfc3339(), theirs.rfc3339());
        Finding::error(Check::ClockOff, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(date: &str) -> Answer {
        Answer { status: 200, date: Some(date.to_owned()), location: None, body: Vec::new() }
    }

    #[test]
    fn the_date_of_an_answer_tells_of_a_clock_that_is_off() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let is_off = |date: &str| ahead(&answer(date), now, now.plus(Duration::from_millis(20))).is_some();
        assert!(!is_off("Fri, 15 Jan 2027 08:00:00 GMT"));
        assert!(!is_off("Fri, 15 Jan 2027 08:00:05 GMT") && !is_off("Fri, 15 Jan 2027 07:59:54 GMT"));
        assert!(is_off("Fri, 15 Jan 2027 08:00:06 GMT") && is_off("Fri, 15 Jan 2027 07:59:53 GMT"));
        assert!(!is_off("yesterday"));
    }

    #[test]
    fn only_a_discovery_document_will_do() {
        let of = |status, body: &str| issuer_of(&Answer { status, date: None, location: None, body: body.as_bytes().to_vec() });
        assert_eq!(of(200, r#"{"issuer":"https://id.acme.com"}"#).unwrap(), "https://id.acme.com");
        assert!(of(404, "{}").unwrap_err().contains("404"));
        assert!(of(200, "<html>").unwrap_err().contains("no discovery document"));
        assert!(of(200, "{}").unwrap_err().contains("names no issuer"));
    }
}
