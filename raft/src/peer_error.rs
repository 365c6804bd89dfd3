//! Reasons why a request to a peer has no answer.

use erlmcp_ledger::{Incarnation, NodeId};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// No connection: nothing was sent.
    #[error("cannot reach {address}: {problem}")]
    Unreachable {
        /// Its address.
        address: String,
        /// Why.
        problem: String,
    },
    /// The connection broke, or the time was up: the other side may have acted.
    #[error("no answer from {address}: {problem}")]
    Lost {
        /// Its address.
        address: String,
        /// Why.
        problem: String,
    },
    /// Somebody answered who does not prove to be a peer: nothing that it says is believed.
    #[error("whoever answers at {address} does not hold this cluster's secret; it says ({code}): {message}")]
    Unproven {
        /// Its address.
        address: String,
        /// Its word for a refusal.
        code: String,
        /// Its answer.
        message: String,
    },
    /// The other side said no.
    #[error("{address} refused ({code}): {message}")]
    Refused {
        /// Its address.
        address: String,
        /// The HTTP status.
        status: StatusCode,
        /// The word for it.
        code: String,
        /// Its answer.
        message: String,
        /// Whom to ask instead, when it does not lead.
        leader: Option<Box<LeaderHint>>,
    },
}

impl PeerError {
    /// Whether nothing can have happened on the other side.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. })
    }

    /// The word of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// Whom to ask instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderHint {
    /// The leader's id.
    pub id: NodeId,
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// Its address.
    pub address: String,
}
