//! A handler that panics or hangs is answered for (security.md ). What the panic said stays inside: it may hold anything.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, header};

use crate::http::error::{OAuthError, Trouble};
use crate::oauth::refusal::Reason;

/// Runs `handler` for at most `limit`.
pub async fn caught(limit: Duration, handler: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match tokio::time::timeout(limit, AssertUnwindSafe(handler).catch_unwind()).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_panic)) => {
            metrics::counter!("chancery_panics_total").increment(1);
            let trouble = Trouble::from(Reason::Internal { detail: "a handler panicked; the log says where".to_owned() });
            let mut response = OAuthError::negotiated(trouble).into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(_elapsed) => {
            metrics::counter!("chancery_request_timeouts_total").increment(1);
            let detail = format!("the request took longer than {} ms", limit.as_millis());
            let trouble = Trouble::with_status(Reason::Internal { detail }, StatusCode::SERVICE_UNAVAILABLE);
            let mut response = OAuthError::negotiated(trouble).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_refusal_without_what_it_said() {
        let response = caught(Duration::from_secs(1), async { panic!("secret") }).await;
        let refused = response.extensions().get::<crate::http::error::Refused>().unwrap();
        assert!(!format!("{refused:?}").contains("secret"));
        assert_eq!(response.headers()[header::CONNECTION], "close");
    }

    #[tokio::test]
    async fn a_hanging_handler_is_told_to_come_back_later() {
        let response = caught(Duration::from_millis(10), std::future::pending()).await;
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
