//! The pages of second factors.

use std::time::Duration;

use askama::Template;

use super::{ClientSeen, Form, Frame, LoginFailure, Person};
use crate::http::pages::i18n::{Around, FactorTexts};
use crate::http::pages::qr::Qr;

impl Frame<'_> {
    fn factor_texts(&self) -> &'static FactorTexts {
        &self.texts().factors
    }
}

/// What the script needs to ask for a passkey. Sends `passkey` and `challenge`.
#[derive(Debug, Clone)]
pub struct PasskeyOffer {
    pub rp_id: String,
    /// Sent as `challenge`.
    pub challenge: String,
    /// Credential ids of the person, space-separated; empty where it is not known who comes, or where one is made.
    pub ids: String,
}

/// What the script needs besides to make one.
#[derive(Debug, Clone)]
pub struct NewPasskeyOffer {
    /// Its ids are those that there are: none is made a second time.
    pub offer: PasskeyOffer,
    /// What an authenticator keeps in place of a name.
    pub user_handle: String,
    pub username: String,
    pub display_name: String,
    /// COSE identifiers, space-separated.
    pub algorithms: String,
}

/// A passkey in the list of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyRow {
    pub id: String,
    pub synced: bool,
    /// The browser and system in which it was made.
    pub device: Option<String>,
    /// Days in words.
    pub added: String,
    pub used: String,
}

/// The page that asks for a code, after the password. Sends `code`; the button to cancel sends `decision=deny`.
#[derive(Template)]
#[template(path = "second_factor.html")]
pub struct SecondFactorView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    /// Sent as `sign_in`: the sign-in that waits.
    pub sign_in: Option<&'a str>,
    /// The app that sent the person here.
    pub client: Option<&'a ClientSeen>,
    pub person: Person<'a>,
    /// A recovery code is asked for, and sent with `use=recovery`.
    pub recovery: bool,
    /// The person has an authenticator app.
    pub has_app: bool,
    pub passkey: Option<&'a PasskeyOffer>,
    /// The address of the same page for the other kind of code.
    pub other_way: Option<&'a str>,
    pub failure: Option<FactorFailure>,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorFailure {
    /// Wrong, or used before.
    Wrong,
    /// A passkey was not taken.
    Passkey,
    /// Too many failures: how long to wait.
    Throttled(Duration),
}

impl SecondFactorView<'_> {
    fn failure_text(&self) -> Option<String> {
        let texts = self.frame.texts();
        Some(match self.failure? {
            FactorFailure::Passkey => texts.factors.passkey_wrong.to_owned(),
            FactorFailure::Wrong if self.recovery => texts.factors.recovery_code_wrong.to_owned(),
            FactorFailure::Wrong => texts.factors.code_wrong.to_owned(),
            FactorFailure::Throttled(wait) => LoginFailure::Throttled(wait).text(texts, ""),
        })
    }
}

/// An authenticator app is enrolled, or a passkey. Sends `code` or `passkey`, and `enrolment` as it came.
#[derive(Template)]
#[template(path = "enrol.html")]
pub struct EnrolView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    /// Sent as `sign_in`: the sign-in that waits.
    pub sign_in: Option<&'a str>,
    /// The sealed secret.
    pub enrolment: &'a str,
    /// The app that sent the person here.
    pub client: Option<&'a ClientSeen>,
    pub person: Person<'a>,
    /// Not the person's own wish: it is asked of them now.
    pub demanded: bool,
    /// Where a passkey can be made instead.
    pub passkey: Option<&'a NewPasskeyOffer>,
    pub qr: &'a Qr,
    /// What the QR code says, for an app on this device.
    pub uri: &'a str,
    /// The secret as text.
    pub secret: &'a str,
    pub failure: Option<FactorFailure>,
}

impl EnrolView<'_> {
    fn failure_text(&self) -> Option<String> {
        let texts = self.frame.texts();
        Some(match self.failure? {
            FactorFailure::Passkey => texts.factors.passkey_wrong.to_owned(),
            FactorFailure::Wrong => texts.factors.enrol_wrong.to_owned(),
            FactorFailure::Throttled(wait) => LoginFailure::Throttled(wait).text(texts, ""),
        })
    }

    fn title(&self) -> &'static str {
        let texts = self.frame.factor_texts();
        if self.passkey.is_some() { texts.enrol_any_title } else { texts.enrol_title }
    }

    /// The code was not right.
    fn is_about_code(&self) -> bool {
        self.failure == Some(FactorFailure::Wrong)
    }
}

/// The recovery codes, shown this once.
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub struct RecoveryCodesView<'a> {
    pub frame: Frame<'a>,
    pub codes: &'a [String],
    /// Where the person goes on.
    pub next: &'a str,
}

/// One's own second factors. Sends `change` with `remove_app`, `recovery_codes` or `add_passkey`, or `remove_passkey` with an id.
#[derive(Template)]
#[template(path = "factors.html")]
pub struct FactorsView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub person: Person<'a>,
    /// Since when there is an authenticator app, and when it was last used, in words.
    pub totp: Option<(&'a str, &'a str)>,
    pub recovery_codes: u64,
    pub passkeys: &'a [PasskeyRow],
    /// Where passkeys can be made.
    pub passkey: Option<&'a NewPasskeyOffer>,
    /// A passkey was not taken.
    pub failed: bool,
}

impl FactorsView<'_> {
    fn recovery_codes_left(&self) -> String {
        let texts = self.frame.factor_texts();
        match self.recovery_codes {
            0 => texts.no_recovery_codes.to_owned(),
            1 => texts.one_recovery_code.to_owned(),
            many => format!("{}{many}{}", texts.many_recovery_codes.0, texts.many_recovery_codes.1),
        }
    }

    fn around(text: &Around, value: &str) -> String {
        format!("{}{value}{}", text.0, text.1)
    }
}
