//! One key, ready for use: AES-256-GCM-SIV and HMAC-SHA-256, each under its own key derived from the 32 bytes (RFC 5869).
//! aws-lc wipes its key material when it frees it.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroize;

use super::SealError;
use crate::entropy::{self, Entropy};
use crate::secret::Secret;

/// Bytes of a key.
pub(super) const KEY_LEN: usize = 32;
/// Bytes of the key id in front of what is sealed.
const ID_LEN: usize = 4;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// What [`Cipher::seal_same`] binds, so that nothing sealed otherwise opens as such.
const SAME: &[u8] = b"the same";

/// A 32-byte key with both of its uses prepared.
pub(super) struct Cipher {
    id: u32,
    seal: LessSafeKey,
    mac: hmac::Key,
}

impl Cipher {
    /// Prepares the key. `id` is what sealed values will name.
    pub(super) fn new(id: u32, key: &[u8; KEY_LEN]) -> Result<Self, SealError> {
        let mut seal = derive(key, b"chancery seal")?;
        let mut mac = derive(key, b"chancery mac")?;
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &seal).map_err(|_| SealError::Damaged(i64::from(id)));
        let cipher =
            unbound.map(|unbound| Self { id, seal: LessSafeKey::new(unbound), mac: hmac::Key::new(hmac::HMAC_SHA256, &mac) });
        seal.zeroize();
        mac.zeroize();
        cipher
    }

    /// The id that sealed values name.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn seal(&self, entropy: &dyn Entropy, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = entropy::shown::<NONCE_LEN>(entropy);
        // Reserved in full, so that the plaintext is never left behind by a growing vector.
        let mut out = Vec::with_capacity(ID_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let (head, body) = out.split_at_mut(ID_LEN + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        // The key id is authenticated too: `head` is part of what a reader trusts.
        let aad = Bound::of(head.get(..ID_LEN).unwrap_or_default(), context);
        match self.seal.seal_in_place_separate_tag(nonce, Aad::from(aad.bytes()), body) {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => {
                // Only for lack of memory, or 64 GiB of plaintext. A value that is lost unnoticed would be worse.
                tracing::error!("sealing failed; stopping");
                std::process::abort();
            }
        }
        out
    }

    /// Opens what [`Cipher::seal`] made; the caller has looked at the key id.
    pub(super) fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let (id, rest) = sealed.split_first_chunk::<ID_LEN>().ok_or(SealError::TooShort)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::TooShort)?;
        let plain_len = body.len().checked_sub(TAG_LEN).ok_or(SealError::TooShort)?;
        let mut plain = body.to_vec();
        let aad = Bound::of(id, context);
        let opened = self.seal.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad.bytes()), &mut plain).is_ok();
        if !opened {
            plain.zeroize();
            return Err(SealError::DoesNotOpen);
        }
        plain.truncate(plain_len);
        Ok(Secret::new(plain))
    }

    /// The same text gives the same value: AES-GCM-SIV with one nonce for all is a deterministic cipher (RFC 8452 §9) that tells whether two
    /// texts are equal, and nothing else. No key id and no nonce: the value is as short as it can be.
    pub(super) fn seal_same(&self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + TAG_LEN);
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        if self.seal.seal_in_place_append_tag(nonce, Aad::from(SAME), &mut out).is_err() {
            tracing::error!("sealing failed; stopping");
            std::process::abort();
        }
        out
    }

    /// Opens what [`Cipher::seal_same`] made.
    pub(super) fn open_same(&self, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let plain_len = sealed.len().checked_sub(TAG_LEN).ok_or(SealError::TooShort)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        if self.seal.open_in_place(nonce, Aad::from(SAME), &mut plain).is_err() {
            plain.zeroize();
            return Err(SealError::DoesNotOpen);
        }
        plain.truncate(plain_len);
        Ok(Secret::new(plain))
    }

    /// HMAC-SHA-256 over the parts, each with its length (8 bytes, big endian) in front, so that no two lists of parts collide.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }
}

/// What is authenticated beside the sealed: key id and context, one after the other.
enum Bound {
    Short([u8; SHORT], usize),
    Long(Vec<u8>),
}

/// Bytes of most.
const SHORT: usize = 32;

impl Bound {
    fn of(id: &[u8], context: &[u8]) -> Self {
        let mut short = [0; SHORT];
        let len = id.len() + context.len();
        match short.get_mut(..len) {
            Some(place) => {
                for (to, from) in place.iter_mut().zip(id.iter().chain(context)) {
                    *to = *from;
                }
                Self::Short(short, len)
            }
            None => Self::Long([id, context].concat()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(short, len) => short.get(..*len).unwrap_or_default(),
            Self::Long(long) => long,
        }
    }
}

/// The id of the key under which a value was sealed.
pub(super) fn key_id(sealed: &[u8]) -> Result<u32, SealError> {
    sealed.first_chunk::<ID_LEN>().map(|id| u32::from_be_bytes(*id)).ok_or(SealError::TooShort)
}

/// HKDF-Expand with SHA-256: `key` is uniformly random already.
pub(super) fn derive(key: &[u8; KEY_LEN], what_for: &[u8]) -> Result<[u8; KEY_LEN], SealError> {
    let mut out = [0; KEY_LEN];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key)
        .expand(&[what_for], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .map_err(|_| SealError::MalformedMasterKey("no key can be derived from it"))?;
    Ok(out)
}
