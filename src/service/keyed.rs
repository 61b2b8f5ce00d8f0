//! The keyed hash under which identifiers are stored that must not be stored as typed: a username that nobody has is often a password.
//! Without the data key it tells nothing; with it, the same identifier gives the same hash, so that failures can be counted.

use std::fmt;
use std::sync::Arc;

use crate::seal::{DataKeys, Purpose};

/// What an identifier is, so that an account and an address with the same text are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Shown in decision records.
    Identifier,
    /// Failures of one account.
    Account,
    /// Failures from one address prefix.
    Address,
    /// Failures of everybody.
    Everybody,
    /// User codes of devices that one person typed and that were none.
    CodeTyper,
    /// The same of one address prefix.
    CodeAddress,
    /// The same of everybody.
    CodeEverybody,
}

impl Of {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Identifier => b"identifier",
            Self::Account => b"throttle account",
            Self::Address => b"throttle address",
            Self::Everybody => b"throttle everybody",
            Self::CodeTyper => b"throttle user codes person",
            Self::CodeAddress => b"throttle user codes address",
            Self::CodeEverybody => b"throttle user codes everybody",
        }
    }
}

type Hash = dyn Fn(Of, &str) -> [u8; 32] + Send + Sync;

/// Makes keyed hashes. Clones are cheap.
#[derive(Clone)]
pub struct Keyed(Arc<Hash>);

impl Keyed {
    /// Under the newest `lookup` key of whatever `data_keys` gives at the time. After that key is rotated the same identifier has
    /// another hash: counters begin anew.
    pub fn new(data_keys: impl Fn() -> Arc<DataKeys> + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |of, text| data_keys().mac(Purpose::Lookup, &[of.name(), text.as_bytes()]).1))
    }

    /// The hash.
    pub fn hash(&self, of: Of, text: &str) -> [u8; 32] {
        (self.0)(of, text)
    }

    /// As it is shown: `keyed:` and 16 hexadecimal digits. A text that is one already stays as it is.
    pub fn show(&self, text: &str) -> String {
        if is_shown(text) {
            return text.to_owned();
        }
        let [a, b, c, d, e, f, g, h, ..] = self.hash(Of::Identifier, text);
        format!("keyed:{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// For tests that have no keys.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self(Arc::new(|of, text| {
            let mut out = [0; 32];
            out.copy_from_slice(crate::secret::Digest::of(&[of.name(), text.as_bytes()].concat()).as_bytes());
            out
        }))
    }
}

fn is_shown(text: &str) -> bool {
    text.strip_prefix("keyed:").is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(…)")
    }
}
