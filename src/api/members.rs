//! The members of the group, as the node that answers sees them.

use serde::{Deserialize, Serialize};

use super::since::since;
use super::words::{Standing, State};

/// One member of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Whether it votes.
    pub role: Standing,
    /// State it is in now.
    pub state: State,
    /// Whether it was asked to hand over its work.
    pub draining: bool,
    /// Address at which members reach it.
    pub peer: Option<String>,
    /// Address at which clients reach it.
    pub http: Option<String>,
    /// Whether it answers the leader, known on the leader only; of itself whether its store takes writes.
    pub healthy: Option<bool>,
    /// Log entries it is behind; of others known on the leader only.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered; of others known on the leader only.
    pub last_contact_ms: Option<u64>,
}

/// Answer to `GET /cluster/members`: the list, alone or within an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Members {
    List(Vec<Member>),
    Object { members: Vec<Member> },
}

impl Members {
    /// The list.
    #[must_use]
    pub fn into_list(self) -> Vec<Member> {
        match self {
            Members::List(members) | Members::Object { members } => members,
        }
    }
}

impl Member {
    /// The member as a row for people: every column with its text. `is_own`: whether it is the node that
    /// answered, which has nothing to hear of itself.
    #[must_use]
    pub fn row(&self, is_own: bool) -> Vec<(&'static str, String)> {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let heard = self.last_contact_ms.filter(|_| !is_own).map(since);
        vec![
            ("NODE", format!("{}{}", self.id, if is_own { " *" } else { "" })),
            ("ROLE", self.role.to_string()),
            ("STATE", self.state_text()),
            ("LAG", dash(self.lag.map(|lag| lag.to_string()))),
            ("LAST HEARD", dash(heard)),
            ("PEER", dash(self.peer.clone())),
            ("HTTP", dash(self.http.clone())),
        ]
    }

    fn state_text(&self) -> String {
        match (&self.state, self.healthy) {
            (state, Some(false)) if *state != State::Unreachable => format!("{state} (unhealthy)"),
            (state, _) if self.draining && *state != State::Draining => format!("{state}, draining"),
            (state, _) => state.to_string(),
        }
    }
}
