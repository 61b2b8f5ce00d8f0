//! What people may say of themselves: names, language, time zone, and two links. What others rely on is not among it: the username, email
//! address and phone number with their verification, groups, roles, and whether somebody is an administrator (security.md R-72).

use std::time::Duration;

use url::Url;
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::oauth::refusal::Reason;
use crate::oidc::user::Claims;
use crate::printable::is_deceiving;
use crate::service::audit::{self, Actor, with_change};
use crate::service::users::show;
use crate::storage::users as store;

/// A claim that people may change themselves, under its name of OpenID Connect Core §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Name,
    GivenName,
    FamilyName,
    Nickname,
    Locale,
    Zoneinfo,
    Website,
    Picture,
}

/// What is wrong with what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    TooLong,
    /// Not an https URL: others are shown it as a link or picture (security.md R-53).
    NotHttps,
    /// Not a BCP 47 tag.
    NotALanguage,
    /// Not a name of the time zone database.
    NotATimeZone,
    /// It holds what nobody sees, or what turns the direction of writing: apps show it to others.
    Invisible,
}

impl Field {
    /// All of them, in the order of the form.
    pub const ALL: [Self; 8] =
        [Self::Name, Self::GivenName, Self::FamilyName, Self::Nickname, Self::Locale, Self::Zoneinfo, Self::Website, Self::Picture];

    /// The claim, and the name of the form's field.
    pub const fn claim(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::GivenName => "given_name",
            Self::FamilyName => "family_name",
            Self::Nickname => "nickname",
            Self::Locale => "locale",
            Self::Zoneinfo => "zoneinfo",
            Self::Website => "website",
            Self::Picture => "picture",
        }
    }

    /// The most characters.
    pub const fn longest(self) -> usize {
        match self {
            Self::Name | Self::GivenName | Self::FamilyName | Self::Nickname => 200,
            Self::Locale => 35,
            Self::Zoneinfo => 64,
            Self::Website | Self::Picture => 500,
        }
    }

    /// What the person has there now.
    pub fn of(self, claims: &Claims) -> Option<&str> {
        match self {
            Self::Name => &claims.name,
            Self::GivenName => &claims.given_name,
            Self::FamilyName => &claims.family_name,
            Self::Nickname => &claims.nickname,
            Self::Locale => &claims.locale,
            Self::Zoneinfo => &claims.zoneinfo,
            Self::Website => &claims.website,
            Self::Picture => &claims.picture,
        }
        .as_deref()
    }

    fn set(self, claims: &mut Claims, value: Option<String>) {
        let place = match self {
            Self::Name => &mut claims.name,
            Self::GivenName => &mut claims.given_name,
            Self::FamilyName => &mut claims.family_name,
            Self::Nickname => &mut claims.nickname,
            Self::Locale => &mut claims.locale,
            Self::Zoneinfo => &mut claims.zoneinfo,
            Self::Website => &mut claims.website,
            Self::Picture => &mut claims.picture,
        };
        *place = value;
    }

    /// Is what was typed a value of this claim? Blank is none, which is always right.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, typed: &str) -> Result<Option<String>, Problem> {
        let typed = typed.trim();
        if typed.is_empty() {
            return Ok(None);
        }
        if typed.chars().count() > self.longest() {
            return Err(Problem::TooLong);
        }
        let problem = match self {
            Self::Name | Self::GivenName | Self::FamilyName | Self::Nickname => is_deceiving(typed).then_some(Problem::Invisible),
            Self::Locale => (!is_language(typed)).then_some(Problem::NotALanguage),
            Self::Zoneinfo => (!is_time_zone(typed)).then_some(Problem::NotATimeZone),
            Self::Website | Self::Picture => (!is_https(typed) || is_deceiving(typed)).then_some(Problem::NotHttps),
        };
        problem.map_or_else(|| Ok(Some(typed.to_owned())), Err)
    }
}

/// Writes these values, and nothing else of the person: whatever an operator changes at the same moment stays changed.
///
/// # Errors
/// When the person is gone or may not sign in any more, or the database is away.
pub async fn edit(app: &App, id: Uuid, values: Vec<(Field, Option<String>)>, now: Timestamp) -> Result<(), Reason> {
    let event = audit::event(app, now, &Actor::User(id), "user.edit_profile", &id.to_string());
    let edited = store::change(&app.db, id, move |before| {
        if !before.enabled {
            return Err(Reason::UserGone);
        }
        let mut after = before.clone();
        for (field, value) in values {
            field.set(&mut after.claims, value);
        }
        if after == *before {
            return Ok(None);
        }
        // Two changes of one person never have one time.
        after.updated_at = now.max(before.updated_at.plus(Duration::from_micros(1)));
        let event = with_change(event, &show(before), &show(&after));
        Ok(Some((after, event)))
    });
    edited.await?.map(drop).ok_or(Reason::UserGone)
}

/// RFC 5646 §2.1 in outline: letters, then subtags. `de-DE`, `zh-Hant-TW`.
fn is_language(text: &str) -> bool {
    let mut tags = text.split('-');
    let primary = tags.next().unwrap_or_default();
    (2..=3).contains(&primary.len())
        && primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && tags.all(|tag| (2..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A name as in the time zone database: `Europe/Berlin`, `America/Argentina/Buenos_Aires`, `Etc/GMT+1`, `UTC`.
fn is_time_zone(text: &str) -> bool {
    let part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    text.split('/').count() <= 3 && text.split('/').all(part)
}

fn is_https(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        url.scheme() == "https"
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_trimmed_checked_and_blank_is_none() {
        assert_eq!(Field::Name.check("  Alice  "), Ok(Some("Alice".to_owned())));
        assert_eq!(Field::Website.check("   "), Ok(None));
        assert_eq!(Field::Name.check(&"é".repeat(200)).unwrap().unwrap().len(), 400);
        assert_eq!(Field::Name.check(&"é".repeat(201)), Err(Problem::TooLong));
        assert_eq!(Field::Nickname.check("Al\u{200b}ice"), Err(Problem::Invisible));
        assert!(Field::Name.check("Ali\u{1f469}\u{200d}\u{1f680}").is_ok());
    }

    #[test]
    fn links_are_https_alone() {
        for good in ["https://alice.example", "https://alice.example/a.png?x=1"] {
            assert!(Field::Picture.check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://alice.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "//alice.example",
            "alice.example",
            "https://",
            "https://a:b@c.example",
            "https://a@c.example",
        ] {
            assert_eq!(Field::Website.check(bad), Err(Problem::NotHttps), "{bad}");
        }
    }

    #[test]
    fn languages_and_time_zones_look_like_such() {
        for good in ["de", "de-DE", "zh-Hant-TW", "gsw-CH"] {
            assert!(Field::Locale.check(good).is_ok(), "{good}");
        }
        for bad in ["german", "d", "de_DE", "de-", "de--DE", "1-2", "<b>"] {
            assert_eq!(Field::Locale.check(bad), Err(Problem::NotALanguage), "{bad}");
        }
        for good in ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "UTC"] {
            assert!(Field::Zoneinfo.check(good).is_ok(), "{good}");
        }
        for bad in ["Europe/", "/Berlin", "+01:00", "Europe/<b>", "a/b/c/d", ".."] {
            assert_eq!(Field::Zoneinfo.check(bad), Err(Problem::NotATimeZone), "{bad}");
        }
    }

    #[test]
    fn every_field_reads_what_it_wrote() {
        for field in Field::ALL {
            let mut claims = Claims::default();
            field.set(&mut claims, Some("x".to_owned()));
            assert_eq!(field.of(&claims), Some("x"));
            let json = serde_json::to_value(&claims).unwrap();
            assert_eq!(json[field.claim()], "x");
        }
    }
}
