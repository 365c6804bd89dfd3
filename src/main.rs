//! The node as a program.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == erlmcp::upstream::LAUNCHER_COMMAND) {
        let why = erlmcp::upstream::launcher_main(args);
        let _ = writeln!(std::io::stderr(), "{why}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
