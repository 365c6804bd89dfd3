//! The node as a program: the command line says what to do, the node does it, its end is the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    erlmcp::cli::run(erlmcp::node::run)
}
