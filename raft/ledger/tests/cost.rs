//! Cost of a command while others look at the state, as a figure:
//! `cargo test --release -p erlmcp-ledger --test cost -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement reads a clock")]

use std::time::Instant;

use erlmcp_ledger::{Budget, Command, Incarnation, Ledger, Limits, MemberClaim};

const TENANTS: u32 = 100_000;
const ROUNDS: u32 = 2_000;
/// For a command that changes one member.
const MICROS_MAX: u128 = 50;

fn full() -> Ledger {
    let claim = MemberClaim {
        peer_address: "127.0.0.1:1".to_owned(),
        http_address: String::new(),
        incarnation: Incarnation::new(1),
        name: String::new(),
        reads: 1,
    };
    let (cluster_id, limits, budget) = ("c".to_owned(), Limits::default(), Budget::default());
    let mut ledger = Ledger::default();
    ledger.apply(1, &Command::Found { cluster_id, node: 1, claim, limits, budget });
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
