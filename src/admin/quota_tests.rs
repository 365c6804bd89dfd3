//! The report by example: the sums, what is known of an end, and each reason to wait.

use erlmcp_ledger::Command;
use erlmcp_ledger::{Amount, Budget, Incarnation, Instance, Limits, MemberClaim, Opening, Receipt, Renewal};

use super::*;

/// More than any test grants.
const PLENTY: u32 = 1_000_000;

/// A ledger with the log index of its last command.
struct Log {
    ledger: Ledger,
    index: u64,
}

impl Log {
    /// Two members without shares.
    fn new() -> Log {
        let mut log = Log { ledger: Ledger::default(), index: 0 };
        let limits = Limits { connections: PLENTY, ..Limits::default() };
        let (cluster_id, budget) = ("c".to_owned(), Budget::default());
        log.apply(Command::Found { cluster_id, node: 1, claim: claim(1), limits, budget });
        log.apply(Command::PutMember { node: 2, claim: claim(2), returning: false });
        log
    }

    /// Two nodes that have `granted` of a limit of `connections`, all of it in use.
    fn of(connections: u32, granted: [u32; 2]) -> Log {
        let mut log = Log::new();
        for (node, granted) in (1..).zip(granted) {
            let (incarnation, instance) = (Incarnation::new(node.into()), Instance::new(node.into()));
            let (attempt, ceiling, nodes_expected) = (1, 4000, 2);
            log.apply(Command::Open(Opening {
                node,
                incarnation,
                instance,
                attempt,
                previous_session: None,
                ceiling,
                nodes_expected,
            }));
            log.renew(node, 0, 0);
            // A draining node is given nothing, so that it has exactly what it keeps.
            log.drain(node, true);
            log.renew(node, granted, granted);
            log.drain(node, false);
        }
        log.limit(connections);
        log
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let (receipt, _) = self.ledger.apply(self.index, &command);
        assert!(!matches!(receipt, Receipt::Refused(_)), "{command:?}: {receipt:?}");
    }

    fn drain(&mut self, node: u64, draining: bool) {
        self.apply(Command::SetDraining { node, draining });
    }

    fn limit(&mut self, connections: u32) {
        self.apply(Command::SetLimit { tenant: None, connections: Some(connections) });
    }

    /// Node `node` keeps `held`, all of it in use, and wants `want` in all.
    fn renew(&mut self, node: u64, held: u32, want: u32) {
        let share = self.ledger.shares()[&node].clone();
        let (held, want) = (Amount::of_connections(held), Amount::of_connections(want));
        let renewal = Renewal {
            node,
            session: share.session,
            seq: share.seq + 1,
            held,
            in_use: held,
            want,
            ceiling: share.ceiling,
            lease_ms: share.lease_ms,
        };
        self.apply(Command::Renew { renewals: vec![renewal] });
    }

    fn node(&self, node: usize) -> NodeShare {
        report(&self.ledger, &BTreeMap::new()).nodes[node - 1].clone()
    }

    fn waits(&self, node: usize) -> Option<String> {
        self.node(node).waits_because
    }
}

fn claim(node: u64) -> MemberClaim {
    MemberClaim {
        peer_address: format!("127.0.0.1:{node}"),
        http_address: String::new(),
        incarnation: Incarnation::new(node.into()),
        name: if node == 1 { "one".to_owned() } else { String::new() },
        reads: 2,
    }
}

#[test]
fn without_shares_every_member_is_listed_with_nothing() {
    let log = Log::new();
    let said = report(&log.ledger, &BTreeMap::new());
    let sums = (said.granted, said.in_use, said.free, said.is_over);
    assert_eq!(sums, (Some(0), Some(0), Some(PLENTY.into()), Some(false)));
    let names = said.nodes.iter().map(|node| (node.node, node.name.as_deref(), node.state.as_str()));
    assert_eq!(names.collect::<Vec<_>>(), [(1, Some("one"), "none"), (2, None, "none")]);
    assert!(said.to_string().starts_with("limit 1000000, no node has a share of it; lease 30 s"), "{said}");
    let said = report(&Ledger::default(), &BTreeMap::new());
    assert!(said.nodes.is_empty(), "before the group is founded");
}

#[test]
fn the_sums_are_those_of_the_shares() {
    let said = report(&Log::of(1000, [300, 200]).ledger, &BTreeMap::new());
    assert_eq!((said.granted, said.in_use, said.free), (Some(500), Some(500), Some(500)));
    assert_eq!(said.to_string(), "limit 1000: 500 granted, 500 in use, 500 free; lease 30 s");
}

#[test]
fn the_end_of_a_share_is_known_if_its_renewal_was_seen_and_it_ends() {
    let mut log = Log::of(1000, [300, 200]);
    let end = |log: &Log, ago_ms| report(&log.ledger, &BTreeMap::from([(1, ago_ms)])).nodes[0].expires_in_ms;
    assert_eq!(end(&log, 1000), Some(30_107));
    assert_eq!(end(&log, 40_000), Some(0), "overdue");
    assert_eq!(log.node(1).expires_in_ms, None);
    let Limits { drift_ppm, margin_ms, .. } = Limits::default();
    log.apply(Command::SetLease { lease_ms: None, drift_ppm, margin_ms });
    assert_eq!(end(&log, 1000), Some(30_107), "the share keeps its lease");
    log.renew(1, 300, 300);
    assert_eq!((end(&log, 1000), log.node(1).lease_ms), (None, Some(Lease::from(None))));
}

#[test]
fn states_are_those_of_share_and_member() {
    let mut log = Log::of(1000, [300, 200]);
    assert_eq!(log.node(1).state, "live");
    log.drain(2, true);
    assert_eq!(log.node(2).state, "draining");
    log.apply(Command::RemoveMember { node: 2, incarnation: None, dead: true, now: false });
    let orphan = log.node(2);
    assert_eq!((orphan.state.as_str(), orphan.granted, orphan.waits_because), ("orphan", Some(200), None));
}

#[test]
fn who_has_what_it_wants_waits_for_nothing() {
    let log = Log::of(1000, [300, 200]);
    assert_eq!((log.waits(1), log.waits(2)), (None, None));
}

#[test]
fn each_reason_to_wait_is_told() {
    let says = |log: &Log, node, words: &str| assert_eq!(log.waits(node).as_deref(), Some(words));
    let mut log = Log::of(1000, [500, 500]);
    log.renew(1, 500, 600);
    says(&log, 1, "the limit is used up");
    log.limit(900);
    says(&log, 1, "the limit was lowered below what is granted");

    let mut log = Log::of(PLENTY, [3999, 0]);
    log.renew(1, 3999, 5000);
    says(&log, 1, "its own ceiling is reached");
    log.drain(1, true);
    says(&log, 1, "it is drained");

    let mut log = Log::of(1000, [600, 300]);
    log.apply(Command::SetTargets { targets: BTreeMap::from([(1, Some(500))]) });
    log.renew(1, 600, 700);
    says(&log, 1, "it is asked to come down to 500 first");
}

#[test]
fn above_its_part_a_node_waits_for_one_below() {
    // Node 2 asks while it is drained and so is not served until its next renewal.
    let mut log = Log::of(1000, [600, 300]);
    log.drain(2, true);
    log.renew(2, 300, 450);
    log.drain(2, false);
    log.renew(1, 600, 700);
    let words = "it holds more than its part while another node waits";
    assert_eq!(log.waits(1).as_deref(), Some(words));
    assert_eq!(log.waits(2), None, "its next renewal is given what it lacks");
}
