//! Property tests: the laws hold for any commands in any order, and a snapshot with replay gives the same
//! bytes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use erlmcp_ledger::{
    Amount, Budget, Command, Incarnation, Instance, Ledger, Limits, MemberClaim, Opening, Reason, Receipt,
    Renewal, Tenant, laws,
};
use proptest::prelude::*;

fn claim() -> impl Strategy<Value = MemberClaim> {
    (0u128..3, 0u32..3).prop_map(|(incarnation, port)| MemberClaim {
        reads: 1,
        peer_address: if port == 0 { String::new() } else { format!("127.0.0.1:{port}") },
        http_address: format!("127.0.0.1:{port}"),
        incarnation: Incarnation::new(incarnation),
        name: String::new(),
    })
}

fn tenant() -> impl Strategy<Value = Tenant> {
    prop_oneof!["a", "b"].prop_map(|name: String| name.parse().unwrap())
}

fn budget() -> impl Strategy<Value = Budget> {
    (0u32..20, 0u32..20).prop_map(|(messages_per_second, burst)| Budget { messages_per_second, burst })
}

fn command() -> impl Strategy<Value = Command> {
    let found = ("[a-b]{1,2}", 0u64..3, claim(), 0u32..20, budget()).prop_map(
        |(cluster_id, node, claim, connections, budget)| Command::Found {
            cluster_id,
            node,
            claim,
            limits: Limits { connections, ..Limits::default() },
            budget,
        },
    );
    prop_oneof![
        2 => found,
        4 => (0u64..5, claim(), any::<bool>())
            .prop_map(|(node, claim, returning)| Command::PutMember { node, claim, returning }),
        3 => (0u64..5, proptest::option::of(0u128..3), any::<bool>(), any::<bool>()).prop_map(
            |(node, incarnation, dead, now)| {
                Command::RemoveMember { node, incarnation: incarnation.map(Incarnation::new), dead, now }
            }
        ),
        3 => (0u64..5, any::<bool>()).prop_map(|(node, draining)| Command::SetDraining { node, draining }),
        3 => (proptest::option::of(tenant()), proptest::option::of(0u32..20))
            .prop_map(|(tenant, connections)| Command::SetLimit { tenant, connections }),
        1 => (proptest::option::of(2_000u32..5_000), 0u32..200_000, 0u32..100_000).prop_map(
            |(lease_ms, drift_ppm, margin_ms)| Command::SetLease { lease_ms, drift_ppm, margin_ms }
        ),
        3 => (proptest::option::of(tenant()), proptest::option::of(budget()))
            .prop_map(|(tenant, budget)| Command::SetBudget { tenant, budget }),
        8 => opening().prop_map(Command::Open),
        20 => proptest::collection::vec(renewal(), 0..4).prop_map(|renewals| Command::Renew { renewals }),
        3 => (1u64..4, 1u64..12, 1u64..30)
            .prop_map(|(node, session, renewed_at)| Command::Expire { node, session, renewed_at }),
        3 => proptest::collection::btree_map(1u64..5, proptest::option::of(0u32..12), 0..4)
            .prop_map(|targets| Command::SetTargets { targets }),
    ]
}

/// Numbers are small, so that sessions, numbers and incarnations often fit each other.
fn opening() -> impl Strategy<Value = Opening> {
    (1u64..4, 0u128..3, 0u128..3, 1u32..3, proptest::option::of(1u64..12), 0u32..20, 0u32..4).prop_map(
        |(node, incarnation, instance, attempt, previous_session, ceiling, nodes_expected)| Opening {
            node,
            incarnation: Incarnation::new(incarnation),
            instance: Instance::new(instance),
            attempt,
            previous_session,
            ceiling,
            nodes_expected,
        },
    )
}

fn renewal() -> impl Strategy<Value = Renewal> {
    let numbers = (0u32..12, 0u32..25, 0u32..20);
    (1u64..4, 1u64..12, 1u32..6, numbers, proptest::option::of(2_000u32..5_000)).prop_map(
        |(node, session, seq, (held, want, ceiling), lease_ms)| Renewal {
            node,
            session,
            seq,
            held: Amount::of_connections(held),
            in_use: Amount::of_connections(held),
            want: Amount::of_connections(want),
            ceiling,
            lease_ms,
        },
    )
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let first = Command::Found {
        cluster_id: "a".to_owned(),
        node: 1,
        claim: MemberClaim {
            reads: 1,
            peer_address: "127.0.0.1:1".to_owned(),
            http_address: String::new(),
            incarnation: Incarnation::new(1),
            name: "one".to_owned(),
        },
        limits: Limits { connections: 10, ..Limits::default() },
        budget: Budget { messages_per_second: 10, burst: 10 },
    };
    (any::<bool>(), proptest::collection::vec(command(), 0..60)).prop_map(move |(founded, mut rest)| {
        if founded {
            rest.insert(0, first.clone());
        }
        rest
    })
}

fn replay(mut ledger: Ledger, from: u64, commands: &[Command]) -> Ledger {
    for (index, command) in (from..).zip(commands) {
        ledger.apply(index, command);
    }
    ledger
}

fn reread(ledger: &Ledger) -> Ledger {
    let entries = ledger.entries();
    Ledger::from_entries(entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))).unwrap()
}

proptest! {
    #[test]
    fn every_step_is_lawful_and_told_by_its_changes(commands in commands()) {
        let mut ledger = Ledger::default();
        for (index, command) in (1u64..).zip(&commands) {
            let before = ledger.clone();
            let (receipt, changes) = ledger.apply(index, command);
            prop_assert_eq!(laws::broken(&ledger), None);
            let is_lawful = laws::step_is_lawful(&before, command, &receipt, &ledger);
            prop_assert!(is_lawful, "{command:?} {receipt:?}");
            prop_assert!(laws::changes_tell_the_step(&before, &changes, &ledger), "{command:?} {changes:?}");
        }
    }

    #[test]
    fn a_snapshot_with_replay_gives_the_same_bytes(commands in commands(), cut in 0usize..60) {
        let cut = cut.min(commands.len());
        let whole = replay(Ledger::default(), 1, &commands);
        let half = reread(&replay(Ledger::default(), 1, &commands[..cut]));
        let resumed = replay(half, cut as u64 + 1, &commands[cut..]);
        prop_assert_eq!(whole.entries(), resumed.entries());
        prop_assert_eq!(&whole, &resumed);
    }

    #[test]
    fn a_command_repeated_at_once_changes_nothing_more(commands in commands(), again in command()) {
        let mut ledger = replay(Ledger::default(), 1, &commands);
        let (first, _) = ledger.apply(100, &again);
        let once = ledger.clone();
        let (second, _) = ledger.apply(101, &again);
        prop_assert_eq!(once, ledger, "a doubled command never raises a share");
        if first == Receipt::Done && !matches!(again, Command::RemoveMember { .. } | Command::Expire { .. }) {
            prop_assert_eq!(second, Receipt::Done);
        }
    }

    #[test]
    fn a_command_survives_its_json_form(command in command()) {
        prop_assert_eq!(Command::from_json(&command.to_json().unwrap()).unwrap(), command);
    }
}

fn founded() -> Ledger {
    let claim = |n: u128| MemberClaim {
        reads: 1,
        peer_address: format!("127.0.0.1:{n}"),
        http_address: String::new(),
        incarnation: Incarnation::new(n),
        name: String::new(),
    };
    let found = Command::Found {
        cluster_id: "c".to_owned(),
        node: 1,
        claim: claim(1),
        limits: Limits::default(),
        budget: Budget::default(),
    };
    let put = Command::PutMember { node: 2, claim: claim(2), returning: false };
    replay(Ledger::default(), 1, &[found, put])
}

#[test]
fn a_known_id_with_another_incarnation_is_refused() {
    let mut ledger = founded();
    let stranger = MemberClaim {
        reads: 1,
        peer_address: "127.0.0.1:9".to_owned(),
        http_address: String::new(),
        incarnation: Incarnation::new(9),
        name: String::new(),
    };
    let put = Command::PutMember { node: 2, claim: stranger.clone(), returning: false };
    let refusal = Reason::OtherIncarnation { node: 2, known: Incarnation::new(2) };
    assert_eq!(ledger.apply(3, &put).0, Receipt::Refused(refusal));

    assert_eq!(
        ledger.apply(4, &Command::RemoveMember { node: 2, incarnation: None, dead: true, now: false }).0,
        Receipt::Done
    );
    assert_eq!(ledger.apply(5, &put).0, Receipt::Done, "a fresh directory may use the id of a removed node");
    assert_eq!(ledger.members()[&2].joined_at, 5);
}

#[test]
fn a_removed_node_that_returns_is_told() {
    let mut ledger = founded();
    let claim = MemberClaim {
        reads: 1,
        peer_address: "127.0.0.1:2".to_owned(),
        http_address: String::new(),
        incarnation: Incarnation::new(2),
        name: String::new(),
    };
    ledger.apply(3, &Command::RemoveMember { node: 2, incarnation: None, dead: true, now: false });
    let put = Command::PutMember { node: 2, claim, returning: true };
    assert_eq!(ledger.apply(4, &put).0, Receipt::Refused(Reason::Removed { node: 2 }));
}

#[test]
fn removal_needs_a_drained_member_or_a_dead_one_and_never_the_last() {
    let mut ledger = founded();
    let remove = |node, dead| Command::RemoveMember { node, incarnation: None, dead, now: false };
    let incarnation = |incarnation| Command::RemoveMember {
        node: 2,
        incarnation: Some(Incarnation::new(incarnation)),
        dead: true,
        now: false,
    };
    let other = Reason::OtherIncarnation { node: 2, known: Incarnation::new(2) };
    assert_eq!(ledger.apply(3, &incarnation(1)).0, Receipt::Refused(other), "a newer incarnation stays");
    assert_eq!(ledger.apply(3, &remove(2, false)).0, Receipt::Refused(Reason::NotDrained { node: 2 }));
    ledger.apply(4, &Command::SetDraining { node: 2, draining: true });
    assert_eq!(ledger.apply(5, &remove(2, false)).0, Receipt::Done);
    assert_eq!(ledger.apply(6, &remove(2, true)).0, Receipt::Refused(Reason::NotAMember { node: 2 }));
    assert_eq!(ledger.apply(7, &remove(1, true)).0, Receipt::Refused(Reason::LastMember { node: 1 }));
}

#[test]
fn a_tenant_never_gets_more_than_the_cluster_has() {
    let mut ledger = founded();
    let tenant: Option<Tenant> = Some("acme".parse().unwrap());
    let set = |connections| Command::SetLimit { tenant: tenant.clone(), connections };
    assert_eq!(ledger.apply(3, &set(Some(100_000))).0, Receipt::Done);
    assert!(matches!(ledger.apply(4, &set(Some(100_001))).0, Receipt::Refused(Reason::AboveCluster { .. })));
    let lower = Command::SetLimit { tenant: None, connections: Some(99_999) };
    assert!(matches!(ledger.apply(5, &lower).0, Receipt::Refused(Reason::AboveCluster { .. })));
    assert_eq!(ledger.apply(6, &set(None)).0, Receipt::Done);
    assert_eq!(ledger.apply(7, &lower).0, Receipt::Done);
}

#[test]
fn what_a_member_of_an_older_release_does_not_read_is_not_written() {
    let mut ledger = founded();
    assert_eq!(Ledger::default().reads(), 1);
    assert_eq!(ledger.reads(), 1);
    let claim = |n: u128, reads| MemberClaim {
        peer_address: format!("127.0.0.1:{n}"),
        http_address: String::new(),
        incarnation: Incarnation::new(n),
        name: String::new(),
        reads,
    };
    let put =
        |node: u64, reads| Command::PutMember { node, claim: claim(node.into(), reads), returning: true };
    ledger.apply(3, &put(1, 2));
    assert_eq!(ledger.reads(), 1, "node 2 is of the older release");
    ledger.apply(4, &put(2, 3));
    assert_eq!(ledger.reads(), 2);
    let entries = ledger.entries();
    let again = Ledger::from_entries(entries.iter().map(|(key, text)| (key.as_str(), text.as_str())));
    assert_eq!(again.unwrap(), ledger);
    ledger.apply(5, &put(1, 0));
    assert_eq!(ledger.reads(), 1, "every release reads the first form");
}

#[test]
fn a_command_is_written_in_the_lowest_form_that_knows_it() {
    let json = Command::SetDraining { node: 1, draining: true }.to_json().unwrap();
    assert!(String::from_utf8(json).unwrap().starts_with(r#"{"v":1,"#));
    let record = r#"{"peer_address":"a:1","http_address":"","incarnation":"00000000000000000000000000000001",
                     "draining":false,"name":"","joined_at":1}"#;
    let of_an_older_store: erlmcp_ledger::MemberRecord = serde_json::from_str(record).unwrap();
    assert_eq!(of_an_older_store.reads, 1);
}

#[test]
fn a_command_for_one_member_copies_no_tenant() {
    let mut ledger = founded();
    let tenant: Option<Tenant> = Some("acme".parse().unwrap());
    ledger.apply(3, &Command::SetLimit { tenant: tenant.clone(), connections: Some(5) });
    let before = ledger.clone();
    ledger.apply(4, &Command::SetDraining { node: 2, draining: true });
    assert!(std::ptr::eq(before.tenant_limits(), ledger.tenant_limits()));
    assert!(std::ptr::eq(before.tenant_budgets(), ledger.tenant_budgets()));
    assert!(!before.members()[&2].draining && ledger.members()[&2].draining, "a clone is not changed");
    ledger.apply(5, &Command::SetLimit { tenant, connections: Some(6) });
    assert!(std::ptr::eq(before.tenant_budgets(), ledger.tenant_budgets()));
    assert_eq!(
        (before.tenant_limits().values().next(), ledger.tenant_limits().values().next()),
        (Some(&5), Some(&6))
    );
}
