//! Routes of the peer port for consensus: openraft's messages, commands, joining and operators' requests.
//!
//! Sizes are bounded here, before the sender is known. A message of Raft must come from the node it speaks
//! for.

use std::sync::Arc;

use erlmcp_ledger::NodeId;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use openraft::error::{Infallible, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::{LEAD, REMOVABLE};
use crate::core::Core;
use crate::join::{HELLO, JOIN, REMOVED};
use crate::majority::MajorityWord;
use crate::network::{APPEND, PRE_VOTE, SNAPSHOT, SnapshotMessage, TRANSFER, VOTE};
use crate::peer_server::{PeerReply, PeerRequest, PeerRoutes};
use crate::propose::PROPOSE;
use crate::types::{Snapshot, TypeConfig, Vote};

/// Entries of about 2 MiB, or one of 16 KiB, with their log ids; JSON in JSON grows by its quotes.
const APPEND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A snapshot of 100,000 tenants has about 20 MiB.
const SNAPSHOT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Commands, votes and requests to join.
const SHORT_BYTES_MAX: usize = 64 * 1024;

/// Adds the routes of consensus to `routes`.
pub(crate) fn add(routes: PeerRoutes, core: &Arc<Core>) -> PeerRoutes {
    routes
        .post(APPEND, APPEND_BYTES_MAX, on(core, |core, request| append(core, request).boxed()))
        .post(VOTE, SHORT_BYTES_MAX, on(core, |core, request| vote(core, request, false).boxed()))
        .post(PRE_VOTE, SHORT_BYTES_MAX, on(core, |core, request| vote(core, request, true).boxed()))
        .post(SNAPSHOT, SNAPSHOT_BYTES_MAX, on(core, |core, request| snapshot(core, request).boxed()))
        .post(TRANSFER, SHORT_BYTES_MAX, on(core, |core, request| transfer(core, request).boxed()))
        .post(
            PROPOSE,
            SHORT_BYTES_MAX,
            on(core, |core, request| async move { core.serve_propose(request).await }.boxed()),
        )
        .post(
            JOIN,
            SHORT_BYTES_MAX,
            on(core, |core, request| async move { core.serve_join(request).await }.boxed()),
        )
        .post(
            LEAD,
            SHORT_BYTES_MAX,
            on(core, |core, request| async move { core.serve_lead(request).await }.boxed()),
        )
        .post(
            REMOVABLE,
            SHORT_BYTES_MAX,
            on(core, |core, request| async move { core.serve_removable(request).await }.boxed()),
        )
        .post(HELLO, 0, on(core, |core, _| async move { core.serve_hello() }.boxed()))
        .post(REMOVED, 0, on(core, |core, request| async move { core.serve_removed(&request) }.boxed()))
}

type Serve = fn(Arc<Core>, PeerRequest) -> BoxFuture<'static, PeerReply>;

fn on(
    core: &Arc<Core>,
    serve: Serve,
) -> impl Fn(PeerRequest) -> BoxFuture<'static, PeerReply> + Clone + Send + Sync + 'static {
    let core = Arc::clone(core);
    move |request| serve(Arc::clone(&core), request)
}

async fn append(core: Arc<Core>, request: PeerRequest) -> PeerReply {
    let message: AppendEntriesRequest<TypeConfig> = match read(&request) {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    if !speaks_for(&request, &message.vote) {
        return refuse_voice();
    }
    let word = message.entries.is_empty().then(|| read::<MajorityWord>(&request));
    let (vote, committed) = (message.vote, message.leader_commit);
    let answer = core.raft.append_entries(message).await;
    // One that was deposed leads nobody.
    if answer.as_ref().is_ok_and(|answer| !matches!(answer, AppendEntriesResponse::HigherVote(_))) {
        core.note_leader_heard();
        if let Some(Ok(word)) = word {
            core.majority.note_word(&vote, committed.as_ref(), word);
        }
    }
    reply(answer)
}

async fn vote(core: Arc<Core>, request: PeerRequest, is_pre_vote: bool) -> PeerReply {
    let message: VoteRequest<TypeConfig> = match read(&request) {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    if !speaks_for(&request, &message.vote) {
        return refuse_voice();
    }
    reply(if is_pre_vote { core.raft.pre_vote(message).await } else { core.raft.vote(message).await })
}

async fn snapshot(core: Arc<Core>, request: PeerRequest) -> PeerReply {
    let message: SnapshotMessage = match read(&request) {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    if !speaks_for(&request, &message.vote) {
        return refuse_voice();
    }
    let snapshot = Snapshot { meta: message.meta, snapshot: message.body.get().as_bytes().to_vec() };
    match core.raft.install_full_snapshot(message.vote, snapshot).await {
        Ok(answer) => {
            core.note_leader_heard();
            PeerReply::json(&answer)
        }
        Err(fatal) => refuse_stopped(&fatal),
    }
}

async fn transfer(core: Arc<Core>, request: PeerRequest) -> PeerReply {
    let message: TransferLeaderRequest<TypeConfig> = match read(&request) {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    if !speaks_for(&request, message.from_leader()) {
        return refuse_voice();
    }
    match core.raft.handle_transfer_leader(message).await {
        Ok(answer) => PeerReply::json(&answer),
        Err(fatal) => refuse_stopped(&fatal),
    }
}

fn read<T: DeserializeOwned>(request: &PeerRequest) -> Result<T, PeerReply> {
    serde_json::from_slice(&request.body)
        .map_err(|error| PeerReply::refuse(StatusCode::BAD_REQUEST, "unreadable", &error.to_string()))
}

fn speaks_for(request: &PeerRequest, vote: &Vote) -> bool {
    let leader: NodeId = *openraft::vote::RaftLeaderId::node_id(vote.leader_id());
    leader == request.from.id
}

fn refuse_voice() -> PeerReply {
    PeerReply::refuse(StatusCode::FORBIDDEN, "other_voice", "a node speaks of votes only for itself")
}

fn reply<T: Serialize>(answer: Result<T, RaftError<TypeConfig, Infallible>>) -> PeerReply {
    match answer {
        Ok(answer) => PeerReply::json(&answer),
        Err(error) => refuse_stopped(&error),
    }
}

fn refuse_stopped(error: &dyn std::fmt::Display) -> PeerReply {
    PeerReply::refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping", &error.to_string())
}
