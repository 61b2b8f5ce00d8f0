//! What the caller may see: RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, OpenID Connect Core §3.1.2.6, RFC 8707 §2, RFC 9101 §6.3.
//!
//! A description may name the parameter and repeat what the caller sent, cut and cleaned. It never tells a registered value,
//! whether a person exists, or why a sign-in failed. Everything that could tell an unknown client from a wrong secret is one answer.

use super::Reason;

/// An error as the protocol says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The registered error code.
    pub error: &'static str,
    /// HTTP status where the error is the response itself and not part of a redirect.
    pub status: u16,
    /// Of the characters of RFC 6749 §5.2: `%x20-21 / %x23-5B / %x5D-7E`.
    pub description: String,
    /// The WWW-Authenticate header of a 401 or 403.
    pub authenticate: Option<Challenge>,
    /// Seconds for the Retry-After header of a 429 or 503.
    pub retry_after: Option<u64>,
}

/// A WWW-Authenticate challenge (RFC 9110 §11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Client authentication failed (RFC 6749 §5.2).
    Basic,
    /// An access token is missing, wrong or too weak (RFC 6750 §3). Without `error` when none was sent.
    Bearer { error: Option<&'static str>, description: String, scope: Option<String> },
}

impl Challenge {
    /// The header's value; `realm` is the issuer.
    pub fn header(&self, realm: &str) -> String {
        let realm = sanitise(realm, 500);
        match self {
            Self::Basic => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            Self::Bearer { error: None, .. } => format!("Bearer realm=\"{realm}\""),
            Self::Bearer { error: Some(error), description, scope } => {
                let scope = scope.as_ref().map(|scope| format!(", scope=\"{}\"", sanitise(scope, 500))).unwrap_or_default();
                format!("Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{description}\"{scope}")
            }
        }
    }
}

/// Text fit for an error_description: quotes become apostrophes, backslashes slashes, everything else outside of printable
/// ASCII a question mark; at most `limit` characters.
pub fn sanitise(text: &str, limit: usize) -> String {
    let mut out: String = text
        .chars()
        .take(limit)
        .map(|letter| match letter {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => letter,
            _ => '?',
        })
        .collect();
    if text.chars().nth(limit).is_some() {
        out.push_str("...");
    }
    out
}

/// A value that the caller sent, as a description shows it.
pub(super) fn shown(value: &str) -> String {
    sanitise(value, 80)
}

/// The one answer for everything that is wrong with who the client says it is (security.md R-27).
pub(super) const CLIENT_AUTHENTICATION: &str = "Client authentication failed: the client_id is unknown, the secret or assertion is wrong or has ended, or the \
     authentication method is not the one that the client is registered for. The server's decision record says which.";

impl Reason {
    /// What a page tells a person: as the wire, except that nobody on a page tried to authenticate a client.
    pub fn page_description(&self) -> String {
        match self {
            Self::UnknownClient { client_id } => {
                format!("No application is registered here under this client_id. Received: {}", shown(client_id))
            }
            other => other.wire().description,
        }
    }

    /// HTTP status when the refusal is a page for a person: as [`Reason::wire`] says, but a browser is never asked for credentials.
    pub fn page_status(&self) -> u16 {
        match self.wire().status {
            401 => 400,
            status => status,
        }
    }
}

/// RFC 6749 §5.2, and where nothing else fits: 400.
pub(super) fn bad(error: &'static str, description: impl Into<String>) -> Wire {
    Wire { error, status: 400, description: description.into(), authenticate: None, retry_after: None }
}

/// RFC 6585 §4.
pub(super) fn too_many(description: impl Into<String>, retry_after: u64) -> Wire {
    Wire { status: 429, retry_after: Some(retry_after), ..bad("temporarily_unavailable", description) }
}

pub(super) fn forbidden(error: &'static str, description: &str) -> Wire {
    Wire { status: 403, ..bad(error, description) }
}

pub(super) fn not_found(description: &str) -> Wire {
    Wire { status: 404, ..bad("invalid_request", description) }
}

pub(super) fn unavailable(description: &str, retry_after: u64) -> Wire {
    Wire { status: 503, retry_after: Some(retry_after), ..bad("temporarily_unavailable", description) }
}

/// RFC 6749 §5.2: 401 with the scheme that the client may use.
pub(super) fn invalid_client(description: &str) -> Wire {
    Wire { status: 401, authenticate: Some(Challenge::Basic), ..bad("invalid_client", description) }
}

/// RFC 6750 §3.1: a request without any token gets a bare challenge.
pub(super) fn bearer_missing() -> Wire {
    let description = "An access token is needed, in the Authorization header with the scheme Bearer.".to_owned();
    let authenticate = Some(Challenge::Bearer { error: None, description: description.clone(), scope: None });
    Wire { status: 401, authenticate, ..bad("invalid_token", description) }
}

pub(super) fn invalid_token(description: &str) -> Wire {
    let authenticate = Some(Challenge::Bearer { error: Some("invalid_token"), description: description.to_owned(), scope: None });
    Wire { status: 401, authenticate, ..bad("invalid_token", description) }
}

pub(super) fn insufficient_scope(description: String, scope: Option<String>) -> Wire {
    let authenticate = Some(Challenge::Bearer { error: Some("insufficient_scope"), description: description.clone(), scope });
    Wire { status: 403, authenticate, ..bad("insufficient_scope", description) }
}
