//! Commands: changes put to the ledger.
//!
//! A command names the state wanted rather than a step, so saying it twice is harmless: a write that timed
//! out may be repeated. A new command is a new variant, raises
//! [`crate::VERSION`], and is put only when every member reads it ([`crate::Ledger::reads`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId, Tenant};
use crate::limits::{Budget, Limits};
use crate::members::MemberClaim;
use crate::share::{Opening, Renewal, SessionId};
use crate::wire::LedgerError;

/// A change put to the ledger.
///
/// The derived form is the bare command; the traits of serde put its version around it, see
/// [`crate::VERSION`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Opens the ledger: the cluster's id, its first member and the numbers to begin with.
    Found {
        /// The cluster's lasting id.
        cluster_id: String,
        /// The founder.
        node: NodeId,
        /// Description that the founder gives of itself.
        claim: MemberClaim,
        /// The first limits.
        limits: Limits,
        /// The first budget.
        budget: Budget,
    },
    /// Adds a member, or records that it moved.
    PutMember {
        /// Its id.
        node: NodeId,
        /// Description that it gives of itself.
        claim: MemberClaim,
        /// It has been a member before; if the ledger does not know it, it was removed.
        returning: bool,
    },
    /// Takes a member out. Needs it drained, or `dead` as the operator's word.
    RemoveMember {
        /// Its id.
        node: NodeId,
        /// The incarnation that is meant: a newer one that joined meanwhile stays. `None` is whichever is
        /// there, as releases before this one wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
        /// The operator's word that the node will never come back with its data.
        dead: bool,
        /// The operator's word, with `dead`, that it no longer runs: a share without an end goes at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        now: bool,
    },
    /// Asks a member to hand over its work, or takes that back.
    SetDraining {
        /// Its id.
        node: NodeId,
        /// The flag.
        draining: bool,
    },
    /// Sets the cluster's slots, or a tenant's; a tenant's `None` takes its own limit away.
    SetLimit {
        /// Tenant whose limit it is; `None` is the cluster.
        tenant: Option<Tenant>,
        /// Slots.
        connections: Option<u32>,
    },
    /// Sets the terms of leases.
    SetLease {
        /// How long a share lasts, in milliseconds; `None` means it never ends.
        lease_ms: Option<u32>,
        /// Clock drift allowed for, in parts per million.
        drift_ppm: u32,
        /// Extra wait before expiry, in milliseconds.
        margin_ms: u32,
    },
    /// Sets the cluster's rate, or a tenant's; a tenant's `None` takes its own budget away.
    SetBudget {
        /// Tenant whose budget it is; `None` is the cluster.
        tenant: Option<Tenant>,
        /// Rate and burst.
        budget: Option<Budget>,
    },
    /// Opens a session of a node's share. It grants nothing: the first renewal does.
    Open(Opening),
    /// Renews shares, at most [`crate::RENEWALS_MAX`] of them.
    Renew {
        /// One a node.
        renewals: Vec<Renewal>,
    },
    /// Ends a share that was not renewed in time.
    Expire {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
        /// Log index of its last renewal: one that came meanwhile wins.
        renewed_at: u64,
    },
    /// Asks nodes to come down to so many connections, or takes that back.
    SetTargets {
        /// Connections by node.
        targets: BTreeMap<NodeId, Option<u32>>,
    },
}

impl Command {
    /// A short name, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Found { .. } => "found",
            Self::PutMember { .. } => "put_member",
            Self::RemoveMember { .. } => "remove_member",
            Self::SetDraining { .. } => "set_draining",
            Self::SetLimit { .. } => "set_limit",
            Self::SetLease { .. } => "set_lease",
            Self::SetBudget { .. } => "set_budget",
            Self::Open(_) => "open",
            Self::Renew { .. } => "renew",
            Self::Expire { .. } => "expire",
            Self::SetTargets { .. } => "set_targets",
        }
    }

    /// Whether nodes write it by themselves as they come and go and are used, without an order of anyone.
    #[must_use]
    pub const fn is_about_shares(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Renew { .. } | Self::Expire { .. } | Self::SetTargets { .. })
    }

    /// The lowest form that knows this command. It is written in that form, so that members of an older
    /// release follow a newer leader for as long as nobody asks for what they do not know.
    #[must_use]
    pub const fn version(&self) -> u32 {
        match self {
            Self::RemoveMember { now: true, .. }
            | Self::Open(_)
            | Self::Renew { .. }
            | Self::Expire { .. }
            | Self::SetTargets { .. } => 2,
            Self::Found { .. }
            | Self::PutMember { .. }
            | Self::RemoveMember { .. }
            | Self::SetDraining { .. }
            | Self::SetLimit { .. }
            | Self::SetLease { .. }
            | Self::SetBudget { .. } => 1,
        }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`LedgerError`] when it is malformed or from a newer release.
    pub fn from_json(bytes: &[u8]) -> Result<Self, LedgerError> {
        crate::wire::command_from_json(bytes)
    }

    /// The JSON form, with its version.
    ///
    /// # Errors
    /// [`LedgerError`] never for a command made by this release.
    pub fn to_json(&self) -> Result<Vec<u8>, LedgerError> {
        crate::wire::command_to_json(self)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
