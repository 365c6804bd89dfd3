//! Failures outside of this program: the disk, its space, its content, or how the store is used.
//!
//! One enum for the crate. A message says what was tried on which thing; nothing here is logged by the one
//! who returns it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A call to the file system failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// Step that failed, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The content on disk is not what was written, or part of it is missing.
    #[error("{path} is damaged: {what}")]
    Corrupt {
        /// The data directory, or the file inside it.
        path: PathBuf,
        /// The record or file, and how it differs.
        what: String,
    },
    /// Another process (or this one) has the directory open.
    #[error("{dir} is in use by {}", holder(*.pid))]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The process that holds it, if the lock file says so.
        pid: Option<u32>,
    },
    /// `open` on a directory that holds no store.
    #[error("{dir} holds no store; create it first")]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// `create` on a directory that holds something.
    #[error("cannot create a store in {dir}: it already holds {found:?}")]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
        /// The first thing found there.
        found: String,
    },
    /// The store was written by a newer release.
    #[error("{dir} has format {found}; this release reads formats up to {supported}, use a newer release")]
    FormatTooNew {
        /// The data directory.
        dir: PathBuf,
        /// The version on disk.
        found: u32,
        /// The newest version this code reads.
        supported: u32,
    },
    /// There is not enough space; nothing was written. Try again when `health` says so.
    #[error("cannot {action}: disk full (free {free_bytes} B, need {needed_bytes} B)")]
    DiskFull {
        /// Step that failed.
        action: String,
        /// Bytes free for this user.
        free_bytes: u64,
        /// Bytes that have to be free, the reserve included.
        needed_bytes: u64,
    },
    /// A record is larger than its limit; nothing was written.
    #[error("cannot store {what}: {bytes} B is over the limit of {limit} B")]
    TooLarge {
        /// Which record.
        what: String,
        /// Its size.
        bytes: usize,
        /// The largest size that is taken.
        limit: usize,
    },
    /// Log entries have to follow each other without a gap.
    #[error("cannot append log entry {index}: the next index is {expected}")]
    OutOfOrder {
        /// The index given.
        index: u64,
        /// The index that fits.
        expected: u64,
    },
    /// An earlier failure made the store unsafe; it answers nothing until the process is started again.
    #[error("the store failed and has to be restarted: {reason}")]
    Failed {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StorageError {
    /// True if nothing was written and the same call may succeed later, without a restart.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), what: what.into() }
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_thing_and_the_numbers() {
        let full = StorageError::DiskFull {
            action: "append log entry 421107".into(),
            free_bytes: 0,
            needed_bytes: 4096,
        };
        assert_eq!(full.to_string(), "cannot append log entry 421107: disk full (free 0 B, need 4096 B)");
        assert!(full.is_retryable());
        let locked = StorageError::Locked { dir: "/d".into(), pid: Some(7) };
        assert_eq!(locked.to_string(), "/d is in use by process 7");
        let locked = StorageError::Locked { dir: "/d".into(), pid: None };
        assert_eq!(locked.to_string(), "/d is in use by another process");
        assert!(!locked.is_retryable());
    }
}
