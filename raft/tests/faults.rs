//! A node whose disk breaks while it serves: it ends at once and says why, and the others go on.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::{Cluster, SOON};
use erlmcp_ledger::{Command, Receipt};
use erlmcp_raft::{Fatal, Identity, ReplicaStatus, Role};

/// It takes a moment; a machine that does much else may take longer.
const ENDED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_fails_ends_and_the_others_go_on() {
    let mut cluster = Cluster::new(3);
    cluster.start_all().await;
    cluster.wait_formed().await;
    let leader = cluster.leader();
    let victim = if leader == 3 { 2 } else { 3 };
    cluster.faults[&victim].fail_sync();
    let fatal = cluster.node(victim).fatal();
    let command = Command::SetLimit { tenant: None, connections: Some(7) };
    assert_eq!(cluster.node(leader).propose(command).await.unwrap(), Receipt::Done);
    let fatal = tokio::time::timeout(ENDED, fatal).await.expect("it lives on");
    assert!(matches!(&fatal, Fatal::Store(text) if text.contains("fsync")), "{fatal}");
    assert_eq!(cluster.node(victim).status().role, Role::Failed);
    cluster.nodes.remove(&victim).unwrap().stop_at_once().await.unwrap_err();
    cluster.stop_all().await;
}

/// Cuts each file of `dir` whose name says so in half.
fn cut_files(dir: PathBuf, is_meant: impl Fn(&str) -> bool) {
    let mut count = 0;
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if is_meant(path.file_name().unwrap().to_str().unwrap()) {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            count += 1;
        }
    }
    assert!(count > 0, "there is nothing to damage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_life_when_only_its_snapshots_are_damaged_and_makes_a_new_one() {
    let mut cluster = Cluster::new(1);
    // The log is purged in batches of 256.
    cluster.timing.snapshot_entries = 280;
    cluster.timing.keep_entries = 3;
    cluster.start(1).await;
    cluster.wait(1, SOON, |status| status.formation.members == 1).await;
    for connections in 101..=390 {
        let command = Command::SetLimit { tenant: None, connections: Some(connections) };
        assert_eq!(cluster.node(1).propose(command).await.unwrap(), Receipt::Done);
    }
    cluster.wait(1, SOON, |status| status.purged > 0).await;
    let before = cluster.node(1).status();
    cluster.kill(1).await;
    let store = Identity::store_dir(&cluster.node_dir(1)).join("store");
    cut_files(store.join("snapshots"), |name| name.ends_with(".snap"));
    cut_files(store.join("sled"), |name| name.starts_with("snap."));
    cluster.start(1).await;
    assert_eq!(cluster.node(1).status().incarnation, before.incarnation);
    let is_whole = |status: &ReplicaStatus| {
        status.role == Role::Leader && status.snapshot >= before.purged && status.purged >= before.purged
    };
    cluster.wait(1, SOON, is_whole).await;
    cluster.wait_limit(390).await;
    let command = Command::SetLimit { tenant: None, connections: Some(391) };
    assert_eq!(cluster.node(1).propose(command).await.unwrap(), Receipt::Done);
    let snapshots = fs::read_dir(store.join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
    assert!(snapshots.into_iter().any(|path| path.extension().unwrap() == "snap"), "no new one was made");
    cluster.stop_all().await;
}
