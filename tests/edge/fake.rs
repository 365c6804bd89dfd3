//! A provider under the control of a test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use erlmcp::mcp::{
    Caller, Catalog, Era, Event, Item, List, ListKind, Notification, Provider, RawObject, Request, Responder,
    RpcError, Served, ServerCapabilities, encode_notification, raw,
};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{Notify, broadcast, watch};

const OFFERS: &str = r#"{"tools":{"listChanged":true},"prompts":{},
    "resources":{"subscribe":true,"listChanged":true},"logging":{},
    "extensions":{"io.modelcontextprotocol/tasks":{}}}"#;

/// Counts what reaches it, and waits where its tools are told to.
pub struct Fake {
    catalog: watch::Sender<Arc<Catalog>>,
    events: broadcast::Sender<Event>,
    /// Opens `wait` once for each permit.
    pub gate: tokio::sync::Semaphore,
    /// Calls that are running.
    pub running: watch::Sender<usize>,
    /// Calls that ran to their end.
    pub finished: watch::Sender<usize>,
    /// Notifications heard.
    pub heard: Mutex<Vec<String>>,
    pub heard_one: Notify,
    /// Sessions that ended.
    pub ended: Mutex<Vec<String>>,
    served: AtomicUsize,
}

struct Running<'a>(&'a Fake);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count -= 1);
    }
}

pub fn item(kind: ListKind, json: &serde_json::Value) -> Item {
    Item::read(kind, &raw(json)).unwrap()
}

impl Fake {
    pub fn new() -> Arc<Fake> {
        let tools = [
            "echo",
            "wait",
            "progress",
            "log",
            "ask",
            "hang_up",
            "fail",
            "flood",
            "push",
            "params",
            "speak_late",
        ];
        let tools =
            tools.map(|name| item(ListKind::Tools, &json!({ "name": name, "inputSchema": {} }))).to_vec();
        let region = json!({ "name": "region", "inputSchema":
            { "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } } });
        let mut tools = List { version: 1, items: tools };
        tools.items.push(item(ListKind::Tools, &region));
        let again = json!({ "name": "wait_again", "inputSchema": {},
            "annotations": { "idempotentHint": true } });
        tools.items.push(item(ListKind::Tools, &again));
        let offers = ServerCapabilities(RawObject::parse(OFFERS).unwrap());
        let catalog = Catalog { offers, tools, instructions: Some("Be kind.".into()), ..Catalog::default() };
        Arc::new(Fake {
            catalog: watch::Sender::new(Arc::new(catalog)),
            events: broadcast::Sender::new(64),
            gate: tokio::sync::Semaphore::new(0),
            running: watch::Sender::new(0),
            finished: watch::Sender::new(0),
            heard: Mutex::default(),
            heard_one: Notify::new(),
            ended: Mutex::default(),
            served: AtomicUsize::new(0),
        })
    }

    /// Changes the list of tools.
    pub fn change_tools(&self) {
        self.catalog.send_modify(|catalog| Arc::make_mut(catalog).tools.version += 1);
    }

    /// Offers these tools in place of its own.
    pub fn offer_tools(&self, tools: impl Iterator<Item = serde_json::Value>) {
        let items = tools.map(|tool| item(ListKind::Tools, &tool)).collect();
        self.catalog.send_modify(|catalog| Arc::make_mut(catalog).tools = List { version: 99, items });
    }

    pub fn change_resources(&self) {
        self.catalog.send_modify(|catalog| Arc::make_mut(catalog).resources.version += 1);
    }

    pub fn emit(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Waits until so many calls are running.
    pub async fn until_running(&self, count: usize) {
        let mut running = self.running.subscribe();
        in_time("running calls", running.wait_for(|running| *running == count)).await.unwrap();
    }

    /// Waits until so many calls have finished.
    pub async fn until_finished(&self, count: usize) {
        let mut finished = self.finished.subscribe();
        in_time("finished calls", finished.wait_for(|finished| *finished == count)).await.unwrap();
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    async fn call(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
    ) -> Result<Box<RawValue>, RpcError> {
        let name = request.params.text("name").unwrap();
        let arguments =
            request.params.read::<serde_json::Value>("arguments").ok().flatten().unwrap_or_default();
        let count = arguments["count"].as_u64().unwrap_or(1);
        let text = match name.as_str() {
            "echo" => return Ok(raw(&json!({ "content": [], "echo": arguments }))),
            "params" => format!("{:?}", request.param_headers),
            "wait" | "wait_again" => self.wait(responder).await,
            "progress" => {
                for n in 0..count {
                    let params = json!({ "progressToken": "t", "progress": n });
                    let _ = responder.notify("notifications/progress", &raw(&params)).await;
                }
                "progressed".to_owned()
            }
            "flood" => {
                let data = "x".repeat(1024);
                for _ in 0..count {
                    let params = json!({ "level": "info", "data": data });
                    let _ = responder.notify("notifications/message", &raw(&params)).await;
                }
                self.wait(responder).await
            }
            "log" => {
                for level in ["debug", "warning"] {
                    let _ = responder
                        .notify("notifications/message", &raw(&json!({ "level": level, "data": 1 })))
                        .await;
                }
                "logged".to_owned()
            }
            "ask" => {
                match responder.ask("elicitation/create", Some(&raw(&json!({ "message": "?" })))).await {
                    Ok(answer) => answer.get().to_owned(),
                    Err(error) => error.to_string(),
                }
            }
            "speak_late" => {
                let waited = self.wait(responder).await;
                let params = json!({ "level": "error", "data": "late" });
                let notified = responder.notify("notifications/message", &raw(&params)).await;
                let asked = responder.ask("elicitation/create", Some(&raw(&json!({ "message": "?" })))).await;
                assert!(asked.is_err(), "nobody can answer");
                // An upstream's call ends here if its responder does.
                if notified.is_err() { std::future::pending().await } else { waited }
            }
            "hang_up" => {
                let _ = responder.hang_up(10).await;
                self.wait(responder).await
            }
            "push" => {
                let session = caller.session.as_ref().unwrap();
                for n in 0..count {
                    let params = raw(&json!({ "n": n }));
                    session.push(encode_notification("notifications/x", Some(&params)));
                }
                "pushed".to_owned()
            }
            "fail" => return Err(RpcError::internal("it failed").with_status(404)),
            _ => return Err(RpcError::invalid_params("no such tool")),
        };
        Ok(raw(&json!({ "content": [{ "type": "text", "text": text }] })))
    }

    async fn wait(&self, responder: &Responder) -> String {
        tokio::select! {
            permit = self.gate.acquire() => { permit.unwrap().forget(); "waited".to_owned() }
            () = responder.cancelled().cancelled() => std::future::pending().await,
        }
    }
}

impl Provider for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn catalog(&self, _: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        Some(self.catalog.subscribe())
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a> {
        Box::pin(async move {
            self.served.fetch_add(1, Ordering::SeqCst);
            self.running.send_modify(|count| *count += 1);
            let _running = Running(self);
            let result = match &*request.method {
                "tools/call" => self.call(request, caller, responder).await,
                "resources/subscribe" if request.params.text("uri").as_deref() == Some("test://refused") => {
                    Err(RpcError::invalid_params("not this one"))
                }
                "resources/subscribe" if request.params.text("uri").as_deref() == Some("test://slow") => {
                    self.wait(responder).await;
                    Ok(raw(&json!({})))
                }
                "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => Ok(raw(&json!({}))),
                "resources/read" => {
                    let uri = request.params.text("uri").unwrap();
                    if uri != "test://one" {
                        return Err(RpcError::resource_not_found(caller.era(), &uri));
                    }
                    Ok(RawValue::from_string("{\"contents\":[\n\n]}".to_owned()).unwrap())
                }
                method => Err(RpcError::method_not_found(caller.era(), method)),
            };
            self.finished.send_modify(|count| *count += 1);
            result
        })
    }

    fn notify(&self, notification: &Notification, _: &Caller) {
        self.heard.lock().unwrap().push(notification.method.to_string());
        self.heard_one.notify_one();
    }

    fn session_ended(&self, session_key: &str) {
        self.ended.lock().unwrap().push(session_key.to_owned());
    }
}

/// A request of a legacy client.
pub fn request(id: u64, method: &str, params: &serde_json::Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// A call of a tool by a legacy client.
pub fn call(id: u64, tool: &str, arguments: &serde_json::Value) -> String {
    request(id, "tools/call", &json!({ "name": tool, "arguments": arguments }))
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Longest time that a test waits for anything.
pub const TIMEOUTS: std::time::Duration = std::time::Duration::from_secs(30);

/// Output of `work`, or the end of the test.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUTS, work).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Waits until `claim` holds.
pub async fn until(what: &str, claim: impl Fn() -> bool) {
    let holds = async {
        while !claim() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    in_time(what, holds).await;
}
