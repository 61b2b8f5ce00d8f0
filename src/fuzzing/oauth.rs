//! Requests of the OAuth endpoints: forms, credentials, redirect URIs, scopes, codes and tokens.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::cast::{self, ISSUER, NOW, SECRET};
use super::{check_printable, check_refusal, lines, text};
use crate::http::pages::client_seen::Destination;
use crate::http::pages::csp;
use crate::http::pages::i18n::Lang;
use crate::oauth::authorize::{self, Prompt, ValidatedAuthorize, response, scene};
use crate::oauth::client::AuthMethod;
use crate::oauth::client_auth::{self, Credentials, client_secret_basic};
use crate::oauth::family::{self, Presented};
use crate::oauth::grant::{TokenRequest, samples};
use crate::oauth::jar::RequestObject;
use crate::oauth::params::{MAX_BODY, MAX_QUERY, Params, is_secret};
use crate::oauth::pkce;
use crate::oauth::redirect_uri::{
    check_registered, doubts, first_difference, is_http_loopback, is_interceptable, is_private_use, matches, origin, with_query,
};
use crate::oauth::refusal::Reason;
use crate::oauth::scope::{MAX_SCOPES, is_subset, is_token, join, parse};
use crate::oidc::id_token::Hint;
use crate::oidc::logout;

/// A form is read as a query is; what was read is written and read again as itself; nothing grows, and nothing has control characters.
pub fn params(data: &[u8]) {
    let read = Params::parse_form(data);
    if let Some(query) = text(data).filter(|query| query.len() <= MAX_QUERY) {
        match (&read, Params::parse_query(query)) {
            (Ok(form), Ok(query)) => assert_same(form, &query),
            (Err(form), Err(query)) => assert_eq!(form, &query),
            (form, query) => panic!("{form:?} as a form, {query:?} as a query"),
        }
    }
    let params = match read {
        Ok(params) => params,
        Err(refused) => {
            if let Reason::MalformedParameter { name, received, .. } = &refused {
                assert!(!is_secret(name) || received == "(withheld)");
            }
            return check_refusal(&refused);
        }
    };
    let names: Vec<&str> = params.names().collect();
    let distinct: HashSet<&str> = names.iter().copied().collect();
    let mut decoded = names.iter().map(|name| name.len()).sum::<usize>();
    for name in &distinct {
        let values = params.all(name);
        assert_eq!(params.get(name), values.first().copied());
        let repeatable = matches!(*name, "resource" | "audience");
        assert!(repeatable || names.iter().filter(|other| *other == name).count() == 1, "{name} twice");
        decoded += values.iter().map(|value| value.len()).sum::<usize>();
        assert!(!name.chars().chain(values.iter().flat_map(|value| value.chars())).any(char::is_control));
    }
    assert!(decoded <= data.len(), "{decoded} of {}", data.len());
    let written = params.to_query();
    assert!(written.bytes().all(|byte| byte.is_ascii_graphic()));
    if written.len() <= MAX_BODY {
        assert_same(&params, &Params::parse_form(written.as_bytes()).expect("what was written is read"));
    }
    // what is in the URL and in the body is sent twice.
    let once = names.iter().any(|name| !matches!(*name, "resource" | "audience"));
    assert_eq!(Params::merge(params.clone(), params.clone()).is_err(), once);
    assert_eq!(params.refuse_beside(&params).is_err(), !params.is_empty());
    for refused in [params.refuse_credentials(), params.refuse_beside(&params)].into_iter().filter_map(Result::err) {
        check_refusal(&refused);
    }
}

fn assert_same(one: &Params, other: &Params) {
    let names: Vec<&str> = one.names().collect();
    assert_eq!(names, other.names().collect::<Vec<_>>());
    for name in names {
        assert_eq!(one.all(name), other.all(name), "{name}");
    }
}

/// Client and secret are found again when they are written as RFC 6749 §2.3.1 says, and two headers are never one.
pub fn basic(data: &[u8]) {
    match client_secret_basic::read(&[data]) {
        Err(refused) => check_refusal(&refused),
        Ok(None) => panic!("there is a header"),
        Ok(Some((client_id, secret))) => {
            let secret = secret.expose();
            assert!(!client_id.is_empty() && client_id.len() + secret.len() < data.len());
            assert!(!client_id.chars().chain(secret.chars()).any(char::is_control));
            let form = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let written = format!("Basic {}", STANDARD.encode(format!("{}:{}", form(&client_id), form(secret))));
            if written.len() <= 4096 {
                let again = client_secret_basic::read(&[written.as_bytes()]).expect("what was written is read").expect("a header");
                assert_eq!((again.0.as_str(), again.1.expose()), (client_id.as_str(), secret));
            }
            let credentials = Credentials::read(&[data], &Params::default()).expect("the same header");
            assert_eq!(credentials.client_id(), Some(client_id.as_str()));
        }
    }
    assert!(matches!(client_secret_basic::read(&[data, data]), Err(Reason::MalformedAuthorization { .. })));
}

/// A client is proved by nothing but an assertion that its key signed, about itself, for us, and now.
pub fn client_assertion(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [header, claims] = lines(text);
    let jwt = cast::signed(&format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)));
    let body = format!("client_assertion_type={}&client_assertion={jwt}", client_auth::private_key_jwt::ASSERTION_TYPE);
    let Ok(params) = Params::parse_form(body.as_bytes()) else { return };
    let credentials = match Credentials::read(&[], &params) {
        Ok(credentials) => credentials,
        Err(refused) => return check_refusal(&refused),
    };
    let assertion = credentials.assertion().expect("an assertion was sent");
    assert_eq!(credentials.client_id(), Some(assertion.subject()));
    let rules = client_auth::Rules {
        issuer: cast::ISSUER,
        token_endpoint: format!("{}/token", cast::ISSUER),
        longest: Duration::from_secs(300),
        tolerance: Duration::from_secs(60),
    };
    let client = cast::signing_client();
    assert!(client_auth::authenticate(&credentials, Some(client), None, NOW).is_err(), "nobody has verified it");
    if let Err(refused) = assertion.check(client, &rules, NOW) {
        return check_refusal(&refused);
    }
    let members = crate::jose::object(claims.as_bytes()).expect("claims that were read");
    assert!(
        members["iss"] == "signing" && members["sub"] == "signing" && members["jti"].as_str().is_some_and(|jti| !jti.is_empty())
    );
    assert!(!members["aud"].to_string().contains("evil"));
    let exp = members["exp"].as_f64().expect("a number") as i64;
    assert!((NOW.seconds() - 60..=NOW.seconds() + 360).contains(&exp), "{exp}");
    let verified =
        crate::jose::ClientJwt::read(&jwt).expect("it was read before").verify(client.metadata.jwks.as_ref().expect("keys"));
    let kid = crate::jose::object(header.as_bytes()).expect("a header that was read").get("kid").cloned();
    assert_eq!(verified.is_ok(), kid.is_none_or(|kid| kid == cast::signing_key().kid), "{verified:?}");
}

/// What is inside a request object is the client's own, for us, and read as parameters are; it is never unsigned and never nested.
pub fn request_object(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [header, claims] = lines(text);
    let jwt = cast::signed(&format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)));
    for text in [text, &jwt] {
        let object = match RequestObject::read(text) {
            Ok(object) => object,
            Err(refused) => {
                check_refusal(&refused);
                continue;
            }
        };
        let client = cast::signing_client();
        match object.params(client, ISSUER, Duration::from_secs(60), NOW) {
            Err(refused) => check_refusal(&refused),
            Ok(params) => {
                assert_eq!(params.get("client_id"), Some("signing"));
                assert!(params.names().all(|name| !matches!(name, "iss" | "aud" | "exp" | "request" | "request_uri")));
                let members = object.jwt().claims().expect("claims that were read");
                assert!(
                    members["iss"] == "signing"
                        && members["aud"].to_string().contains(ISSUER)
                        && members.get("sub") != members.get("iss")
                );
            }
        }
    }
}

/// An access token is a b64token of the header, comes in one way at a time, and is read again from the header that it makes.
pub fn bearer(data: &[u8]) {
    let header = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let body = data.get(header.len() + 1..).unwrap_or_default();
    let form = Params::parse_form(body).ok();
    fn read<'a>(headers: &[&'a [u8]], form: Option<&'a Params>) -> Result<crate::oauth::bearer::Token<'a>, Reason> {
        crate::oauth::bearer::token(headers, &Params::default(), form)
    }
    match read(&[header], None) {
        Err(refused) => check_refusal(&refused),
        Ok(token) => {
            let token = token.expose();
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)));
            assert!(header.windows(token.len()).any(|part| part == token.as_bytes()));
            assert_eq!(read(&[format!("Bearer {token}").as_bytes()], None).expect("the same token").expose(), token);
            assert!(matches!(read(&[header, header], None), Err(Reason::TokenSentTwice)));
            let in_query = Params::parse_query("access_token=x").expect("a query");
            assert!(matches!(crate::oauth::bearer::token(&[header], &in_query, None), Err(Reason::CredentialsInQuery { .. })));
        }
    }
    if let Some(form) = &form {
        match (read(&[], Some(form)), form.get("access_token")) {
            (Ok(token), Some(sent)) => assert_eq!(token.expose(), sent),
            (Err(refused), _) => check_refusal(&refused),
            (Ok(_), None) => panic!("a token out of nothing"),
        }
        if form.get("access_token").is_some() {
            assert!(matches!(read(&[header], Some(form)), Err(Reason::TokenSentTwice)));
        }
    }
}

/// Reading a scope is idempotent; a challenge is the one spelling of 32 bytes; a verifier fits its own challenge.
pub fn scope(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match parse(text) {
        Err(refused) => check_refusal(&refused),
        Ok(scopes) => {
            assert!(scopes.len() <= MAX_SCOPES && scopes.iter().all(|scope| is_token(scope)));
            assert_eq!(scopes.iter().collect::<HashSet<_>>().len(), scopes.len());
            assert!(scopes.iter().all(|scope| text.split(' ').any(|sent| sent == scope)));
            assert!(text.split(' ').all(|sent| sent.is_empty() || scopes.iter().any(|scope| scope == sent)));
            assert!(join(&scopes).len() <= text.len() && is_subset(&scopes, &scopes));
            assert_eq!(parse(&join(&scopes)).expect("what was written is read"), scopes);
        }
    }
    match pkce::check_challenge(text) {
        Err(refused) => check_refusal(&refused),
        Ok(()) => assert_eq!(URL_SAFE_NO_PAD.encode(URL_SAFE_NO_PAD.decode(text).expect("base64url")), text),
    }
    match pkce::verify(Some(&pkce::challenge_of(text)), Some(text)) {
        Err(refused) => check_refusal(&refused),
        Ok(()) => {
            assert!((43..=128).contains(&text.len()));
            assert!(pkce::verify(Some(text), Some(text)).is_err(), "plain");
            assert!(pkce::verify(None, Some(text)).is_err());
        }
    }
}

/// Whatever may be registered is what a browser opens, leads to one place, and is named by the same bytes alone, but for the port of a
/// native client's loopback address.
pub fn redirect_uri(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let [registered, received] = lines(text);
    assert_eq!(matches(registered, received, false), registered == received);
    assert!(matches(registered, registered, true));
    assert_eq!(matches(registered, received, true), matches(received, registered, true));
    let (schemes, registered_list) = (vec!["cursor".to_owned()], vec![registered.to_owned()]);
    let checked = check_registered(registered, &schemes);
    let difference = first_difference(&registered_list, received);
    assert!(difference.len() < 1000 + registered.len());
    if let Err(problem) = checked {
        return check_printable(&problem);
    }
    check_printable(&difference);

    let url = Url::parse(registered).expect("a registered URI is a URL");
    assert!(url.as_str() == registered || url.as_str().strip_suffix('/') == Some(registered), "{registered} is read as {url}");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    assert!(registered.bytes().all(|byte| byte.is_ascii_graphic()));
    let web = matches!(url.scheme(), "http" | "https");
    assert_eq!(is_private_use(registered), !web);
    assert_eq!(url.scheme() == "http", is_http_loopback(registered), "http is for loopback alone");
    assert!(web || is_interceptable(registered));
    for never in ["javascript:", "data:", "file:", "blob:", "vbscript:"] {
        assert!(!registered.to_ascii_lowercase().starts_with(never));
    }
    if registered != received && matches(registered, received, true) {
        let other = Url::parse(received).expect("a native client's URI is one");
        let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.path().to_owned());
        assert_eq!(place(&url), place(&other));
        assert_eq!((url.scheme(), url.query(), other.fragment()), ("http", other.query(), None));
        assert!(matches!(other.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")));
        assert!(other.username().is_empty() && other.password().is_none());
    }

    // What is put into the address arrives as it was, beside what was there.
    let sent = with_query(registered, &[("code", "c"), ("state", received)]);
    assert!(sent.starts_with(registered) && sent.bytes().all(|byte| byte.is_ascii_graphic()));
    let opened = Url::parse(&sent).expect("an address");
    assert_eq!((opened.host_str(), opened.port(), opened.scheme()), (url.host_str(), url.port(), url.scheme()));
    let value = |name: &str| {
        let mut found = opened.query_pairs().filter(|(known, _)| known == name).map(|(_, value)| value.into_owned());
        let first = found.next();
        assert!(found.next().is_none(), "{name} twice in {sent}");
        first
    };
    assert_eq!((value("code").as_deref(), value("state").as_deref()), (Some("c"), Some(received)));

    // The policy of the page that leads there has one source more, and no directive more.
    let source = origin(registered);
    assert!(source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._:/[]".contains(&byte)), "{source}");
    let policy = csp::Policy::redirecting_to(registered).header();
    let policy = policy.to_str().expect("ASCII");
    let strict = csp::Policy::strict().header();
    assert_eq!(policy.matches(';').count(), strict.to_str().expect("ASCII").matches(';').count(), "{policy}");
    assert!(!policy.contains(','), "{policy}");
    for lang in Lang::ALL {
        assert!(!Destination::of(registered).words(lang).is_empty());
    }
    for doubt in doubts(registered, false, false) {
        assert!(!doubt.to_string().chars().any(char::is_control));
    }
}

/// What is asked for and open is known, and asked for again is the same.
pub fn resource(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let requested: Vec<&str> = text.split('\n').take(50).collect();
    let catalogue = samples::catalogue();
    let scopes = samples::grant().scopes;
    match catalogue.check_requested(&requested, &scopes) {
        Err(refused) => check_refusal(&refused),
        Ok(open) => {
            let known = |identifier: &str| identifier == catalogue.issuer() || catalogue.find(identifier).is_some();
            assert!(open.iter().all(|identifier| known(identifier) && requested.contains(&identifier.as_str())));
            assert!(requested.iter().all(|identifier| open.iter().any(|known| known == identifier)));
            let again: Vec<&str> = open.iter().map(String::as_str).collect();
            assert_eq!(catalogue.check_requested(&again, &scopes).as_ref(), Ok(&open));
            let audience = catalogue.audiences(&open, &scopes, catalogue.issuer()).expect("resources that agree");
            assert!(!audience.aud.is_empty() && is_subset(&audience.scopes, &scopes));
            let granted = ["https://orders.test".to_owned()];
            match catalogue.narrow(&requested, &granted, &scopes) {
                Ok(less) => assert!(less.iter().all(|identifier| granted.contains(identifier))),
                Err(refused) => check_refusal(&refused),
            }
        }
    }
}

/// the browser is sent to a registered URI of the named client or nowhere, the state comes back as it went, and what
/// passed has what every request needs.
pub fn authorize(data: &[u8]) {
    let Some(query) = text(data) else { return };
    let Ok(params) = Params::parse_query(query) else { return };
    let clients = [scene::web(), scene::spa(), scene::native()];
    let client = clients.iter().find(|client| params.get("client_id") == Some(client.client_id.as_str()));
    let redirect = match authorize::prove(&params, client) {
        Ok(redirect) => redirect,
        Err(refused) => return check_refusal(&refused),
    };
    let client = client.expect("nothing is proved without a client");
    let native = client.client_id == "native";
    assert!(client.metadata.redirect_uris.iter().any(|registered| matches(registered, &redirect.redirect_uri, native)));
    let outcome = authorize::check(&params, client, &redirect, &scene::catalogue());
    let delivery = match &outcome {
        Ok(request) => {
            assert_eq!(params.get("response_type"), Some("code"));
            let challenge = request.code_challenge.as_deref().expect("PKCE is asked of everybody here");
            assert_eq!((pkce::check_challenge(challenge), params.get("code_challenge_method")), (Ok(()), Some("S256")));
            assert!(!request.prompts(Prompt::None) || request.prompt.len() == 1);
            assert_eq!((request.redirect() == redirect, request.state.as_deref()), (true, params.get("state")));
            assert!(is_subset(&request.scopes, &client.allowed_scopes(scene::catalogue().resources())));
            let stored = serde_json::to_string(request).expect("JSON");
            assert_eq!(&serde_json::from_str::<ValidatedAuthorize>(&stored).expect("what was stored is read"), request);
            response::success(request, ISSUER, "c")
        }
        Err(refused) => {
            check_refusal(refused);
            response::failure(&redirect, ISSUER, refused)
        }
    };
    match delivery {
        response::Delivery::Redirect(target) => {
            assert!(target.starts_with(&redirect.redirect_uri) && target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
            let opened = Url::parse(&target).expect("an address");
            let value = |name: &str| opened.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
            assert_eq!((value("state").as_deref(), value("iss").as_deref()), (params.get("state"), Some(ISSUER)));
            assert_eq!(value("code").is_some(), outcome.is_ok());
        }
        response::Delivery::FormPost { action, fields } => {
            assert_eq!(action, redirect.redirect_uri);
            let state = fields.iter().find(|(name, _)| name == "state").map(|(_, value)| value.as_str());
            assert_eq!(state, params.get("state"));
        }
    }
}

/// Nobody is a confidential client without its secret, and a request names one grant that the client may use.
pub fn token_request(data: &[u8]) {
    let header = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let headers: Vec<&[u8]> = if header.is_empty() { Vec::new() } else { vec![header] };
    let Ok(params) = Params::parse_form(data.get(header.len() + 1..).unwrap_or_default()) else { return };
    let credentials = match Credentials::read(&headers, &params) {
        Ok(credentials) => credentials,
        Err(refused) => return check_refusal(&refused),
    };
    let client = cast::clients().iter().find(|client| credentials.client_id() == Some(client.client_id.as_str()));
    let client = match client_auth::authenticate(&credentials, client, None, NOW) {
        Ok(client) => client,
        Err(refused) => return check_refusal(&refused),
    };
    let in_header = client_secret_basic::read(&headers).ok().flatten().map(|(_, secret)| secret.expose().clone());
    let in_body = params.get("client_secret");
    match client.method() {
        AuthMethod::ClientSecretBasic => assert_eq!((in_header.as_deref(), in_body), (Some(SECRET), None)),
        AuthMethod::ClientSecretPost => assert_eq!((in_header, in_body), (None, Some(SECRET))),
        AuthMethod::PrivateKeyJwt => panic!("nobody verified an assertion"),
        AuthMethod::None => assert_eq!((in_header, in_body, client.secret_id()), (None, None, None)),
    }
    match TokenRequest::parse(&params, &client) {
        Err(refused) => check_refusal(&refused),
        Ok(request) => {
            assert_eq!(params.get("grant_type"), Some(request.grant_type().as_str()));
            assert!(client.uses(request.grant_type()));
            let shown = format!("{request:?}");
            for secret in ["code", "code_verifier", "device_code", "refresh_token"] {
                let elsewhere =
                    |value: &str| params.names().any(|name| name != secret && params.all(name).concat().contains(value));
                let long = params.get(secret).filter(|value| value.len() > 20 && !elsewhere(value));
                assert!(long.is_none_or(|value| !shown.contains(value)), "{secret} is shown");
            }
        }
    }
}

/// A refresh token has one spelling.
pub fn refresh_token(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(token) = Presented::parse(text) else { return };
    let raw = URL_SAFE_NO_PAD.decode(text.strip_prefix("chr_").expect("its prefix")).expect("base64url");
    let mac: [u8; 32] = raw[24..].try_into().expect("32 bytes");
    assert!(token.generation >= 1 && token.is_genuine(Some(&mac)) && !token.is_genuine(None));
    assert_eq!(family::encode(token.family_id, token.generation, &mac).expose(), text);
    let mut wrong = mac;
    wrong[31] ^= 1;
    assert!(!token.is_genuine(Some(&wrong)));
}

/// Nobody is sent anywhere without a hint of ours and a registered address, and the form that asks says what was sent.
pub fn logout(data: &[u8]) {
    let Some(query) = text(data) else { return };
    let Ok(params) = Params::parse_query(query) else { return };
    let request = logout::Request::parse(&params);
    for (name, value) in request.fields() {
        assert_eq!(params.get(name), Some(value));
    }
    let mut client = samples::client("app");
    client.metadata.post_logout_redirect_uris = vec!["https://app.test/signed-out".to_owned()];
    let hint = Hint { sub: "sub-of-alice".to_owned(), client_id: "app".to_owned(), sid: Some("sid-of-alice".to_owned()) };
    for hinted in [true, false] {
        for session in [None, Some(("sub-of-alice", "sid-of-alice")), Some(("sub-of-bob", "sid-of-bob"))] {
            let known =
                logout::Known { hint: hinted.then_some(Ok(&hint)), client: hinted.then_some(&client), session, confirmed: false };
            let redirect = match logout::decide(&request, &known).map(|verdict| verdict.decision) {
                Err(refused) => {
                    check_refusal(&refused);
                    continue;
                }
                Ok(logout::Decision::Confirm) => {
                    assert!(session.is_some() && !(hinted && session == Some(("sub-of-alice", "sid-of-alice"))));
                    continue;
                }
                Ok(logout::Decision::SignOut { redirect }) => {
                    assert!(hinted && session == Some(("sub-of-alice", "sid-of-alice")), "somebody else's session");
                    redirect
                }
                Ok(logout::Decision::NobodySignedIn { redirect }) => {
                    assert!(session.is_none());
                    redirect
                }
            };
            let Some(redirect) = redirect else { continue };
            assert!(hinted, "an address without a hint");
            let url = Url::parse(&redirect).expect("an address");
            let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
            assert_eq!((url.host_str(), url.path(), state.as_deref()), (Some("app.test"), "/signed-out", params.get("state")));
        }
    }
}
