//! Errors of this crate: something outside failed, or an operator's request cannot be met.
//!
//! Each says what was tried on which thing. Nothing here is logged where it is made.

use crate::peer_error::PeerError;
use std::path::PathBuf;
use std::time::Duration;

use erlmcp_ledger::{LedgerError, NodeId, Reason};
use erlmcp_storage::StorageError;

/// Why a replica cannot start, run or stop.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// The cluster secret file.
    #[error("cluster secret {}: {problem}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Reason.
        problem: String,
    },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The identity file.
    #[error("identity {}: {problem}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Reason.
        problem: String,
    },
    /// The directory belongs to another node or cluster.
    #[error("{} belongs to {found}, not to {wanted}; a directory is never shared or copied", dir.display())]
    OtherIdentity {
        /// The data directory.
        dir: PathBuf,
        /// Its owner.
        found: String,
        /// Node that asked.
        wanted: String,
    },
    /// The store is empty although the node has voted: starting could make it vote twice.
    #[error(
        "{} has lost its store, but node {node} has voted before; starting empty could break the group. \
         On another node run `erlmcp-node remove --id {node} --dead`, then move the directory away and run \
         `erlmcp-node init --id {node}` here",
        dir.display()
    )]
    StoreLost {
        /// The data directory.
        dir: PathBuf,
        /// The node.
        node: NodeId,
    },
    /// The node was removed from its group.
    #[error("node {node} was removed from the group; run `erlmcp-node init --id {node}` to join anew")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StorageError),
    /// The state in the store is not readable.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The peer listener.
    #[error("peer listener: {0}")]
    Listener(std::io::Error),
    /// A setting is out of its range.
    #[error("raft settings: {0}")]
    Settings(String),
    /// The consensus core stopped.
    #[error("consensus stopped: {0}")]
    Core(String),
}

/// Why a command has no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: no leader was found in time. Safe to repeat.
    #[error("no leader within {} ms; nothing was written", waited.as_millis())]
    NoLeader {
        /// How long was waited.
        waited: Duration,
    },
    /// Proposed, and then no answer came: it may or may not be written. Repeat only what is safe to do twice.
    #[error("no answer within {} ms; the write may or may not have happened", waited.as_millis())]
    Unknown {
        /// How long was waited.
        waited: Duration,
    },
    /// The command is larger than a log entry may be.
    #[error("the command has {bytes} bytes; at most {max} fit into a log entry")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A member of an older release does not read the command, and would refuse every entry after it.
    #[error(
        "the command needs form {version}, and the oldest member reads up to {reads}; update every member \
         first"
    )]
    TooNew {
        /// The form that knows the command.
        version: u32,
        /// The newest that every member reads.
        reads: u32,
    },
    /// The leader refused to talk to this node, or does not understand it.
    #[error("the leader refused: {0}")]
    Peer(#[from] PeerError),
    /// This replica is stopping or has failed.
    #[error("this node is stopping")]
    Stopped,
}

/// Why an operator's request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The ledger refused.
    #[error("{0}")]
    Refused(#[from] Reason),
    /// The command did not reach a decision.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The node does not vote, so it cannot lead.
    #[error("node {node} does not vote, so it cannot lead; voters are {voters:?}")]
    NotAVoter {
        /// The node asked for.
        node: NodeId,
        /// Nodes that vote.
        voters: Vec<NodeId>,
    },
    /// There is no other voter to take over.
    #[error("there is no other healthy voter to take over")]
    NoSuccessor,
    /// Too few voters answer: nothing can be decided.
    #[error(
        "nothing was done: of the voters {voters:?}, {silent:?} do not answer, so the group can decide \
         nothing; start or reconnect {} of them, then repeat this",
        silent.len().saturating_sub(voters.len().saturating_sub(1) / 2)
    )]
    NoMajority {
        /// Nodes that vote, or would vote then.
        voters: Vec<NodeId>,
        /// Those of them that are silent.
        silent: Vec<NodeId>,
    },
    /// Begun, and not finished within the time allowed.
    #[error("{what} was begun and has not finished within {} ms", waited.as_millis())]
    NotYet {
        /// Change that was begun.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
}
