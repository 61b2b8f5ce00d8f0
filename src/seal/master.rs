//! The master key (`CHANCERY_MASTER_KEY`): it wraps data keys and does nothing else.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroize;

use super::SealError;
use super::cipher::{self, Cipher, KEY_LEN};
use crate::entropy::{self, Entropy};
use crate::secret::Secret;

/// One or two 32-byte keys, newest first. The newest seals; each opens what it sealed.
#[derive(Clone)]
pub struct MasterKey {
    newest: Arc<Cipher>,
    older: Option<Arc<Cipher>>,
}

impl MasterKey {
    /// Reads one key, or two with a comma between, each 32 bytes in base64url (with or without padding), newest first.
    pub fn parse(text: &Secret<String>) -> Result<Self, SealError> {
        let mut keys = text.expose().trim().split(',').map(|part| one(part.trim()));
        let newest = keys.next().ok_or(SealError::MalformedMasterKey("it is empty"))??;
        let older = keys.next().transpose()?;
        if keys.next().is_some() {
            return Err(SealError::MalformedMasterKey("more than two keys"));
        }
        if older.as_ref().is_some_and(|older| older.id() == newest.id()) {
            return Err(SealError::MalformedMasterKey("the two keys are the same"));
        }
        Ok(Self { newest: Arc::new(newest), older: older.map(Arc::new) })
    }

    /// A new key, and the text of it that the operator keeps.
    pub fn generate(entropy: &dyn Entropy) -> Result<(Self, Secret<String>), SealError> {
        let mut key = entropy::bytes::<KEY_LEN>(entropy);
        let text = Secret::new(URL_SAFE_NO_PAD.encode(key));
        key.zeroize();
        Ok((Self::parse(&text)?, text))
    }

    /// Seals under the newest key, bound to `context`.
    pub fn seal(&self, entropy: &dyn Entropy, context: &[u8], plain: &[u8]) -> Vec<u8> {
        self.newest.seal(entropy, context, plain)
    }

    /// Opens what this key, or the older of two, sealed for the same `context`.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let id = cipher::key_id(sealed)?;
        let all = [Some(&self.newest), self.older.as_ref()];
        let key = all.into_iter().flatten().find(|key| key.id() == id).ok_or(SealError::UnknownKey(id))?;
        key.open(context, sealed)
    }

    /// Whether `sealed` is under the newest key already; if not, rewrapping is due.
    pub fn is_newest(&self, sealed: &[u8]) -> bool {
        cipher::key_id(sealed) == Ok(self.newest.id())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

fn one(text: &str) -> Result<Cipher, SealError> {
    if text.is_empty() {
        return Err(SealError::MalformedMasterKey("it is empty"));
    }
    let text = text.strip_suffix('=').unwrap_or(text);
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::MalformedMasterKey("it is not base64url"))?;
    let bytes = Secret::new(bytes);
    let key: &[u8; KEY_LEN] =
        bytes.expose().as_slice().try_into().map_err(|_| SealError::MalformedMasterKey("it is not 32 bytes long"))?;
    if key.iter().all(|byte| Some(byte) == key.first()) {
        return Err(SealError::MalformedMasterKey("all its bytes are the same, which is no key"));
    }
    // The id comes from the key itself: a value sealed under another master key is recognised as such.
    let mut digest = cipher::derive(key, b"chancery master key id")?;
    let id = cipher::key_id(&digest)?;
    digest.zeroize();
    Cipher::new(id, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn fresh() -> (MasterKey, Secret<String>) {
        MasterKey::generate(&SystemEntropy).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_own_context_alone() {
        let (key, text) = fresh();
        let sealed = key.seal(&SystemEntropy, b"here", b"plain");
        assert_eq!(MasterKey::parse(&text).unwrap().open(b"here", &sealed).unwrap().expose(), b"plain");
        assert_eq!(key.open(b"there", &sealed).unwrap_err(), SealError::DoesNotOpen);
        assert_ne!(sealed, key.seal(&SystemEntropy, b"here", b"plain"));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (key, _) = fresh();
        let sealed = key.seal(&SystemEntropy, b"c", b"plain");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(b"c", &changed).is_err(), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert!(key.open(b"c", &sealed[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn two_keys_open_both_and_seal_with_the_newest() {
        let ((old, old_text), (new, new_text)) = (fresh(), fresh());
        let both = MasterKey::parse(&Secret::new(format!("{}, {}\n", new_text.expose(), old_text.expose()))).unwrap();
        let by_old = old.seal(&SystemEntropy, b"c", b"x");
        assert!(!both.is_newest(&by_old));
        assert!(both.open(b"c", &by_old).is_ok());
        let by_both = both.seal(&SystemEntropy, b"c", b"x");
        assert!(both.is_newest(&by_both));
        assert!(new.open(b"c", &by_both).is_ok());
        assert!(matches!(old.open(b"c", &by_both), Err(SealError::UnknownKey(_))));
    }

    #[test]
    fn malformed_master_keys_are_refused() {
        let (_, good) = fresh();
        let zeros = "A".repeat(43);
        for bad in ["", ",", "abc", "short!", zeros.as_str(), &format!("{0},{0}", good.expose()), &format!("{},", good.expose())] {
            assert!(MasterKey::parse(&Secret::new(bad.to_owned())).is_err(), "{bad}");
        }
        assert!(MasterKey::parse(&Secret::new(format!("{}=", good.expose()))).is_ok());
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", fresh().0), "MasterKey(…)");
    }
}
