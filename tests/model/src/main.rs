//! Exhaustive search of the quota protocol: the real ledger and the real lease in every state that they can
//! reach.
//!
//! Commands and answers are lost, doubled and reordered, processes crash, members are drained, removed and
//! join anew, limit and lease are set, and any replica may propose to expire any share at any time that the
//! leader's wait allows. In every state the laws are asked, and whether the limit can be regained.

#![allow(unreachable_pub, reason = "one program in several files")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it finds")]
#![allow(clippy::unwrap_used, reason = "a search stops at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "the length of a search is of real time")]

mod forms;
mod heal;
mod key;
mod search;
mod state;
mod step;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use forms::Form;

const HELP: &str = "\
Visits every state that the quota protocol can reach: the real ledger and the real lease, with messages lost,
doubled and reordered, crashes, drains, removals, other limits and leases, and any expiry that time allows.

usage: quota-model [--nodes N] [--minutes M] [--only NAME]

  (nothing)     the small forms, in a minute: one node with each thing that may go wrong
  --nodes 1..3  the full forms of so many nodes
  --minutes M   gives up after so long, for each form, and says how far it came; 600 unless told
  --only NAME   only the forms whose names contain NAME

Prints progress on standard error, and each form with the number of its states, the longest of the shortest
ways to one, and the time.
Exit codes: 0 no violation; 1 a violation, with the shortest way to it; 2 wrong usage; 3 gave up.
";

/// Words of the command line.
struct Words {
    nodes: Option<u64>,
    minutes: u64,
    only: String,
}

fn read(words: &[String]) -> Option<Words> {
    let mut read = Words { nodes: None, minutes: 600, only: String::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--nodes" => {
                read.nodes = Some(words.next()?.parse().ok().filter(|nodes| (1..=3).contains(nodes))?)
            }
            "--minutes" => read.minutes = words.next()?.parse().ok()?,
            "--only" => read.only.clone_from(words.next()?),
            _ => return None,
        }
    }
    Some(read)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(words) = read(&words) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let forms = forms::of(words.nodes);
    let mut code = ExitCode::SUCCESS;
    for form in forms.iter().filter(|form: &&Form| form.name.contains(&words.only)) {
        let begin = Instant::now();
        let found = search::search(form, Duration::from_secs(60 * words.minutes));
        let how = if found.is_complete { "all" } else { "not all" };
        println!(
            "{}: {how} {} states, depth {}, {:.1} s",
            form.name,
            found.states,
            found.depth,
            begin.elapsed().as_secs_f64()
        );
        if let Some(violation) = found.violation {
            println!("{violation}");
            return ExitCode::from(1);
        }
        if !found.is_complete {
            code = ExitCode::from(3);
        }
    }
    code
}
