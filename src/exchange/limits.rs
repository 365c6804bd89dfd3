//! Bounds of the exchange.

use crate::session::SessionLimits;

/// Limits of the exchange; the defaults are those of `config/*.toml`.
#[derive(Clone, Debug)]
pub struct ExchangeLimits {
    /// Limits of legacy sessions.
    pub sessions: SessionLimits,
    /// A request is answered by then, if by a fault, in milliseconds. Progress does not extend it; a question
    /// to the client does.
    pub request_ms: u64,
    /// Once the node drains, requests that still run are answered with a fault after this, in milliseconds;
    /// less than the transport waits for them, so that the answer gets out.
    pub drain_ms: u64,
    /// All questions of one request to its client together take no longer, in milliseconds.
    pub asks_ms: u64,
    /// Open `subscriptions/listen` streams on this node.
    pub listeners_max: usize,
    /// Resources and tasks that one such stream may name.
    pub listen_names_max: usize,
    /// How often idle sessions are looked for, in milliseconds.
    pub sweep_ms: u64,
}

impl Default for ExchangeLimits {
    fn default() -> ExchangeLimits {
        ExchangeLimits {
            sessions: SessionLimits::default(),
            request_ms: 30_000,
            drain_ms: 8_000,
            asks_ms: 600_000,
            listeners_max: 100_000,
            listen_names_max: 1_000,
            sweep_ms: 10_000,
        }
    }
}
