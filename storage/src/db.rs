//! The data directory and the sled database in it: create, open, tell whether there is one, move a damaged
//! one aside.
//!
//! ```text
//! <dir>/lock                 flock, names the holder
//! <dir>/store/tip            highest acknowledged number
//! <dir>/store/sled/          sled's own files
//! <dir>/store/sled-start.*/  a copy of the file that sled starts from, and a damaged one
//! <dir>/store/snapshots/     one file each
//! ```
//! `store` appears by one rename when it is complete, so it is there whole or not at all. sled may panic on
//! damaged files; that becomes an error here. Must never make a database where one should have been found.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::clock::wait_until;
use crate::error::StorageError;
use crate::files;
use crate::key::{FORMAT_KEY, Space};
use crate::lock::{DirLock, LOCK_FILE};
use crate::record;
use crate::tip::Tip;

/// The form on disk that this code writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// How long sled's own threads may take to let go of its file after the last use.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Places of things below a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) sled: PathBuf,
    pub(crate) snapshots: PathBuf,
    pub(crate) tip: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self::with_store(dir, "store")
    }

    fn unfinished(dir: &Path) -> Self {
        Self::with_store(dir, UNFINISHED)
    }

    fn with_store(dir: &Path, name: &str) -> Self {
        let store = dir.join(name);
        Self {
            dir: dir.to_path_buf(),
            sled: store.join("sled"),
            snapshots: store.join("snapshots"),
            tip: store.join("tip"),
            store,
        }
    }
}

const UNFINISHED: &str = "store.unfinished";
const SET_ASIDE: &str = "store.corrupt-";

/// The open trees and our own handle on sled's file, the one that is synced.
pub(crate) struct Trees {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    state: sled::Tree,
    pub(crate) file: File,
}

impl Trees {
    /// Opens what is at `layout`, or an empty database if nothing is.
    pub(crate) fn open(layout: &Layout, cache_bytes: u64) -> Result<Self, StorageError> {
        let config = sled::Config::new()
            .path(&layout.sled)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let open = || {
            let db = config.open()?;
            let [log, meta, state] = Space::ALL.map(|space| db.open_tree(space.name()));
            Ok((log?, meta?, state?, db))
        };
        let (log, meta, state, db) = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => opened.map_err(|e| open_error(&layout.dir, e))?,
            Err(panic) => {
                let what = format!("sled cannot read it: {}", panic_text(&*panic));
                return Err(StorageError::corrupt(&layout.dir, what));
            }
        };
        let path = layout.sled.join("db");
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|e| StorageError::io("open", &path, e))?;
        files::sync_dir(&layout.sled)?;
        Ok(Self { db, log, meta, state, file })
    }

    pub(crate) fn tree(&self, space: Space) -> &sled::Tree {
        match space {
            Space::Log => &self.log,
            Space::Meta => &self.meta,
            Space::State => &self.state,
        }
    }

    /// Hands everything sled has buffered to the kernel. No promise against a power cut.
    pub(crate) fn flush(&self) -> Result<(), sled::Error> {
        self.db.flush().map(drop)
    }

    /// Closes sled and waits until its threads have let go of the file, so that it can be opened again.
    pub(crate) fn close(self) {
        let Self { db, log, meta, state, file } = self;
        // sled unwraps an fsync while it is dropped; what matters was synced before.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop((log, meta, state, db))));
        if dropped.is_err() {
            return;
        }
        wait_until(RELEASE_LIMIT, || file.try_lock().is_ok());
    }
}

/// Waits until an open that failed has let go of sled's file.
pub(crate) fn wait_for_release(layout: &Layout) -> Result<(), StorageError> {
    let path = layout.sled.join("db");
    let file = File::open(&path).map_err(|e| StorageError::io("open", &path, e))?;
    if wait_until(RELEASE_LIMIT, || file.try_lock().is_ok()) {
        return Ok(());
    }
    Err(StorageError::io("open again", &path, ErrorKind::ResourceBusy.into()))
}

/// Makes what an earlier process left in the kernel's memory durable and has the disk read anew.
///
/// After a kill, entries that were never synced can still be read, and whoever reads them takes them for
/// durable. After a failed fsync they may even look clean without being on the disk.
pub(crate) fn settle(layout: &Layout) -> Result<(), StorageError> {
    let path = layout.sled.join("db");
    let file = File::open(&path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => StorageError::corrupt(&layout.dir, "sled's file is missing"),
        _ => StorageError::io("open", &path, e),
    })?;
    file.sync_data().map_err(|e| StorageError::io("fsync", &path, e))?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(|e| StorageError::io("read anew", &path, e.into()))
}

/// True if `dir` holds a store, healthy or not.
pub fn exists(dir: &Path) -> bool {
    Layout::new(dir).store.exists()
}

/// Makes a complete, empty store in `dir`, durably. The caller holds the lock.
pub(crate) fn create_files(dir: &Path, cache_bytes: u64) -> Result<(), StorageError> {
    refuse_content(dir)?;
    let layout = Layout::unfinished(dir);
    match fs::remove_dir_all(&layout.store) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(StorageError::io("remove", &layout.store, e));
        }
        _ => {}
    }
    fs::create_dir_all(&layout.snapshots).map_err(|e| StorageError::io("create", &layout.snapshots, e))?;
    Tip::create(&layout.tip)?;
    let trees = Trees::open(&layout, cache_bytes)?;
    let version = record::seal(Space::Meta, FORMAT_KEY.as_bytes(), 1, &FORMAT_VERSION.to_be_bytes());
    let written = trees.meta.insert(FORMAT_KEY, version).and_then(|_| trees.flush());
    trees.close();
    written.map_err(|e| open_error(dir, e))?;
    files::sync_all_in(&layout.store)?;
    let store = Layout::new(dir).store;
    fs::rename(&layout.store, &store).map_err(|e| StorageError::io("rename", &layout.store, e))?;
    files::sync_dir(dir)?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), files::sync_dir)
}

/// Only what an earlier, unfinished creation or a quarantine left may be there.
pub(crate) fn refuse_content(dir: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(dir).map_err(|e| StorageError::io("list", dir, e))? {
        let name = entry.map_err(|e| StorageError::io("list", dir, e))?.file_name();
        let name = name.to_string_lossy().into_owned();
        let is_ours = [LOCK_FILE, UNFINISHED, "lost+found"].contains(&name.as_str());
        if !is_ours && !name.starts_with(SET_ASIDE) {
            return Err(StorageError::NotEmpty { dir: dir.to_path_buf(), found: name });
        }
    }
    Ok(())
}

/// Moves a damaged store out of the way, whole, and returns where it is: `<dir>.corrupt-<unix_ms>`, or
/// inside `dir` as `store.corrupt-<unix_ms>` if `dir` itself cannot be renamed (a mount point).
///
/// # Errors
/// [`StorageError::Missing`] if there is no store, [`StorageError::Locked`] if it is open, or the file
/// system's answer.
pub fn quarantine(dir: &Path, unix_ms: u64) -> Result<PathBuf, StorageError> {
    if !exists(dir) {
        return Err(StorageError::Missing { dir: dir.to_path_buf() });
    }
    let _lock = DirLock::take(dir)?;
    let mut name = dir.as_os_str().to_owned();
    name.push(format!(".corrupt-{unix_ms}"));
    let outside = (dir.to_path_buf(), PathBuf::from(name));
    let inside = (Layout::new(dir).store, dir.join(format!("{SET_ASIDE}{unix_ms}")));
    for (from, to) in [outside, inside] {
        if to.exists() {
            return Err(StorageError::io("move the store to", &to, ErrorKind::AlreadyExists.into()));
        }
        match fs::rename(&from, &to) {
            Ok(()) => {
                to.parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                    .map_or(Ok(()), files::sync_dir)?;
                return Ok(to);
            }
            Err(e) if is_mount_point(&e) => {}
            Err(e) => return Err(StorageError::io("move the store to", &to, e)),
        }
    }
    Err(StorageError::io("move aside", dir, ErrorKind::ResourceBusy.into()))
}

fn is_mount_point(error: &std::io::Error) -> bool {
    use ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// The format version of an open store.
pub(crate) fn check_format(dir: &Path, trees: &Trees) -> Result<(), StorageError> {
    let key = FORMAT_KEY.as_bytes();
    let Some(bytes) = trees.meta.get(key).map_err(|e| open_error(dir, e))? else {
        return Err(StorageError::corrupt(dir, "meta/format is missing, so its content was lost"));
    };
    let record = record::open(Space::Meta, key, &bytes).map_err(|what| StorageError::corrupt(dir, what))?;
    let Ok(version) = record.payload.try_into().map(u32::from_be_bytes) else {
        return Err(StorageError::corrupt(dir, "meta/format is not a version"));
    };
    if version > FORMAT_VERSION {
        let dir = dir.to_path_buf();
        return Err(StorageError::FormatTooNew { dir, found: version, supported: FORMAT_VERSION });
    }
    Ok(())
}

/// Meaning of sled's refusal to read: the system's answer, or damage.
pub(crate) fn open_error(dir: &Path, error: sled::Error) -> StorageError {
    match error {
        sled::Error::Io(e) if e.raw_os_error().is_some() && e.kind() != ErrorKind::NotFound => {
            StorageError::io("read or write", dir, e)
        }
        other => StorageError::corrupt(dir, format!("sled cannot read it: {other}")),
    }
}

/// The message of a caught panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("no message", String::as_str)
}
