//! What operators and programs send: documents of clients, people, groups and APIs, changes of them, and questions about lists.

use serde_json::{Map, Value};

use super::cast::NOW;
use super::{check_printable, check_refusal, lines, text};
use crate::clock::Timestamp;
use crate::http::admin::{audit, page};
use crate::jose;
use crate::oauth::client::{self, Client, ClientMetadata, GrantType, Introspection, Policy};
use crate::oauth::grant::samples;
use crate::oauth::registration::{self as rules, Allowed, Limits};
use crate::oauth::resource;
use crate::oidc::claims;
use crate::oidc::user::User;
use crate::service::account::profile::Field;
use crate::service::clients::{self, ClientDocument};
use crate::service::document::{Document, DocumentError};
use crate::service::{groups, registration, resources, users};

/// A merge patch does what RFC 7396 §2 says, doing it twice changes nothing more, and no null is left of it.
pub fn merge_patch(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [target, patch] = lines(text);
    let (Ok(target), Ok(patch)) = (jose::object(target.as_bytes()), jose::object(patch.as_bytes())) else { return };
    let merged = |mut target: Map<String, Value>| {
        Document::of(patch.clone()).merge_into(&mut target);
        target
    };
    let once = merged(target.clone());
    assert_eq!(Value::Object(once.clone()), rfc_7396(Some(Value::Object(target.clone())), &Value::Object(patch.clone())));
    assert_eq!(merged(once.clone()), once);
    let mut same = target.clone();
    Document::default().merge_into(&mut same);
    assert_eq!(same, target);
}

/// The pseudo-code of RFC 7396 §2.
fn rfc_7396(target: Option<Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Some(Value::Object(members)) => members,
        Some(_) | None => Map::new(),
    };
    for (name, value) in patch {
        let before = target.remove(name);
        if !value.is_null() {
            target.insert(name.clone(), rfc_7396(before, value));
        }
    }
    Value::Object(target)
}

/// What is accepted of a client stays accepted and as it is, is shown and sent back without a change, and nobody gives privileges to
/// themselves.
pub fn client(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [file, patch] = lines(text);
    let operator = Policy { redirect_schemes: vec!["cursor".to_owned()], operator: true, loopback_http: false };
    let document = match ClientDocument::parse(file.as_bytes()) {
        Ok(document) => document,
        Err(error) => return check_document_error(&error),
    };
    let metadata = match client::validate(document.metadata, &operator) {
        Ok(metadata) => metadata,
        Err(error) => return check_printable(&error.to_string()),
    };
    assert_eq!(client::validate(metadata.clone(), &operator).as_ref(), Ok(&metadata));
    if let Ok(theirs) = client::validate(metadata.clone(), &Policy::default()) {
        assert!(!theirs.first_party && theirs.require_pkce && theirs.claims.is_empty() && theirs.second_factor.is_none());
        assert!(!theirs.scope.unwrap_or_default().split(' ').any(resource::is_admin));
    }
    let stored = serde_json::to_string(&metadata).expect("JSON");
    assert_eq!(serde_json::from_str::<ClientMetadata>(&stored).expect("what was stored is read"), metadata);
    let client = Client { metadata, ..samples::client("app") };
    let shown = clients::show(&client);
    for same in [Map::new(), shown.as_object().expect("an object").clone()] {
        let after = clients::document::patched(&client, Document::of(same)).expect("nothing is changed");
        assert_eq!((after.metadata, after.enabled), (client.metadata.clone(), Some(client.enabled)));
    }
    match Document::parse(patch.as_bytes()).and_then(|patch| clients::document::patched(&client, patch)) {
        Err(error) => check_document_error(&error),
        Ok(after) => {
            if let Err(error) = client::validate(after.metadata, &operator) {
                check_printable(&error.to_string());
            }
        }
    }
}

/// What a client may register for itself is within its limits and holds no privilege; what it is told of itself it may send back; and a change of
/// its own leaves what operators set.
pub fn registration(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [first, second] = lines(text);
    let policy = Policy { redirect_schemes: vec!["cursor".to_owned()], operator: false, loopback_http: false };
    let scopes = ["openid".to_owned(), "email".to_owned(), "orders:read".to_owned()];
    let allowed = Allowed { grant_types: &[GrantType::AuthorizationCode, GrantType::RefreshToken], scopes: &scopes };
    let accepted = |text: &str| {
        let document = Document::parse(text.as_bytes()).ok()?;
        match registration::acceptable(document, &Limits::default(), allowed, &policy) {
            Ok(metadata) => Some(metadata),
            Err(reason) => {
                check_refusal(&reason);
                None
            }
        }
    };
    let Some(metadata) = accepted(first) else { return };
    assert!(metadata.grant_types.iter().all(|grant| allowed.grant_types.contains(grant)));
    assert!(
        metadata
            .scope
            .iter()
            .flat_map(|text| text.split(' '))
            .all(|name| name.is_empty() || scopes.iter().any(|known| known == name))
    );
    let ours = ClientMetadata { introspection: Introspection::Any, first_party: true, ..ClientMetadata::default() };
    assert_eq!(rules::replaced(&ClientMetadata::default(), &metadata).as_ref(), Ok(&metadata), "it set nothing of ours");
    let kept = rules::replaced(&ours, &metadata).expect("metadata");
    assert!(kept.first_party && kept.introspection == Introspection::Any && kept.redirect_uris == metadata.redirect_uris);
    let shown = Value::Object(rules::shown(&metadata).expect("metadata"));
    for (name, value) in shown.as_object().expect("an object") {
        let address = name.ends_with("_uri");
        assert!(!address || value.as_str().is_some_and(|url| url.starts_with("https://")), "{name}: {value}");
    }
    assert_eq!(accepted(&shown.to_string()).as_ref(), Some(&metadata));
    let _ = accepted(second);
}

/// The same of people, groups and APIs; and what people say of themselves in a form.
pub fn people(data: &[u8]) {
    if let Some(typed) = text(data) {
        for field in Field::ALL {
            let Ok(Some(value)) = field.check(typed) else { continue };
            assert_eq!(field.check(&value), Ok(Some(value.clone())), "{field:?}");
            assert!(value.chars().count() <= field.longest() && value.trim() == value);
        }
    }
    match groups::parse(data) {
        Err(error) => check_document_error(&error),
        Ok(group) => {
            assert_eq!(groups::check(&group), Ok(()));
            check_plain(&group.identifier);
        }
    }
    match resources::parse(data) {
        Err(error) => check_document_error(&error),
        Ok(api) => match resource::validate(api, &samples::catalogue()) {
            Err(error) => check_printable(&error.to_string()),
            Ok(api) => {
                assert_eq!(resource::validate(api.clone(), &samples::catalogue()).as_ref(), Ok(&api));
                let stored = serde_json::to_vec(&api).expect("JSON");
                assert_eq!(resources::parse(&stored).as_ref(), Ok(&api));
                check_plain(&api.identifier);
            }
        },
    }
    match users::UserDocument::parse(data) {
        Err(error) => check_document_error(&error),
        Ok(read) => {
            let Some(username) = read.username else { return };
            check_plain(&username);
            let user = User {
                username,
                groups: read.groups.unwrap_or_default(),
                claims: read.claims,
                enabled: read.enabled.unwrap_or(true),
                admin: read.admin.unwrap_or(false),
                ..samples::user()
            };
            let shown = users::show(&user);
            let again = users::document::patched(&user, Document::of(shown.as_object().expect("an object").clone()), NOW);
            assert_eq!(again.expect("nothing is changed"), User { updated_at: NOW, ..user.clone() });
            let scopes = claims::BY_SCOPE.map(|(scope, _)| scope.to_owned());
            for (name, value) in claims::for_scopes(user.profile(), &scopes) {
                assert!(!value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty()), "{name}");
            }
            // What is verified is an address that is there.
            let told = claims::for_scopes(user.profile(), &scopes);
            assert_eq!(told.contains_key("email"), told.contains_key("email_verified"));
        }
    }
}

/// Stored text has no control characters; what turns its direction around is escaped where it is shown.
fn check_plain(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn check_document_error(error: &DocumentError) {
    assert!(error.to_string().len() < 100_000);
    check_printable(&error.to_string());
}

/// A page has a size, an instant is one, and a cursor of the log is the one that we write.
pub fn admin_query(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [limit, instant, place] = lines(text);
    match page::limit(Some(limit)) {
        Err(refused) => check_refusal(&refused),
        Ok(limit) => assert!((1..=200).contains(&limit)),
    }
    match audit::read_instant("from", instant) {
        Err(refused) => check_refusal(&refused),
        Ok(at) => {
            let years = Timestamp::from_seconds(-62_200_000_000)..Timestamp::from_seconds(253_500_000_000);
            assert!(years.contains(&at), "{at:?}");
            // The years that RFC 3339 can write.
            if (0..253_402_300_800).contains(&at.seconds()) {
                assert_eq!(audit::read_instant("from", &at.rfc3339_micros()), Ok(at));
            }
        }
    }
    match audit::place(place) {
        Err(refused) => check_refusal(&refused),
        Ok(found) => {
            let written = format!("{}:{}", found.at.micros(), found.id);
            let again = audit::place(&written).expect("what was written is read");
            assert_eq!((again.at, again.id), (found.at, found.id));
        }
    }
}
