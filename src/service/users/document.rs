//! A user's JSON: our own members beside the claims of OpenID Connect Core §5.1.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::oidc::user::{Claims, User};
use crate::printable::is_deceptive;
use crate::secret::Secret;
use crate::service::document::{Document, DocumentError, check_shown, check_text};
use crate::typed;

/// All that a document may hold: the claims of OpenID Connect Core §5.1, then our own.
const MEMBERS: [&str; 23] = [
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "username",
    "password",
    "enabled",
    "admin",
    "groups",
];
/// What the server says about a person and nobody else.
const SET_BY_SERVER: [&str; 4] = ["id", "sub", "created_at", "updated_at"];
pub(super) const PASSWORD: &str = "is set in a way of its own, since it ends everything that was signed in with the old one";
/// The most bytes of one claim.
const LONGEST_CLAIM: usize = 1024;
/// The most bytes of a username or group.
const LONGEST_NAME: usize = 255;
/// The most groups of one person.
const MOST_GROUPS: usize = 1000;
/// The most bytes of all their identifiers together.
const MOST_GROUP_BYTES: usize = 48 * 1024;

/// A user's file, read and checked. What is `None` was not said.
#[derive(Debug, Clone, Default)]
pub struct UserDocument {
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub enabled: Option<bool>,
    pub admin: Option<bool>,
    pub groups: Option<Vec<String>>,
    pub claims: Claims,
}

impl UserDocument {
    /// Reads a user's file.
    ///
    /// # Errors
    /// The first member that is not acceptable.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        Self::read(Document::parse(text)?)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// The first member that is not acceptable.
    pub fn read(mut document: Document) -> Result<Self, DocumentError> {
        for name in SET_BY_SERVER {
            document.refuse(name, "is set by the server")?;
        }
        let mut read = Self {
            username: document.take("username")?,
            password: document.take::<String>("password")?.map(Secret::new),
            enabled: document.take("enabled")?,
            admin: document.take("admin")?,
            groups: document.take("groups")?,
            claims: document.rest(&MEMBERS)?,
        };
        read.check()?;
        Ok(read)
    }

    /// Checks what may come from flags too, and composes the username.
    ///
    /// # Errors
    /// The first member that is not acceptable.
    pub fn check(&mut self) -> Result<(), DocumentError> {
        if let Some(username) = &mut self.username {
            *username = typed::composed(username);
            check_username(username)?;
        }
        if let Some(groups) = &self.groups {
            check_groups(groups)?;
        }
        check_claims(&self.claims)
    }
}

/// A person as operators see them: never the password.
pub fn show(user: &User) -> Value {
    let shown = ShownUser {
        id: user.id.to_string(),
        sub: user.sub.clone(),
        username: user.username.clone(),
        enabled: user.enabled,
        admin: user.admin,
        groups: user.groups.clone(),
        claims: user.claims.clone(),
        created_at: user.created_at.rfc3339(),
        updated_at: user.updated_at.rfc3339(),
    };
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}

/// A user's file: what may be sent.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "the shape of a document, which is read member by member")]
pub struct UserFile {
    /// What the person types to sign in; kept in Unicode's composed form (NFC), and compared without regard to case and width.
    username: String,
    /// For somebody new; later it has an address of its own, and PUT takes the one that there is alone.
    password: Option<String>,
    /// `false` keeps the person out; turning it off ends everything that they are signed in to.
    enabled: Option<bool>,
    /// May administrate this server.
    admin: Option<bool>,
    /// Identifiers of groups.
    groups: Option<Vec<String>>,
    #[serde(flatten)]
    claims: Claims,
}

/// A password to be set.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "the shape of a document, which is read member by member")]
pub struct PasswordFile {
    password: String,
}

/// Reads the document of a password.
///
/// # Errors
/// Without one, or with anything else.
pub fn read_password(mut document: Document) -> Result<Secret<String>, DocumentError> {
    let password = document.take::<String>("password")?.map(Secret::new);
    document.rest::<Map<String, Value>>(&["password"])?;
    password.ok_or_else(|| DocumentError::member("password", "is required"))
}

/// A person as operators see them: never the password.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "User")]
pub struct ShownUser {
    id: String,
    /// The subject identifier, as clients see it.
    sub: String,
    username: String,
    enabled: bool,
    admin: bool,
    groups: Vec<String>,
    #[serde(flatten)]
    claims: Claims,
    created_at: String,
    updated_at: String,
}

/// A person's file as it replaces what is there: what it leaves out gets its default, and what the server sets may be sent back as shown.
pub(super) fn replacing(user: &User, mut document: Document, now: Timestamp) -> Result<User, DocumentError> {
    let Value::Object(members) = show(user) else { return Err(DocumentError::whole("not an object")) };
    for name in SET_BY_SERVER {
        document.repeat(name, members.get(name).unwrap_or(&Value::Null))?;
    }
    merged(user, UserDocument::read(document)?, now)
}

/// The person after a merge patch.
pub(crate) fn patched(user: &User, mut patch: Document, now: Timestamp) -> Result<User, DocumentError> {
    let Value::Object(mut members) = show(user) else { return Err(DocumentError::whole("not an object")) };
    for name in SET_BY_SERVER {
        patch.repeat(name, members.get(name).unwrap_or(&Value::Null))?;
        members.remove(name);
    }
    patch.refuse("password", PASSWORD)?;
    // A new address is not verified because the old one was: whoever changes one says so about the other, or it is not.
    for (address, verified) in [("email", "email_verified"), ("phone_number", "phone_number_verified")] {
        if patch.changes(address, members.get(address)) && !patch.names(verified) {
            members.remove(verified);
        }
    }
    patch.check_names(&MEMBERS)?;
    patch.merge_into(&mut members);
    merged(user, UserDocument::read(Document::of(members))?, now)
}

fn merged(user: &User, read: UserDocument, now: Timestamp) -> Result<User, DocumentError> {
    let after = User {
        username: read.username.ok_or_else(|| DocumentError::member("username", "is required"))?,
        enabled: read.enabled.unwrap_or(true),
        admin: read.admin.unwrap_or(false),
        groups: read.groups.unwrap_or_default(),
        claims: read.claims,
        updated_at: now,
        ..user.clone()
    };
    check_shown(&show(&after), Some(&show(user)))?;
    Ok(after)
}

fn check_username(username: &str) -> Result<(), DocumentError> {
    check_text("username", username, LONGEST_NAME)?;
    // As with what clients are called: nobody should be able to sit beside somebody under the same letters.
    if username.chars().any(is_deceptive) {
        return Err(DocumentError::member(
            "username",
            "must not hold invisible characters, or those that turn the direction of writing",
        ));
    }
    if username.trim() != username {
        return Err(DocumentError::member("username", "must not begin or end with a blank"));
    }
    Ok(())
}

fn check_groups(groups: &[String]) -> Result<(), DocumentError> {
    if groups.len() > MOST_GROUPS {
        return Err(DocumentError::member("groups", format!("must be at most {MOST_GROUPS}")));
    }
    if groups.iter().map(|group| group.len() + 8).sum::<usize>() > MOST_GROUP_BYTES {
        return Err(DocumentError::member("groups", format!("must have at most {MOST_GROUP_BYTES} bytes together")));
    }
    for (at, group) in groups.iter().enumerate() {
        check_text("groups", group, LONGEST_NAME)?;
        if groups.iter().take(at).any(|before| before == group) {
            return Err(DocumentError::member("groups", format!("{group:?} occurs twice")));
        }
    }
    Ok(())
}

fn check_claims(claims: &Claims) -> Result<(), DocumentError> {
    let address = claims.address.as_ref();
    let lines = [
        ("name", &claims.name),
        ("given_name", &claims.given_name),
        ("family_name", &claims.family_name),
        ("middle_name", &claims.middle_name),
        ("nickname", &claims.nickname),
        ("preferred_username", &claims.preferred_username),
        ("gender", &claims.gender),
        ("zoneinfo", &claims.zoneinfo),
        ("locale", &claims.locale),
        ("phone_number", &claims.phone_number),
        ("email", &claims.email),
        ("birthdate", &claims.birthdate),
        ("profile", &claims.profile),
        ("picture", &claims.picture),
        ("website", &claims.website),
    ];
    for (name, value) in lines.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))) {
        check_text(name, value, LONGEST_CLAIM)?;
        // What a script writes for "nothing" (OpenID Connect Core §5.3.2: leave it out).
        if value == "null" {
            return Err(DocumentError::member(name, "must not be the word null; leave it out instead"));
        }
    }
    for (name, value) in [("profile", &claims.profile), ("picture", &claims.picture), ("website", &claims.website)] {
        if value.as_ref().is_some_and(|value| !is_web_url(value)) {
            return Err(DocumentError::member(name, "must be an http:// or https:// URL"));
        }
    }
    if claims.email.as_ref().is_some_and(|email| !is_email(email)) {
        return Err(DocumentError::member("email", "must be an address such as alice@example.com"));
    }
    if claims.birthdate.as_ref().is_some_and(|date| !is_birthdate(date)) {
        return Err(DocumentError::member("birthdate", "must be YYYY-MM-DD, 0000-MM-DD or YYYY (OpenID Connect Core section 5.1)"));
    }
    let Some(address) = address else { return Ok(()) };
    // Lines of an address are separated by line breaks (OpenID Connect Core §5.1.1), so those are allowed here.
    let parts =
        [&address.formatted, &address.street_address, &address.locality, &address.region, &address.postal_code, &address.country];
    for part in parts.into_iter().flatten() {
        check_text("address", &part.replace("\r\n", " ").replace('\n', " "), LONGEST_CLAIM)?;
    }
    if parts.iter().all(|part| part.is_none()) {
        return Err(DocumentError::member("address", "must not be empty; leave it out instead"));
    }
    Ok(())
}

fn is_web_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// One `@` with something on both sides, nothing that RFC 5322 would need quotes for.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '<' | '>' | '"' | ',' | ';'))
    };
    text.len() <= 254 && plain(local) && plain(domain)
}

/// The year 0000 stands for one that is not told, and has a 29 February as 2000 has.
fn is_birthdate(text: &str) -> bool {
    let number = |part: &str, length: usize| {
        let digits = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u16>().ok()).flatten()
    };
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [year] => number(year, 4).is_some_and(|year| year > 0),
        [year, month, day] => {
            let date = || {
                let year = i32::from(number(year, 4)?);
                let month = time::Month::try_from(u8::try_from(number(month, 2)?).ok()?).ok()?;
                time::Date::from_calendar_date(year, month, u8::try_from(number(day, 2)?).ok()?).ok()
            };
            date().is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const WHOLE: &str = r#"{"username":"alice","password":"correct horse","enabled":true,"groups":["staff","admins"],"name":"Alice Example",
        "given_name":"Alice","family_name":"Example","middle_name":"M","nickname":"Al","preferred_username":"al","profile":"https://a.example",
        "picture":"https://a.example/p.png","website":"http://a.example","email":"alice@example.com","email_verified":true,"gender":"female",
        "birthdate":"0000-02-29","zoneinfo":"Europe/Berlin","locale":"de-DE","phone_number":"+49 30 1","phone_number_verified":false,
        "address":{"formatted":"Weg 1\n10115 Berlin","street_address":"Weg 1","locality":"Berlin","region":"BE","postal_code":"10115","country":"DE"}}"#;

    fn complaint(text: &str) -> String {
        UserDocument::parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn every_standard_claim_may_stand_in_a_users_file() {
        let read = UserDocument::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(read.claims.given_name.as_deref(), Some("Alice"));
        assert_eq!(read.claims.address.unwrap().country.as_deref(), Some("DE"));
        assert_eq!(read.groups.unwrap(), ["staff", "admins"]);
    }

    #[test]
    fn an_unknown_member_is_refused_with_the_one_that_was_meant() {
        assert_eq!(complaint(r#"{"username":"a","famly_name":"x"}"#), "famly_name: unknown member; did you mean \"family_name\"?");
        assert!(complaint(r#"{"username":"a","address":{"street":"x"}}"#).starts_with("address: unknown field"));
    }

    #[test]
    fn what_the_server_sets_is_refused() {
        for name in ["id", "sub", "created_at"] {
            assert!(complaint(&format!(r#"{{"username":"a","{name}":"x"}}"#)).contains("set by the server"));
        }
    }

    #[test]
    fn wrong_types_and_values_are_refused_by_name() {
        for (member, value) in [
            ("username", r#""""#),
            ("username", r#"" a""#),
            ("username", r#""a\u0000""#),
            ("username", "7"),
            ("groups", r#"["a","a"]"#),
            ("groups", r#""a""#),
            ("enabled", r#""yes""#),
            ("email", r#""alice""#),
            ("email", r#""alice@x y""#),
            ("email_verified", r#""true""#),
            ("birthdate", r#""1.1.2000""#),
            ("birthdate", r#""2000-13-01""#),
            ("birthdate", r#""2001-02-29""#),
            ("birthdate", r#""0000""#),
            ("family_name", r#""null""#),
            ("picture", r#""javascript:alert(1)""#),
            ("name", r#""  ""#),
            ("address", "{}"),
        ] {
            let text = complaint(&format!(r#"{{"{member}":{value}}}"#));
            assert!(text.starts_with(&format!("{member}: ")), "{text}");
        }
    }

    #[test]
    fn a_patch_touches_what_it_names_alone() {
        let now = Timestamp::from_seconds(9);
        let user = User {
            id: Uuid::nil(),
            sub: "s".to_owned(),
            username: "alice".to_owned(),
            enabled: true,
            admin: true,
            groups: vec!["staff".to_owned()],
            claims: UserDocument::parse(WHOLE.as_bytes()).unwrap().claims,
            created_at: Timestamp::from_seconds(1),
            updated_at: Timestamp::from_seconds(1),
        };
        let patch = |text: &str| patched(&user, Document::parse(text.as_bytes()).unwrap(), now);
        let after = patch(r#"{"email":"b@example.com","nickname":null,"address":{"region":null}}"#).unwrap();
        assert_eq!(after.claims.email.as_deref(), Some("b@example.com"));
        assert_eq!(after.claims.nickname, None);
        assert_eq!(after.claims.address.as_ref().unwrap().region, None);
        assert_eq!(after.claims.address.as_ref().unwrap().country.as_deref(), Some("DE"));
        assert!(after.admin && after.enabled && after.groups == ["staff"]);
        // The new address was verified by nobody.
        assert_eq!((user.claims.email_verified, after.claims.email_verified), (Some(true), None));
        assert_eq!(patch(r#"{"email":"b@example.com","email_verified":true}"#).unwrap().claims.email_verified, Some(true));
        assert_eq!(patch(r#"{"email":"alice@example.com"}"#).unwrap().claims.email_verified, Some(true), "the same address");
        // What was shown may be sent back as it was.
        let same = patched(&user, Document::parse(show(&user).to_string().as_bytes()).unwrap(), user.updated_at).unwrap();
        assert_eq!(same, user);
        assert!(patch(r#"{"sub":"other"}"#).is_err());
        assert!(patch(r#"{"password":"correct horse"}"#).is_err());
    }
}
