//! One-time codes by time (RFC 6238) over HOTP (RFC 4226): SHA-1, six digits, thirty seconds, which is what every authenticator app
//! understands. SHA-1 is no weakness in an HMAC.
//!
//! A code counts once: whoever accepts it must remember its step and accept later ones only (RFC 6238 §5.2). The store does so by a
//! conditional write, so that of two who send one code at the same moment one is refused.

use aws_lc_rs::hmac;

use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::factors::base32;
use crate::secret::{Secret, constant_time_eq};

/// RFC 4226 §4, R6: 160 bits are recommended.
pub const SECRET_BYTES: usize = 20;
/// Digits of a code.
pub const DIGITS: usize = 6;
/// RFC 6238 §4: the time step in seconds.
pub const STEP: i64 = 30;
/// RFC 6238 §5.2, §6: so many steps before and after the present one are accepted, for clocks that differ and people who type.
const TOLERANCE: i64 = 1;

/// The shared secret of one authenticator app.
#[derive(Debug, Clone)]
pub struct TotpSecret(Secret<Vec<u8>>);

/// What a typed code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right, and of this step, which must be remembered as the last one.
    Accepted {
        step: i64,
    },
    /// Right, but of a step that was accepted before, or of an earlier one.
    Replayed {
        step: i64,
    },
    Wrong,
}

impl TotpSecret {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(Secret::new(entropy::bytes::<SECRET_BYTES>(entropy).to_vec()))
    }

    /// As it was kept. `None` if it is none of ours.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Secret::new(bytes);
        (bytes.expose().len() == SECRET_BYTES).then_some(Self(bytes))
    }

    /// The bytes, to be sealed.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// As people type it into an app that cannot scan: base32, in groups of four.
    pub fn text(&self) -> Secret<String> {
        let text = Secret::new(base32::encode(self.0.expose()));
        let groups: Vec<&str> = text.expose().as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
        Secret::new(groups.join(" "))
    }

    /// The address that an app reads from the QR code (the Key URI format that Google Authenticator began and all others follow).
    /// `service` is who asks for the code, `account` is whose it is.
    pub fn uri(&self, service: &str, account: &str) -> Secret<String> {
        let encode = |text: &str| percent_encode(text);
        // A colon parts the two names.
        let service = encode(&service.replace(':', " "));
        let account = encode(&account.replace(':', " "));
        let secret = Secret::new(base32::encode(self.0.expose()));
        Secret::new(format!(
            "otpauth://totp/{service}:{account}?secret={}&issuer={service}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
            secret.expose()
        ))
    }

    /// What `typed` is at `now`, where `last_step` was the last step that was accepted. Spaces are no matter.
    pub fn check(&self, typed: &str, last_step: Option<i64>, now: Timestamp) -> Verdict {
        let typed: String = typed.chars().filter(|letter| !letter.is_whitespace()).collect();
        let present = now.seconds().div_euclid(STEP);
        let mut verdict = Verdict::Wrong;
        // All of them, whatever matches: the time that it takes tells nothing. Of two steps with the same code the later one counts.
        for step in present.saturating_sub(TOLERANCE)..=present.saturating_add(TOLERANCE) {
            let Ok(counter) = u64::try_from(step) else { continue };
            let code = hotp(self.0.expose(), counter, DIGITS);
            if constant_time_eq(code.as_bytes(), typed.as_bytes()) {
                verdict = match last_step {
                    Some(last) if step <= last => Verdict::Replayed { step },
                    Some(_) | None => Verdict::Accepted { step },
                };
            }
        }
        verdict
    }

    /// The code of the present step, for tests and tools.
    pub fn code(&self, now: Timestamp) -> String {
        hotp(self.0.expose(), u64::try_from(now.seconds().div_euclid(STEP)).unwrap_or(0), DIGITS)
    }
}

/// RFC 4226 §5.3.
fn hotp(secret: &[u8], counter: u64, digits: usize) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &counter.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = usize::from(bytes.last().copied().unwrap_or(0) & 0xf);
    let four = bytes.get(offset..offset + 4).unwrap_or(&[0; 4]);
    let number = four.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) & 0x7fff_ffff;
    let modulus = u32::try_from(digits).ok().and_then(|digits| 10_u32.checked_pow(digits)).unwrap_or(u32::MAX);
    format!("{:0digits$}", number % modulus)
}

/// RFC 3986 §2.1: everything but unreserved characters; apps read `+` as a plus.
fn percent_encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    const RFC_SECRET: &[u8; 20] = b"12345678901234567890";

    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(RFC_SECRET.to_vec()).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// RFC 4226 appendix D.
    #[test]
    fn the_vectors_of_rfc_4226() {
        let expected = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (counter, code) in (0..).zip(expected) {
            assert_eq!(hotp(RFC_SECRET, counter, 6), code, "{counter}");
        }
    }

    /// RFC 6238 appendix B, the rows for SHA-1: eight digits.
    #[test]
    fn the_vectors_of_rfc_6238() {
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(hotp(RFC_SECRET, seconds / 30, 8), code, "{seconds}");
            // Six digits are the last six of the eight.
            assert_eq!(secret().code(at(i64::try_from(seconds).unwrap())), code[2..]);
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_one_around_it() {
        let now = 1_800_000_000;
        let code = secret().code(at(now));
        let step = now / 30;
        for (seconds, verdict) in [
            (now - 31, Verdict::Wrong),
            (now - 30, Verdict::Accepted { step }),
            (now, Verdict::Accepted { step }),
            (now + 29, Verdict::Accepted { step }),
            (now + 59, Verdict::Accepted { step }),
            (now + 60, Verdict::Wrong),
        ] {
            assert_eq!(secret().check(&code, None, at(seconds)), verdict, "{}", seconds - now);
        }
        let spaced = format!(" {} {}\n", &code[..3], &code[3..]);
        assert_eq!(secret().check(&spaced, None, at(now)), Verdict::Accepted { step });
    }

    #[test]
    fn a_step_that_was_accepted_and_all_before_it_are_over() {
        let now = 1_800_000_000;
        let step = now / 30;
        let (before, present, next) = (secret().code(at(now - 30)), secret().code(at(now)), secret().code(at(now + 30)));
        assert_eq!(secret().check(&present, Some(step), at(now)), Verdict::Replayed { step });
        assert_eq!(secret().check(&before, Some(step), at(now)), Verdict::Replayed { step: step - 1 });
        assert_eq!(secret().check(&next, Some(step), at(now)), Verdict::Accepted { step: step + 1 });
        assert_eq!(secret().check(&present, Some(step - 1), at(now)), Verdict::Accepted { step });
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        let now = 1_800_000_000;
        let code = secret().code(at(now));
        let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
        for typed in ["", "0", &code[..5], &format!("0{code}"), &format!("{code}0"), &wrong, "１２３４５６", "-12345", "+12345"]
        {
            assert_eq!(secret().check(typed, None, at(now)), Verdict::Wrong, "{typed}");
        }
        assert_eq!(secret().check(&secret().code(at(0)), None, at(0)), Verdict::Accepted { step: 0 }, "no step before the first");
    }

    #[test]
    fn the_address_names_service_account_and_secret() {
        let uri = secret().uri("Example: ID", "alice@example.com");
        assert_eq!(
            uri.expose(),
            "otpauth://totp/Example%20%20ID:alice%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example%20%20ID\
             &algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(secret().text().expose(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert!(!format!("{:?}", secret()).contains("49, 50"), "a secret is not printed");
    }

    #[test]
    fn secrets_are_new_and_of_one_length() {
        let (one, two) = (TotpSecret::generate(&SystemEntropy), TotpSecret::generate(&SystemEntropy));
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), SECRET_BYTES);
        assert!(TotpSecret::from_bytes(vec![1; 10]).is_none());
    }
}
