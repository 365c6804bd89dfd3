//! Snapshots: one plain file each, with a checksum over all of it, written beside its final name and renamed.
//!
//! Not in sled, which keeps large values in files that it never syncs. The newest is kept, older ones are
//! removed after it is durable. A damaged newest one is an error while the store runs, and set aside when it
//! is opened; there is no falling back to an older state.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::error::StorageError;
use crate::files;

/// The largest snapshot, its meta included: it is read into memory as a whole.
pub const SNAPSHOT_BYTES_MAX: usize = 256 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"erlsnap1";
const SUFFIX: &str = "snap";
const DAMAGED: &str = "damaged";
const TEMPORARY: &str = "writing.tmp";
/// Magic, checksum, three lengths.
const HEADER_BYTES: usize = 8 + 4 + 3 * 8;

/// A snapshot that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Its id, as given.
    pub id: String,
    /// Description of it.
    pub meta: Vec<u8>,
    /// The state itself.
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    writing: Mutex<()>,
}

impl Snapshots {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), writing: Mutex::new(()) }
    }

    /// Writes a snapshot, durably, then removes the older ones.
    pub(crate) fn write(&self, id: &str, meta: &[u8], body: &[u8]) -> Result<(), StorageError> {
        let _one_at_a_time = self.writing.lock();
        let numbers = self.numbers(SUFFIX)?;
        let number = numbers.iter().max().map_or(0, |newest| newest + 1);
        let lengths = [id.len(), meta.len(), body.len()].map(|len| (len as u64).to_be_bytes()).concat();
        let checksum = checksum(&[&lengths, id.as_bytes(), meta, body]);
        let parts = [&MAGIC, &checksum[..], &lengths, id.as_bytes(), meta, body];
        let temporary = self.dir.join(TEMPORARY);
        if let Err(error) = files::write_durably(&self.path(number), &temporary, &parts) {
            // It takes room that the log may need; the next snapshot would overwrite it anyhow.
            fs::remove_file(&temporary).ok();
            return Err(error);
        }
        for old in numbers {
            self.remove(&self.path(old))?;
        }
        files::sync_dir(&self.dir)
    }

    /// The newest snapshot, if there is any.
    pub(crate) fn latest(&self) -> Result<Option<StoredSnapshot>, StorageError> {
        let _not_while_writing = self.writing.lock();
        let Some(newest) = self.numbers(SUFFIX)?.into_iter().max() else { return Ok(None) };
        let path = self.path(newest);
        let size = fs::metadata(&path).map_err(|e| StorageError::io("read", &path, e))?.len();
        if size > (SNAPSHOT_BYTES_MAX + HEADER_BYTES) as u64 {
            return Err(StorageError::corrupt(&path, format!("{size} B is more than a snapshot can have")));
        }
        let bytes = fs::read(&path).map_err(|e| StorageError::io("read", &path, e))?;
        parse(&bytes).map(Some).map_err(|what| StorageError::corrupt(&path, what))
    }

    /// Removes what an interrupted write left.
    pub(crate) fn clean(&self) -> Result<(), StorageError> {
        self.remove(&self.dir.join(TEMPORARY))
    }

    /// Sets a damaged newest snapshot aside, so that there is none and a new one is made from the state.
    /// Older ones go with it: they may end before what was purged since. The last damaged one is kept for
    /// people to look at. The caller has found the rest of the store whole.
    pub(crate) fn set_damaged_aside(&self) -> Result<(), StorageError> {
        let damage = match self.latest() {
            Err(damage @ StorageError::Corrupt { .. }) => damage,
            other => return other.map(drop),
        };
        for old in self.numbers(DAMAGED)? {
            self.remove(&self.path(old).with_extension(DAMAGED))?;
        }
        for number in self.numbers(SUFFIX)? {
            let path = self.path(number);
            fs::rename(&path, path.with_extension(DAMAGED))
                .map_err(|e| StorageError::io("move aside", &path, e))?;
        }
        files::sync_dir(&self.dir)?;
        tracing::warn!(%damage, "a damaged snapshot was set aside: log and state are whole without it");
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.{SUFFIX}"))
    }

    fn numbers(&self, suffix: &str) -> Result<Vec<u64>, StorageError> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| StorageError::io("list", &self.dir, e))? {
            let name = entry.map_err(|e| StorageError::io("list", &self.dir, e))?.file_name();
            let name = name.to_string_lossy();
            let number = name.split_once('.').filter(|(_, end)| *end == suffix);
            numbers.extend(number.and_then(|(number, _)| number.parse::<u64>().ok()));
        }
        Ok(numbers)
    }
}

fn checksum(parts: &[&[u8]]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().to_be_bytes()
}

fn parse(bytes: &[u8]) -> Result<StoredSnapshot, String> {
    let torn = || format!("the snapshot is torn: {} B", bytes.len());
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(torn)?;
    if *magic != MAGIC {
        return Err("it does not begin as a snapshot of this release does".to_owned());
    }
    let (stored, rest) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
    let actual = checksum(&[rest]);
    if *stored != actual {
        return Err(format!("the snapshot has checksum {actual:02x?}, stored {stored:02x?}"));
    }
    let (id_len, rest) = split_length(rest).ok_or_else(torn)?;
    let (meta_len, rest) = split_length(rest).ok_or_else(torn)?;
    let (body_len, rest) = split_length(rest).ok_or_else(torn)?;
    let (id, rest) = rest.split_at_checked(id_len).ok_or_else(torn)?;
    let (meta, body) = rest.split_at_checked(meta_len).ok_or_else(torn)?;
    if body.len() != body_len {
        return Err(torn());
    }
    let id = String::from_utf8(id.to_vec()).map_err(|_| "the snapshot's id is not text".to_owned())?;
    Ok(StoredSnapshot { id, meta: meta.to_vec(), body: body.to_vec() })
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_be_bytes(*length)).ok()?, rest))
}
