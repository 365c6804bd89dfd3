//! One request that waits at a child: what comes for it before its answer, in bounded space, and its cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::mcp::raw;
use crate::upstream::passage::Inbound;

use super::pipe::{Outcome, Pipe};

/// Messages that may wait for one running request.
const INBOX_MAX: usize = 1_024;
/// Bytes of params that may wait for one running request; a single message may be longer.
const INBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Puts messages in; never waits.
#[derive(Clone)]
pub(super) struct InboxSender {
    sender: mpsc::Sender<Inbound>,
    waiting_bytes: Arc<AtomicUsize>,
    /// The client's progress token.
    pub(super) token: Option<Box<RawValue>>,
}

/// Takes messages out.
pub(super) struct Inbox {
    receiver: mpsc::Receiver<Inbound>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// An empty inbox for a request with the client's progress token `token`.
pub(super) fn inbox(token: Option<Box<RawValue>>) -> (InboxSender, Inbox) {
    let (sender, receiver) = mpsc::channel(INBOX_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    (InboxSender { sender, waiting_bytes: waiting_bytes.clone(), token }, Inbox { receiver, waiting_bytes })
}

impl InboxSender {
    /// Puts a message in if there is room.
    pub(super) fn put(&self, inbound: Inbound) -> bool {
        let bytes = inbound.weight();
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before + bytes <= INBOX_BYTES_MAX;
        let put = fits && self.sender.try_send(inbound).is_ok();
        if !put {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        put
    }
}

impl Inbox {
    /// The next message. Pends when there is none.
    pub(super) async fn next(&mut self) -> Inbound {
        match self.receiver.recv().await {
            Some(inbound) => self.count_out(inbound),
            None => std::future::pending().await,
        }
    }

    /// A message that is already there.
    pub(super) fn ready(&mut self) -> Option<Inbound> {
        self.receiver.try_recv().ok().map(|inbound| self.count_out(inbound))
    }

    fn count_out(&self, inbound: Inbound) -> Inbound {
        self.waiting_bytes.fetch_sub(inbound.weight(), Ordering::Relaxed);
        inbound
    }
}

/// A request that waits for its answer. Dropped before, it is cancelled at the child.
pub(super) struct Ticket {
    pub(super) answer: oneshot::Receiver<Outcome>,
    pub(super) inbox: Inbox,
    pub(super) _cancel: Cancel,
}

/// Tells the child that nobody waits any more, if somebody did.
pub(super) struct Cancel {
    pub(super) pipe: Arc<Pipe>,
    pub(super) id: u64,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if self.pipe.forget(self.id) {
            let reason = "the client cancelled, or it took too long";
            let params = serde_json::json!({ "requestId": self.id, "reason": reason });
            self.pipe.try_notify("notifications/cancelled", Some(&raw(&params)));
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
