//! What input can reach is read by functions of this crate. Each of them has a target here: a function of bytes that hands them over and
//! asserts what has to hold of the answer, whatever the bytes are. That nothing panics is the least of it.
//!
//! `./fuzz` lets libFuzzer look for bytes that break a target (docs/fuzzing.md). What it has found worth keeping, and seeds written by
//! hand, stand in `fuzzing/corpus/TARGET`; the test below replays them all. A new parser brings its function and its row.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target fails loudly, and it is in no binary that is shipped"
)]

mod cast;
mod config;
mod documents;
mod factors;
mod http;
mod jose;
mod oauth;
#[cfg(test)]
mod replay;

use crate::oauth::refusal::Reason;
use crate::printable::printable;

/// One parser, or a few that read the same kind of text.
#[derive(Debug)]
pub struct Target {
    /// The folder of its inputs.
    pub name: &'static str,
    /// What it reads.
    pub reads: &'static str,
    /// Hands the bytes over; panics if something does not hold.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, reads: &'static str, run: fn(&[u8])) -> Target {
    Target { name, reads, run }
}

/// All of them. Where a target takes several texts, they are the input's lines and the last one is the rest.
pub const TARGETS: &[Target] = &[
    target("admin_query", "limits, cursors, instants and conditions of the admin API; three lines", documents::admin_query),
    target("authorize", "a query of the authorization endpoint", oauth::authorize),
    target("basic", "an Authorization header of a client", oauth::basic),
    target("bearer", "an Authorization header with an access token, and a form body; two lines", oauth::bearer),
    target(
        "client_assertion",
        "a client's assertion: header and claims that its key then signs; two lines",
        oauth::client_assertion,
    ),
    target("client_document", "a client's file, and a merge patch of it; two lines", documents::client),
    target("configuration", "the configuration file; behind a line of dashes environment variables", config::configuration),
    target("cookies", "a Cookie header", http::cookies),
    target("csrf", "the csrf field of a form", http::csrf),
    target("encryption", "a client's keys, and what is encrypted to them; two lines", jose::encryption),
    target("forwarded", "a peer's address and X-Forwarded-For headers; lines", http::forwarded),
    target(
        "headers",
        "Content-Type, Accept-Language, User-Agent, Host, Origin and If-Match, each from the same text",
        http::headers,
    ),
    target("issuer", "the issuer's address, and durations", config::issuer),
    target("json", "JSON of JOSE headers, claims and documents", jose::json),
    target("jwk", "a public key", jose::jwk),
    target("jwk_set", "a client's keys", jose::jwk_set),
    target("jws", "a token, or header and claims that our key then signs; two lines", jose::jws),
    target("logout", "a query of the logout endpoint", oauth::logout),
    target("master_key", "the master key", config::master_key),
    target("merge_patch", "a document and a merge patch of it; two lines", documents::merge_patch),
    target("passkey", "an assertion: clientDataJSON, then a line break, then authenticatorData", factors::passkey),
    target("passkey_json", "what the passkey script sends", factors::passkey_json),
    target("params", "a form or a query", oauth::params),
    target("people_documents", "a person's, a group's or an API's file, and a profile form's field", documents::people),
    target("picture", "the bytes of a client's logo", http::picture),
    target("redirect_uri", "a registered redirect URI, and a received one; two lines", oauth::redirect_uri),
    target("refresh_token", "a refresh token", oauth::refresh_token),
    target("registration", "what a client registers for itself, and another such document; two lines", documents::registration),
    target(
        "request_object",
        "a request object: header and claims that its client's key then signs; two lines",
        oauth::request_object,
    ),
    target("resource", "resource indicators; lines", oauth::resource),
    target("scope", "a scope, a PKCE challenge, a PKCE verifier, each from the same text", oauth::scope),
    target("sealed", "an opaque access token, a jti, a cursor", jose::sealed),
    target("setup_file", "the file of `chancery apply`", config::setup_file),
    target("token_request", "an Authorization header and a form of the token endpoint; two lines", oauth::token_request),
    target("typed_codes", "a user code, a one-time code, a recovery code, each from the same text", factors::typed_codes),
];

/// What holds of every refusal, whatever caused it: what goes out is of the characters that RFC 6749 §5.2 allows and short, and what is
/// kept is read back as it was.
fn check_refusal(reason: &Reason) {
    let clean = |text: &str| text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let wire = reason.wire();
    assert!(clean(&wire.description) && clean(&reason.page_description()), "{reason:?}");
    assert!(wire.description.len() <= 700, "{reason:?}");
    if let Some(challenge) = &wire.authenticate {
        let header = challenge.header("https://id.example");
        assert!(header.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && header.len() < 4096, "{header}");
        assert_eq!(header.matches('"').count() % 2, 0, "{header}");
    }
    assert!(!reason.story().mend.is_empty());
    let kept = serde_json::to_string(reason).expect("a reason is JSON");
    assert_eq!(&serde_json::from_str::<Reason>(&kept).expect("a reason is read back"), reason);
}

/// A text for an operator's terminal: one line, and nothing that moves the cursor.
fn check_printable(text: &str) {
    assert_eq!(printable(text), text);
}

/// The input as text, if it is one.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The first lines, and all that is behind them; missing ones are empty.
fn lines<const N: usize>(text: &str) -> [&str; N] {
    let mut parts = text.splitn(N, '\n');
    [(); N].map(|()| parts.next().unwrap_or_default())
}
