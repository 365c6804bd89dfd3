//! Receipts: the answer to a command, the same on every node.
//!
//! A refusal is a typed value, because it is expected: the one who asked decides what to tell the user.

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId, Tenant};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// The state is now as wished, whether or not this command changed it.
    Done,
    /// The state did not change.
    Refused(Reason),
}

impl Receipt {
    /// The refusal, if it is one.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn into_result(self) -> Result<(), Reason> {
        match self {
            Self::Done => Ok(()),
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
}
