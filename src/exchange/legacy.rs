//! Legacy requests and notifications: within a session, which remembers what modern requests say each time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::answer::refused;
use super::{EncodedResponse, Exchange, MessageOrigin, PendingCall, Rejected, Reply, capabilities};
use crate::mcp::{
    Caller, Era, Id, LogLevel, Method, Notification, RawObject, Request, Responder, Routing, RpcError,
    SessionPort, code,
};
use crate::refusal::Refusal;
use crate::session::{NotBegun, RunningRequest, Session, Shortage};

/// The request was cancelled by its client; an HTTP request still needs an end.
const CANCELLED: i64 = -32_800;

impl Exchange {
    /// The live session that the sender names.
    ///
    /// # Errors
    /// 400 if it names none, 404 if it is not there (any more), or somebody else's.
    pub fn session(&self, sender: MessageOrigin<'_>) -> Result<Arc<Session>, RpcError> {
        let Some(id) = sender.session_id else {
            return Err(RpcError::invalid_request("Mcp-Session-Id is missing; send initialize first"));
        };
        self.sessions.find(id, sender.principal, self.clock.monotonic_ms()).ok_or_else(no_session)
    }

    pub(super) fn serve_legacy(
        self: &Arc<Self>,
        request: Request,
        session: Arc<Session>,
    ) -> Result<Reply, Rejected> {
        let method = &request.method;
        let is_offered =
            || capabilities::offered(&self.router.catalog(Era::Legacy).borrow(), Era::Legacy, method);
        if let Routing::List(kind) = method.routing()
            && is_offered()
        {
            return Ok(Reply::Answer(EncodedResponse {
                status: 200,
                ..self.list(Era::Legacy, kind, &request)
            }));
        }
        let running = session.begin(&request.id).map_err(|not| {
            let fault = match not {
                NotBegun::Ended => no_session(),
                NotBegun::SameId => {
                    RpcError::invalid_request(format!("a request of id {} runs already", request.id))
                }
                NotBegun::Refused(refusal) => refused(refusal),
            };
            Rejected::of(&request.id, fault)
        })?;
        let cancelled = running.cancelled().clone();
        let (responder, frames) = Responder::new(Some(session.asks().clone()), cancelled.clone());
        let log_level = session.log_level().or(Some(LogLevel::Debug));
        let work = Box::pin(self.clone().work_legacy(request, session.clone(), running, responder));
        Ok(Reply::Call(PendingCall::new(work, frames, log_level, cancelled), Some(session)))
    }

    async fn work_legacy(
        self: Arc<Self>,
        request: Request,
        session: Arc<Session>,
        running: RunningRequest,
        responder: Responder,
    ) -> EncodedResponse {
        let started_us = self.clock.monotonic_us();
        let _running = self.recorder.call_begun();
        let caller = caller_of(&session);
        // The end first: nothing is begun at an upstream for a session that is no more.
        let served = tokio::select! {
            biased;
            () = running.cancelled().cancelled() => Err(RpcError::new(CANCELLED, "request cancelled")),
            served = self.serve_in_session(&request, &session, &caller, &responder) => served,
        };
        let outcome = match served {
            Ok(result) => EncodedResponse::result(&request.id, &result),
            // A legacy client takes a status other than 200 for a failure of the transport, 404 even for the
            // end of its session.
            Err(fault) => EncodedResponse { status: 200, ..EncodedResponse::fault(&request.id, &fault) },
        };
        self.recorder.answered(self.clock.monotonic_us().saturating_sub(started_us), outcome.is_fault);
        drop(running);
        outcome
    }

    async fn serve_in_session(
        &self,
        request: &Request,
        session: &Arc<Session>,
        caller: &Caller,
        responder: &Responder,
    ) -> Result<Box<RawValue>, RpcError> {
        let empty = || RawObject::new().to_raw();
        let method = &request.method;
        if *method == Method::Ping {
            return Ok(empty());
        }
        if !capabilities::offered(&self.router.catalog(Era::Legacy).borrow(), Era::Legacy, method) {
            return Err(RpcError::method_not_found(Era::Legacy, method));
        }
        let uri = request.params.text("uri");
        match (method, uri) {
            (Method::SetLevel, _) => {
                let level = request.params.read::<LogLevel>("level").ok().flatten();
                let level =
                    level.ok_or_else(|| RpcError::invalid_params("level is missing or none of RFC 5424"))?;
                session.set_log_level(level);
                let _ = self.serve_in_time(request, caller, responder).await;
                Ok(empty())
            }
            (Method::ResourcesSubscribe, Some(uri)) => {
                if !self.sessions.has_room() && !self.give_way(Shortage::Bytes) {
                    self.recorder.refused(Refusal::SessionBytesFull.name());
                    return Err(refused(Refusal::SessionBytesFull));
                }
                // Our own limit first: an upstream is not asked for more, nor told to forget.
                let Some(is_new) = self.sessions.subscribe(session, &uri) else {
                    return Err(RpcError::invalid_params(
                        "this session subscribes to as many resources as it may",
                    ));
                };
                let result = self.serve_in_time(request, caller, responder).await;
                if result.is_err() && is_new {
                    self.sessions.unsubscribe(session, &uri);
                }
                result
            }
            (Method::ResourcesUnsubscribe, Some(uri)) => {
                self.sessions.unsubscribe(session, &uri);
                self.serve_in_time(request, caller, responder).await
            }
            _ => self.serve_in_time(request, caller, responder).await,
        }
    }

    /// Lets the router serve, but answers at the deadline whatever it does.
    pub(super) async fn serve_in_time(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
    ) -> Result<Box<RawValue>, RpcError> {
        tokio::select! {
            biased;
            served = self.router.serve(request, caller, responder) => {
                served.inspect_err(|fault| self.count_refusal(fault))
            }
            () = self.deadline(responder) => {
                let timeout_ms = self.config.http.request_timeout_ms;
                let data = serde_json::json!({ "timeoutMs": timeout_ms });
                let text = format!("{} was not answered within {timeout_ms} ms", request.method);
                Err(RpcError::internal(text).with_data(&data))
            }
            () = self.drained() => {
                let cut = self.cut(request, caller);
                Err(RpcError::internal(format!("the node is stopping and {cut}")))
            }
            () = self.drain.calls_end() => {
                let cut = self.cut(request, caller);
                let text = format!(
                    "this node has lost its cluster and closes its connections, and {cut}; \
                     connect to another node"
                );
                let refusal = Refusal::NoShare;
                let data = serde_json::json!({ "retryAfterMs": 1_000 });
                Err(RpcError::new(refusal.code(), text).with_status(refusal.status()).with_data(&data))
            }
        }
    }

    /// A refusal of ours counts by its reason; an upstream's own error never has its status.
    fn count_refusal(&self, fault: &RpcError) {
        let refusal = Refusal::by_code(fault.code).filter(|refusal| refusal.status() == fault.status);
        if let Some(refusal) = refusal {
            self.recorder.refused(refusal.name());
        }
    }

    /// Words for a client whose call is cut.
    fn cut(&self, request: &Request, caller: &Caller) -> String {
        let catalog = self.router.catalog(caller.era());
        let may_be_repeated = capabilities::may_be_repeated(&catalog.borrow(), request);
        let outcome = if may_be_repeated { "it may be repeated" } else { "its outcome is unknown" };
        format!("{} has not ended; {outcome}", request.method)
    }

    /// Returns when a draining node can wait no longer.
    async fn drained(&self) {
        self.stop.cancelled().await;
        // Less than the transport waits, so that the answer gets out.
        tokio::time::sleep(Duration::from_millis(self.config.drain.timeout_ms / 5 * 4)).await;
    }

    /// The time that the client takes to answer questions does not count, within its own bound.
    async fn deadline(&self, responder: &Responder) {
        let request = Duration::from_millis(self.config.http.request_timeout_ms);
        tokio::time::sleep(request).await;
        let asked = async {
            while responder.is_asking() {
                responder.answered().await;
                tokio::time::sleep(request).await;
            }
        };
        let answers = Duration::from_secs(self.config.session.elicitation_timeout_s);
        let _ = tokio::time::timeout(answers, asked).await;
    }

    pub(super) fn on_notification(&self, notification: &Notification, session: &Arc<Session>) {
        match notification.method {
            Method::Initialized => {}
            Method::Cancelled => {
                let id = notification.params.get("requestId").and_then(Id::from_raw);
                if let Some(id) = id {
                    session.cancel(&id);
                }
            }
            Method::RootsChanged | Method::Progress => self.router.notify(notification, &caller_of(session)),
            // What the protocol does not let clients say goes no further.
            _ => {}
        }
    }
}

fn no_session() -> RpcError {
    RpcError::new(code::SESSION_NOT_FOUND, "session not found; send initialize again").with_status(404)
}

fn caller_of(session: &Arc<Session>) -> Caller {
    let params = session.params();
    Caller {
        version: params.version,
        principal: params.principal.clone(),
        address: session.address(),
        capabilities: params.capabilities.clone(),
        client_info: params.client_info.clone(),
        log_level: session.log_level(),
        session: Some(session.clone()),
    }
}
