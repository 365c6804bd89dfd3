//! Waiting for room: what a full disk refuses is tried again until it fits.
//!
//! A full disk must not end a node: it acknowledges nothing while it waits, and goes on by itself. Any other
//! error is the caller's.

use std::future::Future;
use std::io;
use std::time::Duration;

use erlmcp_storage::StorageError;
use tokio_util::sync::CancellationToken;

/// How long to wait before asking a full disk again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// Tries until the disk has room.
#[derive(Clone)]
pub(crate) struct Room {
    /// Cut when the replica stops, so that nobody waits for a full disk then.
    closing: CancellationToken,
}

impl Room {
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self { closing }
    }

    /// The outcome of the first `attempt` that a full disk does not refuse.
    pub(crate) async fn wait<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, io::Error>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        loop {
            match attempt().await {
                Err(error) if error.is_retryable() => {
                    tokio::select! {
                        () = tokio::time::sleep(FULL_PAUSE) => {}
                        () = self.closing.cancelled() => return Err(io::Error::other(error)),
                    }
                }
                other => return other.map_err(io::Error::other),
            }
        }
    }
}
