//! Idle connections, to make room for newcomers where the node's share is used up: the one that has carried
//! nothing for longest goes first.
//!
//! The order is approximate. Requests do not touch it; a newcomer looks through all connections, at most ten
//! times a second, and what it finds serves those who come next too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::activity::Activity;

/// The shortest time between two looks through all connections, in milliseconds.
const LOOK_MS: u64 = 100;

/// Connections that one look finds at most.
const FOUND_MAX: usize = 256;

/// The connections of a node.
#[derive(Default)]
pub(super) struct IdleConnections {
    next: AtomicU64,
    all: Mutex<HashMap<u64, Arc<Activity>>>,
    found: Mutex<Found>,
}

/// Connections that the last look found.
#[derive(Default)]
struct Found {
    /// Longest idle last.
    idle: Vec<Arc<Activity>>,
    looked_ms: Option<u64>,
}

/// A connection that may be asked to leave; to be dropped once its socket is closed and its place is free.
pub(super) struct Listed {
    connections: Arc<IdleConnections>,
    number: u64,
    activity: Arc<Activity>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.all.lock().remove(&self.number);
        self.activity.tell_gone();
    }
}

impl IdleConnections {
    /// Lists a connection.
    pub(super) fn enter(self: &Arc<Self>, activity: Arc<Activity>) -> Listed {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.lock().insert(number, activity.clone());
        Listed { connections: self.clone(), number, activity }
    }

    /// Tells the connection to leave that has carried nothing for longest, if that is `idle_ms` or more.
    /// The receiver resolves once its place is free. `None`: there is none, as far as is known.
    pub(super) fn dismiss_one(&self, now_ms: u64, idle_ms: u64) -> Option<oneshot::Receiver<()>> {
        let idle_since_ms = |activity: &Activity| {
            activity.quiet_since_ms().filter(|since| now_ms.saturating_sub(*since) >= idle_ms)
        };
        let mut found = self.found.lock();
        loop {
            while let Some(activity) = found.idle.pop() {
                // It may have been used since, or be gone.
                if idle_since_ms(&activity).is_some() {
                    return Some(activity.dismiss());
                }
            }
            if found.looked_ms.is_some_and(|looked_ms| now_ms < looked_ms + LOOK_MS) {
                return None;
            }
            found.looked_ms = Some(now_ms);
            let mut idle: Vec<_> =
                self.all.lock().values().filter_map(|it| Some((idle_since_ms(it)?, it.clone()))).collect();
            idle.sort_unstable_by_key(|(since_ms, _)| *since_ms);
            idle.truncate(FOUND_MAX);
            found.idle.extend(idle.into_iter().rev().map(|(_, activity)| activity));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_longest_idle_goes_first_and_one_in_use_never() {
        let connections = Arc::new(IdleConnections::default());
        let now_ms = Clock::new().monotonic_ms();
        let at = |age_ms: u64| {
            let activity = Arc::new(Activity::at(now_ms - age_ms));
            (connections.enter(activity.clone()), activity)
        };
        let (young, busy, old, older) = (at(10), at(900), at(500), at(700));
        let serving = busy.1.begin(Version::HTTP_11);
        let is_told = |activity: &Activity| activity.quiet_since_ms().is_none();
        let mut first = connections.dismiss_one(now_ms, 100).unwrap();
        assert!(is_told(&older.1) && !is_told(&old.1));
        assert!(first.try_recv().is_err(), "its place is not free yet");
        drop(older);
        assert!(first.try_recv().is_ok());
        let _second = connections.dismiss_one(now_ms, 100).unwrap();
        assert!(is_told(&old.1) && !is_told(&young.1));
        assert!(connections.dismiss_one(now_ms, 100).is_none());
        drop(serving);
        assert!(connections.dismiss_one(now_ms + 200, 100).is_some(), "the young one has aged");
        assert!(is_told(&young.1) && !is_told(&busy.1), "that was used just now");
    }

    #[test]
    fn a_connection_that_was_used_or_has_gone_since_the_look_is_passed_over() {
        let connections = Arc::new(IdleConnections::default());
        let now_ms = Clock::new().monotonic_ms();
        let mut all: Vec<_> = [700, 600, 500, 400]
            .map(|age_ms| {
                let activity = Arc::new(Activity::at(now_ms - age_ms));
                (connections.enter(activity.clone()), activity)
            })
            .into();
        connections.dismiss_one(now_ms, 100).unwrap();
        drop(all[1].1.begin(Version::HTTP_2));
        drop(all.remove(2));
        connections.dismiss_one(now_ms, 100).unwrap();
        assert!(all[1].1.quiet_since_ms().is_some(), "it was used");
        assert!(all[2].1.quiet_since_ms().is_none(), "the next in line");
    }
}
