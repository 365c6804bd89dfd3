//! Shares: the part of the cluster's connections that one node may admit without asking, until its lease
//! ends.
//!
//! Escrow: the sum of all shares stays within the limit, so that nobody has to be asked on the connect path.
//! A share belongs to a session of one process; what an earlier process of the same node was granted is gone
//! with its session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{IdError, Incarnation, NodeId, hexadecimal};

/// The session of a share: the log index of its `Open`, so it only grows.
pub type SessionId = u64;

/// The most renewals in one command: every member once.
pub const RENEWALS_MAX: usize = crate::MEMBERS_MAX;

/// One process: 128 random bits made at its start, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Instance(u128);

impl Instance {
    /// Takes the random bits.
    #[must_use]
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Instance> for String {
    fn from(instance: Instance) -> Self {
        instance.to_string()
    }
}

impl FromStr for Instance {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hexadecimal(text).map(Self).ok_or_else(|| IdError::Instance(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Instance {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

/// An amount of what is shared out. Rates are not shared out yet: `rate` and `burst` stay 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Connections.
    pub connections: u32,
    /// Messages a second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rate: u32,
    /// Messages at once beyond the rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub burst: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Amount {
    /// Connections alone.
    #[must_use]
    pub const fn of_connections(connections: u32) -> Self {
        Self { connections, rate: 0, burst: 0 }
    }
}

/// The share of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its session.
    pub session: SessionId,
    /// Incarnation of the member that opened it.
    pub incarnation: Incarnation,
    /// Process that opened it.
    pub instance: Instance,
    /// Attempt of that process at opening, from 1.
    pub attempt: u32,
    /// Number of the renewal applied last; 0 before the first.
    pub seq: u32,
    /// Granted until the lease ends.
    pub granted: Amount,
    /// In use when it last renewed. Guides the division; no rule of safety reads it.
    pub in_use: Amount,
    /// Wanted in all when it last renewed. Guides the division, as above.
    pub want: Amount,
    /// The most connections that the node says it can ever serve.
    pub ceiling: u32,
    /// Nodes that the node's configuration expects in the cluster.
    pub nodes_expected: u32,
    /// Log index of its last `Open` or `Renew`.
    pub renewed_at: u64,
    /// Length of its lease, in milliseconds: the longer of what the node last accepted and what it was
    /// offered in its last renewal. `None` is for ever.
    pub lease_ms: Option<u32>,
    /// Connections to come down to; ends when the node renews with no more than that.
    pub target: Option<u32>,
    /// Its member was removed: it expires and is never renewed, whoever joins under the id.
    pub orphan: bool,
}

/// Words of a process that opens a session for its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The node.
    pub node: NodeId,
    /// Incarnation of its member.
    pub incarnation: Incarnation,
    /// The process.
    pub instance: Instance,
    /// Number of the attempt of this process, from 1.
    pub attempt: u32,
    /// Session on the node's disk: proof that this process has the lock of the data directory, so that the
    /// process of that session is gone.
    pub previous_session: Option<SessionId>,
    /// The most connections that the node can ever serve.
    pub ceiling: u32,
    /// Nodes that its configuration expects in the cluster.
    pub nodes_expected: u32,
}

/// One node's wish to keep its share: gives back what is above `held`, asks for more up to `want`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The node.
    pub node: NodeId,
    /// Session that it renews.
    pub session: SessionId,
    /// Its number in the session, from 1. One number is never sent with two contents.
    pub seq: u32,
    /// Connections that the node keeps: never less than are open on it.
    pub held: Amount,
    /// In use, at most `held`.
    pub in_use: Amount,
    /// Wanted in all; below `held` says that some of it is not needed.
    pub want: Amount,
    /// The most connections that the node can ever serve.
    pub ceiling: u32,
    /// Lease of the last grant that the node accepted in this session; of its opening before the first.
    pub lease_ms: Option<u32>,
}

/// The answer to an `Open` or a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The session.
    pub session: SessionId,
    /// Number of the renewal that this answers; 0 for an opening.
    pub seq: u32,
    /// The whole share.
    pub share: Amount,
    /// Connections to come down to.
    pub target: Option<u32>,
    /// How long the share lasts from the moment the renewal was sent; `None` is for ever.
    pub lease_ms: Option<u32>,
}

/// The longer of two leases; `None` is for ever.
#[must_use]
pub fn longer_lease(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    Some(one?.max(other?))
}

/// The state key of a share: sorts by number.
pub(crate) fn key(node: NodeId) -> String {
    format!("{KEY}{node:020}")
}

/// Keys of shares begin with this.
pub(crate) const KEY: &str = "share/";
