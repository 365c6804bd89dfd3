//! Actions of an operator: drain, undrain, remove, transfer-leader; `quota set` is in `quota`.
//!
//! Each is one signed-in request to one node, which sees to it that the group agrees. Nothing is
//! repeated here: an action that timed out may have happened, and the message says how to find out.

use serde_json::{Value, json};

use crate::api::{Drain, Remove, Transfer};

use super::args::{AdminArgs, RemoveArgs, TargetArgs, TransferArgs};
use super::ask;
use super::error::CliError;
use super::http::HttpCaller;

pub(super) async fn drain(args: &TargetArgs, draining: bool) -> Result<String, CliError> {
    let body = json!(Drain { node: args.id, draining });
    let done = if draining {
        format!(
            "node {0} drains: new clients are refused, those it has are served; what is left: erlmcp-node \
             status --id {0}; undo: erlmcp-node undrain --id {0}\n",
            args.id
        )
    } else {
        format!("node {} is back in service\n", args.id)
    };
    act(&args.operate, Some(args.id), None, "/cluster/drain", &body, done).await
}

pub(super) async fn remove(args: &RemoveArgs) -> Result<String, CliError> {
    let body = json!(Remove { node: args.id, dead: args.dead, now: args.now });
    let done = format!(
        "node {} is removed from the group; to bring it back: erlmcp-node init --id {} and start\n",
        args.id, args.id
    );
    // A node cannot be asked to vouch for its own absence.
    act(&args.operate, None, Some(args.id), "/cluster/remove", &body, done).await
}

pub(super) async fn transfer(args: &TransferArgs) -> Result<String, CliError> {
    let body = json!(Transfer { to: args.to });
    let done = match args.to {
        Some(id) => format!("leadership goes to node {id}\n"),
        None => "leadership goes to another voter\n".to_string(),
    };
    act(&args.operate, None, None, "/cluster/transfer", &body, done).await
}

async fn act(
    args: &AdminArgs,
    first: Option<u64>,
    never: Option<u64>,
    path: &str,
    body: &Value,
    done: String,
) -> Result<String, CliError> {
    let candidates = ask::for_action(args, first, never)?;
    let (url, answer) = ask::post(&HttpCaller::new(), &candidates, path, body).await?;
    let value = ask::accepted(&url, &answer)?;
    Ok(if args.json { format!("{value:#}\n") } else { done })
}
