//! Every route of the server on one page.
//!
//! Paths come from [`Endpoint`], which discovery is built from too: what is advertised is what is routed.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};

use crate::app::App;
use crate::config::RegistrationMode;
use crate::http::admin;
use crate::http::browser::{self, account, paths};
use crate::http::health::{self, Readiness};
use crate::http::layers::admission::Admission;
use crate::http::layers::{self, Edge, cors};
use crate::http::oauth::{device_code, introspect, metadata, register, revoke, token, userinfo};
use crate::http::pages::assets;
use crate::http::server::Routers;
use crate::oauth::endpoint::Endpoint;

/// Both listeners' routes.
pub fn routers(app: &Arc<App>, readiness: &Readiness) -> Routers {
    let edge = Arc::new(edge(app));
    Routers {
        public: layers::wrap(public(app).merge(health::public(readiness)), Arc::clone(&edge)),
        management: layers::wrap(health::management(readiness), edge),
    }
}

/// The public listener: all below the issuer's path, but for what browsers and RFC 8414 look for at the origin's root.
fn public(app: &Arc<App>) -> Router {
    let base = app.config.issuer.path();
    let at = |endpoint: Endpoint| format!("{base}{}", endpoint.path());
    let page = |path: &str| format!("{base}{path}");

    // Read by anybody's script: CORS `*`.
    let mut open = Router::new()
        .route(&at(Endpoint::OpenidConfiguration), get(metadata::discovery))
        .route(&at(Endpoint::AuthorizationServerMetadata), get(metadata::discovery))
        .route(&at(Endpoint::Jwks), get(metadata::jwks))
        .route(&at(Endpoint::WellKnownJwks), get(metadata::jwks));
    if !base.is_empty() {
        // RFC 8414 §3.1: the well-known string goes between the host and the issuer's path.
        open = open
            .route(&format!("{}{base}", Endpoint::OpenidConfiguration.path()), get(metadata::discovery))
            .route(&format!("{}{base}", Endpoint::AuthorizationServerMetadata.path()), get(metadata::discovery));
    }

    // For scripts of registered apps: CORS for their origins.
    let mut api = Router::new()
        .route(&at(Endpoint::Token), post(token::post))
        .route(&at(Endpoint::DeviceAuthorization), post(device_code::post))
        .route(&at(Endpoint::Userinfo), get(userinfo::get).post(userinfo::post))
        .route(&at(Endpoint::Revoke), post(revoke::post));

    // For servers alone, and for people. The admin API brings its own table.
    let mut own = Router::new()
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
        api = api.route(&at(Endpoint::Registration), post(register::post));
        let managed = get(register::get).put(register::put).delete(register::delete);
        own = own.route(&format!("{}/{{client_id}}", at(Endpoint::Registration)), managed);
    }
    if let Some(text) = app.config.security_txt.render() {
        own = own.route("/.well-known/security.txt", get(async move || text));
    }
    if app.demo {
        own = own.route(&page(paths::DEMO), get(browser::demo::get)).route(&page(paths::DEMO_QR), get(browser::demo::qr));
    }

    let asked = Arc::clone(app);
    let is_registered = async move |origin: String| asked.registry.may_read(&origin).await;
    cors::open(open.with_state(Arc::clone(app)))
        .merge(cors::registered(api.with_state(Arc::clone(app)), is_registered))
        .merge(admin::router(app))
        .merge(own.fallback(metadata::elsewhere).with_state(Arc::clone(app)))
}

/// What the layers around all routes need.
fn edge(app: &Arc<App>) -> Edge {
    let config = &app.config;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Edge {
        entropy: Arc::clone(&app.entropy),
        clock: Arc::clone(&app.clock),
        decisions: app.decisions.clone(),
        trusted_proxies: config.proxies.trusted.clone().into(),
        forwarded: Arc::clone(&app.forwarded),
        issuer: config.issuer.as_str().to_owned(),
        https: config.issuer.is_https(),
        admission: Admission::new(
            count(config.limits.requests),
            count(config.limits.waiting),
            config.limits.longest_wait,
            from_memory(config.issuer.path()),
        ),
        readers: readers(app),
        body_limit: count(config.limits.body),
        header_lines: count(config.limits.headers),
        header_bytes: count(config.limits.header_bytes),
        request_timeout: config.limits.request_timeout,
        error_page: browser::error_page::renderer(app),
    }
}

/// Who may read what the layers answer for the routes that scripts of registered apps call.
fn readers(app: &Arc<App>) -> cors::Readers {
    let base = app.config.issuer.path();
    let endpoints = [Endpoint::Token, Endpoint::DeviceAuthorization, Endpoint::Userinfo, Endpoint::Revoke, Endpoint::Registration];
    let asked = Arc::clone(app);
    cors::Readers::new(endpoints.iter().map(|endpoint| format!("{base}{}", endpoint.path())).collect(), move |origin| {
        let asked = Arc::clone(&asked);
        Box::pin(async move { asked.registry.may_read_refusals(&origin).await })
    })
}

/// The routes that are answered at once, whatever else there is to do.
fn from_memory(base: &str) -> Vec<String> {
    let documents = [Endpoint::OpenidConfiguration, Endpoint::AuthorizationServerMetadata, Endpoint::Jwks, Endpoint::WellKnownJwks];
    let at_base = documents.iter().map(|endpoint| format!("{base}{}", endpoint.path()));
    let inserted = documents.iter().map(|endpoint| format!("{}{base}", endpoint.path()));
    let files = [format!("{base}{}/{{file}}", paths::ASSETS)];
    let others = ["/healthz", "/readyz", "/metrics", "/favicon.ico", "/robots.txt", "/.well-known/security.txt"];
    at_base.chain(inserted).chain(files).chain(others.map(str::to_owned)).collect()
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
