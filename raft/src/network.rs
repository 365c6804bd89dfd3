//! openraft's messages to one other node, over the peer client.
//!
//! Votes and heartbeats, entries, and snapshots take connections of their own. Every message is bounded in
//! time: a lost reply would stop replication for good.
//!
//! A member whose log went back behind what it acknowledged, as after its data directory was put back from a
//! copy, is kept from openraft, which cannot live with that: such a member counts as unreachable.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::NodeId;
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::address_book::AddressBook;
use crate::majority::{Heartbeat, Majority};
use crate::node_tag::NodeTag;
use crate::peer_client::{PeerChannel, PeerClient, Target};
use crate::peer_error::PeerError;
use crate::types::{MemberNode, Snapshot, SnapshotMeta, TypeConfig, Vote};

/// Paths of openraft's messages; the version is in the path.
pub(crate) const APPEND: &str = "/peer/v2/raft/append";
/// See [`APPEND`].
pub(crate) const VOTE: &str = "/peer/v2/raft/vote";
/// See [`APPEND`].
pub(crate) const PRE_VOTE: &str = "/peer/v2/raft/pre-vote";
/// See [`APPEND`].
pub(crate) const SNAPSHOT: &str = "/peer/v2/raft/snapshot";
/// See [`APPEND`].
pub(crate) const TRANSFER: &str = "/peer/v2/raft/transfer";

/// A snapshot on the wire.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotMessage {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) body: Box<RawValue>,
}

type Failure = RPCError<TypeConfig>;

/// Makes the connections to other members.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) client: PeerClient,
    pub(crate) book: AddressBook,
    pub(crate) me: NodeId,
    pub(crate) append_time: Duration,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) majority: Arc<Majority>,
}

/// Up to where each member acknowledged the log of this leader, in one term.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<BTreeMap<NodeId, Progress>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    tag: NodeTag,
    vote: Vote,
    index: u64,
    /// The log of this node has said that the other's went back.
    is_reported: bool,
}

impl Acknowledged {
    fn of(&self, tag: NodeTag, vote: Vote) -> Option<u64> {
        let known = self.0.lock().get(&tag.id).copied();
        known.filter(|known| (known.tag, known.vote) == (tag, vote)).map(|known| known.index)
    }

    fn note(&self, tag: NodeTag, vote: Vote, index: u64) {
        let fresh = Progress { tag, vote, index, is_reported: false };
        let mut all = self.0.lock();
        let known = all.entry(tag.id).or_insert(fresh);
        if (known.tag, known.vote) == (tag, vote) {
            known.index = known.index.max(index);
        } else {
            *known = fresh;
        }
    }

    /// Whether to say it: once for each member and term.
    fn report(&self, tag: NodeTag) -> bool {
        let mut all = self.0.lock();
        all.get_mut(&tag.id).is_some_and(|known| !std::mem::replace(&mut known.is_reported, true))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = RaftPeer;

    async fn new_client(&mut self, target: NodeId, node: &MemberNode) -> RaftPeer {
        RaftPeer {
            network: self.clone(),
            id: target,
            node: node.clone(),
            channel: PeerChannel::Append,
            turn: 0,
        }
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &MemberNode) -> RaftPeer {
        RaftPeer { channel: PeerChannel::Heartbeat, ..self.new_client(target, node).await }
    }
}

/// One other member, as openraft talks to it.
#[derive(Debug)]
pub(crate) struct RaftPeer {
    network: Network,
    id: NodeId,
    node: MemberNode,
    /// Channel of its entries: heartbeats are messages without entries, on another channel.
    channel: PeerChannel,
    /// Which of its addresses is tried.
    turn: usize,
}

impl RaftPeer {
    async fn call<A: DeserializeOwned>(
        &mut self,
        channel: PeerChannel,
        path: &str,
        message: &impl Serialize,
        time: Duration,
    ) -> Result<A, PeerFailure> {
        let body = Bytes::from(serde_json::to_vec(message).map_err(PeerFailure::Message)?);
        let tag = self.node.tag(self.id);
        let addresses = self.network.book.addresses(tag, &self.node.peer_address);
        let Some(address) = addresses.get(self.turn % addresses.len().max(1)).cloned() else {
            return Err(PeerFailure::NoAddress);
        };
        let target = Target { address, node: Some(tag) };
        match self.network.client.post(&target, channel, path, body, time).await {
            Ok(answer) => serde_json::from_slice(&answer).map_err(PeerFailure::Message),
            Err(error) => {
                self.turn = self.turn.wrapping_add(1);
                Err(PeerFailure::Peer(error, time))
            }
        }
    }

    fn failure(&self, action: RPCTypes, failure: PeerFailure) -> Failure {
        match failure {
            PeerFailure::Peer(PeerError::Lost { .. }, timeout) => {
                RPCError::Timeout(Timeout { action, id: self.network.me, target: self.id, timeout })
            }
            // Refused or unreachable: pause before the next attempt.
            PeerFailure::Peer(error, _) => RPCError::Unreachable(Unreachable::new(&error)),
            PeerFailure::Message(error) => RPCError::Network(NetworkError::new(&error)),
            PeerFailure::NoAddress => RPCError::Unreachable(Unreachable::from_string("no address is known")),
        }
    }
}

enum PeerFailure {
    Peer(PeerError, Duration),
    Message(serde_json::Error),
    NoAddress,
}

impl RaftNetworkV2<TypeConfig> for RaftPeer {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failure> {
        let time = match self.channel {
            PeerChannel::Heartbeat => option.soft_ttl(),
            _ => option.soft_ttl().max(self.network.append_time),
        };
        // What was acknowledged before this message left: an older message may be answered late.
        let (tag, vote) = (self.node.tag(self.id), rpc.vote);
        let acknowledged = self.network.acknowledged.of(tag, vote);
        let answer = if rpc.entries.is_empty() {
            let heartbeat = Heartbeat { message: &rpc, word: self.network.majority.word() };
            self.call(self.channel, APPEND, &heartbeat, time).await
        } else {
            self.call(self.channel, APPEND, &rpc, time).await
        };
        let answer = answer.map_err(|failure| self.failure(RPCTypes::AppendEntries, failure))?;
        let before = rpc.prev_log_id.map(|log_id| log_id.index());
        match &answer {
            AppendEntriesResponse::Success => {
                if let Some(index) = rpc.entries.last().map(|entry| entry.log_id.index()).or(before) {
                    self.network.acknowledged.note(tag, vote, index);
                }
            }
            AppendEntriesResponse::Conflict if before.is_some() && before <= acknowledged => {
                if self.network.acknowledged.report(tag) {
                    tracing::error!(
                        node = self.id,
                        acknowledged,
                        "a member has lost log entries that it acknowledged, as if its data directory had \
                         been put back from a copy; stop it, run `erlmcp-node remove --id {} --dead`, move \
                         its data directory away and run `erlmcp-node init --id {}` there",
                        self.id,
                        self.id
                    );
                }
                let lost = Unreachable::from_string("it has lost log entries that it acknowledged");
                return Err(RPCError::Unreachable(lost));
            }
            _ => {}
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let answer = self.call(PeerChannel::Heartbeat, VOTE, &rpc, option.soft_ttl()).await;
        answer.map_err(|failure| self.failure(RPCTypes::Vote, failure))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let answer = self.call(PeerChannel::Heartbeat, PRE_VOTE, &rpc, option.soft_ttl()).await;
        answer.map_err(|failure| self.failure(RPCTypes::Vote, failure))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let text = String::from_utf8(snapshot.snapshot).map_err(|error| NetworkError::new(&error))?;
        let body = RawValue::from_string(text).map_err(|error| NetworkError::new(&error))?;
        let message = SnapshotMessage { vote, meta: snapshot.meta, body };
        let answer = tokio::select! {
            answer = self.call(PeerChannel::Snapshot, SNAPSHOT, &message, option.soft_ttl()) => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        answer.map_err(|failure| self.failure(RPCTypes::InstallSnapshot, failure).into())
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        let answer = self.call(PeerChannel::Heartbeat, TRANSFER, &req, option.soft_ttl()).await;
        answer.map_err(|failure| self.failure(RPCTypes::TransferLeader, failure))
    }
}
