//! The requests of one connection that are being served, and the word to leave that it may be given.
//!
//! A request touches a few atomics and the clock, never a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use http::Version;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;

/// The requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicUsize,
    open: AtomicUsize,
    /// Streams on which the client listens, HTTP/2 only.
    listening: AtomicUsize,
    is_http2: AtomicBool,
    /// When the last request ended, or else the connection came, in milliseconds of our clock.
    quiet_ms: AtomicU64,
    /// It was told to leave, or has left.
    is_leaving: AtomicBool,
    leave: Notify,
    gone: Mutex<Option<oneshot::Sender<()>>>,
}

impl Activity {
    /// That of a connection that came at `quiet_ms`.
    pub(super) fn at(quiet_ms: u64) -> Activity {
        Activity { quiet_ms: AtomicU64::new(quiet_ms), ..Activity::default() }
    }

    /// A request's head has arrived; it is served until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Serving {
        self.is_http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Serving(self.clone())
    }

    /// A request is about to listen; it does until the guard is dropped. Also whether another does already.
    pub(super) fn listen(self: &Arc<Self>) -> (OpenStream, bool) {
        let before = self.listening.fetch_add(1, Ordering::Relaxed);
        (OpenStream(self.clone()), before > 0)
    }

    /// Requests that have arrived.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a request is being served.
    pub(super) fn is_serving(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Since when nothing has been served, in milliseconds of our clock; `None` if something is, or if the
    /// connection was told to leave.
    pub(super) fn quiet_since_ms(&self) -> Option<u64> {
        let is_quiet = !self.is_serving() && !self.is_leaving.load(Ordering::Relaxed);
        is_quiet.then(|| self.quiet_ms.load(Ordering::Relaxed))
    }

    /// Tells the connection to leave. The receiver resolves once it has, see [`Activity::tell_gone`].
    pub(super) fn dismiss(&self) -> oneshot::Receiver<()> {
        let (gone, is_gone) = oneshot::channel();
        *self.gone.lock() = Some(gone);
        self.is_leaving.store(true, Ordering::Relaxed);
        self.leave.notify_one();
        is_gone
    }

    /// Resolves when the connection is to leave.
    pub(super) async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// The socket is closed and its place is free.
    pub(super) fn tell_gone(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        if let Some(gone) = self.gone.lock().take() {
            // Nobody may wait any more.
            let _ = gone.send(());
        }
    }
}

/// One request that is being served.
pub(super) struct Serving(Arc<Activity>);

impl Drop for Serving {
    fn drop(&mut self) {
        // The time first: whoever sees that nothing is served must not see the time of the request before.
        self.0.quiet_ms.store(Clock::new().monotonic_ms(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

/// One stream on which the client listens.
pub(super) struct OpenStream(Arc<Activity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.listening.fetch_sub(1, Ordering::Relaxed);
    }
}
