//! Types that openraft is given: commands, receipts and nodes.
//!
//! One leader a term (`leader_id_std`). A node in the membership carries its incarnation, so that a vote
//! meant for a node that lost its data never reaches its successor under the same id; and the address it
//! joined with, as a hint for the time before the ledger can be read. Later addresses are in the ledger.

use crate::node_tag::NodeTag;
use erlmcp_ledger::{Command, Incarnation, MEMBERS_MAX, NodeId, Receipt};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The types of this system.
    pub(crate) TypeConfig:
        D = Command,
        R = Receipt,
        NodeId = u64,
        Node = MemberNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

/// A node as the membership of the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct MemberNode {
    /// Address that it had when it joined.
    pub peer_address: String,
    /// The incarnation of its data directory.
    pub incarnation: Incarnation,
}

impl MemberNode {
    /// With its id.
    pub(crate) fn tag(&self, id: NodeId) -> NodeTag {
        NodeTag { id, incarnation: self.incarnation }
    }
}

/// The largest command in JSON; the rest of a log entry's 16 KiB is for the log id around it.
pub const COMMAND_BYTES_MAX: usize = 15 * 1024;

// A membership entry names every member once and has to fit into a log entry.
const _: () = assert!(MEMBERS_MAX * 230 < COMMAND_BYTES_MAX);

pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Vec<u8>>;
