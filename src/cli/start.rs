//! `start`: from the command line to a running node, and from its end to an exit code.
//!
//! The order matters: the configuration is proven before anything is opened, logging is there before the
//! node, and the limit on open files is raised before any thread or socket exists. The node itself is a
//! function given by `main`, so that this file knows nothing of it.

use std::path::Path;

use crate::config::{Config, Format};
use crate::telemetry::{self, Lines};

use super::args::StartArgs;
use super::ensure;
use super::error::CliError;
use super::files::OpenFiles;
use super::init::{IDENTITY_FILE, JOIN_FILE};
use super::private;
use super::settings;

/// Everything a node needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The proven configuration.
    pub config: Config,
    /// The limit on open files, raised already as far as configuration and system allow.
    pub open_files: OpenFiles,
    /// The peer address of a member to join through, from the flag or from `init`.
    pub join: Option<String>,
}

/// Runs the node until it ends.
pub(super) fn start<E>(
    args: &StartArgs,
    run_node: impl FnOnce(Launch) -> Result<(), E>,
) -> Result<String, CliError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let launch = prepare(args)?;
    run_node(launch).map_err(|error| CliError::Node(error.into()))?;
    Ok(String::new())
}

fn prepare(args: &StartArgs) -> Result<Launch, CliError> {
    let mut flags = Vec::new();
    if args.insecure {
        flags.push(("--insecure", "connections.insecure", "true".to_string()));
    }
    if let Some(level) = &args.log {
        flags.push(("--log", "telemetry.log", level.clone()));
    }
    let config = Config::load(args.id, &settings::sources(&args.config, &flags))?;
    let lines = match config.sections.telemetry.format {
        Format::Text => Lines::Text,
        Format::Json => Lines::Json,
    };
    telemetry::start(&config.sections.telemetry.log, lines)?;
    if let Some(notice) = config.settings.notice() {
        tracing::warn!("{notice}");
    }
    let join = match &args.join {
        Some(address) => Some(address.clone()),
        None => remembered_join(&config.node_dir)?,
    };
    if args.init {
        ensure::initialised(&config, join.as_deref())?;
    }
    must_be_initialised(&config)?;
    private::warn_of_exposed(&[
        ("cluster secret", config.secret_file.as_path()),
        ("admin token", &config.admin_token_file),
    ]);
    let open_files = OpenFiles::raise(config.sections.runtime.open_files)
        .map_err(|source| CliError::System { what: "raise the limit on open files", source })?;
    must_leave_room(&config, open_files)?;
    Ok(Launch { config, open_files, join })
}

/// A node that was never initialised is told how, whichever of its files would be missed first.
fn must_be_initialised(config: &Config) -> Result<(), CliError> {
    if config.node_dir.join(IDENTITY_FILE).exists() {
        return Ok(());
    }
    let (dir, id) = (config.node_dir.display(), config.node_id);
    Err(CliError::Identity(format!("{dir} holds no node; make one: erlmcp-node init --id {id}")))
}

/// A node without room for a client would start, look well and refuse everyone, operators too.
fn must_leave_room(config: &Config, open_files: OpenFiles) -> Result<(), CliError> {
    let connections = &config.sections.connections;
    let (files, reserve) = (open_files.soft, u64::from(connections.reserve_files));
    let room = files.saturating_sub(reserve);
    if room == 0 {
        return Err(CliError::TooFewFiles { files, reserve });
    }
    if room < u64::from(connections.per_node) {
        let per_node = connections.per_node;
        tracing::warn!(room, per_node, files, "open files allow fewer connections than connections.per_node");
    }
    Ok(())
}

/// Addresses that `init --join` left for the first start.
fn remembered_join(node_dir: &Path) -> Result<Option<String>, CliError> {
    let path = node_dir.join(JOIN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_string()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CliError::File { what: "read", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_to_join_through_is_remembered_from_init() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remembered_join(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join(JOIN_FILE), "10.0.0.1:9201\n").unwrap();
        assert_eq!(remembered_join(folder.path()).unwrap().as_deref(), Some("10.0.0.1:9201"));
    }
}
