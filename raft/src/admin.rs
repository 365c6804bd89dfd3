//! Requests of an operator: hand over the leadership, remove a node, drain a node. From any node.

use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::{Command, NodeId};
use http::StatusCode;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};

use crate::core::{Core, Fatal};
use crate::error::{AdminError, ProposeError};
use crate::membership::{is_alive, silent_majority};
use crate::peer_client::PeerChannel;
use crate::peer_error::PeerError;
use crate::peer_server::{PeerReply, PeerRequest};
use crate::reconciler::{gather, lag, silent_for};
use crate::types::Metrics;

/// Path of the request that another node lead.
pub(crate) const LEAD: &str = "/peer/v2/lead";

/// Path of the question whether a node can be removed.
pub(crate) const REMOVABLE: &str = "/peer/v2/removable";

/// How long to wait for a leader to be known.
const LEADER_TIME: Duration = Duration::from_secs(3);

/// How often the leader is asked to hand over again, while the successor catches up.
const AGAIN_TIME: Duration = Duration::from_millis(250);

/// Node that should lead; `None` is the best placed voter.
#[derive(Debug, Serialize, Deserialize)]
struct LeadRequest {
    to: Option<NodeId>,
}

/// The node that is to go.
#[derive(Debug, Serialize, Deserialize)]
struct RemovableRequest {
    node: NodeId,
}

/// Obstacle.
#[derive(Debug, Serialize, Deserialize)]
struct RemovableReply {
    silent_majority: Option<SilentMajority>,
}

/// Voters of which too many are silent.
#[derive(Debug, Serialize, Deserialize)]
struct SilentMajority {
    voters: Vec<NodeId>,
    silent: Vec<NodeId>,
}

/// Node that leads now.
#[derive(Debug, Serialize, Deserialize)]
struct LeadReply {
    leader: NodeId,
}

impl Core {
    /// Waits until the metrics satisfy `is_so`; false when the time was up or the core stopped.
    pub(crate) async fn wait(&self, time: Duration, is_so: impl Fn(&Metrics) -> bool) -> bool {
        let mut metrics = self.raft.metrics();
        let arrival = async {
            loop {
                if is_so(&metrics.borrow_watched()) {
                    return true;
                }
                if metrics.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(time, arrival).await.unwrap_or(false)
    }

    /// Hands the leadership to `to`, or to the best placed voter. Returns who leads then.
    pub(crate) async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, AdminError> {
        if !self.wait(LEADER_TIME, |metrics| metrics.current_leader.is_some()).await {
            return Err(ProposeError::NoLeader { waited: LEADER_TIME }.into());
        }
        let time = self.timing.operate;
        let new_leader = match self.leader() {
            Some(leader) if leader.id == self.id() => return self.transfer_here(to).await,
            Some(leader) => {
                let body = serde_json::to_vec(&LeadRequest { to }).unwrap_or_default();
                let target = leader.target();
                let asked =
                    self.client.post(&target, PeerChannel::Control, LEAD, Bytes::from(body), time).await;
                self.read_lead(asked, to)?
            }
            None => return Err(ProposeError::NoLeader { waited: LEADER_TIME }.into()),
        };
        self.wait(LEADER_TIME, |metrics| metrics.current_leader == Some(new_leader)).await;
        Ok(new_leader)
    }

    fn read_lead(&self, answer: Result<Bytes, PeerError>, to: Option<NodeId>) -> Result<NodeId, AdminError> {
        let error = match answer {
            Ok(body) => match serde_json::from_slice::<LeadReply>(&body) {
                Ok(reply) => return Ok(reply.leader),
                Err(_) => return Err(ProposeError::Unknown { waited: self.timing.operate }.into()),
            },
            Err(error) => error,
        };
        match (error.code(), to) {
            (Some("not_a_voter"), Some(node)) => Err(AdminError::NotAVoter { node, voters: self.voters() }),
            (Some("no_successor"), _) => Err(AdminError::NoSuccessor),
            (Some("not_yet"), _) => Err(self.not_yet("handing over the leadership")),
            _ => Err(ProposeError::Peer(error).into()),
        }
    }

    /// The same on the leader.
    pub(crate) async fn transfer_here(&self, to: Option<NodeId>) -> Result<NodeId, AdminError> {
        let metrics = self.metrics();
        let voters = self.voters();
        if let Some(node) = to.filter(|node| !voters.contains(node)) {
            return Err(AdminError::NotAVoter { node, voters });
        }
        if to == Some(self.id()) {
            return Ok(self.id());
        }
        let Some(to) = to.or_else(|| self.best_successor(&metrics)) else {
            return Err(AdminError::NoSuccessor);
        };
        let begin_ms = self.clock.uptime_ms();
        while self.clock.since(begin_ms) < self.timing.operate {
            let asked = self.raft.trigger().transfer_leader(to).await;
            asked.map_err(|_| AdminError::Propose(ProposeError::Stopped))?;
            let moved = |metrics: &Metrics| metrics.current_leader.is_some_and(|leader| leader != self.id());
            if self.wait(AGAIN_TIME, moved).await
                && let Some(leader) = self.metrics().current_leader
            {
                return Ok(leader);
            }
        }
        Err(self.not_yet("handing over the leadership"))
    }

    /// The voter best placed to lead instead of this leader.
    fn best_successor(&self, metrics: &Metrics) -> Option<NodeId> {
        let view = self.view();
        let is_draining = |node| view.ledger.members().get(&node).is_none_or(|member| member.draining);
        let others = self.voters().into_iter().filter(|node| *node != self.id() && !is_draining(*node));
        let healthy =
            others.filter(|node| silent_for(metrics, *node).is_some_and(|time| time < self.timing.silence()));
        healthy.filter_map(|node| Some((lag(metrics, node)?, node))).min().map(|(_, node)| node)
    }

    fn voters(&self) -> Vec<NodeId> {
        self.metrics().membership_config.membership().voter_ids().collect()
    }

    fn not_yet(&self, what: &str) -> AdminError {
        AdminError::NotYet { what: what.to_owned(), waited: self.timing.operate }
    }

    /// Takes `node` out of the group and waits until no log entry is sent to it any more.
    pub(crate) async fn remove(&self, node: NodeId, dead: bool, now: bool) -> Result<(), AdminError> {
        if let Some(SilentMajority { voters, silent }) = self.ask_removable(node).await {
            return Err(AdminError::NoMajority { voters, silent });
        }
        let known = self.view().ledger.members().get(&node).map(|member| member.incarnation);
        let written = self
            .propose(Command::RemoveMember { node, incarnation: known, dead, now }, self.timing.propose)
            .await?;
        written.receipt.into_result()?;
        let is_gone = |metrics: &Metrics| {
            let config = metrics.committed_membership_config.membership();
            let still = config.get_node(&node).map(|node| node.incarnation);
            config.get_joint_config().len() == 1
                && (still.is_none() || known.is_some_and(|was| still != Some(was)))
        };
        let mut fatal = self.fatal.subscribe();
        let removed = fatal.wait_for(|cause| matches!(cause, Some(Fatal::Removed(gone)) if *gone == node));
        let is_done = tokio::select! {
            is_gone = self.wait(self.timing.operate, is_gone) => is_gone,
            removed = removed => removed.is_ok(),
        };
        if is_done { Ok(()) } else { Err(self.not_yet(&format!("removing node {node}"))) }
    }

    /// Obstacle to removing `node`, by the leader's word. Where it cannot be asked, the command
    /// itself finds out.
    async fn ask_removable(&self, node: NodeId) -> Option<SilentMajority> {
        let leader = self.leader()?;
        if leader.id == self.id() {
            return self.silent_majority(node).await;
        }
        let body = Bytes::from(serde_json::to_vec(&RemovableRequest { node }).ok()?);
        let time = self.timing.silence() * 2;
        let answer =
            self.client.post(&leader.target(), PeerChannel::Control, REMOVABLE, body, time).await.ok()?;
        serde_json::from_slice::<RemovableReply>(&answer).ok()?.silent_majority
    }

    /// The same on the leader. A leader that was just elected has heard of nobody yet, so it takes a while to
    /// say that somebody is silent.
    async fn silent_majority(&self, node: NodeId) -> Option<SilentMajority> {
        let is_well = |metrics: &Metrics| {
            !metrics.state.is_leader() || silent_majority(&gather(self, metrics, false), node).is_none()
        };
        if self.wait(self.timing.silence(), is_well).await {
            return None;
        }
        let facts = gather(self, &self.metrics(), false);
        let voters = silent_majority(&facts, node)?;
        let silent = voters.iter().copied().filter(|node| !is_alive(&facts, *node)).collect();
        Some(SilentMajority { voters: voters.into_iter().collect(), silent })
    }

    /// Sets or clears the drain flag of `node`.
    pub(crate) async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), AdminError> {
        let written = self.propose(Command::SetDraining { node, draining }, self.timing.propose).await?;
        Ok(written.receipt.into_result()?)
    }

    pub(crate) async fn serve_removable(&self, request: PeerRequest) -> PeerReply {
        let Ok(RemovableRequest { node }) = serde_json::from_slice(&request.body) else {
            return PeerReply::refuse(StatusCode::BAD_REQUEST, "unreadable", "not a question about a node");
        };
        PeerReply::json(&RemovableReply { silent_majority: self.silent_majority(node).await })
    }

    pub(crate) async fn serve_lead(&self, request: PeerRequest) -> PeerReply {
        let Ok(LeadRequest { to }) = serde_json::from_slice(&request.body) else {
            return PeerReply::refuse(StatusCode::BAD_REQUEST, "unreadable", "not a request to lead");
        };
        if !self.is_leader() {
            return self.refuse_not_leader();
        }
        match self.transfer_here(to).await {
            Ok(leader) => PeerReply::json(&LeadReply { leader }),
            Err(error) => {
                let code = match &error {
                    AdminError::NotAVoter { .. } => "not_a_voter",
                    AdminError::NoSuccessor => "no_successor",
                    AdminError::NotYet { .. } => "not_yet",
                    _ => "stopping",
                };
                PeerReply::refuse(StatusCode::CONFLICT, code, &error.to_string())
            }
        }
    }
}
