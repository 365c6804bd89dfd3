//! The cluster as this node knows it: the value behind `/cluster/status` and its parts.
//!
//! Local and applied state, never a consensus round: `applied`, `leader` and `lag` say how far it can be
//! trusted.

use std::sync::Arc;

use erlmcp_quota::Readiness as ShareReadiness;
use erlmcp_raft::{PeerStatus, ReplicaHandle, ReplicaStatus, Role, View};
use parking_lot::Mutex;

use super::health::{NotReady, Readiness, is_draining};
use crate::admission::Gate;
use crate::api::{
    ClusterPart, Connections, Health, Member, NodePart, Quota, Serving, Standing, State, Status, Throughput,
};
use crate::clock::Clock;
use crate::monitor::{Rates, Recorder, Totals};

/// Everything that a status is made from.
pub struct StatusSource {
    /// This node's part in the group.
    pub replica: ReplicaHandle,
    /// Counters of this node.
    pub recorder: Arc<Recorder>,
    /// Messages, sampled once a second by [`StatusSource::sample`].
    pub rates: Mutex<Rates>,
    /// Whether new clients may come.
    pub readiness: Readiness,
    /// The clock.
    pub clock: Clock,
    /// The name that the configuration gives the cluster.
    pub cluster_name: String,
    /// Address at which clients reach this node.
    pub http_address: String,
    /// Address at which members reach this node.
    pub peer_address: String,
    /// Admission of connections, and this node's share of the limit.
    pub gate: Gate,
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

impl StatusSource {
    /// Notes the totals for the rates; once a second.
    pub fn sample(&self) {
        let totals = self.recorder.totals();
        let now = self.clock.monotonic_ms();
        self.rates.lock().sample(now, totals.messages_in + totals.messages_out);
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
        // Of one that is no member yet the first reason says enough.
        match self.gate.readiness() {
            ShareReadiness::NoShare if reasons.is_empty() => reasons.push(NotReady::NoShare),
            ShareReadiness::Unrenewed => reasons.push(NotReady::Unrenewed),
            _ => {}
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
        let (limits, gate) = (view.ledger.limits(), self.gate.in_numbers());
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
                role: replica.role.into(),
                ready: not_ready_because.is_empty(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_s: (self.clock.monotonic_ms() - self.started_ms) / 1000,
                started_at_unix_ms: self.started_unix_ms,
                not_ready_because: not_ready_because.clone(),
            },
            leader: replica.leader,
            term: replica.term,
            applied: Some(replica.applied),
            share_entries: Some(replica.share_entries),
            committed: Some(replica.committed),
            lag: Some(replica.lag),
            majority_contact_ms: replica.majority_contact_ms,
            members: self.members(&replica, draining),
            connections: Connections {
                here: Some(totals.connections),
                limit_here: Some(gate.share.into()),
                share_ends_in_ms: gate.ends_in_ms,
                cluster_limit: Some(limits.connections.into()),
                total_here: Some(totals.connections_total),
                refused_here: self
                    .gate
                    .refused()
                    .iter()
                    .map(|(why, n)| (why.name().to_owned(), *n))
                    .collect(),
            },
            serving: Serving {
                sessions: Some(totals.sessions),
                sessions_displaced: Some(totals.sessions_displaced),
                calls: Some(totals.calls),
                refused: self.recorder.refusals(),
            },
            throughput: self.throughput(totals),
            latency: self.recorder.latency(),
            quota: Quota {
                connections: Some(limits.connections.into()),
                messages_per_second: Some(budget.messages_per_second.into()),
                burst: Some(budget.burst.into()),
            },
            store: Some(replica.store.clone()),
            peer_port: Some(replica.turned_away),
            upstreams: (self.upstreams)(),
            health: if not_ready_because.is_empty() { "ok".to_owned() } else { not_ready_because.join("; ") },
        }
    }

    fn throughput(&self, totals: Totals) -> Throughput {
        let rates = self.rates.lock();
        Throughput {
            messages_total: Some(totals.messages_in + totals.messages_out),
            messages_in: Some(totals.messages_in),
            messages_out: Some(totals.messages_out),
            faults: Some(totals.faults),
            messages_per_second_1s: Some(rates.per_second(1)),
            messages_per_second_10s: Some(rates.per_second(10)),
            messages_per_second_1m: Some(rates.per_second(60)),
        }
    }

    fn members(&self, replica: &ReplicaStatus, draining: bool) -> Vec<Member> {
        let own = Member {
            id: replica.node,
            role: Standing::of(replica.voters.contains(&replica.node)),
            state: own_state(replica.role, draining),
            draining,
            peer: Some(self.peer_address.clone()),
            http: Some(self.http_address.clone()),
            healthy: Some(replica.store.healthy),
            lag: Some(replica.lag),
            last_contact_ms: Some(0),
        };
        let peers = replica.peers.iter().map(|peer| peer_member(peer, replica.leader));
        let mut members: Vec<Member> = peers.chain([own]).collect();
        members.sort_by_key(|member| member.id);
        members
    }
}

fn own_state(role: Role, draining: bool) -> State {
    match role {
        Role::Leader => State::Leader,
        _ if draining => State::Draining,
        role => role.into(),
    }
}

fn peer_member(peer: &PeerStatus, leader: Option<u64>) -> Member {
    let state = match peer {
        _ if leader == Some(peer.id) => State::Leader,
        _ if peer.healthy == Some(false) => State::Unreachable,
        _ if peer.draining => State::Draining,
        _ if peer.voter => State::Follower,
        _ => State::Learner,
    };
    Member {
        id: peer.id,
        role: Standing::of(peer.voter),
        state,
        draining: peer.draining,
        peer: Some(peer.peer_address.clone()),
        http: Some(peer.http_address.clone()),
        healthy: peer.healthy,
        lag: peer.lag,
        last_contact_ms: peer.last_contact_ms,
    }
}

fn health(replica: &ReplicaStatus) -> Health {
    let someone_is_silent = replica.peers.iter().any(|peer| peer.healthy == Some(false));
    if !replica.quorum_ok {
        Health::NoQuorum
    } else if someone_is_silent || !replica.formation.complete || !replica.store.healthy {
        Health::Degraded
    } else {
        Health::Ok
    }
}
