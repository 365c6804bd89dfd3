//! `start --init`: makes what a first start needs, for images without a shell to run `init` in.
//!
//! A container is started with the same words each time and may find its volume empty. So a node that is
//! there is left alone, even one that the group removed, which `init` would renew. And a new cluster secret
//! is made only for a node that is configured alone: the founder of a real cluster that lost its volume
//! would otherwise found a second one, which the others cannot even hear of.

use erlmcp_raft::Identity;

use crate::config::{Config, Origin};

use super::error::CliError;
use super::init;

/// Makes identity and admin token where there is none; `join` is the address to join through, if any.
pub(super) fn initialised(config: &Config, join: Option<&str>) -> Result<(), CliError> {
    let has_secret = config.secret_file.exists();
    if Identity::exists(&config.node_dir) {
        if !has_secret {
            return Err(init::lost_secret(config));
        }
        if init::make_token(&config.admin_token_file)? {
            tracing::info!(token = %config.admin_token_file.display(), "made a new admin token");
        }
        return Ok(());
    }
    if !has_secret && let Some(why) = company(config, join) {
        let (secret, id) = (config.secret_file.display(), config.node_id);
        return Err(CliError::Identity(format!(
            "{secret} is missing, and --init makes a new cluster secret only for a node that is configured \
             alone: {why}. Put the secret of the cluster there (mode 600) or name its file by \
             ERLMCP_CLUSTER_SECRET_FILE; to begin a new cluster, make the secret once: erlmcp-node init --id \
             {id}; a single node says so by ERLMCP_CLUSTER_NODES_EXPECTED=1"
        )));
    }
    let done = init::make(config, join)?;
    let (cluster, founder) = (&done.identity.cluster_id, done.identity.founder);
    let new_secret = done.made_secret;
    tracing::info!(node = config.node_id, %cluster, founder, new_secret, "made a new node");
    Ok(())
}

/// Why a node is not to be alone, if so. The count of nodes that nobody has set says nothing.
fn company(config: &Config, join: Option<&str>) -> Option<String> {
    let id = config.node_id;
    let (others, expected) = (config.nodes.len() - 1, config.sections.cluster.nodes_expected);
    if let Some(address) = join {
        return Some(format!("node {id} joins through {address}"));
    }
    if config.nodes_are_listed {
        let origin = config.settings.list("cluster.nodes").1;
        return (others > 0).then(|| format!("cluster.nodes ({origin}) lists others than node {id}"));
    }
    match config.settings.origin("cluster.nodes_expected") {
        Origin::Default => {}
        origin if expected > 1 => return Some(format!("cluster.nodes_expected is {expected} ({origin})")),
        _ => {}
    }
    (!init::is_founder(config, join)).then(|| format!("without a list node 1 founds, and this is node {id}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::Sources;

    fn config(id: u64, dir: &Path, set: &[(&str, &str)]) -> Config {
        let flag = |(key, value): &(&str, &str)| ("--set".into(), (*key).into(), (*value).into());
        let mut flags: Vec<(String, String, String)> = set.iter().map(flag).collect();
        flags.push(("--data-dir".into(), "cluster.data_dir".into(), dir.display().to_string()));
        Config::load(id, &Sources { flags, ..Sources::default() }).unwrap()
    }

    fn listed(id: u64, dir: &Path, nodes: &str) -> Config {
        let flags = vec![("--data-dir".into(), "cluster.data_dir".into(), dir.display().to_string())];
        let environment = vec![("ERLMCP_CLUSTER_NODES".to_string(), nodes.to_string())];
        Config::load(id, &Sources { flags, environment, ..Sources::default() }).unwrap()
    }

    #[test]
    fn a_node_alone_is_made_once_and_then_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(1, folder.path(), &[]);
        initialised(&config, None).unwrap();
        let read = || {
            let identity = fs::read(config.node_dir.join(init::IDENTITY_FILE)).unwrap();
            (identity, fs::read(&config.secret_file).unwrap(), fs::read(&config.admin_token_file).unwrap())
        };
        let first = read();
        initialised(&config, None).unwrap();
        assert_eq!(read(), first);
        fs::remove_file(&config.admin_token_file).unwrap();
        initialised(&config, None).unwrap();
        assert_eq!((&read().0, &read().1), (&first.0, &first.1), "only the token was missing");
    }

    #[test]
    fn alone_is_who_knows_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let expected = |count| [("cluster.nodes_expected", count)];
        assert_eq!(company(&config(1, dir, &[]), None), None);
        assert_eq!(company(&config(1, dir, &expected("1")), None), None);
        assert_eq!(company(&listed(7, dir, "7=seven:9200"), None), None);
        for (config, join, word) in [
            (config(1, dir, &expected("4")), None, "cluster.nodes_expected is 4 (--set)"),
            (config(1, dir, &[]), Some("a:9201"), "joins through a:9201"),
            (config(2, dir, &[]), None, "this is node 2"),
            (config(2, dir, &expected("1")), None, "this is node 2"),
            (listed(1, dir, "1=a:9200,2=b:9200"), None, "cluster.nodes (ERLMCP_CLUSTER_NODES) lists others"),
        ] {
            let why = company(&config, join).unwrap_or_default();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn the_founder_of_a_cluster_with_an_empty_volume_founds_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let config = listed(1, folder.path(), "1=a:9200,2=b:9200,3=c:9200");
        let error = initialised(&config, None).unwrap_err().to_string();
        let secret = config.secret_file.display().to_string();
        assert!(error.starts_with(&format!("{secret} is missing")), "{error}");
        assert!(error.contains("ERLMCP_CLUSTER_SECRET_FILE"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
        fs::write(&config.secret_file, "a secret that a secret store has made").unwrap();
        initialised(&config, None).unwrap();
        assert!(Identity::open(&config.node_dir).unwrap().founder);
    }

    #[test]
    fn a_node_that_joins_remembers_through_whom() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(2, folder.path(), &[]);
        fs::write(&config.secret_file, "a secret that a secret store has made").unwrap();
        initialised(&config, Some("a:9201")).unwrap();
        assert_eq!(fs::read_to_string(config.node_dir.join(init::JOIN_FILE)).unwrap(), "a:9201\n");
        assert!(!Identity::open(&config.node_dir).unwrap().founder);
    }

    #[test]
    fn a_node_that_the_group_removed_stays_removed() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(1, folder.path(), &[]);
        initialised(&config, None).unwrap();
        let path = config.node_dir.join(init::IDENTITY_FILE);
        let removed = fs::read_to_string(&path).unwrap().replace("\"removed\": false", "\"removed\": true");
        assert!(removed.contains("\"removed\": true"));
        fs::write(&path, &removed).unwrap();
        initialised(&config, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), removed);
    }

    #[test]
    fn a_lost_secret_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(1, folder.path(), &[]);
        initialised(&config, None).unwrap();
        fs::remove_file(&config.secret_file).unwrap();
        let error = initialised(&config, None).unwrap_err().to_string();
        assert!(error.contains("cluster.secret is missing, but"), "{error}");
        assert!(!config.secret_file.exists());
    }
}
