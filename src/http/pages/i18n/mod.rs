//! The words of the pages, in every language that they speak, and the choice of the language.
//!
//! All texts of one language stand in one file. They fill one struct, so that a text that is missing in one language does not
//! compile. A text around an emphasised value is a pair: what stands before it and what stands after it.

mod english;
mod factors;
mod german;

pub use factors::FactorTexts;

use time::{Month, OffsetDateTime};

use crate::clock::Timestamp;

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lang {
    /// English, also for everybody whose languages we do not speak.
    #[default]
    En,
    /// German.
    De,
}

impl Lang {
    /// Every language, for discovery's `ui_locales_supported` and for tests.
    pub const ALL: [Lang; 2] = [Lang::En, Lang::De];

    /// The BCP 47 tag: the `lang` attribute of the page.
    pub const fn tag(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::De => "de",
        }
    }

    /// The language for this person: the first of `ui_locales` that we speak (OpenID Connect Core §3.1.2.1: space-separated, in
    /// order of preference), else the best of `Accept-Language` (RFC 9110 §12.5.4), else English. Neither can fail.
    pub fn choose(ui_locales: Option<&str>, accept_language: Option<&str>) -> Self {
        let asked = ui_locales.unwrap_or_default().split(' ').take(MOST_TAGS).find_map(Lang::from_tag);
        asked.or_else(|| best_of(accept_language.unwrap_or_default())).unwrap_or_default()
    }

    /// The texts.
    pub fn texts(self) -> &'static Texts {
        match self {
            Lang::En => &english::TEXTS,
            Lang::De => &german::TEXTS,
        }
    }

    /// A day in words, in UTC: "21 November 2026".
    pub fn date(self, at: Timestamp) -> String {
        let Ok(day) = OffsetDateTime::from_unix_timestamp(at.seconds()) else { return String::new() };
        let month = self.texts().month(day.month());
        match self {
            Lang::En => format!("{} {month} {}", day.day(), day.year()),
            Lang::De => format!("{}. {month} {}", day.day(), day.year()),
        }
    }

    /// How long ago, in words that need no time zone: "3 hours ago", and the day after a day.
    pub fn ago(self, at: Timestamp, now: Timestamp) -> String {
        let texts = &self.texts().account;
        let around = |(before, after): Around, value: &str| format!("{before}{value}{after}");
        match now.since(at).as_secs() / 60 {
            0 | 1 => texts.just_now.to_owned(),
            minutes @ 2..60 => around(texts.minutes_ago, &minutes.to_string()),
            60..120 => texts.one_hour_ago.to_owned(),
            minutes @ 120..1440 => around(texts.hours_ago, &(minutes / 60).to_string()),
            _ => around(texts.on_day, &self.date(at)),
        }
    }

    fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        Lang::ALL.into_iter().find(|lang| primary.eq_ignore_ascii_case(lang.tag()))
    }
}

/// More languages than this in one list are noise.
const MOST_TAGS: usize = 32;

/// The language of the highest weight; of equal ones the first. `*` is English, and a weight of 0 excludes.
fn best_of(accept_language: &str) -> Option<Lang> {
    let mut best: Option<(u16, Lang)> = None;
    for range in accept_language.split(',').take(MOST_TAGS) {
        let mut parts = range.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1000), thousandths).unwrap_or(0);
        let lang = if tag == "*" { Some(Lang::default()) } else { Lang::from_tag(tag) };
        if let Some(lang) = lang
            && weight > best.map_or(0, |(weight, _)| weight)
        {
            best = Some((weight, lang));
        }
    }
    best.map(|(_, lang)| lang)
}

/// A qvalue of RFC 9110 §12.4.2 in thousandths; `None` if it is not one.
fn thousandths(text: &str) -> Option<u16> {
    let value: f32 = text.parse().ok()?;
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

/// A text around an emphasised value: before and after.
pub type Around = (&'static str, &'static str);

/// Every text of the pages. English stands in `english.rs`, German in `german.rs`.
pub struct Texts {
    // Everywhere.
    /// The months, January first.
    pub months: [&'static str; 12],
    pub support: &'static str,
    pub new_tab: &'static str,
    pub this_device: &'static str,
    pub app_scheme: Around,

    // Sign in.
    pub sign_in: &'static str,
    pub to_continue_to: Around,
    pub sign_in_again: &'static str,
    pub username: &'static str,
    pub password: &'static str,
    pub cancel: &'static str,
    pub then_sent_to: Around,
    pub sign_in_failed: &'static str,
    pub sign_in_throttled: Around,
    pub one_minute: &'static str,
    pub minutes: &'static str,
    pub sign_in_busy: &'static str,
    pub session_expired: &'static str,

    // Choose an account.
    pub choose_account: &'static str,
    pub signed_in_here_as: &'static str,
    pub continue_as: Around,
    pub other_account: &'static str,

    // Consent.
    pub consent_title: Around,
    pub consent_lead: Around,
    pub consent_account: Around,
    pub consent_this_service: &'static str,
    pub allow: &'static str,
    pub deny: &'static str,
    pub contact: &'static str,
    /// Around the name of this service.
    pub consent_unverified: Around,
    pub consent_sent_to: Around,
    pub consent_withdraw: &'static str,
    pub privacy_policy: &'static str,
    pub terms_of_service: &'static str,
    pub website: &'static str,
    pub scope_openid: ScopeWords,
    pub scope_profile: ScopeWords,
    pub scope_email: ScopeWords,
    pub scope_phone: ScopeWords,
    pub scope_address: ScopeWords,
    pub scope_offline_access: ScopeWords,
    pub scope_admin_read: ScopeWords,
    pub scope_admin_write: ScopeWords,
    pub consent_memberships: ScopeWords,
    /// Claims that an app asks for by name.
    pub consent_claims: &'static [(&'static str, &'static str)],

    // A device (RFC 8628).
    pub to_connect_a_device: &'static str,
    pub device_title: &'static str,
    pub device_lead: &'static str,
    pub device_code: &'static str,
    pub device_code_hint: &'static str,
    pub device_not_yours: &'static str,
    pub device_not_valid: &'static str,
    pub device_throttled: Around,
    pub device_ask_title: Around,
    pub device_same_code: &'static str,
    pub device_warning: &'static str,
    pub device_asks_nothing: Around,
    pub device_from: Around,
    pub device_from_here: &'static str,
    pub device_from_elsewhere: &'static str,
    pub device_age: Around,
    pub device_just_now: &'static str,
    pub device_one_minute: &'static str,
    pub device_minutes: &'static str,
    pub device_allowed_title: &'static str,
    pub device_allowed_lead: Around,
    pub device_denied_title: &'static str,
    pub device_denied_lead: Around,
    pub device_close: &'static str,

    // Log out.
    pub logout_title: &'static str,
    pub logout_lead: &'static str,
    pub logout_asked_by: Around,
    pub logout_allow: &'static str,
    pub logout_deny: &'static str,
    pub signed_out_title: &'static str,
    pub signed_out_lead: &'static str,
    pub still_signed_in_title: &'static str,
    pub still_signed_in_lead: &'static str,
    pub sign_in_once_more: &'static str,

    // On the way back to the app (form_post).
    pub form_post_title: &'static str,
    pub form_post_lead: Around,
    pub continue_on: &'static str,

    // Account.
    pub account_title: &'static str,
    pub signed_in_as: &'static str,
    pub apps_title: &'static str,
    pub apps_lead: &'static str,
    pub no_apps: &'static str,
    pub allowed_since: Around,
    /// To the app itself.
    pub open: &'static str,
    pub open_app: Around,
    pub withdraw: &'static str,
    pub withdraw_from: Around,
    pub sign_out_title: &'static str,
    pub sign_out_lead: &'static str,
    pub sign_out_here: &'static str,
    pub sign_out_everywhere: &'static str,
    pub account: AccountTexts,

    /// Second factors.
    pub factors: FactorTexts,

    // Errors.
    pub error_parameter: &'static str,
    pub error_received: &'static str,
    pub error_trace_id: &'static str,
    pub error_trace_hint: &'static str,
    pub error_not_signed_out: &'static str,
    pub duplicate_parameter: Phrase,
    pub missing_parameter: Phrase,
    pub malformed_parameter: Phrase,
    pub too_long: Phrase,
    pub unknown_app: Phrase,
    pub redirect_uri_missing: Phrase,
    pub redirect_uri_mismatch: Phrase,
    pub app_request: Phrase,
    pub interaction_unknown: Phrase,
    pub interaction_expired: Phrase,
    pub foreign_form: Phrase,
    pub busy: Phrase,
    pub forbidden: Phrase,
    pub logout_redirect: Phrase,
    pub id_token_hint: Phrase,
    pub not_found: Phrase,
    pub method_not_allowed: Phrase,
    pub unavailable: Phrase,
    pub internal: Phrase,

    /// The demo relying party.
    pub demo: DemoTexts,
}

/// The pages of the account.
pub struct AccountTexts {
    pub unknown_device: &'static str,
    pub just_now: &'static str,
    pub minutes_ago: Around,
    pub one_hour_ago: &'static str,
    pub hours_ago: Around,
    pub on_day: Around,
    pub profile_title: &'static str,
    pub profile_lead: &'static str,
    pub username: &'static str,
    pub name: &'static str,
    pub given_name: &'static str,
    pub middle_name: &'static str,
    pub family_name: &'static str,
    pub nickname: &'static str,
    pub preferred_username: &'static str,
    pub email: &'static str,
    pub phone_number: &'static str,
    pub address: &'static str,
    pub birthdate: &'static str,
    pub gender: &'static str,
    pub locale: &'static str,
    pub zoneinfo: &'static str,
    pub website: &'static str,
    pub profile_page: &'static str,
    pub picture: &'static str,
    pub verified: &'static str,
    pub not_verified: &'static str,
    pub sessions_title: &'static str,
    pub sessions_lead: &'static str,
    pub this_browser: &'static str,
    pub last_used: Around,
    pub from_address: Around,
    pub signed_in_since: Around,
    pub end_session: &'static str,
    pub end_session_of: Around,
    pub sign_out_elsewhere: &'static str,
    pub done_withdrawn: &'static str,
    pub done_session_ended: &'static str,
    pub done_signed_out_elsewhere: &'static str,
    pub confirm_title: &'static str,
    pub confirm_lead: &'static str,
    pub confirm_code_lead: &'static str,
    pub confirm_passkey_lead: &'static str,
    pub confirm_nothing: &'static str,
    pub confirm_by_code: &'static str,
    pub confirm_by_password: &'static str,
    pub confirm: &'static str,
    pub wrong_password: &'static str,
    pub back: &'static str,
    pub edit_profile: &'static str,
    pub edit_profile_lead: &'static str,
    pub save: &'static str,
    pub too_long: &'static str,
    pub not_https: &'static str,
    pub not_a_language: &'static str,
    pub not_a_time_zone: &'static str,
    pub invisible: &'static str,
    pub language_hint: &'static str,
    pub time_zone_hint: &'static str,
    pub link_hint: &'static str,
    pub password_title: &'static str,
    pub password_lead: &'static str,
    pub change_password: &'static str,
    pub set_password: &'static str,
    pub no_password: &'static str,
    pub first_password_lead: &'static str,
    pub current_password: &'static str,
    pub new_password: &'static str,
    pub new_password_again: &'static str,
    pub at_least: Around,
    pub password_too_short: Around,
    pub password_too_long: &'static str,
    pub password_control: &'static str,
    pub password_same: &'static str,
    pub password_not_repeated: &'static str,
    pub wrong_current_password: &'static str,
    pub done_profile_changed: &'static str,
    pub done_password_changed: &'static str,
}

/// A scope as the consent page says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeWords {
    pub title: &'static str,
    pub description: &'static str,
}

/// What an error page says: the stable phrase, what it means, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase {
    /// Stable: people search for it, and tests and reviewers look for it.
    pub phrase: &'static str,
    pub meaning: &'static str,
    pub hint: &'static str,
}

/// The demo relying party's texts; the script receives them with the page.
#[derive(serde::Serialize)]
pub struct DemoTexts {
    pub title: &'static str,
    pub lead: &'static str,
    pub needs_script: &'static str,
    pub step_discovery: &'static str,
    pub step_authorize: &'static str,
    pub step_token: &'static str,
    pub step_verify: &'static str,
    pub sign_in: &'static str,
    pub refresh: &'static str,
    pub sign_out: &'static str,
    pub scopes: &'static str,
    pub status_ready: &'static str,
    pub status_working: &'static str,
    pub status_signed_in: &'static str,
    pub status_refreshed: &'static str,
    pub status_failed: &'static str,
    pub device_title: &'static str,
    pub device_lead: &'static str,
    pub device_begin: &'static str,
    pub device_scan: &'static str,
    pub device_waiting: &'static str,
    pub device_slower: &'static str,
    pub device_connected: &'static str,
    pub id_token: &'static str,
    pub id_token_lead: &'static str,
    pub access_token: &'static str,
    pub access_token_lead: &'static str,
    pub userinfo: &'static str,
    pub userinfo_lead: &'static str,
    pub refresh_token: &'static str,
    pub refresh_token_lead: &'static str,
    pub opaque: &'static str,
    pub column_claim: &'static str,
    pub column_value: &'static str,
    pub column_meaning: &'static str,
    pub raw: &'static str,
    pub signature_good: &'static str,
    pub signature_bad: &'static str,
    pub unknown_claim: &'static str,
    pub claims: ClaimTexts,
}

/// What a claim means, in a sentence; the member's name is the claim's.
#[derive(serde::Serialize)]
pub struct ClaimTexts {
    pub alg: &'static str,
    pub kid: &'static str,
    pub typ: &'static str,
    pub iss: &'static str,
    pub sub: &'static str,
    pub aud: &'static str,
    pub azp: &'static str,
    pub exp: &'static str,
    pub iat: &'static str,
    pub nbf: &'static str,
    pub jti: &'static str,
    pub auth_time: &'static str,
    pub nonce: &'static str,
    pub acr: &'static str,
    pub amr: &'static str,
    pub sid: &'static str,
    pub at_hash: &'static str,
    pub client_id: &'static str,
    pub scope: &'static str,
    pub groups: &'static str,
    pub roles: &'static str,
    pub name: &'static str,
    pub given_name: &'static str,
    pub family_name: &'static str,
    pub preferred_username: &'static str,
    pub email: &'static str,
    pub email_verified: &'static str,
    pub phone_number: &'static str,
    pub phone_number_verified: &'static str,
    pub address: &'static str,
    pub birthdate: &'static str,
    pub locale: &'static str,
    pub zoneinfo: &'static str,
    pub picture: &'static str,
    pub updated_at: &'static str,
}

impl Texts {
    /// A wait in words, rounded up to minutes.
    pub fn waiting(&self, wait: std::time::Duration) -> String {
        match wait.as_secs().div_ceil(60) {
            0 | 1 => self.one_minute.to_owned(),
            minutes => format!("{minutes} {}", self.minutes),
        }
    }

    fn month(&self, month: Month) -> &'static str {
        self.months.get(usize::from(u8::from(month)).saturating_sub(1)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ui_locales_come_before_accept_language() {
        assert_eq!(Lang::choose(Some("fr-CA de-AT en"), Some("en")), Lang::De);
        assert_eq!(Lang::choose(Some("fr"), Some("de-CH,de;q=0.9,en;q=0.8")), Lang::De);
        assert_eq!(Lang::choose(Some("DE"), None), Lang::De);
        assert_eq!(Lang::choose(None, None), Lang::En);
    }

    #[test]
    fn accept_language_is_read_by_weight() {
        assert_eq!(Lang::choose(None, Some("en;q=0.4, de;q=0.7")), Lang::De);
        assert_eq!(Lang::choose(None, Some("fr, *;q=0.5, de;q=0.3")), Lang::En);
        assert_eq!(Lang::choose(None, Some("de;q=0, en;q=0.1")), Lang::En);
        assert_eq!(Lang::choose(None, Some("de;q=0")), Lang::En);
        assert_eq!(Lang::choose(None, Some(";;,q=x,deutsch,de;q=nan")), Lang::En);
    }

    #[test]
    fn how_long_ago_is_told_in_words() {
        let now = Timestamp::from_seconds(1_795_219_200);
        for (seconds, english, german) in [
            (0, "just now", "gerade eben"),
            (119, "just now", "gerade eben"),
            (120, "2 minutes ago", "vor 2 Minuten"),
            (3599, "59 minutes ago", "vor 59 Minuten"),
            (3600, "an hour ago", "vor einer Stunde"),
            (7200, "2 hours ago", "vor 2 Stunden"),
            (86_400, "on 20 November 2026", "am 20. November 2026"),
        ] {
            let at = now.minus(std::time::Duration::from_secs(seconds));
            assert_eq!(Lang::En.ago(at, now), english);
            assert_eq!(Lang::De.ago(at, now), german);
        }
        assert_eq!(Lang::En.ago(now, Timestamp::from_seconds(1)), "just now");
    }

    #[test]
    fn a_day_is_written_as_the_language_writes_it() {
        let day = Timestamp::from_seconds(1_795_219_200);
        assert_eq!(Lang::En.date(day), "21 November 2026");
        assert_eq!(Lang::De.date(day), "21. November 2026");
    }
}
