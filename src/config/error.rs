//! Problems of a configuration, and how to say them: where, which key, what value, what is allowed.
//!
//! All faults are collected, so that a user mends a file once and not fault by fault.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Source that set a key. Later ones override earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the built-in value.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment, by name.
    Environment(String),
    /// A flag of the command line, by name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) | Origin::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Message of the parser.
        what: String,
    },
    /// There is no such key.
    #[error("{origin}: unknown key {key}{}", hint(*nearest))]
    Unknown {
        /// Source that named it.
        origin: Origin,
        /// Name that is not known.
        key: String,
        /// Known name that it resembles.
        nearest: Option<&'static str>,
    },
    /// A value that the key cannot have.
    #[error("{origin}: {key} is {value}; it must be {wanted}")]
    Value {
        /// Source that set it.
        origin: Origin,
        /// The key.
        key: String,
        /// Value that it was set to, shortened.
        value: String,
        /// Values that it may have.
        wanted: String,
    },
    /// A key that must be given is not.
    #[error("{origin}: {key} is missing; it must be {wanted}")]
    Missing {
        /// Place where it is missing.
        origin: Origin,
        /// The key.
        key: String,
        /// Values that it may have.
        wanted: String,
    },
    /// A client port that faces a network although nothing authenticates there.
    #[error(
        "{origin}: {key} is \"{address}\", which others can reach, and nothing authenticates clients there; \
         listen on 127.0.0.1 behind a proxy that does, or accept the risk with --insecure"
    )]
    Insecure {
        /// Source that set it.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; the nearest known key is {nearest}")).unwrap_or_default()
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Problem>,
}

impl ConfigError {
    /// Whether the only thing wrong is that a client port is open to others.
    #[must_use]
    pub fn is_insecure_bind(&self) -> bool {
        self.faults.iter().all(|fault| matches!(fault, Problem::Insecure { .. }))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
