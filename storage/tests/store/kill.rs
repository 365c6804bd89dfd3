//! kill -9 at any moment loses nothing that was acknowledged; and a store that lies about it is caught.
//!
//! The process to kill is this test program, started again. It appends, votes, applies and purges as a node
//! does, and says on its output what was acknowledged to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use erlmcp_storage::{Faults, MetaKey, StateWrite, Store};

use crate::common::{Seeded, entries, entry, options, wait, with_faults};

const ROUNDS: u64 = 100;
const DIR: &str = "ERLMCP_KILL_DIR";
const SEED: &str = "ERLMCP_KILL_SEED";
const LIES: &str = "ERLMCP_KILL_LIES";
/// The process keeps this many entries below the newest.
const KEPT: u64 = 300;
const STATE_KEYS: [&str; 3] = ["applied", "copy/1", "copy/2"];

/// Entries that the process was told to be durable.
#[derive(Debug, Default, Clone, Copy)]
struct Acknowledged {
    entry: Option<u64>,
    vote: Option<u64>,
}

#[test]
#[ignore = "the process that gets killed; started by the other tests of this file"]
fn victim() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let faults = Faults::none();
    if std::env::var_os(LIES).is_some() {
        faults.acknowledge_without_flush();
    }
    say("open", 0);
    let store = Store::open(&dir, with_faults(&faults)).unwrap();
    let mut seeded = Seeded(std::env::var(SEED).unwrap().parse().unwrap());
    let in_flight = Arc::new(AtomicU64::new(0));
    for turn in 1.. {
        while in_flight.load(Ordering::SeqCst) > 8 {
            std::thread::yield_now();
        }
        if turn % 25 == 0 {
            cut(&store, &in_flight);
        }
        let next = store.log_bounds().last.map_or(0, |last| last + 1);
        let count = 1 + seeded.below(8);
        in_flight.fetch_add(1, Ordering::SeqCst);
        let landed = Arc::clone(&in_flight);
        let done = move |result: Result<(), _>| {
            assert!(result.is_ok());
            say("entry", next + count - 1);
            landed.fetch_sub(1, Ordering::SeqCst);
        };
        store.append(entries(next..next + count), Box::new(done)).unwrap();
        // What is applied is never truncated.
        let applied = next.saturating_sub(10).to_string().into_bytes();
        let write = |key: &str| StateWrite { key: key.into(), value: Some(applied.clone()) };
        store.apply(STATE_KEYS.map(write).into()).unwrap();
        if turn % 10 == 0 {
            vote_and_purge(&store, next);
        }
    }
}

/// Truncates a few entries. From the moment it says so, they may be gone.
fn cut(store: &Store, in_flight: &AtomicU64) {
    while in_flight.load(Ordering::SeqCst) > 0 {
        std::thread::yield_now();
    }
    let Some(from) = store.log_bounds().last.and_then(|last| last.checked_sub(4)) else { return };
    say("cut", from);
    wait(|done| store.truncate_from(from, done)).unwrap();
    assert_eq!(store.log_bounds().last, from.checked_sub(1));
}

fn vote_and_purge(store: &Store, next: u64) {
    let vote = next;
    let done = move |_| say("vote", vote);
    store.put_meta(MetaKey::Vote, vote.to_be_bytes().to_vec(), Box::new(done)).unwrap();
    if next > 2 * KEPT {
        store.purge_to(next - KEPT).unwrap();
    }
}

/// One line, in one write, past the capture of the test program.
fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{what} {number}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs the victim until it has said `lines` lines, kills it, and notes what it said.
fn run_and_kill(dir: &Path, seed: u64, lines: u64, lies: bool, acknowledged: &mut Acknowledged) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "kill::victim", "--nocapture"]);
    command.env(DIR, dir).env(SEED, seed.to_string());
    if lies {
        command.env(LIES, "1");
    }
    let mut victim = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut heard = 0;
    for line in said {
        let line = line.unwrap();
        let Some((what, number)) = line.split_once(' ') else { continue };
        let number = number.parse().ok();
        match what {
            "open" => {}
            "cut" => {
                acknowledged.entry = acknowledged.entry.min(number.and_then(|from: u64| from.checked_sub(1)))
            }
            "entry" => acknowledged.entry = acknowledged.entry.max(number),
            "vote" => acknowledged.vote = acknowledged.vote.max(number),
            _ => continue,
        }
        heard += 1;
        if heard == lines {
            victim.kill().unwrap();
        }
    }
    assert!(heard >= lines, "the victim ended by itself: {:?}", victim.wait_with_output());
    victim.wait().unwrap();
}

/// Entries missing after a kill, in words.
fn verify(dir: &Path, acknowledged: Acknowledged) -> Result<(), String> {
    let store = Store::open(dir, options()).map_err(|error| error.to_string())?;
    let bounds = store.log_bounds();
    if bounds.last < acknowledged.entry {
        return Err(format!("entries after {:?} are gone: {acknowledged:?}", bounds.last));
    }
    for (index, bytes) in store.read(0, u64::MAX).map_err(|error| error.to_string())? {
        if bytes != entry(index) {
            return Err(format!("entry {index} is not what was appended"));
        }
    }
    let vote = store.meta(MetaKey::Vote).unwrap().map(|vote| u64::from_be_bytes(vote.try_into().unwrap()));
    if vote < acknowledged.vote {
        return Err(format!("the vote is {vote:?}: {acknowledged:?}"));
    }
    let state = store.state().unwrap();
    if state.windows(2).any(|pair| pair[0].1 != pair[1].1) || ![0, STATE_KEYS.len()].contains(&state.len()) {
        return Err(format!("half a batch of state: {state:?}"));
    }
    let applied = state.first().map(|(_, value)| String::from_utf8_lossy(value).parse::<u64>().unwrap());
    if applied > bounds.last {
        return Err(format!("applied {applied:?} is after the last entry {:?}", bounds.last));
    }
    store.close().map_err(|error| error.to_string())
}

/// Kills in up to `rounds` rounds on one directory and damages something after each; the first loss ends it.
fn kill_rounds(rounds: u64, lies: bool, damage: impl Fn(&Path, u64)) -> Result<u64, String> {
    let dir = tempfile::tempdir().unwrap();
    Store::create(dir.path(), options()).unwrap().close().unwrap();
    let mut seeded = Seeded(0xe71);
    let mut all = Acknowledged::default();
    for round in 0..rounds {
        let lines = 1 + seeded.below(120);
        run_and_kill(dir.path(), round, lines, lies, &mut all);
        damage(dir.path(), round);
        verify(dir.path(), all).map_err(|what| format!("round {round}, after {lines} lines: {what}"))?;
    }
    Ok(all.entry.unwrap_or(0))
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let entries = kill_rounds(ROUNDS, false, |_, _| ()).unwrap();
    assert!(entries > ROUNDS, "hardly anything was written: {entries}");
}

#[test]
fn kills_that_tear_or_lose_the_start_file_of_sled_lose_nothing_that_was_acknowledged() {
    // Without the copy of it, a quarter of the rounds loses the store.
    const ROUNDS: u64 = 40;
    let tear = |dir: &Path, round: u64| {
        for path in crate::damage::start_files(dir) {
            if round % 3 == 2 {
                std::fs::remove_file(path).unwrap();
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    let entries = kill_rounds(ROUNDS, false, tear).unwrap();
    assert!(entries > ROUNDS, "hardly anything was written: {entries}");
}

#[test]
fn a_commit_thread_that_acknowledges_without_flushing_is_caught() {
    let caught = kill_rounds(ROUNDS, true, |_, _| ()).unwrap_err();
    assert!(caught.contains("are gone") || caught.contains("the vote is"), "{caught}");
}
