//! Every "no" that a client can get for reasons of load, or because the node ends: code, text, status, and
//! when to come back.
//!
//! A refusal is expected and counted, never logged. Its codes lie outside JSON-RPC's reserved range, so that
//! no client takes it for an error of the protocol.

use std::fmt;

/// An expected no to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// This node holds all the connections it may.
    ConnectionsFull,
    /// The cluster has all the connections it may, or what is free of them is on other nodes.
    LimitReached,
    /// This node has no share of the cluster's connections.
    NoShare,
    /// This node holds all the sessions it may.
    SessionsFull,
    /// The sessions of this node keep all the bytes they may.
    SessionBytesFull,
    /// This principal has all the sessions on this node that it may have.
    PrincipalSessionsFull,
    /// This session has too many unanswered requests.
    RequestsFull,
    /// This node has too many open listening streams.
    ListenersFull,
    /// This node is stopping.
    Stopping,
    /// An operator drains this node.
    Draining,
    /// An upstream has all the requests it may have at once.
    UpstreamRequestsFull,
    /// This client's address has all the requests at an upstream that one may have.
    ClientRequestsFull,
    /// An upstream has all the sessions it may have at once, and none is idle.
    UpstreamSessionsFull,
    /// This client's address has all the sessions at an upstream that one may have, and none is idle.
    ClientSessionsFull,
    /// This node's own tools have all the tasks they may.
    TasksFull,
    /// This client's address has all the tasks that one may have.
    ClientTasksFull,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 16] = [
        Refusal::ConnectionsFull,
        Refusal::LimitReached,
        Refusal::NoShare,
        Refusal::SessionsFull,
        Refusal::SessionBytesFull,
        Refusal::PrincipalSessionsFull,
        Refusal::RequestsFull,
        Refusal::ListenersFull,
        Refusal::Stopping,
        Refusal::Draining,
        Refusal::UpstreamRequestsFull,
        Refusal::ClientRequestsFull,
        Refusal::UpstreamSessionsFull,
        Refusal::ClientSessionsFull,
        Refusal::TasksFull,
        Refusal::ClientTasksFull,
    ];

    /// The refusal whose code that is.
    #[must_use]
    pub fn by_code(code: i64) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// A short name, for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::ConnectionsFull => "connections_full",
            Refusal::LimitReached => "limit_reached",
            Refusal::NoShare => "no_share",
            Refusal::SessionsFull => "sessions_full",
            Refusal::SessionBytesFull => "session_bytes_full",
            Refusal::PrincipalSessionsFull => "principal_sessions_full",
            Refusal::RequestsFull => "requests_full",
            Refusal::ListenersFull => "listeners_full",
            Refusal::Stopping => "stopping",
            Refusal::Draining => "draining",
            Refusal::UpstreamRequestsFull => "upstream_requests_full",
            Refusal::ClientRequestsFull => "client_requests_full",
            Refusal::UpstreamSessionsFull => "upstream_sessions_full",
            Refusal::ClientSessionsFull => "client_sessions_full",
            Refusal::TasksFull => "tasks_full",
            Refusal::ClientTasksFull => "client_tasks_full",
        }
    }

    /// The JSON-RPC code.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Refusal::ConnectionsFull => 50_301,
            Refusal::SessionsFull => 50_302,
            Refusal::ListenersFull => 50_303,
            Refusal::Stopping => 50_304,
            Refusal::Draining => 50_305,
            Refusal::LimitReached => 50_306,
            Refusal::NoShare => 50_307,
            Refusal::SessionBytesFull => 50_308,
            Refusal::UpstreamRequestsFull => 50_309,
            Refusal::UpstreamSessionsFull => 50_310,
            Refusal::TasksFull => 50_311,
            Refusal::PrincipalSessionsFull => 42_901,
            Refusal::RequestsFull => 42_902,
            Refusal::ClientRequestsFull => 42_903,
            Refusal::ClientSessionsFull => 42_904,
            Refusal::ClientTasksFull => 42_905,
        }
    }

    /// The HTTP status: 503 for our overload, 429 for the client's own budget.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Refusal::ConnectionsFull
            | Refusal::LimitReached
            | Refusal::NoShare
            | Refusal::SessionsFull
            | Refusal::SessionBytesFull
            | Refusal::ListenersFull
            | Refusal::Stopping
            | Refusal::Draining
            | Refusal::UpstreamRequestsFull
            | Refusal::UpstreamSessionsFull
            | Refusal::TasksFull => 503,
            Refusal::PrincipalSessionsFull
            | Refusal::RequestsFull
            | Refusal::ClientRequestsFull
            | Refusal::ClientSessionsFull
            | Refusal::ClientTasksFull => 429,
        }
    }

    /// Seconds until another try makes sense, spread over `[1, 3]` by `jitter` so that clients do not return
    /// together.
    #[must_use]
    pub fn retry_after_s(self, jitter: u64) -> u64 {
        1 + jitter % 3
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::ConnectionsFull => {
                "this node holds all the connections it may (http.connections_max); try again soon"
            }
            Refusal::LimitReached => {
                "the cluster's limit of connections is reached, as far as this node knows; try again soon"
            }
            Refusal::NoShare => {
                "this node has no share of the cluster's connections now; try again soon, on another"
            }
            Refusal::SessionsFull => {
                "this node holds all the sessions it may (session.per_node_max); try again soon"
            }
            Refusal::SessionBytesFull => {
                "the sessions of this node keep all the bytes they may (session.bytes_max); try again soon"
            }
            Refusal::ListenersFull => "this node has all the listening streams it may; try again soon",
            Refusal::Stopping => "this node is stopping; try again soon, on another",
            Refusal::Draining => "this node is drained and takes nothing new; try again soon, on another",
            Refusal::PrincipalSessionsFull => {
                "too many sessions of one principal (session.per_principal_max); end some"
            }
            Refusal::RequestsFull => {
                "too many unanswered requests in this session (limits.requests_in_flight); await some"
            }
            Refusal::UpstreamRequestsFull => "an upstream has all the requests it may; try again soon",
            Refusal::ClientRequestsFull => "too many unanswered requests from your address; await some",
            Refusal::UpstreamSessionsFull => "an upstream has all the sessions it may; try again soon",
            Refusal::ClientSessionsFull => "too many sessions from your address at an upstream; end some",
            Refusal::TasksFull => "this node's tools have all the tasks they may; try again soon",
            Refusal::ClientTasksFull => "too many tasks from your address; end some",
        })
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_name_each_with_its_code_and_status() {
        let documents = include_str!("../docs/refusals.md");
        for refusal in Refusal::ALL {
            let row = format!("| {} | {} | `{}` |", refusal.code(), refusal.status(), refusal.name());
            assert!(documents.contains(&row), "docs/refusals.md has no row {row}");
        }
    }

    #[test]
    fn codes_lie_outside_the_range_of_json_rpc_and_match_their_status() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::by_code(refusal.code()), Some(refusal));
            assert!(!(-32_768..=-32_000).contains(&refusal.code()), "{refusal:?}");
            assert_eq!(refusal.code() / 100, i64::from(refusal.status()), "{refusal:?}");
            assert!((1..=3).contains(&refusal.retry_after_s(u64::MAX)), "{refusal:?}");
        }
    }
}
