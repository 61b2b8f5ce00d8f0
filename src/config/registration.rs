//! `[registration]`: what clients may be registered with, and who may register them (RFC 7591).

use std::str::FromStr;
use std::time::Duration;

use super::reader::Section;
use crate::oauth::client::GrantType;
use crate::oauth::registration::Allowed;
use crate::oauth::{resource, scope};

/// Rules beyond those of the specifications.
#[derive(Debug, Clone)]
pub struct Registration {
    pub mode: RegistrationMode,
    /// What clients may register themselves for, unless their initial access token says otherwise.
    pub grant_types: Vec<GrantType>,
    pub scopes: Vec<String>,
    /// How long a client that registered itself is kept if nobody uses it.
    pub unused_lifetime: Duration,
    /// The same of one that registered without a token.
    pub open_unused_lifetime: Duration,
    /// Clients that one address may register in an hour without a token.
    pub open_per_address: u32,
    /// Without a token nobody registers while so many clients wait for their first use.
    pub open_unused: u32,
    /// Private-use redirect schemes without a dot that are accepted all the same (RFC 8252 §7.1 asks for a dot).
    pub redirect_schemes: Vec<String>,
}

/// Who may register clients at the registration endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Nobody: there is no such endpoint.
    Off,
    /// Who has an initial access token.
    Token,
    /// Everybody, within bounds.
    Open,
}

impl FromStr for RegistrationMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "token" => Ok(Self::Token),
            "open" => Ok(Self::Open),
            _ => Err(()),
        }
    }
}

/// Grants in which a person decides: a machine is registered by somebody who knows it.
const GRANT_TYPES: [&str; 3] =
    [GrantType::AuthorizationCode.as_str(), GrantType::RefreshToken.as_str(), GrantType::DeviceCode.as_str()];

impl Registration {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let mode = RegistrationMode::Off;
        Self {
            mode: section.parsed_or("mode", mode, "off", "\"off\", \"token\" or \"open\""),
            grant_types: section.list("grant_types", &GRANT_TYPES, grant_type),
            scopes: section.list("scopes", &scope::OPENID_CONNECT, scope_name),
            unused_lifetime: section.duration("unused_lifetime", DAY * 30, HOUR, DAY * 3650),
            open_unused_lifetime: section.duration("open_unused_lifetime", DAY, HOUR, DAY * 3650),
            open_per_address: section.number32("open_per_address", 20, 1, 1_000_000),
            open_unused: section.number32("open_unused", 1000, 1, 1_000_000),
            redirect_schemes: section.list("redirect_schemes", &["cursor", "vscode"], scheme),
        }
    }

    /// What may be registered where no token says otherwise.
    pub fn allowed(&self) -> Allowed<'_> {
        Allowed { grant_types: &self.grant_types, scopes: &self.scopes }
    }
}

fn grant_type(text: &str) -> Result<GrantType, String> {
    let known = GrantType::ALL.map(GrantType::as_str).join(", ");
    GrantType::ALL
        .into_iter()
        .find(|grant| grant.as_str() == text)
        .ok_or_else(|| format!("must hold grants of this server, which are {known}, and {text:?} is none"))
}

fn scope_name(text: &str) -> Result<String, String> {
    if !scope::is_token(text) {
        return Err(format!("must hold names of scopes, and {text:?} is none (RFC 6749 section 3.3)"));
    }
    if resource::is_admin(text) {
        return Err(format!("must not hold {text}: no client gives itself administration"));
    }
    Ok(text.to_owned())
}

/// RFC 3986 §3.1, in lower case, and none of those that run or read something in a browser.
fn scheme(text: &str) -> Result<String, String> {
    const NEVER: [&str; 11] =
        ["javascript", "data", "file", "blob", "http", "https", "vbscript", "about", "filesystem", "view-source", "ws"];
    let well_formed = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !well_formed {
        return Err(format!("must hold schemes in lower case without a colon, such as \"vscode\", and {text:?} is none"));
    }
    if NEVER.contains(&text) {
        return Err(format!("must never hold {text:?}"));
    }
    Ok(text.to_owned())
}
