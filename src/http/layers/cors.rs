//! Which pages of other sites may read an answer (design 7, security.md R-86). Never with credentials; pages for people
//! have no CORS at all, so they simply do not get one of these layers.

use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::trace_id;

/// The names of RFC 9449.
const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// What a script may read beside the body: when to come back, and what to ask about.
const EXPOSED: [HeaderName; 4] = [DPOP_NONCE, WWW_AUTHENTICATE, RETRY_AFTER, trace_id::HEADER];
/// How long a browser remembers the answer to a preflight.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Discovery documents and keys: everybody may read them.
pub fn open(router: Router) -> Router {
    router.layer(layer().allow_origin(Any))
}

/// Endpoints that apps in browsers call: token, userinfo, revoke. Readable for the origins for which `is_registered` answers yes: those
/// of registered redirect URIs. It is asked about an origin as the browser sent it (`https://app.example`, `http://localhost:5173`),
/// and about nothing that cannot be one.
pub fn registered<F, Answer>(router: Router, is_registered: F) -> Router
where
    F: FnOnce(String) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = bool> + Send + 'static,
{
    let allowed = AllowOrigin::async_predicate(|_: HeaderValue, parts: &Parts| {
        let origin = origin(&parts.headers);
        async move {
            match origin {
                Some(origin) => is_registered(origin).await,
                None => false,
            }
        }
    });
    router.layer(layer().allow_origin(allowed))
}

/// Who may read what is answered in front of all routes, where the layers above are not reached: that there is no place, that it took too
/// long. Without it a script sees that something went wrong, and not when to come back.
pub struct Readers {
    routes: Vec<String>,
    is_registered: Box<Question>,
}

type Question = dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync;

impl Readers {
    /// Of the routes that [`registered`] wraps, as the router writes them.
    pub fn new(routes: Vec<String>, is_registered: impl Fn(String) -> BoxFuture<'static, bool> + Send + Sync + 'static) -> Self {
        Self { routes, is_registered: Box::new(is_registered) }
    }

    /// Lets a page of `origin` read an answer of this route, if it may and nobody has decided that yet.
    pub async fn admit(&self, route: Option<&str>, origin: Option<&String>, answer: &mut HeaderMap) {
        let (Some(route), Some(origin)) = (route, origin) else { return };
        if answer.contains_key(VARY) || !self.routes.iter().any(|known| known == route) {
            return;
        }
        answer.insert(VARY, HeaderValue::from_static("origin"));
        if let Ok(value) = HeaderValue::from_str(origin)
            && let Ok(exposed) = HeaderValue::from_str(&EXPOSED.each_ref().map(HeaderName::as_str).join(","))
            && (self.is_registered)(origin.clone()).await
        {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

/// The one origin of a request, if it can be registered at all.
pub fn origin(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (all.next(), all.next()) else { return None };
    origin.to_str().ok().filter(|origin| may_be_registered(origin)).map(str::to_owned)
}

fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, DPOP])
        .expose_headers(EXPOSED)
        .max_age(REMEMBERED)
}

/// `null` and other schemes are never anybody's; nor is anything longer than a host name can be.
fn may_be_registered(origin: &str) -> bool {
    origin.len() <= 300 && (origin.starts_with("https://") || is_loopback(origin))
}

fn is_loopback(origin: &str) -> bool {
    origin.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.rsplit_once(':').map_or(rest, |(host, port)| if port.ends_with(']') { rest } else { host });
        matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::post;
    use http::Request;
    use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, VARY};
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(origins: &[&str], method: Method) -> Response {
        let router = Router::new().route("/token", post(async || "ok"));
        let router = registered(router, async |origin: String| origin == "https://app.example");
        let mut request = Request::builder().method(method.clone()).uri("/token");
        for origin in origins {
            request = request.header(ORIGIN, *origin);
        }
        if method == Method::OPTIONS {
            request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_registered_origin_may_read_without_credentials() {
        for method in [Method::POST, Method::OPTIONS] {
            let response = ask(&["https://app.example"], method).await;
            assert!(response.status().is_success());
            assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
            assert_eq!(response.headers()[VARY], "origin");
            assert!(!response.headers().contains_key("access-control-allow-credentials"));
        }
    }

    #[tokio::test]
    async fn other_origins_may_not() {
        for origins in [
            &["https://evil.example"][..],
            &["null"],
            &["http://app.example"],
            &["https://app.example.evil.example"],
            &["https://app.example", "https://evil.example"],
            &[],
        ] {
            for method in [Method::POST, Method::OPTIONS] {
                let response = ask(origins, method).await;
                assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{origins:?}");
                assert_eq!(response.headers()[VARY], "origin", "a shared cache would mix origins up");
            }
        }
    }

    #[test]
    fn only_https_and_loopback_can_be_registered() {
        for origin in
            ["https://app.example", "https://app.example:8443", "http://localhost:5173", "http://[::1]:5173", "http://[::1]"]
        {
            assert!(may_be_registered(origin), "{origin}");
        }
        for origin in ["null", "", "http://app.example", "http://localhost.example", "com.example.app:/", "file://"] {
            assert!(!may_be_registered(origin), "{origin}");
        }
    }
}
