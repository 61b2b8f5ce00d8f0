//! Bodies with clocks: a request's body has to arrive in time, and the end of a response's body ends the request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::timed_io::Activity;

/// The request's body took longer than allowed; found as the source of the error that reading it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTimedOut;

impl fmt::Display for BodyTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body did not arrive in time")
    }
}

impl std::error::Error for BodyTimedOut {}

/// A request's body that must be complete within a time counted from the first look at it.
#[derive(Debug)]
pub struct TimedBody<B> {
    inner: B,
    patience: Duration,
    clock: Option<Pin<Box<Sleep>>>,
    has_trailers: bool,
    whole: Whole,
    activity: Activity,
}

/// Whether a request's body was read to an end that nobody doubts, for the connection that it came over.
#[derive(Debug, Clone, Default)]
pub struct Whole(Arc<AtomicBool>);

impl Whole {
    /// If not, what is left of it stands before the next request, or may have been taken for the next request by somebody else, and the
    /// connection closes.
    pub fn is_read(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl<B: HttpBody> TimedBody<B> {
    /// Gives `inner` at most `patience`, and tells `activity` of its end.
    pub(super) fn new(inner: B, patience: Duration, activity: Activity) -> Self {
        let whole = Whole(Arc::new(AtomicBool::new(inner.is_end_stream())));
        Self { inner, patience, clock: None, has_trailers: false, whole, activity }
    }

    /// To be asked when the answer is there.
    pub fn whole(&self) -> Whole {
        self.whole.clone()
    }
}

impl<B> HttpBody for TimedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            // RFC 9112 §7.1.2, §2.2: where trailers end is not one place for those who take a bare LF for the end of a line and those who do not.
            this.has_trailers |= matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
            if frame.is_none() || this.inner.is_end_stream() {
                this.activity.body_came();
                if !this.has_trailers {
                    this.whole.0.store(true, Ordering::Release);
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience;
        let clock = this.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        clock.as_mut().poll(cx).map(|()| Some(Err(BodyTimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body; when hyper is done with it, the request is over.
#[derive(Debug)]
pub struct FinishedBody {
    inner: Body,
    activity: Activity,
}

impl FinishedBody {
    pub(super) fn new(inner: Body, activity: Activity) -> Self {
        Self { inner, activity }
    }
}

impl Drop for FinishedBody {
    fn drop(&mut self) {
        self.activity.request_ended();
    }
}

impl HttpBody for FinishedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
