//! The shipped configuration files and `docs/configuration.md` say exactly what the program does.
//!
//! `config/cluster.toml`, `config/runtime.toml` and the page are made from the table of keys: after a change
//! of it, `ERLMCP_REWRITE=1 cargo test --test config_files` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::path::{Path, PathBuf};

use erlmcp::config::{self, Config, Key, Origin, Settings, Shipped, Sources};

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn read(files: &[&str]) -> Settings {
    let files = files.iter().map(|name| shipped(name)).collect();
    Settings::read(&Sources { files, ..Sources::default() }).unwrap()
}

#[track_caller]
fn is_rendered(name: &str, rendered: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("ERLMCP_REWRITE").is_some() {
        std::fs::write(&path, rendered).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(rendered.lines()).position(|(a, b)| a != b);
    assert_eq!(found, rendered, "{name} differs from the table of keys at line {line:?}");
}

#[test]
fn cluster_toml_is_the_table_of_keys() {
    is_rendered("config/cluster.toml", &config::render(Shipped::Cluster));
}

#[test]
fn runtime_toml_is_the_table_of_keys() {
    is_rendered("config/runtime.toml", &config::render(Shipped::Runtime));
}

#[test]
fn the_page_of_the_configuration_is_the_table_of_keys() {
    is_rendered("docs/configuration.md", &config::document());
}

#[test]
fn shipped_files_set_every_key_to_its_default() {
    let shipped = read(&["cluster.toml", "runtime.toml"]);
    let default = read(&[]);
    for key in config::keys().filter(|key| !config::is_listed(key)) {
        let (value, origin) = shipped.value(key.path).unwrap();
        assert!(matches!(origin, Origin::File(_)), "{} is in no shipped file", key.path);
        assert_eq!(value, default.value(key.path).unwrap().0, "{}", key.path);
    }
    assert_eq!(shipped.notice(), None, "a shipped file holds keys that act");
    for list in config::LISTS {
        assert!(shipped.list(list).0.is_empty(), "{list} is commented out as shipped");
    }
}

#[test]
fn bench_toml_is_valid_and_changes_each_key_it_names() {
    let bench = read(&["bench.toml"]);
    Config::check(1, bench.clone()).unwrap();
    assert_eq!(bench.notice(), None);
    let default = read(&[]);
    let mut named = 0;
    for key in config::keys().filter(|key| !config::is_listed(key)) {
        let (value, origin) = bench.value(key.path).unwrap();
        if *origin != Origin::Default {
            named += 1;
            assert_ne!(value, default.value(key.path).unwrap().0, "{} is the default", key.path);
        }
    }
    assert!(named > 0);
}

#[test]
fn the_commented_examples_of_lists_are_valid_once_uncommented() {
    let text = std::fs::read_to_string(shipped("cluster.toml")).unwrap();
    let mut list = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside = (inside || line.starts_with("# [[")) && !line.is_empty();
        let bare = line.trim_start_matches("# ");
        // A server has a command or a url: take the command.
        if inside && (bare.starts_with("[[") || bare.contains(" = ") && !bare.starts_with("url")) {
            list.push_str(bare);
            list.push('\n');
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists.toml");
    std::fs::write(&path, &list).unwrap();
    let config = Config::load(1, &Sources { files: vec![path], ..Sources::default() });
    let config = config.map_err(|error| format!("{error}\n{list}")).unwrap();
    assert_eq!((config.nodes.len(), config.sections.upstream.len()), (1, 1));
}

/// Keys that `config` resolves and hands on under another name: what of a `Config` stands for each.
const HANDED_ON: &[(&str, &str)] = &[
    ("cluster.port_base", "http_listen"),
    ("cluster.data_dir", "node_dir"),
    ("cluster.secret_file", "secret_file"),
    ("http.listen", "http_listen"),
    ("peer.listen", "peer_listen"),
    ("peer.advertise", "peer_advertise"),
    ("connections.insecure", "is_insecure_bind"),
    ("admin.token_file", "admin_token_file"),
];

/// The code of every source file that may read a key: no comments, no tests, not the configuration itself.
fn readers(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_ours = path.ends_with("src/config") || path.ends_with("src/config.rs");
        if is_ours || path.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            readers(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push(lines.flat_map(|line| [line, "\n"]).collect());
        }
    }
}

/// Whether the code reads a field of this name, of whatever it may be.
fn names(code: &str, field: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&format!(".{field}")).any(|(at, found)| !code[at + found.len()..].starts_with(is_word))
}

#[test]
fn every_key_has_a_reader() {
    let mut files = Vec::new();
    readers(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let is_read = |key: &Key| match HANDED_ON.iter().find(|(path, _)| *path == key.path) {
        Some((_, field)) => files.iter().any(|code| names(code, field)),
        None => {
            // Fields of one name are many: who reads this one also names its section.
            let section = key.section().rsplit('.').next().unwrap();
            files.iter().any(|code| names(code, section) && names(code, key.name()))
        }
    };
    let ignored: Vec<_> = config::keys().filter(|key| !is_read(key)).map(|key| key.path).collect();
    assert!(ignored.is_empty(), "nothing reads these; read them, or move them to PLANNED: {ignored:#?}");
}
