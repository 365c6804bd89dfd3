//! The cluster as this node knows it: the value behind `/cluster/status` and its parts.
//!
//! Local and applied state, never a consensus round: `applied`, `leader` and `lag` say how far it can be
//! trusted.

use std::sync::{Arc, Mutex, PoisonError};

use erlmcp_raft::{PeerStatus, ReplicaHandle, ReplicaStatus, Role, View};
use serde::Serialize;

use super::health::{NotReady, Readiness, is_draining};
use crate::clock::Clock;
use crate::monitor::{Percentiles, Rates, Recorder, Totals};

/// Everything that a status is made from.
pub struct StatusSource {
    /// This node's part in the group.
    pub replica: ReplicaHandle,
    /// What this node does.
    pub recorder: Arc<Recorder>,
    /// Messages, sampled once a second by [`StatusSource::sample`].
    pub rates: Mutex<Rates>,
    /// Whether new clients may come.
    pub readiness: Readiness,
    /// The clock.
    pub clock: Clock,
    /// The name that the configuration gives the cluster.
    pub cluster_name: String,
    /// Where clients reach this node.
    pub http_address: String,
    /// Where members reach this node.
    pub peer_address: String,
    /// Connections that this node takes at most.
    pub connections_max: u64,
    /// Calendar time of the start, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Monotonic time of the start, in milliseconds.
    pub started_ms: u64,
    /// How each upstream is, from the upstreams themselves.
    pub upstreams: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The upstreams that were not tried to the end yet.
    pub untried_upstreams: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// For how long after the start they are waited for, in milliseconds.
    pub upstreams_wait_ms: u64,
}

/// `GET /cluster/status`.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names; docs/configuration and the CLI explain them")]
pub struct Status {
    pub cluster: ClusterPart,
    pub node: NodePart,
    pub leader: Option<u64>,
    pub term: u64,
    pub applied: u64,
    pub committed: u64,
    pub lag: u64,
    pub members: Vec<Member>,
    pub connections: Connections,
    pub serving: Serving,
    pub throughput: Throughput,
    pub latency: Percentiles,
    pub quota: Quota,
    pub store: erlmcp_raft::StoreStatus,
    pub peer_port: erlmcp_raft::TurnedAway,
    pub upstreams: serde_json::Value,
    /// Reasons not to be ready; the same as `node.not_ready_because`, and `ok` if there is none.
    pub health: String,
}

/// The group.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct ClusterPart {
    pub id: String,
    pub name: String,
    pub formation: String,
    pub health: &'static str,
}

/// The node that answers.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct NodePart {
    pub id: u64,
    pub role: Role,
    pub ready: bool,
    pub not_ready_because: Vec<String>,
    pub version: &'static str,
    pub uptime_s: u64,
    pub started_at_unix_ms: u64,
}

/// One member of the group.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct Member {
    pub id: u64,
    pub role: &'static str,
    pub state: &'static str,
    pub draining: bool,
    pub peer: String,
    pub http: String,
    pub healthy: Option<bool>,
    pub lag: Option<u64>,
    pub last_contact_ms: Option<u64>,
}

/// Connections of clients.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct Connections {
    pub here: u64,
    pub limit_here: u64,
    pub cluster_limit: u64,
    pub total_here: u64,
}

/// What clients have on this node; a drained node is empty once both are 0.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct Serving {
    pub sessions: u64,
    pub calls: u64,
}

/// Messages of clients on this node.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct Throughput {
    pub messages_total: u64,
    pub messages_in: u64,
    pub messages_out: u64,
    pub faults: u64,
    pub messages_per_second_1s: f64,
    pub messages_per_second_10s: f64,
    pub messages_per_second_1m: f64,
}

/// The limits that the ledger holds.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the wire names")]
pub struct Quota {
    pub connections: u64,
    pub messages_per_second: u64,
    pub burst: u64,
}

impl StatusSource {
    /// Notes the totals for the rates; once a second.
    pub fn sample(&self) {
        let totals = self.recorder.totals();
        let now = self.clock.monotonic_ms();
        self.rates().sample(now, totals.messages_in + totals.messages_out);
    }

    /// Why new clients should go elsewhere; empty means ready. Probes ask only this.
    #[must_use]
    pub fn not_ready_because(&self) -> Vec<NotReady> {
        self.reasons(&self.replica.status(), &self.replica.view().borrow().clone())
    }

    fn reasons(&self, replica: &ReplicaStatus, view: &View) -> Vec<NotReady> {
        let mut reasons = self.readiness.reasons(replica, view);
        if self.clock.monotonic_ms() - self.started_ms < self.upstreams_wait_ms {
            let untried = (self.untried_upstreams)();
            if !untried.is_empty() {
                reasons.push(NotReady::Upstreams(untried));
            }
        }
        reasons
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let replica = self.replica.status();
        let view = self.replica.view().borrow().clone();
        let draining = is_draining(&view, replica.node);
        let reasons = self.reasons(&replica, &view);
        let not_ready_because: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let totals = self.recorder.totals();
        let limits = view.ledger.limits();
        let budget = view.ledger.budget();
        Status {
            cluster: ClusterPart {
                id: replica.cluster_id.clone(),
                name: self.cluster_name.clone(),
                formation: replica.formation.text.clone(),
                health: health(&replica),
            },
            node: NodePart {
                id: replica.node,
                role: replica.role,
                ready: not_ready_because.is_empty(),
                version: env!("CARGO_PKG_VERSION"),
                uptime_s: (self.clock.monotonic_ms() - self.started_ms) / 1000,
                started_at_unix_ms: self.started_unix_ms,
                not_ready_because: not_ready_because.clone(),
            },
            leader: replica.leader,
            term: replica.term,
            applied: replica.applied,
            committed: replica.committed,
            lag: replica.lag,
            members: self.members(&replica, draining),
            connections: Connections {
                here: totals.connections,
                limit_here: self.connections_max,
                cluster_limit: limits.connections.into(),
                total_here: totals.connections_total,
            },
            serving: Serving { sessions: totals.sessions, calls: totals.calls },
            throughput: self.throughput(totals),
            latency: self.recorder.latency(),
            quota: Quota {
                connections: limits.connections.into(),
                messages_per_second: budget.messages_per_second.into(),
                burst: budget.burst.into(),
            },
            store: replica.store.clone(),
            peer_port: replica.turned_away,
            upstreams: (self.upstreams)(),
            health: if not_ready_because.is_empty() { "ok".to_owned() } else { not_ready_because.join("; ") },
        }
    }

    fn throughput(&self, totals: Totals) -> Throughput {
        let rates = self.rates();
        Throughput {
            messages_total: totals.messages_in + totals.messages_out,
            messages_in: totals.messages_in,
            messages_out: totals.messages_out,
            faults: totals.faults,
            messages_per_second_1s: rates.per_second(1),
            messages_per_second_10s: rates.per_second(10),
            messages_per_second_1m: rates.per_second(60),
        }
    }

    fn members(&self, replica: &ReplicaStatus, draining: bool) -> Vec<Member> {
        let own = Member {
            id: replica.node,
            role: if replica.voters.contains(&replica.node) { "voter" } else { "learner" },
            state: own_state(replica.role, draining),
            draining,
            peer: self.peer_address.clone(),
            http: self.http_address.clone(),
            healthy: Some(replica.store.healthy),
            lag: Some(replica.lag),
            last_contact_ms: Some(0),
        };
        let peers = replica.peers.iter().map(|peer| peer_member(peer, replica.leader));
        let mut members: Vec<Member> = peers.chain([own]).collect();
        members.sort_by_key(|member| member.id);
        members
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn own_state(role: Role, draining: bool) -> &'static str {
    match role {
        Role::Leader => "leader",
        _ if draining => "draining",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Joining => "joining",
        Role::Removed => "removed",
        Role::Failed => "failed",
    }
}

fn peer_member(peer: &PeerStatus, leader: Option<u64>) -> Member {
    let state = match peer {
        _ if leader == Some(peer.id) => "leader",
        _ if peer.healthy == Some(false) => "unreachable",
        _ if peer.draining => "draining",
        _ if peer.voter => "follower",
        _ => "learner",
    };
    Member {
        id: peer.id,
        role: if peer.voter { "voter" } else { "learner" },
        state,
        draining: peer.draining,
        peer: peer.peer_address.clone(),
        http: peer.http_address.clone(),
        healthy: peer.healthy,
        lag: peer.lag,
        last_contact_ms: peer.last_contact_ms,
    }
}

fn health(replica: &ReplicaStatus) -> &'static str {
    let someone_is_silent = replica.peers.iter().any(|peer| peer.healthy == Some(false));
    if !replica.quorum_ok {
        "no quorum"
    } else if someone_is_silent || !replica.formation.complete || !replica.store.healthy {
        "degraded"
    } else {
        "ok"
    }
}
