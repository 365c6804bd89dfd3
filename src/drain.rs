//! How a node leaves service: drained by an operator, which can be taken back, or stopping, which cannot.
//!
//! One value, shared by whoever lets clients in. Every connection and request asks it, so it is two atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

/// Whether the node leaves service; a clone shares it.
#[derive(Clone, Debug, Default)]
pub struct DrainState(Arc<Turns>);

#[derive(Debug, Default)]
struct Turns {
    /// Odd while an operator drains the node; each drain and each end of one adds one.
    turn: AtomicU64,
    is_stopping: AtomicBool,
    /// How often running calls were ended.
    calls_ended: watch::Sender<u64>,
}

/// When a connection came, as far as drains go. The default is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival(u64);

impl DrainState {
    /// An operator drains the node, or takes that back; whether that is a change. One caller at a time.
    pub fn set_draining(&self, draining: bool) -> bool {
        let is_change = self.is_draining() != draining;
        if is_change {
            self.0.turn.fetch_add(1, Ordering::Relaxed);
        }
        is_change
    }

    /// Whether an operator drains the node: no new sessions.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.turn.load(Ordering::Relaxed) % 2 == 1
    }

    /// The mark of a connection that comes now.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        Arrival(self.0.turn.load(Ordering::Relaxed))
    }

    /// Whether the node is drained, and was when that connection came.
    #[must_use]
    pub fn came_while_draining(&self, arrival: Arrival) -> bool {
        self.is_draining() && self.arrival() == arrival
    }

    /// The connections that carry running calls are about to be closed: each call is answered now.
    pub fn end_calls(&self) {
        self.0.calls_ended.send_modify(|times| *times += 1);
    }

    /// Resolves at the next [`DrainState::end_calls`].
    pub async fn calls_end(&self) {
        // Never fails: the sender lives as long as this.
        let _ = self.0.calls_ended.subscribe().changed().await;
    }

    /// The node stops: from now on clients are asked to go.
    pub fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_the_drain_that_goes_on_are_new() {
        let state = DrainState::default();
        let before = state.arrival();
        assert!(!state.came_while_draining(before));
        assert!(state.set_draining(true) && !state.set_draining(true));
        let within = state.arrival();
        assert!(state.came_while_draining(within) && !state.came_while_draining(before));
        assert!(state.set_draining(false) && !state.set_draining(false));
        assert!(!state.came_while_draining(within));
        // A second drain: who came in the first one was let in since.
        state.set_draining(true);
        assert!(!state.came_while_draining(within) && !state.came_while_draining(before));
        assert!(!state.came_while_draining(Arrival::default()));
    }
}
