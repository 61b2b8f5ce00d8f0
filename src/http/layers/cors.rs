//! Which pages of other sites may read an answer (design 7, security.md R-86). Never with credentials; pages for people and the admin
//! API have no CORS at all, so they simply do not get one of these layers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Answers whether an origin belongs to some registered https or loopback redirect URI.
pub trait Origins: Send + Sync + 'static {
    /// `origin` as the browser sent it: `https://app.example`, `http://localhost:5173`.
    fn is_registered<'a>(&'a self, origin: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, DPoP");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("DPoP-Nonce, WWW-Authenticate, Chancery-Trace-Id");
/// Seconds for which a browser remembers the answer to a preflight.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// Discovery documents and keys: everybody may read them.
pub fn open(router: Router) -> Router {
    router.layer(from_fn(|request: Request, next: Next| async move {
        let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        response
    }))
}

/// Endpoints that apps in browsers call: token, userinfo, revoke. Readable for the origins of registered redirect URIs.
pub fn registered(router: Router, origins: Arc<dyn Origins>) -> Router {
    router.layer(from_fn_with_state(origins, answer_registered))
}

async fn answer_registered(State(origins): State<Arc<dyn Origins>>, request: Request, next: Next) -> Response {
    let origin = one_origin(request.headers());
    let allowed = match &origin {
        Some(origin) => match origin.to_str() {
            Ok(text) if may_be_registered(text) && origins.is_registered(text).await => Some(origin.clone()),
            Ok(_) | Err(_) => None,
        },
        None => None,
    };
    let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    response
}

/// Fetch standard, "CORS-preflight request".
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Says what would be allowed; without Access-Control-Allow-Origin, which the caller adds where due, it allows nothing.
fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn one_origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(ORIGIN).iter();
    match (all.next(), all.next()) {
        (Some(origin), None) => Some(origin.clone()),
        _ => None,
    }
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

/// The origin of a registered redirect URI as a browser would send it, if it is https or http on loopback. For building the set
/// behind [`Origins`].
pub fn origin_of(redirect_uri: &str) -> Option<String> {
    let parsed = url::Url::parse(redirect_uri).ok()?;
    let origin = parsed.origin().ascii_serialization();
    may_be_registered(&origin).then_some(origin)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    struct One(&'static str);

    impl Origins for One {
        fn is_registered<'a>(&'a self, origin: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
            Box::pin(async move { origin == self.0 })
        }
    }

    async fn ask(origin: &str, method: Method) -> Response {
        let router = registered(Router::new().route("/token", post(async || "ok")), Arc::new(One("https://app.example")));
        let mut request = Request::builder().method(method.clone()).uri("/token").header(ORIGIN, origin);
        if method == Method::OPTIONS {
            request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_registered_origin_may_read_without_credentials() {
        let response = ask("https://app.example", Method::POST).await;
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(response.headers()[VARY], "Origin");
        assert!(!response.headers().contains_key("access-control-allow-credentials"));
        let response = ask("https://app.example", Method::OPTIONS).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    }

    #[tokio::test]
    async fn other_origins_may_not() {
        for origin in ["https://evil.example", "null", "http://app.example", "https://app.example.evil.example"] {
            for method in [Method::POST, Method::OPTIONS] {
                assert!(!ask(origin, method).await.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
            }
        }
    }

    #[test]
    fn origins_come_from_https_and_loopback_redirects_only() {
        assert_eq!(origin_of("https://app.example/cb?x=1").as_deref(), Some("https://app.example"));
        assert_eq!(origin_of("https://app.example:8443/cb").as_deref(), Some("https://app.example:8443"));
        assert_eq!(origin_of("http://localhost:5173/cb").as_deref(), Some("http://localhost:5173"));
        assert_eq!(origin_of("http://[::1]:5173/cb").as_deref(), Some("http://[::1]:5173"));
        assert_eq!(origin_of("http://[::1]/cb").as_deref(), Some("http://[::1]"));
        assert_eq!(origin_of("com.example.app:/cb"), None);
        assert_eq!(origin_of("http://app.example/cb"), None);
    }
}
