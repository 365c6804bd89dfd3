//! The wire and disk form of commands and state: JSON with a version.
//!
//! A reader that meets a newer form says so and stops; it never guesses and never panics. A follower that is
//! older than its leader therefore stays behind with a clear error instead of holding another truth.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::id::{Incarnation, NodeId, Tenant};
use crate::limits::{Budget, Limits};
use crate::members::MemberClaim;

/// The newest form of commands and state that this release reads. It writes the oldest that holds what is to
/// be said, see [`Command::version`].
pub const VERSION: u32 = 1;

/// Why bytes are not a command or a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Written by a newer release.
    #[error("{what} is of version {version}, this release knows up to {VERSION}; update this node first")]
    Newer {
        /// A command or the state.
        what: &'static str,
        /// Its version.
        version: u32,
    },
    /// Of our version and yet unreadable.
    #[error("cannot read {what}: {source}")]
    Malformed {
        /// Thing that was read.
        what: String,
        /// Error of the reader.
        source: serde_json::Error,
    },
    /// A key that this release does not know, although the version is right.
    #[error("the state holds the unknown key {0:?}")]
    UnknownKey(String),
}

/// A command with its version around it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CommandWire {
    v: u32,
    #[serde(rename = "do")]
    wish: serde_json::Value,
}

/// The commands of version 1. [`Command`] is this with the version taken off.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CommandV1 {
    Found {
        cluster_id: String,
        node: NodeId,
        claim: MemberClaim,
        limits: Limits,
        budget: Budget,
    },
    PutMember {
        node: NodeId,
        claim: MemberClaim,
        returning: bool,
    },
    RemoveMember {
        node: NodeId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
        dead: bool,
    },
    SetDraining {
        node: NodeId,
        draining: bool,
    },
    SetLimit {
        tenant: Option<Tenant>,
        connections: Option<u32>,
    },
    SetLease {
        lease_ms: Option<u32>,
        drift_ppm: u32,
        margin_ms: u32,
    },
    SetBudget {
        tenant: Option<Tenant>,
        budget: Option<Budget>,
    },
}

impl From<Command> for CommandV1 {
    fn from(command: Command) -> Self {
        match command {
            Command::Found { cluster_id, node, claim, limits, budget } => {
                Self::Found { cluster_id, node, claim, limits, budget }
            }
            Command::PutMember { node, claim, returning } => Self::PutMember { node, claim, returning },
            Command::RemoveMember { node, incarnation, dead } => {
                Self::RemoveMember { node, incarnation, dead }
            }
            Command::SetDraining { node, draining } => Self::SetDraining { node, draining },
            Command::SetLimit { tenant, connections } => Self::SetLimit { tenant, connections },
            Command::SetLease { lease_ms, drift_ppm, margin_ms } => {
                Self::SetLease { lease_ms, drift_ppm, margin_ms }
            }
            Command::SetBudget { tenant, budget } => Self::SetBudget { tenant, budget },
        }
    }
}

impl From<CommandV1> for Command {
    fn from(command: CommandV1) -> Self {
        match command {
            CommandV1::Found { cluster_id, node, claim, limits, budget } => {
                Self::Found { cluster_id, node, claim, limits, budget }
            }
            CommandV1::PutMember { node, claim, returning } => Self::PutMember { node, claim, returning },
            CommandV1::RemoveMember { node, incarnation, dead } => {
                Self::RemoveMember { node, incarnation, dead }
            }
            CommandV1::SetDraining { node, draining } => Self::SetDraining { node, draining },
            CommandV1::SetLimit { tenant, connections } => Self::SetLimit { tenant, connections },
            CommandV1::SetLease { lease_ms, drift_ppm, margin_ms } => {
                Self::SetLease { lease_ms, drift_ppm, margin_ms }
            }
            CommandV1::SetBudget { tenant, budget } => Self::SetBudget { tenant, budget },
        }
    }
}

impl From<Command> for CommandWire {
    fn from(command: Command) -> Self {
        // Strings, whole numbers and options only: there is nothing JSON could refuse.
        let v = command.version();
        let wish = serde_json::to_value(CommandV1::from(command)).unwrap_or(serde_json::Value::Null);
        Self { v, wish }
    }
}

impl TryFrom<CommandWire> for Command {
    type Error = LedgerError;

    fn try_from(wire: CommandWire) -> Result<Self, LedgerError> {
        if wire.v > VERSION {
            return Err(LedgerError::Newer { what: "a command", version: wire.v });
        }
        serde_json::from_value::<CommandV1>(wire.wish)
            .map(Self::from)
            .map_err(|source| LedgerError::Malformed { what: "a command".to_owned(), source })
    }
}

pub(crate) fn command_from_json(bytes: &[u8]) -> Result<Command, LedgerError> {
    let wire: CommandWire = serde_json::from_slice(bytes)
        .map_err(|source| LedgerError::Malformed { what: "a command".to_owned(), source })?;
    Command::try_from(wire)
}

pub(crate) fn command_to_json(command: &Command) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(&CommandWire::from(command.clone()))
        .map_err(|source| LedgerError::Malformed { what: "a command".to_owned(), source })
}

/// Writes a value of the state.
pub(crate) fn value_to_json<T: Serialize>(value: &T) -> String {
    // As above: nothing JSON could refuse.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a value of the state.
pub(crate) fn value_from_json<'a, T: Deserialize<'a>>(key: &str, text: &'a str) -> Result<T, LedgerError> {
    serde_json::from_str(text)
        .map_err(|source| LedgerError::Malformed { what: format!("state {key:?}"), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_a_newer_release_is_a_clear_error() {
        let Err(error) = Command::from_json(br#"{"v":2,"do":{"teleport":{"node":1}}}"#) else {
            panic!("a newer command was read");
        };
        assert_eq!(
            error.to_string(),
            "a command is of version 2, this release knows up to 1; update this node first"
        );
        assert!(matches!(
            Command::from_json(br#"{"v":1,"do":{"teleport":{"node":1}}}"#),
            Err(LedgerError::Malformed { .. })
        ));
    }

    #[test]
    fn the_form_of_a_command_is_stable() {
        let command = Command::SetDraining { node: 3, draining: true };
        let json = command.to_json().unwrap();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            r#"{"v":1,"do":{"set_draining":{"draining":true,"node":3}}}"#
        );
        assert_eq!(Command::from_json(&json).unwrap(), command);
    }
}
