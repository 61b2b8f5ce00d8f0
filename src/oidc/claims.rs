//! Claims about a user by scope (OpenID Connect Core §5.4), typed as §5.1 wants them. Absent claims are left out: never null, never blank.

use serde_json::Value;

use super::user::{ClaimMap, User};

/// OpenID Connect Core §5.4: which scope asks for which claims. Discovery's `claims_supported` is made of the same table.
pub const BY_SCOPE: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number", "phone_number_verified"]),
];

/// The claims that these scopes ask for, as far as the user has them; without `sub`.
pub fn for_scopes(user: &User, scopes: &[String]) -> ClaimMap {
    let known = all(user);
    let asked = BY_SCOPE.iter().filter(|(scope, _)| scopes.iter().any(|granted| granted == scope)).flat_map(|(_, names)| *names);
    asked.filter_map(|name| known.get(*name).map(|value| ((*name).to_owned(), value.clone()))).collect()
}

/// These claims, as far as the user has them: those that a client asked for one by one (§5.5).
pub fn named(user: &User, names: &[String]) -> ClaimMap {
    if names.is_empty() {
        return ClaimMap::new();
    }
    let mut known = all(user);
    known.retain(|name, _| names.contains(name) && scope_of(name).is_some());
    known
}

/// The scope that a claim belongs to; `None` if there is no such claim.
pub fn scope_of(claim: &str) -> Option<&'static str> {
    BY_SCOPE.iter().find(|(_, names)| names.contains(&claim)).map(|(scope, _)| *scope)
}

/// Everything that we know about the user, under the names of §5.1.
fn all(user: &User) -> ClaimMap {
    let mut known = match serde_json::to_value(&user.claims) {
        Ok(Value::Object(claims)) => claims,
        // Strings, booleans and one object of strings always serialise.
        _ => ClaimMap::new(),
    };
    // What a person typed to sign in is the shorthand name that they wish to be called by, unless they said otherwise.
    known.entry("preferred_username").or_insert_with(|| user.username.as_str().into());
    known.insert("updated_at".to_owned(), user.updated_at.seconds().into());
    drop_blanks(&mut known);
    // `true` is a promise, and an address of which nobody said anything is not verified.
    for (address, verified) in [("email", "email_verified"), ("phone_number", "phone_number_verified")] {
        if known.contains_key(address) {
            known.entry(verified).or_insert(Value::Bool(false));
        } else {
            known.remove(verified);
        }
    }
    known
}

/// §5.3.2: a claim without a value is omitted. One level deep: `address` is the only object.
fn drop_blanks(claims: &mut ClaimMap) {
    for value in claims.values_mut() {
        if let Value::Object(members) = value {
            members.retain(|_, member| !is_blank(member));
        }
    }
    claims.retain(|_, value| !is_blank(value));
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::grant::samples;
    use crate::oidc::user::{Address, Claims};

    fn alice() -> User {
        let claims = json!({
            "name": "Alice Adams", "given_name": "Alice", "family_name": "Adams", "middle_name": "B", "nickname": "Al",
            "preferred_username": "al", "profile": "https://alice.test", "picture": "https://alice.test/a.png",
            "website": "https://alice.test", "email": "alice@example.com", "email_verified": true, "gender": "female",
            "birthdate": "1990-01-02", "zoneinfo": "Europe/Berlin", "locale": "de-DE", "phone_number": "+49 30 1",
            "phone_number_verified": false, "address": {"formatted": "Street 1\nBerlin", "country": "DE"},
        });
        User { claims: serde_json::from_value(claims).unwrap(), ..samples::user() }
    }

    fn names(user: &User, scopes: &str) -> Vec<String> {
        let scopes: Vec<String> = scopes.split(' ').map(str::to_owned).collect();
        for_scopes(user, &scopes).keys().cloned().collect()
    }

    #[test]
    fn each_scope_gives_exactly_its_claims() {
        for (scope, expected) in BY_SCOPE {
            let mut expected: Vec<_> = expected.iter().map(|name| (*name).to_owned()).collect();
            expected.sort();
            let mut given = names(&alice(), &format!("openid {scope}"));
            given.sort();
            assert_eq!(given, expected, "{scope}");
        }
        assert!(names(&alice(), "openid offline_access orders:read").is_empty());
        assert_eq!(names(&alice(), "profile email address phone").len(), 19);
    }

    #[test]
    fn a_claim_that_is_named_comes_alone() {
        let given = named(&alice(), &["email", "nickname", "shoe_size"].map(str::to_owned));
        assert_eq!(Value::Object(given), json!({ "email": "alice@example.com", "nickname": "Al" }));
        assert_eq!(named(&samples::user(), &["email_verified".to_owned(), "name".to_owned()]), ClaimMap::new());
        assert_eq!((scope_of("email"), scope_of("sub")), (Some("email"), None));
    }

    #[test]
    fn claims_have_the_types_of_core_5_1() {
        let claims = for_scopes(&alice(), &["profile", "email", "address", "phone"].map(str::to_owned));
        assert!(
            claims["updated_at"].is_i64() && claims["email_verified"].is_boolean() && claims["phone_number_verified"].is_boolean()
        );
        assert_eq!(claims["address"], json!({"formatted": "Street 1\nBerlin", "country": "DE"}));
        for (name, value) in &claims {
            assert!(!is_blank(value), "{name}");
        }
    }

    #[test]
    fn what_a_user_does_not_have_is_left_out() {
        let bare = samples::user();
        assert_eq!(names(&bare, "profile email address phone"), ["preferred_username", "updated_at"]);
        assert_eq!(for_scopes(&bare, &["profile".to_owned()])["preferred_username"], "alice");
        let claims = Claims {
            name: Some(" ".to_owned()),
            email_verified: Some(true),
            phone_number: Some("+1".to_owned()),
            address: Some(Address { locality: Some(String::new()), ..Address::default() }),
            ..Claims::default()
        };
        let blank = User { claims, ..samples::user() };
        let given = for_scopes(&blank, &["profile", "email", "address", "phone"].map(str::to_owned));
        assert_eq!(given.keys().collect::<Vec<_>>().len(), 4, "{given:?}");
        assert_eq!(given["phone_number_verified"], json!(false));
    }
}
