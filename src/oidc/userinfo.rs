//! The userinfo endpoint (OpenID Connect Core §5.3): which tokens it takes, and what it says.

use super::claims::told;
use super::user::{ClaimMap, Profile};
use crate::oauth::access_token::Claims;
use crate::oauth::refusal::Reason;
use crate::oauth::scope;

/// Is this token meant for userinfo at all? To be asked after [`Claims::check`], before the store;
/// a dead token is refused as such before it is told that it lacks a scope.
///
/// # Errors
/// `TokenWrongAudience`: its `aud` lacks the issuer (design 4.4). `InsufficientScope`: it is nobody's sign-in (§5.3.1).
pub fn accept(claims: &Claims, issuer: &str) -> Result<(), Reason> {
    if !claims.audience.iter().any(|audience| audience == issuer) {
        return Err(Reason::TokenWrongAudience { expected: issuer.to_owned(), received: claims.audience.clone() });
    }
    let signed_in = claims.scopes.iter().any(|granted| granted == scope::OPENID) && !claims.is_clients_own();
    if !signed_in {
        return Err(Reason::InsufficientScope { needed: scope::OPENID.to_owned(), received: claims.scopes.clone() });
    }
    Ok(())
}

/// OpenID Connect Core §5.3.2: `sub` always, the claims of the token's own scopes, and those that were asked for by name (§5.5). A name whose
/// scope was `granted` stands or falls with it: a refresh may have left it out of this token.
pub fn response(claims: &Claims, user: Profile<'_>, asked: &[String], granted: &[String]) -> ClaimMap {
    let is_in = |list: &[String], name: &str| list.iter().any(|member| member == name);
    let mut body = told(user, |scope, name| is_in(&claims.scopes, scope) || (is_in(asked, name) && !is_in(granted, scope)));
    body.insert("sub".to_owned(), claims.subject.as_str().into());
    body
}

/// The claims as a JWT's for this client (OpenID Connect Core §5.3.2): with issuer and audience.
pub fn addressed(mut claims: ClaimMap, issuer: &str, client_id: &str) -> ClaimMap {
    claims.insert("iss".to_owned(), issuer.into());
    claims.insert("aud".to_owned(), client_id.into());
    claims
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oauth::grant::samples;

    fn claims(aud: Value, scope: &str, sub: &str) -> Claims {
        let claims = json!({
            "iss": "https://id.test", "sub": sub, "aud": aud, "client_id": "app", "scope": scope,
            "iat": 1_800_000_000, "exp": 1_800_000_600, "jti": "sealed",
        });
        Claims::read(claims.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_token_for_the_issuer_with_openid_is_accepted() {
        for aud in [json!("https://id.test"), json!(["https://api.test", "https://id.test"])] {
            assert_eq!(accept(&claims(aud, "email openid", "alice"), "https://id.test"), Ok(()));
        }
    }

    #[test]
    fn a_token_for_somebody_else_is_refused() {
        let refused = accept(&claims(json!("https://api.test"), "openid", "alice"), "https://id.test");
        assert!(matches!(refused, Err(Reason::TokenWrongAudience { .. })));
    }

    #[test]
    fn a_token_that_is_nobodys_sign_in_is_refused() {
        for token in [claims(json!("https://id.test"), "email", "alice"), claims(json!("https://id.test"), "openid", "app")] {
            assert!(matches!(accept(&token, "https://id.test"), Err(Reason::InsufficientScope { .. })));
        }
    }

    #[test]
    fn the_answer_has_the_subject_and_the_claims_of_the_scopes() {
        let token = claims(json!("https://id.test"), "openid profile", "sub-of-alice");
        let body = response(&token, samples::user().profile(), &["name".to_owned()], &[]);
        let expected = json!({"sub": "sub-of-alice", "preferred_username": "alice", "updated_at": 1_799_999_000});
        assert_eq!(Value::Object(body), expected);
    }

    #[test]
    fn a_claim_that_was_named_stands_or_falls_with_a_scope_that_was_granted() {
        let user = samples::user();
        let told = |token: &str, asked: &str, granted: &[&str]| {
            let granted: Vec<String> = granted.iter().map(|scope| (*scope).to_owned()).collect();
            response(&claims(json!("https://id.test"), token, "s"), user.profile(), &[asked.to_owned()], &granted).len() - 1
        };
        assert_eq!(told("openid", "updated_at", &["openid"]), 1);
        assert_eq!(told("openid", "updated_at", &["openid", "email"]), 1, "another scope");
        assert_eq!(told("openid", "updated_at", &["openid", "profile"]), 0, "left out of this token");
        assert_eq!(told("openid profile", "updated_at", &["openid", "profile"]), 2);
        assert_eq!(told("openid", "sub", &["openid"]), 0);
    }
}
