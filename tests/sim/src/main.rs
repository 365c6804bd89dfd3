//! Simulation of the quota protocol: the real ledger and the real agent under faults.
//!
//! A seed makes a run of 100 simulated seconds, and the same run each time. A campaign runs many, and fails
//! unless together they have been in every situation in which such a protocol breaks.

#![allow(unreachable_pub, reason = "one program in several files")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it finds")]
#![allow(clippy::unwrap_used, reason = "a simulation stops at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "the length of a campaign is of real time")]

mod bars;
mod chance;
mod checks;
mod faults;
mod process;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use checks::{Situations, Use};
use faults::Plan;
use world::World;

const HELP: &str = "\
Simulates the quota protocol: the real ledger and the real agent under faults.

usage: quota-sim [--seeds FIRST..END] [--twice] [--laws-only]    a campaign; 0..200 unless told
       quota-sim --seed N [--trace]     one run; --trace prints all that happens
       quota-sim --use                  how much of the limit is used, and how many commits that takes

  --twice            runs each seed twice and compares the traces byte by byte
  --laws-only        asks for no situation, and stops at the first violation

Protocols that must fail:
  --drift-ppm N      clocks deviate by up to N parts per million (10000 are allowed for)
  --local-renewals   a leader that is cut off renews the share of its own node without the others

Exit codes: 0 no violation, and every situation was reached or every bar met; 1 otherwise; 2 wrong usage.
";

/// Words of the command line.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a word")]
struct Words {
    first: u64,
    end: u64,
    is_one: bool,
    has_trace: bool,
    is_twice: bool,
    is_laws_only: bool,
    has_local_renewals: bool,
    drift_ppm: i64,
}

fn read(words: &[String]) -> Option<Words> {
    let mut read = Words { end: 200, drift_ppm: 10_000, ..Words::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => {
                let (first, end) = words.next()?.split_once("..")?;
                (read.first, read.end) = (first.parse().ok()?, end.parse().ok()?);
            }
            "--seed" => {
                read.first = words.next()?.parse().ok()?;
                (read.end, read.is_one) = (read.first + 1, true);
            }
            "--drift-ppm" => read.drift_ppm = words.next()?.parse().ok().filter(|ppm| *ppm > 0)?,
            "--trace" => read.has_trace = true,
            "--twice" => read.is_twice = true,
            "--laws-only" => read.is_laws_only = true,
            "--local-renewals" => read.has_local_renewals = true,
            _ => return None,
        }
    }
    (read.first < read.end).then_some(read)
}

/// Sums of a campaign.
#[derive(Default)]
struct Sums {
    seeds: u64,
    situations: Situations,
    commits: u64,
    uses: [Use; 2],
    violations: Vec<(u64, String)>,
}

/// Runs a seed. What the code itself asserts is a law too.
fn run(seed: u64, words: &Words, has_trace: bool) -> World {
    let mut plan = Plan::of(seed, words.drift_ppm);
    plan.has_local_renewals = words.has_local_renewals;
    let mut world = World::new(seed, plan, has_trace);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        world.checks.violation = Some(text.to_owned());
    }
    world
}

fn campaign(words: &Words) -> Sums {
    let next = AtomicU64::new(words.first);
    let sums = Mutex::new(Sums::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= words.end {
                        return;
                    }
                    let world = run(seed, words, words.has_trace || words.is_twice);
                    let mut violation = world.checks.violation.clone();
                    if words.is_twice && run(seed, words, true).trace != world.trace {
                        violation = Some("the same seed gave another trace".to_owned());
                    }
                    let mut sums = sums.lock().unwrap();
                    sums.seeds += 1;
                    sums.situations.add(&world.checks.situations);
                    sums.commits += world.checks.commits;
                    for (sum, one) in sums.uses.iter_mut().zip(&world.checks.uses) {
                        sum.add(one);
                    }
                    if let Some(violation) = violation {
                        if sums.violations.len() < 5 {
                            println!("seed {seed}: {violation}");
                            println!("  again: quota-sim --seed {seed} --trace");
                        }
                        sums.violations.push((seed, violation));
                        if words.is_laws_only {
                            next.store(words.end, Ordering::Relaxed);
                        }
                    }
                    if words.has_trace && words.is_one {
                        println!("{:#?}\n{}", world.plan, world.trace.unwrap_or_default());
                    }
                }
            });
        }
    });
    sums.into_inner().unwrap()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if words == ["--use"] {
        return if bars::all_are_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Some(words) = read(&words) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    let sums = campaign(&words);
    let seconds = begin.elapsed().as_secs_f64();
    let mut is_well = sums.violations.is_empty();
    println!(
        "{} seeds, {} violations, {} commits, {seconds:.1} s",
        sums.seeds,
        sums.violations.len(),
        sums.commits
    );
    let [(failing, failing_unleased), (well, _)] = sums.uses.map(|phase| phase.percent());
    println!(
        "in use, of the limit or of the demand if that is less: {well:.1} % once all is well; {failing:.1} % \
         while things fail,\n{failing_unleased:.1} % of what is not leased to nodes that cannot serve"
    );
    if !words.is_one && !words.is_twice && !words.is_laws_only {
        for (name, count) in sums.situations.rows() {
            println!("{count:>9}  {name}");
            is_well &= count > 0;
        }
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
