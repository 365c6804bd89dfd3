//! Counters of this node: connections, messages, latencies.
//!
//! Recording is on the path of every message: a few relaxed atomic adds in a shard of the thread, never a
//! lock, never an allocation.

mod histogram;
mod rates;
mod recorder;

pub use histogram::Histogram;
pub use rates::Rates;
pub use recorder::{OpenConnection, Recorder, Totals};
