//! What a record must not hold is taken out before it is written: credentials typed into the wrong place, and identifiers that are
//! unknown and may be anything (design 4.7, security.md R-84).

use crate::oauth::params;
use crate::oauth::refusal::{Keep, Reason, Words};
use crate::oauth::registration::AccessFault;
use crate::service::keyed::Keyed;

/// Characters of a text that the caller made up.
const LONGEST: usize = 2048;
/// Bytes of a list of registered values.
const LONGEST_LIST: usize = 24 * 1024;
/// A path's segments beyond this many characters may be a token in a link.
const LONGEST_SEGMENT: usize = 24;

/// The reason as it may be kept. How each of its facts is kept, the table of reasons says; here stands what depends on two of them.
pub(super) fn scrub(mut reason: Reason, keyed: &Keyed) -> Reason {
    let keeper = Keeper { keyed };
    // What was sent in a parameter that may hold a credential; a detail may repeat what was sent.
    if let Reason::MalformedParameter { name, received: sent, .. }
    | Reason::DocumentRefused { member: Some(name), detail: sent }
    | Reason::ClientMetadataRefused { member: Some(name), detail: sent, .. } = &mut reason
        && params::is_secret(name)
    {
        "(not kept)".clone_into(sent);
    }
    // Whether there is such a client is written down, so its id is one that somebody made up.
    if let Reason::RegistrationAccessRefused { client_id, because: AccessFault::NoSuchClient } = &mut reason {
        keeper.hint(client_id);
    }
    reason.keep(&keeper);
    reason
}

struct Keeper<'a> {
    keyed: &'a Keyed,
}

impl Keep for Keeper<'_> {
    fn cut(&self, words: &mut impl Words) {
        if let Some(text) = words.text()
            && let Some((end, _)) = text.char_indices().nth(LONGEST)
        {
            text.truncate(end);
            text.push('…');
        }
    }

    fn shorten(&self, list: &mut Vec<String>) {
        let all = list.len();
        let mut bytes = 0;
        list.retain(|item| {
            bytes += item.len();
            bytes <= LONGEST_LIST
        });
        if list.len() < all {
            list.push(format!("… and {} more", all - list.len()));
        }
    }

    /// An unknown client_id is most often a known one mistyped, and at times a secret in the wrong place.
    fn hint(&self, words: &mut impl Words) {
        if let Some(text) = words.text() {
            let length = text.chars().count();
            let start: String = text.chars().take((length / 3).min(4)).collect();
            *text = format!("{start}… ({length} characters, {})", self.keyed.show(text));
        }
    }

    fn keyed(&self, words: &mut impl Words) {
        if let Some(text) = words.text() {
            *text = self.keyed.show(text);
        }
    }

    fn path(&self, path: &mut impl Words) {
        if let Some(path) = path.text() {
            *path = without_long_segments(path);
        }
    }
}

/// The client that a reason itself names, by its JSON, if it is known to exist.
pub(super) fn client_of(reason: &Reason, json: &serde_json::Value) -> Option<String> {
    if matches!(reason, Reason::UnknownClient { .. }) {
        return None;
    }
    ["client_id", "presented_by", "authenticated"].iter().find_map(|name| json.get(name)?.as_str().map(str::to_owned))
}

fn without_long_segments(path: &str) -> String {
    let segments = path.split('/').take(16).map(|segment| if segment.chars().count() > LONGEST_SEGMENT { "…" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::refusal::SignInBranch;

    fn kept(reason: Reason) -> String {
        serde_json::to_string(&scrub(reason, &Keyed::for_tests())).unwrap()
    }

    #[test]
    fn a_secret_typed_as_a_client_id_cannot_be_read_from_the_record() {
        let json = kept(Reason::UnknownClient { client_id: "S3cr3tS3cr3tS3cr3tS3cr3t".to_owned() });
        assert!(!json.contains("S3cr3"), "{json}");
        assert!(json.contains("S3cr…") && json.contains("24 characters") && json.contains("keyed:"), "{json}");
    }

    #[test]
    fn a_password_typed_as_a_username_is_a_keyed_hash_and_stays_one() {
        let keyed = Keyed::for_tests();
        let once = Reason::SignInFailed { branch: SignInBranch::UnknownUser, identifier: "hunter2".to_owned() };
        let once = scrub(once, &keyed);
        let Reason::SignInFailed { identifier, .. } = &once else { panic!("{once:?}") };
        assert!(identifier.starts_with("keyed:") && !identifier.contains("hunter2"));
        assert_eq!(scrub(once.clone(), &keyed), once);
    }

    #[test]
    fn credentials_that_break_their_grammar_are_not_kept() {
        for name in ["code", "client_secret", "code_verifier", "refresh_token", "password", "token", "id_token_hint"] {
            let reason =
                Reason::MalformedParameter { name: name.to_owned(), received: "hunter2".to_owned(), detail: String::new() };
            assert!(!kept(reason).contains("hunter2"), "{name}");
        }
    }

    #[test]
    fn tokens_in_paths_are_not_kept_and_nothing_outgrows_its_column() {
        assert_eq!(without_long_segments("/reset/AbCdEfGhIjKlMnOpQrStUvWxYz/x"), "/reset/…/x");
        let registered = (0..10_000).map(|number| format!("https://app.example/{number}")).collect();
        let received = "x".repeat(100_000);
        let json = kept(Reason::RedirectUriMismatch { client_id: "app".to_owned(), registered, received });
        assert!(json.len() < 65_536 && json.contains("more"));
    }
}
