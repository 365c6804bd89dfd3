//! Cost of a command while others look at the state, as a figure:
//! `cargo test --release -p erlmcp-ledger --test cost -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement reads a clock")]

use std::time::Instant;

use erlmcp_ledger::{
    Amount, Budget, Command, Incarnation, Instance, Ledger, Limits, MEMBERS_MAX, MemberClaim, Opening,
    Renewal,
};

const TENANTS: u32 = 100_000;
const ROUNDS: u32 = 2_000;
/// For a command that changes one member.
const MICROS_MAX: u128 = 50;
/// For one renewal among [`MEMBERS_MAX`] members.
const RENEWAL_MICROS_MAX: f64 = 20.0;

fn claim(node: u64) -> MemberClaim {
    MemberClaim {
        peer_address: format!("127.0.0.1:{node}"),
        http_address: String::new(),
        incarnation: Incarnation::new(node.into()),
        name: String::new(),
        reads: 1,
    }
}

fn founded() -> Ledger {
    let (cluster_id, limits, budget) = ("c".to_owned(), Limits::default(), Budget::default());
    let mut ledger = Ledger::default();
    let claim = claim(1);
    ledger.apply(1, &Command::Found { cluster_id, node: 1, claim, limits, budget });
    ledger
}

fn full() -> Ledger {
    let mut ledger = founded();
    for n in 0..TENANTS {
        let tenant = Some(format!("tenant-{n}").parse().unwrap());
        ledger.apply(2, &Command::SetLimit { tenant, connections: Some(1) });
    }
    ledger
}

#[test]
#[ignore = "a measurement, for a release build"]
fn a_command_for_one_member_with_100_000_tenants() {
    let mut ledger = full();
    let mut cost = |what: &str, rounds: u32, command: &dyn Fn(u32) -> Command| {
        let begin = Instant::now();
        for round in 0..rounds {
            // Somebody always holds the state as it was.
            let seen = ledger.clone();
            ledger.apply(u64::from(round), &command(round));
            drop(seen);
        }
        let each = begin.elapsed().as_nanos() / u128::from(rounds);
        println!("{what}: {:.1} us a command with {TENANTS} tenants", each as f64 / 1e3);
        each / 1_000
    };
    let drain =
        cost("one member", ROUNDS, &|round| Command::SetDraining { node: 1, draining: round % 2 == 0 });
    cost("one tenant", ROUNDS / 100, &|round| Command::SetLimit {
        tenant: Some("tenant-7".parse().unwrap()),
        connections: Some(round + 2),
    });
    assert!(drain < MICROS_MAX, "{drain} us");
}

/// Every member has a share; those above their part find others waiting, which is the longest way.
fn shared_out() -> Ledger {
    let mut ledger = founded();
    let nodes = u64::try_from(MEMBERS_MAX).unwrap();
    for node in 2..=nodes {
        ledger.apply(node, &Command::PutMember { node, claim: claim(node), returning: false });
    }
    for node in 1..=nodes {
        let opening = Opening {
            node,
            incarnation: Incarnation::new(node.into()),
            instance: Instance::new(1),
            attempt: 1,
            previous_session: None,
            ceiling: 25_000,
            nodes_expected: 4,
        };
        ledger.apply(1_000 + node, &Command::Open(opening));
    }
    ledger
}

fn renewal(node: u64, seq: u32) -> Renewal {
    let held = if node.is_multiple_of(2) { 1_000 } else { 1_700 };
    Renewal {
        node,
        session: 1_000 + node,
        seq,
        held: Amount::of_connections(held),
        in_use: Amount::of_connections(held),
        want: Amount::of_connections(held + 1_000),
        ceiling: 25_000,
        lease_ms: Some(30_000),
    }
}

#[test]
#[ignore = "a measurement, for a release build"]
fn a_renewal_with_64_members() {
    let mut ledger = shared_out();
    let nodes = u64::try_from(MEMBERS_MAX).unwrap();
    let mut seq = 0;
    let mut cost = |what: &str, batch: &dyn Fn(u32) -> Vec<Vec<Renewal>>| {
        let begin = Instant::now();
        let mut renewals = 0;
        for _ in 0..ROUNDS {
            seq += 1;
            for renewals_of_one in batch(seq) {
                renewals += renewals_of_one.len();
                let seen = ledger.clone();
                ledger.apply(u64::from(seq) + 2_000, &Command::Renew { renewals: renewals_of_one });
                drop(seen);
            }
        }
        let each = begin.elapsed().as_nanos() as f64 / 1e3 / renewals as f64;
        println!("{what}: {each:.1} us a renewal with {MEMBERS_MAX} members");
        each
    };
    let alone = cost("one a command", &|seq| vec![vec![renewal(u64::from(seq) % nodes + 1, seq)]]);
    let together = cost("64 a command", &|seq| vec![(1..=nodes).map(|node| renewal(node, seq)).collect()]);
    let bytes = Command::Renew { renewals: (1..=nodes).map(|node| renewal(node, seq)).collect() };
    println!("64 in one command: {} bytes", bytes.to_json().unwrap().len());
    assert!(alone < RENEWAL_MICROS_MAX && together < RENEWAL_MICROS_MAX);
}
