//! The figures of one node: clients, messages, latencies, limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Connections of clients, counted by the node that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    /// Open on this node now.
    pub here: Option<u64>,
    /// Open on this node at most, by its share of the limit.
    pub limit_here: Option<u64>,
    /// Milliseconds until the share ends unless it is renewed; `None` is never.
    pub share_ends_in_ms: Option<u64>,
    /// Open in the whole cluster at most, by the ledger.
    pub cluster_limit: Option<u64>,
    /// Accepted by this node since its start.
    pub total_here: Option<u64>,
    /// Not admitted by this node since its start, by reason. Probes and operators count too, though they are
    /// answered all the same.
    pub refused_here: BTreeMap<String, u64>,
}

/// Work that clients have on this node; a drained node is empty once both are 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Serving {
    /// Sessions open now.
    pub sessions: Option<u64>,
    /// Sessions ended since the node's start because places or bytes for them had run out.
    pub sessions_displaced: Option<u64>,
    /// Calls that run now; open listening streams are none.
    pub calls: Option<u64>,
    /// Messages refused since the node's start, by reason: beyond a bound or a budget, or no message at all.
    pub refused: BTreeMap<String, u64>,
}

/// Messages of clients on this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throughput {
    /// Received and sent since the start.
    pub messages_total: Option<u64>,
    /// Received since the start.
    pub messages_in: Option<u64>,
    /// Sent since the start.
    pub messages_out: Option<u64>,
    /// Requests answered with a fault since the start.
    pub faults: Option<u64>,
    /// Received and sent per second, over the last second.
    pub messages_per_second_1s: Option<f64>,
    /// The same over the last ten seconds.
    pub messages_per_second_10s: Option<f64>,
    /// The same over the last minute.
    pub messages_per_second_1m: Option<f64>,
}

/// Percentiles of the time to answer a request since the start, in milliseconds; 0 without any request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

/// Limits of the whole cluster that the ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// Connections at most.
    pub connections: Option<u64>,
    /// Messages per second at most, in the long run.
    pub messages_per_second: Option<u64>,
    /// Messages at most at once.
    pub burst: Option<u64>,
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(here) = self.here else { return Ok(()) };
        write!(f, "{here} here")?;
        if let Some(limit) = self.limit_here {
            write!(f, " of a share of {limit}")?;
        }
        if let Some(limit) = self.cluster_limit {
            write!(f, ", the cluster's limit is {limit}")?;
        }
        write_refused(f, &self.refused_here)
    }
}

/// Nothing where nobody was refused.
fn write_refused(f: &mut fmt::Formatter<'_>, by_reason: &BTreeMap<String, u64>) -> fmt::Result {
    let refused: u64 = by_reason.values().sum();
    if refused == 0 {
        return Ok(());
    }
    let reasons: Vec<_> = by_reason.iter().map(|(why, count)| format!("{why} {count}")).collect();
    write!(f, "; {refused} refused here ({})", reasons.join(", "))
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(sessions), Some(calls)) = (self.sessions, self.calls) else { return Ok(()) };
        let s = |count| if count == 1 { "" } else { "s" };
        write!(f, "{sessions} session{}, {calls} running call{} here", s(sessions), s(calls))?;
        if let Some(displaced @ 1..) = self.sessions_displaced {
            write!(f, "; {displaced} displaced")?;
        }
        write_refused(f, &self.refused)
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(total) = self.messages_total else { return Ok(()) };
        write!(f, "{total} in all")?;
        if let Some(rate) = self.messages_per_second_1m {
            write!(f, ", {rate:.1} a second over the last minute")?;
        }
        Ok(())
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (name, ms) in [("p50", self.p50_ms), ("p95", self.p95_ms), ("p99", self.p99_ms)] {
            if let Some(ms) = ms {
                write!(f, "{gap}{name} {ms:.2} ms")?;
                gap = "   ";
            }
        }
        Ok(())
    }
}
