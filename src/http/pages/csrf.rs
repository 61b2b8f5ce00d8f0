//! CSRF tokens (security.md R-51): MACs under the cookies' data key over the cookie that binds the form to its browser, over what the
//! form is for, and over what its page showed: the session above all. Nothing is stored; a token is as good as the cookie that it
//! belongs to, for its one kind of form.
//!
//! Two MACs, since two things can be wrong. A form without the first is not ours: refused. One without the second is ours, but the
//! world has moved on since its page was rendered, somebody else signed in, say, and the answer on it was an answer to another
//! question: the page is shown again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::oauth::refusal::Reason;
use crate::seal::{DataKeys, Purpose};
use crate::secret::{Secret, constant_time_eq};

/// The token for a form. `cookie` is the value of the cookie that must come back with it; `purpose` is what the form is for, such
/// as `login`: a token made for one purpose does not open another form. `about` is what the answer on the form rests on.
pub fn token(keys: &DataKeys, cookie: &Secret<String>, purpose: &str, about: &str) -> Secret<String> {
    let (key_id, mac) = keys.mac(Purpose::Cookie, &parts(cookie, purpose));
    let (about_key_id, about_mac) = keys.mac(Purpose::Cookie, &about_parts(cookie, purpose, about));
    let encode = |mac| URL_SAFE_NO_PAD.encode(mac);
    Secret::new(format!("{key_id}.{}.{about_key_id}.{}", encode(mac), encode(about_mac)))
}

/// Refuses a `csrf` field that does not belong to this cookie and this purpose. Compared in constant time.
///
/// # Errors
/// [`Reason::CsrfMismatch`], whatever is wrong with it.
pub fn check(keys: &DataKeys, cookie: &Secret<String>, purpose: &str, token: &str) -> Result<(), Reason> {
    let mut fields = token.splitn(3, '.');
    let holds = holds(keys, &parts(cookie, purpose), fields.next(), fields.next());
    if holds && fields.next().is_some() { Ok(()) } else { Err(Reason::CsrfMismatch) }
}

/// Was the form's page about this, as it is now? To be asked after [`check`]. Compared in constant time.
pub fn is_about(keys: &DataKeys, cookie: &Secret<String>, purpose: &str, about: &str, token: &str) -> bool {
    let mut fields = token.splitn(4, '.').skip(2);
    holds(keys, &about_parts(cookie, purpose, about), fields.next(), fields.next())
}

fn holds(keys: &DataKeys, parts: &[&[u8]], key_id: Option<&str>, mac: Option<&str>) -> bool {
    let expected = key_id.and_then(|id| id.parse().ok()).and_then(|id| keys.mac_with(Purpose::Cookie, id, parts));
    let sent = mac.and_then(|mac| URL_SAFE_NO_PAD.decode(mac).ok());
    matches!((expected, sent), (Some(expected), Some(sent)) if constant_time_eq(&sent, &expected))
}

fn about_parts<'a>(cookie: &'a Secret<String>, purpose: &'a str, about: &'a str) -> [&'a [u8]; 4] {
    [b"csrf about", purpose.as_bytes(), cookie.expose().as_bytes(), about.as_bytes()]
}

fn parts<'a>(cookie: &'a Secret<String>, purpose: &'a str) -> [&'a [u8]; 3] {
    [b"csrf", purpose.as_bytes(), cookie.expose().as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::entropy::{self, SystemEntropy};
    use crate::seal::{DataKeyRecord, MasterKey, new_data_key};

    fn data_keys() -> DataKeys {
        let created_at = Timestamp::from_seconds(1);
        let (master, _) = MasterKey::generate(&SystemEntropy).unwrap();
        let records: Vec<DataKeyRecord> = (1..)
            .zip(Purpose::ALL)
            .map(|(id, purpose)| {
                let sealed = new_data_key(&master, &SystemEntropy, id, purpose);
                DataKeyRecord { id, purpose, sealed, created_at, retired_at: None, compromised_at: None }
            })
            .collect();
        DataKeys::open_records(&master, &records, created_at, None).unwrap()
    }

    #[test]
    fn a_token_opens_its_own_form_in_its_own_browser_alone() {
        let keys = data_keys();
        let (mine, other) = (entropy::token(&SystemEntropy), entropy::token(&SystemEntropy));
        let csrf = token(&keys, &mine, "consent", "alice");
        let csrf = csrf.expose();
        assert_eq!(check(&keys, &mine, "consent", csrf), Ok(()));
        assert_eq!(check(&keys, &mine, "login", csrf), Err(Reason::CsrfMismatch));
        assert_eq!(check(&keys, &other, "consent", csrf), Err(Reason::CsrfMismatch));
        assert_eq!(check(&data_keys(), &mine, "consent", csrf), Err(Reason::CsrfMismatch));
    }

    #[test]
    fn a_token_tells_whether_its_page_was_about_the_same() {
        let keys = data_keys();
        let (mine, other) = (entropy::token(&SystemEntropy), entropy::token(&SystemEntropy));
        let csrf = token(&keys, &mine, "consent", "alice");
        let csrf = csrf.expose();
        assert!(is_about(&keys, &mine, "consent", "alice", csrf));
        assert!(!is_about(&keys, &mine, "consent", "bob", csrf));
        assert!(!is_about(&keys, &mine, "logout", "alice", csrf));
        assert!(!is_about(&keys, &other, "consent", "alice", csrf));
        let bobs = token(&keys, &other, "consent", "alice");
        let (own, _) = csrf.rsplit_once('.').unwrap();
        let mixed = format!("{own}.{}", bobs.expose().rsplit_once('.').unwrap().1);
        assert!(!is_about(&keys, &mine, "consent", "alice", &mixed));
        for cut in ["", "1", "1.2", "1.2.3"] {
            assert!(!is_about(&keys, &mine, "consent", "alice", cut), "{cut}");
        }
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let keys = data_keys();
        let mine = entropy::token(&SystemEntropy);
        let csrf = token(&keys, &mine, "login", "").expose().clone();
        let (id, rest) = csrf.split_once('.').unwrap();
        let (mac, about) = rest.split_once('.').unwrap();
        let flipped = format!("{}{}", if mac.starts_with('A') { 'B' } else { 'A' }, &mac[1..]);
        let bad = [
            "",
            ".",
            mac,
            &csrf[..20],
            &format!("{id}."),
            &format!("{id}.{mac}"),
            &format!("{id}..{about}"),
            &format!("99.{mac}.{about}"),
            &format!("-1.{mac}.{about}"),
            &format!("{id}.{flipped}.{about}"),
            about,
        ];
        for bad in bad {
            assert_eq!(check(&keys, &mine, "login", bad), Err(Reason::CsrfMismatch), "{bad}");
        }
    }
}
