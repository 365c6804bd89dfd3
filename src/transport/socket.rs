//! A client's socket with the timeouts we have for it.
//!
//! hyper has one timer for "no head yet" and "nothing to say"; here is that for heads, and an end for those
//! who do not read. One timer a direction, set when the socket has nothing, so a busy connection pays nothing
//! for them. Connections that are idle end elsewhere, see `connection`. Before each use of the socket the
//! clock is asked whether the node's share still lasts: a process that was stopped for long must not serve a
//! byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::activity::Activity;
use crate::admission::Turn;
use crate::clock::Clock;

/// How long each wait may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From connecting to the end of the first head.
    pub(super) first: Duration,
    /// From the first byte of a head to its end.
    pub(super) head: Duration,
    /// For the peer to read.
    pub(super) write: Duration,
}

/// Event that the socket waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    First,
    Head,
    /// For ourselves, or for nothing in particular: no limit here.
    Nothing,
}

/// A socket that fails with [`io::ErrorKind::TimedOut`] when its peer takes too long, and with
/// [`io::ErrorKind::ConnectionAborted`] once its turn is over.
pub(super) struct Socket<S> {
    inner: S,
    timeouts: Timeouts,
    activity: Arc<Activity>,
    turn: Arc<Turn>,
    clock: Clock,
    /// Requests begun when the last byte arrived.
    begun: usize,
    wait: Wait,
    timer: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(super) fn new(inner: S, timeouts: Timeouts, activity: Arc<Activity>, turn: Arc<Turn>) -> Socket<S> {
        let timer = Some(Box::pin(tokio::time::sleep(timeouts.first)));
        let clock = Clock::new();
        Socket { inner, timeouts, activity, turn, clock, begun: 0, wait: Wait::First, timer, stall: None }
    }

    /// Whether the socket may still be touched.
    fn check(&self) -> io::Result<()> {
        if self.turn.is_over(self.clock.monotonic_ms()) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the share of this node has ended"));
        }
        Ok(())
    }

    /// Bytes arrived: they belong to a head unless a request is being served or the connection is HTTP/2.
    fn received(&mut self) {
        self.begun = self.activity.begun();
        let is_serving = self.activity.is_serving();
        self.wait = match self.wait {
            Wait::First if self.begun == 0 => Wait::First,
            Wait::Head if !is_serving => Wait::Head,
            // Of HTTP/2 only some frames are heads: a ping is none, nor is a window update.
            _ if is_serving || self.activity.is_http2() => {
                self.timer = None;
                Wait::Nothing
            }
            _ => {
                self.timer = Some(Box::pin(tokio::time::sleep(self.timeouts.head)));
                Wait::Head
            }
        };
    }

    /// Nothing arrived: has it taken too long?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.activity.is_serving() || self.activity.begun() != self.begun {
            self.begun = self.activity.begun();
            self.wait = Wait::Nothing;
            self.timer = None;
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| timed_out("the client says nothing")),
            None => Poll::Pending,
        }
    }

    /// Settles a write: progress resets the timeouts, no progress uses it up.
    fn settle<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let write = self.timeouts.write;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(write)));
        stall.as_mut().poll(cx).map(|()| Err(timed_out("the client does not read")))
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    self.received();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_patience(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.settle(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.settle(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.settle(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::Version;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::admission::Gate;

    const TIMEOUTS: Timeouts = Timeouts {
        first: Duration::from_secs(10),
        head: Duration::from_secs(10),
        write: Duration::from_secs(10),
    };

    fn socket() -> (Socket<DuplexStream>, DuplexStream, Arc<Activity>) {
        let (ours, theirs) = duplex(4);
        let activity = Arc::new(Activity::default());
        let turn = Gate::alone(1, Clock::new()).admit().unwrap().turn().clone();
        (Socket::new(ours, TIMEOUTS, activity.clone(), turn), theirs, activity)
    }

    async fn waited(socket: &mut Socket<DuplexStream>) -> u64 {
        let start = tokio::time::Instant::now();
        let error = socket.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_closed_in_time() {
        let (mut socket, _theirs, _) = socket();
        assert_eq!(waited(&mut socket).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_head_that_drips_gets_no_more_time() {
        let (mut socket, mut theirs, _) = socket();
        let drip = tokio::spawn(async move {
            while theirs.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let start = tokio::time::Instant::now();
        while socket.read_u8().await.is_ok() {}
        assert_eq!(start.elapsed().as_secs(), 10);
        drop(socket);
        drip.await.unwrap();
    }

    /// Whether the socket lets its client be silent for longer than any head may take.
    async fn may_be_silent(socket: &mut Socket<DuplexStream>) -> bool {
        tokio::time::timeout(Duration::from_secs(10_000), socket.read_u8()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_client_may_be_silent_but_its_next_head_may_not_drip() {
        let (mut socket, mut theirs, activity) = socket();
        theirs.write_all(b"x").await.unwrap();
        socket.read_u8().await.unwrap();
        drop(activity.begin(Version::HTTP_11));
        assert!(may_be_silent(&mut socket).await);
        theirs.write_all(b"G").await.unwrap();
        socket.read_u8().await.unwrap();
        assert_eq!(waited(&mut socket).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn between_http2_requests_a_frame_is_no_head() {
        let (mut socket, mut theirs, activity) = socket();
        theirs.write_all(b"x").await.unwrap();
        socket.read_u8().await.unwrap();
        drop(activity.begin(Version::HTTP_2));
        assert!(futures_util::poll!(Box::pin(socket.read_u8())).is_pending());
        theirs.write_all(b"p").await.unwrap();
        socket.read_u8().await.unwrap();
        assert!(may_be_silent(&mut socket).await);
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_request_is_served_the_client_may_be_silent() {
        let (mut socket, mut theirs, activity) = socket();
        theirs.write_all(b"x").await.unwrap();
        socket.read_u8().await.unwrap();
        let _serving = activity.begin(Version::HTTP_11);
        assert!(may_be_silent(&mut socket).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_closed_in_time() {
        let (mut socket, _theirs, _) = socket();
        socket.write_all(b"1234").await.unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(socket.write_all(b"5").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn not_a_byte_is_served_once_the_turn_is_over() {
        let (ours, mut theirs) = duplex(4);
        // Of no session: its end has always been.
        let mut socket = Socket::new(ours, TIMEOUTS, Arc::default(), Arc::default());
        theirs.write_all(b"x").await.unwrap();
        for error in [
            socket.read_u8().await.unwrap_err(),
            socket.write_u8(b'x').await.unwrap_err(),
            socket.flush().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    }
}
