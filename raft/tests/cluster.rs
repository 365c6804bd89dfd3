//! Whole replicas in one process, over real loopback sockets and real stores.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::time::Duration;

use common::{Cluster, SOON};
use erlmcp_ledger::{Command, Receipt};
use erlmcp_raft::Role;

fn set_limit(connections: u32) -> Command {
    Command::SetLimit { tenant: None, connections: Some(connections) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_founds_its_group_and_takes_commands() {
    let mut cluster = Cluster::new(1);
    cluster.start(1).await;
    cluster.wait(1, SOON, |status| status.role == Role::Leader && status.formation.complete).await;
    assert_eq!(cluster.node(1).propose(set_limit(77)).await.unwrap(), Receipt::Done);
    assert_eq!(cluster.node(1).view().borrow().ledger.limits().connections, 77);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_form_three_voters_and_a_standby() {
    let mut cluster = Cluster::new(4);
    let begin = std::time::Instant::now();
    cluster.start_all().await;
    cluster.wait_formed().await;
    println!("formed in {:?}", begin.elapsed());
    let status = cluster.node(1).status();
    assert_eq!((status.voters.len(), status.learners.len()), (3, 1));
    for id in 1..=4 {
        assert_eq!(cluster.node(id).propose(set_limit(1_000 + id as u32)).await.unwrap(), Receipt::Done);
        cluster.wait_limit(1_000 + id as u32).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(30));
    cluster.stop_all().await;
}
