//! State that every caller and the commit thread share: the open trees, the edges of the log, the numbers,
//! the condition.
//!
//! All use of sled goes through [`Engine::run`], so that an error or a panic inside sled makes the store fail
//! once and for ever. No lock is held while a caller's callback runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::condition::{Condition, StoreHealth};
use crate::db::{Layout, Trees, panic_text};
use crate::error::StorageError;
use crate::faults::Faults;
use crate::lock::DirLock;
use crate::log::Edges;
use crate::snapshot::Snapshots;
use crate::space::{Room, Shortage};
use crate::tip::Tip;

/// Why work inside the trees stopped.
pub(crate) enum Trouble {
    /// sled said no; it answers nothing more after that.
    Sled(sled::Error),
    /// A record is not what was stored.
    Record(String),
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Record(what)
    }
}

pub(crate) struct Engine {
    pub(crate) layout: Layout,
    pub(crate) condition: Condition,
    pub(crate) room: Room,
    pub(crate) faults: Faults,
    pub(crate) snapshots: Snapshots,
    /// `None` after close.
    trees: RwLock<Option<Trees>>,
    edges: Mutex<Edges>,
    /// Held while state is written, so that a replacement sees all the keys that it has to delete.
    state_writes: Mutex<()>,
    tip: Mutex<Tip>,
    seq: AtomicU64,
    lock: Mutex<Option<DirLock>>,
}

/// Findings of opening a store.
pub(crate) struct Opened {
    pub(crate) layout: Layout,
    pub(crate) trees: Trees,
    pub(crate) edges: Edges,
    pub(crate) tip: Tip,
    pub(crate) last_seq: u64,
    pub(crate) lock: DirLock,
    pub(crate) room: Room,
    pub(crate) faults: Faults,
}

impl Engine {
    pub(crate) fn new(opened: Opened) -> Self {
        let Opened { layout, trees, edges, tip, last_seq, lock, room, faults } = opened;
        Self {
            snapshots: Snapshots::new(&layout.snapshots),
            layout,
            condition: Condition::default(),
            room,
            faults,
            trees: RwLock::new(Some(trees)),
            edges: Mutex::new(edges),
            state_writes: Mutex::new(()),
            tip: Mutex::new(tip),
            seq: AtomicU64::new(last_seq + 1),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// Runs `work` on the trees. Whatever goes wrong in there is final.
    pub(crate) fn run<T>(
        &self,
        action: &str,
        work: impl FnOnce(&Trees) -> Result<T, Trouble>,
    ) -> Result<T, StorageError> {
        self.refuse_failed()?;
        let outcome = {
            let trees = self.trees.read();
            let Some(trees) = trees.as_ref() else { return Err(StorageError::Closed) };
            catch_unwind(AssertUnwindSafe(|| work(trees)))
        };
        let reason = match outcome {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Trouble::Sled(error))) => format!("cannot {action}: {error}"),
            Ok(Err(Trouble::Record(what))) => format!("cannot {action}: {what}"),
            Err(panic) => format!("cannot {action}: sled panicked: {}", panic_text(&*panic)),
        };
        Err(self.condition.fail(&reason))
    }

    /// Has `file` synced in place of sled's file.
    #[cfg(test)]
    pub(crate) fn sync_instead(&self, file: std::fs::File) {
        if let Some(trees) = self.trees.write().as_mut() {
            trees.file = file;
        }
    }

    pub(crate) fn refuse_failed(&self) -> Result<(), StorageError> {
        self.condition.failure().map_or(Ok(()), Err)
    }

    /// A number above all others, for the next change.
    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn edges(&self) -> MutexGuard<'_, Edges> {
        self.edges.lock()
    }

    pub(crate) fn state_writes(&self) -> MutexGuard<'_, ()> {
        self.state_writes.lock()
    }

    /// Refuses new data of `bytes` while the disk is too full for it.
    pub(crate) fn admit_data(&self, bytes: u64, action: impl FnOnce() -> String) -> Result<(), StorageError> {
        self.refuse_failed()?;
        self.admit(self.room.shortage_for_data(bytes)?, action)?;
        if self.condition.needed_bytes() > 0 {
            // There may be room again; whoever listens has to hear when it ends once more.
            self.health();
        }
        Ok(())
    }

    /// Refuses upkeep of `bytes` while the disk is too full even for that.
    pub(crate) fn admit_upkeep(
        &self,
        bytes: u64,
        action: impl FnOnce() -> String,
    ) -> Result<(), StorageError> {
        self.refuse_failed()?;
        self.admit(self.room.shortage_for_upkeep(bytes)?, action)
    }

    fn admit(&self, shortage: Option<Shortage>, action: impl FnOnce() -> String) -> Result<(), StorageError> {
        let Some(shortage) = shortage else { return Ok(()) };
        self.condition.note_room(Some(shortage));
        Err(shortage.error(action()))
    }

    /// How the store feels now; asks the disk.
    pub(crate) fn health(&self) -> StoreHealth {
        if let Some(StorageError::Failed { reason }) = self.condition.failure() {
            return StoreHealth::Failed { reason };
        }
        let shortage = match self.room.shortage_for_all(self.condition.needed_bytes()) {
            Ok(shortage) => shortage,
            Err(error) => {
                self.condition.fail(&error.to_string());
                return self.health();
            }
        };
        self.condition.note_room(shortage);
        match shortage {
            Some(Shortage { free_bytes, needed_bytes }) => StoreHealth::DiskFull { free_bytes, needed_bytes },
            None => StoreHealth::Healthy,
        }
    }

    /// Makes everything up to now durable. Any error is final.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.run("write out the store", |trees| {
            self.faults.before_flush().map_err(sled::Error::Io)?;
            Ok(trees.flush()?)
        })?;
        self.run("fsync the store", |trees| {
            self.faults.before_sync().and_then(|()| trees.file.sync_data()).map_err(sled::Error::Io)?;
            Ok(())
        })
    }

    /// Notes that everything up to `seq` may be acknowledged.
    pub(crate) fn advance_tip(&self, seq: u64) -> Result<(), StorageError> {
        let mut tip = self.tip.lock();
        tip.advance(seq).map_err(|error| self.condition.fail(&error.to_string()))
    }

    /// Lets go of sled's file and of the directory. Every later call answers [`StorageError::Closed`].
    pub(crate) fn close(&self) {
        let trees = self.trees.write().take();
        if let Some(trees) = trees {
            trees.close();
        }
        self.lock.lock().take();
    }
}
