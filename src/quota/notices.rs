//! Lines of the log about a node's share: that there is one, that clients are refused and for how long, that
//! the configuration and the ledger differ.
//!
//! Pure; a line at a move that matters, never one for each connection.

use std::fmt;

use erlmcp_ledger::Limits;

use crate::admission::Use;

/// Refusals are over when none came for so long, in milliseconds.
const QUIET_MS: u64 = 10_000;

/// A line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// There is a share where there was none.
    Granted {
        /// Its connections.
        connections: u32,
    },
    /// The share has ended without a renewal.
    Ended {
        /// Connections that are open, and are being closed.
        open: u32,
    },
    /// Clients are refused since now.
    Refusing {
        /// Connections of the share.
        connections: u32,
        /// Connections that are open.
        open: u32,
    },
    /// None has been for a while.
    RefusedNone {
        /// Refused since [`Notice::Refusing`].
        refused: u64,
    },
}

/// Remembers what was said.
#[derive(Debug, Default)]
pub(super) struct Notices {
    has_share: bool,
    refused: u64,
    /// The refusals so far when clients began to be refused.
    refusing_since: Option<u64>,
    refused_ms: u64,
}

impl Notices {
    /// The news since the last look.
    pub(super) fn look(&mut self, gate: Use, now_ms: u64) -> Vec<Notice> {
        let mut news = Vec::new();
        if gate.share > 0 && !self.has_share {
            news.push(Notice::Granted { connections: gate.share });
        }
        let has_ended = gate.share == 0 && gate.ends_in_ms == Some(0);
        if has_ended && self.has_share {
            news.push(Notice::Ended { open: gate.in_use });
        }
        self.has_share = gate.share > 0 || self.has_share && !has_ended;
        if gate.refused > self.refused {
            // Without a share the node says so elsewhere, and it is not ready.
            if self.refusing_since.is_none() && gate.share > 0 {
                self.refusing_since = Some(self.refused);
                news.push(Notice::Refusing { connections: gate.share, open: gate.in_use });
            }
            self.refused_ms = now_ms;
        } else if let Some(before) = self.refusing_since.filter(|_| now_ms >= self.refused_ms + QUIET_MS) {
            self.refusing_since = None;
            news.push(Notice::RefusedNone { refused: gate.refused - before });
        }
        self.refused = gate.refused;
        news
    }
}

impl Notice {
    /// Writes it.
    pub(super) fn say(self) {
        match self {
            Notice::Granted { connections } => {
                tracing::info!(connections, "this node has a share of the cluster's connections");
            }
            Notice::Ended { open } => {
                tracing::warn!(
                    open,
                    "the share of this node ended without a renewal: its connections are closed, and none is \
                     admitted before it has a share again"
                );
            }
            Notice::Refusing { connections, open } => {
                tracing::warn!(
                    connections,
                    open,
                    "clients are refused: this node's share is used up, and it is given no more for now; \
                     `erlmcp-node quota show` says why"
                );
            }
            Notice::RefusedNone { refused } => {
                tracing::info!(refused, "no client was refused for 10 s");
            }
        }
    }
}

/// Limits of the configuration, with which a cluster is founded, beside those that hold.
pub(super) struct Difference<'a> {
    /// The configuration of this node.
    pub(super) configured: &'a Limits,
    /// The ledger.
    pub(super) known: &'a Limits,
}

impl Difference<'_> {
    /// Writes a line if there is one.
    pub(super) fn say(&self) {
        let text = self.to_string();
        if !text.is_empty() {
            tracing::info!("{text}; the ledger holds, change it with `erlmcp-node quota set`");
        }
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (configured, known) = (self.configured, self.known);
        let lease = |limits: &Limits| limits.lease_ms.map_or("never".to_owned(), |ms| ms.to_string());
        let pairs = [
            ("connections.global", configured.connections.to_string(), known.connections.to_string()),
            ("quota.lease_ms", lease(configured), lease(known)),
        ];
        let mut separator = "";
        for (key, configured, known) in pairs {
            if configured != known {
                write!(f, "{separator}{key}: the configuration says {configured}, the ledger {known}")?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(share: u32, refused: u64) -> Use {
        Use { share, in_use: share, ceiling: 100, ends_in_ms: Some(3_000), refused }
    }

    #[test]
    fn refusals_are_said_when_they_begin_and_when_they_are_over_whatever_their_number() {
        let mut notices = Notices::default();
        assert_eq!(notices.look(gate(0, 5), 0), [], "the node has no share: that is said elsewhere");
        assert_eq!(notices.look(gate(10, 5), 100), [Notice::Granted { connections: 10 }]);
        assert_eq!(notices.look(gate(10, 6), 200), [Notice::Refusing { connections: 10, open: 10 }]);
        assert_eq!(notices.look(gate(10, 900), 9_000), []);
        assert_eq!(notices.look(gate(10, 900), 18_999), []);
        assert_eq!(notices.look(gate(10, 900), 19_000), [Notice::RefusedNone { refused: 895 }]);
        assert_eq!(notices.look(gate(10, 900), 90_000), []);
        assert_eq!(notices.look(gate(10, 901), 90_001), [Notice::Refusing { connections: 10, open: 10 }]);
    }

    #[test]
    fn a_share_is_said_again_only_after_its_end() {
        let mut notices = Notices::default();
        assert_eq!(notices.look(gate(10, 0), 0).len(), 1);
        // Given back, and grown again: the same share.
        assert_eq!(notices.look(gate(0, 0), 1), []);
        assert_eq!(notices.look(gate(10, 0), 2), []);
        let ended = Use { ends_in_ms: Some(0), in_use: 7, ..gate(0, 0) };
        assert_eq!(notices.look(ended, 3), [Notice::Ended { open: 7 }]);
        assert_eq!(notices.look(ended, 3), []);
        assert_eq!(notices.look(gate(10, 0), 4).len(), 1);
    }

    #[test]
    fn a_configuration_that_the_ledger_has_left_behind_is_named_key_by_key() {
        let configured = Limits { connections: 100, lease_ms: Some(30_000), drift_ppm: 0, margin_ms: 0 };
        let said = |known: &Limits| Difference { configured: &configured, known }.to_string();
        assert_eq!(said(&configured), "");
        let known = Limits { connections: 20, lease_ms: None, ..configured };
        assert_eq!(
            said(&known),
            "connections.global: the configuration says 100, the ledger 20; \
             quota.lease_ms: the configuration says 30000, the ledger never"
        );
    }
}
