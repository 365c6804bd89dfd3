//! A client of either era, played by hand.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use tokio_util::sync::CancellationToken;

use crate::handler::Server;
use crate::mcp::{
    Caller, ClientCapabilities, Era, LEGACY_LATEST, LogLevel, MODERN_LATEST, Message, Outbound, Outbox,
    Provider, RawObject, Request, Responder, RpcError, ServerRequests, parse,
};

pub(super) struct Client {
    pub(super) server: Arc<Server>,
    pub(super) caller: Caller,
    pub(super) asks: Option<Arc<ServerRequests>>,
}

/// One request on its way: what precedes its result comes out of `frames`.
pub(super) struct Wire {
    pub(super) frames: Outbox,
    pub(super) cancel: CancellationToken,
}

impl Client {
    pub(super) fn of(server: Server, era: Era, capabilities: &Value) -> Client {
        Client::at(&Arc::new(server), era, capabilities)
    }

    pub(super) fn at(server: &Arc<Server>, era: Era, capabilities: &Value) -> Client {
        let raw = RawValue::from_string(capabilities.to_string()).unwrap();
        let caller = Caller {
            version: if era == Era::Legacy { LEGACY_LATEST } else { MODERN_LATEST },
            principal: "alice".into(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            capabilities: Arc::new(ClientCapabilities::read(&raw).unwrap()),
            client_info: None,
            log_level: Some(LogLevel::Info),
            session: None,
        };
        let asks = (era == Era::Legacy).then(|| Arc::new(ServerRequests::new("n1-")));
        Client { server: server.clone(), caller, asks }
    }

    pub(super) fn request(method: &str, params: &Value) -> Request {
        let text = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let Ok(Message::Request(request)) = parse(text.as_bytes()) else { panic!("no request: {text}") };
        request
    }

    pub(super) fn responder(&self) -> (Responder, Wire) {
        let cancel = CancellationToken::new();
        let (responder, frames) = Responder::new(self.asks.clone(), cancel.clone());
        (responder, Wire { frames, cancel })
    }

    /// A request whose messages before the result nobody reads.
    pub(super) async fn ask(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let (responder, _wire) = self.responder();
        self.ask_on(&responder, method, params).await
    }

    pub(super) async fn ask_on(
        &self,
        responder: &Responder,
        method: &str,
        params: Value,
    ) -> Result<Value, RpcError> {
        let request = Client::request(method, &params);
        let result = self.server.serve(&request, &self.caller, responder).await?;
        Ok(serde_json::from_str(result.get()).unwrap())
    }

    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, RpcError> {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }
}

impl Wire {
    /// The next message before the result.
    pub(super) async fn message(&mut self) -> RawObject {
        let Some(Outbound::Message(bytes)) = self.frames.recv().await else { panic!("no message") };
        RawObject::parse(std::str::from_utf8(&bytes).unwrap()).unwrap()
    }

    /// Messages that came before the result.
    pub(super) fn messages(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(Outbound::Message(bytes)) = self.frames.try_recv() {
            all.push(serde_json::from_slice(&bytes).unwrap());
        }
        all
    }
}
