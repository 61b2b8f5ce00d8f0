//! Client authentication (RFC 6749 §2.3): one file per method. Holding an [`AuthenticatedClient`] means that it happened.
//!
//! The work is the same for an unknown client and for a wrong secret, and so is the answer (security.md R-27). Which method
//! succeeded is part of the result, so that nobody has to look at the request again.

pub(crate) mod client_secret_basic;
mod client_secret_post;
mod none;
pub mod private_key_jwt;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::client::{AuthMethod, Client};
use super::params::Params;
use super::refusal::Reason;
use crate::clock::Timestamp;
use crate::secret::{Digest, Secret};

pub use private_key_jwt::Assertion;

/// What assertions are measured by.
#[derive(Debug, Clone)]
pub struct Rules<'a> {
    pub issuer: &'a str,
    /// The token endpoint's URL, which clients without a strict profile may name as well (design 7).
    pub token_endpoint: String,
    /// `[lifetimes] client_assertion`.
    pub longest: Duration,
    /// How much a client's clock may differ from ours (design 5).
    pub tolerance: Duration,
}

/// What a request says about its client, before anything is believed.
#[derive(Debug)]
pub struct Credentials {
    client_id: Option<String>,
    presented: Presented,
}

/// The one method that a request uses.
#[derive(Debug)]
enum Presented {
    Basic(Secret<String>),
    Post(Secret<String>),
    /// RFC 7523.
    Assertion(Assertion),
    Nothing,
}

/// A client that proved itself, or a public one that exists. Made by [`authenticate`] alone.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    method: AuthMethod,
    secret_id: Option<Uuid>,
}

impl Credentials {
    /// Reads the credentials of a request: its Authorization headers as they are, and its body.
    ///
    /// # Errors
    /// In this order: a header that is not one well-formed Basic header, several methods at once, two different client ids, an assertion
    /// that cannot be read.
    pub fn read(authorization_headers: &[&[u8]], params: &Params) -> Result<Self, Reason> {
        let basic = client_secret_basic::read(authorization_headers)?;
        let post = client_secret_post::read(params);
        let assertion = params.get("client_assertion").is_some() || params.get("client_assertion_type").is_some();
        let named = params.get("client_id");

        // RFC 6749 §2.3: a client MUST NOT use more than one authentication method in each request.
        let methods = [
            (basic.is_some(), AuthMethod::ClientSecretBasic.as_str()),
            (post.is_some(), AuthMethod::ClientSecretPost.as_str()),
            (assertion, "client_assertion"),
        ];
        let used = methods.into_iter().filter(|(used, _)| *used);
        if used.clone().count() > 1 {
            let received = used.map(|(_, method)| method.to_owned()).collect();
            return Err(Reason::SeveralClientAuthenticationMethods { received });
        }

        if let Some((client_id, secret)) = basic {
            // RFC 6749 §3.2.1: client_id in the body is no credential, but it must not name somebody else.
            return match named {
                Some(other) if other != client_id => {
                    Err(Reason::ClientIdMismatch { authenticated: client_id, received: other.to_owned() })
                }
                _ => Ok(Self { client_id: Some(client_id), presented: Presented::Basic(secret) }),
            };
        }
        if let Some(assertion) = Assertion::read(params)? {
            // RFC 7521 §4.2: client_id may be left out; it must not name somebody else.
            let client_id = assertion.subject().to_owned();
            return match named {
                Some(other) if other != client_id => {
                    Err(Reason::ClientIdMismatch { authenticated: client_id, received: other.to_owned() })
                }
                _ => Ok(Self { client_id: Some(client_id), presented: Presented::Assertion(assertion) }),
            };
        }
        let presented = post.map_or(Presented::Nothing, Presented::Post);
        Ok(Self { client_id: named.map(str::to_owned), presented })
    }

    /// The client that the request names.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The assertion, if that is how the client proves itself.
    pub fn assertion(&self) -> Option<&Assertion> {
        match &self.presented {
            Presented::Assertion(assertion) => Some(assertion),
            Presented::Basic(_) | Presented::Post(_) | Presented::Nothing => None,
        }
    }

    fn method(&self) -> &'static str {
        match self.presented {
            Presented::Basic(_) => AuthMethod::ClientSecretBasic.as_str(),
            Presented::Post(_) => AuthMethod::ClientSecretPost.as_str(),
            Presented::Assertion(_) => AuthMethod::PrivateKeyJwt.as_str(),
            Presented::Nothing => AuthMethod::None.as_str(),
        }
    }
}

/// Authenticates the client that the credentials name; `client` is what the store has under that id, and `assertion` what became of the
/// signature and the `jti` of its assertion, if somebody had to look.
///
/// # Errors
/// In this order: no client named, unknown client, another method than the registered one, wrong secret, disabled client (which
/// only somebody with the right secret learns).
pub fn authenticate(
    credentials: &Credentials,
    client: Option<&Arc<Client>>,
    assertion: Option<Result<(), Reason>>,
    now: Timestamp,
) -> Result<AuthenticatedClient, Reason> {
    // First of all, for everybody, so that it costs the same.
    let compared = compare_secrets(credentials, client.map(Arc::as_ref), now);

    let Some(client_id) = credentials.client_id() else {
        return Err(Reason::ClientAuthenticationMissing { client_id: None, registered: String::new() });
    };
    let Some(client) = client.filter(|client| client.client_id == client_id) else {
        return Err(Reason::UnknownClient { client_id: client_id.chars().take(255).collect() });
    };
    let method = client.metadata.token_endpoint_auth_method;
    match method {
        AuthMethod::ClientSecretBasic => client_secret_basic::check(credentials, client, compared)?,
        AuthMethod::ClientSecretPost => client_secret_post::check(credentials, client, compared)?,
        AuthMethod::PrivateKeyJwt => private_key_jwt::check(credentials, client, assertion)?,
        AuthMethod::None => none::check(credentials, client)?,
    }
    if !client.enabled {
        return Err(Reason::ClientDisabled { client_id: client.client_id.clone() });
    }
    Ok(AuthenticatedClient { client: Arc::clone(client), method, secret_id: compared.matches })
}

impl AuthenticatedClient {
    /// The method that succeeded.
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// The secret by which it proved itself, if it did by one.
    pub fn secret_id(&self) -> Option<Uuid> {
        self.secret_id
    }
}

impl Deref for AuthenticatedClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// How the presented secret compares with the client's.
#[derive(Debug, Clone, Copy)]
struct Compared {
    /// The live secret that is the same.
    matches: Option<Uuid>,
    live_secrets: usize,
    expired_match: bool,
}

/// Hashes what was presented and compares it with at least two digests, whether the client exists or not and whatever it has.
fn compare_secrets(credentials: &Credentials, client: Option<&Client>, now: Timestamp) -> Compared {
    const SLOTS: usize = 2;
    let presented = match &credentials.presented {
        Presented::Basic(secret) | Presented::Post(secret) => secret.digest(),
        Presented::Assertion(_) | Presented::Nothing => Digest::of(&[]),
    };
    let secrets = client.map(|client| client.secrets.as_slice()).unwrap_or_default();
    let mut compared = Compared { matches: None, live_secrets: 0, expired_match: false };
    for secret in secrets {
        let same = secret.digest == presented;
        let live = secret.is_live(now);
        if same & live {
            compared.matches = Some(secret.id);
        }
        compared.expired_match |= same & !live;
        compared.live_secrets += usize::from(live);
    }
    for _ in secrets.len()..SLOTS {
        std::hint::black_box(Digest::NOBODYS == presented);
    }
    compared
}

/// The method that was used is not the registered one, or nothing was sent where something is needed.
fn wrong_method(credentials: &Credentials, client: &Client) -> Reason {
    let registered = client.metadata.token_endpoint_auth_method.as_str().to_owned();
    let client_id = client.client_id.clone();
    match credentials.presented {
        Presented::Nothing => Reason::ClientAuthenticationMissing { client_id: Some(client_id), registered },
        Presented::Basic(_) | Presented::Post(_) | Presented::Assertion(_) => {
            Reason::WrongClientAuthenticationMethod { client_id, registered, received: credentials.method().to_owned() }
        }
    }
}

fn check_secret(client: &Client, compared: Compared) -> Result<(), Reason> {
    if compared.matches.is_some() {
        return Ok(());
    }
    Err(Reason::WrongClientSecret {
        client_id: client.client_id.clone(),
        live_secrets: compared.live_secrets,
        expired_match: compared.expired_match,
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::client::{ClientMetadata, ClientSecret};

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn client(method: AuthMethod) -> Arc<Client> {
        let secret = |text: &str, expires_at| ClientSecret {
            id: uuid::Uuid::nil(),
            digest: Digest::of(text.as_bytes()),
            created_at: NOW,
            expires_at,
        };
        Arc::new(Client {
            client_id: "web".to_owned(),
            metadata: ClientMetadata { token_endpoint_auth_method: method, ..ClientMetadata::default() },
            enabled: true,
            secrets: vec![secret("new", None), secret("old", Some(Timestamp::from_seconds(1_000_001))), secret("dead", Some(NOW))],
            tokens_not_before: None,
            metadata_version: 1,
            registered: None,
            created_at: NOW,
            updated_at: NOW,
        })
    }

    fn basic(pair: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    fn try_with(header: Option<&[u8]>, body: &str, client: Option<&Arc<Client>>) -> Result<AuthMethod, Reason> {
        let headers: Vec<&[u8]> = header.into_iter().collect();
        let credentials = Credentials::read(&headers, &Params::parse_form(body.as_bytes()).unwrap())?;
        authenticate(&credentials, client, None, NOW).map(|client| client.method())
    }

    #[test]
    fn each_method_works_for_the_client_that_registered_it() {
        let by_basic = client(AuthMethod::ClientSecretBasic);
        assert_eq!(try_with(Some(&basic("web:new")), "", Some(&by_basic)), Ok(AuthMethod::ClientSecretBasic));
        assert_eq!(
            try_with(Some(&basic("web:new")), "client_id=web&client_secret=", Some(&by_basic)),
            Ok(AuthMethod::ClientSecretBasic)
        );
        let by_post = client(AuthMethod::ClientSecretPost);
        assert_eq!(try_with(None, "client_id=web&client_secret=new", Some(&by_post)), Ok(AuthMethod::ClientSecretPost));
        let public = client(AuthMethod::None);
        assert_eq!(try_with(None, "client_id=web", Some(&public)), Ok(AuthMethod::None));
    }

    /// everything that is not the registered method is refused, for every pair of them, right secret or not.
    #[test]
    fn no_method_stands_in_for_another() {
        let requests: [(AuthMethod, Option<Vec<u8>>, &str); 3] = [
            (AuthMethod::ClientSecretBasic, Some(basic("web:new")), ""),
            (AuthMethod::ClientSecretPost, None, "client_id=web&client_secret=new"),
            (AuthMethod::None, None, "client_id=web"),
        ];
        for registered in AuthMethod::ALL {
            let client = client(registered);
            for (used, header, body) in &requests {
                let outcome = try_with(header.as_deref(), body, Some(&client));
                if *used == registered {
                    assert_eq!(outcome, Ok(registered));
                } else {
                    assert_eq!(outcome.unwrap_err().wire().error, "invalid_client", "{registered:?} {used:?}");
                }
            }
        }
    }

    #[test]
    fn several_methods_in_one_request_are_refused_before_anything_is_compared() {
        let client = client(AuthMethod::ClientSecretBasic);
        for body in ["client_secret=new", "client_assertion=x", "client_id=other&client_secret=x"] {
            let refused = try_with(Some(&basic("web:new")), body, Some(&client)).unwrap_err();
            assert!(matches!(refused, Reason::SeveralClientAuthenticationMethods { .. }), "{body}");
            assert_eq!((refused.wire().error, refused.wire().status), ("invalid_request", 400));
        }
        let refused = try_with(None, "client_id=web&client_secret=new&client_assertion=x", Some(&client)).unwrap_err();
        assert!(matches!(refused, Reason::SeveralClientAuthenticationMethods { .. }));
    }

    #[test]
    fn the_body_must_not_name_another_client() {
        let client = client(AuthMethod::ClientSecretBasic);
        let refused = try_with(Some(&basic("web:new")), "client_id=other", Some(&client)).unwrap_err();
        assert_eq!(refused, Reason::ClientIdMismatch { authenticated: "web".into(), received: "other".into() });
    }

    ///
    #[test]
    fn an_unknown_client_and_a_wrong_secret_are_one_answer() {
        let client = client(AuthMethod::ClientSecretBasic);
        let unknown = try_with(Some(&basic("ghost:new")), "", None).unwrap_err();
        let wrong = try_with(Some(&basic("web:wrong")), "", Some(&client)).unwrap_err();
        let method = try_with(None, "client_id=web&client_secret=wrong", Some(&client)).unwrap_err();
        let nothing = try_with(None, "client_id=web", Some(&client)).unwrap_err();
        assert_eq!(unknown, Reason::UnknownClient { client_id: "ghost".into() });
        assert!(matches!(wrong, Reason::WrongClientSecret { live_secrets: 2, expired_match: false, .. }));
        for other in [wrong, method, nothing] {
            assert_eq!(other.wire(), unknown.wire());
        }
        assert_eq!(unknown.wire().status, 401);
        assert!(unknown.wire().authenticate.unwrap().header("https://id.example").starts_with("Basic "));
    }

    ///
    #[test]
    fn two_secrets_overlap_until_the_old_one_ends() {
        let client = client(AuthMethod::ClientSecretPost);
        let with = |secret: &str| try_with(None, &format!("client_id=web&client_secret={secret}"), Some(&client));
        assert!(with("new").is_ok());
        assert!(with("old").is_ok());
        assert!(
            matches!(with("dead"), Err(Reason::WrongClientSecret { expired_match: true, .. })),
            "a secret ends at its very end time"
        );
    }

    #[test]
    fn a_disabled_client_is_told_so_only_after_it_proved_itself() {
        let mut disabled = Client::clone(&client(AuthMethod::ClientSecretPost));
        disabled.enabled = false;
        let disabled = Arc::new(disabled);
        let with = |secret: &str| try_with(None, &format!("client_id=web&client_secret={secret}"), Some(&disabled)).unwrap_err();
        assert!(matches!(with("wrong"), Reason::WrongClientSecret { .. }));
        assert_eq!(with("new"), Reason::ClientDisabled { client_id: "web".into() });
    }

    #[test]
    fn a_client_of_another_name_is_never_authenticated() {
        let client = client(AuthMethod::None);
        assert!(matches!(try_with(None, "client_id=other", Some(&client)), Err(Reason::UnknownClient { .. })));
        assert!(matches!(try_with(None, "", Some(&client)), Err(Reason::ClientAuthenticationMissing { client_id: None, .. })));
    }

    #[test]
    fn a_client_without_a_secret_is_not_opened_by_an_empty_one() {
        let mut bare = Client::clone(&client(AuthMethod::ClientSecretBasic));
        bare.secrets.clear();
        let bare = Arc::new(bare);
        assert!(matches!(try_with(Some(&basic("web:")), "", Some(&bare)), Err(Reason::WrongClientSecret { live_secrets: 0, .. })));
    }

    #[test]
    fn credentials_are_not_printed() {
        let header = basic("web:hunter2");
        let credentials = Credentials::read(&[&header], &Params::default()).unwrap();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn nothing_but_the_secret_opens_the_door(secret in "[A-Za-z0-9]{0,12}") {
            let client = client(AuthMethod::ClientSecretPost);
            let outcome = try_with(None, &format!("client_id=web&client_secret={secret}"), Some(&client));
            prop_assert_eq!(outcome.is_ok(), secret == "new" || secret == "old");
        }
    }
}
