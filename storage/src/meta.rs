//! Small named values: the vote and a few log ids. Written under the edges' lock, so that numbers grow as
//! writes do.

use crate::engine::Engine;
use crate::error::StorageError;
use crate::key::{META_BYTES_MAX, MetaKey, Space};
use crate::record;

/// Bytes that a value costs beside its own.
const OVERHEAD_BYTES: u64 = 256;

/// Stores `value` under `key`. Returns the number to make durable.
pub(crate) fn put(engine: &Engine, key: MetaKey, value: &[u8]) -> Result<u64, StorageError> {
    let name = key.name();
    if value.len() > META_BYTES_MAX {
        let what = format!("meta/{name}");
        return Err(StorageError::TooLarge { what, bytes: value.len(), limit: META_BYTES_MAX });
    }
    engine.admit_upkeep(value.len() as u64 + OVERHEAD_BYTES, || format!("store meta/{name}"))?;
    let _order = engine.edges();
    let seq = engine.next_seq();
    let value = record::seal(Space::Meta, name.as_bytes(), seq, value);
    engine.run("store a meta value", |trees| {
        trees.tree(Space::Meta).insert(name, value)?;
        Ok(seq)
    })
}

/// The value under `key`.
pub(crate) fn value(engine: &Engine, key: MetaKey) -> Result<Option<Vec<u8>>, StorageError> {
    engine.run("read a meta value", |trees| {
        let Some(bytes) = trees.tree(Space::Meta).get(key.name())? else { return Ok(None) };
        let record = record::open(Space::Meta, key.name().as_bytes(), &bytes)?;
        Ok(Some(record.payload.to_vec()))
    })
}
