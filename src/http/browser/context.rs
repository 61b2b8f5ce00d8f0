//! What every page handler needs of its request, read once: the app, the time, the trace id, the cookies, the language.

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::http::error::PageError;
use crate::http::extract::{RemoteAddr, user_agent};
use crate::http::pages::cookies::{Cookies, Name};
use crate::http::pages::csp::Policy;
use crate::http::pages::i18n::Lang;
use crate::http::pages::view::Frame;
use crate::http::pages::{self, csrf, leave, origin};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::secret::Secret;
use crate::service::address::Prefix;
use crate::service::authorize::LocalRefusal;
use crate::service::authorize::interaction::{self, Open};
use crate::service::browser::Browser;

/// A page request.
pub struct Context {
    pub app: Arc<App>,
    pub now: Timestamp,
    pub browser: Browser,
    lang: Lang,
    address: Prefix,
    headers: HeaderMap,
    query: String,
    /// What comes back may follow a form of ours: everything but the authorization request itself.
    follows_form: bool,
}

impl FromRequestParts<Arc<App>> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let cookies = Cookies::new(app.config.issuer.is_https());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let ui_locales = Params::parse_query(&query).ok().and_then(|params| params.get("ui_locales").map(str::to_owned));
        let address = RemoteAddr::from_request_parts(parts, app).await?.prefix();
        Ok(Self {
            now: app.clock.now(),
            browser: Browser {
                session: cookies.read(Name::Session, &parts.headers),
                bindings: cookies.bindings(&parts.headers),
                address: Some(address),
                device: user_agent::device(&parts.headers),
            },
            lang: Lang::choose(ui_locales.as_deref(), accept_language(&parts.headers)),
            address,
            headers: parts.headers.clone(),
            query,
            follows_form: parts.method == Method::POST || !is_authorize(app, parts.uri.path()),
            app: Arc::clone(app),
        })
    }
}

impl Context {
    /// The parameters of the query.
    ///
    /// # Errors
    /// Duplicates, broken encoding, too long.
    pub fn query(&self) -> Result<Params, Reason> {
        Params::parse_query(&self.query)
    }

    /// The language, links and name that every page starts from.
    pub fn frame(&self) -> Frame<'_> {
        let pages = &self.app.config.pages;
        Frame { lang: self.lang, base: self.app.config.issuer.path(), name: &pages.name, support: pages.support.as_deref() }
    }

    /// The language of this request.
    pub fn lang(&self) -> Lang {
        self.lang
    }

    /// An endpoint's path as a browser asks for it: below the issuer's.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.app.config.issuer.path())
    }

    /// The prefix of the remote address that failures are counted under.
    pub fn address_prefix(&self) -> Prefix {
        self.address
    }

    /// From here on the pages are in the language that an app asked for (OpenID Connect Core §3.1.2.1, ui_locales).
    pub fn speak(&mut self, ui_locales: Option<&str>) {
        if ui_locales.is_some() {
            self.lang = Lang::choose(ui_locales, accept_language(&self.headers));
        }
    }

    /// A form of ours: sent by our own page in this very browser. What its page showed may be out of date: see
    /// [`Context::is_current`].
    ///
    /// # Errors
    /// Another site's form, a token of another browser, a broken query, or a parameter in both query and body.
    pub fn own_form(&self, params: &Params, purpose: &str) -> Result<(), Reason> {
        origin::check(self.app.config.issuer.origin(), &self.headers)?;
        // What counts is the form. A query that says something else is not ignored: two readers must see one request.
        Params::merge(self.query()?, params.clone())?;
        let token = params.get("csrf").unwrap_or_default();
        let keys = self.app.keys.data();
        let ours = self.browser.bindings.iter().any(|binding| csrf::check(&keys, binding, purpose, token).is_ok());
        if ours { Ok(()) } else { Err(Reason::CsrfMismatch) }
    }

    /// Is the form of [`Context::own_form`] from a page that showed this very thing? If not, somebody else has signed in meanwhile,
    /// say, and the answer was given to another question.
    pub fn is_current(&self, params: &Params, purpose: &str, about: &str) -> bool {
        let token = params.get("csrf").unwrap_or_default();
        self.browser.bindings.iter().any(|binding| csrf::is_about(&self.app.keys.data(), binding, purpose, about, token))
    }

    /// The browser's binding value, and once more if it is new and must be set.
    pub fn binding(&self) -> (Secret<String>, Option<Secret<String>>) {
        match self.browser.binding() {
            Some(binding) => (binding.clone(), None),
            None => {
                let binding = entropy::token(self.app.entropy.as_ref());
                (binding.clone(), Some(binding))
            }
        }
    }

    /// The interaction named in the query, if one is named.
    ///
    /// # Errors
    /// As [`Context::open_interaction`], and a broken query.
    pub async fn open_interaction_in_query(&mut self) -> Result<Option<Open>, LocalRefusal> {
        let params = self.query()?;
        self.open_interaction(&params).await
    }

    /// The interaction named in these parameters, if one is named and this browser may go on with it. From here on the page speaks the
    /// language that its request asked for.
    ///
    /// # Errors
    /// Unknown, over, or another browser's.
    pub async fn open_interaction(&mut self, params: &Params) -> Result<Option<Open>, LocalRefusal> {
        let Some(id) = params.get("interaction") else { return Ok(None) };
        let open = interaction::find(&self.app, &Secret::new(id.to_owned()), &self.browser, self.now).await?;
        self.speak(open.request.ui_locales.as_deref());
        Ok(Some(open))
    }

    /// The interaction that this page cannot do without.
    ///
    /// # Errors
    /// As [`Context::open_interaction`], and none is named.
    pub async fn required_interaction(&mut self, params: &Params) -> Result<Open, LocalRefusal> {
        self.open_interaction(params).await?.ok_or_else(|| Reason::InteractionUnknown.into())
    }

    /// As [`Context::required_interaction`], named in the query.
    ///
    /// # Errors
    /// As there, and a broken query.
    pub async fn required_interaction_in_query(&mut self) -> Result<Open, LocalRefusal> {
        let params = self.query()?;
        self.required_interaction(&params).await
    }

    /// The interaction that a form of ours answers.
    ///
    /// # Errors
    /// As [`Context::own_form`] and [`Context::required_interaction`].
    pub async fn answered_interaction(&mut self, params: &Params, purpose: &str) -> Result<Open, LocalRefusal> {
        self.own_form(params, purpose)?;
        self.required_interaction(params).await
    }

    /// A form's parameters as a query, if they fit into an address: a head has 16 KiB (security.md R-75), and cookies are in it too.
    pub fn as_query(&self, params: &Params) -> Option<String> {
        const MOST_BYTES: usize = 8 * 1024;
        Some(params.to_query()).filter(|query| query.len() <= MOST_BYTES)
    }

    /// 303 See Other (security.md R-23): a POST is never repeated at its target.
    pub fn see_other(&self, target: &str) -> Response {
        let mut response = Response::default();
        match HeaderValue::from_str(target) {
            Ok(location) => {
                *response.status_mut() = StatusCode::SEE_OTHER;
                response.headers_mut().insert(LOCATION, location);
            }
            // Everything that we redirect to was encoded or proved before; a value that still is no header goes nowhere.
            Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// On to the client. After a form a browser leaves by a page, since Chromium holds every redirect that follows a form against
    /// the form's policy, the GET of a page in between included; all else is a 303.
    pub fn leave(&self, target: &str, native: bool) -> Response {
        if self.follows_form { leave::to_client(&self.headers, self.frame(), target, native) } else { self.see_other(target) }
    }

    /// Adds a Set-Cookie header; the session cookie lives as long as the session at the most.
    pub fn set_cookie(&self, response: &mut Response, name: Name, value: &Secret<String>) {
        let lifetime = match name {
            Name::Session => Some(self.app.config.lifetimes.session),
            Name::Browser => None,
        };
        if let Some(header) = Cookies::new(self.app.config.issuer.is_https()).set(name, value, lifetime) {
            response.headers_mut().append(SET_COOKIE, header);
        }
    }

    /// Takes the cookie away.
    pub fn clear_cookie(&self, response: &mut Response, name: Name) {
        response.headers_mut().append(SET_COOKIE, Cookies::new(self.app.config.issuer.is_https()).clear(name));
    }

    /// A page. With it goes the browser's new binding, if it has none yet.
    pub fn page(&self, status: StatusCode, view: &impl Template, policy: &Policy, fresh: Option<&Secret<String>>) -> Response {
        let mut response = pages::respond(status, view, policy);
        if let Some(fresh) = fresh {
            self.set_cookie(&mut response, Name::Browser, fresh);
        }
        response
    }

    /// An error page; its decision record is written by the layers around all routes.
    pub fn refuse(&self, reason: Reason, client_id: Option<String>) -> Response {
        let mut error = PageError::from(reason);
        if let Some(client_id) = client_id {
            error = error.for_client(client_id);
        }
        error.into_response()
    }

    /// A page, or the error page in its place.
    pub fn page_or_refusal(&self, page: Result<Response, LocalRefusal>) -> Response {
        page.unwrap_or_else(|refused| self.refuse(refused.reason, refused.client_id))
    }
}

fn accept_language(headers: &HeaderMap) -> Option<&str> {
    headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok())
}

fn is_authorize(app: &App, path: &str) -> bool {
    path.strip_prefix(app.config.issuer.path()) == Some(Endpoint::Authorize.path())
}
