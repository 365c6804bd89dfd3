//! What a node says about itself over HTTP, as the command line reads it.
//!
//! Tolerant on purpose: every field may be missing and unknown ones are ignored, so that this program can
//! ask a node one version older or newer. What is printed with `--json` is the node's own text, not this.

use serde::Deserialize;

/// `GET /cluster/status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) cluster: ClusterPart,
    pub(super) node: NodePart,
    pub(super) leader: Option<u64>,
    pub(super) term: u64,
    pub(super) applied: Option<u64>,
    pub(super) committed: Option<u64>,
    pub(super) lag: Option<u64>,
    pub(super) members: Vec<Member>,
    pub(super) connections: Connections,
    pub(super) serving: Serving,
    pub(super) throughput: Throughput,
    pub(super) latency: Latency,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClusterPart {
    pub(super) id: String,
    pub(super) name: String,
    /// `formed` or `forming 2/4`.
    pub(super) formation: String,
    /// `ok`, `degraded` or `no quorum`.
    pub(super) health: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodePart {
    pub(super) id: u64,
    pub(super) role: String,
    pub(super) ready: bool,
    pub(super) not_ready_because: Vec<String>,
    pub(super) version: String,
    pub(super) uptime_s: u64,
}

/// One member of the group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Member {
    pub(super) id: u64,
    /// `voter` or `learner`.
    pub(super) role: String,
    /// `leader`, `follower`, `learner`, `unreachable` or `draining`.
    pub(super) state: String,
    pub(super) draining: bool,
    pub(super) peer: Option<String>,
    pub(super) http: Option<String>,
    pub(super) healthy: Option<bool>,
    pub(super) lag: Option<u64>,
    pub(super) last_contact_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connections {
    pub(super) here: Option<u64>,
    pub(super) limit_here: Option<u64>,
    pub(super) cluster_limit: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Serving {
    pub(super) sessions: Option<u64>,
    pub(super) calls: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Throughput {
    pub(super) messages_total: Option<u64>,
    pub(super) messages_per_second_1m: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// `GET /cluster/members`: the list, alone or within an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Members {
    List(Vec<Member>),
    Object { members: Vec<Member> },
}

impl Members {
    pub(super) fn into_list(self) -> Vec<Member> {
        match self {
            Members::List(members) | Members::Object { members } => members,
        }
    }
}

/// The body of a refusal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Complaint {
    pub(super) error: ComplaintText,
}

/// A text, or an object with a message as JSON-RPC has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ComplaintText {
    Text(String),
    Object { message: String },
}

impl Default for ComplaintText {
    fn default() -> Self {
        ComplaintText::Text(String::new())
    }
}

/// What a node says when it refuses: its own words if they can be read, else the start of the body.
pub(super) fn complaint(body: &[u8]) -> String {
    /// Enough to recognise a proxy's error page.
    const SHOWN_CHARS: usize = 200;
    let text = match serde_json::from_slice::<Complaint>(body) {
        Ok(Complaint { error: ComplaintText::Text(text) | ComplaintText::Object { message: text } }) => text,
        Err(_) => String::new(),
    };
    if !text.is_empty() {
        return super::paint::printable(&text);
    }
    let start: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN_CHARS).collect();
    if start.is_empty() { "no reason given".to_string() } else { super::paint::printable(&start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_a_status() {
        let status: Status = serde_json::from_str("{}").unwrap();
        assert_eq!((status.leader, status.members.len()), (None, 0));
    }

    #[test]
    fn unknown_fields_and_null_are_no_obstacle() {
        let text = r#"{"leader":null,"new":1,"members":[{"id":1,"peer":null,"x":{}}],"quota":{}}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.members[0].id, 1);
    }

    #[test]
    fn members_come_alone_or_in_an_object() {
        for text in [r#"[{"id":1}]"#, r#"{"members":[{"id":1}]}"#] {
            let members: Members = serde_json::from_str(text).unwrap();
            assert_eq!(members.into_list().len(), 1);
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_nodes_own_words() {
        assert_eq!(complaint(br#"{"error":"no such node"}"#), "no such node");
        assert_eq!(complaint(br#"{"error":{"code":1,"message":"no leader"}}"#), "no leader");
        assert_eq!(complaint(b"<html>"), "<html>");
        assert_eq!(complaint(b""), "no reason given");
    }
}
