//! Inbox of one running request: messages of the upstream before its answer, in bounded space; and the sink
//! for those that concern no request.
//!
//! Who reads the upstream never waits for a client: what does not fit is refused, and its reader counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::mcp::Notification;

use super::forwarder::Inbound;

/// Hears what concerns no running request. Must not wait.
pub(super) trait NotificationSink: Send + Sync {
    /// One notification.
    fn on_notification(&self, notification: Notification);
}

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
