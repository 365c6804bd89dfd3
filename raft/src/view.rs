//! A view: the newest state of the ledger on this node.
//!
//! Watched as a level: who looks late sees the newest, and nobody has to see every step.

use std::sync::Arc;

use erlmcp_ledger::Ledger;

/// The newest ledger that this node has applied.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The state.
    pub ledger: Arc<Ledger>,
    /// Index of the last log entry in it.
    pub applied: u64,
    /// Entries about shares applied since the start of this process, from 0.
    pub share_entries: u64,
}
