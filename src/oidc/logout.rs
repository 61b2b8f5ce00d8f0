//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0): whether to ask first, and where to go afterwards.

use super::id_token::Hint;
use crate::oauth::client::Client;
use crate::oauth::params::Params;
use crate::oauth::redirect_uri;
use crate::oauth::refusal::Reason;

/// §2, the parameters of the end_session_endpoint.
#[derive(Clone, Default)]
pub struct Request {
    pub id_token_hint: Option<String>,
    pub client_id: Option<String>,
    pub post_logout_redirect_uri: Option<String>,
    pub state: Option<String>,
    /// Taken and passed on, no more: the browser's own session says who wants to sign out.
    pub logout_hint: Option<String>,
    pub ui_locales: Option<String>,
}

impl Request {
    /// Reads the parameters; none is required.
    pub fn parse(params: &Params) -> Self {
        let get = |name| params.get(name).map(str::to_owned);
        Self {
            id_token_hint: get("id_token_hint"),
            client_id: get("client_id"),
            post_logout_redirect_uri: get("post_logout_redirect_uri"),
            state: get("state"),
            logout_hint: get("logout_hint"),
            ui_locales: get("ui_locales"),
        }
    }

    /// What was sent, for the form that asks the person: its answer is read and checked like a new request.
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("id_token_hint", &self.id_token_hint),
            ("client_id", &self.client_id),
            ("post_logout_redirect_uri", &self.post_logout_redirect_uri),
            ("state", &self.state),
            ("logout_hint", &self.logout_hint),
            ("ui_locales", &self.ui_locales),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// What is known when the decision is made.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// The verified hint; `Err` if one was sent that is not ours, `None` if none was sent.
    pub hint: Option<Result<&'a Hint, Reason>>,
    /// The client that the hint was issued to; `None` without a hint, or if it does not exist any more or is disabled.
    pub client: Option<&'a Client>,
    /// `sub` and `sid` of the live session of this browser.
    pub session: Option<(&'a str, &'a str)>,
    /// The person said yes on the page that asks.
    pub confirmed: bool,
}

/// What to do, and what of the request was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    /// The person gets on without it, but whoever made the request should know.
    pub doubt: Option<Reason>,
}

/// What to do. A redirect is there only with a valid hint and a registered URI (design 7, security.md R-57).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask first: nothing proves that the person wants this.
    Confirm,
    /// End the session of this browser, then go there, or show that the person is signed out.
    SignOut { redirect: Option<String> },
    /// Nobody is signed in here: go there, or say so.
    NobodySignedIn { redirect: Option<String> },
}

/// Decides about a logout request.
///
/// # Errors
/// Reasons that are shown on a page of ours, never by a redirect: `IdTokenHintInvalid`, `ClientIdMismatch`,
/// `PostLogoutRedirectUriMismatch`, `UnknownClient`.
pub fn decide(request: &Request, known: &Known<'_>) -> Result<Verdict, Reason> {
    let hint = known.hint.clone().transpose()?;
    // §2: the client_id, if sent, has to be the one that the hint was issued to.
    if let (Some(hint), Some(client_id)) = (hint, request.client_id.as_deref())
        && hint.client_id != client_id
    {
        return Err(Reason::ClientIdMismatch { authenticated: hint.client_id.clone(), received: client_id.to_owned() });
    }
    // without a hint nothing proves whose address this is. The person is asked, and stays here afterwards.
    let unproved = hint.is_none() && request.post_logout_redirect_uri.is_some();
    let doubt = unproved.then_some(Reason::PostLogoutRedirectUriWithoutHint);
    let redirect = match hint {
        Some(hint) => redirect(request, hint, known.client)?,
        None => None,
    };
    // §2: ask, unless the hint shows that the request comes from where this very session signed in.
    let decision = match known.session {
        None => Decision::NobodySignedIn { redirect },
        Some((sub, sid)) => {
            let same_session = hint.is_some_and(|hint| hint.sub == sub && hint.sid.as_deref() == Some(sid));
            if same_session || known.confirmed { Decision::SignOut { redirect } } else { Decision::Confirm }
        }
    };
    Ok(Verdict { decision, doubt })
}

/// §3: only a URI that the client registered, byte for byte, and with the state as it was sent.
fn redirect(request: &Request, hint: &Hint, client: Option<&Client>) -> Result<Option<String>, Reason> {
    let Some(uri) = request.post_logout_redirect_uri.as_deref() else {
        return Ok(None);
    };
    let Some(client) = client.filter(|client| client.client_id == hint.client_id) else {
        return Err(Reason::UnknownClient { client_id: hint.client_id.clone() });
    };
    let registered = &client.metadata.post_logout_redirect_uris;
    if !registered.iter().any(|registered| registered == uri) {
        let client_id = client.client_id.clone();
        return Err(Reason::PostLogoutRedirectUriMismatch { client_id, registered: registered.clone(), received: uri.to_owned() });
    }
    Ok(Some(match request.state.as_deref() {
        Some(state) => redirect_uri::with_query(uri, &[("state", state)]),
        None => uri.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::grant::samples;

    const URI: &str = "https://app.test/signed-out";

    fn client() -> Client {
        let mut client = samples::client("app");
        client.metadata.post_logout_redirect_uris = vec![URI.to_owned(), "https://app.test/out?from=id".to_owned()];
        client
    }

    fn hint() -> Hint {
        Hint { sub: "alice".to_owned(), client_id: "app".to_owned(), sid: Some("s1".to_owned()) }
    }

    fn request(uri: Option<&str>, state: Option<&str>) -> Request {
        Request { post_logout_redirect_uri: uri.map(str::to_owned), state: state.map(str::to_owned), ..Request::default() }
    }

    fn decide_for(request: &Request, hint: Option<&Hint>, sub: Option<&str>, confirmed: bool) -> Result<Decision, Reason> {
        let client = client();
        let session = sub.map(|sub| (sub, "s1"));
        decide(request, &Known { hint: hint.map(Ok), client: hint.map(|_| &client), session, confirmed })
            .map(|verdict| verdict.decision)
    }

    #[test]
    fn the_sessions_own_hint_signs_out_without_asking_and_redirects_with_the_state() {
        let signed_out = decide_for(&request(Some(URI), Some("a b&c=d+%é\"")), Some(&hint()), Some("alice"), false).unwrap();
        let expected = format!("{URI}?state=a%20b%26c%3Dd%2B%25%C3%A9%22");
        assert_eq!(signed_out, Decision::SignOut { redirect: Some(expected) });
        let kept = decide_for(&request(Some("https://app.test/out?from=id"), Some("x")), Some(&hint()), None, false).unwrap();
        assert_eq!(kept, Decision::NobodySignedIn { redirect: Some("https://app.test/out?from=id&state=x".to_owned()) });
        let stateless = decide_for(&request(Some(URI), None), Some(&hint()), Some("alice"), false).unwrap();
        assert_eq!(stateless, Decision::SignOut { redirect: Some(URI.to_owned()) });
    }

    #[test]
    fn without_a_hint_or_with_another_sessions_the_person_is_asked() {
        let others = [
            None,
            Some(Hint { sub: "bob".to_owned(), ..hint() }),
            Some(Hint { sid: None, ..hint() }),
            Some(Hint { sid: Some("s2".to_owned()), ..hint() }),
        ];
        for hint in others {
            let ask = decide_for(&request(None, None), hint.as_ref(), Some("alice"), false).unwrap();
            assert_eq!(ask, Decision::Confirm);
            let said_yes = decide_for(&request(None, None), hint.as_ref(), Some("alice"), true).unwrap();
            assert_eq!(said_yes, Decision::SignOut { redirect: None });
        }
    }

    #[test]
    fn nobody_signed_in_is_nothing_to_ask_about() {
        for request in [request(None, None), request(None, Some("only-state"))] {
            assert_eq!(decide_for(&request, None, None, false).unwrap(), Decision::NobodySignedIn { redirect: None });
        }
    }

    #[test]
    fn without_a_valid_hint_there_is_no_redirect() {
        for signed_in in [None, Some("alice")] {
            let known = Known { hint: None, client: None, session: signed_in.map(|sub| (sub, "s1")), confirmed: true };
            let verdict = decide(&request(Some(URI), Some("s")), &known).unwrap();
            let decision = match signed_in {
                None => Decision::NobodySignedIn { redirect: None },
                Some(_) => Decision::SignOut { redirect: None },
            };
            assert_eq!(verdict, Verdict { decision, doubt: Some(Reason::PostLogoutRedirectUriWithoutHint) });
        }
        let forged = Reason::IdTokenHintInvalid { detail: "signature".to_owned() };
        let known = Known { hint: Some(Err(forged.clone())), client: None, session: None, confirmed: true };
        assert_eq!(decide(&request(Some(URI), None), &known).unwrap_err(), forged);
    }

    #[test]
    fn an_unregistered_uri_is_refused_byte_for_byte() {
        for wrong in
            ["https://app.test/signed-out/", "https://app.test/signed-out?a=b", "https://APP.test/signed-out", "https://evil.test/"]
        {
            let refused = decide_for(&request(Some(wrong), None), Some(&hint()), Some("alice"), true);
            assert!(matches!(refused, Err(Reason::PostLogoutRedirectUriMismatch { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_client_id_that_is_not_the_hints_is_refused() {
        let request = Request { client_id: Some("other".to_owned()), ..request(Some(URI), None) };
        assert!(matches!(decide_for(&request, Some(&hint()), None, true), Err(Reason::ClientIdMismatch { .. })));
    }

    #[test]
    fn a_client_that_is_gone_gets_no_redirect() {
        let hint = hint();
        let known = Known { hint: Some(Ok(&hint)), client: None, session: None, confirmed: true };
        assert!(matches!(decide(&request(Some(URI), None), &known), Err(Reason::UnknownClient { .. })));
    }

    proptest! {
        /// Whatever is sent, a redirect begins with a registered URI, byte for byte, and its query tells the state and nothing else.
        #[test]
        fn every_redirect_goes_to_a_registered_uri(
            uri in prop_oneof![Just(URI.to_owned()), "https://app.test/signed-out.{0,5}", ".{0,30}"],
            state in prop::option::of(".{0,40}"),
            confirmed in any::<bool>(),
            with_hint in any::<bool>(),
            signed_in in any::<bool>(),
        ) {
            let (request, hint) = (request(Some(&uri), state.as_deref()), hint());
            let decision = decide_for(&request, with_hint.then_some(&hint), signed_in.then_some("alice"), confirmed);
            let (Ok(Decision::SignOut { redirect: Some(to) }) | Ok(Decision::NobodySignedIn { redirect: Some(to) })) = decision else {
                return Ok(());
            };
            prop_assert!(with_hint && uri == URI && to.starts_with(URI), "{}", to);
            prop_assert!(to.bytes().all(|byte| byte.is_ascii_graphic()));
            let sent_back = url::Url::parse(&to).unwrap().query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect::<Vec<_>>();
            prop_assert_eq!(sent_back, state.map(|state| ("state".to_owned(), state)).into_iter().collect::<Vec<_>>());
        }
    }
}
