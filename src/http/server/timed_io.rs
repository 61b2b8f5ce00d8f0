//! A socket on which no wait is without end.
//!
//! A connection is always in one of five phases: fresh (not a byte yet), head (part of a request's head is here), body (all of the head, and
//! not yet of the body), request (the handler is at work: the body and the handler have clocks of their own), idle (between two requests).
//! In the first two and the last the next read has a deadline. A write that the peer does not take has one too. A TLS handshake is a part of the fresh phase.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;
use super::lines::Lines;

const FRESH: u64 = 0;
const HEAD: u64 = 1;
const REQUEST: u64 = 2;
const IDLE: u64 = 3;
const BODY: u64 = 4;
const PHASES: u64 = 8;

/// The phase of one connection, shared by its socket, its service and the accept loop. The number counts transitions in its upper
/// bits, so that two idle times after each other are told apart.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Known>);

#[derive(Debug)]
struct Known {
    stamp: AtomicU64,
    /// The peer does not take what is written.
    is_stuck: AtomicBool,
    /// A line of a head ended in a bare LF.
    is_loose: AtomicBool,
}

impl Activity {
    pub fn new() -> Self {
        Self(Arc::new(Known { stamp: AtomicU64::new(FRESH), is_stuck: AtomicBool::new(false), is_loose: AtomicBool::new(false) }))
    }

    /// A whole head is here and the service was called; `is_whole`: it has no body. `true`: it had come together with the request before.
    pub fn request_began(&self, is_whole: bool) -> bool {
        let had_come = self.is_idle();
        self.enter(if is_whole { REQUEST } else { BODY });
        had_come
    }

    /// The last of the body is here.
    pub fn body_came(&self) {
        if self.awaits_body() {
            self.enter(REQUEST);
        }
    }

    fn awaits_body(&self) -> bool {
        self.stamp() % PHASES == BODY
    }

    /// Part of a request is here.
    pub fn is_half_said(&self) -> bool {
        self.stamp() % PHASES == HEAD || self.awaits_body()
    }

    /// The response is on its way.
    pub fn request_ended(&self) {
        self.enter(IDLE);
    }

    /// Not a byte came since the connection was accepted.
    pub fn is_fresh(&self) -> bool {
        self.stamp() % PHASES == FRESH
    }

    /// Between two requests.
    pub fn is_idle(&self) -> bool {
        self.stamp() % PHASES == IDLE
    }

    /// Nothing of a request is here.
    pub fn does_nothing(&self) -> bool {
        self.is_fresh() || self.is_idle()
    }

    /// A head has come whose lines do not all end in CR and LF.
    pub fn is_loose(&self) -> bool {
        self.0.is_loose.load(Ordering::Acquire)
    }

    /// `true`: the first bytes of a request.
    fn bytes_came(&self) -> bool {
        let is_first = self.does_nothing();
        if is_first {
            self.enter(HEAD);
        }
        is_first
    }

    fn is_in_head(&self) -> bool {
        self.stamp() % PHASES == HEAD
    }

    /// Bytes of a handshake.
    fn shakes_hands(&self) {
        self.enter(FRESH);
    }

    /// The peer takes nothing, or something after all: an idle time begins with what it took last.
    fn stuck(&self, is_stuck: bool) {
        self.0.is_stuck.store(is_stuck, Ordering::Release);
        if !is_stuck && self.is_idle() {
            self.enter(IDLE);
        }
    }

    fn enter(&self, phase: u64) {
        let now = self.stamp();
        self.0.stamp.store((now / PHASES).wrapping_add(1).wrapping_mul(PHASES) | phase, Ordering::Release);
    }

    /// Another one after each change of phase.
    pub fn stamp(&self) -> u64 {
        self.0.stamp.load(Ordering::Acquire)
    }

    /// An answer has not left, since the peer does not take it.
    pub fn is_stuck(&self) -> bool {
        self.0.is_stuck.load(Ordering::Acquire)
    }
}

/// The socket.
#[derive(Debug)]
pub struct TimedIo<S> {
    inner: S,
    activity: Activity,
    lines: Lines,
    header: Duration,
    idle: Duration,
    read_clock: Option<Pin<Box<Sleep>>>,
    /// The stamp of the present wait, and its end.
    read_until: Option<(u64, Instant)>,
    write_clock: Option<Pin<Box<Sleep>>>,
    write_waits: bool,
}

impl<S> TimedIo<S> {
    pub fn new(inner: S, activity: Activity, limits: &Limits) -> Self {
        Self {
            inner,
            activity,
            lines: Lines::default(),
            header: limits.header_read_timeout,
            idle: limits.idle_timeout,
            read_clock: None,
            read_until: None,
            write_clock: None,
            write_waits: false,
        }
    }

    /// Bytes have come. Those of a request that was sent before the one before it was answered are not looked at: no proxy that others share
    /// does that.
    fn look(&mut self, bytes: &[u8]) {
        if self.activity.bytes_came() {
            self.lines = Lines::default();
        }
        if self.activity.is_in_head() && !self.lines.take(bytes) {
            self.activity.0.is_loose.store(true, Ordering::Release);
        }
    }

    /// Nothing to read: is the time for it over?
    fn poll_read_clock(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let stamp = self.activity.stamp();
        let patience = match stamp % PHASES {
            REQUEST | BODY => return Poll::Pending,
            IDLE => self.idle,
            _ => self.header,
        };
        let until = match self.read_until {
            Some((known, until)) if known == stamp => until,
            Some(_) | None => {
                let until = Instant::now() + patience;
                self.read_until = Some((stamp, until));
                until
            }
        };
        // The clock is left as it is while it rings too early: between two requests it would be set anew thousands of times before it rings once.
        let clock = self.read_clock.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if clock.deadline() > until {
            clock.as_mut().reset(until);
        }
        loop {
            ready!(clock.as_mut().poll(cx));
            if clock.deadline() >= until {
                break;
            }
            clock.as_mut().reset(until);
        }
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer sent nothing for too long"))
    }

    /// The response has left: the time between two requests begins now, and not when somebody next looks whether there is something to read.
    fn watch_idle(&mut self, cx: &mut Context<'_>) {
        let stamp = self.activity.stamp();
        if stamp % PHASES != IDLE || self.read_until.is_some_and(|(known, _)| known == stamp) {
            return;
        }
        let now = Instant::now();
        let until = now + self.idle;
        self.read_until = Some((stamp, until));
        // A clock that has yet to ring wakes the connection early enough, and is then set anew.
        if self.read_clock.as_ref().is_none_or(|clock| clock.deadline() <= now || clock.deadline() > until) {
            let clock = set(&mut self.read_clock, until);
            let _: Poll<()> = clock.as_mut().poll(cx);
        }
    }

    /// The peer takes nothing: is the time for it over?
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            if std::mem::take(&mut self.write_waits) {
                self.activity.stuck(false);
            }
            return done;
        }
        let clock = if self.write_waits
            && let Some(clock) = self.write_clock.as_mut()
        {
            clock
        } else {
            self.write_waits = true;
            self.activity.stuck(true);
            set(&mut self.write_clock, Instant::now() + self.idle)
        };
        ready!(clock.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer took nothing for too long")))
    }
}

fn set(clock: &mut Option<Pin<Box<Sleep>>>, until: Instant) -> &mut Pin<Box<Sleep>> {
    let clock = clock.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
    clock.as_mut().reset(until);
    clock
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(done) => {
                if let Some(bytes @ [_, ..]) = buf.filled().get(before..) {
                    this.look(bytes);
                }
                // A head that trickles in keeps the clock of its first byte: the phase, and so the stamp, stays.
                Poll::Ready(done)
            }
            Poll::Pending => this.poll_read_clock(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.watch_write(cx, done)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.watch_write(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_flush(cx);
        let done = this.watch_write(cx, done);
        if done.is_ready() {
            this.watch_idle(cx);
        }
        done
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.watch_write(cx, done)
    }
}

/// The socket below TLS. While hands are shaken, what comes is something that the peer does.
#[derive(Debug)]
pub struct Shaken<S> {
    inner: S,
    shaking: Option<Activity>,
}

impl<S> Shaken<S> {
    pub fn new(inner: S, activity: Activity) -> Self {
        Self { inner, shaking: Some(activity) }
    }

    /// The handshake is over: from here on what counts is what a request needs.
    pub fn done(&mut self) {
        self.shaking = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shaken<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some(activity) = &self.shaking
            && buf.filled().len() > before
        {
            activity.shakes_hands();
        }
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shaken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn limits() -> Limits {
        Limits { header_read_timeout: Duration::from_millis(100), idle_timeout: Duration::from_millis(600), ..Limits::default() }
    }

    #[tokio::test]
    async fn a_head_that_trickles_in_is_cut_off_by_the_clock_of_its_first_byte() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut io = TimedIo::new(ours, Activity::new(), &Limits { idle_timeout: Duration::from_secs(60), ..limits() });
        let begin = Instant::now();
        let trickle = tokio::spawn(async move {
            while peer.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let mut byte = [0];
        // By the clock of the last byte it would go on for ever.
        let ended = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Err(error) = io.read(&mut byte).await {
                    break error;
                }
            }
        });
        assert_eq!(ended.await.unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_millis(90), "{:?}", begin.elapsed());
        trickle.abort();
    }

    #[tokio::test]
    async fn two_idle_times_after_each_other_are_counted_apart() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let activity = Activity::new();
        let mut io = TimedIo::new(ours, activity.clone(), &Limits { idle_timeout: Duration::from_secs(2), ..limits() });
        let mut byte = [0];
        for _ in 0..3 {
            peer.write_all(b"a").await.unwrap();
            io.read_exact(&mut byte).await.unwrap();
            activity.request_began(true);
            activity.request_ended();
            let waited = tokio::time::timeout(Duration::from_millis(700), io.read(&mut byte)).await;
            assert!(waited.is_err(), "a third of the idle time is allowed each time");
        }
        assert_eq!(io.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_request_at_work_is_not_timed_here() {
        let (_peer, ours) = tokio::io::duplex(64);
        let activity = Activity::new();
        let mut io = TimedIo::new(ours, activity.clone(), &limits());
        activity.request_began(true);
        assert!(tokio::time::timeout(Duration::from_millis(900), io.read(&mut [0])).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut_off() {
        let (_peer, ours) = tokio::io::duplex(8);
        let mut io = TimedIo::new(ours, Activity::new(), &limits());
        assert_eq!(io.write_all(&[0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
