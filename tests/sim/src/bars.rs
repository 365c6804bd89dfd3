//! Use of the limit: how much of it clients get, how soon, and for how many commits.
//!
//! An exact limit strands what is leased and idle, so a protocol that is safe may still be of no use. Nothing
//! is lost or late here: how soon the limit moves to where it is wanted is the question.

use erlmcp_ledger::Limits;

use crate::faults::{Fault, Plan};
use crate::world::World;

const SECOND: u64 = 1_000_000;

/// Clients begin to come then.
const BEGIN: u64 = 10 * SECOND;

/// Length of a case.
const END: u64 = 70 * SECOND;

/// The most commits per second, as the mean of any ten seconds after the beginning.
const COMMITS_MAX: f64 = 10.0;

/// Four nodes, the first demand on them, and what must come of it.
struct Case {
    name: &'static str,
    limit: u32,
    /// Wanted of each node, in parts; all parts are `wanted` connections.
    parts: [u32; 4],
    wanted: u32,
    /// Connections in a thousand that end every second, and come again.
    churn: u64,
    /// Time from the beginning after which it must be met.
    within_us: u64,
    /// Part of what clients want that must be open then and on average to the end, in permille of the limit.
    least: u64,
}

const fn case(name: &'static str, limit: u32, parts: [u32; 4], churn: u64) -> Case {
    Case { name, limit, parts, wanted: limit, churn, within_us: 5 * SECOND, least: 970 }
}

const CASES: [Case; 8] = [
    Case { within_us: 2 * SECOND, least: 990, ..case("one node of 100,000", 100_000, [1, 0, 0, 0], 0) },
    Case { within_us: 2 * SECOND, ..case("one node of 2,000", 2_000, [1, 0, 0, 0], 0) },
    case("10:1:1:1 of 100,000", 100_000, [10, 1, 1, 1], 0),
    case("10:1:1:1 of 2,000", 2_000, [10, 1, 1, 1], 0),
    case("10:1:1:1 of 100,000, 1,000/s end", 100_000, [10, 1, 1, 1], 10),
    case("10:1:1:1 of 2,000, 100/s end", 2_000, [10, 1, 1, 1], 50),
    Case {
        wanted: 200_000,
        within_us: 10 * SECOND,
        ..case("10:1:1:1, twice 100,000 wanted", 100_000, [10, 1, 1, 1], 10)
    },
    Case { wanted: 80_000, ..case("1:1:1:1, 80,000 of 100,000, 1,000/s", 100_000, [1, 1, 1, 1], 10) },
];

/// Results of a case.
struct Figures {
    /// Open when it must be met.
    soon: f64,
    /// Open on average from then on.
    mean: f64,
    /// Commits per second in the busiest ten seconds.
    busiest: f64,
    /// Commits per second over the last thirty.
    steady: f64,
    violation: Option<String>,
}

fn plan(case: &Case) -> Plan {
    let parts: u32 = case.parts.iter().sum();
    let demands = case.parts.iter().map(|part| case.wanted / parts * part).collect();
    let mut plan = Plan::of(0, 10_000);
    plan.nodes = 4;
    plan.nodes_expected = 4;
    plan.ceiling = case.limit;
    plan.limits = Limits { connections: case.limit, ..Limits::default() };
    // 100,000 connections a second at each node.
    plan.connects_per_tick = 2_000;
    plan.faults = vec![(BEGIN, Fault::Wanted(demands, case.churn))];
    plan.end_us = END;
    plan.is_calm = true;
    plan.demands = vec![0; 4];
    plan
}

fn measure(case: &Case) -> Figures {
    let mut world = World::new(1, plan(case), false);
    let possible = f64::from(case.wanted.min(case.limit));
    world.run_until(BEGIN + case.within_us);
    let soon = world.open() as f64 / possible;
    let (mut sum, mut count) = (0.0, 0.0);
    for at_us in (BEGIN + case.within_us..=END).step_by(100_000) {
        world.run_until(at_us);
        sum += world.open() as f64 / possible;
        count += 1.0;
    }
    let commits = &world.checks.commits_by_second;
    let mean = |seconds: &[u64]| seconds.iter().sum::<u64>() as f64 / seconds.len() as f64;
    let begin = usize::try_from(BEGIN / SECOND).unwrap();
    Figures {
        soon,
        mean: sum / count,
        busiest: commits[begin..].windows(10).map(mean).fold(0.0, f64::max),
        steady: mean(&commits[commits.len() - 30..]),
        violation: world.checks.violation.clone(),
    }
}

/// Prints each case with its figures; whether all are as they must be.
pub fn all_are_met() -> bool {
    let mut are_met = true;
    println!("  open soon  on average   commits/s busiest 10 s  last 30 s   case");
    for case in &CASES {
        let Figures { soon, mean, busiest, steady, violation } = measure(case);
        let least = case.least as f64 / 1_000.0;
        let is_met = soon >= least && mean >= least && busiest < COMMITS_MAX && violation.is_none();
        println!(
            "{} {:>5.1} %     {:>5.1} %   {busiest:>22.1}  {steady:>9.1}   {} ({} s, {:.0} %)",
            if is_met { ' ' } else { '!' },
            soon * 100.0,
            mean * 100.0,
            case.name,
            case.within_us / SECOND,
            least * 100.0,
        );
        if let Some(violation) = violation {
            println!("  {violation}");
        }
        are_met &= is_met;
    }
    are_met
}
