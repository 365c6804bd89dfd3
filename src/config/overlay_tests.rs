//! The overlay by its claims: what overrides what, what is refused, and with which words.

use std::io::Write as _;

use super::*;

fn read(files: &[&str], environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Sources::default();
    for (index, text) in files.iter().enumerate() {
        let path = folder.path().join(format!("{index}.toml"));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        sources.files.push(path);
    }
    let pair = |(a, b): &(&str, &str)| ((*a).to_string(), (*b).to_string());
    sources.environment = environment.iter().map(pair).collect();
    sources.flags =
        flags.iter().map(pair).map(|(path, text)| (format!("--set {path}"), path, text)).collect();
    let strip = format!("{}/", folder.path().display());
    Settings::read(&sources).map_err(|error| error.to_string().replace(&strip, ""))
}

fn per_node(settings: &Settings) -> (i64, String) {
    let (value, origin) = settings.value("connections.per_node").unwrap();
    let origin = origin.to_string();
    (value.as_integer().unwrap(), origin.rsplit('/').next().unwrap().to_string())
}

#[test]
fn flags_override_variables_override_files_override_defaults() {
    let file = "[connections]\nper_node = 2\n";
    let later = "[connections]\nper_node = 3\n";
    let variable = [("ERLMCP_CONNECTIONS_PER_NODE", "4")];
    let flag = [("connections.per_node", "5")];
    let seen = |settings: Result<Settings, String>| per_node(&settings.unwrap());
    assert_eq!(seen(read(&[], &[], &[])), (25_000, "default".into()));
    assert_eq!(seen(read(&[file], &[], &[])), (2, "0.toml".into()));
    assert_eq!(seen(read(&[file, later], &[], &[])), (3, "1.toml".into()));
    assert_eq!(seen(read(&[file], &variable, &[])), (4, "ERLMCP_CONNECTIONS_PER_NODE".into()));
    assert_eq!(seen(read(&[file], &variable, &flag)), (5, "--set connections.per_node".into()));
}

#[test]
fn a_value_out_of_range_names_file_key_value_and_range() {
    let error = read(&["[connections]\nper_node = 0\n"], &[], &[]).unwrap_err();
    assert_eq!(error, "0.toml: connections.per_node is 0; it must be between 1 and 1000000");
}

#[test]
fn a_value_of_the_wrong_type_says_what_belongs_there() {
    let error = read(&["[websocket]\nenabled = \"yes\"\n"], &[], &[]).unwrap_err();
    assert_eq!(error, "0.toml: websocket.enabled is \"yes\"; it must be true or false");
    let error = read(&["connections = 7\n"], &[], &[]).unwrap_err();
    assert_eq!(error, "0.toml: connections is 7; it must be a section");
    let error = read(&["[upstream]\nname = \"a\"\n"], &[], &[]).unwrap_err();
    assert_eq!(error, "0.toml: upstream is a table; it must be written as [[upstream]]");
}

#[test]
fn an_unknown_key_names_file_key_and_the_nearest_known_one() {
    let error = read(&["[connections]\nper_nod = 1\n"], &[], &[]).unwrap_err();
    assert_eq!(
        error,
        "0.toml: unknown key connections.per_nod; the nearest known key is connections.per_node"
    );
    let error = read(&["[wombat]\nxyzzyxyzzy = 1\n"], &[], &[]).unwrap_err();
    assert_eq!(error, "0.toml: unknown key wombat");
}

#[test]
fn an_unknown_key_in_an_element_names_the_element() {
    let error = read(&["[[upstream]]\nname = \"a\"\ncomand = \"b\"\n"], &[], &[]).unwrap_err();
    assert_eq!(error, "0.toml: unknown key upstream[0].comand; the nearest known key is upstream.command");
}

#[test]
fn keys_without_effect_are_checked_taken_and_named_in_one_line_wherever_they_were_set() {
    assert_eq!(read(&["[raft]\nkeep_entries = 5\n"], &[], &[]).unwrap().notice(), None);
    let file = "[websocket]\nenabled = false\n[tcp]\nlisten = \"0.0.0.0:80\"\n";
    let settings = read(&[file], &[("ERLMCP_SESSION_STICKY", "false")], &[("tcp.listen", "off")]).unwrap();
    let notice = settings.notice().unwrap();
    let wanted = "0.toml, ERLMCP_SESSION_STICKY: these keys have no effect in this release: tcp.listen, \
                  websocket.enabled, session.sticky";
    assert!(notice.starts_with("--set tcp.listen, ") && notice.ends_with(wanted), "{notice}");
    assert!(settings.value("tcp.listen").is_none() && !settings.to_table().contains_key("tcp"));
    let error = read(&["[tcp]\nlisten = 7\n"], &[], &[]).unwrap_err();
    assert!(error.starts_with("0.toml: tcp.listen is 7; it must be"), "{error}");
}

#[test]
fn a_missing_required_key_is_named() {
    let error = read(&["[[cluster.nodes]]\nid = 1\n"], &[], &[]).unwrap_err();
    assert_eq!(
        error,
        "0.toml: cluster.nodes[0].peer is missing; it must be HOST:PORT such as \"10.0.0.7:9200\""
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let error = read(&["[connections]\nper_node = 0\nglobal = 0\nx = 1\n"], &[], &[]).unwrap_err();
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn a_file_that_is_not_toml_names_the_line() {
    let error = read(&["[connections]\n\nper_node = = 1\n"], &[], &[]).unwrap_err();
    assert!(error.starts_with("0.toml:3: "), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let sources = Sources { files: vec!["/nowhere/cluster.toml".into()], ..Sources::default() };
    let error = Settings::read(&sources).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/cluster.toml: "), "{error}");
}

#[test]
fn an_unknown_variable_is_refused_but_for_those_that_kubernetes_injects() {
    let error = read(&[], &[("ERLMCP_CONNECTIONS_PERNODE", "1")], &[]).unwrap_err();
    assert_eq!(
        error,
        "ERLMCP_CONNECTIONS_PERNODE: unknown key ERLMCP_CONNECTIONS_PERNODE; \
         the nearest known key is connections.per_node"
    );
    let injected = [
        ("ERLMCP_SERVICE_HOST", "10.0.0.1"),
        ("ERLMCP_SERVICE_PORT_HTTP", "8080"),
        ("ERLMCP_PORT", "tcp://10.0.0.1:8080"),
        ("ERLMCP_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("ERLMCP_HEADLESS_PORT_9200_TCP", "tcp://10.0.0.1:9200"),
        ("PATH", "/bin"),
    ];
    assert!(read(&[], &injected, &[]).is_ok());
}

#[test]
fn a_bad_variable_names_itself_and_the_key() {
    let error = read(&[], &[("ERLMCP_PORT_BASE", "80")], &[]).unwrap_err();
    assert_eq!(error, "ERLMCP_PORT_BASE: cluster.port_base is 80; it must be between 1024 and 64000");
}

#[test]
fn nodes_come_from_a_variable_too() {
    let settings = read(&[], &[("ERLMCP_CLUSTER_NODES", "1=a:9200, 2=b:9200")], &[]).unwrap();
    assert_eq!(settings.list("cluster.nodes").0.len(), 2);
    let error = read(&[], &[("ERLMCP_CLUSTER_NODES", "a:9200")], &[]).unwrap_err();
    assert!(error.contains("cluster.nodes is \"a:9200\"; it must be a list such as"), "{error}");
}

#[test]
fn a_key_whose_name_begins_as_a_list_has_an_origin_of_its_own() {
    let settings = read(&[], &[("ERLMCP_CLUSTER_NODES_EXPECTED", "1")], &[]).unwrap();
    assert_eq!(settings.origin("cluster.nodes_expected").to_string(), "ERLMCP_CLUSTER_NODES_EXPECTED");
    assert_eq!(settings.origin("cluster.nodes[0].id"), Origin::Default);
}

#[test]
fn a_later_list_replaces_an_earlier_one() {
    let one = "[[upstream]]\nname = \"a\"\n[[upstream]]\nname = \"b\"\n";
    let two = "[[upstream]]\nname = \"c\"\n";
    assert_eq!(read(&[one, two], &[], &[]).unwrap().list("upstream").0.len(), 1);
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let secret = "s".repeat(500);
    let error = read(&[], &[("ERLMCP_CONNECTIONS_PER_NODE", &secret)], &[]).unwrap_err();
    assert!(error.len() < 200, "{error}");
}
