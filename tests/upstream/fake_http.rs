//! A Streamable HTTP server on loopback that behaves, or lies, as its tools are told; it remembers what it
//! was sent.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// One request that was received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub http_method: Method,
    pub headers: HeaderMap,
    pub body: Value,
}

#[derive(Default)]
struct Talk {
    hello: Value,
    get: Option<mpsc::Sender<String>>,
}

/// The server.
#[derive(Default)]
pub struct Fake {
    pub seen: Mutex<Vec<Seen>>,
    pub eras: &'static str,
    pub streams_open: AtomicUsize,
    /// Lets notifications be answered, where eras say "gated".
    pub gate: tokio::sync::Notify,
    sessions: Mutex<HashMap<String, Talk>>,
    asks: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    listeners: Mutex<Vec<(Value, mpsc::Sender<String>)>>,
    tools: Mutex<Vec<String>>,
    tasks: Mutex<BTreeMap<String, Value>>,
    next: AtomicU64,
}

/// A running server. Dropped, it is gone with all its connections.
pub struct Server {
    pub fake: Arc<Fake>,
    pub url: String,
    pub port: u16,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Ends it, so that its port is free.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

pub async fn serve(eras: &'static str) -> Server {
    serve_at(eras, 0).await
}

pub async fn serve_at(eras: &'static str, port: u16) -> Server {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tools = vec!["echo".to_owned()];
    if eras.contains("tasks") {
        tools.push("work".to_owned());
    }
    let fake = Arc::new(Fake { eras, tools: Mutex::new(tools), ..Fake::default() });
    let app = Router::new().fallback(handle).with_state(fake.clone());
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Server { fake, url: format!("http://127.0.0.1:{port}/mcp"), port, task }
}

impl Fake {
    pub fn of_method(&self, method: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.body["method"] == method).cloned().collect()
    }

    pub fn of_http(&self, method: &Method) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.http_method == *method).cloned().collect()
    }

    pub fn session_count(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    pub fn forget_sessions(&self) {
        self.sessions.lock().unwrap().clear();
    }

    /// Sends a notification on every listen stream, tagged.
    pub async fn say_to_listeners(&self, method: &str, params: Value) {
        let listeners = self.listeners.lock().unwrap().clone();
        for (id, listener) in listeners {
            let mut params = params.clone();
            params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": id});
            let _ =
                listener.send(event(&json!({"jsonrpc": "2.0", "method": method, "params": params}))).await;
        }
    }

    pub fn listener_count(&self) -> usize {
        self.listeners.lock().unwrap().iter().filter(|(_, listener)| !listener.is_closed()).count()
    }

    pub fn get_count(&self) -> usize {
        let open = |talk: &&Talk| talk.get.as_ref().is_some_and(|get| !get.is_closed());
        self.sessions.lock().unwrap().values().filter(open).count()
    }
}

fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

fn answer(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn json_response(status: StatusCode, body: String) -> Response {
    (status, [("content-type", "application/json")], body).into_response()
}

fn error(status: StatusCode, id: &Value, code: i64, message: &str, data: &str) -> Response {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}","data":{data}}}}}"#
    );
    json_response(status, text)
}

struct Open(Arc<Fake>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams_open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn sse(fake: &Arc<Fake>) -> (mpsc::Sender<String>, Response) {
    let (sender, receiver) = mpsc::channel::<String>(1_000);
    fake.streams_open.fetch_add(1, Ordering::SeqCst);
    let open = Open(fake.clone());
    let stream = futures_util::stream::unfold((receiver, open), |(mut receiver, open)| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), (receiver, open)))
    });
    let response = ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response();
    (sender, response)
}

async fn handle(State(fake): State<Arc<Fake>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let seen = Seen { http_method: method.clone(), headers: headers.clone(), body: value.clone() };
    fake.seen.lock().unwrap().push(seen);
    if value["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string() {
        return modern(&fake, &value, &text).await;
    }
    if !fake.eras.contains("legacy") {
        return error(StatusCode::BAD_REQUEST, &value["id"], -32022, "modern only", "{}");
    }
    let key = headers.get("mcp-session-id").map(|key| key.to_str().unwrap().to_owned());
    if value["method"] == "initialize" {
        let key = format!("s{}", fake.next.fetch_add(1, Ordering::SeqCst));
        let talk = Talk { hello: value["params"].clone(), get: None };
        fake.sessions.lock().unwrap().insert(key.clone(), talk);
        let version = &value["params"]["protocolVersion"];
        let result = json!({"protocolVersion": version, "capabilities": capabilities(&fake),
            "serverInfo": {"name": "fake", "version": "1"}});
        let mut response = json_response(StatusCode::OK, answer(&value["id"], &result.to_string()));
        if !fake.eras.contains("anonymous") {
            response.headers_mut().insert("mcp-session-id", key.parse().unwrap());
        }
        return response;
    }
    // Without session ids every client is the first that came.
    let key = key.or(fake.eras.contains("anonymous").then(|| "s0".to_owned()));
    let Some(key) = key else {
        return error(StatusCode::BAD_REQUEST, &value["id"], -32000, "no session", "{}");
    };
    if !fake.sessions.lock().unwrap().contains_key(&key) {
        return error(StatusCode::NOT_FOUND, &value["id"], -32001, "Session not found", "{}");
    }
    match method {
        Method::DELETE => {
            fake.sessions.lock().unwrap().remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::GET => get(&fake, &key, &headers).await,
        _ => legacy(&fake, &key, &value, &text).await,
    }
}

fn capabilities(fake: &Fake) -> Value {
    let mut all = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}});
    if fake.eras.contains("tasks") {
        all["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        all["extensions"] = json!({"io.modelcontextprotocol/tasks": {}});
    }
    all
}

/// Tasks that anybody may list and cancel, whoever made them; `None` if it is about something else.
fn task(fake: &Fake, value: &Value, is_modern: bool) -> Option<Response> {
    let (method, id, params) = (value["method"].as_str()?, &value["id"], &value["params"]);
    if !fake.eras.contains("tasks") || !(method.starts_with("tasks/") || params["name"] == "work") {
        return None;
    }
    let mut tasks = fake.tasks.lock().unwrap();
    let own = params["arguments"]["id"].as_str().or(params["taskId"].as_str()).unwrap_or_default();
    let result = match method {
        "tools/call" => {
            let mut task = json!({"taskId": own, "status": "working"});
            tasks.insert(own.to_owned(), task.clone());
            if is_modern {
                task["resultType"] = "task".into();
                task
            } else {
                json!({ "task": task })
            }
        }
        "tasks/list" => json!({"tasks": tasks.values().collect::<Vec<_>>()}),
        _ => match tasks.get_mut(own) {
            None => return Some(error(StatusCode::OK, id, -32602, "no such task", "{}")),
            Some(task) => {
                if method == "tasks/cancel" {
                    task["status"] = "cancelled".into();
                }
                task.clone()
            }
        },
    };
    Some(json_response(StatusCode::OK, answer(id, &result.to_string())))
}

fn tools(fake: &Fake) -> String {
    let tools: Vec<Value> = fake
        .tools
        .lock()
        .unwrap()
        .iter()
        .map(|name| {
            json!({"name": name, "inputSchema": {"type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}})
        })
        .collect();
    json!({ "tools": tools }).to_string()
}

const ECHO: &str = r#"{"content":[],"big":123456789012345678901234567890,"kept": 1.000}"#;

async fn get(fake: &Arc<Fake>, key: &str, headers: &HeaderMap) -> Response {
    let (sender, response) = sse(fake);
    match headers.get("last-event-id").map(|id| id.to_str().unwrap()) {
        Some(after) if after.starts_with("poll-") => {
            let id: Value = after.trim_start_matches("poll-").parse().unwrap();
            let message = answer(&id, r#"{"content":[{"type":"text","text":"polled"}]}"#);
            sender.send(format!("id: {after}b\ndata: {message}\n\n")).await.unwrap();
        }
        _ => fake.sessions.lock().unwrap().get_mut(key).unwrap().get = Some(sender),
    }
    response
}

async fn legacy(fake: &Arc<Fake>, key: &str, value: &Value, text: &str) -> Response {
    let id = &value["id"];
    let Some(method) = value["method"].as_str() else {
        let asker = fake.asks.lock().unwrap().remove(id.as_str().unwrap_or_default());
        if let Some(asker) = asker {
            let _ = asker.send(value.clone());
        }
        return StatusCode::ACCEPTED.into_response();
    };
    if let Some(response) = task(fake, value, false) {
        return response;
    }
    match method {
        _ if id.is_null() => {
            if fake.eras.contains("gated") && method != "notifications/initialized" {
                fake.gate.notified().await;
            }
            StatusCode::ACCEPTED.into_response()
        }
        "tools/list" => json_response(StatusCode::OK, answer(id, &tools(fake))),
        "resources/list" => json_response(StatusCode::OK, answer(id, r#"{"resources":[]}"#)),
        "tools/call" => legacy_tool(fake, key, value, text).await,
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => {
            json_response(StatusCode::OK, answer(id, "{}"))
        }
        _ => error(StatusCode::OK, id, -32601, "no such method", "{}"),
    }
}

async fn legacy_tool(fake: &Arc<Fake>, key: &str, value: &Value, text: &str) -> Response {
    let (id, arguments) = (value["id"].clone(), value["params"]["arguments"].clone());
    let get = fake.sessions.lock().unwrap()[key].get.clone();
    let hello = fake.sessions.lock().unwrap()[key].hello.clone();
    let done = |word: &str| answer(&id, &json!({"content": [{"type": "text", "text": word}]}).to_string());
    let name = value["params"]["name"].as_str().unwrap();
    match name {
        "echo" => json_response(StatusCode::OK, answer(&id, &format!("\n {ECHO} \r\n"))),
        "seen" => json_response(
            StatusCode::OK,
            answer(&id, &json!({"text": text, "hello": hello, "key": key}).to_string()),
        ),
        "fail" => error(StatusCode::OK, &id, -32055, "I failed", r#"{"why":123456789012345678901234567890}"#),
        "refuse" => (StatusCode::BAD_GATEWAY, "<html>no</html>").into_response(),
        "announce" => {
            let get = get.unwrap();
            get.send(event(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})))
                .await
                .unwrap();
            json_response(StatusCode::OK, done("announced"))
        }
        "grow" => {
            fake.tools.lock().unwrap().push(arguments["name"].as_str().unwrap().into());
            let get = get.unwrap();
            get.send(event(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})))
                .await
                .unwrap();
            json_response(StatusCode::OK, done("grown"))
        }
        "touch" => {
            let message = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
                "params": {"uri": "fake://a"}});
            get.unwrap().send(event(&message)).await.unwrap();
            json_response(StatusCode::OK, done("touched"))
        }
        "ask_on_get" => {
            let got = ask(fake, &get.unwrap()).await;
            json_response(StatusCode::OK, answer(&id, &json!({"answered": got}).to_string()))
        }
        _ => legacy_stream(fake, name, value).await,
    }
}

async fn ask(fake: &Arc<Fake>, to: &mpsc::Sender<String>) -> Value {
    let key = format!("ask-{}", fake.next.fetch_add(1, Ordering::SeqCst));
    let (sender, answered) = oneshot::channel();
    fake.asks.lock().unwrap().insert(key.clone(), sender);
    let question = json!({"jsonrpc": "2.0", "id": key, "method": "elicitation/create",
        "params": {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}});
    to.send(event(&question)).await.unwrap();
    answered.await.unwrap_or_default()
}

async fn legacy_stream(fake: &Arc<Fake>, name: &str, value: &Value) -> Response {
    let (sender, response) = sse(fake);
    let (id, fake, name) = (value["id"].clone(), fake.clone(), name.to_owned());
    let token = value["params"]["_meta"]["progressToken"].clone();
    tokio::spawn(async move {
        let done = |word: &str| {
            let message = answer(&id, &json!({"content": [{"type": "text", "text": word}]}).to_string());
            format!("data: {message}\n\n")
        };
        let notify = |method: &str, params: Value| {
            event(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
        };
        match name.as_str() {
            "progress" => {
                for step in 0..3 {
                    let params = json!({"progressToken": token, "progress": step});
                    sender.send(notify("notifications/progress", params)).await.unwrap();
                }
                sender.send(done("done")).await.unwrap();
            }
            "log" => {
                let params = json!({"level": "info", "data": "hello"});
                sender.send(notify("notifications/message", params)).await.unwrap();
                sender.send(done("logged")).await.unwrap();
            }
            "ask" => {
                let got = ask(&fake, &sender).await;
                let message = answer(&id, &json!({"answered": got}).to_string());
                sender.send(format!("data: {message}\n\n")).await.unwrap();
            }
            "poll" => sender.send(format!("id: poll-{id}\nretry: 30\ndata:\n\n")).await.unwrap(),
            "cut" => sender
                .send(notify("notifications/message", json!({"level": "info", "data": "x"})))
                .await
                .unwrap(),
            "lie" => {
                sender.send(event(&json!({"jsonrpc": "2.0", "id": 4711, "result": {}}))).await.unwrap();
                sender.send("data: no json\n\n".to_owned()).await.unwrap();
                sender.send(done("truth")).await.unwrap();
                sender.send(done("second")).await.unwrap();
            }
            "oversize" => {
                sender.send(format!("data: {}\n\n", "x".repeat(17 * 1024 * 1024))).await.unwrap();
                sender.send(done("after")).await.unwrap();
            }
            "hang" => std::future::pending().await,
            _ => sender.send(done("no such tool")).await.unwrap(),
        }
    });
    response
}

async fn modern(fake: &Arc<Fake>, value: &Value, text: &str) -> Response {
    let id = value["id"].clone();
    if !fake.eras.contains("modern") {
        return error(StatusCode::BAD_REQUEST, &id, -32000, "Missing session ID", "null");
    }
    if let Some(response) = task(fake, value, true) {
        return response;
    }
    let ok = |result: &str| json_response(StatusCode::OK, answer(&id, result));
    match value["method"].as_str().unwrap() {
        "server/discover" => {
            let result = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities(fake)});
            ok(&result.to_string())
        }
        "tools/list" => ok(&tools(fake)),
        "resources/list" => ok(r#"{"resources":[]}"#),
        "subscriptions/listen" => {
            let (sender, response) = sse(fake);
            let honoured = &value["params"]["notifications"];
            let ack = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": honoured,
                    "_meta": {"io.modelcontextprotocol/subscriptionId": id}}});
            sender.send(event(&ack)).await.unwrap();
            fake.listeners.lock().unwrap().push((id, sender));
            response
        }
        "tools/call" => match value["params"]["name"].as_str().unwrap() {
            "echo" => ok(ECHO),
            "seen" => ok(&json!({ "text": text }).to_string()),
            "bad" => error(
                StatusCode::BAD_REQUEST,
                &id,
                -32021,
                "missing",
                r#"{"requiredCapabilities":{"sampling":{}}}"#,
            ),
            "gone" => error(StatusCode::NOT_FOUND, &id, -32601, "gone", "null"),
            "fail" => error(StatusCode::OK, &id, -32055, "I failed", "7"),
            name => legacy_stream(fake, name, value).await,
        },
        _ => error(StatusCode::NOT_FOUND, &id, -32601, "no such method", "{}"),
    }
}
