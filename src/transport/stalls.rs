//! Streams of HTTP/2 whose client does not read are reset, alone: the socket sees nothing of them, as window
//! updates stay out while pings and other streams go on.
//!
//! hyper takes a frame of the body, waits until the client has room for some of it, and only then asks for
//! the next. So a frame that was taken, with no poll since, waits for the client; the task of its stream is
//! dropped after a while, which resets the stream and frees all that it holds.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;

use crate::clock::Clock;

/// Bytes of one frame: so much of an answer may wait in the buffer of a stream whose task has ended.
const FRAME_BYTES_MAX: usize = 16_384;

tokio::task_local! {
    static STREAM: Arc<Progress>;
}

/// How a stream gets on.
#[derive(Debug, Default)]
struct Progress {
    /// Since when a frame waits for the client, in milliseconds of our clock; 0 is not at all.
    waits_ms: AtomicU64,
}

/// Runs the streams of HTTP/2 connections, each in a task of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamExecutor {
    /// A frame may wait for its client so long.
    pub(super) stall: Duration,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let progress = Arc::new(Progress::default());
        let stalled = stalled(progress.clone(), self.stall);
        tokio::spawn(STREAM.scope(progress, async move {
            tokio::select! {
                _ = stream => {}
                () = stalled => tracing::debug!("a client does not read its stream"),
            }
        }));
    }
}

/// Resolves when a frame has waited for `stall`, or up to half as long again.
async fn stalled(progress: Arc<Progress>, stall: Duration) {
    let clock = Clock::new();
    loop {
        tokio::time::sleep(stall / 2).await;
        let since_ms = progress.waits_ms.load(Ordering::Relaxed);
        let waited = Duration::from_millis(clock.monotonic_ms().saturating_sub(since_ms));
        if since_ms > 0 && waited >= stall {
            return;
        }
    }
}

/// A body that keeps `held` until it has been sent or given up, and shows how its stream gets on.
pub(super) struct WatchedBody<T> {
    body: Body,
    progress: Option<Arc<Progress>>,
    /// Part of a frame that is still to be sent.
    rest: Bytes,
    _held: T,
}

impl<T> WatchedBody<T> {
    /// To be called in the task that serves the request.
    pub(super) fn new(body: Body, held: T) -> WatchedBody<T> {
        WatchedBody { body, progress: STREAM.try_with(Arc::clone).ok(), rest: Bytes::new(), _held: held }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            let length = self.rest.len().min(FRAME_BYTES_MAX);
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) if self.progress.is_some() => Poll::Ready(Some(Ok(self.cut(frame)))),
            polled => polled,
        }
    }

    /// The first part of `frame`; the rest is kept.
    fn cut(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if data.len() > FRAME_BYTES_MAX => {
                self.rest = data.split_off(FRAME_BYTES_MAX);
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        }
    }
}

impl<T: Unpin> HttpBody for WatchedBody<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = self.poll_next(cx);
        if let Some(progress) = &self.progress {
            let waits_ms =
                if let Poll::Ready(Some(Ok(_))) = polled { Clock::new().monotonic_ms() } else { 0 };
            progress.waits_ms.store(waits_ms, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
