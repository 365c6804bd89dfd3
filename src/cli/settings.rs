//! From the command line to a configuration: which files, which variables, which flags.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Sources};

use super::args::ConfigArgs;

/// Directories in which files are looked for when none are named.
const DEFAULT_DIR: &str = "config";

/// The files of a configuration directory, in order. `bench.toml` is laid over only when named.
const FILES: &[&str] = &["cluster.toml", "runtime.toml"];

/// All sources that the arguments and the environment name; `flags` are further keys set by flags of a
/// command, as (flag, key, value).
pub(super) fn sources(args: &ConfigArgs, flags: &[(&str, &str, String)]) -> Sources {
    let mut all: Vec<(String, String, String)> = Vec::new();
    if let Some(dir) = &args.data_dir {
        all.push(("--data-dir".into(), "cluster.data_dir".into(), dir.display().to_string()));
    }
    all.extend(flags.iter().map(|(flag, key, value)| ((*flag).into(), (*key).into(), value.clone())));
    all.extend(args.set.iter().map(|(key, value)| ("--set".into(), key.clone(), value.clone())));
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("ERLMCP_"))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    Sources { files: files(&args.config), environment: variables.collect(), flags: all }
}

/// The configuration of node `id`.
pub(super) fn load(id: u64, args: &ConfigArgs) -> Result<Config, ConfigError> {
    Config::load(id, &sources(args, &[]))
}

/// A directory stands for the files in it that exist; a named file must exist.
pub(super) fn files(named: &[PathBuf]) -> Vec<PathBuf> {
    let within = |dir: &Path| FILES.iter().map(|file| dir.join(file)).filter(|file| file.exists()).collect();
    if named.is_empty() {
        return within(Path::new(DEFAULT_DIR));
    }
    let expand = |path: &PathBuf| if path.is_dir() { within(path) } else { vec![path.clone()] };
    named.iter().flat_map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_files_and_a_named_file_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("runtime.toml"), "").unwrap();
        std::fs::write(folder.path().join("bench.toml"), "").unwrap();
        let missing = folder.path().join("missing.toml");
        let found = files(&[folder.path().to_path_buf(), missing.clone()]);
        assert_eq!(found, [folder.path().join("runtime.toml"), missing]);
    }

    #[test]
    fn flags_of_a_command_are_keys_like_any_other() {
        let args = ConfigArgs { data_dir: Some("/d".into()), ..ConfigArgs::default() };
        let sources = sources(&args, &[("--insecure", "connections.insecure", "true".to_string())]);
        let keys: Vec<_> = sources.flags.iter().map(|(_, key, _)| key.as_str()).collect();
        assert_eq!(keys, ["cluster.data_dir", "connections.insecure"]);
    }
}
