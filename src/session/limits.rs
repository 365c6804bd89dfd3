//! Bounds of sessions.

/// Limits of sessions; the defaults are those of `config/*.toml`.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Sessions that this node holds.
    pub per_node_max: usize,
    /// Sessions of one principal on this node. Clients without credentials are many people under one name:
    /// they have only the limit of the node.
    pub per_principal_max: usize,
    /// A session without requests and without an open stream ends after this, in milliseconds.
    pub idle_ms: u64,
    /// A session whose client said nothing after `initialize` ends after this, in milliseconds.
    pub unused_ms: u64,
    /// Unanswered requests of one session.
    pub requests_max: usize,
    /// Resources that one session may subscribe to.
    pub subscriptions_max: usize,
    /// Bytes kept for streams that may break, for each session.
    pub replay_bytes_max: usize,
    /// Bytes kept for all sessions of this node together.
    pub replay_node_bytes_max: usize,
    /// A finished stream that nobody reads is forgotten after this, in milliseconds.
    pub replay_keep_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            per_node_max: 100_000,
            per_principal_max: 10_000,
            idle_ms: 1_800_000,
            unused_ms: 60_000,
            requests_max: 100,
            subscriptions_max: 1_000,
            replay_bytes_max: 262_144,
            replay_node_bytes_max: 268_435_456,
            replay_keep_ms: 300_000,
        }
    }
}
