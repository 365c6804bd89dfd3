//! Forwarding of one client's request: what an upstream sends before the result (progress, log lines,
//! questions) goes to the client's responder.
//!
//! Notifications pass unchanged. Requests of the upstream are put to the client, several at a time, and their
//! answers go back under the upstream's own ids; a client that cannot be asked makes an error that says so,
//! never silence.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::mcp::{
    Caller, Disconnected, Era, Id, LogLevel, Method, RawObject, Request, Responder, RpcError,
    ServerRequestError, code, encode_error, encode_result,
};

/// Questions of one request to its client that may be open at once.
const ASKS_MAX: usize = 16;

type Task<'a> = Pin<Box<dyn Future<Output = Id> + Send + 'a>>;

/// What an upstream sends for a running request before its result.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A notification; the progress token in it is the client's.
    Notification {
        /// Its method.
        method: Method,
        /// Its params.
        params: RawObject,
    },
    /// A question to the client.
    Request(Request),
    /// The upstream does not want the answer to its question any more.
    RequestCancelled(Id),
}

impl Inbound {
    /// Bytes of its params.
    pub(super) fn weight(&self) -> usize {
        let params = match self {
            Inbound::Notification { params, .. } => params,
            Inbound::Request(request) => &request.params,
            Inbound::RequestCancelled(_) => return 0,
        };
        params.iter().map(|(key, value)| key.len() + value.get().len()).sum()
    }
}

/// Takes our answers back to the upstream.
pub(super) trait ReplyTo: Send + Sync {
    /// Sends one encoded response, in bounded time; what cannot be sent is lost.
    fn reply<'a>(&'a self, message: Bytes) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// The way of one request.
pub(super) struct Forwarder<'a> {
    caller: &'a Caller,
    responder: &'a Responder,
    to: &'a dyn ReplyTo,
    tasks: FuturesUnordered<Task<'a>>,
    open: HashMap<Id, CancellationToken>,
}

impl<'a> Forwarder<'a> {
    pub(super) fn new(caller: &'a Caller, responder: &'a Responder, to: &'a dyn ReplyTo) -> Forwarder<'a> {
        Forwarder { caller, responder, to, tasks: FuturesUnordered::new(), open: HashMap::new() }
    }

    /// Whether the client is being asked something.
    pub(super) fn is_asking(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Drives the open questions; pends while there is none.
    pub(super) async fn drive(&mut self) {
        match self.tasks.next().await {
            Some(id) => {
                self.open.remove(&id);
            }
            None => std::future::pending().await,
        }
    }

    /// Passes one message on. Waits while the client's link is full.
    ///
    /// # Errors
    /// [`Disconnected`] when nobody will read it.
    pub(super) async fn take(&mut self, inbound: Inbound) -> Result<(), Disconnected> {
        match inbound {
            Inbound::Notification { method, params } => {
                if method == Method::LogMessage && !wants(self.caller, &params) {
                    return Ok(());
                }
                self.responder.notify(&method, &params.to_raw()).await
            }
            Inbound::Request(request) => {
                self.ask(request);
                Ok(())
            }
            Inbound::RequestCancelled(id) => {
                if let Some(cancelled) = self.open.get(&id) {
                    cancelled.cancel();
                }
                Ok(())
            }
        }
    }

    fn ask(&mut self, request: Request) {
        let (id, responder, to) = (request.id.clone(), self.responder, self.to);
        let refused = match may_ask(self.caller, responder, &request) {
            Ok(()) if self.open.len() >= ASKS_MAX || self.open.contains_key(&id) => Some(RpcError::internal(
                format!("{ASKS_MAX} questions of this request are open, or this id is among them"),
            )),
            Ok(()) => None,
            Err(fault) => Some(fault),
        };
        if let Some(fault) = refused {
            let message = encode_error(&id, &fault);
            self.tasks.push(Box::pin(async move {
                to.reply(message).await;
                id
            }));
            return;
        }
        let cancelled = CancellationToken::new();
        self.open.insert(id.clone(), cancelled.clone());
        self.tasks.push(Box::pin(async move {
            let params = (!request.params.is_empty()).then(|| request.params.to_raw());
            let answer = tokio::select! {
                answer = responder.ask(&request.method, params.as_deref()) => answer,
                () = cancelled.cancelled() => return id,
            };
            to.reply(encode_answer(&id, answer)).await;
            id
        }));
    }
}

fn encode_answer(id: &Id, answer: Result<Box<RawValue>, ServerRequestError>) -> Bytes {
    match answer {
        Ok(result) => encode_result(id, &result),
        Err(ServerRequestError::Refused(error)) => {
            let error = error.get();
            Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.as_json()))
        }
        Err(error) => encode_error(id, &RpcError::internal(error.to_string())),
    }
}

/// Whether this client takes this question.
fn may_ask(caller: &Caller, responder: &Responder, request: &Request) -> Result<(), RpcError> {
    if caller.era() == Era::Modern || !responder.can_ask() {
        return Err(RpcError::method_not_found(Era::Legacy, &request.method));
    }
    // Whatever else a server may ask is between it and the client.
    let Some(capability) = request.method.client_capability() else { return Ok(()) };
    let is_url = || request.params.text("mode").as_deref() == Some("url");
    let part = (request.method == Method::CreateElicitation && is_url()).then_some("url");
    let declared = caller.capabilities.has(capability)
        && part.is_none_or(|part| {
            let all = RawObject::parse(caller.capabilities.to_raw().get()).unwrap_or_default();
            let one = all.get(capability).and_then(|value| RawObject::parse(value.get()).ok());
            one.is_some_and(|one| one.get(part).is_some())
        });
    if declared {
        return Ok(());
    }
    let part = part.map(|part| format!(".{part}")).unwrap_or_default();
    Err(RpcError::new(
        code::METHOD_NOT_FOUND,
        format!("{}: the client has not declared {capability}{part}", request.method),
    ))
}

/// Whether this caller wants the log message `params`.
pub(super) fn wants(caller: &Caller, params: &RawObject) -> bool {
    let level = params.read::<LogLevel>("level").ok().flatten();
    match caller.era() {
        Era::Modern => caller.log_level.is_some_and(|least| level.is_none_or(|level| level >= least)),
        Era::Legacy => {
            let least = caller.session.as_ref().and_then(|session| session.log_level());
            least.is_none_or(|least| level.is_none_or(|level| level >= least))
        }
    }
}

/// Reads a JSON-RPC error object of an upstream as the fault that the client gets.
pub(super) fn fault_of(error: &RawValue) -> RpcError {
    let Ok(members) = RawObject::parse(error.get()) else {
        return RpcError::internal("the upstream answered with an error that is no object");
    };
    let code = members.read::<i64>("code").ok().flatten().unwrap_or(code::INTERNAL);
    let message = members.text("message").unwrap_or_else(|| "the upstream gave no reason".to_owned());
    RpcError { code, message, data: members.get("data").map(ToOwned::to_owned), status: 200 }
}
