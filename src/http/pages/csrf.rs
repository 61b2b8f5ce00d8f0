//! CSRF tokens (security.md R-51): a MAC under the cookies' data key over the cookie that binds the form to its browser and over
//! what the form is for. Nothing is stored; a token is as good as the cookie that it belongs to, and for its one kind of form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::oauth::refusal::Reason;
use crate::seal::{DataKeys, Purpose};
use crate::secret::{Secret, constant_time_eq};

/// What a form is for: a token made for one kind of form does not open another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormKind {
    Login,
    SelectAccount,
    Consent,
    Logout,
    Account,
}

impl FormKind {
    const fn label(self) -> &'static [u8] {
        match self {
            FormKind::Login => b"login",
            FormKind::SelectAccount => b"select_account",
            FormKind::Consent => b"consent",
            FormKind::Logout => b"logout",
            FormKind::Account => b"account",
        }
    }
}

/// The token for a form of this kind. `cookie` is the value of the cookie that the answer must come with: the browser's before
/// somebody is signed in, the session's afterwards.
pub fn token(keys: &DataKeys, cookie: &Secret<String>, kind: FormKind) -> String {
    let (key_id, mac) = keys.mac(Purpose::Cookie, &parts(cookie, kind));
    format!("{key_id}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// Whether the `csrf` field that came back belongs to this cookie and this kind of form. Compared in constant time.
pub fn check(keys: &DataKeys, cookie: Option<&Secret<String>>, kind: FormKind, token: Option<&str>) -> Result<(), Reason> {
    let holds = || {
        let (key_id, mac) = token?.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let expected = keys.mac_with(Purpose::Cookie, key_id.parse().ok()?, &parts(cookie?, kind))?;
        constant_time_eq(&mac, &expected).then_some(())
    };
    holds().ok_or(Reason::CsrfMismatch)
}

fn parts(cookie: &Secret<String>, kind: FormKind) -> [&[u8]; 3] {
    [b"csrf", kind.label(), cookie.expose().as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::entropy::{self, SystemEntropy};
    use crate::seal::{DataKeyRecord, MasterKey, new_data_key};

    const KINDS: [FormKind; 5] = [FormKind::Login, FormKind::SelectAccount, FormKind::Consent, FormKind::Logout, FormKind::Account];

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
    fn a_token_opens_its_own_kind_of_form_in_its_own_browser_alone() {
        let keys = data_keys();
        let (mine, other) = (entropy::token(&SystemEntropy), entropy::token(&SystemEntropy));
        let csrf = token(&keys, &mine, FormKind::Consent);
        for kind in KINDS {
            assert_eq!(check(&keys, Some(&mine), kind, Some(&csrf)).is_ok(), kind == FormKind::Consent, "{kind:?}");
        }
        assert_eq!(check(&keys, Some(&other), FormKind::Consent, Some(&csrf)), Err(Reason::CsrfMismatch));
        assert_eq!(check(&keys, None, FormKind::Consent, Some(&csrf)), Err(Reason::CsrfMismatch));
        assert_eq!(check(&data_keys(), Some(&mine), FormKind::Consent, Some(&csrf)), Err(Reason::CsrfMismatch));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let keys = data_keys();
        let mine = entropy::token(&SystemEntropy);
        let csrf = token(&keys, &mine, FormKind::Login);
        let (id, mac) = csrf.split_once('.').unwrap();
        let flipped = if mac.starts_with('A') { mac.replacen('A', "B", 1) } else { format!("A{}", &mac[1..]) };
        for bad in
            ["", ".", mac, &format!("{id}."), &format!("99.{mac}"), &format!("-1.{mac}"), &format!("{id}.{flipped}"), &csrf[..20]]
        {
            assert_eq!(check(&keys, Some(&mine), FormKind::Login, Some(bad)), Err(Reason::CsrfMismatch), "{bad}");
        }
        assert_eq!(check(&keys, Some(&mine), FormKind::Login, None), Err(Reason::CsrfMismatch));
    }
}
