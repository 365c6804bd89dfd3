//! The proof of a configuration by its claims: what a node becomes, and what does not fit together.

use erlmcp_ledger::{Budget, Limits};
use toml::Value;

use super::super::key::Kind;
use super::super::{Lease, keys};
use super::*;

fn config(node_id: u64, flags: &[(&str, &str)], text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    let flags = flags.iter().map(|(k, v)| ("--set".to_string(), (*k).to_string(), (*v).to_string()));
    let sources = Sources { files: vec![path], environment: Vec::new(), flags: flags.collect() };
    let strip = format!("{}/", folder.path().display());
    Config::load(node_id, &sources).map_err(|error| error.to_string().replace(&strip, ""))
}

#[test]
fn ports_follow_the_number_of_the_node() {
    let one = config(1, &[], "").unwrap();
    assert_eq!(one.http_listen.to_string(), "127.0.0.1:8080");
    assert_eq!(one.peer_listen.to_string(), "127.0.0.1:9201");
    let three = config(3, &[("cluster.port_base", "18080")], "").unwrap();
    assert_eq!(three.http_listen.port(), 18_082);
    assert_eq!(three.peer_listen.port(), 19_203);
    assert_eq!(three.peer_advertise, "127.0.0.1:19203");
}

#[test]
fn without_a_list_the_local_nodes_are_known_and_oneself_always() {
    let ids = |config: Config| config.nodes.iter().map(|node| node.id).collect::<Vec<_>>();
    assert_eq!(ids(config(1, &[], "").unwrap()), [1, 2, 3, 4]);
    assert_eq!(ids(config(6, &[], "").unwrap()), [1, 2, 3, 4, 6]);
    let two = config(2, &[], "").unwrap();
    assert!(!two.nodes_are_listed);
    assert_eq!(two.nodes[0].peer, "127.0.0.1:9201");
    assert_eq!(two.nodes[0].http.as_deref(), Some("127.0.0.1:8080"));
}

#[test]
fn a_list_is_taken_as_it_is_and_tells_what_to_advertise() {
    let text = "[[cluster.nodes]]\nid = 7\npeer = \"seven:9200\"\n";
    let seven = config(7, &[], text).unwrap();
    assert!(seven.nodes_are_listed);
    assert_eq!((seven.nodes.len(), seven.peer_advertise.as_str()), (1, "seven:9200"));
    let told = config(7, &[("peer.advertise", "other:1")], text).unwrap();
    assert_eq!(told.peer_advertise, "other:1");
}

#[test]
fn a_trusted_proxy_is_an_address_or_a_block_and_nothing_else() {
    let proxies = |list: &str| config(1, &[], &format!("[http]\ntrusted_proxies = {list}\n"));
    let fine = proxies(r#"["10.1.2.3", "192.168.0.0/16", "fd00::1", "2001:db8::/32", "0.0.0.0/0"]"#).unwrap();
    let blocks = fine.sections.http.trusted_proxies.iter().filter_map(|text| super::super::network(text));
    let blocks: Vec<_> = blocks.map(|block| block.to_string()).collect();
    assert_eq!(blocks, ["10.1.2.3/32", "192.168.0.0/16", "fd00::1/128", "2001:db8::/32", "0.0.0.0/0"]);
    for bad in [
        "",
        "proxy",
        "10.0.0",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0.1:80",
        "[fd00::1]",
        "::ffff:10.0.0.1",
        "*",
    ] {
        let error = proxies(&format!("[\"10.0.0.1\", \"{bad}\"]")).unwrap_err();
        let wanted = format!(
            "c.toml: http.trusted_proxies is \"{bad}\"; it must be an IP address or a block of them, such as \
             \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\""
        );
        assert_eq!(error, wanted);
    }
}

#[test]
fn files_lie_below_the_data_directory_unless_told_otherwise() {
    let config = |flags: &[(&str, &str)]| config(2, flags, "").unwrap();
    let auto = config(&[("cluster.data_dir", "/d")]);
    assert_eq!(auto.node_dir, PathBuf::from("/d/cluster2"));
    assert_eq!(auto.secret_file, PathBuf::from("/d/cluster.secret"));
    assert_eq!(auto.admin_token_file, PathBuf::from("/d/cluster2/admin.token"));
    let told = config(&[("cluster.secret_file", "s"), ("admin.token_file", "t")]);
    assert_eq!((told.secret_file, told.admin_token_file), ("s".into(), "t".into()));
}

#[test]
fn a_client_port_that_others_reach_is_refused_unless_accepted() {
    for (key, address) in [("http.listen", "0.0.0.0:80"), ("http.listen", "[::]:80")] {
        let error = config(1, &[(key, address)], "").unwrap_err();
        assert!(error.contains(&format!("{key} is \"{address}\", which others can reach")), "{error}");
        assert!(config(1, &[(key, address), ("connections.insecure", "true")], "").is_ok());
    }
    assert!(config(1, &[("http.listen", "[::ffff:127.0.0.1]:80")], "").is_ok());
    assert!(config(1, &[("peer.listen", "0.0.0.0:9200")], "").is_ok(), "peers sign their requests");
}

#[test]
fn only_an_open_port_counts_as_insecure_bind() {
    let load = |flags: &[(&str, &str)]| {
        let flags = flags.iter().map(|(k, v)| ("--set".to_string(), (*k).to_string(), (*v).to_string()));
        let sources = Sources { flags: flags.collect(), ..Sources::default() };
        Config::load(1, &sources).unwrap_err().is_insecure_bind()
    };
    assert!(load(&[("http.listen", "0.0.0.0:80")]));
    assert!(!load(&[("http.listen", "0.0.0.0:80"), ("raft.heartbeat_ms", "9000")]));
}

#[test]
fn keys_that_bound_each_other_are_held_together() {
    for (flags, needle) in [
        (vec![("raft.heartbeat_ms", "201")], "raft.heartbeat_ms is 201; it must be at most half of"),
        (vec![("raft.election_max_ms", "400")], "raft.election_max_ms is 400; it must be more than"),
        (vec![("http.listen", "off")], "http.listen is \"off\"; it must be \"auto\" or an address"),
        (vec![("cluster.port_base", "64000"), ("peer.listen", "auto")], "at most 65535"),
        (
            vec![("http.http2_stream_window_bytes", "2097152")],
            "http.http2_connection_window_bytes is 1048576; it must be at least",
        ),
    ] {
        let result = config(500, &flags, "");
        let error = result.unwrap_err();
        assert!(error.contains(needle), "{error}");
    }
    assert!(config(1, &[("raft.heartbeat_ms", "200")], "").is_ok());
}

#[test]
fn an_upstream_has_a_command_or_a_url_and_its_own_name() {
    let error = config(1, &[], "[[upstream]]\nname = \"a\"\n").unwrap_err();
    assert!(
        error.contains("upstream[0].name is \"a\"; it must be given with either command or url"),
        "{error}"
    );
    let two = "[[upstream]]\nname = \"a\"\nurl = \"http://h\"\n";
    let error = config(1, &[], &format!("{two}{two}")).unwrap_err();
    assert!(error.contains("upstream[1].name is \"a\"; it must be a name that no other"), "{error}");
    let error = config(1, &[], "[[upstream]]\nname = \"a\"\nurl = \"ftp://h\"\n").unwrap_err();
    assert!(error.contains("begins with http://"), "{error}");
    let fine = config(1, &[], two).unwrap();
    assert_eq!(fine.sections.upstream[0].timeout_ms, 30_000);
}

#[test]
fn two_nodes_of_one_number_are_refused() {
    let node = "[[cluster.nodes]]\nid = 1\npeer = \"a:1\"\n";
    let error = config(1, &[], &format!("{node}{node}")).unwrap_err();
    assert!(
        error.contains("cluster.nodes[1].id is 1; it must be a number that no other node has"),
        "{error}"
    );
}

#[test]
fn the_ledger_and_the_table_have_the_same_defaults() {
    let config = config(1, &[], "").unwrap();
    assert_eq!(founded(&config), (Limits::default(), Budget::default()));
}

/// Numbers that the cluster would be founded with.
fn founded(config: &Config) -> (Limits, Budget) {
    let (quota, budget) = (&config.sections.quota, &config.sections.budget);
    let lease_ms = match quota.lease_ms {
        Lease::Ms(ms) => Some(u32::try_from(ms).unwrap()),
        Lease::Word(_) => None,
    };
    let limits = Limits {
        connections: config.sections.connections.global,
        lease_ms,
        drift_ppm: quota.drift_ppm,
        margin_ms: u32::try_from(quota.margin_ms).unwrap(),
    };
    (limits, Budget { messages_per_second: budget.messages_per_second, burst: budget.burst_messages })
}

#[test]
fn a_lease_that_the_ledger_refuses_does_not_pass_config_check() {
    let error = config(1, &[("quota.lease_ms", "4000000")], "").unwrap_err();
    assert_eq!(
        error,
        "--set: quota.lease_ms is 4000000; it must be a whole number between 3000 and 3600000, or \"never\""
    );
}

#[test]
fn what_the_cluster_is_founded_with_has_the_range_of_the_ledger() {
    let of_the_ledger = [
        "connections.global",
        "quota.lease_ms",
        "quota.drift_ppm",
        "quota.margin_ms",
        "budget.messages_per_second",
        "budget.burst_messages",
    ];
    let default = config(1, &[], "").unwrap();
    assert_eq!(founded(&default), (Limits::default(), Budget::default()));
    for path in of_the_ledger {
        let key = keys().find(|key| key.path == path).unwrap();
        let (Kind::Int { min, max } | Kind::IntOr { min, max, .. }) = key.kind else { panic!("{path}") };
        for value in [min, max] {
            let (limits, budget) = founded(&config(1, &[(path, &value.to_string())], "").unwrap());
            assert_eq!((limits.problem(), budget.problem()), (None, None), "{path} = {value}");
        }
        for value in [min - 1, max + 1] {
            assert!(key.check(&Value::Integer(value)).is_err(), "{path} = {value}");
            let Ok(beyond) = u32::try_from(value) else { continue };
            let (mut limits, mut budget) = founded(&default);
            match key.name() {
                "global" => limits.connections = beyond,
                "lease_ms" => limits.lease_ms = Some(beyond),
                "drift_ppm" => limits.drift_ppm = beyond,
                "margin_ms" => limits.margin_ms = beyond,
                "messages_per_second" => budget.messages_per_second = beyond,
                _ => budget.burst = beyond,
            }
            let is_refused = limits.problem().is_some() || budget.problem().is_some();
            assert!(is_refused, "{path} could be {value} for the ledger");
        }
    }
}
