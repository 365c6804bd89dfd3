//! How much room the disk has, and how much of it the store takes.
//!
//! sled cannot survive a full disk: one failed write and it answers nothing more. So the store asks here
//! before each write and refuses while there is less than a reserve. Never caches an answer.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::faults::Faults;

/// Deepest directory that is counted; the store itself is four deep.
const DEPTH_MAX: usize = 8;
const BLOCK_BYTES: u64 = 512;

/// The disk under the store and the reserve that stays free on it.
#[derive(Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    reserve_bytes: u64,
    faults: Faults,
}

/// Bytes that are free and that would have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) free_bytes: u64,
    pub(crate) needed_bytes: u64,
}

impl Room {
    pub(crate) fn new(dir: &Path, reserve_bytes: u64, faults: Faults) -> Self {
        Self { dir: dir.to_path_buf(), reserve_bytes, faults }
    }

    /// Room for new data: the whole reserve stays free.
    pub(crate) fn shortage_for_data(&self, bytes: u64) -> Result<Option<Shortage>, StorageError> {
        self.shortage(self.reserve_bytes.saturating_add(bytes))
    }

    /// Room for what finishes or undoes work that was accepted (state, votes, purges): may use half of the
    /// reserve.
    pub(crate) fn shortage_for_upkeep(&self, bytes: u64) -> Result<Option<Shortage>, StorageError> {
        self.shortage((self.reserve_bytes / 2).saturating_add(bytes))
    }

    /// Room for the reserve and for whoever was refused last, who needs `refused_bytes` to be free.
    pub(crate) fn shortage_for_all(&self, refused_bytes: u64) -> Result<Option<Shortage>, StorageError> {
        self.shortage(self.reserve_bytes.max(refused_bytes))
    }

    fn shortage(&self, needed_bytes: u64) -> Result<Option<Shortage>, StorageError> {
        let free_bytes = self.free_bytes()?;
        Ok((free_bytes < needed_bytes).then_some(Shortage { free_bytes, needed_bytes }))
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        if let Some(bytes) = self.faults.free_bytes() {
            return Ok(bytes);
        }
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|e| StorageError::io("ask for the free space of", &self.dir, e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl Shortage {
    pub(crate) fn error(self, action: impl Into<String>) -> StorageError {
        let Self { free_bytes, needed_bytes } = self;
        StorageError::DiskFull { action: action.into(), free_bytes, needed_bytes }
    }
}

/// Bytes of disk that `path` and all below it take. What vanishes meanwhile counts as nothing.
pub(crate) fn size_on_disk(path: &Path) -> u64 {
    size_to_depth(path, DEPTH_MAX)
}

fn size_to_depth(path: &Path, depth: usize) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    let own = about.blocks().saturating_mul(BLOCK_BYTES);
    if !about.is_dir() || depth == 0 {
        return own;
    }
    let Ok(entries) = fs::read_dir(path) else { return own };
    entries.flatten().map(|entry| size_to_depth(&entry.path(), depth - 1)).fold(own, u64::saturating_add)
}
