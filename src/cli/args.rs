//! The words of the command line, each command with an example.
//!
//! Only shapes and help texts; what a command does is in the file of its name. A flag that is a key of the
//! configuration says so and goes through the same checks as a file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::api::Lease;
use crate::config::NODE_ID_MAX;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; \
78 the configuration opens a client port to others without --insecure.";

/// One MCP server to every client, however many machines stand behind it.
#[derive(Debug, Parser)]
#[command(name = "erlmcp-node", version, after_help = EXIT_CODES, propagate_version = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Command to carry out
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a node's identity, cluster secret and admin token. Safe to repeat
    #[command(after_help = "Example: erlmcp-node init --id 1\n\
        On a further machine: copy the cluster secret there, then\n  \
        erlmcp-node init --id 2 --join 10.0.0.1:9201")]
    Init(InitArgs),
    /// Run a node until it is told to stop
    #[command(after_help = "Example: erlmcp-node start --id 1\n\
        In a container: erlmcp-node start --init --id 1 --data-dir /data\n\
        SIGTERM or ctrl-c drains and stops; a second one stops at once.\n\n\
        Exit codes: 0 stopped as told; 1 failed; 2 wrong usage; 78 the configuration opens a client port to \
        others without --insecure.")]
    Start(StartArgs),
    /// Show the cluster as a node sees it
    #[command(after_help = "Example: erlmcp-node status --watch")]
    Status(StatusArgs),
    /// List the members of the group
    #[command(after_help = "Example: erlmcp-node members --json")]
    Members(ClientArgs),
    /// Take a node out of service: it finishes what it has and admits nothing new
    #[command(after_help = "Example: erlmcp-node drain --id 2")]
    Drain(TargetArgs),
    /// Put a drained node back into service
    #[command(after_help = "Example: erlmcp-node undrain --id 2")]
    Undrain(TargetArgs),
    /// Remove a node from the group
    #[command(after_help = "Example: erlmcp-node remove --id 3\n\
        With --dead you vouch that the node does not run and never will under this identity. Connections \
        granted to it are free for others once its lease has ended; under a lease that never ends they stay \
        its own, and the removal is refused.\n\
        With --dead --now you vouch that it does not run at this moment, so that those under a lease that \
        never ends are free at once. If it does run, the cluster admits more connections than its limit.")]
    Remove(RemoveArgs),
    /// Make another voter the leader
    #[command(after_help = "Example: erlmcp-node transfer-leader --to 2")]
    TransferLeader(TransferArgs),
    /// Show or set the cluster's connection limit
    Quota {
        #[command(subcommand)]
        command: QuotaCommand,
    },
    /// Check or show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Say what this host allows and how to raise it
    #[command(after_help = "Example: erlmcp-node doctor --json\n\
        Exit codes: 0 a node can run here, perhaps with warnings; 1 it cannot.")]
    Doctor(DoctorArgs),
    /// Exit 0 when a node is ready; for containers
    #[command(after_help = "Example: erlmcp-node healthcheck --id 1")]
    Healthcheck(HealthcheckArgs),
    /// Print completions for a shell
    #[command(after_help = "Example: erlmcp-node completions bash > \
        ~/.local/share/bash-completion/completions/erlmcp-node")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Source of the configuration.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ConfigArgs {
    /// A file, or a directory with cluster.toml and runtime.toml; repeat to lay one over the other.
    /// Without: config/ of the working directory, if there is one
    #[arg(long = "config", value_name = "PATH", env = "ERLMCP_CONFIG", value_delimiter = ':', global = true)]
    pub(super) config: Vec<PathBuf>,
    /// Directory in which nodes keep their state [key cluster.data_dir]
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) data_dir: Option<PathBuf>,
    /// Set any key, such as --set connections.per_node=5000; repeat for more
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value, global = true)]
    pub(super) set: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// The node's number, for ever its own
    #[arg(long, value_name = "N", env = "ERLMCP_NODE_ID", value_parser = node_id)]
    pub(super) id: u64,
    /// The peer address of a member to join through; needed only where the configuration lists no nodes
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub(super) join: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Args, Debug)]
pub(super) struct StartArgs {
    /// Which node this is
    #[arg(long, value_name = "N", env = "ERLMCP_NODE_ID", value_parser = node_id)]
    pub(super) id: u64,
    /// The peer address of a member to join through, for this start
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub(super) join: Option<String>,
    /// First make identity and admin token where there are none, as init does; for containers. A new
    /// cluster secret is made only for a node that is configured alone, without a list of others or --join
    #[arg(long)]
    pub(super) init: bool,
    /// Allow client ports that others can reach although nothing authenticates there
    /// [key connections.insecure]
    #[arg(long)]
    pub(super) insecure: bool,
    /// How much to log [key telemetry.log]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

/// Whom to ask.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ClientArgs {
    /// The node to ask. Without: every known node in turn until one answers
    #[arg(long, value_name = "URL", env = "ERLMCP_URL")]
    pub(super) url: Option<String>,
    /// The number of the node to ask
    #[arg(long, value_name = "N", conflicts_with = "url", value_parser = node_id)]
    pub(super) id: Option<u64>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Draw anew every second until ctrl-c
    #[arg(long)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// An action of an operator, on whom, and through whom.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AdminArgs {
    /// The node to ask. Without: every known node in turn until one answers
    #[arg(long, value_name = "URL", env = "ERLMCP_URL")]
    pub(super) url: Option<String>,
    /// The file with the admin token. Without: the one of the node that is asked
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// The node's number
    #[arg(long, value_name = "N", value_parser = node_id)]
    pub(super) id: u64,
    #[command(flatten)]
    pub(super) operate: AdminArgs,
}

#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// The node's number
    #[arg(long, value_name = "N", value_parser = node_id)]
    pub(super) id: u64,
    /// Vouch that the node is gone for good, so that nobody waits for it to drain
    #[arg(long)]
    pub(super) dead: bool,
    /// Vouch that the node does not run now: frees its connections also under a lease that never ends
    #[arg(long, requires = "dead")]
    pub(super) now: bool,
    #[command(flatten)]
    pub(super) operate: AdminArgs,
}

#[derive(Args, Debug)]
pub(super) struct TransferArgs {
    /// The next leader. Without: the group chooses
    #[arg(long, value_name = "N", value_parser = node_id)]
    pub(super) to: Option<u64>,
    #[command(flatten)]
    pub(super) operate: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum QuotaCommand {
    /// Show the limit, and which node was granted how much of it
    #[command(after_help = "Example: erlmcp-node quota show --json")]
    Show(ClientArgs),
    /// Set the limit, the lease of shares, or both. No connection is closed by it
    #[command(after_help = "Example: erlmcp-node quota set --connections 50000\n\
        Below what is in use it takes effect as connections end.\n\
        A lease of never: a node cut off from the group serves on for as long as it runs; what a lost one \
        was granted comes back only by erlmcp-node remove --id N --dead --now.")]
    Set(SetQuotaArgs),
}

#[derive(Args, Debug)]
#[group(id = "limit", required = true, multiple = true, args = ["connections", "lease_ms"])]
pub(super) struct SetQuotaArgs {
    /// Connections that the whole cluster admits at most, 1 to 1000000000
    #[arg(long, value_name = "N")]
    pub(super) connections: Option<u64>,
    /// How long a node may admit by its share without renewing it: 3000 to 3600000 milliseconds, or never
    #[arg(long, value_name = "MS|never")]
    pub(super) lease_ms: Option<Lease>,
    #[command(flatten)]
    pub(super) operate: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether the configuration is sound, and everything that is wrong
    #[command(after_help = "Example: erlmcp-node config check --config config/")]
    Check(ShowArgs),
    /// Show every key with its value, origin and unit
    #[command(after_help = "Example: erlmcp-node config show raft --id 2\n\
        The shipped files: erlmcp-node config show --defaults")]
    Show(ShowArgs),
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Only keys that begin so, such as `raft` or `http.header`
    pub(super) prefix: Option<String>,
    /// As which node
    #[arg(long, value_name = "N", env = "ERLMCP_NODE_ID", default_value = "1", value_parser = node_id)]
    pub(super) id: u64,
    /// Print the built-in values as a commented file instead
    #[arg(long)]
    pub(super) defaults: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// As which node; its directory and ports are looked at
    #[arg(long, value_name = "N", env = "ERLMCP_NODE_ID", default_value = "1", value_parser = node_id)]
    pub(super) id: u64,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    /// The node to ask
    #[arg(long, value_name = "URL", env = "ERLMCP_URL")]
    pub(super) url: Option<String>,
    /// The number of the node to ask
    #[arg(long, value_name = "N", env = "ERLMCP_NODE_ID", default_value = "1", value_parser = node_id)]
    pub(super) id: u64,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

fn node_id(text: &str) -> Result<u64, String> {
    let id = text.parse().ok().filter(|id| (1..=NODE_ID_MAX).contains(id));
    id.ok_or_else(|| format!("it must be a whole number between 1 and {NODE_ID_MAX}"))
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_string(), value.to_string()))
}

fn host_and_port(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    match port {
        Some(1u16..) => Ok(text.to_string()),
        _ => Err("it must be HOST:PORT such as 10.0.0.1:9201".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                if sub.has_subcommands() {
                    check(sub);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Example: erlmcp-node"), "{} has no example", sub.get_name());
                }
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn the_commands_of_the_guide_parse() {
        for line in [
            "erlmcp-node init --id 1",
            "erlmcp-node init --id 2 --join 10.0.0.1:9201",
            "erlmcp-node start --id 1 --insecure --set raft.keep_entries=5 --config a --config b",
            "erlmcp-node start --init --id 1 --join 10.0.0.1:9201",
            "erlmcp-node status --json --watch",
            "erlmcp-node members --id 3",
            "erlmcp-node drain --id 2",
            "erlmcp-node undrain --id 2 --token-file t",
            "erlmcp-node transfer-leader",
            "erlmcp-node transfer-leader --to 2",
            "erlmcp-node remove --id 3 --dead",
            "erlmcp-node remove --id 3 --dead --now",
            "erlmcp-node quota show --id 2 --json",
            "erlmcp-node quota set --connections 5000",
            "erlmcp-node quota set --lease-ms never --url http://a --token-file t",
            "erlmcp-node quota set --connections 5000 --lease-ms 3000 --json",
            "erlmcp-node config check",
            "erlmcp-node config --config a check",
            "erlmcp-node config check --config a --set b=c",
            "erlmcp-node config show raft --json",
            "erlmcp-node doctor --json",
            "erlmcp-node healthcheck",
            "erlmcp-node completions zsh",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for line in [
            "erlmcp-node",
            "erlmcp-node start",
            "erlmcp-node start --id 0",
            "erlmcp-node start --id one",
            "erlmcp-node init --id 2 --join nowhere",
            "erlmcp-node init --id 2 --join host:0",
            "erlmcp-node drain",
            "erlmcp-node remove --id 3 --now",
            "erlmcp-node quota",
            "erlmcp-node quota set",
            "erlmcp-node quota set --connections many",
            "erlmcp-node quota set --lease-ms forever",
            "erlmcp-node start --id 1 --set novalue",
            "erlmcp-node frobnicate",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("erlmcp-node --help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    }

    #[test]
    fn a_set_flag_is_split_at_the_first_equals_sign() {
        assert_eq!(key_and_value("a.b=c=d"), Ok(("a.b".to_string(), "c=d".to_string())));
    }
}
