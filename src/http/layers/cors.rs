//! Which pages of other sites may read an answer (design 7, security.md R-86). Never with credentials; pages for people
//! have no CORS at all, so their routes are simply not named here.

use std::convert::Infallible;
use std::fmt;

use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::time::Duration;
use tower::Layer as _;
use tower::{Service as _, service_fn};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::trace_id;

/// The names of RFC 9449.
const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// How long a browser remembers the answer to a preflight.
const REMEMBERED: Duration = Duration::from_secs(600);
/// What scripts may read beside what the Fetch standard always lets them read.
const EXPOSED: HeaderValue = HeaderValue::from_static("dpop-nonce,www-authenticate,retry-after,chancery-trace-id");

/// Which routes may be read from where. Routes are written as the router writes them.
pub struct Cors {
    open: (Vec<String>, CorsLayer),
    registered: (Vec<String>, CorsLayer),
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cors").field("open", &self.open.0).field("registered", &self.registered.0).finish_non_exhaustive()
    }
}

impl Cors {
    /// `open`: discovery documents and keys, which everybody may read. `registered`: endpoints that apps in browsers call, token, userinfo and revoke,
    /// readable for the origins for which `is_registered` answers yes: those of registered redirect URIs. It is asked about an origin
    /// as the browser sent it (`https://app.example`, `http://localhost:5173`), and about nothing that cannot be one.
    pub fn new<F, Answer>(open: Vec<String>, registered: Vec<String>, is_registered: F) -> Self
    where
        F: FnOnce(String) -> Answer + Clone + Send + Sync + 'static,
        Answer: Future<Output = bool> + Send + 'static,
    {
        let allowed = AllowOrigin::async_predicate(|origin: HeaderValue, parts: &Parts| {
            let one = parts.headers.get_all(ORIGIN).iter().count() == 1;
            let origin = origin.to_str().ok().filter(|origin| one && may_be_registered(origin)).map(str::to_owned);
            async move {
                match origin {
                    Some(origin) => is_registered(origin).await,
                    None => false,
                }
            }
        });
        Self { open: (open, layer().allow_origin(Any)), registered: (registered, layer().allow_origin(allowed)) }
    }

    /// Nothing may be read from elsewhere.
    pub fn none() -> Self {
        Self::new(Vec::new(), Vec::new(), async |_| false)
    }

    /// Answers a preflight of `route` whose head is in order, or lets `answer` do it and says who may read that. Most requests do not come
    /// from a page of another site and pay nothing for this.
    pub async fn around<Answer>(
        &self,
        route: Option<&str>,
        request: Request,
        refused: impl FnOnce(&Request) -> Option<Response>,
        answer: impl FnOnce(Request) -> Answer,
    ) -> Response
    where
        Answer: Future<Output = Response>,
    {
        let is_of = |routes: &[String]| route.is_some_and(|route| routes.iter().any(|one| one == route));
        let (open, registered) = (is_of(&self.open.0), is_of(&self.registered.0));
        let is_plain = request.method() != Method::OPTIONS && !request.headers().contains_key(ORIGIN);
        if (open || registered) && !is_plain {
            // Behind this nobody looks at it.
            if request.method() == Method::OPTIONS
                && let Some(refused) = refused(&request)
            {
                return refused;
            }
            let layer = if open { &self.open.1 } else { &self.registered.1 };
            return Box::pin(decided(layer, request, answer)).await;
        }
        let mut response = answer(request).await;
        if open {
            set_open(response.headers_mut());
        } else if registered {
            response.headers_mut().append(VARY, const { HeaderValue::from_static("origin") });
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        response
    }
}

/// Lets the layer decide about a page's request.
async fn decided<Answer>(layer: &CorsLayer, request: Request, answer: impl FnOnce(Request) -> Answer) -> Response
where
    Answer: Future<Output = Response>,
{
    let mut answer = Some(answer);
    let once = service_fn(move |request| {
        let answer = answer.take().map(|answer| answer(request));
        async move {
            match answer {
                Some(answer) => Ok::<_, Infallible>(answer.await),
                None => Ok(Response::default()),
            }
        }
    });
    match layer.layer(once).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Readable for everybody.
pub fn set_open(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, const { HeaderValue::from_static("*") });
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, DPOP])
        .expose_headers([DPOP_NONCE, WWW_AUTHENTICATE, RETRY_AFTER, trace_id::HEADER])
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
    use http::header::ACCESS_CONTROL_REQUEST_METHOD;

    use super::*;

    async fn ask(route: &str, origins: &[&str], method: Method) -> Response {
        let cors =
            Cors::new(vec!["/jwks".to_owned()], vec!["/token".to_owned()], async |origin: String| origin == "https://app.example");
        let mut request = Request::builder().method(method.clone()).uri(route);
        for origin in origins {
            request = request.header(ORIGIN, *origin);
        }
        if method == Method::OPTIONS {
            request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
        }
        let request = request.body(Body::empty()).unwrap();
        cors.around(Some(route), request, |_| None, async |_| Response::new(Body::from("ok"))).await
    }

    #[tokio::test]
    async fn a_registered_origin_may_read_without_credentials() {
        for method in [Method::POST, Method::OPTIONS] {
            let response = ask("/token", &["https://app.example"], method).await;
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
                let response = ask("/token", origins, method).await;
                assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{origins:?}");
                assert_eq!(response.headers()[VARY], "origin", "a shared cache would mix origins up");
            }
        }
    }

    #[tokio::test]
    async fn whoever_names_no_origin_reads_the_same_headers() {
        for (route, origin) in [("/jwks", "https://any.example"), ("/token", "https://evil.example")] {
            let with = ask(route, &[origin], Method::GET).await;
            let without = ask(route, &[], Method::GET).await;
            assert_eq!(with.headers(), without.headers(), "{route}");
        }
        assert_eq!(ask("/jwks", &[], Method::GET).await.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(ask("/login", &["https://app.example"], Method::GET).await.headers().is_empty());
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
