//! Nodes that join, leave, lose their data or never belonged: what the group takes in and what it turns away.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use common::{Cluster, SOON};
use erlmcp_ledger::{Amount, Command, Instance, Opening, Reason, Receipt, Renewal};
use erlmcp_raft::{
    AdminError, ClusterSecret, Fatal, Identity, Init, RaftError, Replica, ReplicaStatus, Role,
};
use erlmcp_storage::{Options, Store};

async fn formed(nodes: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.start_all().await;
    cluster.wait_formed().await;
    cluster
}

async fn wait_problem(cluster: &Cluster, id: u64, part: &str) {
    cluster
        .wait(id, SOON, |status| status.join_problem.as_ref().is_some_and(|text| text.contains(part)))
        .await;
}

/// It ends, and says why in one line.
async fn assert_stranger(cluster: &Cluster, id: u64, part: &str) {
    let fatal = tokio::time::timeout(SOON, cluster.node(id).fatal()).await.unwrap();
    assert!(matches!(&fatal, Fatal::WrongSecret(text) if text.contains(part)), "{fatal}");
    assert_eq!(fatal.to_string().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_turned_away_until_its_old_life_is_declared_dead() {
    let mut cluster = formed(4).await;
    let (leader, standby) = (cluster.leader(), cluster.node(1).status().learners[0]);
    let victim = *cluster.node(1).status().voters.iter().find(|id| **id != leader).unwrap();
    cluster.kill(victim).await;
    fs::remove_dir_all(cluster.node_dir(victim)).unwrap();
    cluster.start(victim).await;
    wait_problem(&cluster, victim, &format!("erlmcp-node remove --id {victim} --dead")).await;
    assert_eq!(cluster.node(victim).status().role, Role::Joining);
    assert_eq!(cluster.node(victim).status().term, 0, "the group sends nothing to a node it does not know");

    cluster.node(standby).remove(victim, true, false).await.unwrap();
    cluster.wait(victim, SOON, |status| status.role == Role::Learner && status.join_problem.is_none()).await;
    let voters = cluster.node(leader).status().voters;
    assert!(voters.len() == 3 && !voters.contains(&victim), "the standby took the vote: {voters:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_founder_does_not_found_a_second_group() {
    let mut cluster = formed(3).await;
    cluster.kill(1).await;
    fs::remove_dir_all(cluster.node_dir(1)).unwrap();
    cluster.start(1).await;
    wait_problem(&cluster, 1, "erlmcp-node remove --id 1 --dead").await;
    let status = cluster.node(1).status();
    assert_eq!((status.role, status.last_log), (Role::Joining, 0));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_wiped_while_all_were_down_removes_nobody_and_ends_when_it_meets_its_old_group() {
    let mut cluster = formed(3).await;
    // A node that led last knows no leader when it starts, so it asks everyone.
    cluster.node(1).transfer_leader(Some(2)).await.unwrap();
    cluster.stop_all().await;
    fs::remove_dir_all(cluster.node_dir(1)).unwrap();
    cluster.start(1).await;
    cluster.wait(1, SOON, |status| status.role == Role::Leader && status.applied > 1).await;

    cluster.start(2).await;
    let fatal = tokio::time::timeout(SOON, cluster.node(1).fatal()).await.unwrap();
    assert!(matches!(&fatal, Fatal::SecondGroup { node: 1, .. }), "{fatal}");
    assert_eq!(fatal.to_string().lines().count(), 1);
    wait_problem(&cluster, 2, "another group").await;
    assert_ne!(cluster.node(2).status().role, Role::Removed);
    assert!(!Identity::open(&cluster.node_dir(2)).unwrap().removed);

    cluster.kill(1).await;
    cluster.start(3).await;
    cluster.wait_limit(cluster.node(2).view().borrow().ledger.limits().connections).await;
    cluster.wait(3, SOON, |status| status.leader.is_some_and(|leader| leader != 1)).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_put_back_from_a_copy_does_not_end_the_leader() {
    let mut cluster = formed(3).await;
    let leader = cluster.leader();
    let victim = if leader == 3 { 2 } else { 3 };
    let (dir, copy) = (cluster.node_dir(victim), cluster.dir.path().join("copy"));
    let put = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(done.success());
    };
    cluster.kill(victim).await;
    put(&dir, &copy);
    cluster.start(victim).await;
    for connections in 1..=5 {
        let command = Command::SetLimit { tenant: None, connections: Some(connections) };
        cluster.node(leader).propose(command).await.unwrap();
    }
    cluster.wait_limit(5).await;
    cluster.kill(victim).await;
    fs::remove_dir_all(&dir).unwrap();
    put(&copy, &dir);
    cluster.start(victim).await;
    for connections in 6..=15 {
        let command = Command::SetLimit { tenant: None, connections: Some(connections) };
        cluster.node(leader).propose(command).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_millis(150), cluster.node(leader).fatal()).await;
        assert!(ended.is_err(), "{ended:?}");
    }
    assert_eq!(cluster.node(leader).status().role, Role::Leader);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_node_is_removed_only_when_drained_and_its_id_can_be_used_again() {
    let mut cluster = formed(4).await;
    let leader = cluster.leader();
    let asker = if leader == 1 { 2 } else { 1 };
    let refused = cluster.node(asker).remove(leader, false, false).await;
    assert!(matches!(refused, Err(AdminError::Refused(Reason::NotDrained { .. }))), "{refused:?}");

    // Draining the leader makes it hand over; removing it tells it so.
    cluster.node(asker).set_draining(leader, true).await.unwrap();
    cluster.wait(asker, SOON, |status| status.leader.is_some_and(|now| now != leader)).await;
    cluster.node(asker).remove(leader, false, false).await.unwrap();
    let fatal = tokio::time::timeout(SOON, cluster.node(leader).fatal()).await.unwrap();
    assert_eq!(fatal, Fatal::Removed(leader));
    assert_eq!(cluster.node(leader).status().role, Role::Removed);
    cluster.kill(leader).await;

    // It does not start again as it was, but anew.
    let dir = cluster.node_dir(leader);
    let old = Identity::open(&dir).unwrap();
    let options = cluster.options(leader);
    assert_ne!(options.identity.incarnation, old.incarnation, "init of a removed node begins anew");
    let again = Replica::start(options).await.unwrap();
    cluster.nodes.insert(leader, again);
    cluster.wait_formed().await;
    cluster.wait(leader, SOON, |status| status.role == Role::Learner && status.applied > 0).await;
    let status = cluster.node(asker).status();
    assert_eq!((status.voters.len(), status.learners.len()), (3, 1));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_whose_share_never_ends_goes_at_the_word_that_it_does_not_run() {
    let mut cluster = formed(4).await;
    let (leader, standby) = (cluster.leader(), cluster.node(1).status().learners[0]);
    let replica = cluster.node(leader);
    let lease = Command::SetLease { lease_ms: None, drift_ppm: 10_000, margin_ms: 500 };
    assert_eq!(replica.propose(lease).await.unwrap(), Receipt::Done);
    let opening = Opening {
        node: standby,
        incarnation: replica.view().borrow().ledger.members()[&standby].incarnation,
        instance: Instance::new(1),
        attempt: 1,
        previous_session: None,
        ceiling: 100,
        nodes_expected: 4,
    };
    let Receipt::Granted(grant) = replica.propose(Command::Open(opening)).await.unwrap() else {
        panic!("the session is refused");
    };
    let (none, want) = (Amount::default(), Amount::of_connections(100));
    let (session, node) = (grant.session, standby);
    let renewal =
        Renewal { node, session, seq: 1, held: none, in_use: none, want, ceiling: 100, lease_ms: None };
    replica.propose(Command::Renew { renewals: vec![renewal] }).await.unwrap();
    cluster.kill(standby).await;
    let held = cluster.node(leader).remove(standby, true, false).await.unwrap_err();
    assert!(matches!(held, AdminError::Refused(Reason::ShareHeld { connections: 100, .. })), "{held}");
    assert!(held.to_string().contains(&format!("erlmcp-node remove --id {standby} --dead --now")), "{held}");
    cluster.node(leader).remove(standby, true, true).await.unwrap();
    let ledger = cluster.node(leader).view().borrow().ledger.clone();
    assert!(ledger.shares().is_empty() && !ledger.members().contains_key(&standby));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_removed_while_it_was_away_is_told_when_it_returns() {
    let mut cluster = formed(4).await;
    let (leader, standby) = (cluster.leader(), cluster.node(1).status().learners[0]);
    cluster.kill(standby).await;
    cluster.node(leader).remove(standby, true, false).await.unwrap();
    // It comes back elsewhere, so that nobody can tell it: it has to ask.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = cluster.options(standby);
    options.advertise_peer = listener.local_addr().unwrap().to_string();
    options.peer_listener = listener;
    let returned = Replica::start(options).await.unwrap();
    cluster.nodes.insert(standby, returned);
    let fatal = tokio::time::timeout(SOON, cluster.node(standby).fatal()).await.unwrap();
    assert_eq!(fatal, Fatal::Removed(standby));
    cluster.kill(standby).await;
    let identity = Identity::open(&cluster.node_dir(standby)).unwrap();
    assert!(identity.removed);
    let mut options = cluster.options(standby);
    options.identity = identity;
    assert!(matches!(Replica::start(options).await, Err(RaftError::Removed { .. })));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moved_is_found_again() {
    let mut cluster = formed(4).await;
    let leader = cluster.leader();
    let mover = *cluster.node(leader).status().voters.iter().find(|id| **id != leader).unwrap();
    cluster.kill(mover).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = cluster.options(mover);
    options.peer_listener = listener;
    options.advertise_peer = address.to_string();
    let moved = Replica::start(options).await.unwrap();
    cluster.nodes.insert(mover, moved);
    let is_known = |address: &str| {
        let address = address.to_owned();
        move |command: &std::sync::Arc<erlmcp_raft::View>| {
            command.ledger.members()[&mover].peer_address == address
        }
    };
    let mut view = cluster.node(mover).view();
    tokio::time::timeout(SOON, view.wait_for(is_known(&address.to_string()))).await.unwrap().unwrap();
    let command = Command::SetLimit { tenant: None, connections: Some(4) };
    cluster.node(mover).propose(command).await.unwrap();
    cluster.wait_limit(4).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_or_with_another_secret_is_turned_away_in_plain_words() {
    let mut cluster = Cluster::new(3);
    for id in 1..=2 {
        cluster.start(id).await;
    }
    cluster.wait(2, SOON, |status| status.role == Role::Learner).await;
    let ours = cluster.secret.clone();
    let text = fs::read_to_string(cluster.dir.path().join("secret")).unwrap();

    cluster.secret = ClusterSecret::from_text("quite another secret of another cluster").unwrap();
    cluster.start(3).await;
    let words = format!("this node belongs to cluster {}, not to", ours.cluster_id());
    assert_stranger(&cluster, 3, &words).await;
    cluster.kill(3).await;
    fs::remove_dir_all(cluster.node_dir(3)).unwrap();

    // The same cluster id with another key.
    let (id, key) = text.trim().split_once(':').unwrap();
    let turned: String = key.chars().rev().collect();
    cluster.secret = ClusterSecret::from_text(&format!("{id}:{turned}")).unwrap();
    cluster.start(3).await;
    assert_stranger(&cluster, 3, "the cluster secret differs").await;
    cluster.kill(3).await;
    fs::remove_dir_all(cluster.node_dir(3)).unwrap();
    assert_eq!(cluster.node(1).view().borrow().ledger.members().len(), 2);

    cluster.secret = ours;
    cluster.start(3).await;
    cluster.wait_formed().await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_voted_does_not_start_with_an_empty_store() {
    let mut cluster = formed(3).await;
    let victim = if cluster.leader() == 3 { 2 } else { 3 };
    cluster.kill(victim).await;
    let store = Identity::store_dir(&cluster.node_dir(victim));
    fs::remove_dir_all(&store).unwrap();
    let Err(refused) = cluster.try_start(victim).await else { panic!("started empty") };
    assert!(matches!(refused, RaftError::StoreLost { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("erlmcp-node remove --id {victim} --dead")), "{refused}");
    assert!(!store.exists(), "nothing was made in its place");

    // Nor with one that someone made anew.
    Store::create(&store, Options { min_free_bytes: 1024, ..Options::default() }).unwrap().close().unwrap();
    let Err(refused) = cluster.try_start(victim).await else { panic!("started empty") };
    assert!(matches!(refused, RaftError::StoreLost { .. }), "{refused}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_list_joins_through_any_address() {
    let mut cluster = Cluster::new(3);
    cluster.start(1).await;
    cluster.start(2).await;
    cluster.wait(2, SOON, |status| status.role == Role::Learner).await;
    // It knows one address only, of a node that does not lead, and is redirected.
    let mut options = cluster.options(3);
    options.known_peers.clear();
    options.join = vec![cluster.addresses[&2].to_string()];
    let third = Replica::start(options).await.unwrap();
    cluster.nodes.insert(3, third);
    cluster.wait_formed().await;
    assert_eq!(cluster.node(3).status().voters, [1, 2, 3]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_shrinks_to_one_voter_and_grows_again() {
    let mut cluster = Cluster::new(3);
    cluster.timing.promote_after = Duration::from_millis(200);
    cluster.start_all().await;
    cluster.wait_formed().await;
    let leader = cluster.leader();
    let gone = (1..=3).find(|id| *id != leader).unwrap();
    cluster.node(leader).remove(gone, true, false).await.unwrap();
    cluster.wait(leader, SOON, |status| status.voters == [leader] && status.learners.len() == 1).await;
    tokio::time::timeout(SOON, cluster.node(gone).fatal()).await.unwrap();
    cluster.kill(gone).await;
    let (_, outcome) = Identity::init(&cluster.node_dir(gone), gone, false, &cluster.secret).unwrap();
    assert_eq!(outcome, Init::Renewed);
    cluster.start(gone).await;
    cluster.wait_formed().await;
    assert_eq!(cluster.node(leader).status().voters.len(), 3);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_store_is_damaged_keeps_it_aside_and_votes_again_without_a_hand() {
    let mut cluster = Cluster::new(3);
    cluster.timing.promote_after = Duration::from_millis(300);
    cluster.start_all().await;
    cluster.wait_formed().await;
    let leader = cluster.leader();
    let set_limit = |connections| Command::SetLimit { tenant: None, connections: Some(connections) };
    cluster.node(leader).propose(set_limit(41)).await.unwrap();
    let victim = *cluster.node(leader).status().voters.iter().find(|id| **id != leader).unwrap();
    let mut before = Identity::open(&cluster.node_dir(victim)).unwrap();
    // Twice, as the second damage meets an incarnation that has lost ones behind it.
    for round in 1..=2 {
        cluster.kill(victim).await;
        let dir = cluster.node_dir(victim);
        damage(&Identity::store_dir(&dir));
        cluster.start(victim).await;
        let after = Identity::open(&dir).unwrap();
        assert_ne!(after.incarnation, before.incarnation);
        assert!(!after.founder && after.lost.ends_with(&[before.incarnation]));
        let kept = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(kept.filter(|name| name.contains("corrupt-")).count(), round);
        let is_voter = |status: &ReplicaStatus| {
            status.voters.len() == 3 && status.role == Role::Follower && status.join_problem.is_none()
        };
        cluster.wait(victim, SOON, is_voter).await;
        before = Identity::open(&dir).unwrap();
    }
    cluster.wait_limit(41).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_that_remembers_no_life_replaces_none() {
    let mut cluster = formed(3).await;
    let leader = cluster.leader();
    let victim = *cluster.node(leader).status().voters.iter().find(|id| **id != leader).unwrap();
    let known = cluster.node(leader).view().borrow().ledger.members()[&victim].incarnation;
    cluster.kill(victim).await;
    fs::remove_dir_all(cluster.node_dir(victim)).unwrap();
    cluster.start(victim).await;
    wait_problem(&cluster, victim, &format!("erlmcp-node remove --id {victim} --dead")).await;
    assert_eq!(cluster.node(leader).view().borrow().ledger.members()[&victim].incarnation, known);
    cluster.stop_all().await;
}

/// Spoils two thirds of what the largest file holds.
fn damage(dir: &Path) {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path)
            } else {
                files.push((fs::metadata(&path).unwrap().len(), path))
            }
        }
    }
    let (_, largest) = files.into_iter().max().unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    for at in &used[used.len() / 3..] {
        bytes[*at] ^= 0xff;
    }
    fs::write(&largest, bytes).unwrap();
}
