//! `status`, `members` and `healthcheck`: what a node says about its cluster, for people or machines.
//!
//! A page shows one node's view, and says whose. Drawing is a pure function of the answer.

mod draw;

use std::io::IsTerminal as _;
use std::time::Duration;

use serde::Deserialize as _;

use crate::api::{Members, Status};

use super::args::{ClientArgs, HealthcheckArgs, StatusArgs};
use super::ask::{self, Candidate};
use super::error::CliError;
use super::http::{CallError, HttpAnswer, HttpCaller};
use super::paint::{Paint, print, printable};

/// Time between two drawings of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Cursor home, and clear what is below: redraws without flicker.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Clears the screen once before the first drawing.
const CLEAR: &str = "\x1b[2J";

pub(super) async fn status(args: &StatusArgs) -> Result<String, CliError> {
    let candidates = ask::for_view(&args.client)?;
    let caller = HttpCaller::new();
    if args.watch {
        return watch(&caller, &candidates, args.client.json).await;
    }
    status_once(&caller, &candidates, args.client.json).await
}

async fn status_once(caller: &HttpCaller, candidates: &[Candidate], json: bool) -> Result<String, CliError> {
    let (url, answer) = ask::get(caller, candidates, "/cluster/status").await?;
    let value = ask::accepted(&url, &answer)?;
    if json {
        return Ok(verbatim(&answer));
    }
    let status = Status::deserialize(value).map_err(|error| not_a_node(&url, &error))?;
    Ok(draw::status(&status, &url, Paint::for_stdout()))
}

/// Draws until ctrl-c. A node that goes away is said so and asked again: that is what one watches for.
async fn watch(caller: &HttpCaller, candidates: &[Candidate], json: bool) -> Result<String, CliError> {
    let redraws = std::io::stdout().is_terminal() && !json;
    let write = |text: &str| {
        print(text).map_err(|source| CliError::System { what: "write to standard output", source })
    };
    if redraws {
        write(CLEAR)?;
    }
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(String::new()),
            _ = ticks.tick() => {}
        }
        let frame = match status_once(caller, candidates, json).await {
            Ok(frame) => frame,
            Err(error @ (CliError::NoNode { .. } | CliError::Call(_))) if redraws => format!("{error}\n"),
            Err(error) => return Err(error),
        };
        // In a file or pipe, pages are told apart by an empty line and JSON stands one object a line.
        let gap = if json { "" } else { "\n" };
        write(&if redraws { format!("{REDRAW}{frame}") } else { frame + gap })?;
    }
}

pub(super) async fn members(args: &ClientArgs) -> Result<String, CliError> {
    let candidates = ask::for_view(args)?;
    let (url, answer) = ask::get(&HttpCaller::new(), &candidates, "/cluster/members").await?;
    let value = ask::accepted(&url, &answer)?;
    if args.json {
        return Ok(verbatim(&answer));
    }
    let members = Members::deserialize(value).map_err(|error| not_a_node(&url, &error))?;
    Ok(draw::members(&members.into_list(), None, Paint::for_stdout()))
}

/// Fails with the node's reasons unless it is ready.
pub(super) async fn healthcheck(args: &HealthcheckArgs) -> Result<String, CliError> {
    let candidates = ask::for_health(args)?;
    let (url, answer) = ask::get(&HttpCaller::new(), &candidates, "/readyz").await?;
    if answer.status.as_u16() == 200 {
        return Ok(String::new());
    }
    let reasons = reasons(&String::from_utf8_lossy(&answer.body));
    Err(CliError::Found(format!("{url} is not ready ({}): {reasons}", answer.status.as_u16())))
}

/// The reasons of `/readyz`, one a line after "- "; anything else as it is.
fn reasons(said: &str) -> String {
    let listed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    printable(&if listed.is_empty() { said.trim().to_string() } else { listed.join(", ") })
}

/// The node's own text, order and all; it was checked to be JSON.
pub(super) fn verbatim(answer: &HttpAnswer) -> String {
    format!("{}\n", String::from_utf8_lossy(&answer.body).trim_end())
}

pub(super) fn not_a_node(url: &str, error: &serde_json::Error) -> CliError {
    CliError::Call(CallError::Broken {
        url: url.to_string(),
        why: format!("its status is unreadable: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_not_to_be_ready_are_told_on_one_line() {
        assert_eq!(reasons("not ready\n- no leader\n- draining\n"), "no leader, draining");
        assert_eq!(reasons("Bad Gateway\n"), "Bad Gateway");
    }
}
