//! Claims about a user by scope (OpenID Connect Core §5.4), typed as §5.1 wants them. Absent claims are left out: never null, never blank.

use serde_json::Value;

use super::user::{Address, ClaimMap, Claims, Profile};

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

/// The claims of which `is_wanted` says so of scope and name, as far as the user has them; without `sub`.
pub fn told(user: Profile<'_>, is_wanted: impl Fn(&str, &str) -> bool) -> ClaimMap {
    let all = BY_SCOPE.iter().flat_map(|(scope, names)| names.iter().map(move |name| (*scope, *name)));
    let wanted = all.filter(|(scope, name)| is_wanted(scope, name));
    wanted.filter_map(|(_, name)| Some((name.to_owned(), value(user, name)?))).collect()
}

/// The claims that these scopes ask for.
pub fn for_scopes(user: Profile<'_>, scopes: &[String]) -> ClaimMap {
    told(user, |scope, _| scopes.iter().any(|granted| granted == scope))
}

/// These claims: those that a client asked for one by one (§5.5).
pub fn named(user: Profile<'_>, names: &[String]) -> ClaimMap {
    told(user, |_, name| names.iter().any(|asked| asked == name))
}

/// The scope that a claim belongs to; `None` if there is no such claim.
pub fn scope_of(claim: &str) -> Option<&'static str> {
    BY_SCOPE.iter().find(|(_, names)| names.contains(&claim)).map(|(scope, _)| *scope)
}

/// The claim of this name. Without a value it is omitted (§5.3.2).
fn value(user: Profile<'_>, claim: &str) -> Option<Value> {
    let Claims {
        name,
        given_name,
        family_name,
        middle_name,
        nickname,
        preferred_username,
        profile,
        picture,
        website,
        email,
        email_verified,
        gender,
        birthdate,
        zoneinfo,
        locale,
        phone_number,
        phone_number_verified,
        address,
    } = user.claims;
    match claim {
        "name" => text(name),
        "given_name" => text(given_name),
        "family_name" => text(family_name),
        "middle_name" => text(middle_name),
        "nickname" => text(nickname),
        // What a person typed to sign in is the shorthand name that they wish to be called by, unless they said otherwise.
        "preferred_username" => filled(preferred_username.as_deref().unwrap_or(user.username)).map(Value::from),
        "profile" => text(profile),
        "picture" => text(picture),
        "website" => text(website),
        "gender" => text(gender),
        "birthdate" => text(birthdate),
        "zoneinfo" => text(zoneinfo),
        "locale" => text(locale),
        "updated_at" => Some(user.updated_at.seconds().into()),
        "email" => text(email),
        "email_verified" => verified(email, *email_verified),
        "address" => address.as_ref().and_then(members),
        "phone_number" => text(phone_number),
        "phone_number_verified" => verified(phone_number, *phone_number_verified),
        _ => None,
    }
}

fn text(claim: &Option<String>) -> Option<Value> {
    claim.as_deref().and_then(filled).map(Value::from)
}

/// `true` is a promise, and an address of which nobody said anything is not verified.
fn verified(address: &Option<String>, verified: Option<bool>) -> Option<Value> {
    address.as_deref().and_then(filled).map(|_| verified.unwrap_or(false).into())
}

/// The members of the address that are not blank.
fn members(address: &Address) -> Option<Value> {
    // An object of strings always serialises.
    let Ok(Value::Object(mut members)) = serde_json::to_value(address) else { return None };
    members.retain(|_, member| member.as_str().and_then(filled).is_some());
    (!members.is_empty()).then_some(Value::Object(members))
}

/// A text that is not blank.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::grant::samples;
    use crate::oidc::user::User;

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
        for_scopes(user.profile(), &scopes).keys().cloned().collect()
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
        let given = named(alice().profile(), &["email", "nickname", "shoe_size"].map(str::to_owned));
        assert_eq!(Value::Object(given), json!({ "email": "alice@example.com", "nickname": "Al" }));
        assert_eq!(named(samples::user().profile(), &["email_verified".to_owned(), "name".to_owned()]), ClaimMap::new());
        assert_eq!((scope_of("email"), scope_of("sub")), (Some("email"), None));
    }

    #[test]
    fn claims_have_the_types_of_core_5_1() {
        let claims = for_scopes(alice().profile(), &["profile", "email", "address", "phone"].map(str::to_owned));
        assert!(
            claims["updated_at"].is_i64() && claims["email_verified"].is_boolean() && claims["phone_number_verified"].is_boolean()
        );
        assert_eq!(claims["address"], json!({"formatted": "Street 1\nBerlin", "country": "DE"}));
        for (name, value) in &claims {
            assert!(!value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty()), "{name}");
        }
    }

    #[test]
    fn what_a_user_does_not_have_is_left_out() {
        let bare = samples::user();
        assert_eq!(names(&bare, "profile email address phone"), ["preferred_username", "updated_at"]);
        assert_eq!(for_scopes(bare.profile(), &["profile".to_owned()])["preferred_username"], "alice");
        let claims = Claims {
            name: Some(" ".to_owned()),
            email_verified: Some(true),
            phone_number: Some("+1".to_owned()),
            address: Some(Address { locality: Some(String::new()), ..Address::default() }),
            ..Claims::default()
        };
        let of_blanks = Claims {
            preferred_username: Some(" ".to_owned()),
            email: Some("\t".to_owned()),
            email_verified: Some(true),
            address: Some(Address { country: Some(" ".to_owned()), ..Address::default() }),
            ..Claims::default()
        };
        let nothing = User { claims: of_blanks, ..samples::user() };
        assert_eq!(names(&nothing, "profile email address phone"), ["updated_at"]);
        let blank = User { claims, ..samples::user() };
        let given = for_scopes(blank.profile(), &["profile", "email", "address", "phone"].map(str::to_owned));
        assert_eq!(given.keys().collect::<Vec<_>>().len(), 4, "{given:?}");
        assert_eq!(given["phone_number_verified"], json!(false));
    }
}
