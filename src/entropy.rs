//! Randomness, injected, so that a test can repeat a run exactly. Production reads the operating system's CSPRNG.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::{Digest, Secret};

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);

    /// The same for what is no secret and shown to whoever asked: nonces, trace ids. May have been drawn before it is needed.
    fn fill_shown(&self, out: &mut [u8]) {
        self.fill(out);
    }
}

/// Bytes drawn at once for what is shown. By itself each id or nonce would be among the dearer things that are done for a small answer.
const STOCK: usize = 512;

thread_local! {
    /// Of this thread, so that nobody waits for another; used from its end.
    static SHOWN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The operating system's CSPRNG by way of aws-lc.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the operating system")]
    fn fill(&self, out: &mut [u8]) {
        if aws_lc_rs::rand::fill(out).is_err() {
            // Nothing that this server does is safe without randomness, and nothing can be answered either.
            tracing::error!("the operating system gives no random bytes; stopping");
            std::process::abort();
        }
    }

    fn fill_shown(&self, out: &mut [u8]) {
        SHOWN.with_borrow_mut(|stock| {
            if stock.len() < out.len() {
                stock.resize(STOCK.max(out.len()), 0);
                self.fill(stock);
            }
            let rest = stock.len().saturating_sub(out.len());
            if let Some(drawn) = stock.get(rest..) {
                out.copy_from_slice(drawn);
            }
            stock.truncate(rest);
        });
    }
}

/// Bytes that follow from a seed which nobody can guess: from the same seed the same.
pub struct Seeded {
    seed: Secret<[u8; 32]>,
    /// Blocks drawn.
    drawn: AtomicU64,
}

impl Seeded {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed: Secret::new(seed), drawn: AtomicU64::new(0) }
    }
}

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            let number = self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let block = Digest::of(&[self.seed.expose().as_slice(), &number].concat());
            piece.iter_mut().zip(block.as_bytes()).for_each(|(to, from)| *to = *from);
        }
    }
}

/// `N` random bytes that are shown to whoever asked for what they belong to, and open nothing.
pub fn shown<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill_shown(&mut out);
    out
}

/// `N` random bytes.
pub fn bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}

/// A 256-bit bearer value, base64url without padding (43 characters): codes, session cookies, interaction ids.
pub fn token(entropy: &dyn Entropy) -> Secret<String> {
    Secret::new(URL_SAFE_NO_PAD.encode(bytes::<32>(entropy)))
}

/// `len` characters of `[A-Za-z0-9]`, evenly distributed: client ids and secrets, printed passwords.
pub fn alphanumeric(entropy: &dyn Entropy, len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut out = String::with_capacity(len);
    while out.len() < len {
        for byte in bytes::<64>(entropy) {
            // 248 = 4 * 62: bytes above it would favour the first letters.
            if byte < 248
                && out.len() < len
                && let Some(letter) = ALPHABET.get(usize::from(byte % 62))
            {
                out.push(char::from(*letter));
            }
        }
    }
    out
}

/// A time-ordered row id (UUIDv7, RFC 9562 §5.7). Row ids are never shown to clients as subjects or session ids.
pub fn row_id(entropy: &dyn Entropy, now: crate::clock::Timestamp) -> uuid::Uuid {
    let millis = u64::try_from(now.micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes::<10>(entropy)).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_never_given_twice() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10 * STOCK {
            assert!(seen.insert(shown::<12>(&SystemEntropy)), "twice");
        }
        let mut long = [0; 3 * STOCK];
        SystemEntropy.fill_shown(&mut long);
        assert!(long.chunks(16).all(|piece| piece.iter().any(|byte| *byte != 0)));
        assert_ne!(std::thread::spawn(|| shown::<16>(&SystemEntropy)).join().unwrap(), shown::<16>(&SystemEntropy));
    }
}
