//! The exclusive lock on a data directory: `flock` on its `lock` file, which names the holder.
//!
//! The kernel drops the lock with its process, so a killed node leaves nothing to clean up; the number in the
//! file is for the error message only and proves nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::error::StorageError;

/// The file inside the data directory.
pub(crate) const LOCK_FILE: &str = "lock";

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock of `dir`, which has to exist.
    pub(crate) fn take(dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::Locked { dir: dir.to_path_buf(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(StorageError::io("lock", &path, error)),
        }
        write_pid(&mut file, &path)?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    const PID_BYTES_MAX: u64 = 16;
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A full disk must not keep a node from starting to say that it is full, so only other errors count.
fn write_pid(file: &mut File, path: &Path) -> Result<(), StorageError> {
    let write = |file: &mut File| {
        file.rewind()?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    match write(file) {
        Err(e) if e.kind() != std::io::ErrorKind::StorageFull => Err(StorageError::io("write", path, e)),
        _ => Ok(()),
    }
}
