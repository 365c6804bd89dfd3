//! Failures of a command, and the exit code of each.
//!
//! 0 it worked; 1 it did not; 2 the command line is wrong (clap says so itself); 78 the configuration
//! opens a client port to others without a word of consent.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::telemetry::TelemetryError;

use super::http::CallError;

/// The exit code of a configuration that is refused for safety (`EX_CONFIG`).
const EXIT_INSECURE: u8 = 78;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging cannot start as configured.
    #[error("telemetry.log: {0}")]
    Telemetry(#[from] TelemetryError),
    /// No node could be asked.
    #[error("no node answers at {tried}; start one: erlmcp-node start --id {id}")]
    NoNode {
        /// The addresses tried, with the reason.
        tried: String,
        /// The node to start.
        id: u64,
    },
    /// A call that reached nobody, or an answer that is none.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A node said no.
    #[error("{url} says {status}: {message}")]
    Refused {
        /// Whom we asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Its answer.
        message: String,
    },
    /// The operator's token cannot be had.
    #[error(
        "cannot read the admin token {}: {source}; it is made by: erlmcp-node init, or give --token-file",
        path.display()
    )]
    Token {
        /// Place where it should be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The token lies open to others.
    #[error(
        "{} has mode {mode:o}; it must be 600, so that only you can read it: chmod 600 {}",
        path.display(),
        path.display()
    )]
    TokenMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file or directory of ours.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// Step that failed.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The system refused something that is not a file.
    #[error("cannot {what}: {source}")]
    System {
        /// Step that failed.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No client could ever connect.
    #[error(
        "{files} open files less {reserve} for ourselves (connections.reserve_files) leave room for no \
         client; raise the limit: ulimit -n, LimitNOFILE= (systemd), ulimits (Docker)"
    )]
    TooFewFiles {
        /// The limit after we raised it.
        files: u64,
        /// Part of it that is kept.
        reserve: u64,
    },
    /// The data directory or the cluster secret.
    #[error("{0}")]
    Identity(String),
    /// The node ended with an error.
    #[error("{0}")]
    Node(Box<dyn std::error::Error + Send + Sync>),
    /// Something was found to be wrong; what it is has been said already.
    #[error("{0}")]
    Found(String),
}

impl CliError {
    /// The exit code that says it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Config(error) if error.is_insecure_bind() => EXIT_INSECURE,
            _ => 1,
        }
    }
}
