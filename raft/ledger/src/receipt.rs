//! Receipts: the answer to a command, the same on every node.
//!
//! A refusal is a typed value, because it is expected: the one who asked decides what to tell the user.

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId, Tenant};
use crate::share::{Grant, SessionId};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// The state is now as wished, whether or not this command changed it.
    Done,
    /// The state did not change.
    Refused(Reason),
    /// A session was opened, or was open already.
    Granted(Grant),
    /// Answer to each renewal of the command, in its order.
    Renewed(Vec<Result<Grant, Reason>>),
}

impl Receipt {
    /// The refusal, if it is one.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn into_result(self) -> Result<(), Reason> {
        match self {
            Self::Done | Self::Granted(_) | Self::Renewed(_) => Ok(()),
            Self::Refused(reason) => Err(reason),
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    /// Nothing can be recorded before the group is founded.
    #[error("the group is not founded yet")]
    NotFounded,
    /// Founded already, as another cluster or by another node.
    #[error("the group is founded already, as cluster {cluster_id}")]
    Founded {
        /// The cluster id on record.
        cluster_id: String,
    },
    /// No member has this id.
    #[error("node {node} is not a member")]
    NotAMember {
        /// The id asked for.
        node: NodeId,
    },
    /// A member with this id and another data directory exists.
    #[error("node {node} is a member with another data directory (incarnation {known})")]
    OtherIncarnation {
        /// The id asked for.
        node: NodeId,
        /// The incarnation on record.
        known: Incarnation,
    },
    /// The node says it was a member, and it is not: it was removed.
    #[error("node {node} was removed from the group")]
    Removed {
        /// The id asked for.
        node: NodeId,
    },
    /// Removing a node needs it drained, or the operator's word that it is dead.
    #[error("node {node} is neither drained nor declared dead")]
    NotDrained {
        /// The id asked for.
        node: NodeId,
    },
    /// The last member cannot go.
    #[error("node {node} is the last member")]
    LastMember {
        /// The id asked for.
        node: NodeId,
    },
    /// A number or text is out of its range.
    #[error("{problem}")]
    OutOfRange {
        /// Condition that must hold.
        problem: String,
    },
    /// A tenant's number may not exceed the cluster's.
    #[error("tenant {tenant} would be above the cluster's {what} of {whole}")]
    AboveCluster {
        /// Owner of the number.
        tenant: Tenant,
        /// Which number.
        what: String,
        /// The cluster's number.
        whole: u32,
    },
    /// A list is full.
    #[error("there are {max} {what} already")]
    Full {
        /// Which list.
        what: String,
        /// Its bound.
        max: u64,
    },
    /// Another process of the node may still serve connections under its share.
    #[error("node {node} has an open share (session {session}): it is free again when its lease has ended")]
    Busy {
        /// The node.
        node: NodeId,
        /// The session on record.
        session: SessionId,
    },
    /// The session is over.
    #[error("node {node} has no share of that session; on record is session {session}")]
    StaleSession {
        /// The node.
        node: NodeId,
        /// The session on record; 0 if there is none.
        session: SessionId,
    },
    /// A renewal as late or later was applied before.
    #[error("node {node} has renewed as number {seq} already")]
    StaleSeq {
        /// The node.
        node: NodeId,
        /// Number of the renewal on record.
        seq: u32,
    },
    /// The share was renewed since its expiry was decided.
    #[error("node {node} has renewed its share at log index {renewed_at}")]
    Renewed {
        /// The node.
        node: NodeId,
        /// Log index of its last renewal.
        renewed_at: u64,
    },
    /// A share without an end cannot be taken from a node that may still serve.
    #[error(
        "node {node} holds {connections} connections under a lease that never ends; if it runs, drain and \
         stop it first; if it is certain that it no longer runs: erlmcp-node remove --id {node} --dead --now"
    )]
    ShareHeld {
        /// The node.
        node: NodeId,
        /// Connections granted to it.
        connections: u32,
    },
}
