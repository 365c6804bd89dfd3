//! The scan at start: reads and checks every record and the newest snapshot before the store is used.
//!
//! sled notices a flipped bit only when it happens to read it, and drops a damaged tail in silence. So all of
//! it is read, the log has to be without gaps, and the highest number has to be at least what was
//! acknowledged. Repairs nothing; a snapshot that is damaged while all else is whole is set aside.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::db::{Layout, Trees, panic_text};
use crate::engine::Trouble;
use crate::error::StorageError;
use crate::key::{FLOOR_KEY, Space, split_log_key};
use crate::log::{Edges, Reader};
use crate::record;
use crate::snapshot::Snapshots;

/// Findings of the scan.
pub(crate) struct Scan {
    pub(crate) edges: Edges,
    pub(crate) last_seq: u64,
}

/// Reads everything. `acknowledged` is the number up to which nothing may be missing.
pub(crate) fn scan(layout: &Layout, trees: &Trees, acknowledged: u64) -> Result<Scan, StorageError> {
    let damaged = |what: String| StorageError::corrupt(&layout.dir, what);
    let found = match catch_unwind(AssertUnwindSafe(|| scan_trees(trees))) {
        Ok(Ok(found)) => found,
        Ok(Err(Trouble::Record(what))) => return Err(damaged(what)),
        Ok(Err(Trouble::Sled(error))) => return Err(crate::db::open_error(&layout.dir, error)),
        Err(panic) => return Err(damaged(format!("sled cannot read it: {}", panic_text(&*panic)))),
    };
    if found.last_seq < acknowledged {
        let lost =
            format!("changes {} to {acknowledged} were acknowledged and are missing", found.last_seq + 1);
        return Err(damaged(lost));
    }
    let snapshots = Snapshots::new(&layout.snapshots);
    snapshots.clean()?;
    snapshots.set_damaged_aside()?;
    Ok(found)
}

fn scan_trees(trees: &Trees) -> Result<Scan, Trouble> {
    let mut last_seq = 0;
    let mut floor = None;
    each(trees, Space::Meta, |key, bytes| {
        let record = record::open(Space::Meta, key, bytes)?;
        last_seq = last_seq.max(record.seq);
        if key == FLOOR_KEY.as_bytes() {
            let value =
                record.payload.try_into().map_err(|_| "record meta/floor is not an index".to_owned())?;
            floor = Some(u64::from_be_bytes(value));
        }
        Ok(())
    })?;
    let first = floor.map_or(0, |floor: u64| floor.saturating_add(1));
    let mut reader = Reader::checking(first);
    each(trees, Space::Log, |key, bytes| {
        let is_leftover = split_log_key(key).is_some_and(|(index, _)| index < first);
        let seq =
            if is_leftover { record::open(Space::Log, key, bytes)?.seq } else { reader.take(key, bytes)? };
        last_seq = last_seq.max(seq);
        Ok(())
    })?;
    let next = reader.finish(None)?;
    each(trees, Space::State, |key, bytes| record::open(Space::State, key, bytes).map(drop))?;
    Ok(Scan { edges: Edges { floor, last: (next > first).then(|| next - 1), cuts: 0 }, last_seq })
}

/// Calls `check` for each record; an error of sled itself gets the last key that was readable.
fn each(
    trees: &Trees,
    space: Space,
    mut check: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<(), Trouble> {
    let mut last: Option<sled::IVec> = None;
    for item in trees.tree(space) {
        let (key, bytes) = item.map_err(|error| match (error, &last) {
            (sled::Error::Io(error), _) => Trouble::Sled(sled::Error::Io(error)),
            (error, None) => {
                Trouble::Record(format!("the first record of {} is unreadable: {error}", space.name()))
            }
            (error, Some(last)) => {
                Trouble::Record(format!("the record after {} is unreadable: {error}", space.describe(last)))
            }
        })?;
        check(&key, &bytes)?;
        last = Some(key);
    }
    Ok(())
}
