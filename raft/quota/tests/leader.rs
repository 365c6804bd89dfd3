//! The leader by example and by chance: which shares it recalls, how far, and when it may end one.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use erlmcp_ledger::{
    Amount, Budget, Command, Incarnation, Instance, Ledger, Limits, MemberClaim, Opening, Receipt, Renewal,
    Share, laws,
};
use erlmcp_quota::{Notes, due, grace_ms, next_due_ms, recall};
use proptest::prelude::*;

/// The grace of a lease of 30 s with the standard drift and margin: 30,000 * 1.01 / 0.99 + 500, rounded up.
const GRACE_MS: u64 = 31_107;

/// More than any test grants.
const PLENTY: u32 = 1_000_000_000;

/// Numbers of a node: granted, in use, wanted in all.
type Numbers = (u32, u32, u32);

/// A ledger with the log index of its last command.
#[derive(Clone)]
struct Log {
    ledger: Ledger,
    index: u64,
}

fn claim(node: u64) -> MemberClaim {
    MemberClaim {
        peer_address: format!("127.0.0.1:{node}"),
        http_address: String::new(),
        incarnation: Incarnation::new(node.into()),
        name: String::new(),
        reads: 2,
    }
}

impl Log {
    /// Nodes 1, 2, ... with these numbers, under a limit of `connections`.
    fn of(connections: u32, nodes: &[Numbers]) -> Self {
        let mut log = Self { ledger: Ledger::default(), index: 0 };
        let limits = Limits { connections: PLENTY, ..Limits::default() };
        let (cluster_id, budget) = ("c".to_owned(), Budget::default());
        log.apply(Command::Found { cluster_id, node: 1, claim: claim(1), limits, budget });
        for (node, _) in (1..).zip(nodes) {
            log.apply(Command::PutMember { node, claim: claim(node), returning: false });
        }
        for (node, _) in (1..).zip(nodes) {
            log.open(node);
            log.renew(node, 0, 0, 0);
        }
        for (node, (granted, in_use, want)) in (1..).zip(nodes) {
            // A draining node is given nothing, so that it has exactly what it keeps.
            log.apply(Command::SetDraining { node, draining: true });
            log.renew(node, *granted, *in_use, *want);
            log.apply(Command::SetDraining { node, draining: false });
            assert_eq!(log.share(node).granted.connections, *granted);
        }
        log.set_limit(connections);
        log
    }

    fn apply(&mut self, command: Command) -> Receipt {
        self.index += 1;
        let receipt = self.ledger.apply(self.index, &command).0;
        assert!(!matches!(receipt, Receipt::Refused(_)), "{command:?}: {receipt:?}");
        receipt
    }

    fn open(&mut self, node: u64) {
        self.apply(Command::Open(Opening {
            node,
            incarnation: Incarnation::new(node.into()),
            instance: Instance::new(node.into()),
            attempt: 1,
            previous_session: None,
            ceiling: PLENTY,
            nodes_expected: 1,
        }));
    }

    fn renew(&mut self, node: u64, held: u32, in_use: u32, want: u32) {
        let renewal = self.renewal(node, held, in_use, want);
        self.apply(Command::Renew { renewals: vec![renewal] });
    }

    fn renewal(&self, node: u64, held: u32, in_use: u32, want: u32) -> Renewal {
        Renewal {
            node,
            session: self.share(node).session,
            seq: self.share(node).seq + 1,
            held: Amount::of_connections(held),
            in_use: Amount::of_connections(in_use),
            want: Amount::of_connections(want),
            ceiling: PLENTY,
            lease_ms: Some(30_000),
        }
    }

    fn share(&self, node: u64) -> &Share {
        &self.ledger.shares()[&node]
    }

    fn set_limit(&mut self, connections: u32) {
        self.apply(Command::SetLimit { tenant: None, connections: Some(connections) });
    }

    fn set_lease(&mut self, lease_ms: Option<u32>) {
        self.apply(Command::SetLease { lease_ms, drift_ppm: 10_000, margin_ms: 500 });
    }

    fn set_target(&mut self, node: u64, target: u32) {
        self.apply(Command::SetTargets { targets: BTreeMap::from([(node, Some(target))]) });
    }

    fn remove(&mut self, node: u64) {
        self.apply(Command::RemoveMember { node, incarnation: None, dead: true, now: false });
    }

    /// Targets that the leader would set now.
    fn recalled(&self) -> BTreeMap<u64, Option<u32>> {
        match recall(&self.ledger) {
            Some(Command::SetTargets { targets }) => targets,
            None => BTreeMap::new(),
            other => panic!("{other:?}"),
        }
    }

    /// Does what the leader says, after which it must have no more to say.
    fn follow_recall(&mut self) {
        let Some(command) = recall(&self.ledger) else { return };
        self.apply(command);
        assert_eq!(recall(&self.ledger), None, "{:?}", self.ledger.shares());
    }

    fn due(&self, notes: &Notes, now_ms: u64) -> Vec<u64> {
        let node = |command| match command {
            Command::Expire { node, session, renewed_at } => {
                let share = self.share(node);
                assert_eq!((session, renewed_at), (share.session, share.renewed_at));
                node
            }
            other => panic!("{other:?}"),
        };
        due(&self.ledger, notes, now_ms).into_iter().map(node).collect()
    }
}

#[test]
fn an_idle_node_comes_down_to_its_use_and_the_floor_when_another_lacks_more_than_is_free() {
    let asks = [(97_000, 96_000, 120_000), (1_000, 0, 0), (1_000, 200, 200), (1_000, 940, 940)];
    let mut log = Log::of(100_000, &asks);
    assert_eq!(log.recalled(), BTreeMap::from([(2, Some(50)), (3, Some(250))]), "the fourth is busy");
    log.follow_recall();
    log.renew(2, 50, 0, 0);
    log.renew(3, 250, 200, 200);
    assert_eq!((log.ledger.free(), log.recalled()), (1_700, BTreeMap::new()), "all idle is recalled");
}

#[test]
fn nobody_is_recalled_while_what_is_free_is_enough() {
    let log = Log::of(100_000, &[(25_000, 25_000, 30_000), (25_000, 0, 0), (45_000, 0, 0)]);
    assert_eq!(log.recalled(), BTreeMap::new());
    let log = Log::of(100_000, &[(25_000, 25_000, 30_001), (25_000, 0, 0), (45_000, 0, 0)]);
    assert_eq!(log.recalled().len(), 2);
}

#[test]
fn those_with_most_idle_headroom_give_first_down_to_one_level() {
    let nodes = [(10_000, 10_000, 10_100), (70_000, 0, 0), (10_000, 0, 0), (10_000, 0, 0)];
    // Half of 89,850 idle ones is more than 100 and 5,000 ahead.
    assert_eq!(Log::of(100_000, &nodes).recalled(), BTreeMap::from([(2, Some(70_000 - 44_925))]));
    let nodes = [(10_000, 10_000, 70_000), (60_000, 0, 0), (20_000, 0, 0), (10_000, 0, 0)];
    let level = (59_950 + 19_950 + 9_950 - 65_000) / 3 + 50;
    let targets = Log::of(100_000, &nodes).recalled();
    let kept: u32 = targets.values().map(|target| target.unwrap()).sum();
    assert_eq!(kept, 90_000 - 65_000, "what is lacked and a twentieth of the limit ahead, to the last one");
    assert!(targets.values().all(|target| target.unwrap().abs_diff(level) <= 1), "{targets:?}");
}

#[test]
fn half_the_headroom_that_a_node_wants_stays_with_it() {
    let mut log = Log::of(1_000, &[(700, 700, 900), (300, 100, 250)]);
    assert_eq!(log.recalled(), BTreeMap::from([(2, Some(175))]));
    log.follow_recall();
    log.renew(2, 175, 100, 175);
    assert_eq!((log.ledger.free(), log.recalled()), (125, BTreeMap::new()), "it does not ask, so it rests");
}

#[test]
fn a_node_below_its_part_gets_from_those_above_theirs_as_their_connections_end() {
    let mut log = Log::of(1_000, &[(600, 600, 600), (300, 300, 300), (100, 100, 400), (0, 0, 0)]);
    // Node 3 lacks 150 of its 250; the others have 350 and 50 above theirs.
    assert_eq!(log.recalled(), BTreeMap::from([(1, Some(600 - 131)), (2, Some(300 - 19))]));
    log.follow_recall();
    log.renew(1, 560, 560, 560);
    log.renew(3, 100, 100, 400);
    assert_eq!((log.share(3).granted.connections, log.recalled()), (140, BTreeMap::new()), "no new commit");
    let other = Log::of(1_000, &[(600, 600, 600), (260, 260, 260), (140, 140, 140), (0, 0, 0)]);
    assert_eq!(other.recalled(), BTreeMap::new(), "who has 140 and wants no more lacks nothing");
}

#[test]
fn nobody_above_its_part_is_served_from_connections_in_use() {
    let log = Log::of(1_000, &[(600, 600, 900), (400, 400, 400)]);
    assert_eq!(log.recalled(), BTreeMap::new());
    let log = Log::of(1_000, &[(400, 400, 900), (600, 600, 900)]);
    assert_eq!(log.recalled(), BTreeMap::from([(2, Some(500))]), "up to the fair part and no more");
}

#[test]
fn idle_connections_go_before_connections_in_use() {
    let log = Log::of(1_000, &[(100, 100, 333), (500, 500, 500), (400, 100, 100)]);
    assert_eq!(log.recalled(), BTreeMap::from([(3, Some(117))]), "the floor is 4; 233 and 50 ahead");
}

#[test]
fn headroom_above_a_fair_part_goes_to_those_below_theirs_before_connections_in_use() {
    let log = Log::of(1_000, &[(100, 100, 333), (500, 500, 500), (400, 100, 400)]);
    assert_eq!(log.recalled(), BTreeMap::from([(2, Some(334)), (3, Some(333))]), "67 free ones, 166 in use");
    let log = Log::of(1_000, &[(280, 280, 900), (320, 320, 320), (400, 100, 400)]);
    assert_eq!(log.recalled(), BTreeMap::from([(3, Some(347))]), "53 free ones are enough");
}

#[test]
fn a_target_of_no_more_use_is_taken_back() {
    let mut log = Log::of(1_000, &[(500, 500, 700), (500, 0, 0)]);
    log.follow_recall();
    assert!(log.share(2).target.is_some());
    log.renew(1, 500, 500, 500);
    assert_eq!(log.recalled(), BTreeMap::from([(2, None)]), "nobody asks any more");
    log.renew(1, 500, 500, 700);
    log.renew(2, 500, 400, 600);
    assert_eq!(log.recalled(), BTreeMap::from([(2, None)]), "it has become busy and asks itself");
    let mut log = Log::of(1_000, &[(500, 500, 700), (500, 0, 0)]);
    log.set_target(2, 100);
    log.apply(Command::SetDraining { node: 2, draining: true });
    assert_eq!(log.recalled(), BTreeMap::from([(2, None)]), "who drains gives all back anyhow");
}

#[test]
fn a_standing_target_is_not_written_anew_for_a_small_change() {
    let mut log = Log::of(100_000, &[(50_000, 50_000, 52_000), (50_000, 49_000, 49_000)]);
    log.follow_recall();
    assert_eq!(log.share(2).target, Some(49_050));
    for in_use in [48_990, 48_500, 48_050, 49_020, 49_050] {
        let before = log.clone();
        log.renew(2, 50_000, in_use, in_use);
        assert_eq!(log.recalled(), BTreeMap::new(), "{in_use} in use");
        log = before;
    }
    log.renew(2, 50_000, 49_051, 49_051);
    assert_eq!(log.recalled(), BTreeMap::from([(2, Some(49_101))]), "but never stays below what is in use");
    log.renew(2, 50_000, 47_000, 47_000);
    assert_eq!(log.recalled(), BTreeMap::from([(2, Some(47_050))]), "and follows a large change");
}

#[test]
fn a_few_idle_connections_are_not_worth_a_commit() {
    let log = |in_use| Log::of(100_000, &[(90_000, 90_000, 99_000), (10_000, in_use, in_use)]);
    assert_eq!(log(9_926).recalled(), BTreeMap::new());
    assert_eq!(log(9_925).recalled(), BTreeMap::from([(2, Some(9_975))]));
}

#[test]
fn above_a_lowered_limit_the_targets_of_the_ledger_stand() {
    let mut log = Log::of(1_000, &[(500, 500, 700), (500, 0, 0)]);
    log.set_limit(400);
    assert_eq!((log.share(1).target, log.share(2).target), (Some(200), Some(200)));
    assert_eq!(log.recalled(), BTreeMap::new());
}

#[test]
fn orphans_and_draining_nodes_are_not_recalled() {
    let mut log = Log::of(1_000, &[(300, 300, 900), (300, 0, 0), (300, 0, 0), (100, 0, 0)]);
    log.remove(2);
    log.apply(Command::SetDraining { node: 3, draining: true });
    let recalled = log.recalled();
    assert_eq!(recalled.keys().copied().collect::<Vec<_>>(), [4], "{recalled:?}");
}

#[test]
fn the_smallest_limits_move_one_by_one() {
    let mut log = Log::of(4, &[(2, 0, 0), (2, 1, 1), (0, 0, 1)]);
    assert_eq!(log.recalled(), BTreeMap::from([(1, Some(1))]), "one is idle beyond the floor");
    log.follow_recall();
    log.renew(1, 1, 0, 0);
    log.renew(3, 0, 0, 1);
    assert_eq!(log.share(3).granted.connections, 1);
    assert_eq!(Log::of(2, &[(2, 2, 2), (0, 0, 1)]).recalled(), BTreeMap::from([(1, Some(1))]));
    assert_eq!(Log::of(2, &[(1, 1, 2), (1, 0, 0)]).recalled(), BTreeMap::new());
}

#[test]
fn one_node_may_have_nearly_all_that_the_others_do_not_use() {
    for (limit, least) in [(100_000, 99_000), (2_000, 1_940)] {
        let fair = limit / 4;
        let idle = (fair, 0, fair / 40);
        let mut log = Log::of(limit, &[(fair, fair, limit), idle, idle, idle]);
        let mut recalls = 0;
        for _ in 0..60 {
            recalls += u32::from(recall(&log.ledger).is_some());
            log.follow_recall();
            for node in 2..=4 {
                let floor = fair / 80;
                let held = log.share(node).target.unwrap_or(log.share(node).granted.connections);
                log.renew(node, held, 0, held.min(2 * floor.min(50)));
            }
            let held = log.share(1).granted.connections;
            log.renew(1, held, held, limit);
        }
        let granted = log.share(1).granted.connections;
        assert!(granted >= least && recalls < 10, "{granted} of {limit} with {recalls} recalls");
    }
}

#[test]
fn a_share_is_due_once_its_grace_has_passed_whole() {
    let log = Log::of(1_000, &[(500, 0, 0), (500, 0, 0)]);
    let notes = Notes::at_start(&log.ledger, 7_000);
    assert_eq!(next_due_ms(&log.ledger, &notes), Some(7_001 + GRACE_MS), "clocks are read in whole ms");
    assert_eq!(log.due(&notes, 7_000 + GRACE_MS), Vec::<u64>::new());
    assert_eq!(log.due(&notes, 7_001 + GRACE_MS), [1, 2]);
}

#[test]
fn the_grace_allows_for_drift_both_ways_and_rounds_up() {
    let limits = Limits { drift_ppm: 100_000, margin_ms: 7, ..Limits::default() };
    assert_eq!(grace_ms(&Limits::default(), Some(30_000)), Some(GRACE_MS));
    assert_eq!(grace_ms(&limits, Some(9_000)), Some(11_007), "9,000 * 1.1 / 0.9 is whole");
    assert_eq!(grace_ms(&limits, Some(9_001)), Some(11_009), "a part of a millisecond is one");
    assert_eq!(grace_ms(&limits, None), None);
    let senseless = Limits { drift_ppm: u32::MAX, margin_ms: u32::MAX, ..Limits::default() };
    assert_eq!(grace_ms(&senseless, Some(u32::MAX)), Some(u64::MAX));
}

#[test]
fn a_renewal_starts_the_note_again() {
    let mut log = Log::of(1_000, &[(500, 0, 0), (500, 0, 0)]);
    let mut notes = Notes::at_start(&log.ledger, 0);
    log.renew(1, 500, 0, 0);
    notes.follow(&log.ledger, 20_000);
    assert_eq!([1, 2, 3].map(|node| notes.noted_ms(node)), [Some(20_000), Some(0), None]);
    assert_eq!(log.due(&notes, 1 + GRACE_MS), [2]);
    assert_eq!(log.due(&notes, 20_001 + GRACE_MS), [1, 2]);
    let old = Notes::at_start(&log.ledger, 0);
    log.renew(2, 500, 0, 0);
    assert_eq!(log.due(&old, 1 + GRACE_MS), [1], "a note of an earlier renewal ends nothing");
}

#[test]
fn nothing_but_a_renewal_or_an_opening_changes_a_note() {
    let mut log = Log::of(1_000, &[(500, 500, 900), (500, 0, 0), (0, 0, 0)]);
    let mut notes = Notes::at_start(&log.ledger, 0);
    let before = notes.clone();
    log.follow_recall();
    assert!(log.share(2).target.is_some());
    log.apply(Command::SetDraining { node: 1, draining: true });
    log.set_limit(900);
    log.remove(2);
    assert!(log.share(2).orphan);
    notes.follow(&log.ledger, 9_000);
    assert_eq!(notes, before);
    let Share { session, renewed_at, .. } = *log.share(2);
    log.apply(Command::Expire { node: 2, session, renewed_at });
    notes.follow(&log.ledger, 9_000);
    assert_ne!(notes, before);
    assert_eq!(log.due(&notes, u64::MAX), [1, 3], "a share that is gone has no note");
}

#[test]
fn the_grace_is_of_the_lease_of_that_share_alone() {
    let mut log = Log::of(1_000, &[(500, 0, 0), (500, 0, 0)]);
    let mut notes = Notes::at_start(&log.ledger, 0);
    log.set_lease(Some(3_000));
    notes.follow(&log.ledger, 0);
    assert_eq!(log.due(&notes, GRACE_MS), Vec::<u64>::new(), "their nodes have not heard of 3 s");
    log.set_lease(None);
    log.renew(1, 500, 0, 0);
    notes.follow(&log.ledger, 0);
    assert_eq!(log.due(&notes, u64::MAX), [2], "the first has been offered one that never ends");
    log.set_lease(Some(3_000));
    assert_eq!(next_due_ms(&log.ledger, &notes), Some(1 + GRACE_MS));
    log.set_lease(None);
    log.renew(2, 500, 0, 0);
    notes.follow(&log.ledger, 0);
    assert_eq!((log.due(&notes, u64::MAX), next_due_ms(&log.ledger, &notes)), (Vec::new(), None));
}

#[test]
fn an_orphan_is_due_like_any_share() {
    let mut log = Log::of(1_000, &[(500, 0, 0), (500, 0, 0)]);
    let notes = Notes::at_start(&log.ledger, 0);
    log.remove(2);
    assert_eq!(log.due(&notes, 1 + GRACE_MS), [1, 2]);
}

#[test]
fn after_a_restart_every_share_has_its_whole_grace() {
    let log = Log::of(1_000, &[(500, 0, 0), (500, 0, 0)]);
    let notes = Notes::at_start(&log.ledger, 1_000_000);
    assert_eq!(next_due_ms(&log.ledger, &notes), Some(1_000_001 + GRACE_MS));
    assert_eq!(due(&log.ledger, &Notes::default(), u64::MAX), [], "without notes nothing is due");
}

/// A limit, tiny or large.
fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![1u32..6, 6u32..300, Just(100_000)]
}

/// A limit, and the numbers of up to six nodes in parts of it.
fn cluster(limit: impl Strategy<Value = u32>) -> impl Strategy<Value = (u32, Vec<Numbers>)> {
    let parts = || prop_oneof![1 => Just(0u64), 1 => Just(100u64), 6 => 0u64..160];
    let node = (parts(), parts(), parts());
    (limit, proptest::collection::vec(node, 1..7)).prop_map(|(limit, nodes)| {
        let each = u64::from(limit) * 3 / (2 * nodes.len() as u64);
        let of = |part: u64, whole: u64| u32::try_from((whole * part).div_ceil(100)).unwrap();
        let numbers = |(granted, in_use, want): (u64, u64, u64)| {
            let granted = of(granted, each).min(PLENTY / 8);
            (granted, of(in_use.min(100), granted.into()), of(want, (each * 2).min(u64::from(PLENTY))))
        };
        (limit, nodes.into_iter().map(numbers).collect())
    })
}

/// The checks of one recall: targets only where they may be and no lower than they may be.
fn targets_are_lawful(log: &Log) {
    let recalled = log.recalled();
    let nodes = u32::try_from(log.ledger.members().len()).unwrap();
    let floor = (log.ledger.limits().connections / (80 * nodes)).clamp(1, 50);
    for (node, target) in &recalled {
        let share = log.share(*node);
        let Some(target) = *target else {
            assert!(share.target.is_some(), "nothing to take back of {node}");
            continue;
        };
        let fair = log.ledger.fair_share(share);
        let is_idle = log.ledger.unmet(*node, share) == 0 && target >= share.in_use.connections + floor;
        assert!(target < share.granted.connections, "{node} has {share:?}");
        assert!(is_idle || target >= fair, "{node} to {target} of {share:?}, its part is {fair}");
        assert!(!share.orphan && !log.ledger.members()[node].draining);
    }
}

proptest! {
    #[test]
    fn one_recall_reaches_its_fixed_point(
        (limit, nodes) in cluster(prop_oneof![9 => limit(), 1 => Just(PLENTY)]),
        orphan in 2u64..9,
        drains in 1u64..9,
        targets in proptest::collection::btree_map(1u64..7, proptest::option::of(0u32..200), 0..4),
        renewals in proptest::collection::vec((1u64..7, 0u32..101, 0u32..200), 0..6),
    ) {
        let mut log = Log::of(limit, &nodes);
        if log.ledger.members().contains_key(&orphan) {
            log.remove(orphan);
        }
        if log.ledger.members().contains_key(&drains) {
            log.apply(Command::SetDraining { node: drains, draining: true });
        }
        log.apply(Command::SetTargets { targets });
        for (node, part, want) in renewals {
            targets_are_lawful(&log);
            log.follow_recall();
            prop_assert_eq!(laws::broken(&log.ledger), None);
            if log.ledger.shares().get(&node).is_none_or(|share| share.orphan) {
                continue;
            }
            let share = log.share(node);
            let in_use = share.granted.connections / 100 * part;
            let held = share.target.map_or(share.granted.connections, |target| target.max(in_use));
            log.renew(node, held, in_use, in_use.saturating_add(want));
        }
        targets_are_lawful(&log);
        log.follow_recall();
        prop_assert_eq!(laws::broken(&log.ledger), None);
    }

    #[test]
    fn whoever_lacks_of_its_fair_part_gets_it_once_targets_are_met((limit, nodes) in cluster(limit())) {
        let mut log = Log::of(limit, &nodes);
        let mut is_recalled = true;
        for _ in 0..100 {
            is_recalled = recall(&log.ledger).is_some();
            log.follow_recall();
            for node in 1..=nodes.len() as u64 {
                let share = log.share(node).clone();
                // Connections end as far as they are in the way.
                let held = share.target.unwrap_or(share.granted.connections);
                let (in_use, want) = (share.in_use.connections.min(held), share.want.connections);
                log.renew(node, held, in_use, want);
            }
        }
        prop_assert!(!is_recalled, "targets are still written: {:?}", log.ledger.shares());
        for (node, share) in log.ledger.shares() {
            let lack = log.ledger.fair_share(share).saturating_sub(share.granted.connections);
            prop_assert_eq!(log.ledger.unmet(*node, share).min(lack), 0, "{} {:?}", node, share);
        }
    }
}
