//! The store as its users see it: open or create a directory, then read and write; cheap to clone.
//!
//! Every method blocks for as long as memory and, when the commit queue is full, the disk take. Waiting for
//! durability is done by callback. Must never answer from a store that has failed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::commit::Committer;
use crate::condition::StoreHealth;
use crate::db::{Layout, create_files, exists, refuse_content, settle};
use crate::engine::{Engine, Opened};
use crate::error::StorageError;
use crate::faults::Faults;
use crate::key::MetaKey;
use crate::lock::DirLock;
use crate::log::LogBounds;
use crate::snapshot::{SNAPSHOT_BYTES_MAX, StoredSnapshot};
use crate::space::{Room, size_on_disk};
use crate::state::{StatePair, StateWrite};
use crate::tip::Tip;
use crate::{log, meta, recover, state};

/// Called once on the commit thread, when what it belongs to is durable or can never be. Must not block, and
/// must not write to the store: its queue may be full, and this is the thread that empties it.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// How to run a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// sled's cache in bytes.
    pub cache_bytes: u64,
    /// Bytes that new entries leave free on the disk. Half of it has to be free to open the store at all.
    pub min_free_bytes: u64,
    /// Test double for the disk; [`Faults::none`] outside of tests.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, min_free_bytes: 64 * 1024 * 1024, faults: Faults::none() }
    }
}

/// How long making the store durable took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FsyncStats {
    /// How often it was done.
    pub count: u64,
    /// The last time.
    pub last_micros: u64,
    /// The longest.
    pub max_micros: u64,
}

/// The durable store of one node. Clones share it; it closes with the last one.
#[derive(Clone)]
pub struct Store(Arc<Running>);

struct Running {
    engine: Arc<Engine>,
    committer: Option<Committer>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// True if `dir` holds a store, healthy or not.
    pub fn exists(dir: &Path) -> bool {
        exists(dir)
    }

    /// Makes a store in `dir`, which must not exist or be empty, and opens it.
    ///
    /// # Errors
    /// [`StorageError::NotEmpty`], [`StorageError::Locked`], [`StorageError::DiskFull`] or
    /// [`StorageError::Io`].
    pub fn create(dir: &Path, options: Options) -> Result<Self, StorageError> {
        fs::create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))?;
        refuse_content(dir)?;
        let lock = DirLock::take(dir)?;
        check_room(dir, &options)?;
        create_files(dir, options.cache_bytes)?;
        Self::open_locked(dir, options, lock)
    }

    /// Opens the store in `dir` and reads all of it once.
    ///
    /// # Errors
    /// [`StorageError::Missing`] if there is none, [`StorageError::Locked`] if it is open,
    /// [`StorageError::DiskFull`] if it could not be opened safely, [`StorageError::FormatTooNew`], and
    /// [`StorageError::Corrupt`] if anything that was acknowledged is damaged or gone. A corrupt store is
    /// left as it is; see [`quarantine`](crate::quarantine). A damaged snapshot alone is set aside: the log
    /// and the state are whole without it.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StorageError> {
        if !exists(dir) {
            return Err(StorageError::Missing { dir: dir.to_path_buf() });
        }
        let lock = DirLock::take(dir)?;
        check_room(dir, &options)?;
        Self::open_locked(dir, options, lock)
    }

    fn open_locked(dir: &Path, options: Options, lock: DirLock) -> Result<Self, StorageError> {
        let layout = Layout::new(dir);
        let (tip, acknowledged) = Tip::open(&layout.tip)?;
        settle(&layout)?;
        let (trees, scan) = recover::open_checked(&layout, options.cache_bytes, acknowledged)?;
        let room = Room::new(dir, options.min_free_bytes, options.faults.clone());
        let last_seq = scan.last_seq;
        let faults = options.faults;
        let opened = Opened { layout, trees, edges: scan.edges, tip, last_seq, lock, room, faults };
        let engine = Arc::new(Engine::new(opened));
        let (committer, thread) = Committer::start(Arc::clone(&engine))?;
        Ok(Self(Arc::new(Running { engine, committer: Some(committer), thread: Mutex::new(Some(thread)) })))
    }

    /// The indexes of the log.
    pub fn log_bounds(&self) -> LogBounds {
        self.0.engine.edges().bounds()
    }

    /// Adds entries of at most [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX) to the end of the log. They can be
    /// read when this returns; `done` is called when they are durable.
    ///
    /// # Errors
    /// With an error, nothing was written and `done` is never called. [`StorageError::DiskFull`] is worth
    /// another try.
    pub fn append(&self, entries: Vec<(u64, Vec<u8>)>, done: Done) -> Result<(), StorageError> {
        let seq = log::append(&self.0.engine, &entries)?;
        self.commit(seq, done)
    }

    /// The entries from `from` up to but without `to_excluded`, as far as they are stored.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if a record is damaged.
    pub fn read(&self, from: u64, to_excluded: u64) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        log::read(&self.0.engine, from, to_excluded)
    }

    /// Deletes `index` and all after it; `done` is called when that is durable.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn truncate_from(&self, index: u64, done: Done) -> Result<(), StorageError> {
        let seq = log::truncate_from(&self.0.engine, index)?;
        self.commit(seq, done)
    }

    /// Deletes `index` and all before it. They are gone to readers at once and from the disk a little later.
    /// A crash may bring them back, so write [`MetaKey::Purged`] first.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] if not even the reserve is left.
    pub fn purge_to(&self, index: u64) -> Result<(), StorageError> {
        if log::purge_to(&self.0.engine, index)? {
            self.committer()?.purge()?;
        }
        Ok(())
    }

    /// Stores a small value of at most [`META_BYTES_MAX`](crate::META_BYTES_MAX); `done` is called when it is
    /// durable.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn put_meta(&self, key: MetaKey, value: Vec<u8>, done: Done) -> Result<(), StorageError> {
        let seq = meta::put(&self.0.engine, key, &value)?;
        self.commit(seq, done)
    }

    /// The value last stored under `key`.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if the record is damaged.
    pub fn meta(&self, key: MetaKey) -> Result<Option<Vec<u8>>, StorageError> {
        meta::value(&self.0.engine, key)
    }

    /// Does all of `writes` or none. Not durable by itself: after a crash the state may be an older one,
    /// whole.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] for a key or value over its limit, [`StorageError::DiskFull`].
    pub fn apply(&self, writes: Vec<StateWrite>) -> Result<(), StorageError> {
        state::apply(&self.0.engine, &writes)
    }

    /// All keys and values of the state, in key order.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if a record is damaged.
    pub fn state(&self) -> Result<Vec<StatePair>, StorageError> {
        state::all(&self.0.engine)
    }

    /// Puts `all` in place of the state, at once; `done` is called when that is durable.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn replace_state(&self, all: Vec<StatePair>, done: Done) -> Result<(), StorageError> {
        let seq = state::replace(&self.0.engine, &all)?;
        self.commit(seq, done)
    }

    /// Writes a snapshot, durable when this returns, and removes the older ones. Blocks for as long as the
    /// disk takes.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`], or [`StorageError::DiskFull`]; then the older snapshot is still there.
    pub fn write_snapshot(&self, id: &str, meta: &[u8], body: &[u8]) -> Result<(), StorageError> {
        let engine = &self.0.engine;
        let bytes = id.len() + meta.len() + body.len();
        let action = || format!("write snapshot {id}");
        if bytes > SNAPSHOT_BYTES_MAX {
            let what = format!("snapshot {id}");
            return Err(StorageError::TooLarge { what, bytes, limit: SNAPSHOT_BYTES_MAX });
        }
        engine.admit_data(bytes as u64, action)?;
        engine.snapshots.write(id, meta, body).map_err(|error| match &error {
            StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                let shortage = engine.room.shortage_for_data(bytes as u64).ok().flatten();
                shortage.map_or_else(|| error.clone(), |shortage| shortage.error(action()))
            }
            _ => engine.condition.fail(&error.to_string()),
        })
    }

    /// The newest snapshot.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] with the file if its checksum does not fit.
    pub fn latest_snapshot(&self) -> Result<Option<StoredSnapshot>, StorageError> {
        self.0.engine.refuse_failed()?;
        self.0.engine.snapshots.latest()
    }

    /// Bytes of disk the store takes, snapshots included.
    pub fn size_on_disk(&self) -> u64 {
        size_on_disk(&self.0.engine.layout.store)
    }

    /// How the store is now; asks the disk for its free space.
    pub fn health(&self) -> StoreHealth {
        self.0.engine.health()
    }

    /// Has `listener` called with each turn to [`StoreHealth::DiskFull`] or [`StoreHealth::Failed`], on the
    /// thread that notices, before the callbacks that fail with it. Called at once if the store has failed
    /// already.
    pub fn on_failure(&self, listener: Box<dyn Fn(&StoreHealth) + Send + Sync>) {
        self.0.engine.condition.listen(listener);
    }

    /// How long it took to make the store durable.
    pub fn fsync_micros(&self) -> FsyncStats {
        self.0.committer.as_ref().map_or_else(FsyncStats::default, Committer::fsync_micros)
    }

    /// Completes what is queued, makes all of it durable and lets go of the directory, for all clones.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if the store had failed or could not be made durable.
    pub fn close(self) -> Result<(), StorageError> {
        if let Some(committer) = &self.0.committer {
            committer.stop();
        }
        self.0.join();
        self.0.engine.refuse_failed()
    }

    /// For tests that stop halfway.
    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn commit(&self, seq: u64, done: Done) -> Result<(), StorageError> {
        self.committer()?.commit(seq, done)
    }

    fn committer(&self) -> Result<&Committer, StorageError> {
        self.0.committer.as_ref().ok_or(StorageError::Closed)
    }
}

impl Running {
    /// Waits for the commit thread, unless this is it.
    fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panic in there is in the condition.
            thread.join().ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.committer = None;
        self.join();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.0.engine.layout.dir).finish_non_exhaustive()
    }
}

/// A full disk cannot even be read back: sled writes while it opens.
fn check_room(dir: &Path, options: &Options) -> Result<(), StorageError> {
    let room = Room::new(dir, options.min_free_bytes, options.faults.clone());
    match room.shortage_for_upkeep(0)? {
        Some(shortage) => Err(shortage.error(format!("open the store in {}", dir.display()))),
        None => Ok(()),
    }
}
