//! Why a node does not run, or not any longer.

use std::net::SocketAddr;
use std::path::PathBuf;

use erlmcp_raft::{Fatal, RaftError};

use crate::admin::TokenError;
use crate::upstream::UpstreamError;

/// Why a node does not run, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A port cannot be had.
    #[error("cannot listen on {address} for {what}: {source}{}", hint(source))]
    Bind {
        /// What it is for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// `init` was never run here.
    #[error("{} belongs to no node yet; run: erlmcp-node init --id {node_id}", dir.display())]
    NotInitialised {
        /// The data directory.
        dir: PathBuf,
        /// The node.
        node_id: u64,
    },
    /// Threads or signals cannot be had.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The identity, the secret, the store or consensus.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// The operator's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An upstream is not as it must be.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The replica cannot go on.
    #[error("{0}")]
    Fatal(Fatal),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another process has the port: stop it, or set ERLMCP_PORT_BASE",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
        _ => "",
    }
}
