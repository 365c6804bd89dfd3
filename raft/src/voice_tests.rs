//! Whom a node with the secret may speak for: itself, in this incarnation.
//!
//! Each rule here has a mutant in `tests/mutants/peers.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::Incarnation;
use http::StatusCode;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use serde::Serialize;
use serde_json::json;

use crate::clock::PeerClock;
use crate::identity::Identity;
use crate::join::JOIN;
use crate::network::{APPEND, PRE_VOTE, TRANSFER, VOTE};
use crate::node_tag::NodeTag;
use crate::peer_auth::PeerAuth;
use crate::peer_client::{PeerChannel, PeerClient, Target};
use crate::peer_error::PeerError;
use crate::replica::Replica;
use crate::replica_for_tests;
use crate::secret::ClusterSecret;
use crate::types::{TypeConfig, Vote};

const TIME: Duration = Duration::from_secs(20);

/// Node 1, which leads a group of its own, and node 2, which holds the secret.
struct Two {
    replica: Replica,
    client: PeerClient,
    target: Target,
    _dir: tempfile::TempDir,
}

fn tag(id: u64) -> NodeTag {
    NodeTag { id, incarnation: Incarnation::new(u128::from(id)) }
}

async fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let secret = ClusterSecret::from_text("0123456789abcdef0123456789abcdef").unwrap();
    let (identity, _) = Identity::init(dir.path(), 1, true, &secret).unwrap();
    let me = NodeTag::from(&identity);
    let replica = Replica::start(replica_for_tests::options(dir.path(), identity, &secret)).await.unwrap();
    let founded = |view: &std::sync::Arc<crate::View>| view.ledger.cluster_id().is_some();
    tokio::time::timeout(TIME, replica.view().wait_for(founded)).await.unwrap().unwrap();
    let client = PeerClient::new(PeerAuth::new(secret, tag(2), PeerClock::start()));
    let target = Target { address: replica.peer_address().to_string(), node: Some(me) };
    Two { replica, client, target, _dir: dir }
}

impl Two {
    /// The word and the status of the refusal; none if it was answered.
    async fn refusal(&self, path: &str, message: &impl Serialize) -> Option<(String, StatusCode)> {
        let body = Bytes::from(serde_json::to_vec(message).unwrap());
        match self.client.post(&self.target, PeerChannel::Control, path, body, TIME).await {
            Ok(_) => None,
            Err(PeerError::Refused { code, status, .. }) => Some((code, status)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_speaks_of_votes_only_for_itself() {
    let two = two().await;
    let refused = Some(("other_voice".to_owned(), StatusCode::FORBIDDEN));
    let term = two.replica.status().term;
    let vote = |node| VoteRequest::<TypeConfig>::new(Vote::new(term + 9, node), None);
    assert_eq!(two.refusal(VOTE, &vote(3)).await, refused);
    assert_eq!(two.refusal(PRE_VOTE, &vote(3)).await, refused);
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: Vote::new_committed(term + 9, 3),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    assert_eq!(two.refusal(APPEND, &append).await, refused);
    let transfer = TransferLeaderRequest::<TypeConfig>::new(Vote::new_committed(term + 9, 3), 1, None);
    assert_eq!(two.refusal(TRANSFER, &transfer).await, refused);
    assert_eq!(two.replica.status().term, term, "a word for another moved the term");
    assert_eq!(two.refusal(PRE_VOTE, &vote(2)).await, None, "for itself it may");
    two.replica.stop_at_once().await.unwrap();
}

/// Node 2's request to join as `incarnation`.
fn join(incarnation: Incarnation) -> serde_json::Value {
    let claim = BTreeMap::from([
        ("peer_address", json!("127.0.0.1:2")),
        ("http_address", json!("")),
        ("incarnation", json!(incarnation)),
    ]);
    json!({ "claim": claim, "returning": false })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_only_in_the_life_that_signs() {
    let two = two().await;
    let (code, status) = two.refusal(JOIN, &join(Incarnation::new(77))).await.unwrap();
    assert_eq!((code.as_str(), status), ("unreadable", StatusCode::BAD_REQUEST));
    assert!(!two.replica.view().borrow().ledger.members().contains_key(&2));
    assert_eq!(two.refusal(JOIN, &join(tag(2).incarnation)).await, None);
    two.replica.stop_at_once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_asks_again_as_it_is_known_writes_no_log_entry() {
    let two = two().await;
    let request = join(tag(2).incarnation);
    assert_eq!(two.refusal(JOIN, &request).await, None);
    // The node is silent, so nothing follows after it is a learner.
    let is_quiet = || {
        let status = two.replica.status();
        status.learners.contains(&2) && status.applied == status.last_log
    };
    let quiet = async {
        while !is_quiet() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIME, quiet).await.unwrap();
    let written = || {
        let status = two.replica.status();
        status.applied - status.share_entries
    };
    let before = written();
    for _ in 0..3 {
        assert_eq!(two.refusal(JOIN, &request).await, None);
    }
    assert_eq!(written(), before);
    let mut moved = request;
    moved["claim"]["peer_address"] = json!("127.0.0.1:3");
    assert_eq!(two.refusal(JOIN, &moved).await, None);
    assert!(written() > before, "a member that moved is written");
    two.replica.stop_at_once().await.unwrap();
}
