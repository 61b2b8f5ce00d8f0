//! How somebody proved who they are: the methods (`amr`, RFC 8176) and the level that they reach together (`acr`, OpenID Connect
//! Core §2). What is said is what was done: a level is computed from the methods and never set.

use serde::{Deserialize, Serialize};

/// The levels, weakest first. Each fulfils those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acr {
    /// A password alone.
    Password,
    /// Two factors: a password and a one-time code, a recovery code or a passkey; or a passkey that verified its person.
    MultiFactor,
    /// Two factors, one of them a passkey, which cannot be talked out of anybody by a site that poses as this one.
    PhishingResistant,
}

/// Something that a person proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Password,
    /// A code of an authenticator app.
    Totp,
    /// A one-time code from the list on paper.
    RecoveryCode,
    /// `verified`: it also verified its person, by whatever means. `synced`: it may be copied to other devices of theirs.
    Passkey {
        verified: bool,
        synced: bool,
    },
}

/// Whether a second factor is asked of everybody, or of those alone who have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    #[default]
    Optional,
    Required,
}

impl Demand {
    /// The least level that fulfils it.
    pub fn level(self) -> Acr {
        match self {
            Self::Optional => Acr::Password,
            Self::Required => Acr::MultiFactor,
        }
    }

    /// As configuration and client metadata write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl std::str::FromStr for Demand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Optional, Self::Required];
        let found = all.into_iter().find(|demand| demand.as_str() == text);
        found.ok_or_else(|| format!("must be \"optional\" or \"required\", not {text:?}"))
    }
}

impl Acr {
    /// Every level, weakest first; discovery is built from it.
    pub const ALL: [Self; 3] = [Self::Password, Self::MultiFactor, Self::PhishingResistant];

    /// The last of them.
    pub const HIGHEST: Self = Self::PhishingResistant;

    /// The value of the `acr` claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "urn:chancery:acr:password",
            Self::MultiFactor => "urn:chancery:acr:mfa",
            Self::PhishingResistant => "urn:chancery:acr:phishing-resistant",
        }
    }

    /// The level of a stored `acr`; what is not known is the weakest.
    pub fn of(stored: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|level| stored == Some(level.as_str())).unwrap_or(Self::Password)
    }

    /// The level that these methods reach together.
    pub fn reached_by(methods: &[Method]) -> Self {
        let password = methods.contains(&Method::Password);
        let code = methods.iter().any(|method| matches!(method, Method::Totp | Method::RecoveryCode));
        let passkey =
            |also: bool| methods.iter().any(|method| matches!(method, Method::Passkey { verified, .. } if *verified || also));
        if passkey(password) {
            Self::PhishingResistant
        } else if password && code {
            Self::MultiFactor
        } else {
            Self::Password
        }
    }

    /// The least of the levels among these values; `None` if none of them is one of ours.
    pub fn least_of(values: &[String]) -> Option<Self> {
        Self::ALL.into_iter().find(|level| values.iter().any(|value| value == level.as_str()))
    }

    /// The level to aim at for `acr_values`: the first of them, in the client's order of preference, that can be reached (OpenID Connect
    /// Core §3.1.2.1). `None` if there is none: they are a wish.
    pub fn wished(acr_values: &[String], reachable: Self) -> Option<Self> {
        let known = acr_values.iter().filter_map(|value| Self::ALL.into_iter().find(|level| level.as_str() == value));
        known.into_iter().find(|level| *level <= reachable)
    }

    /// What the client is told about a session of this level: the best of the values that it asked for which the session fulfils, else
    /// what the session is.
    pub fn told(self, acr_values: &[String]) -> Self {
        let fulfilled = Self::ALL.into_iter().rev().filter(|level| *level <= self);
        fulfilled.into_iter().find(|level| acr_values.iter().any(|value| value == level.as_str())).unwrap_or(self)
    }
}

/// The `amr` of these methods (RFC 8176 §2).
pub fn amr(methods: &[Method]) -> Vec<String> {
    let mut values: Vec<&str> = Vec::new();
    for method in methods {
        let more: &[&str] = match method {
            Method::Password => &["pwd"],
            // A recovery code is a one-time password too, from a list instead of an app.
            Method::Totp | Method::RecoveryCode => &["otp"],
            // How a passkey verified its person is its own secret, so neither "pin" nor "fpt".
            Method::Passkey { synced: true, .. } => &["swk", "user"],
            Method::Passkey { synced: false, .. } => &["hwk", "user"],
        };
        for value in more {
            if !values.contains(value) {
                values.push(value);
            }
        }
    }
    if Acr::reached_by(methods) >= Acr::MultiFactor {
        values.push("mfa");
    }
    values.into_iter().map(str::to_owned).collect()
}

/// Level and `amr` of a session after one more method was proved in it.
pub fn raised(acr: Acr, before: &[String], method: Method) -> (Acr, Vec<String>) {
    let mut methods = vec![method];
    if before.iter().any(|value| value == "pwd") {
        methods.insert(0, Method::Password);
    }
    let mut values = before.to_vec();
    for value in amr(&methods) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    (acr.max(Acr::reached_by(&methods)), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_level_and_the_methods_say_what_was_done() {
        for (methods, acr, amr_values) in [
            (&[Method::Password][..], Acr::Password, &["pwd"][..]),
            (&[Method::Password, Method::Totp], Acr::MultiFactor, &["pwd", "otp", "mfa"]),
            (&[Method::Password, Method::RecoveryCode], Acr::MultiFactor, &["pwd", "otp", "mfa"]),
            (&[Method::Password, Method::Totp, Method::RecoveryCode], Acr::MultiFactor, &["pwd", "otp", "mfa"]),
            (
                &[Method::Password, Method::Passkey { verified: false, synced: false }],
                Acr::PhishingResistant,
                &["pwd", "hwk", "user", "mfa"],
            ),
            (&[Method::Passkey { verified: true, synced: true }], Acr::PhishingResistant, &["swk", "user", "mfa"]),
            // Whoever finds a key that asks for nothing has one factor.
            (&[Method::Passkey { verified: false, synced: false }], Acr::Password, &["hwk", "user"]),
            // Two codes are one kind of thing.
            (&[Method::Totp, Method::RecoveryCode], Acr::Password, &["otp"]),
        ] {
            assert_eq!(Acr::reached_by(methods), acr, "{methods:?}");
            assert_eq!(amr(methods), amr_values, "{methods:?}");
        }
    }

    #[test]
    fn a_session_rises_by_what_is_proved_in_it() {
        let pwd = values(&["pwd"]);
        let (acr, after) = raised(Acr::Password, &pwd, Method::Totp);
        assert_eq!((acr, after.clone()), (Acr::MultiFactor, values(&["pwd", "otp", "mfa"])));
        assert_eq!(raised(acr, &after, Method::RecoveryCode), (acr, after), "nothing is said twice");
        assert_eq!(raised(Acr::Password, &[], Method::Totp), (Acr::Password, values(&["otp"])));
    }

    #[test]
    fn a_stored_level_is_read_back_and_an_unknown_one_is_the_weakest() {
        for level in Acr::ALL {
            assert_eq!(Acr::of(Some(level.as_str())), level);
        }
        assert_eq!(Acr::of(Some("urn:other")), Acr::Password);
        assert_eq!(Acr::of(None), Acr::Password);
        assert!(Acr::ALL.is_sorted());
    }

    #[test]
    fn a_wish_is_the_first_value_that_can_be_fulfilled() {
        let (pwd, mfa) = (Acr::Password.as_str(), Acr::MultiFactor.as_str());
        assert_eq!(Acr::wished(&values(&[mfa, pwd]), Acr::MultiFactor), Some(Acr::MultiFactor));
        assert_eq!(Acr::wished(&values(&[mfa, pwd]), Acr::Password), Some(Acr::Password));
        assert_eq!(Acr::wished(&values(&[pwd, mfa]), Acr::MultiFactor), Some(Acr::Password));
        assert_eq!(Acr::wished(&values(&["urn:x", mfa]), Acr::Password), None);
        assert_eq!(Acr::wished(&[], Acr::MultiFactor), None);
    }

    #[test]
    fn a_client_is_told_a_value_that_it_asked_for_if_that_is_true() {
        let (pwd, mfa) = (Acr::Password.as_str(), Acr::MultiFactor.as_str());
        assert_eq!(Acr::MultiFactor.told(&values(&[pwd])), Acr::Password);
        assert_eq!(Acr::MultiFactor.told(&values(&[pwd, mfa])), Acr::MultiFactor);
        assert_eq!(Acr::MultiFactor.told(&[]), Acr::MultiFactor);
        assert_eq!(Acr::Password.told(&values(&[mfa])), Acr::Password, "never more than was proved");
        assert_eq!(Acr::Password.told(&values(&["urn:x"])), Acr::Password);
    }

    #[test]
    fn a_demand_is_read_as_it_is_written() {
        for demand in [Demand::Optional, Demand::Required] {
            assert_eq!(demand.as_str().parse::<Demand>(), Ok(demand));
            assert_eq!(serde_json::to_value(demand).unwrap(), demand.as_str());
        }
        assert!("sometimes".parse::<Demand>().is_err());
    }
}
