//! Plain files that survive a power cut: write, fsync, rename, fsync of the directory.
//!
//! Nothing here retries an fsync.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::error::StorageError;

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| StorageError::io("fsync", dir, e))?;
    #[cfg(test)]
    journal::note(dir);
    Ok(())
}

/// Makes the content of every file in `dir`, and their names, durable. Goes down into directories.
pub(crate) fn sync_all_in(dir: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(dir).map_err(|e| StorageError::io("list", dir, e))? {
        let path = entry.map_err(|e| StorageError::io("list", dir, e))?.path();
        if path.is_dir() {
            sync_all_in(&path)?;
        } else {
            sync_dir(&path)?;
        }
    }
    sync_dir(dir)
}

/// Puts `parts`, one after the other, into the file `path`, by way of `temporary` beside it: all or nothing.
pub(crate) fn write_durably(path: &Path, temporary: &Path, parts: &[&[u8]]) -> Result<(), StorageError> {
    let write = || {
        let mut file = File::create(temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    };
    write().map_err(|e| StorageError::io("write", temporary, e))?;
    fs::rename(temporary, path).map_err(|e| StorageError::io("rename", temporary, e))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Which names this thread has made durable, for tests that ask whether a caller forgot to.
#[cfg(test)]
pub(crate) mod journal {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    thread_local! {
        static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(path: &Path) {
        SYNCED.with_borrow_mut(|synced| synced.push(path.to_path_buf()));
    }

    /// Paths made durable since they were last asked for, in order.
    pub(crate) fn take() -> Vec<PathBuf> {
        SYNCED.take()
    }
}
