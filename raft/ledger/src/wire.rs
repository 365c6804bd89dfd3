//! The wire and disk form of commands and state: JSON with a version.
//!
//! A reader that meets a newer form says so and stops; it never guesses and never panics. A follower that is
//! older than its leader therefore stays behind with a clear error instead of holding another truth.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::command::Command;

/// The newest form of commands that this release reads. It writes the oldest that holds what is to be said,
/// see [`Command::version`].
///
/// | form | since then |
/// |---|---|
/// | 1 | members, limits, budgets |
/// | 2 | shares: `open`, `renew`, `expire`, `set_targets`; `remove_member` with `now` |
pub const VERSION: u32 = 2;

/// The form of the state that is written at its founding, and the newest that is read. It stays while keys
/// are only added: those come with commands of a form that every member reads.
pub(crate) const STATE_VERSION: u32 = 1;

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

/// A command with its version around it, as it is read.
#[derive(Deserialize)]
struct Envelope {
    v: u32,
    #[serde(rename = "do")]
    command: serde_json::Value,
}

/// A command with its version around it, as it is written.
#[derive(Serialize)]
struct EnvelopeOf<'a> {
    v: u32,
    #[serde(rename = "do", with = "Command")]
    command: &'a Command,
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EnvelopeOf { v: self.version(), command: self }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Envelope::deserialize(deserializer)?.open().map_err(D::Error::custom)
    }
}

impl Envelope {
    fn open(self) -> Result<Command, LedgerError> {
        if self.v > VERSION {
            return Err(LedgerError::Newer { what: "a command", version: self.v });
        }
        Command::deserialize(self.command).map_err(malformed)
    }
}

fn malformed(source: serde_json::Error) -> LedgerError {
    LedgerError::Malformed { what: "a command".to_owned(), source }
}

pub(crate) fn command_from_json(bytes: &[u8]) -> Result<Command, LedgerError> {
    serde_json::from_slice::<Envelope>(bytes).map_err(malformed)?.open()
}

pub(crate) fn command_to_json(command: &Command) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(command).map_err(malformed)
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
        let Err(error) = Command::from_json(br#"{"v":3,"do":{"teleport":{"node":1}}}"#) else {
            panic!("a newer command was read");
        };
        assert_eq!(
            error.to_string(),
            "a command is of version 3, this release knows up to 2; update this node first"
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
            r#"{"v":1,"do":{"set_draining":{"node":3,"draining":true}}}"#
        );
        assert_eq!(Command::from_json(&json).unwrap(), command);
    }
}
