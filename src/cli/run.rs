//! From the arguments to an exit code: parse, do, print, say what went wrong.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, Command, ConfigCommand, QuotaCommand};
use super::error::CliError;
use super::start::{self, Launch};
use super::{admin, doctor, init, paint, quota, show, status};

/// Runs the program: `run_node` is what `start` does once everything is proven.
pub fn run<E>(run_node: impl FnOnce(Launch) -> Result<(), E>) -> ExitCode
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and succeed; anything else is wrong usage.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let said = match &cli.command {
        Command::Start(args) => start::start(args, run_node),
        other => command(other),
    };
    let printed = said.and_then(|text| {
        paint::print(&text).map_err(|source| CliError::System { what: "write to standard output", source })
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            paint::complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Says why something failed that is no command of a user, and gives its exit code.
#[must_use]
pub fn fail(why: &str) -> ExitCode {
    paint::complain(why);
    ExitCode::FAILURE
}

fn command(command: &Command) -> Result<String, CliError> {
    match command {
        Command::Init(args) => init::init(args),
        Command::Start(_) => unreachable!("start is handled by its caller, who has the node"),
        Command::Config { command: ConfigCommand::Check(args), config } => show::check(args, config),
        Command::Config { command: ConfigCommand::Show(args), config } => show::show(args, config),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Completions { shell } => Ok(completions(*shell)),
        asking => ask(asking),
    }
}

/// Commands that talk to a node: they wait for one thing at a time, so one thread does.
fn ask(command: &Command) -> Result<String, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::System { what: "start the event loop", source })?;
    runtime.block_on(async {
        match command {
            Command::Status(args) => status::status(args).await,
            Command::Members(args) => status::members(args).await,
            Command::Drain(args) => admin::drain(args, true).await,
            Command::Undrain(args) => admin::drain(args, false).await,
            Command::Remove(args) => admin::remove(args).await,
            Command::TransferLeader(args) => admin::transfer(args).await,
            Command::Quota { command: QuotaCommand::Show(args) } => quota::show(args).await,
            Command::Quota { command: QuotaCommand::Set(args) } => quota::set(args).await,
            Command::Healthcheck(args) => status::healthcheck(args).await,
            other => unreachable!("{other:?} asks no node"),
        }
    })
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "erlmcp-node", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
