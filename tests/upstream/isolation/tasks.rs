//! Tasks among the interleavings: their owner reads, lists and cancels them; for everybody else they do not
//! exist, whether it guesses the child's own id or holds the one that the owner was given.

use std::collections::BTreeMap;

use erlmcp::mcp::{Event, code};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Run;
use super::people::Outcome;
use crate::support::SOON;

/// A task of the child.
pub struct Task {
    /// Its id at the child.
    pub own: String,
    pub person: usize,
    /// Its id as its owner knows it; `None`: nobody waited any more when the child told of it.
    pub shown: Option<String>,
    status: &'static str,
    /// Whether the child has told the node that it is over.
    pub is_known_over: bool,
}

impl Task {
    /// The task that a call of `person` ended as.
    pub fn made(name: &str, person: usize, outcome: Option<&Value>) -> Task {
        let own = format!("task-{name}");
        let shown = outcome.map(|result| {
            let id = result["task"]["taskId"].as_str().or(result["taskId"].as_str());
            id.unwrap_or_else(|| panic!("no task: {result}")).to_owned()
        });
        assert!(shown.as_ref().is_none_or(|id| !id.contains(&own)), "{shown:?}");
        Task { own, person, shown, status: "working", is_known_over: false }
    }
}

impl Run {
    pub async fn task_step(&mut self) {
        match self.below(6) {
            _ if self.tasks.is_empty() => self.say().await,
            0 => self.list().await,
            1..=2 => self.finish().await,
            _ => self.try_task().await,
        }
    }

    async fn ask(&self, person: usize, method: &str, params: Value) -> Outcome {
        let asking = self.people[person].start(&self.router, method, &params, &CancellationToken::new());
        tokio::time::timeout(SOON, asking).await.unwrap().unwrap()
    }

    /// Anybody reads or cancels any task, by either id.
    async fn try_task(&mut self) {
        let (person, at) = (self.below(self.people.len()), self.below(self.tasks.len()));
        let method = ["tasks/get", "tasks/cancel"][self.below(2)];
        let is_raw = self.below(4) == 0;
        let task = &self.tasks[at];
        let shown = task.shown.as_ref().filter(|_| !is_raw);
        let id = shown.unwrap_or(&task.own).clone();
        let is_allowed = shown.is_some() && task.person == person;
        let outcome = self.ask(person, method, json!({ "taskId": id })).await;
        let who = format!("{method} of {} by {}", task.own, self.people[person].name);
        if !is_allowed {
            let fault = outcome.expect_err(&who);
            let text = format!("unknown task {id:?}");
            assert_eq!((fault.code, fault.message), (code::INVALID_PARAMS, text), "{who}");
            self.tally.refused += 1;
            return;
        }
        let result = outcome.unwrap_or_else(|fault| panic!("{who}: {fault}"));
        let task = &mut self.tasks[at];
        if method == "tasks/cancel" && task.status == "working" {
            task.status = "cancelled";
        }
        assert_eq!((&result["taskId"], &result["status"]), (&json!(id), &json!(task.status)), "{who}");
        task.is_known_over = task.status != "working";
    }

    /// A list shows its reader's own tasks, all of them.
    async fn list(&mut self) {
        let person = self.below(self.people.len());
        let result = self.ask(person, "tasks/list", json!({})).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let listed = result["tasks"].as_array().unwrap().iter();
        let listed = listed.map(|task| (text(&task["taskId"]), text(&task["status"])));
        let own = self.tasks.iter().filter(|task| task.person == person);
        let own = own.filter_map(|task| Some((task.shown.clone()?, task.status.to_owned())));
        let (listed, own): (BTreeMap<_, _>, BTreeMap<_, _>) = (listed.collect(), own.collect());
        assert_eq!(listed, own, "{}", self.people[person].name);
    }

    /// The child ends a task and may tell so; only a listener that names it by its owner's id is told.
    async fn finish(&mut self) {
        let working: Vec<usize> =
            (0..self.tasks.len()).filter(|at| self.tasks[*at].status == "working").collect();
        if working.is_empty() {
            return;
        }
        let (at, tells) = (working[self.below(working.len())], self.below(2) == 0);
        self.speaker.obey(json!({"finish": self.tasks[at].own, "tell": tells})).await;
        self.tasks[at].status = "completed";
        if !tells {
            return;
        }
        self.tasks[at].is_known_over = true;
        let event = tokio::time::timeout(SOON, self.events.recv()).await.unwrap().unwrap();
        let Event::TaskChanged { task: changed, params, .. } = event else { panic!("another: {event:?}") };
        let finished = &self.tasks[at];
        for (person, one) in self.people.iter().enumerate().filter(|(_, one)| one.is_modern()) {
            let known = self.tasks.iter().filter_map(|task| task.shown.as_ref());
            let guessed = self.tasks.iter().map(|task| &task.own);
            let caller = &one.client.caller;
            let named =
                known.chain(guessed).filter(|id| self.router.task(caller, id).as_ref() == Some(&changed));
            let named: Vec<&String> = named.collect();
            let expected = finished.shown.as_ref().filter(|_| finished.person == person);
            assert_eq!(
                named,
                expected.into_iter().collect::<Vec<_>>(),
                "{} told of {}",
                one.name,
                finished.own
            );
            if let Some(id) = expected {
                let told = self.router.task_params(caller, &changed, &params).to_raw();
                let told: Value = serde_json::from_str(told.get()).unwrap();
                assert_eq!(told, json!({"taskId": id, "status": "completed"}));
            }
        }
    }

    /// Questions asked in vain have changed nothing at the child.
    pub async fn judge_tasks(&mut self, seed: u64) {
        let there = self.speaker.obey(json!({ "tasks": true })).await;
        let expected: BTreeMap<_, _> = self.tasks.iter().map(|task| (&task.own, task.status)).collect();
        assert_eq!(there["tasks"], json!(expected), "seed {seed}");
    }
}
