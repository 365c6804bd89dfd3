//! Queue of one client's notifications to its session at the upstream: sent one after the other, and no more
//! than a few of them wait.
//!
//! A client may send as many as it likes; the sockets they take at the upstream are ours.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::session::HttpSession;
use super::upstream::HttpUpstream;
use crate::upstream::health::Counts;

/// Notifications that wait for one client. Beyond it the oldest is dropped: of progress and changes of a list
/// the newest says most.
const WAITING_MAX: usize = 16;

/// Waiting notifications of one client.
#[derive(Default)]
pub(super) struct NotificationQueue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    /// A task sends them.
    is_sending: bool,
}

impl NotificationQueue {
    /// Sends `message` when it is its turn, unless the same one waits already.
    pub(super) fn send(
        self: Arc<Self>,
        upstream: &Arc<HttpUpstream>,
        session: Arc<HttpSession>,
        message: Bytes,
    ) {
        {
            let mut waiting = self.0.lock();
            if waiting.messages.contains(&message) {
                return;
            }
            if waiting.messages.len() >= WAITING_MAX {
                waiting.messages.pop_front();
                Counts::add(&upstream.state.counts.dropped);
            }
            waiting.messages.push_back(message);
            if std::mem::replace(&mut waiting.is_sending, true) {
                return;
            }
        }
        let sending = upstream.clone();
        let all = async move {
            while let Some(message) = self.next() {
                let Ok(_turn) = sending.notices_at_once.acquire().await else { return };
                session.post(message).await;
            }
        };
        upstream.tasks.spawn(upstream.stop.clone().run_until_cancelled_owned(all));
    }

    fn next(&self) -> Option<Bytes> {
        let mut waiting = self.0.lock();
        let next = waiting.messages.pop_front();
        waiting.is_sending = next.is_some();
        next
    }
}
