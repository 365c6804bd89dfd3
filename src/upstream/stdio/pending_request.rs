//! A request that waits for a child's answer, and its cancellation.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::mcp::{Method, raw};
use crate::upstream::inbox::Inbox;

use super::connection::{Outcome, StdioConnection};

/// A request that waits for its answer. Dropped before, it is cancelled at the child.
pub(super) struct PendingRequest {
    pub(super) answer: oneshot::Receiver<Outcome>,
    pub(super) inbox: Inbox,
    pub(super) cancel: CancelOnDrop,
}

/// Tells the child that nobody waits any more, if somebody did.
pub(super) struct CancelOnDrop {
    pub(super) connection: Arc<StdioConnection>,
    pub(super) id: u64,
    /// Whether the child may know of it.
    pub(super) was_sent: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.was_sent {
            self.connection.forget(self.id);
        } else if self.connection.abandon(self.id) {
            let reason = "the client cancelled, or it took too long";
            let params = serde_json::json!({ "requestId": self.id, "reason": reason });
            self.connection.try_notify(&Method::Cancelled, Some(&raw(&params)));
        }
    }
}

/// Waits no more, and tells nobody.
pub(super) struct ForgetOnDrop<'a> {
    pub(super) connection: &'a StdioConnection,
    pub(super) id: u64,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.connection.forget(self.id);
    }
}
