//! The form on disk, as the first release wrote it: a data directory kept in the repository has to open.
//!
//! `fixtures/format1.txt` is node 2 of a group of three. It came by snapshot, voted, led, took every command
//! and dropped the others' votes, so that it can go on alone. What it must be read as is written here by
//! hand: a change that writes and reads otherwise is seen. Never make it anew; a later form gets a file of
//! its own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/packed.rs"]
mod packed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{Cluster, SOON};
use erlmcp_ledger::{Budget, Command, Incarnation, Ledger, Limits, MemberClaim, Receipt, Tenant};
use erlmcp_raft::{ClusterSecret, Identity, ReplicaStatus, Role};
use erlmcp_storage::{MetaKey, Options, Store};
use serde_json::{Value, json};

const FIXTURE: &str = include_str!("fixtures/format1.txt");

/// Only ever used for the fixture.
const SECRET: &str = "the secret of a data directory that is kept for tests";

fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

fn set_limit(connections: u32) -> Command {
    Command::SetLimit { tenant: None, connections: Some(connections) }
}

/// Each command there is; `number` tells the rounds apart.
fn every_command(number: u32) -> Vec<Command> {
    let budget = |rate| Budget { messages_per_second: rate, burst: rate / 2 };
    let claim = MemberClaim {
        reads: 1,
        peer_address: "127.0.0.1:1".to_owned(),
        http_address: "h\u{f6}st:8084".to_owned(),
        incarnation: Incarnation::new(0x4444),
        name: "node \u{2463}".to_owned(),
    };
    vec![
        // Refused, but in the log; long enough to be stored in parts.
        Command::Found {
            cluster_id: "another cluster ".repeat(500),
            node: 9,
            claim: claim.clone(),
            limits: Limits::default(),
            budget: Budget::default(),
        },
        Command::PutMember { node: 4, claim, returning: false },
        Command::SetDraining { node: 4, draining: true },
        Command::SetLimit { tenant: Some(tenant("acme")), connections: Some(100 + number) },
        Command::SetLimit { tenant: Some(tenant("globex")), connections: Some(7) },
        Command::SetLimit { tenant: Some(tenant("globex")), connections: None },
        set_limit(5_000 + number),
        Command::SetLease { lease_ms: None, drift_ppm: 20_000, margin_ms: 700 + number },
        Command::SetBudget { tenant: None, budget: Some(budget(90_000 + number)) },
        Command::SetBudget { tenant: Some(tenant("acme")), budget: Some(budget(800 + number)) },
        Command::RemoveMember { node: 4, incarnation: None, dead: true, now: false },
    ]
}

async fn put(cluster: &Cluster, node: u64, command: Command) {
    let is_refused = matches!(command, Command::Found { .. });
    let receipt = cluster.node(node).propose(command).await.unwrap();
    assert_eq!(receipt != Receipt::Done, is_refused, "{receipt:?}");
}

/// Run once, by the release that the file is named after:
/// `cargo test -p erlmcp-raft --test disk_format -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it wrote the fixture, which is kept as it is"]
async fn write_the_fixture() {
    assert!(FIXTURE.is_empty(), "the fixture is kept as it is; a later form gets a file of its own");
    let mut cluster = cluster_of(3);
    cluster.timing.snapshot_entries = 280;
    cluster.timing.keep_entries = 3;
    cluster.start(1).await;
    cluster.wait(1, SOON, |status| status.formation.members == 1).await;
    for command in every_command(1) {
        put(&cluster, 1, command).await;
    }
    for connections in 6_001..=6_290 {
        put(&cluster, 1, set_limit(connections)).await;
    }
    cluster.wait(1, SOON, |status| status.purged > 0).await;
    cluster.start(2).await;
    cluster.start(3).await;
    cluster.wait_formed().await;
    cluster.node(1).transfer_leader(Some(2)).await.unwrap();
    for command in every_command(2) {
        put(&cluster, 2, command).await;
    }
    cluster.node(2).set_draining(1, true).await.unwrap();
    cluster.node(2).remove(1, false, false).await.unwrap();
    let is_alone = |status: &ReplicaStatus| status.voters == [2] && !status.changing && status.lag == 0;
    cluster.wait(2, SOON, |status| is_alone(status) && status.learners == [3]).await;
    put(&cluster, 2, Command::SetDraining { node: 3, draining: true }).await;
    cluster.kill(2).await;
    let text = packed::pack(&cluster.node_dir(2));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format1.txt");
    std::fs::write(path, text).unwrap();
    cluster.stop_all().await;
}

fn cluster_of(nodes: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.secret = ClusterSecret::from_text(SECRET).unwrap();
    cluster
}

/// The fixture as node 2's directory, and the options to open its store.
fn unpacked(cluster: &Cluster) -> (PathBuf, Options) {
    let dir = cluster.node_dir(2);
    packed::unpack(FIXTURE, &dir);
    (dir, Options { min_free_bytes: 1024, ..Options::default() })
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn texts(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> BTreeMap<String, String> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    pairs.into_iter().map(|(key, value)| (text(key), text(value))).collect()
}

/// The ledger as the fixture's last entry left it.
fn expected_ledger() -> BTreeMap<String, String> {
    let lines = [
        (r"budget", r#"{"messages_per_second":90002,"burst":45001}"#),
        (
            r"cluster",
            r#"{"v":1,"id":"18c69672d5756dc6","founded_at":2,"founder":"6aa5e2b445a4ada58fd68302a3bb4401"}"#,
        ),
        (r"limits", r#"{"connections":5002,"lease_ms":null,"drift_ppm":20000,"margin_ms":702}"#),
        (
            r"member/00000000000000000002",
            concat!(
                r#"{"peer_address":"127.0.0.1:44459","http_address":"127.0.0.1:8081","#,
                r#""incarnation":"9d9e44aa0af93135ad474e317e7f3e7e","draining":false,"#,
                r#""name":"node 2","joined_at":304}"#
            ),
        ),
        (
            r"member/00000000000000000003",
            concat!(
                r#"{"peer_address":"127.0.0.1:40627","http_address":"127.0.0.1:8082","#,
                r#""incarnation":"3157afedd5ebc95faf32b4e5f3808ded","draining":true,"#,
                r#""name":"node 3","joined_at":306}"#
            ),
        ),
        (r"tenant_budget/acme", r#"{"messages_per_second":802,"burst":401}"#),
        (r"tenant_limit/acme", "102"),
    ];
    lines.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_identity_the_vote_the_log_and_the_state_are_read_as_they_were_written() {
    let cluster = cluster_of(2);
    let (dir, options) = unpacked(&cluster);
    let identity = Identity::open(&dir).unwrap();
    assert_eq!((identity.node_id, identity.cluster_id.as_str()), (2, cluster.secret.cluster_id()));
    assert_eq!(identity.incarnation.to_string(), "9d9e44aa0af93135ad474e317e7f3e7e");
    assert_eq!((identity.founder, identity.voted, identity.removed), (false, true, false));

    let store = Store::open(&Identity::store_dir(&dir), options).unwrap();
    let meta = |key| store.meta(key).unwrap().map(|bytes| json(&bytes));
    let vote = json!({"leader_id": {"term": 2, "voted_for": 2}, "committed": true});
    assert_eq!(meta(MetaKey::Vote), Some(vote));
    assert_eq!(meta(MetaKey::Purged), Some(json!({"leader_id": 1, "index": 279})));
    let bounds = store.log_bounds();
    assert_eq!((bounds.first, bounds.last), (Some(280), Some(329)));

    let mut state = texts(store.state().unwrap());
    assert_eq!(state.remove("raft/applied").unwrap(), r#"{"leader_id":2,"index":329}"#);
    let membership = json(state.remove("raft/membership/0000").unwrap().as_bytes());
    assert_eq!(membership["log_id"], json!({"leader_id": 2, "index": 328}));
    assert_eq!(membership["membership"]["configs"], json!([[2]]));
    let nodes = json!({
        "2": {"peer_address": "127.0.0.1:44459", "incarnation": "9d9e44aa0af93135ad474e317e7f3e7e"},
        "3": {"peer_address": "127.0.0.1:40627", "incarnation": "3157afedd5ebc95faf32b4e5f3808ded"},
    });
    assert_eq!(membership["membership"]["nodes"], nodes);
    let ledger = expected_ledger();
    let ledger = ledger.into_iter().map(|(key, value)| (format!("ledger/{key}"), value)).collect();
    assert_eq!(state, ledger);
}

/// Every form of a command and the snapshot are read here, or the outcome would be another.
#[test]
fn the_log_applied_to_the_snapshot_gives_the_state() {
    let cluster = cluster_of(2);
    let (dir, options) = unpacked(&cluster);
    let store = Store::open(&Identity::store_dir(&dir), options).unwrap();
    let snapshot = store.latest_snapshot().unwrap().unwrap();
    assert_eq!(snapshot.id, "00000000000000000279");
    assert_eq!(json(&snapshot.meta)["last_log_id"], json!({"leader_id": 1, "index": 279}));
    let body = json(&snapshot.body);
    assert_eq!(body["format"], 1);
    let entries = body["ledger"].as_object().unwrap().iter();
    let mut ledger =
        Ledger::from_entries(entries.map(|(key, text)| (key.as_str(), text.as_str().unwrap()))).unwrap();
    assert_eq!(ledger.limits().connections, 6_266);
    assert_eq!(ledger.tenant_limits()[&tenant("acme")], 101);

    let mut names = BTreeSet::new();
    for (index, bytes) in store.read(280, 330).unwrap() {
        let entry = json(&bytes);
        assert_eq!(entry["log_id"]["index"], index);
        let Some(command) = entry["payload"].get("Normal") else { continue };
        let command = Command::from_json(command.to_string().as_bytes()).unwrap();
        names.insert(command.name());
        let (receipt, _) = ledger.apply(index, &command);
        assert_eq!(receipt == Receipt::Done, command.name() != "found", "{index}: {receipt:?}");
    }
    assert_eq!(ledger.entries(), expected_ledger());
    let all = every_command(1);
    assert_eq!(names, all.iter().map(Command::name).collect(), "the log holds every command of its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_from_it() {
    let mut cluster = cluster_of(2);
    let (dir, _) = unpacked(&cluster);
    let before = Identity::open(&dir).unwrap();
    cluster.start(2).await;
    // The core says what it found a moment after the start.
    cluster.wait(2, SOON, |status| (status.purged, status.snapshot) == (279, 279)).await;
    let status = cluster.node(2).status();
    assert_eq!((status.incarnation, &status.voters), (before.incarnation, &vec![2]));
    let ledger = cluster.node(2).view().borrow().ledger.entries();
    // It may have told its new address already.
    let rest = |mut all: BTreeMap<String, String>| {
        all.remove("member/00000000000000000002");
        all
    };
    assert_eq!(rest(ledger), rest(expected_ledger()));

    cluster.wait(2, SOON, |status| status.role == Role::Leader && status.last_log > 329).await;
    assert!(cluster.node(2).status().term > 2);
    put(&cluster, 2, set_limit(5_555)).await;
    cluster.kill(2).await;
    cluster.start(2).await;
    assert_eq!(cluster.node(2).view().borrow().ledger.limits().connections, 5_555);
    cluster.stop_all().await;
}
