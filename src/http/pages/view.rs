//! The pages as plain structs: what a handler must know to show one. The templates of the same names turn them into HTML.

use std::borrow::Cow;
use std::time::Duration;

pub mod account;
pub mod reference;

use askama::Template;

use crate::oauth::refusal::Reason;
use crate::oidc::user::User;
use crate::printable::honest;

use super::assets;
use super::client_seen::{ClientSeen, Destination, initial};
use super::failure;
use super::i18n::{DemoTexts, Lang, Phrase, Texts};
use super::scope_words::ScopeGroup;

mod factors;

pub use factors::{
    EnrolView, FactorFailure, FactorsView, NewPasskeyOffer, PasskeyOffer, PasskeyRow, RecoveryCodesView, SecondFactorView,
};

/// What every page has around it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub lang: Lang,
    /// The path of the issuer without a slash at the end: "" or "/auth". Every URL of the page begins with it.
    pub base: &'a str,
    /// The name of this sign-in service: `[pages] name`.
    pub name: &'a str,
    /// Where people find help: an https or mailto URL of the configuration.
    pub support: Option<&'a str>,
}

impl<'a> Frame<'a> {
    fn texts(&self) -> &'static Texts {
        self.lang.texts()
    }

    fn asset(&self, name: &str) -> String {
        assets::url(self.base, name)
    }

    /// Where the client will send the person, in words.
    fn place(&self, client: &ClientSeen) -> String {
        client.destination.words(self.lang)
    }

    /// The URL of one of our own paths, such as `/login`.
    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Where a page's form leads, and what it carries unseen.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// Our own path below the issuer: `/login`.
    pub action: &'a str,
    /// Sent as `interaction`: the id of the pending request.
    pub interaction: Option<&'a str>,
    /// Sent as `csrf`.
    pub csrf: &'a str,
}

/// The sign-in page. Sends `username` and `password`; the button to cancel sends `decision=deny`.
#[derive(Template)]
#[template(path = "login.html")]
pub struct LoginView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    /// The app that sent the person here; `None` when they came by themselves.
    pub client: Option<&'a ClientSeen>,
    /// `login_hint`, or what was typed before.
    pub username: &'a str,
    pub notice: Option<LoginNotice>,
    pub failure: Option<LoginFailure>,
    /// The person is about to decide on a device.
    pub for_device: bool,
    /// Where the browser may offer passkeys.
    pub passkey: Option<&'a PasskeyOffer>,
}

/// Why a person who was here before sees the sign-in page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginNotice {
    /// prompt=login, or max_age is over.
    SignInAgain,
    /// The session was idle for too long.
    SessionExpired,
}

/// What went wrong, as far as the page may say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFailure {
    /// One message for every failing branch.
    NoMatch,
    /// Too many failures: how long to wait.
    Throttled(Duration),
    /// Too much password hashing is waiting.
    Busy,
    /// A passkey was not taken.
    Passkey,
}

impl LoginFailure {
    /// In words; `no_match` is what the form says when nothing else is wrong than what was typed.
    fn text(self, texts: &Texts, no_match: &str) -> String {
        match self {
            Self::NoMatch => no_match.to_owned(),
            Self::Busy => texts.sign_in_busy.to_owned(),
            Self::Passkey => texts.factors.passkey_wrong.to_owned(),
            Self::Throttled(wait) => {
                format!("{}{}{}", texts.sign_in_throttled.0, texts.waiting(wait), texts.sign_in_throttled.1)
            }
        }
    }
}

impl LoginView<'_> {
    fn failure_text(&self) -> Option<String> {
        let texts = self.frame.texts();
        self.failure.map(|failure| failure.text(texts, texts.sign_in_failed))
    }

    fn notice_text(&self) -> Option<&'static str> {
        self.notice.map(|notice| match notice {
            LoginNotice::SignInAgain => self.frame.texts().sign_in_again,
            LoginNotice::SessionExpired => self.frame.texts().session_expired,
        })
    }
}

/// Who is signed in, as the pages show it.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// The full name, or the username.
    name: &'a str,
    /// Email address or username: what tells two accounts apart.
    detail: &'a str,
}

impl<'a> Person<'a> {
    /// This person.
    pub fn of(user: &'a User) -> Self {
        let name = user.claims.name.as_deref().unwrap_or(&user.username);
        Self { name, detail: user.claims.email.as_deref().unwrap_or(&user.username) }
    }

    /// What to call them. Both may have been stored before anybody looked what is in them.
    pub fn name(self) -> Cow<'a, str> {
        honest(self.name)
    }

    fn detail(self) -> Cow<'a, str> {
        honest(self.detail)
    }
}

impl Person<'_> {
    fn initial(&self) -> String {
        initial(self.name)
    }

    fn has_detail(&self) -> bool {
        !self.detail.is_empty() && self.detail != self.name
    }
}

/// prompt=select_account. Sends `account` with `current` or `other`.
#[derive(Template)]
#[template(path = "select_account.html")]
pub struct SelectAccountView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub client: &'a ClientSeen,
    pub person: Person<'a>,
}

/// The consent page. Sends `decision` with `allow` or `deny`; the two buttons weigh the same.
#[derive(Template)]
#[template(path = "consent.html")]
pub struct ConsentView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub client: &'a ClientSeen,
    pub person: Person<'a>,
    /// From [`super::scope_words::groups`].
    pub groups: Vec<ScopeGroup>,
}

/// Where a person types the code that a device shows (RFC 8628 §3.3). Sends `user_code`.
#[derive(Template)]
#[template(path = "device.html")]
pub struct DeviceView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    /// What was typed before.
    pub typed: &'a str,
    pub failure: Option<DeviceFailure>,
}

/// Why there is nothing to decide on, as far as the page may say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFailure {
    /// One message for every reason.
    NotValid,
    /// Too many codes that were none: how long to wait.
    Throttled(Duration),
}

impl DeviceView<'_> {
    fn failure_text(&self) -> Option<String> {
        let texts = self.frame.texts();
        Some(match self.failure? {
            DeviceFailure::NotValid => texts.device_not_valid.to_owned(),
            DeviceFailure::Throttled(wait) => {
                format!("{}{}{}", texts.device_throttled.0, texts.waiting(wait), texts.device_throttled.1)
            }
        })
    }
}

/// A device's request, to be decided on (RFC 8628 §3.3, §5.4; security.md R-67). Sends `decision` with `allow` or `deny`; the two buttons
/// weigh the same.
#[derive(Template)]
#[template(path = "device_decide.html")]
pub struct LookedAtView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub user_code: &'a str,
    pub client: &'a ClientSeen,
    pub person: Person<'a>,
    /// From [`super::scope_words::groups`].
    pub groups: Vec<ScopeGroup>,
    /// The address that the device asked from.
    pub requested_from: &'a str,
    /// It is the one that this browser asks from.
    pub from_here: bool,
    /// How long ago the device asked.
    pub age: Duration,
}

impl LookedAtView<'_> {
    fn age_text(&self) -> String {
        let texts = self.frame.texts();
        let (before, after) = texts.device_age;
        match self.age.as_secs() / 60 {
            0 => texts.device_just_now.to_owned(),
            1 => format!("{before}{}{after}", texts.device_one_minute),
            minutes => format!("{before}{minutes} {}{after}", texts.device_minutes),
        }
    }
}

/// After the decision about a device.
#[derive(Template)]
#[template(path = "device_done.html")]
pub struct DeviceDoneView<'a> {
    pub frame: Frame<'a>,
    pub client: &'a ClientSeen,
    pub allowed: bool,
}

impl DeviceDoneView<'_> {
    fn title(&self) -> &'static str {
        let texts = self.frame.texts();
        if self.allowed { texts.device_allowed_title } else { texts.device_denied_title }
    }
}

/// An error page. Shows its trace id in the element `trace-id`.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorView<'a> {
    pub frame: Frame<'a>,
    pub reason: &'a Reason,
    /// Where people sign out, if that is what they were about to do.
    pub sign_out: Option<&'a str>,
    pub trace_id: &'a str,
}

impl ErrorView<'_> {
    fn phrase(&self) -> Phrase {
        failure::phrase(self.reason.page().text, self.frame.texts())
    }

    fn parameter(&self) -> Option<&str> {
        self.reason.page().parameter
    }

    fn received(&self) -> Option<String> {
        self.reason.page().received.map(failure::tame)
    }
}

/// The question before signing out. Sends `decision` with `allow` or `deny`.
#[derive(Template)]
#[template(path = "logout.html")]
pub struct LogoutView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    /// What was sent, to come back with the answer.
    pub asked: &'a [(&'static str, &'a str)],
    /// The name of the app that asks, if one proved itself.
    pub client_name: Option<&'a str>,
    pub person: Option<Person<'a>>,
}

/// After the question: signed out, or not.
#[derive(Template)]
#[template(path = "signed_out.html")]
pub struct SignedOutView<'a> {
    pub frame: Frame<'a>,
    /// False when the person chose to stay.
    pub signed_out: bool,
    /// Pages of clients, shown unseen so that they end their sessions (Front-Channel Logout §2). Its policy is
    /// [`super::csp::Policy::framing`] of these.
    pub frames: &'a [String],
    /// Where to go from here: the http or https URL, or one of an app on the device.
    pub onward: Option<&'a str>,
}

impl<'a> SignedOutView<'a> {
    /// For somebody who chose to stay.
    pub fn stayed(frame: Frame<'a>) -> Self {
        Self { frame, signed_out: false, frames: &[], onward: None }
    }

    fn destination(&self) -> String {
        self.onward.map(|onward| Destination::of(onward).words(self.frame.lang)).unwrap_or_default()
    }
}

/// The answer of response_mode=form_post (OAuth 2.0 Form Post Response Mode §2): sends itself, and has a button.
/// Its policy is [`FormPostView::policy`].
#[derive(Template)]
#[template(path = "form_post.html")]
pub struct FormPostView<'a> {
    pub frame: Frame<'a>,
    /// The proved redirect URI.
    pub action: &'a str,
    pub fields: &'a [(String, String)],
}

impl FormPostView<'_> {
    /// The one inline script of the server.
    pub const SCRIPT: &'static str = "document.forms[0].submit()";

    /// The policy that this page needs.
    pub fn policy(&self) -> super::csp::Policy {
        super::csp::Policy::posting_to(self.action, Self::SCRIPT)
    }

    fn destination(&self) -> String {
        Destination::of(self.action).words(self.frame.lang)
    }
}

/// On the way to the app after a form of ours: [`super::leave`].
#[derive(Template)]
#[template(path = "leave.html")]
pub struct LeaveView<'a> {
    pub frame: Frame<'a>,
    /// The http or https URL to go to.
    pub target: &'a str,
}

impl LeaveView<'_> {
    fn destination(&self) -> String {
        Destination::of(self.target).words(self.frame.lang)
    }
}

/// The demo relying party of `quickstart`. Its policy is [`super::csp::Policy::with_own_scripts`].
#[derive(Template)]
#[template(path = "demo.html")]
pub struct DemoView<'a> {
    pub frame: Frame<'a>,
    /// The issuer, without a slash at the end.
    pub issuer: &'a str,
    pub client_id: &'a str,
    /// Space-separated: what the demo asks for.
    pub scope: &'a str,
}

impl DemoView<'_> {
    fn demo(&self) -> &'static DemoTexts {
        &self.frame.texts().demo
    }

    /// For the script, in an attribute that the template escapes.
    fn texts_json(&self) -> String {
        serde_json::to_string(self.demo()).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
