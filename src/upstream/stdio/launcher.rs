//! The hidden sub-command that becomes an upstream's process: it ties its life to the node's, then gives way
//! to the command.
//!
//! `erlmcp-node upstream-exec PARENT -- program args`: the kernel kills this process when the thread that
//! started it ends, also by kill -9 of the node, and that outlives exec. It must be started by a thread that
//! lives as long as the node.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The first argument that makes the node's program a launcher.
pub const LAUNCHER_COMMAND: &str = "upstream-exec";

/// Becomes the command; `args` are those after [`LAUNCHER_COMMAND`]. Returns only if that failed, with one
/// line for stderr.
///
/// Call it first thing in `main`, before any thread is started.
#[must_use]
pub fn launcher_main(args: impl Iterator<Item = OsString>) -> String {
    match become_command(args) {
        Ok(never) => match never {},
        Err(why) => format!("{LAUNCHER_COMMAND}: {why}"),
    }
}

fn become_command(mut args: impl Iterator<Item = OsString>) -> Result<std::convert::Infallible, String> {
    let parent = args.next().and_then(|arg| arg.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(dashes), Some(program)) = (parent, args.next(), args.next()) else {
        return Err("usage: PARENT -- program args".to_owned());
    };
    if dashes != "--" {
        return Err("usage: PARENT -- program args".to_owned());
    }
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| tie_failed(error.into()))?;
    // The node may have died before the line above: then nothing would ever kill us.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err("the node is gone".to_owned());
    }
    let error = std::process::Command::new(&program).args(args).exec();
    Err(format!("cannot start {}: {error}", program.display()))
}

fn tie_failed(error: io::Error) -> String {
    format!("cannot tie the child to the node: {error}")
}
