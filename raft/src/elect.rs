//! Right to stand for election: a node has it in the incarnation that the group knows.
//!
//! openraft knows nodes by id only. A node whose id was used before reads, at the beginning of the log, of a
//! group in which "it" votes, perhaps alone; that was its predecessor. Standing for election then would split
//! the group. So elections begin disabled, and are enabled once the newest membership in the log names this
//! very incarnation. The log never goes back behind that: its predecessor's removal was committed before.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::types::Metrics;

/// Enables elections when it may, then ends.
pub(crate) async fn run(core: Arc<Core>, closing: CancellationToken) {
    let mut metrics = core.raft.metrics();
    let known = async {
        while !names_this_life(&core, &metrics.borrow_watched()) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
        core.raft.runtime_config().elect(true);
    };
    tokio::select! {
        () = closing.cancelled() => {}
        () = known => {}
    }
}

fn names_this_life(core: &Core, metrics: &Metrics) -> bool {
    let node = metrics.membership_config.membership().get_node(&core.id());
    node.is_some_and(|node| node.tag(core.id()) == core.me)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use erlmcp_ledger::Incarnation;
    use openraft::EntryPayload;
    use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
    use openraft::vote::RaftLeaderIdExt as _;

    use super::*;
    use crate::clock::PeerClock;
    use crate::identity::Identity;
    use crate::network::APPEND;
    use crate::node_tag::NodeTag;
    use crate::peer_auth::PeerAuth;
    use crate::peer_client::{PeerChannel, PeerClient, Target};
    use crate::replica::Replica;
    use crate::replica_for_tests::options;
    use crate::secret::ClusterSecret;
    use crate::types::{Entry, LogId, MemberNode, TypeConfig, Vote};

    const TIME: Duration = Duration::from_secs(20);

    /// First message of a leader, node 3: the group as it was when node 1 was alone, in the incarnation
    /// `incarnation`.
    fn beginning(incarnation: Incarnation) -> AppendEntriesRequest<TypeConfig> {
        let node = MemberNode { peer_address: "127.0.0.1:1".to_owned(), incarnation };
        let members =
            openraft::Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)])).unwrap();
        let log_id = LogId::new(openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(1, 1), 0);
        AppendEntriesRequest {
            vote: Vote::new_committed(2, 3),
            prev_log_id: None,
            entries: vec![Entry { log_id, payload: EntryPayload::Membership(members) }],
            leader_commit: Some(log_id),
        }
    }

    /// Starts node 1, sends it the beginning of the log, and tells whether it then elects itself.
    async fn elects_itself(is_same_life: bool) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let secret = ClusterSecret::from_text("0123456789abcdef0123456789abcdef").unwrap();
        let (identity, _) = Identity::init(dir.path(), 1, false, &secret).unwrap();
        let me = NodeTag::from(&identity);
        let replica = Replica::start(options(dir.path(), identity, &secret)).await.unwrap();
        let three = NodeTag { id: 3, incarnation: Incarnation::new(3) };
        let client = PeerClient::new(PeerAuth::new(secret, three, PeerClock::start()));
        let target = Target { address: replica.peer_address().to_string(), node: Some(me) };
        let named = if is_same_life { me.incarnation } else { Incarnation::new(99) };
        let body = serde_json::to_vec(&beginning(named)).unwrap();
        let answer = client.post(&target, PeerChannel::Append, APPEND, body.into(), TIME).await.unwrap();
        let answer: AppendEntriesResponse<TypeConfig> = serde_json::from_slice(&answer).unwrap();
        assert!(answer.is_success());
        // One that is alone does not wait for an election time, so half a second shows it.
        let elected = |metrics: &Metrics| metrics.current_leader == Some(1);
        let is_elected = replica.handle().core.wait(Duration::from_millis(500), elected).await;
        replica.stop_at_once().await.unwrap();
        is_elected
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_life_does_not_take_its_predecessors_vote_for_its_own() {
        assert!(!elects_itself(false).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_the_log_names_in_this_life_does_elect_itself() {
        assert!(elects_itself(true).await);
    }
}
