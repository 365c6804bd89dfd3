//! `init`: makes a node's identity, the cluster secret if this node founds the cluster, and the admin token.
//!
//! Idempotent: what is there is kept and said so. It never overwrites the identity of another node, and it
//! never makes a secret for a node that should join: that would be a second cluster by accident.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use erlmcp_raft::{ClusterSecret, Identity, Init};
use serde_json::json;

use crate::config::Config;
use crate::random;

use super::args::InitArgs;
use super::error::CliError;
use super::settings;

/// The file in a node's directory that says whose it is.
pub(super) const IDENTITY_FILE: &str = "identity.json";

/// The file in a node's directory that remembers `--join`.
pub(super) const JOIN_FILE: &str = "join";

/// Random bytes of an admin token.
const TOKEN_BYTES: usize = 32;

/// Outcome of `init`.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) identity: Identity,
    outcome: Init,
    pub(super) made_secret: bool,
    made_token: bool,
}

pub(super) fn init(args: &InitArgs) -> Result<String, CliError> {
    let config = settings::load(args.id, &args.config)?;
    let done = make(&config, args.join.as_deref())?;
    Ok(if args.json { as_json(&config, &done) } else { as_text(&config, args, &done) })
}

/// The lowest of the known nodes founds the cluster, alone; all others join. So a list of nodes that is the
/// same everywhere cannot make two clusters.
pub(super) fn is_founder(config: &Config, join: Option<&str>) -> bool {
    join.is_none() && config.nodes.iter().all(|node| node.id >= config.node_id)
}

pub(super) fn make(config: &Config, join: Option<&str>) -> Result<Done, CliError> {
    let founder = is_founder(config, join);
    let secret_file = &config.secret_file;
    let has_secret = secret_file.exists();
    if !has_secret && !founder {
        return Err(CliError::Identity(format!(
            "{} is missing: node {} joins a cluster and needs its secret; on this machine run init for the \
             founder first, on another copy the founder's file here (mode 600) or name it by \
             ERLMCP_CLUSTER_SECRET_FILE",
            secret_file.display(),
            config.node_id
        )));
    }
    // A new secret would be of another cluster than the node.
    if !has_secret && Identity::exists(&config.node_dir) {
        return Err(lost_secret(config));
    }
    let fail = |error: erlmcp_raft::RaftError| CliError::Identity(error.to_string());
    private_dir(&config.node_dir)?;
    let secret = ClusterSecret::open(secret_file, founder).map_err(fail)?;
    let (identity, outcome) =
        Identity::init(&config.node_dir, config.node_id, founder, &secret).map_err(fail)?;
    let made_token = make_token(&config.admin_token_file)?;
    if let Some(address) = join {
        let path = config.node_dir.join(JOIN_FILE);
        fs::write(&path, format!("{address}\n")).map_err(|source| CliError::File {
            what: "write",
            path,
            source,
        })?;
    }
    Ok(Done { identity, outcome, made_secret: !has_secret, made_token })
}

/// Advice where a node is left without the secret of its cluster.
pub(super) fn lost_secret(config: &Config) -> CliError {
    CliError::Identity(format!(
        "{} is missing, but {} holds node {} of its cluster: copy the file from another member (mode 600), \
         name it by ERLMCP_CLUSTER_SECRET_FILE, or move the directory away to begin a new cluster",
        config.secret_file.display(),
        config.node_dir.display(),
        config.node_id
    ))
}

/// Makes a directory that only its owner may enter.
fn private_dir(path: &Path) -> Result<(), CliError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| CliError::File {
        what: "make the directory",
        path: path.to_path_buf(),
        source,
    })
}

/// Makes the admin token unless there is one. Written whole before it gets its name.
pub(super) fn make_token(path: &Path) -> Result<bool, CliError> {
    let fail = |source| CliError::File { what: "write", path: path.to_path_buf(), source };
    if path.exists() {
        return Ok(false);
    }
    let token = random::hex::<TOKEN_BYTES>();
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let write = |mut file: File| {
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::hard_link(&draft, path)
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(fail)?;
    let written = write(file);
    fs::remove_file(&draft).map_err(fail)?;
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(fail(source)),
    }
}

fn as_text(config: &Config, args: &InitArgs, done: &Done) -> String {
    let id = config.node_id;
    let made = |is_new: bool| if is_new { "made" } else { "kept" };
    let identity = match done.outcome {
        Init::Made => "made",
        Init::Kept => "kept",
        Init::Renewed => "made anew, as this node had been removed",
    };
    let part = if done.identity.founder { "founds" } else { "joins" };
    let mut out = format!("node {id} {part} cluster {}\n", done.identity.cluster_id);
    out += &format!("  identity  {} ({identity})\n", config.node_dir.join(IDENTITY_FILE).display());
    out += &format!("  secret    {} ({})\n", config.secret_file.display(), made(done.made_secret));
    out += &format!("  token     {} ({})\n", config.admin_token_file.display(), made(done.made_token));
    if let Some(address) = &args.join {
        out += &format!("  joins through {address}\n");
    }
    let data_dir = args.config.data_dir.as_ref().map(|dir| format!(" --data-dir {}", dir.display()));
    out += &format!("next: erlmcp-node start --id {id}{}\n", data_dir.unwrap_or_default());
    out
}

fn as_json(config: &Config, done: &Done) -> String {
    let answer = json!({
        "node": config.node_id,
        "cluster": done.identity.cluster_id,
        "founder": done.identity.founder,
        "made": {
            "identity": done.outcome != Init::Kept,
            "secret": done.made_secret,
            "token": done.made_token,
        },
        "data_dir": config.node_dir,
        "secret_file": config.secret_file,
        "token_file": config.admin_token_file,
    });
    format!("{answer:#}\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Sources;

    fn config(id: u64, dir: &Path) -> Config {
        let dir = dir.display().to_string();
        let flags = vec![("--data-dir".to_string(), "cluster.data_dir".to_string(), dir)];
        Config::load(id, &Sources { flags, ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_first_init_makes_everything_and_the_second_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(1, folder.path());
        let first = make(&config, None).unwrap();
        assert!(first.identity.founder && first.made_secret && first.made_token);
        assert_eq!(first.outcome, Init::Made);
        let token = fs::read_to_string(&config.admin_token_file).unwrap();
        assert_eq!(token.trim().len(), 2 * TOKEN_BYTES);
        let second = make(&config, None).unwrap();
        assert!(!second.made_secret && !second.made_token);
        assert_eq!((second.outcome, &second.identity), (Init::Kept, &first.identity));
        assert_eq!(fs::read_to_string(&config.admin_token_file).unwrap(), token);
    }

    #[test]
    fn secret_and_token_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(1, folder.path());
        make(&config, None).unwrap();
        for (path, wanted) in
            [(&config.secret_file, 0o600), (&config.admin_token_file, 0o600), (&config.node_dir, 0o700)]
        {
            let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, wanted, "{}", path.display());
        }
    }

    #[test]
    fn a_node_that_joins_never_makes_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let error = make(&config(2, folder.path()), None).unwrap_err().to_string();
        assert!(error.contains("cluster.secret is missing: node 2 joins a cluster"), "{error}");
        let error = make(&config(1, folder.path()), Some("10.0.0.1:9201")).unwrap_err().to_string();
        assert!(error.contains("cluster.secret is missing"), "{error}");
        assert!(!folder.path().join("cluster.secret").exists());
    }

    #[test]
    fn a_lost_secret_is_not_made_anew_for_a_node_that_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(1, folder.path());
        make(&config, None).unwrap();
        fs::remove_file(&config.secret_file).unwrap();
        let error = make(&config, None).unwrap_err().to_string();
        assert!(error.contains("cluster.secret is missing, but"), "{error}");
        assert!(!config.secret_file.exists(), "it would keep the right one from being put back");
    }

    #[test]
    fn nodes_of_one_machine_share_the_founders_secret_and_one_founder() {
        let folder = tempfile::tempdir().unwrap();
        let one = make(&config(1, folder.path()), None).unwrap();
        let two = make(&config(2, folder.path()), None).unwrap();
        assert_eq!(one.identity.cluster_id, two.identity.cluster_id);
        assert!(one.identity.founder && !two.identity.founder);
    }

    #[test]
    fn the_identity_of_another_node_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        make(&config(1, folder.path()), None).unwrap();
        let config = config(2, folder.path());
        fs::rename(folder.path().join("cluster1"), &config.node_dir).unwrap();
        let error = make(&config, None).unwrap_err().to_string();
        assert!(error.contains("node 1"), "{error}");
    }

    #[test]
    fn the_lowest_of_a_list_founds() {
        let nodes = "3=a:1,5=b:1,7=c:1";
        let founds = |id| {
            let environment = vec![("ERLMCP_CLUSTER_NODES".to_string(), nodes.to_string())];
            is_founder(&Config::load(id, &Sources { environment, ..Sources::default() }).unwrap(), None)
        };
        assert!(founds(3) && !founds(5) && !founds(7));
    }
}
