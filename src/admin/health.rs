//! Liveness and readiness.
//!
//! Alive: the process answers, whatever the group does. Ready: new clients may be sent here. A node that has
//! lost its leader, or whose leader has lost its majority, goes on serving; it is not ready only once its
//! lease could no longer be renewed.

use std::fmt;

use erlmcp_raft::{ReplicaStatus, Role, View};

use crate::drain::DrainState;

/// One reason not to send new clients to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The node is stopping.
    Stopping,
    /// An operator drains it.
    Draining,
    /// It does not belong to a group yet; why, if it is known.
    Joining(String),
    /// These upstreams have neither answered nor failed once since the node started.
    Upstreams(Vec<String>),
    /// Consensus ended.
    Failed,
    /// No leader was heard of for so many milliseconds; `None`: never since start.
    NoLeader(Option<u64>),
    /// A leader, but no majority has answered it for so many milliseconds; `None`: never since start.
    NoMajority(Option<u64>),
    /// The group has more than this node has applied since it started.
    CatchingUp {
        /// Up to where it has applied the log.
        applied: u64,
        /// Up to where it has to; `None` until a leader has told.
        committed: Option<u64>,
    },
    /// This node has no share of the cluster's connections, so it admits nobody.
    NoShare,
    /// Half of the lease of this node's share has passed without a renewal.
    Unrenewed,
    /// The store takes no writes.
    Store(String),
}

impl NotReady {
    /// Whether the node goes by an operator's order: it still serves those whom it has.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self, NotReady::Stopping | NotReady::Draining)
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Stopping => f.write_str("stopping"),
            NotReady::Draining => f.write_str("draining; `erlmcp-node undrain` takes it back"),
            NotReady::Joining(why) => write!(f, "not a member yet: {why}"),
            NotReady::Upstreams(names) => {
                write!(f, "waits for the first start of upstream {}", names.join(", "))
            }
            NotReady::Failed => f.write_str("consensus has stopped"),
            NotReady::NoLeader(None) => f.write_str("no leader heard of since start"),
            NotReady::NoLeader(Some(ms)) => write!(f, "no leader heard of for {ms} ms"),
            NotReady::NoMajority(None) => f.write_str("no majority has answered the leader since start"),
            NotReady::NoMajority(Some(ms)) => write!(f, "no majority has answered the leader for {ms} ms"),
            NotReady::CatchingUp { applied, committed: None } => {
                write!(f, "no leader has said yet what is committed; this node has {applied} entries")
            }
            NotReady::CatchingUp { applied, committed: Some(committed) } => {
                write!(f, "catching up: {applied} of {committed} entries")
            }
            NotReady::NoShare => f.write_str("no share of the cluster's connections yet"),
            NotReady::Unrenewed => {
                f.write_str("the share of the cluster's connections was not renewed for half of its lease")
            }
            NotReady::Store(why) => write!(f, "store: {why}"),
        }
    }
}

/// Judges readiness from the status of the replica.
#[derive(Clone, Debug)]
pub struct Readiness {
    drain: DrainState,
    /// Half a lease: after that new clients could not be kept.
    silence_ms_max: u64,
}

impl Readiness {
    /// `lease_ms`: how long a share lasts; `None` if for ever. `drain` says whether the node stops.
    #[must_use]
    pub fn new(lease_ms: Option<u64>, drain: DrainState) -> Readiness {
        Readiness { drain, silence_ms_max: lease_ms.map_or(u64::MAX, |lease| lease / 2) }
    }

    /// Every reason why new clients should go elsewhere; empty means ready.
    #[must_use]
    pub fn reasons(&self, status: &ReplicaStatus, view: &View) -> Vec<NotReady> {
        let mut reasons = Vec::new();
        if self.drain.is_stopping() {
            reasons.push(NotReady::Stopping);
        }
        if is_draining(view, status.node) {
            reasons.push(NotReady::Draining);
        }
        let is_listed = view.ledger.members().contains_key(&status.node);
        match status.role {
            Role::Joining => {
                let why = status.join_problem.clone();
                reasons.push(NotReady::Joining(why.unwrap_or_else(|| status.formation.text.clone())));
            }
            Role::Removed | Role::Failed => reasons.push(NotReady::Failed),
            // It leads before the group is founded, and follows before it has read who belongs to it.
            Role::Leader | Role::Follower | Role::Candidate | Role::Learner if !is_listed => {
                reasons.push(NotReady::Joining("the group does not list this node yet".to_owned()));
            }
            Role::Leader | Role::Follower | Role::Candidate | Role::Learner => {
                reasons.extend(self.cut_off(status));
            }
        }
        if !status.store.healthy {
            let why = status.store.problem.clone();
            reasons.push(NotReady::Store(why.unwrap_or_else(|| "takes no writes".to_owned())));
        }
        reasons
    }

    /// Why the group's newest decisions may not be known here, or no new one could be made.
    fn cut_off(&self, status: &ReplicaStatus) -> Option<NotReady> {
        let is_silent = |contact_ms: Option<u64>| contact_ms.is_none_or(|ms| ms > self.silence_ms_max);
        if is_silent(status.leader_contact_ms) {
            Some(NotReady::NoLeader(status.leader_contact_ms))
        } else if is_silent(status.majority_contact_ms) {
            Some(NotReady::NoMajority(status.majority_contact_ms))
        } else if status.committed_at_start.is_none_or(|committed| status.applied < committed) {
            Some(NotReady::CatchingUp { applied: status.applied, committed: status.committed_at_start })
        } else {
            None
        }
    }
}

/// Whether the group says that `node` is drained.
pub(crate) fn is_draining(view: &View, node: u64) -> bool {
    view.ledger.members().get(&node).is_some_and(|member| member.draining)
}
