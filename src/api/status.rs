//! The whole status: the group, the node that answers, and every figure of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::figures::{Connections, Latency, Quota, Serving, Throughput};
use super::members::Member;
use super::since::since;
use super::words::{Health, State};
use super::{PeerPort, Store};

/// Answer to `GET /cluster/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The group.
    pub cluster: ClusterPart,
    /// The node that answers.
    pub node: NodePart,
    /// The node that leads, if known.
    pub leader: Option<u64>,
    /// The term of consensus.
    pub term: u64,
    /// The last entry of the log applied on this node.
    pub applied: Option<u64>,
    /// Entries about shares of the connection limit that this node has applied since its start. The others
    /// are changes of the group and orders of operators.
    pub share_entries: Option<u64>,
    /// The last entry known to be committed.
    pub committed: Option<u64>,
    /// Committed entries not yet applied on this node.
    pub lag: Option<u64>,
    /// Milliseconds since a majority last answered the leader, as far as this node knows; half a lease of it
    /// and the node is not ready. `None` also if none has since the start.
    pub majority_contact_ms: Option<u64>,
    /// The members, by id.
    pub members: Vec<Member>,
    /// Connections of clients.
    pub connections: Connections,
    /// Sessions and calls of clients.
    pub serving: Serving,
    /// Messages of clients.
    pub throughput: Throughput,
    /// Times to answer.
    pub latency: Latency,
    /// Limits of the cluster.
    pub quota: Quota,
    /// The store of this node.
    pub store: Option<Store>,
    /// Counts of what this node's peer port turned away.
    pub peer_port: Option<PeerPort>,
    /// How each upstream is, in its own words.
    pub upstreams: serde_json::Value,
    /// The same as `node.not_ready_because` in one line, and `ok` if there is none.
    pub health: String,
}

/// The group, as the node that answers sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPart {
    /// Its id, drawn when it was founded.
    pub id: String,
    /// Its name in the configuration.
    pub name: String,
    /// `formed`, or `forming 2/4`.
    pub formation: String,
    /// How it is.
    pub health: Health,
}

/// The node that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodePart {
    /// Its id.
    pub id: u64,
    /// Part that it has in its group.
    pub role: State,
    /// Whether new clients may come.
    pub ready: bool,
    /// Every reason why not; empty if they may.
    pub not_ready_because: Vec<String>,
    /// The version of the program.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Calendar time of the start, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
}

impl Status {
    /// Every line below the members for people: its label and its text, without what was not said.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        // Percentiles of nothing would read as very fast.
        let was_silent = self.throughput.messages_total == Some(0);
        let latency = if was_silent { String::new() } else { self.latency.to_string() };
        let mut lines = vec![
            ("leader", self.consensus()),
            ("connections", self.connections.to_string()),
            ("serving", self.serving.to_string()),
            ("messages", self.throughput.to_string()),
            ("latency", latency),
        ];
        lines.retain(|(_, text)| !text.is_empty());
        lines
    }

    fn consensus(&self) -> String {
        let leader = self.leader.map_or("no leader".to_owned(), |id| format!("node {id}"));
        let mut text = format!("{leader}, term {}", self.term);
        if let (Some(applied), Some(committed)) = (self.applied, self.committed) {
            text += &format!(", applied {applied} of {committed}");
        }
        if let Some(ms) = self.majority_contact_ms {
            text += &format!(", a majority answered {} ago", since(ms));
        }
        text
    }
}

impl fmt::Display for NodePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.role != State::default() {
            write!(f, "{}, ", self.role)?;
        }
        let ready = if self.ready { "ready" } else { "not ready" };
        let uptime = since(self.uptime_s.saturating_mul(1000));
        write!(f, "{ready}, up {uptime}, version {}", self.version)
    }
}
