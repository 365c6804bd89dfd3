//! One client never sees what is another's: random interleavings of three clients of both eras at one shared
//! child that speaks for calls that were given up, too.
//!
//! What each client has to get is worked out here from the rules alone: a message that names its request goes
//! to that request's client; one that names none goes to a client only if everything at the child is that
//! client's. `ERLMCP_ISOLATION_SEEDS=500` runs more than the default.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use erlmcp::mcp::{Asks, Era, Frame, Link, LogLevel, Message, Provider, parse};
use erlmcp::upstream::UpstreamOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, SOON, command, eventually, fake, script, start_one};

const SEEDS: u64 = 12;
const STEPS: usize = 60;
/// Calls at the child at once; few, so that one client is alone there often enough.
const CALLS_MAX: usize = 4;

/// The child, told what to say.
struct Speaker(BufReader<UnixStream>);

impl Speaker {
    async fn obey(&mut self, order: Value) -> Value {
        let answered = async {
            self.0.get_mut().write_all(format!("{order}\n").as_bytes()).await.unwrap();
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            serde_json::from_str(&line).unwrap()
        };
        tokio::time::timeout(SOON, answered).await.unwrap_or_else(|_| panic!("not obeyed: {order}"))
    }
}

/// One client, with all that it ever got.
struct Person {
    name: &'static str,
    client: Client,
    asks: Option<Arc<Asks>>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Person {
    fn new(name: &'static str, era: Era) -> Person {
        let mut client = if era == Era::Legacy { Client::legacy() } else { Client::modern() };
        client.caller.log_level = Some(LogLevel::Debug);
        let asks = (era == Era::Legacy).then(|| Arc::new(Asks::new(name)));
        Person { name, client, asks, heard: Arc::default() }
    }

    fn has_heard(&self, tag: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|message| message.to_string().contains(&format!("\"{tag}\"")))
    }

    /// Starts a call named `name`; every client uses the same progress token.
    fn begin(
        &self,
        provider: &Arc<dyn Provider>,
        name: &str,
        cancelled: &CancellationToken,
    ) -> JoinHandle<()> {
        let params =
            format!(r#"{{"name":"speak","arguments":{{"name":"{name}"}},"_meta":{{"progressToken":1}}}}"#);
        let request = self.client.request("tools/call", &params);
        let (link, mut out) = Link::new(self.asks.clone(), cancelled.clone());
        let (caller, provider, heard) = (self.client.caller.clone(), provider.clone(), self.heard.clone());
        let (asks, me) = (self.asks.clone(), self.name);
        tokio::spawn(async move {
            let serving = async {
                let _ = provider.serve(&request, &caller, &link).await;
                drop(link);
            };
            let reading = async {
                while let Some(frame) = out.recv().await {
                    let Frame::Message(bytes) = frame else { continue };
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    if let (Some(id), Some(asks)) = (message.get("id"), &asks) {
                        let result = json!({"action": "accept", "content": {"name": me}});
                        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                        let Ok(Message::Response(answer)) = parse(answer.as_bytes()) else { panic!() };
                        asks.answer(answer);
                    }
                    heard.lock().unwrap().push(message);
                }
            };
            tokio::join!(serving, reading);
        })
    }
}

/// A call at the child.
struct Call {
    name: String,
    person: usize,
    cancelled: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Call {
    fn is_waited_for(&self) -> bool {
        self.task.is_some()
    }
}

/// A run of one seed.
struct Run {
    chance: u64,
    provider: Arc<dyn Provider>,
    speaker: Speaker,
    people: Vec<Person>,
    calls: Vec<Call>,
    minted: usize,
    /// What each person has to have heard at the end.
    due: Vec<BTreeSet<String>>,
    /// Messages that had to reach nobody.
    unowned: usize,
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
        let cancelled = CancellationToken::new();
        let task = self.people[person].begin(&self.provider, &name, &cancelled);
        self.speaker.obey(json!({ "await": name })).await;
        self.calls.push(Call { name, person, cancelled, task: Some(task) });
    }

    /// The client goes; the child goes on.
    async fn give_up(&mut self) {
        let at = self.below(self.calls.len());
        let call = &mut self.calls[at];
        let Some(task) = call.task.take() else { return };
        call.cancelled.cancel();
        task.await.unwrap();
        self.speaker.obey(json!({ "await_cancel": call.name })).await;
    }

    async fn answer(&mut self) {
        let at = self.below(self.calls.len());
        let call = self.calls.remove(at);
        self.speaker.obey(json!({ "answer": call.name })).await;
        if let Some(task) = call.task {
            task.await.unwrap();
        }
    }

    /// Whether everything at the child is of one reader.
    fn is_alone(&self) -> bool {
        let person = self.calls[0].person;
        let is_modern = self.people[person].asks.is_none();
        self.calls.iter().all(|call| call.person == person) && (!is_modern || self.calls.len() == 1)
    }

    async fn say(&mut self) {
        self.minted += 1;
        let at = self.below(self.calls.len());
        let what = ["log", "question", "progress"][self.below(3)];
        let person = self.calls[at].person;
        let tag = format!("{what}-{}-{}", self.minted, self.people[person].name);
        let is_read = self.calls.iter().any(|call| call.person == person && call.is_waited_for());
        let is_due = match what {
            "progress" => self.calls[at].is_waited_for(),
            "question" => self.people[person].asks.is_some() && self.is_alone() && is_read,
            _ => self.is_alone() && is_read,
        };
        self.speaker.obey(json!({ "say": what, "call": self.calls[at].name, "tag": tag })).await;
        if !is_due {
            self.unowned += 1;
            return;
        }
        let listener = &self.people[person];
        eventually(&format!("{tag} reaches {}", listener.name), || listener.has_heard(&tag)).await;
        self.due[person].insert(tag);
    }

    async fn step(&mut self) {
        let is_full = self.calls.len() >= CALLS_MAX;
        match self.below(10) {
            _ if self.calls.is_empty() => self.begin().await,
            0..=2 if !is_full => self.begin().await,
            3 => self.give_up().await,
            4..=5 => self.answer().await,
            _ => self.say().await,
        }
    }

    /// Everybody heard what was due and nothing else; who was asked answered in its own name.
    async fn judge(&mut self, seed: u64) {
        while !self.calls.is_empty() {
            self.answer().await;
        }
        for (person, due) in self.people.iter().zip(&self.due) {
            let heard = person.heard.lock().unwrap();
            let tags = heard.iter().filter_map(|message| {
                let params = &message["params"];
                params["data"].as_str().or(params["message"].as_str()).map(str::to_owned)
            });
            assert_eq!(&tags.collect::<BTreeSet<_>>(), due, "seed {seed}: {}", person.name);
        }
        let answers = self.speaker.obey(json!({ "answers": true })).await;
        for answer in answers["answers"].as_array().unwrap() {
            let name = &answer["result"]["content"]["name"];
            let tag = answer["tag"].as_str().unwrap();
            assert!(name.as_str().is_none_or(|name| tag.ends_with(name)), "seed {seed}: {answer}");
        }
    }
}

/// A shared child that can be told what to say.
async fn speaker(dir: &tempfile::TempDir) -> (UpstreamOptions, UnixListener) {
    let path = dir.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    let mut options = fake("speaker", &[]);
    command(&mut options).args = vec![script("fake_speaker.py").into(), path.into()];
    (options, listener)
}

/// Runs one seed; how many messages reached somebody, and nobody.
async fn run(seed: u64) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let (options, listener) = speaker(&dir).await;
    let (upstreams, provider) = start_one(options);
    let (control, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
    // The first answer shows that the lists are read: from now on the node has nothing of its own to ask.
    crate::support::catalog_where(&provider, Era::Legacy, |catalog| !catalog.tools.items.is_empty()).await;
    let people = [("alice", Era::Legacy), ("bob", Era::Legacy), ("carol", Era::Modern)];
    let mut run = Run {
        chance: seed,
        provider,
        speaker: Speaker(BufReader::new(control)),
        people: people.map(|(name, era)| Person::new(name, era)).into(),
        calls: Vec::new(),
        minted: 0,
        due: vec![BTreeSet::new(); people.len()],
        unowned: 0,
    };
    for _ in 0..STEPS {
        run.step().await;
    }
    run.judge(seed).await;
    upstreams.stop().await;
    (run.due.iter().map(BTreeSet::len).sum(), run.unowned)
}

#[tokio::test]
async fn whatever_a_shared_child_says_reaches_its_owner_or_nobody() {
    let seeds = std::env::var("ERLMCP_ISOLATION_SEEDS").ok().and_then(|text| text.parse().ok());
    let (mut told, mut untold) = (0, 0);
    for seed in 0..seeds.unwrap_or(SEEDS) {
        let (some, none) = run(seed).await;
        (told, untold) = (told + some, untold + none);
    }
    // A run in which nothing is ever delivered, or nothing is ever held back, shows nothing.
    assert!(told > 30 && untold > 30, "{told} delivered, {untold} held back");
}
