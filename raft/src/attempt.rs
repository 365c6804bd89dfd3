//! Outcomes of putting a command to the ledger on one node.
//!
//! A command that is known not to have been written is kept apart from one that may have been: only
//! the first may be tried again.

use erlmcp_ledger::Receipt;
use serde::{Deserialize, Serialize};

/// A receipt with the log index of its command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Index in the log.
    pub index: u64,
    /// Answer of the ledger.
    pub receipt: Receipt,
}

/// How one attempt on this node ended.
#[derive(Clone)]
pub(crate) enum Attempt {
    Committed(Committed),
    /// Not written.
    NotLeader,
    /// Written or not.
    Unknown,
    /// Not written: this node has ended.
    Stopped,
    /// Not written: a member does not read it.
    TooNew {
        /// The form that knows the command.
        version: u32,
        /// The newest that every member reads.
        reads: u32,
    },
    /// Not written.
    TooLarge {
        /// Its size; [`crate::COMMAND_BYTES_MAX`] are allowed.
        bytes: usize,
    },
}
