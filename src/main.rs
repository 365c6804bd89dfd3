//! The node as a program: the command line says what to do, the node does it, its end is the exit code.
//!
//! Memory comes from jemalloc, with its background threads: what many clients took goes back to the system
//! when they leave, which the C library's allocator does not do.
//!
//! Started by itself to become an upstream's command (see `upstream::launcher_main`), it does only that.

use std::process::ExitCode;

use erlmcp::upstream::{LAUNCHER_COMMAND, launcher_main};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == LAUNCHER_COMMAND) {
        return erlmcp::cli::fail(&launcher_main(args));
    }
    erlmcp::cli::run(erlmcp::node::run)
}
