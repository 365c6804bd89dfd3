//! Shares over whole replicas: renewals of one moment share an entry, a share that is not renewed ends, idle
//! connections are recalled for those who lack them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{Cluster, SOON};
use erlmcp_ledger::{
    Amount, Command, Grant, Instance, LEASE_MS_MIN, Ledger, NodeId, Opening, Receipt, Renewal,
};
use erlmcp_raft::Committed;

async fn formed(nodes: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.start_all().await;
    cluster.wait_formed().await;
    cluster
}

impl Cluster {
    async fn wait_ledger(&self, node: NodeId, what: &str, is_so: impl Fn(&Ledger) -> bool) {
        let mut view = self.node(node).view();
        let arrived = view.wait_for(|view| is_so(&view.ledger));
        let arrived = tokio::time::timeout(SOON, arrived).await;
        arrived.unwrap_or_else(|_| panic!("node {node} did not see in time: {what}")).unwrap();
    }

    /// Opens a session for `node`.
    async fn open(&self, node: NodeId) -> u64 {
        let is_member = |ledger: &Ledger| ledger.members().contains_key(&node);
        self.wait_ledger(node, "its member", is_member).await;
        let incarnation = self.node(node).view().borrow().ledger.members()[&node].incarnation;
        let opening = Opening {
            node,
            incarnation,
            instance: Instance::new(u128::from(node)),
            attempt: 1,
            previous_session: None,
            ceiling: 1_000,
            nodes_expected: 1,
        };
        match self.node(node).propose(Command::Open(opening)).await.unwrap() {
            Receipt::Granted(grant) => grant.session,
            other => panic!("not opened: {other:?}"),
        }
    }

    /// Renews with `(held, want)` connections.
    async fn renew(&self, node: NodeId, session: u64, seq: u32, amount: (u32, u32)) -> (u64, Grant) {
        let renewal = Renewal {
            node,
            session,
            seq,
            held: Amount::of_connections(amount.0),
            in_use: Amount::default(),
            want: Amount::of_connections(amount.1),
            ceiling: 1_000,
            lease_ms: Some(LEASE_MS_MIN),
        };
        let renew = Command::Renew { renewals: vec![renewal] };
        let Committed { index, receipt } = self.node(node).propose_within(renew, SOON).await.unwrap();
        match receipt {
            Receipt::Renewed(answers) if answers.len() == 1 => {
                (index, answers.into_iter().next().unwrap().unwrap())
            }
            other => panic!("one renewal, one answer: {other:?}"),
        }
    }

    async fn put(&self, command: Command) {
        let leader = self.leader();
        assert_eq!(self.node(leader).propose(command).await.unwrap(), Receipt::Done);
    }
}

fn limit(connections: u32) -> Command {
    Command::SetLimit { tenant: None, connections: Some(connections) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_of_one_moment_are_one_entry_of_the_log() {
    let mut cluster = formed(3).await;
    let (one, two, three) = (cluster.open(1).await, cluster.open(2).await, cluster.open(3).await);
    let mut fewest = usize::MAX;
    for seq in 1..=5 {
        let answers = tokio::join!(
            cluster.renew(1, one, seq, (0, 10)),
            cluster.renew(2, two, seq, (0, 20)),
            cluster.renew(3, three, seq, (0, 30)),
        );
        let answers: [(u64, Grant); 3] = answers.into();
        let sessions = answers.each_ref().map(|(_, grant)| grant.session);
        assert_eq!(sessions, [one, two, three], "to each its own answer");
        fewest = fewest.min(answers.iter().map(|(index, _)| *index).collect::<BTreeSet<_>>().len());
    }
    assert_eq!(fewest, 1, "entries for three renewals at once, the fewest of five times");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_is_not_renewed_ends_after_its_lease_and_not_before() {
    let mut cluster = formed(1).await;
    cluster.put(Command::SetLease { lease_ms: Some(LEASE_MS_MIN), drift_ppm: 10_000, margin_ms: 200 }).await;
    let session = cluster.open(1).await;
    let begin = Instant::now();
    let (_, grant) = cluster.renew(1, session, 1, (0, 500)).await;
    assert!(grant.share.connections > 0, "{grant:?}");
    cluster.wait_ledger(1, "the share's end", |ledger| ledger.free() == ledger.limits().connections).await;
    let lease = Duration::from_millis(LEASE_MS_MIN.into());
    assert!(begin.elapsed() > lease, "{:?}, before its lease was over", begin.elapsed());
    assert!(begin.elapsed() < lease * 2, "{:?} for a lease of {lease:?}", begin.elapsed());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_recalled_when_another_node_lacks_some() {
    let mut cluster = formed(3).await;
    cluster.put(limit(100)).await;
    let (one, two) = (cluster.open(1).await, cluster.open(2).await);
    let mut held = 0;
    for seq in 1..=3 {
        held = cluster.renew(1, one, seq, (held, 100)).await.1.share.connections;
    }
    assert!(held > 50, "{held}");
    // It holds more than half of them and wants none; the other lacks some.
    cluster.renew(1, one, 4, (held, 0)).await;
    cluster.renew(2, two, 1, (0, 90)).await;
    let has_target =
        |ledger: &Ledger| ledger.shares().get(&1).is_some_and(|share| share.target.is_some_and(|to| to < 50));
    cluster.wait_ledger(2, "a target for the idle node", has_target).await;
    cluster.stop_all().await;
}
