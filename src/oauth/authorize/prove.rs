//! client_id, then redirect_uri (security.md R-13). Whoever holds a [`ProvedRedirect`] may send the browser there.

use super::ResponseMode;
use crate::oauth::client::Client;
use crate::oauth::params::Params;
use crate::oauth::redirect_uri;
use crate::oauth::refusal::Reason;
use crate::oauth::scope;

/// A redirect URI that is registered for the client, and how to answer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedRedirect {
    pub client_id: String,
    pub redirect_uri: String,
    /// The request carried it.
    pub(super) sent: bool,
    pub(super) state: Option<String>,
    /// The request's; query if that one is not understood, so that its error can be told.
    pub(super) response_mode: ResponseMode,
}

/// Proves that the request comes for a known client and names one of its redirect URIs. `client` is what the store has under
/// the request's client_id.
///
/// # Errors
/// To be shown on a page of our own, without a link to anywhere: `MissingParameter`, `UnknownClient`, `ClientDisabled`,
/// `RedirectUriMissing`, `RedirectUriMismatch`.
pub fn prove(params: &Params, client: Option<&Client>) -> Result<ProvedRedirect, Reason> {
    let client_id = params.require("client_id")?;
    let Some(client) = client.filter(|client| client.client_id == client_id) else {
        return Err(Reason::UnknownClient { client_id: client_id.chars().take(255).collect() });
    };
    if !client.enabled {
        return Err(Reason::ClientDisabled { client_id: client_id.to_owned() });
    }
    let registered = &client.metadata.redirect_uris;
    let (redirect_uri, sent) = match params.get("redirect_uri") {
        Some(received) => {
            if redirect_uri::find(registered, received, client.is_native()).is_none() {
                return Err(Reason::RedirectUriMismatch {
                    client_id: client_id.to_owned(),
                    registered: registered.clone(),
                    received: received.to_owned(),
                });
            }
            (received.to_owned(), true)
        }
        // RFC 6749 §3.1.2.3: may be left out if exactly one is registered. OpenID Connect Core §3.1.2.1: required.
        None => match registered.as_slice() {
            [only] if !is_openid(params) => (only.clone(), false),
            _ => return Err(Reason::RedirectUriMissing { client_id: client_id.to_owned(), registered: registered.clone() }),
        },
    };
    let asked = params.get("response_mode");
    let modes = ResponseMode::ALL.into_iter().filter(|mode| mode.reaches(&redirect_uri));
    let response_mode = modes.into_iter().find(|mode| asked == Some(mode.as_str())).unwrap_or_default();
    Ok(ProvedRedirect {
        client_id: client_id.to_owned(),
        redirect_uri,
        sent,
        state: params.get("state").map(str::to_owned),
        response_mode,
    })
}

fn is_openid(params: &Params) -> bool {
    params.get("scope").is_some_and(|scope| scope.split(' ').any(|token| token == scope::OPENID))
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;

    fn tried(client: Option<&Client>, query: &str) -> Result<ProvedRedirect, Reason> {
        prove(&Params::parse_query(query).unwrap(), client)
    }

    #[test]
    fn a_registered_redirect_uri_is_proved_and_kept_as_it_came() {
        let proved = tried(Some(&scene::web()), "client_id=web&redirect_uri=https%3A%2F%2Fclient.example%2Fcb&state=s").unwrap();
        assert_eq!(proved.redirect_uri, "https://client.example/cb");
        assert!(proved.sent);
        assert_eq!(proved.state.as_deref(), Some("s"));
    }

    /// R-13, in this order, whatever else is wrong with the request.
    #[test]
    fn the_client_comes_first_and_then_the_redirect_uri() {
        let rest = "redirect_uri=https://evil.test/&response_type=token&scope=%22";
        assert_eq!(tried(None, rest), Err(Reason::MissingParameter { name: "client_id".into() }));
        assert!(matches!(tried(None, &format!("client_id=ghost&{rest}")), Err(Reason::UnknownClient { .. })));
        let disabled = Client { enabled: false, ..scene::web() };
        assert!(matches!(tried(Some(&disabled), &format!("client_id=web&{rest}")), Err(Reason::ClientDisabled { .. })));
        assert!(matches!(tried(Some(&scene::web()), &format!("client_id=web&{rest}")), Err(Reason::RedirectUriMismatch { .. })));
    }

    #[test]
    fn another_clients_record_proves_nothing() {
        assert!(matches!(tried(Some(&scene::web()), "client_id=other"), Err(Reason::UnknownClient { .. })));
    }

    ///
    #[test]
    fn only_the_bytes_that_are_registered_count() {
        for other in [
            "https://client.example/cb/",
            "https://client.example/cb?x=1",
            "https://client.example/CB",
            "https://client.example:443/cb",
            "https://client.example/a/../cb",
            "https://client.example\\@evil.test/cb",
            "https://user@client.example/cb",
            "//client.example/cb",
            "/cb",
            "javascript:alert(1)",
        ] {
            let escaped: String = other.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let outcome = tried(Some(&scene::web()), &format!("client_id=web&redirect_uri={escaped}"));
            assert!(matches!(outcome, Err(Reason::RedirectUriMismatch { .. })), "{other}");
        }
    }

    #[test]
    fn a_native_client_chooses_its_loopback_port() {
        let proved = tried(Some(&scene::native()), "client_id=native&redirect_uri=http://127.0.0.1:51004/cb").unwrap();
        assert_eq!(proved.redirect_uri, "http://127.0.0.1:51004/cb");
    }

    #[test]
    fn redirect_uri_may_be_left_out_by_plain_oauth_clients_with_one_alone() {
        assert!(!tried(Some(&scene::web()), "client_id=web&scope=orders:read").unwrap().sent);
        assert!(matches!(tried(Some(&scene::web()), "client_id=web&scope=openid"), Err(Reason::RedirectUriMissing { .. })));
        let mut two = scene::web();
        two.metadata.redirect_uris.push("https://client.example/other".to_owned());
        assert!(matches!(tried(Some(&two), "client_id=web&scope=orders:read"), Err(Reason::RedirectUriMissing { .. })));
        two.metadata.redirect_uris.clear();
        assert!(matches!(tried(Some(&two), "client_id=web"), Err(Reason::RedirectUriMissing { .. })));
    }
}
