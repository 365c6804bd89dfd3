//! Orders of an operator, the answers to them, and refusals.
//!
//! An order is read strictly: half understood, it would do something else than was meant.

use serde::{Deserialize, Serialize};

/// Body of `POST /cluster/drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The node that is meant.
    pub node: u64,
    /// Whether it hands over its work, or takes new work again.
    pub draining: bool,
}

/// Body of `POST /cluster/transfer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The voter to lead; `None`: any other.
    #[serde(default)]
    pub to: Option<u64>,
}

/// Body of `POST /cluster/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The node that is meant.
    pub node: u64,
    /// Whether it is lost, so that nobody waits for it.
    #[serde(default)]
    pub dead: bool,
    /// With `dead`: it no longer runs, so that its share of the connections goes at once even if its lease
    /// never ends. Left out if false, as nodes of an older release do not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
}

/// Answer to [`Drain`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drained {
    /// As ordered.
    pub draining: bool,
    /// As ordered.
    pub node: u64,
}

/// Answer to [`Transfer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transferred {
    /// The node that leads now.
    pub leader: u64,
}

/// Answer to [`Remove`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Removed {
    /// As ordered.
    pub node: u64,
    /// Always true.
    pub removed: bool,
}

/// Body of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Complaint {
    /// Why not, in one line.
    pub error: ComplaintText,
}

/// Text of a refusal: alone as a node says it, or in an object as JSON-RPC has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ComplaintText {
    Text(String),
    Object { message: String },
}

impl Complaint {
    /// A refusal because of `why`.
    #[must_use]
    pub fn new(why: &str) -> Complaint {
        Complaint { error: ComplaintText::Text(why.to_owned()) }
    }

    /// The text, however it was wrapped.
    #[must_use]
    pub fn into_text(self) -> String {
        match self.error {
            ComplaintText::Text(text) | ComplaintText::Object { message: text } => text,
        }
    }
}

impl Default for ComplaintText {
    fn default() -> ComplaintText {
        ComplaintText::Text(String::new())
    }
}
