//! The counters of one node.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Histogram;
use crate::api::Latency;

/// Threads beyond this share shards: correct, only slower.
const SHARDS: usize = 16;

/// Counts what this node does; shared by everything that serves clients.
pub struct Recorder {
    shards: Box<[CounterShard]>,
    connections: AtomicU64,
    connections_total: AtomicU64,
    sessions: AtomicU64,
    sessions_displaced: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// Its own cache lines, so that threads do not fight over them.
#[derive(Default)]
#[repr(align(128))]
struct CounterShard {
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    faults: AtomicU64,
    /// Begun here less ended here, so that one shard alone may be below zero.
    calls: AtomicI64,
    latency: Histogram,
}

/// All counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Messages received from clients.
    pub messages_in: u64,
    /// Messages sent to clients.
    pub messages_out: u64,
    /// Requests answered with a fault.
    pub faults: u64,
    /// Client connections open now.
    pub connections: u64,
    /// Client connections accepted since start.
    pub connections_total: u64,
    /// Sessions open now.
    pub sessions: u64,
    /// Sessions ended so that others had room.
    pub sessions_displaced: u64,
    /// Calls that run now; open listening streams are none.
    pub calls: u64,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            shards: (0..SHARDS).map(|_| CounterShard::default()).collect(),
            connections: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            sessions_displaced: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }
}

impl Recorder {
    /// Counts a message from a client.
    pub fn message_in(&self) {
        self.shard().messages_in.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts messages to a client.
    pub fn messages_out(&self, count: u64) {
        self.shard().messages_out.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a request answered after `micros`, by a fault or by a result.
    pub fn answered(&self, micros: u64, is_fault: bool) {
        let shard = self.shard();
        shard.messages_out.fetch_add(1, Ordering::Relaxed);
        shard.faults.fetch_add(u64::from(is_fault), Ordering::Relaxed);
        shard.latency.record(micros);
    }

    /// Counts a connection as open until the returned guard is dropped.
    #[must_use]
    pub fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connections_total.fetch_add(1, Ordering::Relaxed);
        OpenConnection { recorder: self.clone() }
    }

    /// Counts a call as running until the returned guard is dropped.
    #[must_use]
    pub fn call_begun(&self) -> RunningCall<'_> {
        self.shard().calls.fetch_add(1, Ordering::Relaxed);
        RunningCall(self)
    }

    /// Counts a session as open.
    pub fn session_opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a session that ends so that others have room.
    pub fn session_displaced(&self) {
        self.sessions_displaced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that was refused, by reason.
    pub fn refused(&self, reason: &'static str) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }

    /// Messages refused since start, by reason.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.refused.lock().iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }

    /// Counts sessions as ended.
    pub fn sessions_ended(&self, count: usize) {
        self.sessions.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// All counters now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |of: fn(&CounterShard) -> &AtomicU64| {
            self.shards.iter().map(|s| of(s).load(Ordering::Relaxed)).sum()
        };
        let calls: i64 = self.shards.iter().map(|shard| shard.calls.load(Ordering::Relaxed)).sum();
        Totals {
            messages_in: sum(|shard| &shard.messages_in),
            messages_out: sum(|shard| &shard.messages_out),
            faults: sum(|shard| &shard.faults),
            connections: self.connections.load(Ordering::Relaxed),
            connections_total: self.connections_total.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            sessions_displaced: self.sessions_displaced.load(Ordering::Relaxed),
            calls: calls.try_into().unwrap_or(0),
        }
    }

    /// Latency of answered requests since start.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let all = Histogram::default();
        self.shards.iter().for_each(|shard| all.add(&shard.latency));
        all.percentiles()
    }

    fn shard(&self) -> &CounterShard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
        let mine = MINE.with(|mine| {
            if mine.get() == usize::MAX {
                mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
            }
            mine.get()
        });
        &self.shards[mine]
    }
}

/// One open connection; dropping it counts it as closed.
pub struct OpenConnection {
    recorder: Arc<Recorder>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.recorder.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One running call; dropping it counts it as ended.
pub struct RunningCall<'a>(&'a Recorder);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.shard().calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let recorder = Arc::new(Recorder::default());
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let recorder = recorder.clone();
                std::thread::spawn(move || {
                    let _open = (recorder.connection_opened(), recorder.call_begun());
                    recorder.session_opened();
                    (0..100).for_each(|n| {
                        recorder.message_in();
                        recorder.answered(n, n % 2 == 0);
                    });
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let expected = Totals {
            messages_in: 2000,
            messages_out: 2000,
            faults: 1000,
            connections: 0,
            connections_total: 20,
            sessions: 20,
            sessions_displaced: 0,
            calls: 0,
        };
        assert_eq!(recorder.totals(), expected);
    }
}
