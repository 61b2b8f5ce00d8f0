//! Subjects as a client sees them (OpenID Connect Core §8): the same for everybody, or for each sector another (§8.1), so that two apps
//! cannot find out that they know the same person. What is said here holds in every place: ID tokens, userinfo, access tokens,
//! introspection, logout tokens, hints. See docs/decisions/pairwise-subjects.md.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::{Host, Url};
use uuid::Uuid;

use super::session::Session;
use super::user::User;
use crate::oauth::client::{Client, ClientMetadata, SubjectType};
use crate::oauth::redirect_uri;
use crate::seal::{DataKeys, Purpose};
use crate::secret::Digest;

/// Bytes of a sector in a sealed subject.
const SECTOR_LEN: usize = 16;

/// The clients that see the same subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sector {
    /// §8.1: the host of the redirect URIs.
    Host(String),
    /// No redirect URI has a host that is somebody's: the client is alone.
    Alone,
}

/// Redirect URIs that belong to no single sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeveralSectors {
    /// Their hosts, and `(on the device)` for loopback and private-use redirects.
    pub places: Vec<String>,
}

/// The sector of these redirect URIs.
///
/// # Errors
/// §8.1: URIs of several hosts would need a sector_identifier_uri, which is not offered.
pub fn sector(metadata: &ClientMetadata) -> Result<Sector, SeveralSectors> {
    let places: BTreeSet<Option<String>> = metadata.redirect_uris.iter().map(|uri| host(uri)).collect();
    let mut places = places.into_iter();
    match (places.next(), places.next()) {
        (None | Some(None), None) => Ok(Sector::Alone),
        (Some(Some(host)), None) => Ok(Sector::Host(host)),
        (first, second) => {
            let all = [first, second].into_iter().flatten().chain(places);
            Err(SeveralSectors { places: all.map(|place| place.unwrap_or_else(|| "(on the device)".to_owned())).collect() })
        }
    }
}

/// The host of a redirect URI; `None` where it is nobody's: everybody has a loopback, and schemes are taken by whoever comes first.
fn host(uri: &str) -> Option<String> {
    if redirect_uri::is_private_use(uri) {
        return None;
    }
    let url = Url::parse(uri).ok()?;
    let on_the_device = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if on_the_device { None } else { url.host_str().map(str::to_owned) }
}

/// The `sub` under which this client knows this person: everywhere, and always the same.
pub fn subject(keys: &DataKeys, client: &Client, user: &User) -> String {
    match client.metadata.subject_type {
        SubjectType::Public => user.sub.clone(),
        SubjectType::Pairwise => {
            let plain = [user.id.as_bytes().as_slice(), &sector_bytes(client)].concat();
            URL_SAFE_NO_PAD.encode(keys.seal_same(Purpose::Subject, &plain))
        }
    }
}

/// The `sid` under which this client knows this session: two apps of one browser could find each other by it as well.
pub fn sid(keys: &DataKeys, client: &Client, session: &Session) -> String {
    match client.metadata.subject_type {
        SubjectType::Public => session.sid.clone(),
        SubjectType::Pairwise => {
            let parts: [&[u8]; 3] = [b"sid", &sector_bytes(client), session.sid.as_bytes()];
            URL_SAFE_NO_PAD.encode(keys.mac_same(Purpose::Subject, &parts))
        }
    }
}

/// Row id of the person behind a pairwise subject, for operators alone; `None` if it is none of ours.
pub fn person(keys: &DataKeys, sub: &str) -> Option<Uuid> {
    let plain = keys.open_same(Purpose::Subject, &URL_SAFE_NO_PAD.decode(sub).ok()?)?;
    let (id, sector) = plain.expose().split_first_chunk::<16>()?;
    (sector.len() == SECTOR_LEN).then(|| Uuid::from_bytes(*id))
}

fn sector_bytes(client: &Client) -> Vec<u8> {
    let text = match sector(&client.metadata) {
        Ok(Sector::Host(host)) => format!("host {host}"),
        // Registration refuses several sectors; a client that got past it shares nothing with anybody.
        Ok(Sector::Alone) | Err(SeveralSectors { .. }) => format!("client {}", client.client_id),
    };
    Digest::of(text.as_bytes()).as_bytes().iter().copied().take(SECTOR_LEN).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::oauth::grant::samples;
    use crate::seal::tests::data_keys;

    fn client(client_id: &str, redirect_uris: &[&str], subject_type: SubjectType) -> Client {
        let mut client = samples::client(client_id);
        client.metadata.redirect_uris = redirect_uris.iter().map(|uri| (*uri).to_owned()).collect();
        client.metadata.subject_type = subject_type;
        client
    }

    fn pairwise(client_id: &str, redirect_uri: &str) -> Client {
        client(client_id, &[redirect_uri], SubjectType::Pairwise)
    }

    #[test]
    fn one_sector_sees_one_subject_and_no_other_sees_it() {
        let keys = data_keys();
        let (alice, bob) = (samples::user(), User { id: Uuid::from_u128(77), ..samples::user() });
        let there = subject(&keys, &pairwise("a", "https://app.test/cb"), &alice);
        for same in [pairwise("a", "https://app.test/cb"), pairwise("b", "https://APP.test:8443/other?x=1")] {
            assert_eq!(subject(&keys, &same, &alice), there);
        }
        let others = [
            subject(&keys, &pairwise("a", "https://other.test/cb"), &alice),
            subject(&keys, &pairwise("a", "https://sub.app.test/cb"), &alice),
            subject(&keys, &pairwise("a", "http://127.0.0.1/cb"), &alice),
            subject(&keys, &pairwise("b", "http://127.0.0.1/cb"), &alice),
            subject(&keys, &pairwise("a", "https://app.test/cb"), &bob),
            alice.sub.clone(),
            there.clone(),
        ];
        assert_eq!(others.iter().collect::<HashSet<_>>().len(), others.len());
        // §8: at most 255 ASCII characters.
        assert!(there.len() == 64 && there.is_ascii());
        assert_eq!(subject(&keys, &client("a", &["https://app.test/cb"], SubjectType::Public), &alice), alice.sub);
    }

    #[test]
    fn the_server_finds_the_person_and_nobody_makes_one_up() {
        let keys = data_keys();
        let sub = subject(&keys, &pairwise("a", "https://app.test/cb"), &samples::user());
        assert_eq!(person(&keys, &sub), Some(samples::user().id));
        assert_eq!(person(&data_keys(), &sub), None, "another server's");
        for wrong in ["", "alice", "AAAA", &sub[1..], &format!("{sub}AAAA"), &"A".repeat(64)] {
            assert_eq!(person(&keys, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn several_hosts_are_several_sectors() {
        let of = |uris: &[&str]| sector(&client("a", uris, SubjectType::Pairwise).metadata);
        assert_eq!(of(&["https://a.test/1", "https://A.test:444/2"]), Ok(Sector::Host("a.test".to_owned())));
        for alone in [&[][..], &["http://127.0.0.1/a", "http://[::1]/b", "com.example:/cb"], &["http://localhost:3000/"]] {
            assert_eq!(of(alone), Ok(Sector::Alone), "{alone:?}");
        }
        let several = of(&["https://a.test/", "https://b.test/", "http://localhost/"]).unwrap_err();
        assert_eq!(several.places, ["(on the device)", "a.test", "b.test"]);
    }
}
