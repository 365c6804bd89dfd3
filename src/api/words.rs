//! The words for how a cluster, a member and a vote stand: on the wire and on the page the same.
//!
//! A word that this version does not know is kept as it is, for a newer node may have one more.

use std::fmt;

use erlmcp_raft::Role;
use serde::{Deserialize, Serialize};

/// Health of the group as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is as it should be.
    Ok,
    /// The group decides, but a member is silent or missing, or this node's store takes no writes.
    Degraded,
    /// No majority answers: nothing can be decided.
    #[serde(rename = "no quorum")]
    NoQuorum,
    /// A word of another version; empty if nothing was said.
    #[serde(untagged)]
    Other(String),
}

/// Right of a member to vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Votes.
    Voter,
    /// Follows without a vote.
    Learner,
    /// A word of another version; empty if nothing was said.
    #[serde(untagged)]
    Other(String),
}

/// Part that a node takes in its group now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Leads.
    Leader,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Not yet known to the group.
    Joining,
    /// Removed from the group.
    Removed,
    /// Its store or its consensus failed, or it has stopped.
    Failed,
    /// Follows, and was asked to hand over its work.
    Draining,
    /// Does not answer the leader.
    Unreachable,
    /// A word of another version; empty if nothing was said.
    #[serde(untagged)]
    Other(String),
}

impl Standing {
    /// Standing of a member that votes or does not.
    #[must_use]
    pub fn of(votes: bool) -> Standing {
        if votes { Standing::Voter } else { Standing::Learner }
    }
}

impl From<Role> for State {
    fn from(role: Role) -> State {
        match role {
            Role::Leader => State::Leader,
            Role::Follower => State::Follower,
            Role::Candidate => State::Candidate,
            Role::Learner => State::Learner,
            Role::Joining => State::Joining,
            Role::Removed => State::Removed,
            Role::Failed => State::Failed,
        }
    }
}

impl Default for Health {
    fn default() -> Health {
        Health::Other(String::new())
    }
}

impl Default for Standing {
    fn default() -> Standing {
        Standing::Other(String::new())
    }
}

impl Default for State {
    fn default() -> State {
        State::Other(String::new())
    }
}

// A formatter takes what serde would write, so that each word stands in one place.

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
