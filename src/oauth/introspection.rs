//! Token introspection (RFC 7662): who may see what (design 4.4), and the answer.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::access_token::Claims;
use super::client::Introspection;
use super::client_auth::AuthenticatedClient;
use super::family::{self, Presented};
use super::grant::FamilyFacts;
use super::grant::Limits;
use super::refusal::Reason;
use super::resource::Resource;
use super::scope;
use crate::clock::Timestamp;
use crate::json::Object;
use crate::oidc::user::ClaimMap;

/// What the caller is told. The reason of an inactive answer is for the decision record alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of an access token, written already.
    Token(Bytes),
    Active(ClaimMap),
    Inactive(Reason),
}

impl Answer {
    /// The answer in JSON.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn json(self) -> serde_json::Result<Bytes> {
        let mut json = Vec::new();
        let mut body = Object::begin(&mut json);
        match self {
            Self::Token(written) => return Ok(written),
            Self::Active(claims) => {
                body.value("active", &true)?;
                for (name, value) in &claims {
                    body.value(name, value)?;
                }
            }
            // RFC 7662 §2.2: an inactive token's answer has no other member.
            Self::Inactive(_) => body.value("active", &false)?,
        }
        body.end();
        Ok(json.into())
    }
}

/// RFC 7662 §2.1: the endpoint needs authorization, and a client that cannot authenticate has none.
///
/// # Errors
/// `IntrospectionNotAllowed`.
pub fn may_ask(caller: &AuthenticatedClient) -> Result<(), Reason> {
    if caller.method().proves() { Ok(()) } else { Err(not_allowed(caller)) }
}

/// Answers about an access token whose signature or seal holds. `live` is the outcome of [`Claims::check`] and [`Claims::is_live`].
pub fn access_token(caller: &AuthenticatedClient, claims: &Claims, live: Result<(), Reason>, resources: &[Resource]) -> Answer {
    if !may_see(caller, &claims.client_id, &claims.audience, resources) {
        return Answer::Inactive(not_allowed(caller));
    }
    if let Err(reason) = live {
        return Answer::Inactive(reason);
    }
    Answer::Token(claims.introspected().clone())
}

/// Answers about a refresh token. An old generation is inactive, and asking has no effect (design 4.2).
pub fn refresh_token(
    caller: &AuthenticatedClient,
    presented: &Presented,
    facts: Option<&FamilyFacts>,
    genuine: bool,
    context: &Context<'_>,
) -> Answer {
    let Some(FamilyFacts { family, standing }) = facts else {
        return Answer::Inactive(Reason::RefreshTokenUnknown);
    };
    // A refresh token is nobody's business but its client's: it names no audience.
    if !may_see(caller, &family.client_id, &[], &[]) {
        return Answer::Inactive(not_allowed(caller));
    }
    let Context { issuer, limits, now } = *context;
    if let Err(reason) = family::admit(family, &family.client_id, genuine, limits.refresh_idle, now) {
        return Answer::Inactive(reason);
    }
    if let Err(reason) = standing.check(limits.session_idle, now) {
        return Answer::Inactive(reason);
    }
    if presented.generation > family.generation {
        return Answer::Inactive(Reason::RefreshTokenAhead { presented: presented.generation, current: family.generation });
    }
    if presented.generation < family.generation {
        return Answer::Inactive(Reason::TokenRevoked { because: "it was redeemed for a newer refresh token".to_owned() });
    }
    let mut body = ClaimMap::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("iss", issuer.into());
    put("sub", standing.grant.sub.as_str().into());
    put("client_id", family.client_id.as_str().into());
    put("scope", scope::join(&standing.grant.scopes).into());
    put("iat", family.created_at.seconds().into());
    put("exp", end(family, limits.refresh_idle).seconds().into());
    Answer::Active(body)
}

/// What an answer about a refresh token depends on beside the token.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub issuer: &'a str,
    pub limits: Limits,
    pub now: Timestamp,
}

/// The first of absolute and idle end.
fn end(family: &family::Family, idle: Duration) -> Timestamp {
    family.expires_at.min(family.last_used_at.plus(idle))
}

/// Design 4.4: its own client, the `introspection_clients` of a resource that it is for, and clients that may see everything.
fn may_see(caller: &AuthenticatedClient, issued_to: &str, audience: &[String], resources: &[Resource]) -> bool {
    let own = caller.client_id == issued_to;
    let any = match caller.metadata.introspection {
        Introspection::Any => true,
        Introspection::Own => false,
    };
    let named = resources
        .iter()
        .filter(|resource| audience.contains(&resource.identifier))
        .any(|resource| resource.introspection_clients.contains(&caller.client_id));
    own || any || named
}

fn not_allowed(caller: &AuthenticatedClient) -> Reason {
    Reason::IntrospectionNotAllowed { client_id: caller.client_id.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::client::AuthMethod;
    use crate::oauth::client::Client;
    use crate::oauth::family::{Family, encode};
    use crate::oauth::grant::samples::{self, at};

    fn claims() -> Claims {
        let claims = json!({
            "iss": "https://id.test", "sub": "sub-of-alice", "aud": ["https://orders.test"], "client_id": "app",
            "iat": 1_800_000_000, "exp": 1_800_000_600, "jti": "sealed", "scope": "orders:read", "auth_time": 1_799_999_970,
        });
        Claims::read(claims.as_object().unwrap()).unwrap()
    }

    fn resources(introspection_clients: &[&str]) -> Vec<Resource> {
        let mut orders = samples::resource("https://orders.test", &["orders:read"]);
        orders.introspection_clients = introspection_clients.iter().map(|client| (*client).to_owned()).collect();
        let mut mail = samples::resource("https://mail.test", &["mail:send"]);
        mail.introspection_clients = vec!["mail-api".to_owned()];
        vec![orders, mail]
    }

    fn told(answer: Answer) -> Value {
        serde_json::from_slice(&answer.json().unwrap()).unwrap()
    }

    fn about_access(caller: &Client, live: Result<(), Reason>) -> Value {
        told(access_token(&samples::authenticated(caller.clone()), &claims(), live, &resources(&["orders-api"])))
    }

    fn about_refresh(caller: &Client, generation: i64, family: Family, genuine: bool) -> Value {
        let presented = Presented::parse(encode(family.id, generation, &[1; 32]).expose()).unwrap();
        let facts = FamilyFacts { family, standing: samples::standing() };
        let context = Context { issuer: "https://id.test", limits: samples::LIMITS, now: at(100) };
        let caller = samples::authenticated(caller.clone());
        told(refresh_token(&caller, &presented, Some(&facts), genuine, &context))
    }

    #[test]
    fn a_token_is_seen_by_its_client_its_resource_and_those_who_may_see_all() {
        let mut all_seeing = samples::client("auditor");
        all_seeing.metadata.introspection = Introspection::Any;
        for caller in [samples::client("app"), samples::client("orders-api"), all_seeing] {
            let answer = about_access(&caller, Ok(()));
            assert_eq!(
                (&answer["active"], &answer["token_type"], &answer["scope"]),
                (&json!(true), &json!("Bearer"), &json!("orders:read"))
            );
        }
    }

    #[test]
    fn everybody_else_sees_exactly_active_false() {
        for caller in ["other", "mail-api"] {
            assert_eq!(about_access(&samples::client(caller), Ok(())), json!({"active": false}));
            assert_eq!(about_refresh(&samples::client(caller), 1, samples::family(), true), json!({"active": false}));
        }
        // A resource's client does not see refresh tokens.
        assert_eq!(about_refresh(&samples::client("orders-api"), 1, samples::family(), true), json!({"active": false}));
    }

    #[test]
    fn a_dead_token_is_exactly_active_false() {
        let dead = Err(Reason::TokenRevoked { because: "x".to_owned() });
        assert_eq!(about_access(&samples::client("app"), dead), json!({"active": false}));
    }

    #[test]
    fn a_refresh_token_is_active_while_it_is_the_head() {
        let expected = json!({
            "active": true, "iss": "https://id.test", "sub": "sub-of-alice", "client_id": "app",
            "scope": "openid offline_access orders:read", "iat": 1_800_000_000, "exp": 1_800_000_000 + 30 * 86_400,
        });
        let app = samples::client("app");
        assert_eq!(about_refresh(&app, 1, samples::family(), true), expected);
        let second = Family { generation: 2, previous: 1, ..samples::family() };
        for (generation, family, genuine) in [
            (1, second.clone(), true),
            (3, second, true),
            (1, samples::family(), false),
            (1, Family { ended_at: Some(at(1)), ..samples::family() }, true),
        ] {
            assert_eq!(about_refresh(&app, generation, family, genuine), json!({"active": false}));
        }
    }

    #[test]
    fn a_client_that_cannot_authenticate_may_not_ask() {
        let mut public = samples::client("spa");
        public.metadata.token_endpoint_auth_method = AuthMethod::None;
        assert!(matches!(may_ask(&samples::authenticated(public)), Err(Reason::IntrospectionNotAllowed { .. })));
        assert_eq!(may_ask(&samples::authenticated(samples::client("app"))), Ok(()));
    }
}
