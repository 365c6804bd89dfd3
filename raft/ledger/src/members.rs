//! Members: which nodes belong to the group, and where they are.
//!
//! A member is a node and an incarnation together: the same id with another incarnation is a stranger. Who
//! votes is not written here; that follows from this list and is openraft's to keep.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId};

/// The most members of a group: all of them have to fit into one log entry of 16 KiB.
pub const MEMBERS_MAX: usize = 64;

/// The longest address or name of a member, in bytes; bounded by the log entry that names all members.
const TEXT_BYTES_MAX: usize = 128;

/// Description that a node gives of itself when it joins or moves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberClaim {
    /// Address at which other members reach it, `host:port`.
    pub peer_address: String,
    /// Address at which clients and operators reach it, `host:port`.
    pub http_address: String,
    /// The incarnation of its data directory.
    pub incarnation: Incarnation,
    /// A name for people; may be empty.
    #[serde(default)]
    pub name: String,
    /// The newest form of commands that it reads, see [`crate::VERSION`].
    #[serde(default = "first_version", skip_serializing_if = "is_first")]
    pub reads: u32,
}

/// Version of commands that every release reads.
const fn first_version() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first(version: &u32) -> bool {
    *version == first_version()
}

impl MemberClaim {
    /// The first thing wrong with the claim, in words.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if !is_text(&self.peer_address) || self.peer_address.is_empty() {
            return Some("peer_address must have 1 to 128 printable characters");
        }
        if !is_text(&self.http_address) {
            return Some("http_address must have at most 128 printable characters");
        }
        if !is_text(&self.name) {
            return Some("name must have at most 128 printable characters");
        }
        None
    }
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

/// A member as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Address at which other members reach it, `host:port`.
    pub peer_address: String,
    /// Address at which clients and operators reach it, `host:port`.
    pub http_address: String,
    /// The incarnation of its data directory.
    pub incarnation: Incarnation,
    /// An operator asked it to hand over its work.
    pub draining: bool,
    /// A name for people; may be empty.
    pub name: String,
    /// Log index at which it became a member.
    pub joined_at: u64,
    /// The newest form of commands that it reads.
    #[serde(default = "first_version", skip_serializing_if = "is_first")]
    pub reads: u32,
}

impl MemberRecord {
    /// The record of a new member.
    pub(crate) fn new(claim: &MemberClaim, index: u64) -> Self {
        Self {
            peer_address: claim.peer_address.clone(),
            http_address: claim.http_address.clone(),
            incarnation: claim.incarnation,
            draining: false,
            name: claim.name.clone(),
            joined_at: index,
            reads: claim.reads,
        }
    }

    /// The record after the same member moved; keeps the drain flag and the join index.
    pub(crate) fn moved(&self, claim: &MemberClaim) -> Self {
        Self { draining: self.draining, joined_at: self.joined_at, ..Self::new(claim, self.joined_at) }
    }

    /// Whether the claim says nothing new.
    #[must_use]
    pub fn matches(&self, claim: &MemberClaim) -> bool {
        self.moved(claim) == *self
    }
}

impl fmt::Display for MemberRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} incarnation {}", self.peer_address, self.incarnation)
    }
}

/// The state key of a member: sorts by number.
pub(crate) fn key(node: NodeId) -> String {
    format!("member/{node:020}")
}
