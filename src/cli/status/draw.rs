//! The status of a cluster as a page of text: members as a table, the figures below.
//!
//! Pure: an answer in, text out. What the node did not say is left out or shown as "-", never guessed.

use std::fmt::Write as _;

use super::super::paint::{Grid, Paint, Tone, printable, since};
use super::super::wire::{Member, Status};

/// Width of the labels of the lines below the table.
const LABEL: usize = 12;

pub(super) fn status(status: &Status, url: &str, paint: Paint) -> String {
    let mut out = String::new();
    let cluster = &status.cluster;
    let health = paint.tone(tone_of(&cluster.health), &printable(&cluster.health));
    let name = paint.tone(Tone::Strong, &printable(&cluster.name));
    let _ = writeln!(out, "{name}  {}  {health}", printable(&cluster.formation));
    let id = if cluster.id.is_empty() { "-".to_string() } else { printable(&cluster.id) };
    let _ = writeln!(out, "{}", paint.tone(Tone::Dim, &format!("cluster {id}")));
    out.push('\n');
    out.push_str(&members(&status.members, Some(status.node.id), paint));
    out.push('\n');
    for (label, text) in figures(status, url) {
        let _ = writeln!(out, "{}{text}", paint.tone(Tone::Dim, &format!("{label:<LABEL$}")));
    }
    for reason in &status.node.not_ready_because {
        let line = format!("not ready: {}", printable(reason));
        let _ = writeln!(out, "{:<LABEL$}{}", "", paint.tone(Tone::Warn, &line));
    }
    out
}

fn figures(status: &Status, url: &str) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let leader = status.leader.map_or("no leader".to_string(), |id| format!("node {id}"));
    let mut raft = format!("{leader}, term {}", status.term);
    if let (Some(applied), Some(committed)) = (status.applied, status.committed) {
        _ = write!(raft, ", applied {applied} of {committed}");
    }
    lines.push(("leader", raft));
    let c = &status.connections;
    if let Some(here) = c.here {
        let mut text = format!("{here} here");
        if let Some(limit) = c.limit_here {
            _ = write!(text, " of {limit}");
        }
        if let Some(limit) = c.cluster_limit {
            _ = write!(text, ", {limit} in the cluster");
        }
        lines.push(("connections", text));
    }
    if let (Some(sessions), Some(calls)) = (status.serving.sessions, status.serving.calls) {
        let many = |count, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        lines.push((
            "serving",
            format!("{}, {} here", many(sessions, "session"), many(calls, "running call")),
        ));
    }
    let t = &status.throughput;
    if let Some(total) = t.messages_total {
        let rate = t.messages_per_second_1m.map(|rate| format!(", {rate:.1} a second over the last minute"));
        lines.push(("messages", format!("{total} in all{}", rate.unwrap_or_default())));
    }
    let l = &status.latency;
    let parts = [("p50", l.p50_ms), ("p95", l.p95_ms), ("p99", l.p99_ms)];
    let latency: Vec<String> =
        parts.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms:.2} ms"))).collect();
    // Percentiles of nothing would read as very fast.
    if !latency.is_empty() && t.messages_total != Some(0) {
        lines.push(("latency", latency.join("   ")));
    }
    let node = &status.node;
    let ready = if node.ready { "ready" } else { "not ready" };
    let role = if node.role.is_empty() { String::new() } else { format!("{}, ", printable(&node.role)) };
    let uptime = since(node.uptime_s.saturating_mul(1000));
    let version = printable(&node.version);
    lines.push((
        "seen by",
        format!("node {} at {url}: {role}{ready}, up {uptime}, version {version}", node.id),
    ));
    lines
}

/// The members as a table; `own` is marked as the one that answered.
pub(super) fn members(members: &[Member], own: Option<u64>, paint: Paint) -> String {
    let mut grid = Grid::head(&["NODE", "ROLE", "STATE", "LAG", "LAST HEARD", "PEER", "HTTP"]);
    for member in members {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
        let is_own = own == Some(member.id);
        let state = match member.healthy {
            Some(false) if member.state != "unreachable" => format!("{} (unhealthy)", member.state),
            _ if member.draining && member.state != "draining" => format!("{}, draining", member.state),
            _ => member.state.clone(),
        };
        let heard = if is_own { Some("-".to_string()) } else { member.last_contact_ms.map(since) };
        let tone = match member.healthy {
            Some(false) => Tone::Bad,
            _ => tone_of(&member.state),
        };
        let number = format!("{}{}", member.id, if is_own { " *" } else { "" });
        grid.row(vec![
            (number, if is_own { Tone::Strong } else { Tone::Plain }),
            (member.role.clone(), Tone::Plain),
            (state, tone),
            (dash(member.lag.map(|lag| lag.to_string())), Tone::Plain),
            (dash(heard), Tone::Plain),
            (dash(member.peer.clone()), Tone::Plain),
            (dash(member.http.clone()), Tone::Plain),
        ]);
    }
    grid.draw(paint)
}

fn tone_of(word: &str) -> Tone {
    match word {
        "ok" | "leader" => Tone::Good,
        "degraded" | "draining" => Tone::Warn,
        "no quorum" | "unreachable" => Tone::Bad,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
        "cluster": {"id": "3f2a", "name": "erlmcp", "formation": "formed", "health": "degraded"},
        "node": {"id": 1, "role": "voter", "ready": false, "not_ready_because": ["no leader"],
                 "version": "0.1.0", "uptime_s": 192},
        "leader": 2, "term": 4, "applied": 120, "committed": 121,
        "members": [
            {"id": 1, "role": "voter", "state": "follower", "peer": "127.0.0.1:9201", "draining": true,
             "http": "127.0.0.1:8080", "healthy": true, "lag": 1},
            {"id": 2, "role": "voter", "state": "leader", "healthy": true, "lag": 0, "last_contact_ms": 80},
            {"id": 3, "role": "learner", "state": "unreachable", "healthy": false, "last_contact_ms": 61000}
        ],
        "connections": {"here": 12, "limit_here": 19744, "cluster_limit": 100000},
        "serving": {"sessions": 3, "calls": 1},
        "throughput": {"messages_total": 1204, "messages_per_second_1m": 3.25},
        "latency": {"p50_ms": 0.4, "p95_ms": 1.2, "p99_ms": 3.0}
    }"#;

    #[test]
    fn a_status_is_a_page() {
        let answer: Status = serde_json::from_str(ANSWER).unwrap();
        let page = status(&answer, "http://127.0.0.1:8080", Paint::off());
        let wanted = "\
erlmcp  formed  degraded
cluster 3f2a

NODE  ROLE     STATE               LAG  LAST HEARD  PEER            HTTP
1 *   voter    follower, draining  1    -           127.0.0.1:9201  127.0.0.1:8080
2     voter    leader              0    80 ms       -               -
3     learner  unreachable         -    1 min 1 s   -               -

leader      node 2, term 4, applied 120 of 121
connections 12 here of 19744, 100000 in the cluster
serving     3 sessions, 1 running call here
messages    1204 in all, 3.2 a second over the last minute
latency     p50 0.40 ms   p95 1.20 ms   p99 3.00 ms
seen by     node 1 at http://127.0.0.1:8080: voter, not ready, up 3 min 12 s, version 0.1.0
            not ready: no leader
";
        assert_eq!(page, wanted);
    }

    #[test]
    fn what_the_node_did_not_say_is_left_out() {
        let page = status(&Status::default(), "u", Paint::off());
        assert!(page.contains("no leader"));
        assert!(!page.contains("latency") && !page.contains("messages"));
    }
}
