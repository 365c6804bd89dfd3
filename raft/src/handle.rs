//! Handle of a running replica for the rest of the node: propose, watch, administer.
//!
//! A share in the replica, cheap to clone. Of no use after the replica stopped: proposals then fail, and the
//! view stays as it was.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use erlmcp_ledger::{Command, NodeId, Receipt};
use tokio::sync::watch;

use crate::attempt::Committed;
use crate::core::{Core, Fatal};
use crate::error::{AdminError, ProposeError};
use crate::node_tag::NodeTag;
use crate::peer_client::{PeerClient, Target};
use crate::status::ReplicaStatus;
use crate::view::View;

/// A share in a running replica.
#[derive(Clone)]
pub struct ReplicaHandle {
    pub(crate) core: Arc<Core>,
    pub(crate) changes: watch::Receiver<u64>,
}

impl ReplicaHandle {
    /// Puts a command to the ledger, wherever the leader is, within the time of [`crate::Timing::propose`].
    ///
    /// # Errors
    /// [`ProposeError`]; only [`ProposeError::Unknown`] leaves open whether it was written.
    pub async fn propose(&self, command: Command) -> Result<Receipt, ProposeError> {
        Ok(self.propose_within(command, self.core.timing.propose).await?.receipt)
    }

    /// The same within `time`, with the log index: wait for [`View::applied`] to reach it to read one's own
    /// write.
    ///
    /// # Errors
    /// As [`ReplicaHandle::propose`].
    pub async fn propose_within(&self, command: Command, time: Duration) -> Result<Committed, ProposeError> {
        self.core.propose(command, time).await
    }

    /// The newest view of the ledger, as a level.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.core.view.clone()
    }

    /// How the replica is doing. Asks the disk for sizes.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.core.status()
    }

    /// Milliseconds since this node applied the last renewal of each share, by node; since the start for one
    /// that was renewed before.
    #[must_use]
    pub fn renewed_ago_ms(&self) -> BTreeMap<NodeId, u64> {
        let now_ms = self.core.clock.uptime_ms();
        let notes = self.core.notes.lock();
        notes.iter().map(|(node, noted_ms)| (node, now_ms.saturating_sub(noted_ms))).collect()
    }

    /// Counts changes of the status; wait on it instead of sleeping.
    #[must_use]
    pub fn status_changed(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Signed requests to other nodes, for what is mounted on the peer port.
    #[must_use]
    pub fn peer_client(&self) -> PeerClient {
        self.core.client.clone()
    }

    /// Address of a member and the node that must answer there, for requests of one's own over
    /// [`ReplicaHandle::peer_client`].
    #[must_use]
    pub fn target(&self, node: NodeId) -> Option<Target> {
        let view = self.core.view();
        let member = view.ledger.members().get(&node)?;
        let tag = NodeTag { id: node, incarnation: member.incarnation };
        Some(Target { address: member.peer_address.clone(), node: Some(tag) })
    }

    /// Hands the leadership to `to`, or to the best placed voter, from any node. Returns who leads then.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, AdminError> {
        self.core.transfer_leader(to).await
    }

    /// Takes a node out of the group, from any node. Needs it drained, or `dead`: the operator's word that it
    /// will never come back with its data. With `now` as well it is the word that the node no longer runs, so
    /// that a share whose lease never ends goes at once; if the node does run, the limit is broken.
    ///
    /// # Errors
    /// [`AdminError::NotYet`] when it is recorded but the voters could not be changed in time; the leader
    /// goes on.
    pub async fn remove(&self, node: NodeId, dead: bool, now: bool) -> Result<(), AdminError> {
        self.core.remove(node, dead, now).await
    }

    /// Sets or clears a node's drain flag, from any node. A draining leader hands over; a draining learner
    /// gets no vote.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), AdminError> {
        self.core.set_draining(node, draining).await
    }

    /// Resolves when the replica cannot go on; the node must then end with an error.
    pub fn fatal(&self) -> impl Future<Output = Fatal> + Send + 'static {
        let mut fatal = self.core.fatal.subscribe();
        async move {
            let cause = fatal.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
            match cause {
                Some(cause) => cause,
                // The replica was stopped in good order: nothing fatal will come.
                None => std::future::pending().await,
            }
        }
    }
}

impl std::fmt::Debug for ReplicaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaHandle").field("me", &self.core.me).finish_non_exhaustive()
    }
}
