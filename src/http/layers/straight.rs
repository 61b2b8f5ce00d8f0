//! The endpoints that programs call all the time, found by their paths alone.
//!
//! On the way through the router and the layers that it puts around each of its routes a request is packed up a dozen times. What happens
//! around the handler is the same, and so is the handler. Whoever asks differently (another method, a preflight) goes by the router.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Method;

use super::{Edge, around};
use crate::app::App;
use crate::http::error::Matched;
use crate::http::server;

/// One route: its method, its path as the router has it, and its handler.
pub struct Route {
    pub method: Method,
    pub path: Arc<str>,
    pub handler: fn(Request, Arc<App>) -> BoxFuture<'static, Response>,
}

/// The routes.
pub struct Straight {
    app: Arc<App>,
    edge: Arc<Edge>,
    routes: Vec<Route>,
}

impl Straight {
    /// `routes` are in the router too.
    pub fn new(app: &Arc<App>, edge: &Arc<Edge>, routes: Vec<Route>) -> Self {
        Self { app: Arc::clone(app), edge: Arc::clone(edge), routes }
    }
}

impl fmt::Debug for Straight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| &route.path)).finish()
    }
}

impl server::Straight for Straight {
    fn answer(&self, request: Request, peer: SocketAddr) -> Result<BoxFuture<'_, Response>, Request> {
        let is_asked = |route: &&Route| *route.path == *request.uri().path() && route.method == *request.method();
        let Some(Route { path, handler, .. }) = self.routes.iter().find(is_asked) else { return Err(request) };
        let matched = Some(Matched::Straight(Arc::clone(path)));
        let handler = |request| handler(request, Arc::clone(&self.app)).map(Ok);
        Ok(Box::pin(around(&self.edge, request, Some(peer.ip()), matched, handler)))
    }
}
