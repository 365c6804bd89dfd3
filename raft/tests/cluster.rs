//! Whole replicas in one process, over real loopback sockets and real stores: forming, failing, coming back.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, SOON};
use erlmcp_ledger::{Command, Receipt};
use erlmcp_raft::{AdminError, ProposeError, Replica, ReplicaStatus, Role};

fn set_limit(connections: u32) -> Command {
    Command::SetLimit { tenant: None, connections: Some(connections) }
}

async fn formed(nodes: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.start_all().await;
    cluster.wait_formed().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_founds_its_group_and_takes_commands() {
    let mut cluster = formed(1).await;
    cluster.wait(1, SOON, |status| status.role == Role::Leader && status.quorum_ok).await;
    assert_eq!(cluster.node(1).propose(set_limit(77)).await.unwrap(), Receipt::Done);
    assert_eq!(cluster.node(1).view().borrow().ledger.limits().connections, 77);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_voter_and_a_standby() {
    let mut cluster = formed(2).await;
    cluster.wait(2, SOON, |status| status.role == Role::Learner).await;
    assert_eq!(cluster.node(1).status().voters, [1]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_form_three_voters_and_a_standby_and_any_takes_commands() {
    let begin = Instant::now();
    let mut cluster = formed(4).await;
    println!("four nodes formed in {:?}", begin.elapsed());
    let status = cluster.node(1).status();
    assert_eq!((status.voters.len(), status.learners.len()), (3, 1));
    for (id, connections) in (1..=4).zip(1_000..) {
        assert_eq!(cluster.node(id).propose(set_limit(connections)).await.unwrap(), Receipt::Done);
        cluster.wait_limit(connections).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_and_writes_go_on() {
    let mut cluster = formed(4).await;
    let leader = cluster.leader();
    let other = if leader == 4 { 3 } else { 4 };
    let begin = Instant::now();
    cluster.stop(leader).await;
    assert_eq!(cluster.node(other).propose(set_limit(55)).await.unwrap(), Receipt::Done);
    println!("written {:?} after the leader began to stop", begin.elapsed());
    cluster.wait_limit(55).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = formed(4).await;
    let leader = cluster.leader();
    cluster.node(leader).propose(set_limit(54)).await.unwrap();
    cluster.kill(leader).await;
    let begin = Instant::now();
    let other = *cluster.nodes.keys().next().unwrap();
    cluster.wait(other, SOON, |status| status.leader.is_some_and(|now| now != leader)).await;
    println!("new leader after {:?}", begin.elapsed());
    cluster.wait_limit(54).await;
    assert_eq!(cluster.node(other).propose(set_limit(55)).await.unwrap(), Receipt::Done);
    cluster.wait_limit(55).await;
    cluster.start(leader).await;
    cluster.wait_limit(55).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restarted_have_everything_acknowledged() {
    let mut cluster = formed(4).await;
    for connections in 1..=50 {
        assert_eq!(cluster.node(1).propose(set_limit(connections)).await.unwrap(), Receipt::Done);
    }
    let before = cluster.node(1).status();
    cluster.stop_all().await;
    cluster.start_all().await;
    cluster.wait_formed().await;
    cluster.wait_limit(50).await;
    let after = cluster.node(1).status();
    assert_eq!(after.voters, before.voters);
    assert!(after.term > before.term, "terms only grow");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_node_joins_by_snapshot_when_the_log_is_purged() {
    let mut cluster = Cluster::new(4);
    cluster.timing.snapshot_entries = 40;
    cluster.timing.keep_entries = 5;
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.wait(1, SOON, |status| status.voters.len() == 3 && !status.changing).await;
    for connections in 1..=400 {
        cluster.node(1).propose(set_limit(connections)).await.unwrap();
    }
    let leader = cluster.leader();
    cluster.wait(leader, SOON, |status| status.purged > 100).await;
    cluster.start(4).await;
    cluster
        .wait(4, SOON, |status| status.role == Role::Learner && status.snapshot > 0 && status.lag == 0)
        .await;
    cluster.wait_limit(400).await;
    assert_eq!(cluster.node(4).view().borrow().ledger, cluster.node(leader).view().borrow().ledger);

    // What came by snapshot is there after a restart as well.
    cluster.kill(4).await;
    cluster.start(4).await;
    assert_eq!(cluster.node(4).view().borrow().ledger.limits().connections, 400);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leadership_goes_where_an_operator_wants_it_from_any_node() {
    let mut cluster = formed(4).await;
    let status = cluster.node(1).status();
    let (leader, standby) = (cluster.leader(), status.learners[0]);
    let wanted = *status.voters.iter().find(|id| **id != leader).unwrap();
    assert_eq!(cluster.node(standby).transfer_leader(Some(wanted)).await.unwrap(), wanted);
    cluster.wait(wanted, SOON, |status| status.role == Role::Leader).await;
    let refused = cluster.node(leader).transfer_leader(Some(standby)).await;
    assert!(matches!(refused, Err(AdminError::NotAVoter { .. })), "{refused:?}");
    let next = cluster.node(wanted).transfer_leader(None).await.unwrap();
    assert_ne!(next, wanted);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_stays_dead_is_replaced_by_the_standby() {
    let mut cluster = Cluster::new(4);
    cluster.timing.replace_after = Duration::from_millis(500);
    cluster.timing.promote_after = Duration::from_millis(300);
    cluster.start_all().await;
    cluster.wait_formed().await;
    let status = cluster.node(1).status();
    let (leader, standby) = (cluster.leader(), status.learners[0]);
    let victim = *status.voters.iter().find(|id| **id != leader).unwrap();
    cluster.kill(victim).await;
    let is_swapped = |voters: &[u64]| voters.contains(&standby) && !voters.contains(&victim);
    cluster.wait(leader, SOON, |status| is_swapped(&status.voters) && !status.changing).await;
    assert_eq!(cluster.node(leader).status().voters.len(), 3);
    // It comes back as the standby.
    cluster.start(victim).await;
    cluster.wait(victim, SOON, |status| status.role == Role::Learner && status.leader.is_some()).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_a_command_fails_in_bounded_time() {
    let mut cluster = Cluster::new(3);
    cluster.timing.propose = Duration::from_millis(600);
    cluster.start_all().await;
    cluster.wait_formed().await;
    let leader = cluster.leader();
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id).await;
    }
    let begin = Instant::now();
    let outcome = cluster.node(leader).propose(set_limit(9)).await;
    assert!(
        matches!(outcome, Err(ProposeError::Unknown { .. } | ProposeError::NoLeader { .. })),
        "{outcome:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
    cluster.wait(leader, SOON, |status| !status.quorum_ok).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_up_to_date_only_when_it_has_what_was_committed_before() {
    let mut cluster = formed(4).await;
    let leader = cluster.leader();
    let victim = if leader == 4 { 3 } else { 4 };
    assert!(cluster.node(victim).status().committed_at_start.is_some());
    cluster.kill(victim).await;
    for connections in 1..=60 {
        assert_eq!(cluster.node(leader).propose(set_limit(connections)).await.unwrap(), Receipt::Done);
    }
    cluster.start(victim).await;
    let is_up_to_date = |status: &ReplicaStatus| {
        status.committed_at_start.is_some_and(|committed| status.applied >= committed)
    };
    let behind = cluster.node(victim).status();
    let limit = |cluster: &Cluster| cluster.node(victim).view().borrow().ledger.limits().connections;
    assert!(!is_up_to_date(&behind) || limit(&cluster) == 60, "{behind:?}");
    cluster.wait(victim, SOON, is_up_to_date).await;
    assert_eq!(limit(&cluster), 60);
    cluster.wait(victim, SOON, |status| status.quorum_ok).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_leader_has_in_its_log_when_it_stops_is_not_put_again() {
    let mut cluster = formed(4).await;
    let leader = cluster.leader();
    let (voters, standby) = {
        let status = cluster.node(leader).status();
        (status.voters, status.learners[0])
    };
    for id in voters.into_iter().filter(|id| *id != leader) {
        cluster.kill(id).await;
    }
    let before = cluster.node(leader).status().last_log;
    let asker = cluster.node(standby).handle();
    let asking = tokio::spawn(async move { asker.propose(set_limit(91)).await });
    cluster.wait(leader, SOON, |status| status.last_log > before).await;
    cluster.kill(leader).await;
    let outcome = tokio::time::timeout(SOON, asking).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(ProposeError::Unknown { .. })), "{outcome:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_is_too_long_for_the_log_ends_no_leader() {
    let mut cluster = Cluster::new(3);
    for id in 1..=2 {
        cluster.start(id).await;
    }
    cluster.wait(2, SOON, |status| status.role == Role::Learner).await;
    let mut options = cluster.options(3);
    options.name = "x".repeat(20_000);
    let wide = Replica::start(options).await.unwrap();
    let mut changed = wide.status_changed();
    let refused = async {
        while !wide.status().join_problem.is_some_and(|problem| problem.contains("at most")) {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, refused).await.unwrap_or_else(|_| panic!("{:?}", wide.status().join_problem));
    wide.stop_at_once().await.unwrap();
    assert_eq!(cluster.node(1).propose(set_limit(92)).await.unwrap(), Receipt::Done);
    cluster.wait_limit(92).await;
    cluster.stop_all().await;
}
