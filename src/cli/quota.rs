//! `quota show` and `quota set`: the connection limit, and how it is shared out by node.
//!
//! Shows one node's reading of the ledger; sets nothing by itself, the group does.

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::json;

use super::args::{ClientArgs, SetQuotaArgs};
use super::ask;
use super::error::CliError;
use super::http::HttpCaller;
use super::paint::{Grid, Paint, Tone, printable};
use super::status::{not_a_node, verbatim};
use crate::api::{NodeShare, QuotaChange, QuotaReport, SetQuota};

/// Path of the report and of the order.
const PATH: &str = "/cluster/quota";

pub(super) async fn show(args: &ClientArgs) -> Result<String, CliError> {
    let candidates = ask::for_view(args)?;
    let (url, answer) = ask::get(&HttpCaller::new(), &candidates, PATH).await?;
    let value = ask::accepted(&url, &answer)?;
    if args.json {
        return Ok(verbatim(&answer));
    }
    let report = QuotaReport::deserialize(value).map_err(|error| not_a_node(&url, &error))?;
    Ok(draw(&report, Paint::for_stdout()))
}

pub(super) async fn set(args: &SetQuotaArgs) -> Result<String, CliError> {
    let candidates = ask::for_action(&args.operate, None, None)?;
    let order = json!(SetQuota { connections: args.connections, lease_ms: args.lease_ms });
    let (url, answer) = ask::post(&HttpCaller::new(), &candidates, PATH, &order).await?;
    let value = ask::accepted(&url, &answer)?;
    if args.operate.json {
        return Ok(format!("{value:#}\n"));
    }
    let change = QuotaChange::deserialize(value).map_err(|error| not_a_node(&url, &error))?;
    Ok(change.to_string().lines().map(|line| printable(line) + "\n").collect())
}

/// The report as a page: a line for the whole, then a table by node.
fn draw(report: &QuotaReport, paint: Paint) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint.tone(Tone::Strong, &printable(&report.to_string())));
    if report.is_over == Some(true) {
        let line = "more is granted than the limit: it takes effect as connections end, nobody is shed";
        let _ = writeln!(out, "{}", paint.tone(Tone::Warn, line));
    }
    if report.nodes.is_empty() {
        return out;
    }
    out.push('\n');
    let head: Vec<&str> = NodeShare::default().row().into_iter().map(|(column, _)| column).collect();
    let mut grid = Grid::head(&head);
    for node in &report.nodes {
        let tone = |column| match (column, node.state.as_str()) {
            ("STATE", "draining" | "orphan") | ("WAITS BECAUSE", _) => Tone::Warn,
            ("STATE", "live") => Tone::Good,
            _ => Tone::Plain,
        };
        grid.row(node.row().into_iter().map(|(column, text)| (text, tone(column))).collect());
    }
    out + &grid.draw(paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
        "connections": 1000, "messages_per_second": 5, "burst": 6, "lease_ms": 30000,
        "granted": 1200, "free": 0, "in_use": 900, "is_over": true,
        "nodes": [
            {"node": 1, "name": "a", "granted": 800, "in_use": 700, "wanted": 850, "ceiling": 4000,
             "target": 666, "lease_ms": 30000, "renewed_ago_ms": 1200, "expires_in_ms": 29907,
             "state": "live", "waits_because": "the limit was lowered below what is granted"},
            {"node": 2, "granted": 400, "in_use": 200, "wanted": 200, "ceiling": 4000,
             "lease_ms": "never", "state": "orphan"},
            {"node": 3, "granted": 0, "in_use": 0, "wanted": 0, "state": "none", "new": 7}
        ]
    }"#;

    #[test]
    fn a_report_is_a_page() {
        let page = draw(&serde_json::from_str(ANSWER).unwrap(), Paint::off());
        let wanted = "\
limit 1000: 1200 granted, 900 in use, 0 free; lease 30 s
more is granted than the limit: it takes effect as connections end, nobody is shed

NODE  STATE   GRANTED  IN USE  WANTED  CEILING  TARGET  LEASE  RENEWED  ENDS IN  WAITS BECAUSE
1 a   live    800      700     850     4000     666     30 s   1 s ago  29 s     the limit was lowered below \
what is granted
2     orphan  400      200     200     4000     -       never  -        -        -
3     none    0        0       0       -        -       -      -        -        -
";
        assert_eq!(page, wanted);
    }

    #[test]
    fn what_the_node_did_not_say_is_left_out() {
        assert_eq!(
            draw(&QuotaReport::default(), Paint::off()),
            "limit -, no node has a share of it; lease -\n"
        );
    }
}
