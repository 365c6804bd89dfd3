//! The applied state: keys and values of the ledger, and the marker of what was applied, in one tree.
//!
//! One call is one batch, whole or not at all. It is not synced by itself: the log can be replayed onto an
//! older state, never the other way, because sled recovers its writes in order.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::key::{MARK_KEY, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, Space};
use crate::record;

/// State records carry no number: they are never acknowledged on their own.
const NO_SEQ: u64 = 0;
const OVERHEAD_BYTES: u64 = 128;

/// One change of the state: a value to store, or `None` to delete the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// At most [`STATE_KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// At most [`STATE_VALUE_BYTES_MAX`] bytes.
    pub value: Option<Vec<u8>>,
}

/// A key of the state and its value.
pub type StatePair = (Vec<u8>, Vec<u8>);

/// Does all of `writes` or none.
pub(crate) fn apply(engine: &Engine, writes: &[StateWrite]) -> Result<(), StorageError> {
    let bytes = size(writes.iter().map(|write| (&write.key, write.value.as_ref())))?;
    engine.admit_upkeep(bytes, || format!("apply {} changes of state", writes.len()))?;
    let mut batch = sled::Batch::default();
    for StateWrite { key, value } in writes {
        match value {
            Some(value) => batch.insert(key.as_slice(), record::seal(Space::State, key, NO_SEQ, value)),
            None => batch.remove(key.as_slice()),
        }
    }
    let _order = engine.state_writes();
    engine.run("apply changes of state", |trees| Ok(trees.tree(Space::State).apply_batch(batch)?))
}

/// All keys and values, in key order.
pub(crate) fn all(engine: &Engine) -> Result<Vec<StatePair>, StorageError> {
    engine.run("read the state", |trees| {
        let mut all = Vec::new();
        for item in trees.tree(Space::State) {
            let (key, bytes) = item?;
            let record = record::open(Space::State, &key, &bytes)?;
            all.push((key.to_vec(), record.payload.to_vec()));
        }
        Ok(all)
    })
}

/// Puts `all` in place of whatever is stored, in one batch. Returns the number to make durable.
pub(crate) fn replace(engine: &Engine, all: &[StatePair]) -> Result<u64, StorageError> {
    let bytes = size(all.iter().map(|(key, value)| (key, Some(value))))?;
    engine.admit_data(bytes, || format!("replace the state by {} keys", all.len()))?;
    let kept: BTreeSet<&[u8]> = all.iter().map(|(key, _)| key.as_slice()).collect();
    let _state_order = engine.state_writes();
    engine.run("replace the state", |trees| {
        let state = trees.tree(Space::State);
        let mut batch = sled::Batch::default();
        for key in state.iter().keys() {
            let key = key?;
            if !kept.contains(key.as_ref()) {
                batch.remove(key);
            }
        }
        for (key, value) in all {
            batch.insert(key.as_slice(), record::seal(Space::State, key, NO_SEQ, value));
        }
        Ok(state.apply_batch(batch)?)
    })?;
    let _order = engine.edges();
    let seq = engine.next_seq();
    let mark = record::seal(Space::Meta, MARK_KEY.as_bytes(), seq, b"state");
    engine.run("mark the replaced state", |trees| {
        trees.tree(Space::Meta).insert(MARK_KEY, mark)?;
        Ok(seq)
    })
}

fn size<'a>(writes: impl Iterator<Item = (&'a Vec<u8>, Option<&'a Vec<u8>>)>) -> Result<u64, StorageError> {
    let mut bytes = 0;
    for (key, value) in writes {
        let value_len = value.map_or(0, Vec::len);
        refuse_large(key, key.len(), STATE_KEY_BYTES_MAX, "key")?;
        refuse_large(key, value_len, STATE_VALUE_BYTES_MAX, "value of")?;
        bytes += (key.len() + value_len) as u64 + OVERHEAD_BYTES;
    }
    Ok(bytes)
}

fn refuse_large(key: &[u8], bytes: usize, limit: usize, part: &str) -> Result<(), StorageError> {
    const SHOWN_BYTES: usize = 64;
    if bytes <= limit {
        return Ok(());
    }
    let shown = &key[..key.len().min(SHOWN_BYTES)];
    Err(StorageError::TooLarge { what: format!("{part} {}", Space::State.describe(shown)), bytes, limit })
}
