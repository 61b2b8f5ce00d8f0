//! What an operator configures: the file, the environment, the set-up file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{check_printable, text};
use crate::config::file::{self, Raw};
use crate::config::{Config, ConfigErrors, Issuer, duration};
use crate::oauth::client::Policy;
use crate::seal::MasterKey;
use crate::secret::Secret;
use crate::service::setup::SetupFile;

/// Errors name a place and are lines for a terminal; values are read as TOML means them; what is accepted holds together.
pub fn configuration(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // A fuzzer must not make us open files.
    if names_a_file(text) {
        return;
    }
    let (toml, env) = text.split_once("\n---\n").unwrap_or((text, ""));
    let variables = env.lines().filter_map(|line| line.split_once('='));
    let env: BTreeMap<String, String> = variables.map(|(name, value)| (format!("CHANCERY_{name}"), value.to_owned())).collect();
    let mut errors = Vec::new();
    let file = file::parse(toml, "chancery.toml", &mut errors);
    if errors.is_empty() {
        let table: toml::Table = toml.parse().expect("what was read is TOML");
        for ((section, key), (raw, line)) in &file.entries {
            let value = &table[section.as_str()][key.as_str()];
            let same = match raw {
                Raw::Text(text) => value.as_str() == Some(text),
                Raw::Integer(number) => value.as_integer() == Some(*number),
                Raw::Boolean(yes) => value.as_bool() == Some(*yes),
                Raw::List(items) => value.as_array().is_some_and(|list| list.len() == items.len()),
            };
            assert!(same, "{raw:?} for {value}");
            assert!((1..=toml.lines().count() + 1).contains(line));
        }
    }
    match Config::of_text(toml, env) {
        Err(errors) => check_errors(&errors),
        Ok(config) => {
            assert_eq!(Issuer::parse(config.issuer.as_str()).as_ref().map(Issuer::as_str), Ok(config.issuer.as_str()));
            assert!(config.lifetimes.access_token > Duration::ZERO && config.lifetimes.code > Duration::ZERO);
            assert!(config.passwords.iterations > 0 && config.throttle.account_failures > 0);
            let _ = config.check_serving();
        }
    }
}

fn check_errors(ConfigErrors(errors): &ConfigErrors) {
    assert!(!errors.is_empty());
    for error in errors {
        assert!(!error.place.is_empty() && !error.message.is_empty());
        check_printable(&error.to_string());
    }
}

fn names_a_file(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("file") || text.contains("\\u")
}

/// An issuer has one spelling and is https or on loopback; a duration is shown and read as itself.
pub fn issuer(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match Issuer::parse(text) {
        Err(problem) => check_printable(&problem),
        Ok(issuer) => {
            assert!(text == issuer.as_str() || text.strip_suffix('/') == Some(issuer.as_str()));
            let again = Issuer::parse(issuer.as_str()).expect("an issuer");
            assert_eq!((again.as_str(), again.origin(), again.path()), (issuer.as_str(), issuer.origin(), issuer.path()));
            assert!(issuer.is_https() || issuer.is_loopback());
            assert_eq!(issuer.as_str(), format!("{}{}", issuer.origin(), issuer.path()));
            assert!(issuer.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{issuer}");
            assert!(!issuer.as_str().contains(['?', '#', '@', '%', ';', '"', '\\']), "{issuer}");
        }
    }
    if let Some(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::show(read)), Some(read));
    }
}

/// A key that is read seals and opens.
pub fn master_key(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match MasterKey::parse(&Secret::new(text.to_owned())) {
        Err(error) => {
            check_printable(&error.to_string());
        }
        Ok(key) => {
            assert!(text.len() >= 43);
            let sealed = key.seal(&super::cast::Constant, b"context", b"plain");
            assert_eq!(key.open(b"context", &sealed).expect("it opens").expose(), b"plain");
            assert!(key.open(b"another", &sealed).is_err() && key.is_newest(&sealed));
        }
    }
}

/// Every error of a set-up file has its line and is one line.
pub fn setup_file(data: &[u8]) {
    if names_a_file(&String::from_utf8_lossy(data)) {
        return;
    }
    let policy = Policy { redirect_schemes: vec!["cursor".to_owned()], operator: true, loopback_http: false };
    match SetupFile::parse(data, "apps.toml", Path::new("/nonexistent"), &policy) {
        Err(errors) => {
            check_errors(&errors);
            assert!(errors.0.iter().all(|error| error.place.starts_with("apps.toml")));
        }
        Ok(file) => assert!((1..=64).contains(&file.owner.len())),
    }
}
