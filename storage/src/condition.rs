//! How the store feels: healthy, out of room, or failed for good; and who has to hear of it.
//!
//! Failing is final. After a failed fsync the kernel may have dropped the pages that it could not write, so a
//! second try that succeeds proves nothing: the store answers nothing more and the node has to end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::StorageError;
use crate::space::Shortage;

/// Condition of the store: what it can do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// Everything.
    Healthy,
    /// Reads; new entries are refused until there is room. Clears by itself.
    DiskFull {
        /// Bytes free for this user.
        free_bytes: u64,
        /// Bytes that have to be free.
        needed_bytes: u64,
    },
    /// Nothing, until the process is started again.
    Failed {
        /// The first failure.
        reason: Arc<str>,
    },
}

/// Called with each turn to [`StoreHealth::DiskFull`] or [`StoreHealth::Failed`].
pub(crate) type Listener = Box<dyn Fn(&StoreHealth) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Condition {
    failed: OnceLock<Arc<str>>,
    /// Bytes that the last refused write needed; 0 while nothing is refused.
    needed_bytes: AtomicU64,
    listeners: Mutex<Vec<Listener>>,
}

impl Condition {
    /// The final state, once it is reached.
    pub(crate) fn failure(&self) -> Option<StorageError> {
        self.failed.get().map(|reason| StorageError::Failed { reason: Arc::clone(reason) })
    }

    /// Fails for good. The first reason stays; returns the error that every call answers from now on.
    pub(crate) fn fail(&self, reason: &str) -> StorageError {
        let mut is_first = false;
        let reason = self.failed.get_or_init(|| {
            is_first = true;
            Arc::from(reason)
        });
        if is_first {
            self.tell(&StoreHealth::Failed { reason: Arc::clone(reason) });
        }
        StorageError::Failed { reason: Arc::clone(reason) }
    }

    /// Takes note of a shortage, or of its end. Listeners hear of its beginning.
    pub(crate) fn note_room(&self, shortage: Option<Shortage>) {
        let needed_bytes = shortage.map_or(0, |shortage| shortage.needed_bytes);
        let was_full = self.needed_bytes.swap(needed_bytes, Ordering::SeqCst) > 0;
        if let (false, Some(Shortage { free_bytes, needed_bytes })) = (was_full, shortage) {
            self.tell(&StoreHealth::DiskFull { free_bytes, needed_bytes });
        }
    }

    /// Bytes that the last refused write needed: who was refused is welcome again when that much is free.
    pub(crate) fn needed_bytes(&self) -> u64 {
        self.needed_bytes.load(Ordering::SeqCst)
    }

    /// Adds a listener; it hears at once of a failure that was before.
    pub(crate) fn listen(&self, listener: Listener) {
        let mut listeners = self.listeners.lock();
        if let Some(reason) = self.failed.get() {
            listener(&StoreHealth::Failed { reason: Arc::clone(reason) });
        }
        listeners.push(listener);
    }

    fn tell(&self, health: &StoreHealth) {
        for listener in self.listeners.lock().iter() {
            listener(health);
        }
    }
}
