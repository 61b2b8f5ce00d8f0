//! Who may use the admin API (security.md ): the bearer of a token that was made for it alone, with a scope that the client
//! and, where a person stands behind the token, that person still hold.

use super::access_token::Claims;
use super::client::Client;
use super::refusal::Reason;
use super::resource::{ADMIN_READ, ADMIN_WRITE, Resource};

/// What an operation needs. The order is inclusion: who may write may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// `admin:read`.
    Read,
    /// `admin:write`.
    Write,
}

impl Right {
    /// The scope that gives it.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Read => ADMIN_READ,
            Self::Write => ADMIN_WRITE,
        }
    }
}

/// The audience of the admin API's tokens (design 4.4).
pub fn audience(issuer: &str) -> String {
    format!("{issuer}/admin/api")
}

/// Made for the admin API and for nothing else: whoever else receives a token could come here with it.
///
/// # Errors
/// `TokenWrongAudience`.
pub fn accept(claims: &Claims, issuer: &str) -> Result<(), Reason> {
    let expected = audience(issuer);
    if claims.audience == [expected.as_str()] {
        return Ok(());
    }
    Err(Reason::TokenWrongAudience { expected, received: claims.audience.clone() })
}

/// What the token gives now: a scope counts while the client is registered for it, and while the person behind the token, if there is one, is
/// an administrator: `in_office`. `None` is no right at all.
pub fn right(claims: &Claims, client: &Client, in_office: bool, resources: &[Resource]) -> Option<Right> {
    let held = client.allowed_scopes(resources);
    let gives =
        |right: Right| claims.scopes.iter().any(|scope| scope == right.scope()) && held.iter().any(|scope| scope == right.scope());
    [Right::Write, Right::Read].into_iter().find(|right| in_office && gives(*right))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::grant::samples;
    use crate::oauth::resource::Catalogue;

    const ISSUER: &str = "https://id.test";

    fn claims(aud: serde_json::Value, scope: &str) -> Claims {
        let claims =
            json!({ "iss": ISSUER, "sub": "app", "aud": aud, "client_id": "app", "iat": 1, "exp": 2, "jti": "j", "scope": scope });
        Claims::read(claims.as_object().unwrap()).unwrap()
    }

    #[test]
    fn the_audience_is_the_admin_api_alone() {
        assert!(accept(&claims(json!("https://id.test/admin/api"), "admin:read"), ISSUER).is_ok());
        for wrong in [
            json!(ISSUER),
            json!("https://id.test/admin/api/"),
            json!("https://id.test/admin/api/v1"),
            json!([ISSUER, "https://id.test/admin/api"]),
            json!(["https://id.test/admin/api", "https://orders.test"]),
        ] {
            assert!(
                matches!(accept(&claims(wrong.clone(), "admin:read"), ISSUER), Err(Reason::TokenWrongAudience { .. })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_scope_counts_while_client_and_person_hold_it() {
        let resources = Catalogue::new(Vec::new(), ISSUER);
        let right = |token: &str, registered: &str, in_office: bool| {
            let mut client = samples::client("app");
            client.metadata.scope = Some(registered.to_owned());
            right(&claims(json!("https://id.test/admin/api"), token), &client, in_office, resources.resources())
        };
        assert_eq!(right("admin:write", "admin:write", true), Some(Right::Write));
        assert_eq!(right("admin:read", "admin:write", true), Some(Right::Read), "write includes read");
        assert_eq!(right("admin:write admin:read", "admin:read", true), Some(Right::Read), "the client lost it");
        assert_eq!(right("admin:write", "openid", true), None);
        assert_eq!(right("openid", "admin:write", true), None);
        assert_eq!(right("admin:write", "admin:write", false), None);
    }
}
