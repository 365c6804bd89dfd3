//! The node as a program: the command line says what to do, the node does it, its end is the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    erlmcp::cli::run(|launch| -> Result<(), String> {
        let id = launch.config.node_id;
        Err(format!("node {id} cannot run: this build has no node yet"))
    })
}
