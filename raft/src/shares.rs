//! The leader's part for shares: ends those that were not renewed in time, and asks nodes to come down when
//! others lack connections.
//!
//! Runs on every node and notes when each renewal was applied here, so that whoever leads next has waited
//! already; only the leader proposes. A view that was overwritten before it was seen is noted later than it
//! was applied, which only lengthens the wait. The clock does not count suspend, which lengthens it too.

use std::sync::Arc;
use std::time::Duration;

use erlmcp_ledger::{Command, Ledger};
use erlmcp_quota::{due, next_due_ms, recall};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::core::Core;

/// The longest time until a new leader sees that it leads, and pause after a proposal that failed.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// The longest wait for a commit.
const COMMIT_TIME: Duration = Duration::from_secs(1);

/// Runs until `closing`.
pub(crate) async fn run(core: Arc<Core>, closing: CancellationToken) {
    closing.run_until_cancelled(watch(&core)).await;
}

async fn watch(core: &Core) {
    let mut view = core.view.clone();
    loop {
        let ledger = Arc::clone(&view.borrow_and_update().ledger);
        core.notes.lock().follow(&ledger, core.clock.uptime_ms());
        let is_done = !core.is_leader() || lead(core, &ledger).await;
        let next_ms = next_due_ms(&ledger, &core.notes.lock());
        let pause = next_ms.filter(|_| is_done).map_or(LOOK_PAUSE, |due_ms| {
            let left = due_ms.saturating_sub(core.clock.uptime_ms()).max(1);
            LOOK_PAUSE.min(Duration::from_millis(left))
        });
        // A view that is new must not make a failing proposal be repeated without a pause.
        let changed = async { if is_done { view.changed().await } else { std::future::pending().await } };
        tokio::select! {
            changed = changed => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Proposes what is due; false if a proposal failed.
async fn lead(core: &Core, ledger: &Ledger) -> bool {
    let due = due(ledger, &core.notes.lock(), core.clock.uptime_ms());
    for expire in due {
        let Attempt::Committed(done) = core.propose_here(expire.clone(), COMMIT_TIME).await else {
            return false;
        };
        if let (Ok(()), Command::Expire { node, session, .. }) = (done.receipt.into_result(), &expire) {
            let connections = ledger.shares().get(node).map(|share| share.granted.connections);
            tracing::info!(node, session, connections, "a share was not renewed in time and is free again");
        }
    }
    match recall(ledger) {
        Some(targets) => {
            tracing::debug!(?targets, "connections are recalled");
            matches!(core.propose_here(targets, COMMIT_TIME).await, Attempt::Committed(_))
        }
        None => true,
    }
}
