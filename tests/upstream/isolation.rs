//! One client never sees what is another's: random interleavings of three clients of both eras at one shared
//! child that speaks for calls that were given up or took too long, and for tasks, too.
//!
//! Messages that each client has to get are worked out here from the rules alone: a message that names its
//! request goes to that request's client; one that names none goes to a client only if everything at the
//! child is that client's; a task exists for its owner only. Time stands still but in the steps that let it
//! pass, so when a call takes too long is part of the seed. `ERLMCP_ISOLATION_SEEDS=500` runs more than the
//! default.

mod people;
mod tasks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use erlmcp::mcp::{Era, Event};
use erlmcp::router::{Naming, Router, TaskKey};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, start_one};
use people::{Outcome, Person, Speaker};
use tasks::Task;

const SEEDS: u64 = 12;
const STEPS: usize = 180;
/// Calls at the child at once; few, so that one client is alone there often enough.
const CALLS_MAX: usize = 4;
/// Tasks that may work at the child at once, for the same reason.
const TASKS_MAX: usize = 2;
/// How far time goes in one step, and how many such steps a call may be silent, or last in all.
const STEP_MS: u64 = 600;
const SILENT_STEPS: u32 = 2;
const CALL_STEPS: u32 = 3;

/// A call at the child.
struct Call {
    name: String,
    person: usize,
    is_task: bool,
    /// Steps of time since the client was last told something, and since it began.
    silent: u32,
    age: u32,
    cancelled: CancellationToken,
    waiting: Option<JoinHandle<Outcome>>,
}

impl Call {
    fn is_waited_for(&self) -> bool {
        self.waiting.is_some()
    }

    fn is_late(&self) -> bool {
        self.is_waited_for() && (self.silent >= SILENT_STEPS || self.age >= CALL_STEPS)
    }
}

/// Events of a run; where some of it never does, nothing is shown.
#[derive(Debug, Default)]
struct Tally {
    told: usize,
    /// Messages that had to reach nobody.
    held_back: usize,
    /// Calls that were silent, and calls that lasted, for too long.
    silent: usize,
    too_long: usize,
    tasks: usize,
    /// Requests about others' tasks.
    refused: usize,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.told += other.told;
        self.held_back += other.held_back;
        self.silent += other.silent;
        self.too_long += other.too_long;
        self.tasks += other.tasks;
        self.refused += other.refused;
    }
}

/// A run of one seed.
struct Run {
    chance: u64,
    router: Arc<Router>,
    events: broadcast::Receiver<Event>,
    speaker: Speaker,
    people: Vec<Person>,
    calls: Vec<Call>,
    tasks: Vec<Task>,
    minted: usize,
    /// Messages that each person has to have heard at the end.
    due: Vec<BTreeSet<String>>,
    tally: Tally,
}

impl Run {
    fn below(&mut self, end: usize) -> usize {
        // splitmix64
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (end as u64)).unwrap()
    }

    async fn begin(&mut self) {
        self.minted += 1;
        let person = self.below(self.people.len());
        let name = format!("call-{}-{}", self.minted, self.people[person].name);
        let working = self.tasks.iter().filter(|task| !task.is_known_over).count();
        let coming = self.calls.iter().filter(|call| call.is_task).count();
        let is_task = self.below(5) == 0 && working + coming < TASKS_MAX;
        // Every client uses the same progress token.
        let mut params = json!({"name": "speak", "arguments": {"name": name}, "_meta": {"progressToken": 1}});
        if is_task {
            params["task"] = json!({});
        }
        let cancelled = CancellationToken::new();
        let waiting = Some(self.people[person].start(&self.router, "tools/call", &params, &cancelled));
        self.speaker.obey(json!({ "await": name })).await;
        self.calls.push(Call { name, person, is_task, silent: 0, age: 0, cancelled, waiting });
    }

    /// The client goes; the child goes on.
    async fn give_up(&mut self) {
        let at = self.below(self.calls.len());
        let call = &mut self.calls[at];
        let Some(waiting) = call.waiting.take() else { return };
        call.cancelled.cancel();
        let fault = waiting.await.unwrap().expect_err(&call.name);
        assert!(fault.message.contains("cancelled"), "{}: {fault}", call.name);
        self.speaker.obey(json!({ "await_cancel": call.name })).await;
    }

    /// A client that has waited too long waits no more; the child goes on.
    async fn pass_time(&mut self) {
        tokio::time::advance(Duration::from_millis(STEP_MS)).await;
        for call in self.calls.iter_mut().filter(|call| call.is_waited_for()) {
            (call.silent, call.age) = (call.silent + 1, call.age + 1);
            if !call.is_late() {
                continue;
            }
            let waiting = tokio::time::timeout(SOON, call.waiting.take().unwrap()).await;
            let fault = waiting.expect("waits too long").unwrap().expect_err(&call.name);
            assert!(fault.message.contains("no answer within"), "{}: {fault}", call.name);
            let counted =
                if call.age < CALL_STEPS { &mut self.tally.silent } else { &mut self.tally.too_long };
            *counted += 1;
            self.speaker.obey(json!({ "await_cancel": call.name })).await;
        }
    }

    async fn answer(&mut self) {
        let at = self.below(self.calls.len());
        let call = self.calls.remove(at);
        self.speaker.obey(json!({ "answer": call.name })).await;
        let mut result = None;
        if let Some(waiting) = call.waiting {
            let outcome = waiting.await.unwrap();
            result = Some(outcome.unwrap_or_else(|fault| panic!("{}: {fault}", call.name)));
        }
        if call.is_task {
            self.tasks.push(Task::made(&call.name, call.person, result.as_ref()));
        } else if let Some(result) = result {
            assert_eq!(result["of"], call.name);
        }
    }

    /// Whether everything at the child is of one reader.
    fn is_alone(&self, person: usize) -> bool {
        let calls = self.calls.iter().map(|call| call.person);
        let tasks = self.tasks.iter().filter(|task| !task.is_known_over).map(|task| task.person);
        let there: Vec<usize> = calls.chain(tasks).collect();
        there.iter().all(|one| *one == person) && (!self.people[person].is_modern() || there.len() == 1)
    }

    /// The child speaks for a call or a task.
    async fn say(&mut self) {
        self.minted += 1;
        let tasks: Vec<usize> = (0..self.tasks.len()).filter(|at| !self.tasks[*at].is_known_over).collect();
        let (at, what) =
            (self.below(self.calls.len() + tasks.len()), ["log", "question", "progress"][self.below(3)]);
        let (subject, person) = match self.calls.get(at) {
            Some(call) => (call.name.clone(), call.person),
            None => {
                let task = &self.tasks[tasks[at - self.calls.len()]];
                (task.own.clone(), task.person)
            }
        };
        let reader = match what {
            "progress" => (at < self.calls.len()).then_some(at).filter(|at| self.calls[*at].is_waited_for()),
            _ if !self.is_alone(person) => None,
            _ => self.calls.iter().rposition(|call| call.person == person && call.is_waited_for()),
        };
        let tag = format!("{what}-{}-{}", self.minted, self.people[person].name);
        self.speaker.obey(json!({ "say": what, "call": subject, "tag": tag })).await;
        if let Some(at) = reader {
            self.calls[at].silent = 0;
        }
        let is_due = reader.is_some() && (what != "question" || self.people[person].asks.is_some());
        if is_due {
            self.people[person].hears(&tag).await;
            self.due[person].insert(tag.clone());
            self.tally.told += 1;
        } else {
            self.tally.held_back += 1;
        }
        if what == "question" {
            // Until then the call counts as one whose client is being asked.
            self.speaker.obey(json!({ "await_answer": tag })).await;
        }
    }

    async fn step(&mut self) {
        let is_full = self.calls.len() >= CALLS_MAX;
        match self.below(16) {
            _ if self.calls.is_empty() => self.begin().await,
            0..=3 if !is_full => self.begin().await,
            4 => self.give_up().await,
            5..=6 => self.answer().await,
            7..=8 => self.pass_time().await,
            9..=11 => self.task_step().await,
            _ => self.say().await,
        }
    }

    /// Everybody heard what was due and nothing else.
    fn judge_heard(&self, seed: u64) {
        for (person, due) in self.people.iter().zip(&self.due) {
            let heard = person.heard.borrow();
            let tags = heard.iter().filter_map(|message| {
                let params = &message["params"];
                params["data"].as_str().or(params["message"].as_str()).map(str::to_owned)
            });
            assert_eq!(&tags.collect::<BTreeSet<_>>(), due, "seed {seed}: {}", person.name);
            assert!(person.has_quiet_session(), "seed {seed}: {}", person.name);
        }
    }

    /// Also once all calls are answered; and who was asked answered in its own name.
    async fn judge(&mut self, seed: u64) {
        while !self.calls.is_empty() {
            self.answer().await;
        }
        self.judge_heard(seed);
        let answers = self.speaker.obey(json!({ "answers": true })).await;
        for answer in answers["answers"].as_array().unwrap() {
            let name = &answer["result"]["content"]["name"];
            let tag = answer["tag"].as_str().unwrap();
            assert!(name.as_str().is_none_or(|name| tag.ends_with(name)), "seed {seed}: {answer}");
        }
        self.judge_tasks(seed).await;
        self.tally.tasks = self.tasks.len();
    }
}

/// Stops the clock but for [`tokio::time::advance`]. It would jump to the next timer whenever all wait, as on
/// the child, were there not a thread at work; where a test hangs, that one gives up.
fn stop_clock() -> std::sync::mpsc::SyncSender<()> {
    let (hold, held) = std::sync::mpsc::sync_channel::<()>(0);
    tokio::task::spawn_blocking(move || held.recv_timeout(SOON));
    tokio::time::pause();
    hold
}

async fn run(seed: u64) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, listener) = Speaker::prepare(&dir);
    options.upstream.timeout_ms = STEP_MS * u64::from(SILENT_STEPS) - STEP_MS / 2;
    options.call_max_ms = STEP_MS * u64::from(CALL_STEPS) - STEP_MS / 2;
    let (upstreams, provider) = start_one(options);
    let speaker = Speaker::accept(&listener).await;
    let stop = CancellationToken::new();
    let router = Router::start(vec![provider], 0, Naming::OnConflict, TaskKey::derive(b"cluster"), &stop);
    // The lists show that they are read: from now on the node has nothing of its own to ask.
    for era in [Era::Legacy, Era::Modern] {
        let mut catalog = router.catalog(era);
        let read = catalog.wait_for(|catalog| !catalog.tools.items.is_empty());
        tokio::time::timeout(SOON, read).await.unwrap().unwrap();
    }
    let clock = stop_clock();
    let carols = if seed.is_multiple_of(2) { Era::Legacy } else { Era::Modern };
    let people = [("alice", Era::Legacy), ("bob", Era::Modern), ("carol", carols)];
    let mut run = Run {
        chance: seed,
        events: router.events(),
        router,
        speaker,
        people: people.map(|(name, era)| Person::new(name, era)).into(),
        calls: Vec::new(),
        tasks: Vec::new(),
        minted: 0,
        due: vec![BTreeSet::new(); people.len()],
        tally: Tally::default(),
    };
    for _ in 0..STEPS {
        run.step().await;
        run.judge_heard(seed);
    }
    run.judge(seed).await;
    tokio::time::resume();
    drop(clock);
    stop.cancel();
    upstreams.stop().await;
    run.tally
}

#[tokio::test]
async fn whatever_a_shared_child_says_reaches_its_owner_or_nobody() {
    let seeds = std::env::var("ERLMCP_ISOLATION_SEEDS").ok().and_then(|text| text.parse().ok());
    let mut sum = Tally::default();
    for seed in 0..seeds.unwrap_or(SEEDS) {
        sum.add(&run(seed).await);
    }
    assert!(sum.told > 100 && sum.held_back > 100, "{sum:?}");
    assert!(sum.silent > 20 && sum.too_long > 5, "{sum:?}");
    assert!(sum.tasks > 20 && sum.refused > 50, "{sum:?}");
}
