//! A node whose disk breaks while it serves: it ends at once and says why, and the others go on.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

mod common;

use std::time::Duration;

use common::Cluster;
use erlmcp_ledger::{Command, Receipt};
use erlmcp_raft::{Fatal, Role};

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
