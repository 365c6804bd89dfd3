//! Lets the group's word that this node is drained act here.

use std::future::Future;
use std::sync::Arc;

use erlmcp_raft::View;
use tokio::sync::watch;

use crate::admin::is_draining;
use crate::drain::DrainState;

/// Tells `state` at once what the group says of `node`, and then of each change.
pub(super) fn follow(
    node: u64,
    mut view: watch::Receiver<Arc<View>>,
    state: DrainState,
) -> impl Future<Output = ()> + Send {
    let tell = move |view: &mut watch::Receiver<Arc<View>>| {
        let draining = is_draining(&view.borrow_and_update(), node);
        if state.set_draining(draining) {
            let now = if draining { "draining: new clients are refused" } else { "back in service" };
            tracing::info!(node, "{now}");
        }
    };
    // Before the port opens: a node that was drained when it stopped lets nobody in.
    tell(&mut view);
    async move {
        while view.changed().await.is_ok() {
            tell(&mut view);
        }
    }
}
