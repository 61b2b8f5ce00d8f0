//! Header fields, and the one hidden field of our forms.

use std::net::{IpAddr, SocketAddr};

use http::header::{COOKIE, IF_MATCH, IF_NONE_MATCH, ORIGIN, USER_AGENT};
use http::{Extensions, HeaderMap, HeaderValue};

use super::cast::{ISSUER, data_keys};
use super::{check_refusal, text};
use crate::http::admin::call;
use crate::http::extract::{RemoteAddr, form, remote_addr, user_agent};
use crate::http::layers::host;
use crate::http::pages::cookies::{Cookies, Name};
use crate::http::pages::i18n::Lang;
use crate::http::pages::{csrf, origin};
use crate::http::server::Peer;
use crate::secret::Secret;
use crate::service::address::Prefix;
use crate::service::logos::picture;
use crate::service::revision::Precondition;

/// A cookie that is read is one that we could have set, and it was sent.
pub fn cookies(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let sent = HeaderMap::from_iter([(COOKIE, value)]);
    for cookies in [Cookies::new(true), Cookies::new(false)] {
        if let Some(session) = cookies.read(Name::Session, &sent) {
            assert!(String::from_utf8_lossy(data).contains(&format!("{}={}", cookies.name(Name::Session), session.expose())));
            assert_eq!(
                sent_back(cookies, Name::Session, &session, |headers| cookies.read(Name::Session, headers)),
                session.expose().clone()
            );
        }
        let bindings = cookies.bindings(&sent);
        assert!(bindings.len() <= 8);
        for binding in bindings {
            assert_eq!(
                sent_back(cookies, Name::Browser, &binding, |headers| cookies.bindings(headers).pop()),
                binding.expose().clone()
            );
        }
    }
}

/// The cookie as a browser sends it back after we set it.
fn sent_back(cookies: Cookies, name: Name, value: &Secret<String>, read: impl Fn(&HeaderMap) -> Option<Secret<String>>) -> String {
    let set = cookies.set(name, value, None).expect("a value of ours");
    let pair = set.to_str().expect("ASCII").split(';').next().unwrap_or_default().to_owned();
    let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(pair).expect("a header"))]);
    read(&headers).expect("what was set is read").expose().clone()
}

/// No token but the one that was made opens the form, and only it is about what its page showed.
pub fn csrf(data: &[u8]) {
    let Some(sent) = text(data) else { return };
    let cookie = Secret::new("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ".to_owned());
    let made = csrf::token(data_keys(), &cookie, "consent", "alice");
    let fields = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (made, sent_fields) = (fields(made.expose()), fields(sent));
    match csrf::check(data_keys(), &cookie, "consent", sent) {
        Err(refused) => check_refusal(&refused),
        Ok(()) => assert_eq!(sent_fields[1], made[1]),
    }
    if csrf::is_about(data_keys(), &cookie, "consent", "alice", sent) {
        assert_eq!(sent_fields[3], made[3]);
    }
    let own = csrf::token(data_keys(), &cookie, sent, sent);
    assert_eq!(csrf::check(data_keys(), &cookie, sent, own.expose()), Ok(()));
    assert!(csrf::is_about(data_keys(), &cookie, sent, sent, own.expose()));
    assert_eq!(csrf::check(data_keys(), &cookie, "consent", own.expose()).is_ok(), sent == "consent");
}

/// Strangers are not believed about themselves; what a proxy says is believed up to the first address that is nobody's proxy.
pub fn forwarded(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == b'\n');
    let peer = parts.next().and_then(text).and_then(|peer| peer.parse::<IpAddr>().ok());
    let peer = peer.unwrap_or_else(|| IpAddr::from([10, 0, 0, 1]));
    let mut headers = HeaderMap::new();
    for line in parts.take(8) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append("x-forwarded-for", value);
    }
    let trusted = ["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
    let is_proxy = |ip: IpAddr| trusted.iter().any(|network: &ipnet::IpNet| network.contains(&ip));
    let mut extensions = Extensions::new();
    extensions.insert(Peer(SocketAddr::new(peer, 4711)));
    let RemoteAddr(client) = RemoteAddr::of(&extensions, &headers, &trusted);
    assert_eq!(client, client.to_canonical());
    assert_eq!(RemoteAddr::of(&extensions, &headers, &[]), RemoteAddr(peer.to_canonical()));
    let peer = peer.to_canonical();
    assert_eq!(RemoteAddr::is_proxy(peer, &trusted), is_proxy(peer));
    if !is_proxy(peer) {
        assert_eq!(client, peer);
    }
    // From the right: whoever is named left of the client has no say.
    let hops: Vec<String> = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|line| String::from_utf8_lossy(line.as_bytes()).split(',').map(|hop| hop.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    let mut last = peer;
    for hop in hops.iter().rev().take(16) {
        let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
        let named = bare.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
        let (true, Some(named)) = (is_proxy(last), named) else { break };
        last = named.to_canonical();
    }
    assert_eq!(client, last);
    assert_eq!(remote_addr::untrusted_proxy(Some(peer), &headers, &trusted).is_some(), !headers.is_empty() && !is_proxy(peer));
    let shown = Prefix::of(client).to_string();
    let network: IpAddr = shown.split('/').next().unwrap_or_default().parse().expect("an address");
    assert_eq!(Prefix::of(network).to_string(), shown, "a prefix is its own");
}

/// Whatever stands in these fields, what becomes of it is of our own choice.
pub fn headers(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let sent = String::from_utf8_lossy(data).into_owned();
    if form::is_form_type(&sent) {
        assert!(sent.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
        assert!(!sent.contains(','));
    }

    let lang = Lang::choose(None, Some(&sent));
    assert_eq!(Lang::choose(Some(lang.tag()), Some(&sent)), lang);
    assert_eq!(Lang::choose(Some("de"), Some(&sent)), Lang::De);
    assert!(lang == Lang::En || sent.to_ascii_lowercase().contains("de"));
    Lang::choose(Some(&sent), None);

    if let Some(device) = user_agent::device(&HeaderMap::from_iter([(USER_AGENT, value.clone())])) {
        assert!((1..=64).contains(&device.chars().count()), "{device}");
        assert!(device.chars().all(|letter| letter.is_ascii_alphanumeric() || " ·-_.".contains(letter)), "{device}");
    }

    if host::is_valid(data) {
        // Whoever reads it as a part of a URL reads the host and nothing beside it.
        assert!(
            !sent.is_empty() && sent.bytes().all(|byte| byte.is_ascii_graphic() && !b"@/\\?#<>\"^`{|}".contains(&byte)),
            "{sent}"
        );
        assert!(sent.starts_with('[') || sent.bytes().filter(|byte| *byte == b':').count() <= 1, "{sent}");
    }

    match origin::check(ISSUER, &HeaderMap::from_iter([(ORIGIN, value.clone())])) {
        Ok(()) => assert_eq!(sent, ISSUER),
        Err(refused) => check_refusal(&refused),
    }

    for name in [IF_MATCH, IF_NONE_MATCH] {
        match call::precondition(&HeaderMap::from_iter([(name.clone(), value.clone())])) {
            Err(refused) => check_refusal(&refused),
            Ok(Precondition::None) => panic!("there is one"),
            Ok(Precondition::Exists) => assert!(name == IF_MATCH && sent.trim() == "*"),
            Ok(Precondition::Absent) => assert!(name == IF_NONE_MATCH && sent.trim() == "*"),
            Ok(Precondition::Tags(tags)) => {
                assert!(name == IF_MATCH && (1..=20).contains(&tags.len()));
                assert!(tags.iter().all(|tag| sent.contains(tag.as_str()) && tag.contains('"')));
                let written = HeaderValue::try_from(tags.join(", ")).expect("a header");
                let again = call::precondition(&HeaderMap::from_iter([(IF_MATCH, written)]));
                assert_eq!(again, Ok(Precondition::Tags(tags)));
            }
        }
    }
}

/// What is shown as a picture begins as one, and its beginning alone decides.
pub fn picture(data: &[u8]) {
    let Some(kind) = picture::media_type(data) else { return };
    let begins: &[u8] = match kind {
        "image/png" => b"\x89PNG\r\n\x1a\n",
        "image/webp" => b"RIFF",
        "image/jpeg" => &[0xff, 0xd8, 0xff],
        other => panic!("{other}"),
    };
    assert!(data.starts_with(begins), "{kind}");
    assert_eq!(picture::media_type(&[data, data].concat()), Some(kind));
}
