//! Reasons why a request is not taken for a peer's.

use hyper::StatusCode;

use crate::node_tag::NodeTag;

/// How far a request's time may be from ours, in milliseconds.
pub const WINDOW_MS: u64 = 30_000;

/// Why a request is not from a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A header is missing or malformed.
    #[error("the request is not signed as a peer's ({0})")]
    Unsigned(&'static str),
    /// It belongs to another cluster.
    #[error("this node belongs to cluster {ours}, not to {theirs}")]
    OtherCluster {
        /// Our cluster id.
        ours: String,
        /// The one in the request.
        theirs: String,
    },
    /// It was meant for another node, or for this one before its data was lost.
    #[error("this is node {ours}, not {theirs}")]
    Misdirected {
        /// This node.
        ours: NodeTag,
        /// Node that was asked for.
        theirs: String,
    },
    /// The clocks of the two nodes are too far apart.
    #[error("the request's time is {0} ms from this node's; at most {WINDOW_MS} ms are allowed")]
    Stale(u64),
    /// The signature does not match.
    #[error("the signature does not match: the cluster secret differs, or the request was altered")]
    WrongSecret,
    /// The body is not the one that was signed.
    #[error("the body is not the one that was signed")]
    Tampered,
    /// The same request came before.
    #[error("the request was seen before")]
    Replayed,
    /// Too many requests to remember.
    #[error("too many peer requests within a minute")]
    Busy,
}

impl AuthError {
    /// The word for it on the wire.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "unsigned",
            Self::OtherCluster { .. } => "other_cluster",
            Self::Misdirected { .. } => "misdirected",
            Self::Stale(_) => "stale",
            Self::WrongSecret => "wrong_secret",
            Self::Tampered => "tampered",
            Self::Replayed => "replayed",
            Self::Busy => "busy",
        }
    }

    /// The HTTP status for it.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unsigned(_) | Self::Stale(_) | Self::WrongSecret | Self::Tampered | Self::Replayed => {
                StatusCode::UNAUTHORIZED
            }
            Self::OtherCluster { .. } => StatusCode::FORBIDDEN,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
