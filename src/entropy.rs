//! Randomness, injected, so that a test can repeat a run exactly. Production reads the operating system's CSPRNG.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
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
