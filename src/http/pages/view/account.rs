//! The pages of the account as plain structs.

use askama::Template;

use crate::http::pages::client_seen::initial;
use crate::http::pages::i18n::Lang;
use crate::oidc::user::User;
use crate::printable::honest;
use crate::service::account::password::NotTaken;
use crate::service::account::profile::{Field, Problem};
use crate::service::passwords::PolicyError;

use super::{Form, Frame, LoginFailure, PasskeyOffer, Person};

/// The person's own page. One form with these buttons: `withdraw` with the id of an app, `end_session` with the `sid` of a session,
/// `sign_out` with `here`, `elsewhere` or `everywhere`.
#[derive(Template)]
#[template(path = "account.html")]
pub struct AccountView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub person: Person<'a>,
    /// What was just done.
    pub done: Option<Done>,
    pub profile: &'a [ProfileRow],
    pub sessions: &'a [SessionRow],
    pub apps: &'a [AppRow],
    /// Some sign in with a passkey alone.
    pub has_password: bool,
}

impl AccountView<'_> {
    fn done_text(&self) -> Option<&'static str> {
        let texts = &self.frame.texts().account;
        self.done.map(|done| match done {
            Done::Withdrawn => texts.done_withdrawn,
            Done::SessionEnded => texts.done_session_ended,
            Done::SignedOutElsewhere => texts.done_signed_out_elsewhere,
            Done::ProfileChanged => texts.done_profile_changed,
            Done::PasswordChanged => texts.done_password_changed,
        })
    }

    /// Whether there is anywhere else to sign out from.
    fn is_elsewhere(&self) -> bool {
        self.sessions.iter().any(|session| !session.here) || !self.apps.is_empty()
    }
}

/// What was just done: the page says it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Withdrawn,
    SessionEnded,
    SignedOutElsewhere,
    ProfileChanged,
    PasswordChanged,
}

impl Done {
    const ALL: [Self; 5] =
        [Self::Withdrawn, Self::SessionEnded, Self::SignedOutElsewhere, Self::ProfileChanged, Self::PasswordChanged];

    /// As it stands in the address.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::SessionEnded => "session-ended",
            Self::SignedOutElsewhere => "signed-out-elsewhere",
            Self::ProfileChanged => "profile-changed",
            Self::PasswordChanged => "password-changed",
        }
    }

    /// The reverse of [`Done::word`].
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|done| done.word() == word)
    }
}

/// A line of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRow {
    pub label: &'static str,
    pub value: String,
    /// What is to be said of it: "not verified".
    pub note: Option<&'static str>,
}

impl ProfileRow {
    /// Everything that apps may be told of this person, as far as it is known; the username first.
    pub fn of(lang: Lang, user: &User) -> Vec<Self> {
        let (texts, claims) = (&lang.texts().account, &user.claims);
        let verified = |is: Option<bool>| Some(if is == Some(true) { texts.verified } else { texts.not_verified });
        let address = claims.address.as_ref().map(|address| {
            let parts = [&address.street_address, &address.postal_code, &address.locality, &address.region, &address.country];
            let parts = || parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
            address.formatted.as_ref().map_or_else(parts, |formatted| formatted.lines().collect::<Vec<_>>().join(", "))
        });
        let rows = [
            (texts.username, Some(user.username.clone()), None),
            (texts.name, claims.name.clone(), None),
            (texts.given_name, claims.given_name.clone(), None),
            (texts.middle_name, claims.middle_name.clone(), None),
            (texts.family_name, claims.family_name.clone(), None),
            (texts.nickname, claims.nickname.clone(), None),
            (texts.preferred_username, claims.preferred_username.clone(), None),
            (texts.email, claims.email.clone(), verified(claims.email_verified)),
            (texts.phone_number, claims.phone_number.clone(), verified(claims.phone_number_verified)),
            (texts.address, address, None),
            (texts.birthdate, claims.birthdate.clone(), None),
            (texts.gender, claims.gender.clone(), None),
            (texts.locale, claims.locale.clone(), None),
            (texts.zoneinfo, claims.zoneinfo.clone(), None),
            (texts.website, claims.website.clone(), None),
            (texts.profile_page, claims.profile.clone(), None),
            (texts.picture, claims.picture.clone(), None),
        ];
        rows.into_iter()
            .filter_map(|(label, value, note)| {
                Some(Self {
                    label,
                    value: value.map(|value| honest(&value).into_owned()).filter(|value| !value.trim().is_empty())?,
                    note,
                })
            })
            .collect()
    }
}

/// The profile's form: a field for each of [`Field`], under the claim's name.
#[derive(Template)]
#[template(path = "account/profile.html")]
pub struct ProfileView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub fields: &'a [ProfileField],
}

/// A field of the profile's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileField {
    pub name: &'static str,
    pub label: &'static str,
    pub value: String,
    /// What browsers fill in: WHATWG HTML, autofill field names.
    pub autocomplete: &'static str,
    pub hint: Option<&'static str>,
    pub longest: usize,
    /// Why it was not taken.
    pub problem: Option<&'static str>,
}

impl ProfileField {
    /// The field with what stands in it.
    pub fn of(lang: Lang, field: Field, value: String, problem: Option<Problem>) -> Self {
        let texts = &lang.texts().account;
        let (label, autocomplete, hint) = match field {
            Field::Name => (texts.name, "name", None),
            Field::GivenName => (texts.given_name, "given-name", None),
            Field::FamilyName => (texts.family_name, "family-name", None),
            Field::Nickname => (texts.nickname, "nickname", None),
            Field::Locale => (texts.locale, "language", Some(texts.language_hint)),
            Field::Zoneinfo => (texts.zoneinfo, "off", Some(texts.time_zone_hint)),
            Field::Website => (texts.website, "url", Some(texts.link_hint)),
            Field::Picture => (texts.picture, "photo", Some(texts.link_hint)),
        };
        let problem = problem.map(|problem| match problem {
            Problem::TooLong => texts.too_long,
            Problem::NotHttps => texts.not_https,
            Problem::NotALanguage => texts.not_a_language,
            Problem::NotATimeZone => texts.not_a_time_zone,
            Problem::Invisible => texts.invisible,
        });
        Self { name: field.claim(), label, value, autocomplete, hint, longest: field.longest(), problem }
    }
}

/// Another password: sends `password` (the current one), `new_password` and `new_password_again`.
#[derive(Template)]
#[template(path = "account/password.html")]
pub struct PasswordView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    /// For password managers.
    pub username: &'a str,
    /// There was none before, so that none is asked for.
    pub first: bool,
    /// The fewest characters of a new password.
    pub shortest: u32,
    pub failure: Option<PasswordFailure>,
}

/// Why the password is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordFailure {
    /// It is about the current one.
    Current(LoginFailure),
    NotTaken(NotTaken),
    NotRepeated,
}

impl PasswordView<'_> {
    fn failure_text(&self) -> Option<String> {
        let texts = self.frame.texts();
        let account = &texts.account;
        self.failure.map(|failure| match failure {
            PasswordFailure::Current(failure) => failure.text(texts, account.wrong_current_password),
            PasswordFailure::NotRepeated => account.password_not_repeated.to_owned(),
            PasswordFailure::NotTaken(NotTaken::Same) => account.password_same.to_owned(),
            PasswordFailure::NotTaken(NotTaken::Policy(PolicyError::TooShort(shortest))) => {
                format!("{}{shortest}{}", account.password_too_short.0, account.password_too_short.1)
            }
            PasswordFailure::NotTaken(NotTaken::Policy(PolicyError::TooLong)) => account.password_too_long.to_owned(),
            PasswordFailure::NotTaken(NotTaken::Policy(PolicyError::Control)) => account.password_control.to_owned(),
        })
    }

    /// Which of the fields the message is about.
    fn is_about_current(&self) -> bool {
        matches!(self.failure, Some(PasswordFailure::Current(_)))
    }

    fn is_about_new(&self) -> bool {
        matches!(self.failure, Some(PasswordFailure::NotTaken(_) | PasswordFailure::NotRepeated))
    }
}

/// A session of the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// What the button sends.
    pub sid: String,
    /// It is the one of this browser.
    pub here: bool,
    /// Browser and system.
    pub device: String,
    /// The address prefix of the last use.
    pub address: Option<String>,
    /// [`Lang::ago`].
    pub last_used: String,
    /// The day of the sign-in: [`Lang::date`].
    pub since: String,
}

/// An app that has access to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRow {
    /// What the button sends: the client's id.
    pub id: String,
    /// From [`crate::http::pages::client_seen::shown_name`].
    pub name: String,
    /// What it may do, in words.
    pub scopes: Vec<String>,
    /// The day on which it was allowed: [`Lang::date`].
    pub since: String,
    /// When it last got tokens: [`Lang::ago`].
    pub last_used: Option<String>,
    /// Where its sign-in begins: its initiate_login_uri.
    pub open: Option<String>,
}

impl AppRow {
    fn initial(&self) -> String {
        initial(&self.name)
    }
}

/// "Confirm that it is you": sends `password`.
#[derive(Template)]
#[template(path = "account/confirm.html")]
pub struct ConfirmView<'a> {
    pub frame: Frame<'a>,
    pub form: Form<'a>,
    pub person: Person<'a>,
    /// For password managers.
    pub username: &'a str,
    /// The word of the page that follows.
    pub to: &'a str,
    /// What is typed.
    pub by: Option<ConfirmBy>,
    /// Where a passkey does it too.
    pub passkey: Option<&'a PasskeyOffer>,
    /// The address of the same page for what can be typed instead.
    pub other_way: Option<&'a str>,
    pub failure: Option<LoginFailure>,
}

/// What somebody types to confirm that it is them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmBy {
    Password,
    /// A code of the authenticator app; sent as `code`, with `with=code`.
    Code,
}

impl ConfirmView<'_> {
    fn failure_text(&self) -> Option<String> {
        let texts = self.frame.texts();
        let no_match = if self.is_by_code() { texts.factors.code_wrong } else { texts.account.wrong_password };
        self.failure.map(|failure| failure.text(texts, no_match))
    }

    fn is_by_code(&self) -> bool {
        self.by == Some(ConfirmBy::Code)
    }

    fn is_by_password(&self) -> bool {
        self.by == Some(ConfirmBy::Password)
    }

    fn lead(&self) -> &'static str {
        let texts = &self.frame.texts().account;
        match self.by {
            Some(ConfirmBy::Password) => texts.confirm_lead,
            Some(ConfirmBy::Code) => texts.confirm_code_lead,
            None if self.passkey.is_some() => texts.confirm_passkey_lead,
            None => texts.confirm_nothing,
        }
    }
}
