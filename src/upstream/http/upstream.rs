//! State that all requests to one HTTP upstream share: its endpoint, the headers of its tools, and the
//! node's own requests in the modern era.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mcp::{
    Id, MODERN_LATEST, Message, Meta, Method, Notification, RawObject, Request, Response, RpcError,
    encode_request, parse,
};
use crate::upstream::availability::EraAvailability;
use crate::upstream::forwarder::fault_of;
use crate::upstream::handshake;
use crate::upstream::health::Counts;
use crate::upstream::inbox::NotificationSink;
use crate::upstream::list_changes::ListChanges;
use crate::upstream::list_reader::{RpcClient, RpcFuture, UNREACHABLE};
use crate::upstream::request_table::RequestTable;
use crate::upstream::subscriptions::ResourceSubscriptions;
use crate::upstream::upstream_state::UpstreamState;

use super::client::Endpoint;
use super::headers::{self, Annotated};
use super::resumable_response::{ResumableResponse, Step};
use super::session::{HttpSession, is_answer};

/// Sockets that notifications of all clients take at one upstream.
const NOTICES_AT_ONCE: usize = 16;

/// The shared part of one HTTP upstream.
pub(super) struct HttpUpstream {
    pub(super) state: Arc<UpstreamState>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) availability: EraAvailability<()>,
    pub(super) changes: ListChanges,
    pub(super) subscriptions: ResourceSubscriptions,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// A call came while it was down: worth a look.
    pub(super) wake: Notify,
    pub(super) annotated: Mutex<Arc<HashMap<String, Annotated>>>,
    /// Requests of all sessions, where the upstream gives them no ids.
    pub(super) calls: Arc<RequestTable<()>>,
    /// Notifications of clients that are sent at once.
    pub(super) notices_at_once: Semaphore,
    own: Mutex<Option<Arc<HttpSession>>>,
    next_id: AtomicU64,
}

impl HttpUpstream {
    pub(super) fn new(
        state: Arc<UpstreamState>,
        endpoint: Endpoint,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<HttpUpstream> {
        Arc::new(HttpUpstream {
            state,
            endpoint: Arc::new(endpoint),
            availability: EraAvailability::new(),
            changes: ListChanges::default(),
            subscriptions: ResourceSubscriptions::new(),
            stop,
            tasks,
            wake: Notify::new(),
            annotated: Mutex::default(),
            calls: Arc::new(RequestTable::new()),
            notices_at_once: Semaphore::new(NOTICES_AT_ONCE),
            own: Mutex::default(),
            next_id: AtomicU64::new(1),
        })
    }

    /// The session for our own questions and for callers without one.
    pub(super) fn own(&self) -> Option<Arc<HttpSession>> {
        self.own.lock().clone()
    }

    pub(super) fn set_own(&self, session: Option<Arc<HttpSession>>) {
        *self.own.lock() = session;
    }

    /// Sends a modern request; everything it needs is in it.
    pub(super) fn send_modern(&self, request: &Request) -> (u64, ResumableResponse<'_>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let annotated = self.annotated.lock().clone();
        let name = request.params.text("name").unwrap_or_default();
        let headers = headers::modern(request, annotated.get(&name));
        let message = encode_request(&Id::from_number(id), &request.method, Some(&request.params.to_raw()));
        (id, ResumableResponse::new(Box::pin(self.endpoint.post(headers, message))))
    }

    /// Puts a modern request of our own and waits at most `within` for its result.
    pub(super) async fn ask_modern(
        &self,
        method: &str,
        params: RawObject,
        within: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        let unreachable =
            |why: String| RpcError::internal(format!("{method}: {why}")).with_status(UNREACHABLE);
        let request = own_request(method.into(), params);
        let asked = tokio::time::timeout(within, async {
            let (id, mut response) = self.send_modern(&request);
            loop {
                let message = match response.next().await {
                    Step::Message(message) => message,
                    Step::TooLong | Step::Pause { .. } => continue,
                    Step::Refused(status, body) => return Err(refusal(method, status, &body)),
                    Step::Over(why) => return Err(unreachable(why)),
                };
                match parse(&message) {
                    Ok(Message::Response(response)) if is_answer(&response, id) => {
                        return response.outcome.map_err(|error| fault_of(&error));
                    }
                    Ok(_) => {}
                    Err((_, fault)) => self.state.invalid(&fault.message),
                }
            }
        });
        asked
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("no answer within {} ms", within.as_millis()))))
    }
}

/// A modern request of our own.
pub(super) fn own_request(method: Method, params: RawObject) -> Request {
    Request {
        id: Id::from_number(0),
        method,
        params: handshake::with_own_meta(params),
        meta: Meta { protocol_version: Some(MODERN_LATEST.as_str().to_owned()), ..Meta::default() },
        param_headers: Vec::new(),
    }
}

/// The fault of a modern request that was refused with a status; 400 and 404 are kept.
pub(super) fn refusal(method: &str, status: StatusCode, body: &Bytes) -> RpcError {
    match parse(body) {
        Ok(Message::Response(Response { outcome: Err(error), .. })) => {
            let fault = fault_of(&error);
            if matches!(status.as_u16(), 400 | 404) { fault.with_status(status.as_u16()) } else { fault }
        }
        _ if status.is_server_error() => {
            RpcError::internal(format!("{method}: HTTP {status}")).with_status(UNREACHABLE)
        }
        _ => RpcError::internal(format!("{method}: HTTP {status}")),
    }
}

/// Puts our own modern requests.
pub(super) struct ModernRpcClient<'a> {
    pub(super) upstream: &'a HttpUpstream,
    pub(super) within: Duration,
}

impl RpcClient for ModernRpcClient<'_> {
    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> RpcFuture<'a> {
        Box::pin(self.upstream.ask_modern(method, params, self.within))
    }
}

impl NotificationSink for HttpUpstream {
    /// Takes a notification of our own session or our listen stream.
    fn on_notification(&self, notification: Notification) {
        let Notification { method, params } = notification;
        let is_known = method == Method::ListenAcknowledged
            || self.changes.note_announced(&method)
            || self.state.on_event(&method, &params);
        if !is_known {
            Counts::add(&self.state.counts.dropped);
        }
    }
}

/// Whether `body` is the JSON-RPC error by which some servers say that they do not know the session.
pub(super) fn names_session(body: &[u8]) -> bool {
    let Ok(Message::Response(Response { outcome: Err(error), .. })) = parse(body) else { return false };
    let fault = fault_of(&error);
    fault.code == -32_000 && fault.message.to_ascii_lowercase().contains("session")
}
