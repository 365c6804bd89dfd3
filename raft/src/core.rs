//! Parts that a running replica shares: the consensus core, the view, the way to the others.
//!
//! Holds no decisions; those are in the files that use it. Handlers and tasks keep it in an `Arc`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use erlmcp_ledger::{Budget, Incarnation, Limits, MemberClaim, NodeId};
use erlmcp_quota::Notes;
use erlmcp_storage::Store;
use openraft::async_runtime::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::address_book::AddressBook;
use crate::clock::PeerClock;
use crate::identity::{Identity, IdentityKeeper};
use crate::majority::Majority;
use crate::node_tag::NodeTag;
use crate::peer_client::{PeerClient, Target};
use crate::peer_error::LeaderHint;
use crate::renewals::RenewalQueue;
use crate::state_machine::Raft;
use crate::timing::Timing;
use crate::types::Metrics;
use crate::view::View;

/// Since when each node has been healthy (`true`) or silent, in milliseconds of our clock.
#[derive(Debug, Default)]
pub(crate) struct Since {
    pub(crate) term: u64,
    pub(crate) nodes: BTreeMap<NodeId, (bool, u64)>,
}

/// Why a replica cannot go on; the node must end with an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The store failed: nothing may be acknowledged any more.
    #[error("the store failed: {0}")]
    Store(String),
    /// The consensus core ended.
    #[error("consensus stopped: {0}")]
    Core(String),
    /// The group does not know this node's secret.
    #[error(
        "not of this cluster: {0}; give this node the cluster secret file of a member \
         (cluster.secret_file, or ERLMCP_CLUSTER_SECRET_FILE) and run `erlmcp-node init` in an empty data \
         directory"
    )]
    WrongSecret(String),
    /// This node founded a group although there was one.
    #[error(
        "node {node} has founded a second group of cluster {cluster_id}: its data directory was new and no \
         other node answered then, but {elsewhere}; stop this node, move its data directory away, and while \
         the others run: `erlmcp-node init --id {node}` and start"
    )]
    SecondGroup {
        /// This node.
        node: NodeId,
        /// The id that both groups bear.
        cluster_id: String,
        /// Node that told it, and of which removal.
        elsewhere: String,
    },
    /// The group removed this node.
    #[error("node {0} was removed from the group; run `erlmcp-node init --id {0}` to join anew")]
    Removed(NodeId),
}

/// Parts that a running replica shares.
pub(crate) struct Core {
    pub(crate) me: NodeTag,
    pub(crate) cluster_id: String,
    pub(crate) founder: bool,
    /// The log was empty at the start: the group may be in its first formation.
    pub(crate) began_empty: bool,
    pub(crate) claim: MemberClaim,
    pub(crate) first_limits: Limits,
    pub(crate) first_budget: Budget,
    pub(crate) nodes_expected: u64,
    pub(crate) join: Vec<String>,
    /// Lives that this one replaces.
    pub(crate) lost: Vec<Incarnation>,
    pub(crate) timing: Timing,
    pub(crate) clock: PeerClock,
    pub(crate) raft: Raft,
    pub(crate) store: Store,
    pub(crate) identity: IdentityKeeper,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) client: PeerClient,
    pub(crate) book: AddressBook,
    pub(crate) fatal: watch::Sender<Option<Fatal>>,
    pub(crate) join_problem: watch::Sender<Option<String>>,
    /// The log has heard of it.
    pub(crate) join_warned: AtomicBool,
    /// When a leader was last heard of, in milliseconds of our clock; 0 is never.
    pub(crate) leader_heard_ms: AtomicU64,
    pub(crate) majority: Arc<Majority>,
    pub(crate) since: Mutex<Since>,
    pub(crate) renewals: RenewalQueue,
    /// When the last renewal of each share was applied here.
    pub(crate) notes: Mutex<Notes>,
}

impl Core {
    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Whether the ledger knows `node` just as `claim` says.
    pub(crate) fn is_member_as(&self, node: NodeId, claim: &MemberClaim) -> bool {
        self.view().ledger.members().get(&node).is_some_and(|member| member.matches(claim))
    }

    pub(crate) fn id(&self) -> NodeId {
        self.me.id
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// The leader as far as this node knows, with the address to reach it.
    pub(crate) fn leader(&self) -> Option<LeaderHint> {
        let metrics = self.metrics();
        let id = metrics.current_leader?;
        let node = metrics.membership_config.membership().get_node(&id)?.clone();
        let tag = node.tag(id);
        let address = self.book.addresses(tag, &node.peer_address).into_iter().next()?;
        Some(LeaderHint { id, incarnation: tag.incarnation, address })
    }

    /// Ends the replica's life; the first cause stays.
    pub(crate) fn fail(&self, cause: Fatal) {
        self.fatal.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(cause);
            }
            is_first
        });
    }

    /// The group told this node that it is no member any more.
    pub(crate) fn accept_removal(&self) {
        if let Err(error) = self.identity.mark_removed() {
            tracing::error!(%error, "cannot remember that this node was removed");
        }
        self.fail(Fatal::Removed(self.id()));
    }

    pub(crate) fn note_leader_heard(&self) {
        self.leader_heard_ms.store(self.clock.uptime_ms().max(1), Ordering::Relaxed);
    }

    /// How long ago a leader was heard of.
    pub(crate) fn leader_silent_ms(&self) -> Option<u64> {
        let heard = self.leader_heard_ms.load(Ordering::Relaxed);
        (heard > 0).then(|| self.clock.uptime_ms().saturating_sub(heard))
    }

    pub(crate) fn is_returning(&self) -> bool {
        self.identity.has_voted()
    }
}

impl LeaderHint {
    /// As a target that only this very node may answer.
    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.address.clone(),
            node: Some(NodeTag { id: self.id, incarnation: self.incarnation }),
        }
    }
}

impl From<&Identity> for NodeTag {
    fn from(identity: &Identity) -> Self {
        Self { id: identity.node_id, incarnation: identity.incarnation }
    }
}
