//! Ends of a node: a signal, or the end of its replica.

use std::future::Future;

use erlmcp_raft::Fatal;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::NodeError;

/// SIGTERM and SIGINT of this process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn take() -> Result<Signals, NodeError> {
        let take =
            |kind| signal(kind).map_err(|source| NodeError::System { what: "take over signals", source });
        Ok(Signals { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Returns the name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for a signal (`Ok`) or for what makes it impossible to go on.
pub(super) async fn wait(
    signals: &mut Signals,
    fatal: impl Future<Output = Fatal>,
) -> Result<&'static str, NodeError> {
    tokio::select! {
        name = signals.next() => Ok(name),
        cause = fatal => Err(NodeError::Fatal(cause)),
    }
}
