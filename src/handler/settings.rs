//! Settings of a server by the operator or the embedding program: key, clock, limits.

use std::sync::Arc;

use crate::mcp::SealKey;

/// Bounds of what one server holds for its clients.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Longest wait for a client's answer, and life of a sealed state, in milliseconds. 10 minutes: a
    /// person answers.
    pub input_wait_ms: u64,
    /// Tasks held at once, running or with a result to be fetched.
    pub tasks_max: usize,
    /// Life of a task from its creation, in milliseconds; then it is stopped and forgotten.
    pub task_ttl_ms: u64,
    /// How often clients are told to look at a task, in milliseconds.
    pub task_poll_ms: u64,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits { input_wait_ms: 600_000, tasks_max: 1_000, task_ttl_ms: 3_600_000, task_poll_ms: 500 }
    }
}

pub(super) struct Settings {
    pub(super) seal: Arc<SealKey>,
    /// Unix time in milliseconds.
    pub(super) clock: fn() -> u64,
    pub(super) limits: ServerLimits,
}
