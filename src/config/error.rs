//! What can be wrong with a configuration, and how to say it: where, which key, what value, what is allowed.
//!
//! All faults are collected, so that a user mends a file once and not fault by fault.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Who set a key. Later ones override earlier ones.
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
        /// What the parser said.
        what: String,
    },
    /// There is no such key.
    #[error("{origin}: unknown key {key}{}", hint(*nearest))]
    Unknown {
        /// Who named it.
        origin: Origin,
        /// What was named.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value that the key cannot have.
    #[error("{origin}: {key} is {value}; it must be {wanted}")]
    Value {
        /// Who set it.
        origin: Origin,
        /// The key.
        key: String,
        /// What it was set to, shortened.
        value: String,
        /// What it may be.
        wanted: String,
    },
    /// A key that must be given is not.
    #[error("{origin}: {key} is missing; it must be {wanted}")]
    Missing {
        /// Where it is missing.
        origin: Origin,
        /// The key.
        key: String,
        /// What it may be.
        wanted: String,
    },
    /// A client port that faces a network although nothing authenticates there.
    #[error(
        "{origin}: {key} is \"{address}\", which others can reach, and nothing authenticates clients there; \
         listen on 127.0.0.1 behind a proxy that does, or accept the risk with --insecure"
    )]
    Insecure {
        /// Who set it.
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
