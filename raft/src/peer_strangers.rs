//! Connections to the peer port that have proven nothing yet.
//!
//! They are few and short: whoever sends no signed request soon is closed, and the oldest goes when a
//! newcomer needs its place. A peer signs with its first bytes, so that no crowd of strangers keeps it out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Strangers at once.
const STRANGERS_MAX: usize = 256;

/// Time until the first request that is signed.
const STRANGER_TIME: Duration = Duration::from_secs(5);

/// The strangers of one port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(Arc<Mutex<VecDeque<Arc<Standing>>>>);

/// State of a connection.
#[derive(Debug, Default)]
struct Standing {
    is_proven: AtomicBool,
    news: Notify,
    leave: Notify,
}

/// One connection; its place, if it still has one, is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    standing: Arc<Standing>,
    strangers: Strangers,
}

/// How a connection's requests say that a peer speaks.
#[derive(Clone, Debug)]
pub(crate) struct Acquaintance(Arc<Standing>);

impl Acquaintance {
    /// A peer speaks here.
    pub(crate) fn prove(&self) {
        if !self.0.is_proven.swap(true, Ordering::Relaxed) {
            self.0.news.notify_one();
        }
    }
}

impl Guest {
    /// For its requests.
    pub(crate) fn acquaintance(&self) -> Acquaintance {
        Acquaintance(self.standing.clone())
    }

    /// Waits until a peer has spoken, which frees the place; false if the time is up or the place another's.
    pub(crate) async fn proven(&self) -> bool {
        let is_proven = tokio::select! {
            biased;
            () = self.standing.news.notified() => true,
            () = self.standing.leave.notified() => false,
            () = tokio::time::sleep(STRANGER_TIME) => false,
        };
        self.strangers.forget(&self.standing);
        is_proven
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.strangers.forget(&self.standing);
    }
}

impl Strangers {
    /// Takes a newcomer in, if need be in the place of the oldest.
    pub(crate) fn admit(&self) -> Guest {
        let standing = Arc::new(Standing::default());
        let mut all = self.0.lock();
        if all.len() >= STRANGERS_MAX
            && let Some(oldest) = all.pop_front()
        {
            oldest.leave.notify_one();
        }
        all.push_back(standing.clone());
        Guest { standing, strangers: self.clone() }
    }

    fn forget(&self, standing: &Arc<Standing>) {
        self.0.lock().retain(|other| !Arc::ptr_eq(other, standing));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_goes_when_a_newcomer_needs_its_place() {
        let strangers = Strangers::default();
        let all: Vec<Guest> = (0..STRANGERS_MAX).map(|_| strangers.admit()).collect();
        let mut oldest = std::pin::pin!(all[0].proven());
        let mut second = std::pin::pin!(all[1].proven());
        assert!(poll!(oldest.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        let newcomer = strangers.admit();
        assert!(!oldest.await);
        assert!(poll!(second.as_mut()).is_pending());
        newcomer.acquaintance().prove();
        assert!(newcomer.proven().await);
        assert_eq!(strangers.0.lock().len(), STRANGERS_MAX - 1);
        let begin = tokio::time::Instant::now();
        assert!(!second.await, "it never proved anything");
        assert!(begin.elapsed() <= STRANGER_TIME);
    }

    #[test]
    fn a_connection_that_ends_by_itself_frees_its_place() {
        let strangers = Strangers::default();
        drop(strangers.admit());
        assert!(strangers.0.lock().is_empty());
    }
}
