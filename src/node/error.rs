//! Why a node does not run, or not any longer.

use std::net::SocketAddr;

use erlmcp_raft::{Fatal, RaftError};

use crate::admin::TokenError;

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
    /// The replica cannot go on.
    #[error("{0}")]
    Fatal(Fatal),
    /// This node may not join: only people can mend that.
    #[error("cannot join the group: {0}")]
    Join(String),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another process has the port: stop it, or set ERLMCP_PORT_BASE",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
        _ => "",
    }
}
