//! Names and sizes of what is stored: the three trees, their keys, and the limits of each value.
//!
//! Changing anything here changes the form on disk and needs a new format version.
//!
//! sled keeps up to 19 values on one page and moves a page over 128 KiB to a blob file, which it never
//! fsyncs. Every record here is at most [`PART_BYTES`] long, so that no page can get there; larger log
//! entries are stored in parts.

/// The largest log entry in bytes.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024;
/// The largest value of a [`MetaKey`] in bytes.
pub const META_BYTES_MAX: usize = PART_BYTES;
/// The largest key of the state in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// The largest value of the state in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = PART_BYTES;
/// The largest payload of one record: 19 of them, with keys and headers, stay below sled's 128 KiB.
pub(crate) const PART_BYTES: usize = 6_000;
/// Bytes of a log key: the index and the part.
pub(crate) const LOG_KEY_BYTES: usize = 9;

/// The small named values that are durable before they are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaKey {
    /// The vote of this node.
    Vote,
    /// The last log id that was committed when this was written.
    Committed,
    /// The last log id that was purged. Write it before `purge_to`.
    Purged,
    /// The id of the newest snapshot that is in use.
    SnapshotId,
    /// Description of the state beside its keys, such as the last applied log id and the membership.
    StateMeta,
}

impl MetaKey {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Purged => "purged",
            Self::SnapshotId => "snapshot_id",
            Self::StateMeta => "state_meta",
        }
    }
}

/// Meta key of the format version. Its form never changes, so that any release can read it.
pub(crate) const FORMAT_KEY: &str = "format";
/// Meta key of the log's floor: the highest purged index. Keys at or below it are leftovers.
pub(crate) const FLOOR_KEY: &str = "floor";
/// Meta key that a change leaves behind which deletes records only.
pub(crate) const MARK_KEY: &str = "mark";

/// One of the trees. The tag is part of every checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Log,
    Meta,
    State,
}

impl Space {
    pub(crate) const ALL: [Self; 3] = [Self::Log, Self::Meta, Self::State];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Meta => "meta",
            Self::State => "state",
        }
    }

    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Log => b'l',
            Self::Meta => b'm',
            Self::State => b's',
        }
    }

    /// The key as a person reads it: `log/42.0`, `meta/vote`, `state/"tenant/acme"`.
    pub(crate) fn describe(self, key: &[u8]) -> String {
        match (self, split_log_key(key)) {
            (Self::Log, Some((index, part))) => format!("log/{index}.{part}"),
            (Self::Meta, _) => format!("meta/{}", key.escape_ascii()),
            _ => format!("{}/\"{}\"", self.name(), key.escape_ascii()),
        }
    }
}

/// The key of one part of a log entry: big-endian index, then the part, so that keys sort as entries do.
pub(crate) fn log_key(index: u64, part: u8) -> [u8; LOG_KEY_BYTES] {
    let mut key = [0; LOG_KEY_BYTES];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8] = part;
    key
}

/// The index and part of a log key, if it is one.
pub(crate) fn split_log_key(key: &[u8]) -> Option<(u64, u8)> {
    let (index, part) = key.split_first_chunk::<8>()?;
    let [part] = part else { return None };
    Some((u64::from_be_bytes(*index), *part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_keys_sort_as_their_indexes_and_parts() {
        let keys = [log_key(0, 0), log_key(0, 1), log_key(1, 0), log_key(255, 0), log_key(256, 0)];
        assert!(keys.is_sorted());
        assert_eq!(split_log_key(&log_key(u64::MAX, 2)), Some((u64::MAX, 2)));
        assert_eq!(split_log_key(b"short"), None);
    }

    #[test]
    fn a_full_page_of_the_largest_records_stays_out_of_blob_files() {
        const PAGE_VALUES_MAX: usize = 19;
        const BLOB_THRESHOLD: usize = 512 * 1024 / 4 - 20;
        let record = PART_BYTES + STATE_KEY_BYTES_MAX + 64;
        assert!(PAGE_VALUES_MAX * record < BLOB_THRESHOLD);
    }
}
