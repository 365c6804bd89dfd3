//! One request that waits at a child, and its cancellation.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::mcp::{Method, raw};
use crate::upstream::inbox::Inbox;

use super::pipe::{Outcome, Pipe};

/// A request that waits for its answer. Dropped before, it is cancelled at the child.
pub(super) struct Ticket {
    pub(super) answer: oneshot::Receiver<Outcome>,
    pub(super) inbox: Inbox,
    pub(super) cancel: Cancel,
}

/// Tells the child that nobody waits any more, if somebody did.
pub(super) struct Cancel {
    pub(super) pipe: Arc<Pipe>,
    pub(super) id: u64,
    /// Whether the child may know of it.
    pub(super) was_sent: bool,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if !self.was_sent {
            self.pipe.forget(self.id);
        } else if self.pipe.abandon(self.id) {
            let reason = "the client cancelled, or it took too long";
            let params = serde_json::json!({ "requestId": self.id, "reason": reason });
            self.pipe.try_notify(&Method::Cancelled, Some(&raw(&params)));
        }
    }
}

/// Waits no more, and tells nobody.
pub(super) struct Forget<'a> {
    pub(super) pipe: &'a Pipe,
    pub(super) id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pipe.forget(self.id);
    }
}
