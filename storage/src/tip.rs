//! The tripwire for a lost tail: a small file with the highest sequence number that was acknowledged.
//!
//! sled takes a damaged tail for a torn write and drops it in silence, acknowledged records and all. This
//! file is written after each `fdatasync` of the store and never fsynced itself: it may lag behind after a
//! power cut, but it never runs ahead. A store whose highest number is below it has lost something.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::files;

/// Two slots, written in turn, each in its own sector: a torn write leaves the other.
const SLOT_BYTES: usize = 512;
const SLOTS: usize = 2;
const MARK_BYTES: usize = 12;

#[derive(Debug)]
pub(crate) struct Tip {
    file: File,
    path: PathBuf,
    turn: usize,
    highest: u64,
}

impl Tip {
    /// Makes the file of a new store, with nothing acknowledged.
    pub(crate) fn create(path: &Path) -> Result<(), StorageError> {
        let mut slots = [0; SLOT_BYTES * SLOTS];
        slots[..MARK_BYTES].copy_from_slice(&mark(0));
        slots[SLOT_BYTES..][..MARK_BYTES].copy_from_slice(&mark(0));
        files::write_durably(path, &path.with_extension("tmp"), &[&slots])
    }

    /// The file and the highest number that was acknowledged.
    pub(crate) fn open(path: &Path) -> Result<(Self, u64), StorageError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => StorageError::corrupt(path, "the file is missing"),
            _ => StorageError::io("open", path, e),
        })?;
        let mut acknowledged = None;
        for slot in 0..SLOTS {
            let mut bytes = [0; MARK_BYTES];
            let read = file.read_exact_at(&mut bytes, (slot * SLOT_BYTES) as u64);
            if read.is_ok() {
                acknowledged = acknowledged.max(read_mark(bytes));
            }
        }
        let Some(acknowledged) = acknowledged else {
            return Err(StorageError::corrupt(path, "no slot has a valid checksum"));
        };
        Ok((Self { file, path: path.to_path_buf(), turn: 0, highest: acknowledged }, acknowledged))
    }

    /// Notes that everything up to `seq` is durable. Never goes back.
    pub(crate) fn advance(&mut self, seq: u64) -> Result<(), StorageError> {
        if seq <= self.highest {
            return Ok(());
        }
        self.highest = seq;
        self.turn = (self.turn + 1) % SLOTS;
        let at = (self.turn * SLOT_BYTES) as u64;
        self.file.write_all_at(&mark(seq), at).map_err(|e| StorageError::io("write", &self.path, e))
    }
}

fn mark(seq: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    bytes[8..].copy_from_slice(&crc32fast::hash(&seq.to_be_bytes()).to_be_bytes());
    bytes
}

fn read_mark(bytes: [u8; MARK_BYTES]) -> Option<u64> {
    let seq = u64::from_be_bytes(*bytes.first_chunk()?);
    (bytes == mark(seq)).then_some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_valid_slot_wins_and_a_torn_one_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tip");
        Tip::create(&path).unwrap();
        let (mut tip, acknowledged) = Tip::open(&path).unwrap();
        assert_eq!(acknowledged, 0);
        for seq in [41, 42, 0, 7, 42] {
            tip.advance(seq).unwrap();
        }
        assert_eq!(Tip::open(&path).unwrap().1, 42);
        tip.file.write_all_at(&[0xff], 3).unwrap();
        assert_eq!(Tip::open(&path).unwrap().1, 41);
        tip.file.write_all_at(&[0xff], SLOT_BYTES as u64).unwrap();
        let error = Tip::open(&path).unwrap_err();
        assert!(error.to_string().contains("no slot has a valid checksum"), "{error}");
    }
}
