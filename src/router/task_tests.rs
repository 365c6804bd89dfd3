//! Tasks of upstreams, seen by their owner and by everybody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{Naming, Router, TaskKey};
use crate::mcp::{
    ANONYMOUS, Caller, Catalog, ClientCapabilities, Era, Event, Item, LEGACY_LATEST, List, ListKind,
    LogLevel, MODERN_LATEST, Message, Notification, Provider, RawObject, Request, Responder, RpcError,
    Served, ServerCapabilities, SessionPort, TaskName, parse, raw,
};

const OFFERS: &str = r#"{"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Makes a task of the name that its tool is told, and tells anybody all of them, two on a page.
struct Worker {
    name: &'static str,
    tool: &'static str,
    events: broadcast::Sender<Event>,
    tasks: Mutex<BTreeMap<String, &'static str>>,
}

impl Worker {
    fn serve_now(&self, request: &Request, era: Era) -> Result<Value, RpcError> {
        let mut tasks = self.tasks.lock().unwrap();
        if &*request.method == "tools/call" {
            let id = request.params.read::<RawObject>("arguments").unwrap().unwrap().text("id").unwrap();
            tasks.insert(id.clone(), "working");
            return Ok(match era {
                Era::Legacy => json!({"task": {"taskId": id, "kept": 1}}),
                Era::Modern => json!({"resultType": "task", "taskId": id}),
            });
        }
        if &*request.method == "tasks/list" {
            let all: Vec<Value> = tasks.iter().map(|(id, s)| json!({"taskId": id, "status": s})).collect();
            let start = request.params.text("cursor").map_or(0, |cursor| cursor.parse().unwrap());
            let mut page = json!({"tasks": all[start..].iter().take(2).collect::<Vec<_>>(), "x": self.name});
            if start + 2 < all.len() {
                page["nextCursor"] = (start + 2).to_string().into();
            }
            return Ok(page);
        }
        if &*request.method == "tasks/none" {
            return Err(RpcError::method_not_found(era, "tasks/none"));
        }
        let id = request.params.text("taskId").unwrap();
        let status = tasks.get_mut(&id).ok_or_else(|| RpcError::invalid_params("not here"))?;
        match &*request.method {
            "tasks/cancel" => *status = "cancelled",
            "tasks/result" => return Ok(json!({"content": [], "_meta": {RELATED: {"taskId": id}}})),
            _ => {}
        }
        Ok(json!({"taskId": id, "status": status, "from": self.name}))
    }
}

impl Provider for Worker {
    fn name(&self) -> &str {
        self.name
    }
    fn catalog(&self, _: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        let tool = Item::read(ListKind::Tools, &raw(&json!({"name": self.tool}))).unwrap();
        let offers = ServerCapabilities(RawObject::parse(OFFERS).unwrap());
        let catalog = Catalog { offers, tools: List { version: 1, items: vec![tool] }, ..Catalog::default() };
        Some(watch::channel(Arc::new(catalog)).1)
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, _: &'a Responder) -> Served<'a> {
        Box::pin(async move { self.serve_now(request, caller.era()).map(|result| raw(&result)) })
    }
    fn notify(&self, _: &Notification, _: &Caller) {}
    fn session_ended(&self, _: &str) {}
}

fn worker(name: &'static str, tool: &'static str) -> Arc<Worker> {
    Arc::new(Worker { name, tool, events: broadcast::channel(8).0, tasks: Mutex::default() })
}

/// A node in front of `workers`, the first `natives` of them its own.
fn node(workers: &[Arc<Worker>], natives: usize) -> (Arc<Router>, tokio_util::sync::DropGuard) {
    let stop = CancellationToken::new();
    let all = workers.iter().map(|worker| worker.clone() as Arc<dyn Provider>).collect();
    (Router::start(all, natives, Naming::Never, TaskKey::derive(b"cluster"), &stop), stop.drop_guard())
}

struct Session(&'static str);

impl SessionPort for Session {
    fn key(&self) -> &str {
        self.0
    }
    fn push(&self, _: Bytes) {}
    fn ended(&self) -> CancellationToken {
        CancellationToken::new()
    }
    fn log_level(&self) -> Option<LogLevel> {
        None
    }
}

fn modern(principal: &str) -> Caller {
    let declared = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    Caller {
        version: MODERN_LATEST,
        principal: principal.into(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        capabilities: Arc::new(ClientCapabilities::read(&raw(&declared)).unwrap()),
        client_info: None,
        log_level: None,
        session: None,
    }
}

fn session(key: &'static str) -> Caller {
    Caller { version: LEGACY_LATEST, session: Some(Arc::new(Session(key))), ..modern(ANONYMOUS) }
}

async fn ask(router: &Router, caller: &Caller, method: &str, params: Value) -> Result<Value, RpcError> {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let Ok(Message::Request(request)) = parse(text.as_bytes()) else { panic!("no request: {text}") };
    let (responder, _frames) = Responder::new(None, CancellationToken::new());
    let answer = router.serve(&request, caller, &responder).await;
    answer.map(|result| serde_json::from_str(result.get()).unwrap())
}

async fn code(router: &Router, caller: &Caller, method: &str, id: &str) -> i64 {
    ask(router, caller, method, json!({ "taskId": id })).await.unwrap_err().code
}

async fn create(router: &Router, caller: &Caller, tool: &str, id: &str) -> String {
    let params = json!({"name": tool, "arguments": {"id": id}});
    let result = ask(router, caller, "tools/call", params).await.unwrap();
    let task = if caller.era() == Era::Legacy { &result["task"] } else { &result };
    task["taskId"].as_str().unwrap().to_owned()
}

/// All pages of a list: ids, and how many pages it took.
async fn listed(router: &Router, caller: &Caller) -> (Vec<String>, usize) {
    let (mut ids, mut params, mut pages) = (Vec::new(), json!({}), 0);
    loop {
        let page = ask(router, caller, "tasks/list", params).await.unwrap();
        let tasks = page["tasks"].as_array().unwrap();
        ids.extend(tasks.iter().map(|task| task["taskId"].as_str().unwrap().to_owned()));
        pages += 1;
        match page.get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return (ids, pages),
        }
    }
}

#[tokio::test]
async fn nobody_but_its_owner_gets_reads_or_cancels_a_task() {
    let up = worker("up", "work");
    let ((one, _a), (two, _b)) = (node(std::slice::from_ref(&up), 0), node(std::slice::from_ref(&up), 0));
    let owners = [
        (session("a"), session("b")),
        (modern("alice"), modern("bob")),
        (modern("alice"), modern(ANONYMOUS)),
        (modern(ANONYMOUS), session("b")),
    ];
    for (n, (owner, other)) in owners.iter().enumerate() {
        let id = create(&one, owner, "work", &format!("task-{n}")).await;
        assert!(!id.contains("task-"), "{id}");
        let mut texts = Vec::new();
        for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
            for router in [&one, &two] {
                let fault = ask(router, other, method, json!({"taskId": id})).await.unwrap_err();
                assert_eq!(fault.code, -32602, "{method} of case {n}");
                texts.push(fault.message);
            }
        }
        let other_digit = if id.as_bytes()[20] == b'A' { 'B' } else { 'A' };
        let forged = format!("{}{other_digit}{}", &id[..20], &id[21..]);
        let fault = ask(&one, owner, "tasks/get", json!({"taskId": forged})).await.unwrap_err();
        texts.push(fault.message.replace(&forged, &id));
        assert!(texts.iter().all(|text| *text == format!("unknown task {id:?}")), "{texts:?}");
        assert_eq!(up.tasks.lock().unwrap()[&format!("task-{n}")], "working");
        for router in [&two, &one] {
            let task = ask(router, owner, "tasks/get", json!({"taskId": id})).await.unwrap();
            assert_eq!((&task["taskId"], &task["status"]), (&json!(id), &json!("working")));
        }
        let result = ask(&two, owner, "tasks/result", json!({"taskId": id})).await.unwrap();
        assert_eq!(result["_meta"][RELATED]["taskId"], id);
        ask(&two, owner, "tasks/cancel", json!({"taskId": id})).await.unwrap();
        assert_eq!(up.tasks.lock().unwrap()[&format!("task-{n}")], "cancelled");
    }
}

#[tokio::test]
async fn an_upstreams_own_id_reaches_no_upstream_and_one_that_looks_sealed_is_sealed_again() {
    let up = worker("up", "work");
    let (router, _stop) = node(std::slice::from_ref(&up), 0);
    let a = session("a");
    create(&router, &a, "work", "raw").await;
    assert_eq!(code(&router, &a, "tasks/get", "raw").await, -32602);
    assert_eq!(code(&router, &modern(ANONYMOUS), "tasks/cancel", "raw").await, -32602);
    let foreign = create(&router, &session("b"), "work", "secret").await;
    let again = create(&router, &a, "work", &foreign).await;
    assert_ne!(again, foreign);
    assert_eq!(code(&router, &a, "tasks/get", &foreign).await, -32602);
    let task = ask(&router, &a, "tasks/get", json!({"taskId": again})).await.unwrap();
    assert_eq!(task["taskId"], again);
}

#[tokio::test]
async fn a_list_shows_what_its_owner_created_over_all_providers_and_pages() {
    let workers = [worker("own", "own_work"), worker("a", "work_a"), worker("b", "work_b")];
    let (router, _stop) = node(&workers, 1);
    let (one, two, bob) = (session("1"), session("2"), modern("bob"));
    create(&router, &one, "own_work", "native").await;
    let mut mine = vec!["native".to_owned()];
    for n in 0..50 {
        for tool in ["work_a", "work_b"] {
            let id = create(&router, if n % 25 == 7 { &one } else { &two }, tool, &format!("t{n:02}")).await;
            if n % 25 == 7 {
                mine.push(id);
            }
        }
    }
    let bobs = create(&router, &bob, "work_b", "bobs").await;
    let (mut ids, pages) = listed(&router, &one).await;
    assert!(pages > 1, "52 pages of providers fit into no single one of ours");
    ids.sort();
    mine.sort();
    assert_eq!(ids, mine);
    assert_eq!(listed(&router, &bob).await.0, ["native", &bobs]);
    let page = ask(&router, &one, "tasks/list", json!({})).await.unwrap();
    assert_eq!(page["x"], "own", "unknown members stay");
    let stolen = json!({ "cursor": page["nextCursor"] });
    assert_eq!(ask(&router, &two, "tasks/list", stolen).await.unwrap_err().code, -32602);
    router.session_ended("1");
    assert_eq!(listed(&router, &one).await.0, ["native"]);
}

#[tokio::test]
async fn who_cannot_be_told_from_others_has_no_list() {
    let (router, _stop) = node(&[worker("up", "work")], 0);
    let fault = ask(&router, &modern(ANONYMOUS), "tasks/list", json!({})).await.unwrap_err();
    assert_eq!(fault.code, -32601, "2026-07-28 has no such method");
    assert!(fault.message.contains("session or credentials"), "{fault}");
    let legacy = Caller { session: None, ..session("a") };
    assert_eq!(ask(&router, &legacy, "tasks/list", json!({})).await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn an_id_that_is_not_sealed_goes_to_the_nodes_own_providers_only() {
    let (own, up) = (worker("own", "own_work"), worker("up", "work"));
    let (router, _stop) = node(&[own, up], 1);
    let a = session("a");
    let native = create(&router, &a, "own_work", "same").await;
    let sealed = create(&router, &a, "work", "same").await;
    assert_eq!(native, "same");
    for (id, from) in [(native, "own"), (sealed, "up")] {
        assert_eq!(ask(&router, &a, "tasks/get", json!({"taskId": id})).await.unwrap()["from"], from);
    }
    assert_eq!(code(&router, &a, "tasks/get", "none").await, -32602);
    assert_eq!(code(&router, &a, "tasks/none", "none").await, -32601);
    let plain = Caller { capabilities: Arc::default(), ..modern("alice") };
    assert_eq!(code(&router, &plain, "tasks/get", "none").await, -32021);
}

#[tokio::test]
async fn a_listener_is_told_of_its_own_tasks_under_the_ids_that_it_knows() {
    let (own, up) = (worker("own", "own_work"), worker("up", "work"));
    let (router, _stop) = node(&[own, up.clone()], 1);
    let (alice, bob) = (modern("alice"), modern("bob"));
    let id = create(&router, &alice, "work", "t").await;
    assert_eq!(router.task(&bob, &id), None);
    let task = router.task(&alice, &id).unwrap();
    assert_ne!(router.task(&alice, "t").unwrap(), task, "the node's own task of that name is another");
    let mut events = router.events();
    let params =
        Arc::from(raw(&json!({"taskId": "t", "kept": 1.5, "result": {"_meta": {RELATED: {"taskId": "t"}}}})));
    let own = TaskName { upstream: None, own: "t".into() };
    up.events.send(Event::TaskChanged { task: own, method: "notifications/tasks".into(), params }).unwrap();
    let Event::TaskChanged { task: heard, params, .. } = events.recv().await.unwrap() else {
        panic!("another")
    };
    assert_eq!(heard, task);
    let told = router.task_params(&alice, &task, &params).to_raw();
    let told: Value = serde_json::from_str(told.get()).unwrap();
    assert_eq!(told, json!({"taskId": id, "kept": 1.5, "result": {"_meta": {RELATED: {"taskId": id}}}}));
}

#[tokio::test]
async fn without_own_tasks_a_listener_can_name_none_that_is_not_sealed() {
    let (router, _stop) = node(&[worker("up", "work")], 0);
    assert_eq!(router.task(&modern("alice"), "t"), None);
}
