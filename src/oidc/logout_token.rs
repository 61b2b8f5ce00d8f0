//! What clients are told when a session ends: logout tokens (OpenID Connect Back-Channel Logout §2.4), and the addresses that their
//! front-channel pages are shown at (Front-Channel Logout §2).

use std::time::Duration;

use serde_json::json;

use super::user::ClaimMap;
use crate::clock::Timestamp;
use crate::oauth::redirect_uri;

/// The one member of `events`.
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// §2.4: "preferably at most two minutes in the future". Each attempt to deliver signs anew.
pub const LIFETIME: Duration = Duration::from_secs(120);

/// Of whose session a logout token tells, and to whom: `sub` and `sid` as the client's ID tokens have them.
#[derive(Debug, Clone, Copy)]
pub struct LogoutToken<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub sub: &'a str,
    pub sid: &'a str,
    /// Random, another one in every token.
    pub jti: &'a str,
    pub issued_at: Timestamp,
}

/// §2.4. There is no `nonce`, so that it can never pass for an ID token.
pub fn claims(token: &LogoutToken<'_>) -> ClaimMap {
    let members = [
        ("iss", json!(token.issuer)),
        ("sub", json!(token.sub)),
        ("aud", json!(token.client_id)),
        ("iat", json!(token.issued_at.seconds())),
        ("exp", json!(token.issued_at.plus(LIFETIME).seconds())),
        ("jti", json!(token.jti)),
        ("events", json!({ EVENT: {} })),
        ("sid", json!(token.sid)),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// Front-Channel Logout §2: where an iframe shows the client's own page, which ends its session by its own cookies.
pub fn frame(frontchannel_logout_uri: &str, issuer: &str, sid: &str) -> String {
    redirect_uri::with_query(frontchannel_logout_uri, &[("iss", issuer), ("sid", sid)])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_logout_token_is_that_of_the_specification() {
        let issued_at = Timestamp::from_seconds(1_800_000_000);
        let token = LogoutToken { issuer: "https://id.test", client_id: "app", sub: "alice", sid: "s", jti: "j", issued_at };
        let expected = json!({
            "iss": "https://id.test", "sub": "alice", "aud": "app", "iat": 1_800_000_000, "exp": 1_800_000_120, "jti": "j", "sid": "s",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        assert_eq!(Value::Object(claims(&token)), expected);
    }

    #[test]
    fn a_frame_names_the_issuer_and_the_session() {
        assert_eq!(
            frame("https://app.test/out", "https://id.test/a", "s-1"),
            "https://app.test/out?iss=https%3A%2F%2Fid.test%2Fa&sid=s-1"
        );
        assert_eq!(
            frame("https://app.test/out?x=1", "https://id.test", "s"),
            "https://app.test/out?x=1&iss=https%3A%2F%2Fid.test&sid=s"
        );
    }
}
