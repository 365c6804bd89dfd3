//! How a replica is doing, as one value for status pages, metrics and tests.
//!
//! Local knowledge, and it says so: a follower shows what it has applied and how far that is behind.

use std::sync::atomic::{AtomicU64, Ordering};

use erlmcp_ledger::{Incarnation, NodeId};
use erlmcp_storage::StoreHealth;
use openraft::ServerState;
use serde::{Deserialize, Serialize};

use crate::core::{Core, Fatal};
use crate::membership::voters_for;
use crate::reconciler::{lag, silent_for};
use crate::types::Metrics;

/// Part that a node has in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote, as a standby.
    Learner,
    /// Not yet known to the group.
    Joining,
    /// Removed from the group.
    Removed,
    /// The store or the core failed, or this node has stopped.
    Failed,
}

/// Another member, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name for people.
    pub name: String,
    /// Address at which members reach it.
    pub peer_address: String,
    /// Address at which clients reach it.
    pub http_address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it was asked to hand over its work.
    pub draining: bool,
    /// Log entries it is behind; known on the leader only.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered; known on the leader only.
    pub last_contact_ms: Option<u64>,
    /// Whether it answers; known on the leader only.
    pub healthy: Option<bool>,
}

/// How far the group has formed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Formation {
    /// Members that joined.
    pub members: u64,
    /// Members configured.
    pub expected: u64,
    /// Members and voters are as many as they should be.
    pub complete: bool,
    /// `forming 2/4`, or `formed`.
    pub text: String,
}

/// Requests that the peer port turned away since the start; see [`crate::PeerCounts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnedAway {
    /// Connections without a signed request in time, or in favour of newer ones.
    pub strangers: u64,
    /// Requests whose signature, time or receiver is wrong, or that were seen before.
    pub unproven: u64,
    /// Requests for which the budget of nonces was full.
    pub nonces_full: u64,
}

/// The store of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Syncs since the start.
    pub fsync_count: u64,
    /// The last sync, in microseconds.
    pub fsync_last_us: u64,
    /// The longest sync, in microseconds.
    pub fsync_max_us: u64,
    /// Whether it takes writes.
    pub healthy: bool,
    /// Why it does not.
    pub problem: Option<String>,
}

/// How a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicaStatus {
    /// This node.
    pub node: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: Incarnation,
    /// The cluster.
    pub cluster_id: String,
    /// Part that it has in its group.
    pub role: Role,
    /// Node that leads, if known.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// Nodes that vote, by the newest membership in the log.
    pub voters: Vec<NodeId>,
    /// Nodes that follow without a vote.
    pub learners: Vec<NodeId>,
    /// A change of voters is under way.
    pub changing: bool,
    /// The last entry of the log.
    pub last_log: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry applied here.
    pub applied: u64,
    /// Entries about shares applied here since the start.
    pub share_entries: u64,
    /// The last entry in the newest snapshot.
    pub snapshot: u64,
    /// The last entry purged from the log.
    pub purged: u64,
    /// Committed entries not yet applied here.
    pub lag: u64,
    /// A majority has answered the leader not long ago: see `majority_contact_ms`.
    pub quorum_ok: bool,
    /// Milliseconds since this node heard of its leader; 0 on the leader.
    pub leader_contact_ms: Option<u64>,
    /// Milliseconds since a majority answered its leader: on a leader by its own knowledge, elsewhere by the
    /// leader's word; `None` when none is known of since the start.
    pub majority_contact_ms: Option<u64>,
    /// Index that was committed when this node first heard of its leader after the start: before it has
    /// applied that, it may know less than it acknowledged earlier. `None` until a leader has told.
    pub committed_at_start: Option<u64>,
    /// The other members.
    pub peers: Vec<PeerStatus>,
    /// How far the group has formed.
    pub formation: Formation,
    /// Why this node is not settled in its group, in one line.
    pub join_problem: Option<String>,
    /// The store.
    pub store: StoreStatus,
    /// Requests that the peer port turned away since the start.
    pub turned_away: TurnedAway,
}

impl Core {
    /// Gathers the status; asks the disk for sizes.
    pub(crate) fn status(&self) -> ReplicaStatus {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let index = |id: &Option<crate::types::LogId>| id.map_or(0, |id| id.index());
        let committed = index(&metrics.local_committed).max(index(&metrics.cluster_committed));
        let (applied, share_entries) = {
            let view = self.view.borrow();
            (view.applied, view.share_entries)
        };
        let is_leader = metrics.state.is_leader();
        let leader_contact_ms = if is_leader { Some(0) } else { self.leader_silent_ms() };
        let silence_ms = u64::try_from(self.timing.silence().as_millis()).unwrap_or(u64::MAX);
        self.majority.note_metrics(self.id(), &metrics);
        let majority_contact_ms = self.majority.silent_ms();
        let is_recent = |contact_ms: Option<u64>| contact_ms.is_some_and(|time| time < silence_ms);
        let quorum_ok = metrics.current_leader.is_some()
            && is_recent(leader_contact_ms)
            && is_recent(majority_contact_ms);
        ReplicaStatus {
            node: self.id(),
            incarnation: self.me.incarnation,
            cluster_id: self.cluster_id.clone(),
            role: self.role(&metrics),
            leader: metrics.current_leader,
            term: metrics.current_term,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            changing: membership.get_joint_config().len() > 1,
            last_log: metrics.last_log_index.unwrap_or_default(),
            committed,
            applied,
            share_entries,
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            lag: committed.saturating_sub(applied),
            quorum_ok,
            leader_contact_ms,
            majority_contact_ms,
            committed_at_start: self.majority.begin(),
            peers: self.peers(&metrics),
            formation: self.formation(&metrics),
            join_problem: self.join_problem.borrow().clone(),
            store: self.store_status(),
            turned_away: self.turned_away(),
        }
    }

    fn turned_away(&self) -> TurnedAway {
        let counts = self.client.auth().counts();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TurnedAway {
            strangers: of(&counts.strangers),
            unproven: of(&counts.unproven),
            nonces_full: of(&counts.nonces_full),
        }
    }

    pub(crate) fn role(&self, metrics: &Metrics) -> Role {
        match &*self.fatal.borrow() {
            Some(Fatal::Removed(_)) => return Role::Removed,
            Some(_) => return Role::Failed,
            None => {}
        }
        match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Shutdown => Role::Failed,
            _ if metrics.membership_config.membership().get_node(&self.id()).is_some() => Role::Learner,
            _ => Role::Joining,
        }
    }

    fn peers(&self, metrics: &Metrics) -> Vec<PeerStatus> {
        let view = self.view();
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let others = view.ledger.members().iter().filter(|(id, _)| **id != self.id());
        let is_leader = metrics.state.is_leader();
        let peers = others.map(|(id, member)| {
            let contact = silent_for(metrics, *id);
            PeerStatus {
                id: *id,
                name: member.name.clone(),
                peer_address: member.peer_address.clone(),
                http_address: member.http_address.clone(),
                voter: voters.contains(id),
                draining: member.draining,
                lag: lag(metrics, *id),
                last_contact_ms: contact.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                healthy: is_leader.then(|| contact.is_some_and(|time| time < self.timing.silence())),
            }
        });
        peers.collect()
    }

    fn formation(&self, metrics: &Metrics) -> Formation {
        let members = self.view().ledger.members().len();
        let voters = metrics.membership_config.membership().voter_ids().count();
        let expected = self.nodes_expected;
        let is_whole = members as u64 >= expected;
        let complete = is_whole && voters >= voters_for(members);
        let text = if complete { "formed".to_owned() } else { format!("forming {members}/{expected}") };
        Formation { members: members as u64, expected, complete, text }
    }

    fn store_status(&self) -> StoreStatus {
        let fsync = self.store.fsync_micros();
        let problem = match self.store.health() {
            StoreHealth::Healthy => None,
            StoreHealth::DiskFull { free_bytes, needed_bytes } => {
                Some(format!("disk full (free {free_bytes} B, need {needed_bytes} B)"))
            }
            StoreHealth::Failed { reason } => Some(reason.to_string()),
        };
        StoreStatus {
            size_bytes: self.store.size_on_disk(),
            fsync_count: fsync.count,
            fsync_last_us: fsync.last_micros,
            fsync_max_us: fsync.max_micros,
            healthy: problem.is_none(),
            problem,
        }
    }
}
