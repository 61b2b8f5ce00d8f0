//! Every route of the server on one page.
//!
//! Paths come from [`Endpoint`], which discovery is built from too: what is advertised is what is routed.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, Method, StatusCode};

use crate::app::App;
use crate::config::RegistrationMode;
use crate::http::admin;
use crate::http::browser::{self, account, paths};
use crate::http::health::{self, Readiness};
use crate::http::layers::admission::Admission;
use crate::http::layers::cors::Cors;
use crate::http::layers::documents::Documents;
use crate::http::layers::straight::{self, Straight};
use crate::http::layers::trace_id::TraceIds;
use crate::http::layers::{self, Edge};
use crate::http::oauth::{device_code, introspect, metadata, register, revoke, token, userinfo};
use crate::http::pages::assets;
use crate::http::server::Routers;
use crate::oauth::endpoint::Endpoint;

/// Both listeners' routes.
pub fn routers(app: &Arc<App>, readiness: &Readiness) -> Routers {
    let edge = Arc::new(edge(app));
    let base = app.config.issuer.path();
    let at_once = Documents::new(app, &edge, documents(base, &DISCOVERY), documents(base, &KEYS));
    Routers {
        public: layers::wrap(public(app).merge(health::public(readiness)), Arc::clone(&edge)),
        at_once: Some(Arc::new(at_once)),
        straight: Some(Arc::new(Straight::new(app, &edge, straight(base)))),
        management: layers::wrap(health::management(readiness), edge),
    }
}

/// The public listener: all below the issuer's path, but for what browsers and RFC 8414 look for at the origin's root.
fn public(app: &Arc<App>) -> Router {
    let base = app.config.issuer.path();
    let at = |endpoint: Endpoint| format!("{base}{}", endpoint.path());
    let page = |path: &str| format!("{base}{path}");

    let mut router = Router::new();
    for path in documents(base, &DISCOVERY) {
        router = router.route(&path, get(metadata::discovery));
    }
    for path in documents(base, &KEYS) {
        router = router.route(&path, get(metadata::jwks));
    }
    router = router
        .route(&at(Endpoint::Token), post(token::post))
        .route(&at(Endpoint::DeviceAuthorization), post(device_code::post))
        .route(&at(Endpoint::Userinfo), get(userinfo::get).post(userinfo::post))
        .route(&at(Endpoint::Revoke), post(revoke::post))
        .route(&at(Endpoint::Introspect), post(introspect::post))
        .route(&at(Endpoint::Authorize), get(browser::authorize::get).post(browser::authorize::post).head(not_for_head))
        .route(&at(Endpoint::Logout), get(browser::logout::get).post(browser::logout::post).head(not_for_head))
        .route(&page(paths::LOGIN), get(browser::login::get).post(browser::login::post))
        .route(&page(paths::SELECT_ACCOUNT), get(browser::select_account::get).post(browser::select_account::post))
        .route(&page(paths::CONSENT), get(browser::consent::get).post(browser::consent::post))
        .route(&page(paths::DEVICE), get(browser::device::get).post(browser::device::post).head(not_for_head))
        .route(&page(paths::SECOND_FACTOR), get(browser::second_factor::get).post(browser::second_factor::post))
        .route(&page(paths::ENROL), get(browser::enrol::get).post(browser::enrol::post))
        .route(&page(paths::FACTORS), get(browser::factors::get).post(browser::factors::post))
        .route(&page(paths::ACCOUNT), get(account::get).post(account::post))
        .route(&page(paths::ACCOUNT_PROFILE), get(account::profile::get).post(account::profile::post))
        .route(&page(paths::ACCOUNT_PASSWORD), get(account::password::get).post(account::password::post))
        .route(paths::CHANGE_PASSWORD, get(account::password::well_known))
        .route(&page(paths::ACCOUNT_CONFIRM), get(account::confirm::get).post(account::confirm::post))
        .route(&page(&format!("{}/{{file}}", paths::ASSETS)), get(asset))
        .route(&page(&format!("{}/{{client_id}}", paths::LOGO)), get(browser::logo::get))
        .route("/favicon.ico", get(favicon))
        .route("/robots.txt", get(robots));
    if app.config.registration.mode != RegistrationMode::Off {
        router = router.route(&at(Endpoint::Registration), post(register::post));
        let managed = get(register::get).put(register::put).delete(register::delete);
        router = router.route(&format!("{}/{{client_id}}", at(Endpoint::Registration)), managed);
    }
    if let Some(text) = app.config.security_txt.render(app.config.issuer.origin()) {
        router = router.route("/.well-known/security.txt", get(async move || text));
    }
    if app.demo {
        router = router.route(&page(paths::DEMO), get(browser::demo::get)).route(&page(paths::DEMO_QR), get(browser::demo::qr));
    }

    // The admin API brings its own table.
    admin::router(app).merge(router.fallback(metadata::elsewhere).with_state(Arc::clone(app)))
}

/// Those of the routes above that programs ask for all the time.
fn straight(base: &str) -> Vec<straight::Route> {
    let route = |method: Method, endpoint: Endpoint, handler| straight::Route {
        method,
        path: format!("{base}{}", endpoint.path()).into(),
        handler,
    };
    vec![
        route(Method::POST, Endpoint::Token, |request, app| Handler::call(token::post, request, app)),
        route(Method::POST, Endpoint::Introspect, |request, app| Handler::call(introspect::post, request, app)),
        route(Method::POST, Endpoint::Revoke, |request, app| Handler::call(revoke::post, request, app)),
        route(Method::GET, Endpoint::Userinfo, |request, app| Handler::call(userinfo::get, request, app)),
        route(Method::GET, Endpoint::Authorize, |request, app| Handler::call(browser::authorize::get, request, app)),
    ]
}

/// Both discovery documents, and where keys are.
const DISCOVERY: [Endpoint; 2] = [Endpoint::OpenidConfiguration, Endpoint::AuthorizationServerMetadata];
const KEYS: [Endpoint; 2] = [Endpoint::Jwks, Endpoint::WellKnownJwks];

/// Where these documents are. RFC 8414 §3.1: the well-known string goes between the host and the issuer's path.
fn documents(base: &str, endpoints: &[Endpoint]) -> Vec<String> {
    let mut paths: Vec<String> = endpoints.iter().map(|endpoint| format!("{base}{}", endpoint.path())).collect();
    if !base.is_empty() {
        paths.extend(endpoints.iter().filter(|endpoint| DISCOVERY.contains(endpoint)).map(|one| format!("{}{base}", one.path())));
    }
    paths
}

/// Who may read answers from another site: documents everybody, what apps in browsers call the origins of registered redirect URIs. What
/// servers call, and pages for people, nobody.
fn cors(app: &Arc<App>) -> Cors {
    let base = app.config.issuer.path();
    let open = [documents(base, &DISCOVERY), documents(base, &KEYS)].concat();
    let called = [Endpoint::Token, Endpoint::DeviceAuthorization, Endpoint::Userinfo, Endpoint::Revoke, Endpoint::Registration];
    let registered = called.iter().map(|endpoint| format!("{base}{}", endpoint.path())).collect();
    let asked = Arc::clone(app);
    Cors::new(open, registered, async move |origin: String| asked.registry.may_read(&origin).await)
}

/// What the layers around all routes need.
fn edge(app: &Arc<App>) -> Edge {
    let config = &app.config;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Edge {
        trace_ids: TraceIds::new(Arc::clone(&app.entropy)),
        clock: Arc::clone(&app.clock),
        decisions: app.decisions.clone(),
        trusted_proxies: config.proxies.trusted.clone().into(),
        forwarded: Arc::clone(&app.forwarded),
        issuer: config.issuer.as_str().to_owned(),
        https: config.issuer.is_https(),
        cors: cors(app),
        admission: Admission::new(
            count(config.limits.requests),
            count(config.limits.waiting),
            count(config.limits.connections),
            config.limits.longest_wait,
            Arc::clone(&app.turns),
            from_memory(config.issuer.path()),
        ),
        body_limit: count(config.limits.body),
        header_lines: count(config.limits.headers),
        header_bytes: count(config.limits.header_bytes),
        request_timeout: config.limits.request_timeout,
        error_page: browser::error_page::renderer(app),
    }
}

/// The routes that are answered at once, whatever else there is to do.
fn from_memory(base: &str) -> Vec<String> {
    let documents = [documents(base, &DISCOVERY), documents(base, &KEYS)].concat();
    let files = [format!("{base}{}/{{file}}", paths::ASSETS)];
    let others = ["/healthz", "/readyz", "/metrics", "/favicon.ico", "/robots.txt", "/.well-known/security.txt"];
    documents.into_iter().chain(files).chain(others.map(str::to_owned)).collect()
}

async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    assets::respond(&file, &headers).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

async fn favicon(headers: HeaderMap) -> Response {
    assets::favicon(&headers)
}

/// What issues a code or ends a session is done by those who mean it: link checkers and previews ask with HEAD.
async fn not_for_head() -> (StatusCode, [(http::HeaderName, &'static str); 1]) {
    (StatusCode::METHOD_NOT_ALLOWED, [(http::header::ALLOW, "GET, POST")])
}

/// Nothing here is worth an index.
async fn robots() -> &'static str {
    "User-agent: *\nDisallow: /\n"
}
