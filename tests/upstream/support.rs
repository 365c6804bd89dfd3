//! A client as the node's edge would be one: requests in, frames out, answers to questions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use erlmcp::config::{Gateway, Upstream};
use erlmcp::mcp::{
    Caller, Catalog, ClientCapabilities, Era, LEGACY_LATEST, LogLevel, MODERN_LATEST, Message, Notification,
    Outbound, Provider, RawObject, Request, Responder, RpcError, ServerRequests, SessionPort, parse, raw,
};
use erlmcp::upstream::{UpstreamDeps, UpstreamOptions, Upstreams};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in these tests.
pub const SOON: Duration = Duration::from_secs(30);

pub fn script(name: &str) -> String {
    format!("{}/tests/upstream/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Options of the fake server, with short times.
pub fn fake(name: &str, args: &[&str]) -> UpstreamOptions {
    let args = args.iter().map(ToString::to_string);
    let args = std::iter::once(script("fake_stdio.py")).chain(args).collect();
    let upstream = Upstream { command: Some("python3".to_owned()), args, ..Upstream::new(name) };
    quick(UpstreamOptions::new(upstream, Gateway::default()))
}

/// Options of the server at `url`, with the times of the product.
pub fn at_url(name: &str, url: &str) -> UpstreamOptions {
    let upstream = Upstream { url: Some(url.to_owned()), ..Upstream::new(name) };
    UpstreamOptions::new(upstream, Gateway::default())
}

pub fn quick(mut options: UpstreamOptions) -> UpstreamOptions {
    options.upstream.restart_min_ms = 50;
    options.upstream.restart_max_ms = 500;
    options.stop_step_ms = 1_000;
    options
}

pub fn now_unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

pub fn start(options: Vec<UpstreamOptions>) -> (Upstreams, Vec<Arc<dyn Provider>>) {
    let around = UpstreamDeps { launcher: None, now_unix_ms };
    let upstreams = Upstreams::start(options, &around).unwrap();
    let providers = upstreams.providers();
    (upstreams, providers)
}

pub fn start_one(options: UpstreamOptions) -> (Upstreams, Arc<dyn Provider>) {
    let (upstreams, mut providers) = start(vec![options]);
    (upstreams, providers.remove(0))
}

/// Waits until the catalog of `era` fulfils `claim`.
pub async fn catalog_where(
    provider: &Arc<dyn Provider>,
    era: Era,
    claim: impl Fn(&Catalog) -> bool,
) -> Arc<Catalog> {
    let mut watch = provider.catalog(era).expect("the era is not spoken");
    let found = tokio::time::timeout(SOON, watch.wait_for(|catalog| claim(catalog))).await;
    found.expect("the catalog never became so").unwrap().clone()
}

/// Waits until `claim` holds; for what has no event to await.
pub async fn eventually(what: &str, claim: impl Fn() -> bool) {
    let holds = async {
        while !claim() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, holds).await.is_ok(), "never: {what}");
}

pub fn names(catalog: &Catalog) -> Vec<String> {
    catalog.tools.items.iter().map(|item| item.key.to_string()).collect()
}

/// A session that keeps what is pushed.
pub struct Session {
    key: String,
    pub pushed: Mutex<Vec<Value>>,
    pub ended: CancellationToken,
    pub level: Mutex<Option<LogLevel>>,
}

impl SessionPort for Session {
    fn key(&self) -> &str {
        &self.key
    }
    fn push(&self, message: Bytes) {
        self.pushed.lock().unwrap().push(serde_json::from_slice(&message).unwrap());
    }
    fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
    fn log_level(&self) -> Option<LogLevel> {
        *self.level.lock().unwrap()
    }
}

type Answerer = dyn Fn(&Value) -> Option<Value> + Send + Sync;

/// One client.
#[derive(Clone)]
pub struct Client {
    pub caller: Caller,
    pub session: Option<Arc<Session>>,
    asks: Option<Arc<ServerRequests>>,
    answerer: Arc<Answerer>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Client {
    pub fn legacy() -> Client {
        Client::legacy_with(r#"{"elicitation":{},"sampling":{},"roots":{}}"#)
    }

    pub fn legacy_with(capabilities: &str) -> Client {
        let key = format!("session-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let session = Arc::new(Session {
            key,
            pushed: Mutex::default(),
            ended: CancellationToken::new(),
            level: Mutex::default(),
        });
        let capabilities = RawValue::from_string(capabilities.to_owned()).unwrap();
        let caller = Caller {
            version: LEGACY_LATEST,
            principal: "anonymous".into(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            capabilities: Arc::new(ClientCapabilities::read(&capabilities).unwrap()),
            client_info: Some(Arc::from(raw(&serde_json::json!({"name": "tester", "version": "9"})))),
            log_level: None,
            session: Some(session.clone()),
        };
        let asks = Some(Arc::new(ServerRequests::new("q")));
        Client { caller, session: Some(session), asks, answerer: Arc::new(|_| None) }
    }

    /// A legacy client at `address`.
    pub fn from_address(address: &str) -> Client {
        let mut client = Client::legacy();
        client.caller.address = address.parse().unwrap();
        client
    }

    pub fn modern() -> Client {
        let mut client = Client::legacy();
        client.caller.version = MODERN_LATEST;
        client.caller.session = None;
        client.session = None;
        client.asks = None;
        client
    }

    /// Answers questions with what `answerer` returns: a response without its id; `None`: not at all.
    pub fn answering(mut self, answerer: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Client {
        self.answerer = Arc::new(answerer);
        self
    }

    pub fn session(&self) -> &Arc<Session> {
        self.session.as_ref().unwrap()
    }

    /// A request as the edge would have read it.
    pub fn request(&self, method: &str, params: &str) -> Request {
        let mut params = RawObject::parse(params).unwrap();
        if self.caller.era() == Era::Modern {
            let mut meta = match params.get("_meta") {
                Some(meta) => RawObject::parse(meta.get()).unwrap(),
                None => RawObject::new(),
            };
            meta.set("io.modelcontextprotocol/protocolVersion", raw("2026-07-28"));
            meta.set("io.modelcontextprotocol/clientCapabilities", self.caller.capabilities.to_raw());
            if let Some(level) = self.caller.log_level {
                meta.set("io.modelcontextprotocol/logLevel", raw(&level));
            }
            params.set("_meta", meta.to_raw());
        }
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":"mine","method":"{method}","params":{}}}"#, params.to_raw());
        match parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    /// Serves one request to its end.
    pub async fn send(&self, provider: &Arc<dyn Provider>, method: &str, params: &str) -> Answer {
        self.send_until(provider, method, params, CancellationToken::new()).await
    }

    pub async fn send_until(
        &self,
        provider: &Arc<dyn Provider>,
        method: &str,
        params: &str,
        cancelled: CancellationToken,
    ) -> Answer {
        self.send_request(provider, self.request(method, params), cancelled).await
    }

    pub async fn send_request(
        &self,
        provider: &Arc<dyn Provider>,
        request: Request,
        cancelled: CancellationToken,
    ) -> Answer {
        let (responder, mut out) = Responder::new(self.asks.clone(), cancelled);
        let mut frames = Vec::new();
        let serving = async {
            let outcome = provider.serve(&request, &self.caller, &responder).await;
            drop(responder);
            outcome
        };
        let reading = async {
            while let Some(frame) = out.recv().await {
                match frame {
                    Outbound::Message(bytes) => {
                        let value: Value = serde_json::from_slice(&bytes).unwrap();
                        self.maybe_answer(&value);
                        frames.push(value);
                    }
                    Outbound::CloseStream { retry_ms } => {
                        frames.push(serde_json::json!({ "hangup": retry_ms }))
                    }
                }
            }
        };
        let both = async { tokio::join!(serving, reading).0 };
        let outcome = tokio::time::timeout(SOON, both).await.expect("no answer in time");
        Answer { outcome, frames }
    }

    fn maybe_answer(&self, question: &Value) {
        let Some(id) = question.get("id") else { return };
        let Some(mut response) = (self.answerer)(question) else { return };
        response["jsonrpc"] = "2.0".into();
        response["id"] = id.clone();
        let Ok(Message::Response(response)) = parse(response.to_string().as_bytes()) else {
            panic!("{response}")
        };
        assert!(self.asks.as_ref().unwrap().answer(response));
    }

    pub async fn call(&self, provider: &Arc<dyn Provider>, tool: &str, arguments: &str) -> Answer {
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        self.send(provider, "tools/call", &params).await
    }

    pub async fn call_with_token(&self, provider: &Arc<dyn Provider>, tool: &str, token: &str) -> Answer {
        let params = format!(r#"{{"name":"{tool}","arguments":{{}},"_meta":{{"progressToken":{token}}}}}"#);
        self.send(provider, "tools/call", &params).await
    }

    pub fn notify_with(&self, provider: &Arc<dyn Provider>, method: &str, params: &str) {
        let params = serde_json::from_str(params).unwrap();
        provider.notify(&Notification { method: method.into(), params }, &self.caller);
    }

    pub fn notify(&self, provider: &Arc<dyn Provider>, method: &str) {
        let notification = Notification { method: method.into(), params: RawObject::new() };
        provider.notify(&notification, &self.caller);
    }
}

/// Messages that a client got.
#[derive(Debug)]
pub struct Answer {
    pub outcome: Result<Box<RawValue>, RpcError>,
    pub frames: Vec<Value>,
}

impl Answer {
    pub fn result(&self) -> Value {
        match &self.outcome {
            Ok(result) => serde_json::from_str(result.get()).unwrap(),
            Err(fault) => panic!("a fault: {fault}"),
        }
    }

    pub fn text(&self) -> String {
        self.result()["content"][0]["text"].as_str().unwrap().to_owned()
    }

    pub fn fault(&self) -> &RpcError {
        match &self.outcome {
            Ok(result) => panic!("a result: {result}"),
            Err(fault) => fault,
        }
    }

    pub fn methods(&self) -> Vec<&str> {
        self.frames.iter().filter_map(|frame| frame["method"].as_str()).collect()
    }
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

pub fn kill_9(pid: u64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
