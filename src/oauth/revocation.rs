//! Token revocation (RFC 7009). A foreign or unknown token is a silent success without effect (§2.2, security.md R-47).

use uuid::Uuid;

use super::access_token::Claims;
use super::client_auth::AuthenticatedClient;
use super::grant::FamilyFacts;
use super::refusal::Reason;
use crate::clock::Timestamp;

/// What a revocation changes. The answer is 200 in every case, but only once the change is durable (security.md R-11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// A refresh token of any generation: the family ends, and its grant with every access token (RFC 7009 §2.1, design 4.2).
    EndFamily { family_id: Uuid, grant_id: Uuid },
    /// One access token: its `jti` is remembered until `expires_at`; the grant stays (design 4.4).
    RememberToken { jti: String, expires_at: Timestamp },
    /// Nothing; the reason is for the decision record alone.
    Nothing(Reason),
}

/// A refresh token: `facts` is what the store found under its family id, `genuine` whether its MAC holds.
pub fn refresh_token(caller: &AuthenticatedClient, facts: Option<&FamilyFacts>, genuine: bool) -> Revocation {
    let Some(FamilyFacts { family, .. }) = facts.filter(|_| genuine) else {
        return Revocation::Nothing(Reason::RefreshTokenUnknown);
    };
    // RFC 7009 §2.1: verify that the token was issued to the client that asks.
    if family.client_id != caller.client_id {
        let (issued_to, presented_by) = (family.client_id.clone(), caller.client_id.clone());
        return Revocation::Nothing(Reason::RefreshTokenOfAnotherClient { issued_to, presented_by });
    }
    if let Some(ended_at) = family.ended_at {
        return Revocation::Nothing(Reason::RefreshFamilyEnded {
            ended_at,
            because: family.ended_because.clone().unwrap_or_default(),
        });
    }
    Revocation::EndFamily { family_id: family.id, grant_id: family.grant_id }
}

/// An access token whose signature or seal holds.
pub fn access_token(caller: &AuthenticatedClient, claims: &Claims, issuer: &str, now: Timestamp) -> Revocation {
    // RFC 7009 §2.1: verify that the token was issued to the client that asks.
    if claims.client_id != caller.client_id {
        return Revocation::Nothing(Reason::TokenWrongAudience {
            expected: claims.client_id.clone(),
            received: vec![caller.client_id.clone()],
        });
    }
    match claims.check(issuer, now) {
        // A token from the future is one all the same, and shall not live when its time comes.
        Ok(()) | Err(Reason::TokenFromTheFuture { .. }) => {
            Revocation::RememberToken { jti: claims.jti.clone(), expires_at: claims.expires_at }
        }
        Err(reason) => Revocation::Nothing(reason),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::family::Family;
    use crate::oauth::grant::samples::{self, at};

    fn claims() -> Claims {
        let claims = json!({
            "iss": "https://id.test", "sub": "sub-of-alice", "aud": "https://orders.test", "client_id": "app",
            "iat": 1_800_000_000, "exp": 1_800_000_600, "jti": "sealed",
        });
        Claims::read(claims.as_object().unwrap()).unwrap()
    }

    fn client(client_id: &str) -> AuthenticatedClient {
        samples::authenticated(samples::client(client_id))
    }

    fn facts(family: Family) -> FamilyFacts {
        FamilyFacts { family, standing: samples::standing() }
    }

    #[test]
    fn any_generation_of_a_refresh_token_ends_the_family() {
        let ends = Revocation::EndFamily { family_id: samples::family().id, grant_id: samples::grant().id };
        let rotated = Family { generation: 5, previous: 4, ..samples::family() };
        for family in [samples::family(), rotated] {
            assert_eq!(refresh_token(&client("app"), Some(&facts(family)), true), ends);
        }
    }

    #[test]
    fn a_foreign_or_unknown_refresh_token_has_no_effect() {
        let found = facts(samples::family());
        let ended = facts(Family { ended_at: Some(at(1)), ..samples::family() });
        for outcome in [
            refresh_token(&client("other"), Some(&found), true),
            refresh_token(&client("app"), Some(&found), false),
            refresh_token(&client("app"), None, true),
            refresh_token(&client("app"), Some(&ended), true),
        ] {
            assert!(matches!(outcome, Revocation::Nothing(_)), "{outcome:?}");
        }
    }

    #[test]
    fn an_access_token_is_remembered_until_it_expires() {
        let app = client("app");
        let remembered = Revocation::RememberToken { jti: "sealed".to_owned(), expires_at: at(600) };
        assert_eq!(access_token(&app, &claims(), "https://id.test", at(1)), remembered);
        assert_eq!(access_token(&app, &claims(), "https://id.test", at(-100)), remembered);
        assert!(matches!(access_token(&app, &claims(), "https://id.test", at(600)), Revocation::Nothing(_)));
        assert!(matches!(access_token(&app, &claims(), "https://other.test", at(1)), Revocation::Nothing(_)));
        assert!(matches!(access_token(&client("other"), &claims(), "https://id.test", at(1)), Revocation::Nothing(_)));
    }
}
