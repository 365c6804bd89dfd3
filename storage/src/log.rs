//! The log: entries under growing indexes, without gaps, cut at both ends.
//!
//! An entry lies in one record, or in parts if it is large. The floor is the highest purged index: it is
//! stored before the entries below it are deleted, so a purge that a crash interrupts shows nothing half
//! done. Never leaves a gap: entries are appended upwards, truncated from the top down and purged from the
//! bottom up.

use crate::db::Trees;
use crate::engine::{Engine, Trouble};
use crate::error::StorageError;
use crate::key::{
    ENTRY_BYTES_MAX, FLOOR_KEY, LOG_KEY_BYTES, MARK_KEY, PART_BYTES, Space, log_key, split_log_key,
};
use crate::record;

/// Keys in one batch of deletions, which appends have to wait for: about a millisecond of work.
const DELETE_KEYS_MAX: usize = 256;
/// Bytes of an entry in one record; one more tells how many parts follow.
const ENTRY_PART_BYTES: usize = PART_BYTES - 1;
/// Bytes that an entry costs beside its own: keys, headers, pages.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// The lowest and the highest index that is stored. Both are `None` for an empty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogBounds {
    /// The lowest index.
    pub first: Option<u64>,
    /// The highest index.
    pub last: Option<u64>,
}

/// Edges of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Edges {
    /// The highest purged index; keys up to it are leftovers.
    pub(crate) floor: Option<u64>,
    /// The highest index; `None` if there is no entry above the floor.
    pub(crate) last: Option<u64>,
    /// How often something was cut off since the store was opened: who read meanwhile may have missed it.
    pub(crate) cuts: u64,
}

impl Edges {
    pub(crate) fn bounds(&self) -> LogBounds {
        let first = self.last.map(|_| self.first());
        LogBounds { first, last: self.last }
    }

    /// The lowest index that may be stored.
    fn first(&self) -> u64 {
        self.floor.map_or(0, |floor| floor.saturating_add(1))
    }

    fn is_purged(&self, index: u64) -> bool {
        self.floor.is_some_and(|floor| floor >= index)
    }

    /// The index that has to come next; any will do for a log that never held one.
    fn next(&self) -> Option<u64> {
        self.last.or(self.floor).map(|last| last.saturating_add(1))
    }
}

/// Adds `entries`; they can be read at once. Returns the number to make durable.
pub(crate) fn append(engine: &Engine, entries: &[(u64, Vec<u8>)]) -> Result<u64, StorageError> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Ok(0) };
    let mut bytes = 0;
    for (index, entry) in entries {
        if entry.len() > ENTRY_BYTES_MAX {
            let what = format!("log entry {index}");
            return Err(StorageError::TooLarge { what, bytes: entry.len(), limit: ENTRY_BYTES_MAX });
        }
        bytes += entry.len() as u64 + ENTRY_OVERHEAD_BYTES;
    }
    engine.admit_data(bytes, || format!("append log entry {first}"))?;
    let mut edges = engine.edges();
    refuse_gaps(entries, edges.next().unwrap_or(*first))?;
    if edges.next().is_none() && *first > 0 {
        set_floor(engine, first - 1)?;
        edges.floor = Some(first - 1);
    }
    let seq = engine.next_seq();
    let mut batch = sled::Batch::default();
    for (index, entry) in entries {
        for (key, record) in parts(*index, entry, seq) {
            batch.insert(&key, record);
        }
    }
    engine.run("append to the log", |trees| Ok(trees.tree(Space::Log).apply_batch(batch)?))?;
    edges.last = Some(*last);
    Ok(seq)
}

fn refuse_gaps(entries: &[(u64, Vec<u8>)], start: u64) -> Result<(), StorageError> {
    for ((index, _), expected) in entries.iter().zip(start..) {
        if *index != expected {
            return Err(StorageError::OutOfOrder { index: *index, expected });
        }
    }
    Ok(())
}

/// The records of one entry.
fn parts(index: u64, entry: &[u8], seq: u64) -> impl Iterator<Item = ([u8; LOG_KEY_BYTES], Vec<u8>)> {
    let count = entry.len().div_ceil(ENTRY_PART_BYTES).max(1);
    (0..count).map(move |part| {
        let from = part * ENTRY_PART_BYTES;
        let bytes = &entry[from..entry.len().min(from + ENTRY_PART_BYTES)];
        let mut payload = Vec::with_capacity(bytes.len() + 1);
        payload.push(small(count - 1 - part));
        payload.extend_from_slice(bytes);
        let key = log_key(index, small(part));
        (key, record::seal(Space::Log, &key, seq, &payload))
    })
}

/// Parts are few: an entry has at most [`ENTRY_BYTES_MAX`] bytes.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// The entries from `from` up to but without `to_excluded`, as far as they are stored.
pub(crate) fn read(
    engine: &Engine,
    from: u64,
    to_excluded: u64,
) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
    loop {
        let edges = *engine.edges();
        let found =
            engine.run("read the log", |trees| match read_between(trees, edges, from, to_excluded) {
                Err(Trouble::Record(what)) => Ok(Err(what)),
                other => Ok(Ok(other?)),
            })?;
        // The edges are free while records are read, so that appends need not wait. What was cut off in the
        // meantime is no damage, and what took its place may not be mixed with what was there.
        if engine.edges().cuts == edges.cuts {
            return found.map_err(|what| engine.condition.fail(&format!("cannot read the log: {what}")));
        }
    }
}

fn read_between(
    trees: &Trees,
    edges: Edges,
    from: u64,
    to_excluded: u64,
) -> Result<Vec<(u64, Vec<u8>)>, Trouble> {
    let from = from.max(edges.first());
    let to_excluded = to_excluded.min(edges.last.map_or(0, |last| last.saturating_add(1)));
    let mut reader = Reader::new(from);
    if from < to_excluded {
        for item in trees.tree(Space::Log).range(log_key(from, 0)..log_key(to_excluded, 0)) {
            let (key, bytes) = item?;
            reader.take(&key, &bytes)?;
        }
        reader.finish(Some(to_excluded))?;
    }
    Ok(reader.entries)
}

/// Puts entries together from their records, in key order, and finds any that is missing.
#[derive(Default)]
pub(crate) struct Reader {
    entries: Vec<(u64, Vec<u8>)>,
    next: (u64, u8),
    partial: Vec<u8>,
    only_check: bool,
}

impl Reader {
    fn new(from: u64) -> Self {
        Self { next: (from, 0), ..Self::default() }
    }

    /// Keeps no entries.
    pub(crate) fn checking(from: u64) -> Self {
        Self { next: (from, 0), only_check: true, ..Self::default() }
    }

    /// Takes the next record; returns its number.
    pub(crate) fn take(&mut self, key: &[u8], bytes: &[u8]) -> Result<u64, String> {
        let record = record::open(Space::Log, key, bytes)?;
        let Some((left, bytes)) = record.payload.split_first() else {
            return Err(format!("record {} is empty", Space::Log.describe(key)));
        };
        if split_log_key(key) != Some(self.next) {
            let (index, part) = self.next;
            return Err(format!("record log/{index}.{part} is missing before {}", Space::Log.describe(key)));
        }
        let (index, part) = self.next;
        self.partial.extend_from_slice(bytes);
        if *left > 0 {
            self.next = (index, part + 1);
            return Ok(record.seq);
        }
        self.next = (index + 1, 0);
        let entry = std::mem::take(&mut self.partial);
        if !self.only_check {
            self.entries.push((index, entry));
        }
        Ok(record.seq)
    }

    /// The index after the last, which has to be `expected` if that is given.
    pub(crate) fn finish(&self, expected: Option<u64>) -> Result<u64, String> {
        let (index, part) = self.next;
        if part > 0 || expected.is_some_and(|expected| expected != index) {
            return Err(format!("record log/{index}.{part} is missing"));
        }
        Ok(index)
    }
}

/// Deletes `index` and all after it. Returns the number to make durable.
pub(crate) fn truncate_from(engine: &Engine, index: u64) -> Result<u64, StorageError> {
    engine.admit_upkeep(ENTRY_OVERHEAD_BYTES, || format!("truncate the log from {index}"))?;
    let mut edges = engine.edges();
    let index = index.max(edges.first());
    let seq = engine.next_seq();
    engine.run("truncate the log", |trees| {
        // The mark goes first: what is left of the store then never looks older than what was acknowledged.
        let mark = record::seal(Space::Meta, MARK_KEY.as_bytes(), seq, &index.to_be_bytes());
        trees.tree(Space::Meta).insert(MARK_KEY, mark)?;
        while truncate_some(trees, index)? {}
        Ok(())
    })?;
    edges.cuts += 1;
    edges.last = edges.last.map(|last| last.min(index.saturating_sub(1))).filter(|_| index > edges.first());
    Ok(seq)
}

/// Deletes one batch of what is at `index` or above, from the top down. False if nothing is left.
fn truncate_some(trees: &Trees, index: u64) -> Result<bool, Trouble> {
    delete_some(trees, log_key(index, 0).., sled::Iter::next_back)
}

/// Makes `index` and all before it unreadable; [`purge_some`] deletes them later. False if they were already.
pub(crate) fn purge_to(engine: &Engine, index: u64) -> Result<bool, StorageError> {
    engine.refuse_failed()?;
    if engine.edges().is_purged(index) {
        return Ok(false);
    }
    engine.admit_upkeep(ENTRY_OVERHEAD_BYTES, || format!("purge the log to {index}"))?;
    let mut edges = engine.edges();
    if edges.is_purged(index) {
        return Ok(false);
    }
    set_floor(engine, index)?;
    edges.cuts += 1;
    edges.floor = Some(index);
    edges.last = edges.last.filter(|last| *last > index);
    Ok(true)
}

/// The caller holds the edges.
fn set_floor(engine: &Engine, floor: u64) -> Result<(), StorageError> {
    let seq = engine.next_seq();
    let value = record::seal(Space::Meta, FLOOR_KEY.as_bytes(), seq, &floor.to_be_bytes());
    engine.run("move the floor of the log", |trees| {
        trees.tree(Space::Meta).insert(FLOOR_KEY, value)?;
        Ok(())
    })
}

/// Deletes one batch of purged records. False if none are left.
pub(crate) fn purge_some(engine: &Engine) -> Result<bool, StorageError> {
    let Some(floor) = engine.edges().floor else { return Ok(false) };
    engine.admit_upkeep(0, || "purge the log".to_owned())?;
    engine.run("purge the log", |trees| delete_some(trees, ..=log_key(floor, u8::MAX), sled::Iter::next))
}

/// Deletes up to [`DELETE_KEYS_MAX`] keys of `range` in one batch, in the order in which `step` finds them.
fn delete_some<R, S>(trees: &Trees, range: R, step: S) -> Result<bool, Trouble>
where
    R: std::ops::RangeBounds<[u8; LOG_KEY_BYTES]>,
    S: Fn(&mut sled::Iter) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
{
    let log = trees.tree(Space::Log);
    let mut found = log.range(range);
    let mut batch = sled::Batch::default();
    let mut keys = 0;
    while keys < DELETE_KEYS_MAX
        && let Some(item) = step(&mut found)
    {
        batch.remove(item?.0);
        keys += 1;
    }
    if keys > 0 {
        log.apply_batch(batch)?;
    }
    Ok(keys == DELETE_KEYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record;
    use crate::{Options, Store};

    #[test]
    fn a_truncation_that_stops_halfway_leaves_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { min_free_bytes: 0, ..Options::default() };
        let store = Store::create(dir.path(), options.clone()).unwrap();
        let entries = (0..2_000).map(|index| (index, vec![1; 7])).collect();
        store.append(entries, Box::new(|_| {})).unwrap();
        let has_more = store.engine().run("truncate", |trees| truncate_some(trees, 100));
        assert!(has_more.unwrap());
        store.close().unwrap();
        let store = Store::open(dir.path(), options).unwrap();
        let last = store.log_bounds().last.unwrap();
        assert!((100..1_999).contains(&last), "{last}");
    }

    #[test]
    fn an_entry_is_put_together_from_its_parts_and_no_part_may_be_missing() {
        for len in [0, 1, ENTRY_PART_BYTES, ENTRY_PART_BYTES + 1, 2 * ENTRY_PART_BYTES, ENTRY_BYTES_MAX] {
            let entry: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let records: Vec<_> = parts(5, &entry, 1).collect();
            let mut reader = Reader::new(5);
            for (key, record) in &records {
                assert!(record.len() <= PART_BYTES + record::HEADER_BYTES);
                reader.take(key, record).unwrap();
            }
            assert_eq!(reader.finish(Some(6)), Ok(6));
            assert_eq!(reader.entries, vec![(5, entry)]);
            for missing in 0..records.len() {
                let mut reader = Reader::new(5);
                let mut rest = records.iter().enumerate().filter(|(at, _)| *at != missing);
                let taken = rest.try_for_each(|(_, (key, record))| reader.take(key, record).map(drop));
                assert!(taken.and_then(|()| reader.finish(Some(6)).map(drop)).is_err());
            }
        }
    }
}
