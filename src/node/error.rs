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
        /// Purpose of the port.
        what: &'static str,
        /// Address of the port.
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
        /// Step that failed.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CliError;

    /// Placeholder in the table for the part that differs.
    const ANY: &str = "…";

    fn name(fatal: &Fatal) -> &'static str {
        match fatal {
            Fatal::Store(_) => "Store",
            Fatal::Core(_) => "Core",
            Fatal::WrongSecret(_) => "WrongSecret",
            Fatal::SecondGroup { .. } => "SecondGroup",
            Fatal::Removed(_) => "Removed",
        }
    }

    #[test]
    fn the_table_for_operators_has_each_cause_with_its_line_and_exit_code() {
        let any = || ANY.to_owned();
        // No node has this id: its digits stand for any.
        let node = 987_654_321;
        let causes = [
            Fatal::Store(any()),
            Fatal::Core(any()),
            Fatal::WrongSecret(any()),
            Fatal::SecondGroup { node, cluster_id: any(), elsewhere: any() },
            Fatal::Removed(node),
        ];
        let table = include_str!("../../docs/operations.md");
        for fatal in causes {
            let line = fatal.to_string().replace(&node.to_string(), ANY);
            let name = name(&fatal);
            let code = CliError::Node(Box::new(NodeError::Fatal(fatal))).exit_code();
            let row = format!("| `{name}` | {code} | `` {line} `` |");
            assert!(table.contains(&row), "docs/operations.md lacks: {row}");
        }
    }
}
