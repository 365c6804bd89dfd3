//! The status of a cluster as a page of text: members as a table, the figures below.
//!
//! Pure: an answer in, text out. What the node did not say is left out or shown as "-", never guessed. The
//! answer's parts say themselves; here they get their place and their colour.

use std::fmt::Write as _;

use super::super::paint::{Grid, Paint, Tone, printable};
use crate::api::{Health, Member, State, Status};

/// Width of the labels of the lines below the table.
const LABEL: usize = 12;

pub(super) fn status(status: &Status, url: &str, paint: Paint) -> String {
    let mut out = String::new();
    let cluster = &status.cluster;
    let health = paint.tone(tone_of_health(&cluster.health), &printable(&cluster.health.to_string()));
    let name = paint.tone(Tone::Strong, &printable(&cluster.name));
    let _ = writeln!(out, "{name}  {}  {health}", printable(&cluster.formation));
    let id = if cluster.id.is_empty() { "-".to_string() } else { printable(&cluster.id) };
    let _ = writeln!(out, "{}", paint.tone(Tone::Dim, &format!("cluster {id}")));
    out.push('\n');
    out.push_str(&members(&status.members, Some(status.node.id), paint));
    out.push('\n');
    let seen_by = ("seen by", format!("node {} at {url}: {}", status.node.id, status.node));
    for (label, text) in status.lines().into_iter().chain([seen_by]) {
        let text = printable(&text);
        let _ = writeln!(out, "{}{text}", paint.tone(Tone::Dim, &format!("{label:<LABEL$}")));
    }
    for reason in &status.node.not_ready_because {
        let line = format!("not ready: {}", printable(reason));
        let _ = writeln!(out, "{:<LABEL$}{}", "", paint.tone(Tone::Warn, &line));
    }
    out
}

/// The members as a table; `own` is marked as the one that answered.
pub(super) fn members(members: &[Member], own: Option<u64>, paint: Paint) -> String {
    let head: Vec<&str> = Member::default().row(false).into_iter().map(|(column, _)| column).collect();
    let mut grid = Grid::head(&head);
    for member in members {
        let is_own = own == Some(member.id);
        let tone = |column| match column {
            "NODE" if is_own => Tone::Strong,
            "STATE" => tone_of_state(member),
            _ => Tone::Plain,
        };
        grid.row(member.row(is_own).into_iter().map(|(column, text)| (text, tone(column))).collect());
    }
    grid.draw(paint)
}

fn tone_of_state(member: &Member) -> Tone {
    match (member.healthy, &member.state) {
        (Some(false), _) | (_, State::Unreachable) => Tone::Bad,
        (_, State::Leader) => Tone::Good,
        (_, State::Draining) => Tone::Warn,
        _ => Tone::Plain,
    }
}

fn tone_of_health(health: &Health) -> Tone {
    match health {
        Health::Ok => Tone::Good,
        Health::Degraded => Tone::Warn,
        Health::NoQuorum => Tone::Bad,
        Health::Other(_) => Tone::Plain,
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
connections 12 here of a share of 19744, the cluster's limit is 100000
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
