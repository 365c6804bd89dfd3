//! The durable store of one node: its log, votes, applied state and snapshots, over sled.
//!
//! sled gives ordered trees and atomic batches, but no promise against power loss, so this crate adds its own
//! `fdatasync`, checksums, a tripwire for lost tails and plain snapshot files. It is the only crate that
//! names sled. It knows nothing of Raft and has no async: whoever calls it brings both. It must never start
//! empty in silence.

mod check;
mod clock;
mod commit;
mod condition;
mod db;
#[cfg(test)]
mod durable_tests;
mod engine;
mod error;
mod faults;
mod files;
mod key;
mod lock;
mod log;
mod meta;
mod record;
mod recover;
mod snapshot;
mod space;
mod state;
mod store;
mod tip;

pub use condition::StoreHealth;
pub use db::{exists, quarantine};
pub use error::StorageError;
pub use faults::Faults;
pub use key::{ENTRY_BYTES_MAX, META_BYTES_MAX, MetaKey, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};
pub use log::LogBounds;
pub use snapshot::{SNAPSHOT_BYTES_MAX, StoredSnapshot};
pub use state::{StatePair, StateWrite};
pub use store::{Done, FsyncStats, Options, Store};
