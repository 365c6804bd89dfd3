//! Health of an upstream, as one value for status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// Longest error text kept, in bytes.
const ERROR_BYTES_MAX: usize = 500;

/// Where an upstream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The first start, or a start after a failure, is under way.
    Starting,
    /// It answers.
    Ready,
    /// Nobody used it for a while; the next request starts it again.
    Asleep,
    /// It failed and waits for its next start; calls are answered with errors at once.
    Down,
    /// The node has ended it.
    Stopped,
}

/// One upstream's health.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// Now.
    pub state: State,
    /// Since when, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// The newest failure, in one line.
    pub last_error: Option<String>,
    /// How often it was started again after a failure.
    pub restarts: u64,
    /// Process ids of its shared children.
    pub pids: Vec<u32>,
    /// The eras it speaks: `modern`, `legacy`.
    pub eras: Vec<&'static str>,
    /// Requests running now.
    pub running: usize,
    /// Sessions of clients held at it.
    pub sessions: usize,
    /// What was counted since the node started.
    pub counts: CountsView,
}

/// What is counted for one upstream.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Requests passed on.
    pub calls: AtomicU64,
    /// Requests that ended in an error of ours (down, timeout, ...), not those that the upstream answered
    /// with one.
    pub failures: AtomicU64,
    /// Lines or events that were no JSON-RPC message, or longer than the limit.
    pub invalid: AtomicU64,
    /// Answers nobody waits for: unknown ids, second answers, answers after a timeout.
    pub unasked: AtomicU64,
    /// Notifications dropped: nobody to tell, or a client that reads too slowly.
    pub dropped: AtomicU64,
    /// Messages (questions, log lines) told to nobody, as they belong to no client for certain.
    pub unowned: AtomicU64,
    /// Sessions or children of clients that were ended because others needed their place.
    pub displaced: AtomicU64,
}

/// What is counted, at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CountsView {
    /// Requests passed on.
    pub calls: u64,
    /// Requests that ended in an error of ours, not those that the upstream answered with one.
    pub failures: u64,
    /// What was no JSON-RPC message, or longer than the limit.
    pub invalid: u64,
    /// Answers nobody waited for.
    pub unasked: u64,
    /// Notifications dropped.
    pub dropped: u64,
    /// Messages told to nobody, as they belong to no client for certain.
    pub unowned: u64,
    /// Sessions or children of clients that were ended because others needed their place.
    pub displaced: u64,
}

impl Counts {
    /// One more. Returns whether it was the first, so that the first is logged and a flood is not.
    pub(super) fn add(count: &AtomicU64) -> bool {
        count.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// All of them now.
    pub(super) fn view(&self) -> CountsView {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CountsView {
            calls: of(&self.calls),
            failures: of(&self.failures),
            invalid: of(&self.invalid),
            unasked: of(&self.unasked),
            dropped: of(&self.dropped),
            unowned: of(&self.unowned),
            displaced: of(&self.displaced),
        }
    }
}

/// The changing part, behind a lock that is held for a copy only.
#[derive(Debug)]
pub(super) struct HealthCell {
    inner: Mutex<HealthSnapshot>,
    now_unix_ms: fn() -> u64,
}

#[derive(Clone, Debug)]
pub(super) struct HealthSnapshot {
    pub(super) state: State,
    pub(super) since_unix_ms: u64,
    pub(super) last_error: Option<String>,
    pub(super) restarts: u64,
}

impl HealthCell {
    pub(super) fn new(now_unix_ms: fn() -> u64) -> HealthCell {
        let snapshot = HealthSnapshot {
            state: State::Starting,
            since_unix_ms: now_unix_ms(),
            last_error: None,
            restarts: 0,
        };
        HealthCell { inner: Mutex::new(snapshot), now_unix_ms }
    }

    pub(super) fn read(&self) -> HealthSnapshot {
        self.inner.lock().clone()
    }

    pub(super) fn set(&self, state: State) {
        let now = (self.now_unix_ms)();
        let mut snapshot = self.inner.lock();
        if snapshot.state != state && snapshot.state != State::Stopped {
            snapshot.state = state;
            snapshot.since_unix_ms = now;
        }
    }

    pub(super) fn restarting(&self) {
        self.inner.lock().restarts += 1;
        self.set(State::Starting);
    }

    pub(super) fn failed(&self, why: &str) {
        self.set(State::Down);
        let mut end = why.len().min(ERROR_BYTES_MAX);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        self.inner.lock().last_error = Some(why[..end].to_owned());
    }
}
