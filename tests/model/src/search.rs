//! Breadth-first search of all states, with the shortest way to the first that breaks a law.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::forms::Form;
use crate::heal::stuck;
use crate::key::key;
use crate::state::State;
use crate::step::steps;

/// States that one thread takes at once.
const CHUNK: usize = 2_048;

/// Time between two lines of progress, at least.
const PROGRESS: Duration = Duration::from_secs(20);

/// Result of a search.
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// It ended because there was nothing more, not because its time was up.
    pub is_complete: bool,
    pub violation: Option<String>,
}

/// Origin of a state: the state before it, and the number of the step.
type Origin = (u32, u16);

/// A new state: its key, where it came from, and a law that it breaks.
struct Next {
    key: u128,
    origin: Origin,
    state: State,
    broken: Option<String>,
}

fn expand(form: &Form, chunk: &[(u32, State)], seen: &HashSet<u128>) -> Vec<Next> {
    let mut found = Vec::new();
    let mut fresh = HashSet::new();
    for (number, state) in chunk {
        for (choice, step) in (0..).zip(steps(state, form)) {
            let mut state = state.clone();
            // An assertion in the code under search is a finding like any other.
            let done = catch_unwind(AssertUnwindSafe(|| state.step(step, form).err()));
            let broken = done.unwrap_or_else(|_| Some("it panics".to_owned())).or_else(|| state.broken());
            let key = key(&state, form);
            if seen.contains(&key) || !fresh.insert(key) {
                continue;
            }
            let broken = broken.or_else(|| {
                let heals = || if form.is_healed { stuck(&state, form) } else { None };
                catch_unwind(AssertUnwindSafe(heals)).unwrap_or_else(|_| Some("it panics".to_owned()))
            });
            found.push(Next { key, origin: (*number, choice), state, broken });
        }
    }
    found
}

/// Visits all states of `form`, or those that `time` allows.
pub fn search(form: &Form, time: Duration) -> Found {
    let begin = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let first = State::first(form);
    let mut seen = HashSet::from([key(&first, form)]);
    let mut origins: Vec<Origin> = vec![(0, 0)];
    let mut frontier = vec![(0, first)];
    let mut depth = 0;
    let mut told = begin;
    while !frontier.is_empty() {
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            let (states, open) = (seen.len(), frontier.len());
            eprintln!("  {}: depth {depth}, {states} states, {open} of them to go on from", form.name);
        }
        let mut next = Vec::new();
        for chunks in frontier.chunks(CHUNK * threads) {
            let size = chunks.len().div_ceil(threads).max(1);
            let found: Vec<Vec<Next>> = std::thread::scope(|scope| {
                let seen = &seen;
                let workers: Vec<_> =
                    chunks.chunks(size).map(|chunk| scope.spawn(move || expand(form, chunk, seen))).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).collect()
            });
            for one in found.into_iter().flatten() {
                if !seen.insert(one.key) {
                    continue;
                }
                let number = u32::try_from(origins.len()).unwrap();
                origins.push(one.origin);
                if let Some(broken) = one.broken {
                    let way = way(form, &origins, number);
                    let violation = Some(format!("{broken}\nafter {} steps:\n{way}", depth + 1));
                    return Found { states: seen.len(), depth, is_complete: false, violation };
                }
                next.push((number, one.state));
            }
            if begin.elapsed() > time {
                return Found { states: seen.len(), depth, is_complete: false, violation: None };
            }
        }
        frontier = next;
        depth += 1;
    }
    Found { states: seen.len(), depth: depth - 1, is_complete: true, violation: None }
}

/// The steps that lead to a state.
fn way(form: &Form, origins: &[Origin], number: u32) -> String {
    let mut choices = Vec::new();
    let mut at = number;
    while at != 0 {
        let (before, choice) = origins[at as usize];
        choices.push(choice);
        at = before;
    }
    let mut state = State::first(form);
    let mut lines = String::new();
    for choice in choices.into_iter().rev() {
        let step = steps(&state, form)[usize::from(choice)];
        let of_net = match step {
            crate::step::Step::Commit { at, .. } => format!(" {:?}", state.net[at]),
            _ => String::new(),
        };
        lines.push_str(&format!("  {step:?}{of_net}\n"));
        drop(catch_unwind(AssertUnwindSafe(|| state.step(step, form))));
    }
    lines
}
