//! CSRF tokens (security.md R-51): a MAC under the cookies' data key over the cookie that binds the form to its browser and over
//! what the form is for. Nothing is stored; a token is as good as the cookie that it belongs to, and for its one kind of form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::oauth::refusal::Reason;
use crate::seal::{DataKeys, Purpose};
use crate::secret::{Secret, constant_time_eq};

/// The token for a form. `cookie` is the value of the cookie that must come back with it; `purpose` is what the form is for, such
/// as `login`: a token made for one purpose does not open another form.
pub fn token(keys: &DataKeys, cookie: &Secret<String>, purpose: &str) -> Secret<String> {
    let (key_id, mac) = keys.mac(Purpose::Cookie, &parts(cookie, purpose));
    Secret::new(format!("{key_id}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

/// Refuses a `csrf` field that does not belong to this cookie and this purpose. Compared in constant time.
///
/// # Errors
/// [`Reason::CsrfMismatch`], whatever is wrong with it.
pub fn check(keys: &DataKeys, cookie: &Secret<String>, purpose: &str, token: &str) -> Result<(), Reason> {
    let holds = || {
        let (key_id, mac) = token.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let expected = keys.mac_with(Purpose::Cookie, key_id.parse().ok()?, &parts(cookie, purpose))?;
        constant_time_eq(&mac, &expected).then_some(())
    };
    holds().ok_or(Reason::CsrfMismatch)
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
        let csrf = token(&keys, &mine, "consent");
        let csrf = csrf.expose();
        assert_eq!(check(&keys, &mine, "consent", csrf), Ok(()));
        assert_eq!(check(&keys, &mine, "login", csrf), Err(Reason::CsrfMismatch));
        assert_eq!(check(&keys, &other, "consent", csrf), Err(Reason::CsrfMismatch));
        assert_eq!(check(&data_keys(), &mine, "consent", csrf), Err(Reason::CsrfMismatch));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let keys = data_keys();
        let mine = entropy::token(&SystemEntropy);
        let csrf = token(&keys, &mine, "login").expose().clone();
        let (id, mac) = csrf.split_once('.').unwrap();
        let flipped = format!("{}{}", if mac.starts_with('A') { 'B' } else { 'A' }, &mac[1..]);
        let bad =
            ["", ".", mac, &csrf[..20], &format!("{id}."), &format!("99.{mac}"), &format!("-1.{mac}"), &format!("{id}.{flipped}")];
        for bad in bad {
            assert_eq!(check(&keys, &mine, "login", bad), Err(Reason::CsrfMismatch), "{bad}");
        }
    }
}
