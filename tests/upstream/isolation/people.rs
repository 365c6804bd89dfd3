//! Three clients of a shared child, and the child's tongue.

use std::sync::Arc;

use erlmcp::mcp::{
    ClientCapabilities, Era, LogLevel, Message, Outbound, Responder, RpcError, ServerRequests, SessionPort,
    parse, raw,
};
use erlmcp::router::Router;
use erlmcp::upstream::UpstreamOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, SOON, fake, script};

/// Result of a client in the end.
pub type Outcome = Result<Value, RpcError>;

/// A shared child that can be told what to say.
pub struct Speaker(BufReader<UnixStream>);

impl Speaker {
    /// Options of the child, and where it will listen to us.
    pub fn prepare(dir: &tempfile::TempDir) -> (UpstreamOptions, UnixListener) {
        let path = dir.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let mut options = fake("speaker", &[]);
        options.upstream.args = vec![script("fake_speaker.py"), path.display().to_string()];
        (options, listener)
    }

    pub async fn accept(listener: &UnixListener) -> Speaker {
        let (control, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
        Speaker(BufReader::new(control))
    }

    pub async fn obey(&mut self, order: Value) -> Value {
        let answered = async {
            self.0.get_mut().write_all(format!("{order}\n").as_bytes()).await.unwrap();
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("the child failed at {order}"))
        };
        tokio::time::timeout(SOON, answered).await.unwrap_or_else(|_| panic!("not obeyed: {order}"))
    }
}

/// One client, with all that it ever got.
pub struct Person {
    pub name: &'static str,
    pub client: Client,
    pub asks: Option<Arc<ServerRequests>>,
    pub heard: Arc<watch::Sender<Vec<Value>>>,
}

impl Person {
    pub fn new(name: &'static str, era: Era) -> Person {
        let mut client = if era == Era::Legacy { Client::legacy() } else { Client::modern() };
        let declared = json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}});
        client.caller.capabilities = Arc::new(ClientCapabilities::read(&raw(&declared)).unwrap());
        client.caller.log_level = Some(LogLevel::Debug);
        if era == Era::Modern {
            // Without a session, credentials tell whose a task is.
            client.caller.principal = name.into();
        }
        let asks = (era == Era::Legacy).then(|| Arc::new(ServerRequests::new(name)));
        Person { name, client, asks, heard: Arc::new(watch::Sender::new(Vec::new())) }
    }

    pub fn is_modern(&self) -> bool {
        self.client.caller.era() == Era::Modern
    }

    /// Waits until it has heard `tag`.
    pub async fn hears(&self, tag: &str) {
        let quoted = format!("\"{tag}\"");
        let mut heard = self.heard.subscribe();
        let is_there = |all: &Vec<Value>| all.iter().any(|message| message.to_string().contains(&quoted));
        let found = tokio::time::timeout(SOON, heard.wait_for(is_there)).await;
        assert!(found.is_ok(), "{} never heard {tag}", self.name);
    }

    /// Starts a request; questions on its way are answered in this client's name.
    pub fn start(
        &self,
        router: &Arc<Router>,
        method: &str,
        params: &Value,
        cancelled: &CancellationToken,
    ) -> JoinHandle<Outcome> {
        let request = self.client.request(method, &params.to_string());
        let (responder, mut out) = Responder::new(self.asks.clone(), cancelled.clone());
        let (caller, router, heard) = (self.client.caller.clone(), router.clone(), self.heard.clone());
        let (asks, me) = (self.asks.clone(), self.name);
        tokio::spawn(async move {
            let serving = async {
                let outcome = router.serve(&request, &caller, &responder).await;
                drop(responder);
                outcome
            };
            let reading = async {
                while let Some(frame) = out.recv().await {
                    let Outbound::Message(bytes) = frame else { continue };
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    if let (Some(id), Some(asks)) = (message.get("id"), &asks) {
                        let result = json!({"action": "accept", "content": {"name": me}});
                        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                        let Ok(Message::Response(answer)) = parse(answer.as_bytes()) else { panic!() };
                        asks.answer(answer);
                    }
                    heard.send_modify(|all| all.push(message));
                }
            };
            let (outcome, ()) = tokio::join!(serving, reading);
            outcome.map(|result| serde_json::from_str(result.get()).unwrap())
        })
    }

    /// Nothing came beside its requests.
    pub fn has_quiet_session(&self) -> bool {
        let session = self.client.session.as_ref();
        session.is_none_or(|session| {
            !session.ended().is_cancelled() && session.pushed.lock().unwrap().is_empty()
        })
    }
}
