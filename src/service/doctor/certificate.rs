//! What is wrong with a TLS certificate. Each fault is looked for by itself, so that none hides another.

use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};

use super::{Check, Finding, day};
use crate::clock::Timestamp;

/// How long before its end a certificate is worth a warning: renewal by ACME happens 30 days before.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The authorities that clients trust: those of browsers, and the operator's own.
pub fn authorities(extra_ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_ca_file {
        let mut read = || -> Result<(), String> {
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
                roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        read().map_err(|error| format!("[outbound] extra_ca_file {}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// Judges the chain that was shown for `name`.
pub fn judge(chain: &[CertificateDer<'static>], name: &ServerName<'_>, roots: &RootCertStore, now: Timestamp) -> Vec<Finding> {
    let Some((own, others)) = chain.split_first() else { return Vec::new() };
    let shown = name.to_str();
    let mut findings = Vec::new();
    let Some((begins, ends)) = validity(own) else {
        return vec![Finding::error(Check::CertificateUntrusted, "the certificate cannot be read").about(shown)];
    };
    let outside = now < begins || now >= ends;
    if now >= ends {
        findings.push(Finding::error(Check::CertificateExpired, format!("the certificate expired on {}", day(ends))));
    } else if now < begins {
        let what = format!("the certificate is valid from {} on, and it is {} here", day(begins), day(now));
        findings
            .push(Finding::error(Check::CertificateExpired, what).mended_by("Check this machine's clock, and the certificate."));
    } else if now.plus(SOON) >= ends {
        findings.push(Finding::warning(Check::CertificateExpired, format!("the certificate expires on {}", day(ends))));
    }
    let Ok(parsed) = ParsedCertificate::try_from(own) else {
        findings.push(Finding::error(Check::CertificateUntrusted, "the certificate cannot be read"));
        return findings.into_iter().map(|finding| finding.about(shown.clone())).collect();
    };
    if let Err(error) = verify_server_name(&parsed, name) {
        findings.push(Finding::error(Check::CertificateName, format!("the certificate is for another name: {error}")));
    }
    // At an instant at which the certificate itself is valid: that it is not now was said above.
    let then = if outside { begins.plus(Duration::from_secs(1)) } else { now };
    let then = UnixTime::since_unix_epoch(then.since(Timestamp::from_seconds(0)));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    match verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, then, algorithms.all) {
        Ok(()) => {}
        Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            findings
                .push(Finding::error(Check::CertificateExpired, "a certificate of the chain above the server's own has expired"));
        }
        Err(error) => {
            findings.push(Finding::error(Check::CertificateUntrusted, format!("nobody whom clients trust vouches for it: {error}")))
        }
    }
    findings.into_iter().map(|finding| finding.about(shown.clone())).collect()
}

/// From when until when a certificate is valid (RFC 5280 §4.1): version, serial number, algorithm and issuer come before it.
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (_, signed, _) = element(certificate)?;
    let (tag, _, rest) = element(signed)?;
    let serial_number = if tag == VERSION { rest } else { signed };
    let (_, _, algorithm) = element(serial_number)?;
    let (_, _, issuer) = element(algorithm)?;
    let (_, _, validity) = element(issuer)?;
    let (tag, validity, _) = element(validity)?;
    let (from, begins, rest) = element(validity)?;
    let (until, ends, _) = element(rest)?;
    (tag == SEQUENCE).then_some(())?;
    Some((instant(from, begins)?, instant(until, ends)?))
}

/// One DER element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// UTCTime or GeneralizedTime, both to the second and in UTC (RFC 5280 §4.1.2.5).
fn instant(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        0x17 if text.len() == 12 => {
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            format!("{century}{text}")
        }
        0x18 if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| full.get(from..to)?.parse::<u16>().ok();
    let small = |from: usize| u8::try_from(number(from, from + 2)?).ok();
    let month = time::Month::try_from(small(4)?).ok()?;
    let date = time::Date::from_calendar_date(i32::from(number(0, 4)?), month, small(6)?).ok()?;
    let clock = time::Time::from_hms(small(8)?, small(10)?, small(12)?).ok()?;
    Some(Timestamp::from_seconds(date.with_time(clock).assume_utc().unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const DAY: i64 = 86_400;

    struct Authority {
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
        roots: RootCertStore,
    }

    fn authority() -> Authority {
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Authority { issuer: rcgen::Issuer::new(params, key), roots }
    }

    fn certificate(authority: &Authority, name: &str, from: i64, days: i64) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let at = |days: i64| time::OffsetDateTime::from_unix_timestamp(NOW.seconds() + days * DAY).unwrap();
        (params.not_before, params.not_after) = (at(from), at(days));
        let key = rcgen::KeyPair::generate().unwrap();
        params.signed_by(&key, &authority.issuer).unwrap().der().clone()
    }

    fn found(chain: &[CertificateDer<'static>], roots: &RootCertStore) -> Vec<(Check, super::super::Severity)> {
        let name = ServerName::try_from("id.acme.com").unwrap();
        judge(chain, &name, roots, NOW).into_iter().map(|finding| (finding.check, finding.severity)).collect()
    }

    #[test]
    fn each_fault_of_a_certificate_is_found_and_hides_no_other() {
        use super::super::Severity::{Error, Warning};
        let (ours, theirs) = (authority(), authority());
        for (name, from, until, expected) in [
            ("id.acme.com", -30, 60, vec![]),
            ("id.acme.com", -30, 13, vec![(Check::CertificateExpired, Warning)]),
            ("id.acme.com", -30, 0, vec![(Check::CertificateExpired, Error)]),
            ("id.acme.com", 1, 60, vec![(Check::CertificateExpired, Error)]),
            ("other.acme.com", -30, 60, vec![(Check::CertificateName, Error)]),
            ("other.acme.com", -30, -1, vec![(Check::CertificateExpired, Error), (Check::CertificateName, Error)]),
        ] {
            assert_eq!(found(&[certificate(&ours, name, from, until)], &ours.roots), expected, "{name} {from} {until}");
        }
        assert_eq!(found(&[certificate(&theirs, "id.acme.com", -30, 60)], &ours.roots), [(Check::CertificateUntrusted, Error)]);
        let all = found(&[certificate(&theirs, "other.acme.com", -30, -1)], &ours.roots);
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!(found(&[CertificateDer::from(vec![0x30, 0x03, 1, 2])], &ours.roots), [(Check::CertificateUntrusted, Error)]);
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(instant(0x17, b"270115080000Z"), Some(NOW));
        assert_eq!(instant(0x18, b"20270115080000Z"), Some(NOW));
        assert_eq!(instant(0x17, b"500115080000Z").unwrap().rfc3339(), "1950-01-15T08:00:00Z");
        for text in ["270115080000", "271315080000Z", "2701150800Z", "é70115080000Z"] {
            assert_eq!(instant(0x17, text.as_bytes()), None, "{text}");
        }
    }
}
