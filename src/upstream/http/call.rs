//! One request of a client at an HTTP upstream, from its headers to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::mcp::{Caller, Disconnected, Message, Method, Request, Responder, Response, RpcError, parse};
use crate::upstream::forwarder::{Forwarder, Inbound, ReplyTo, fault_of};
use crate::upstream::health::Counts;
use crate::upstream::inbox::{Inbox, NotificationSink, inbox};
use crate::upstream::places::Place;
use crate::upstream::request_table::Owner;
use crate::upstream::upstream_state::UpstreamState;

use super::resumable_response::{ResumableResponse, Step};
use super::session::{End, HttpSession, is_answer};
use super::upstream::{HttpUpstream, refusal};

/// What the upstream answered: the result, or its error.
pub(super) type Answer = Result<Box<RawValue>, RpcError>;

/// Failure of a call.
pub(super) enum Failed {
    /// For the client. The upstream may be at it.
    Rpc(RpcError),
    /// The same, as it took too long.
    Late(RpcError),
    /// The upstream has forgotten the session and has not looked at the request.
    Forgotten,
}

struct HttpCall<'a> {
    state: &'a UpstreamState,
    upstream: &'a HttpUpstream,
    request: &'a Request,
    session: Option<&'a Arc<HttpSession>>,
    responder: &'a Responder,
    id: u64,
}

/// Modern: stateless; dropped, the stream is closed, which cancels the request. Its place is kept for a while
/// then.
pub(super) async fn modern(
    upstream: &HttpUpstream,
    request: &Request,
    caller: &Caller,
    responder: &Responder,
    place: Place,
) -> Result<Box<RawValue>, RpcError> {
    let mut kept = KeptPlace { state: &upstream.state, place: Some(place) };
    let (id, response) = upstream.send_modern(request);
    let call = HttpCall { state: &upstream.state, upstream, request, session: None, responder, id };
    let forwarder = Forwarder::new(caller, responder, &NoReply);
    let carried = call.carry(response, None, forwarder).await;
    if !matches!(carried, Err(Failed::Late(_))) {
        kept.place = None;
    }
    match carried {
        Ok(answer) => answer,
        Err(Failed::Rpc(fault) | Failed::Late(fault)) => Err(fault),
        Err(Failed::Forgotten) => {
            Err(upstream.state.fault(&request.method, "it speaks of a session in the modern era"))
        }
    }
}

/// The place of a request that may be given up.
struct KeptPlace<'a> {
    state: &'a UpstreamState,
    place: Option<Place>,
}

impl Drop for KeptPlace<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.state.keep_place(place);
        }
    }
}

/// Legacy: within a session; dropped, the upstream is told.
pub(super) async fn legacy(
    upstream: &HttpUpstream,
    session: &Arc<HttpSession>,
    request: &Request,
    caller: &Caller,
    responder: &Responder,
    place: Place,
) -> Result<Answer, Failed> {
    let (sender, inbox) = inbox(request.meta.progress_token.clone());
    let mut running = session.begin(Owner::of(caller), Some(sender), Some(place));
    let params = (!request.params.is_empty()).then(|| request.params.to_raw());
    let response = session.send(running.id, &request.method, params.as_deref());
    let call = HttpCall {
        state: &upstream.state,
        upstream,
        request,
        session: Some(session),
        responder,
        id: running.id,
    };
    let forwarder = Forwarder::new(caller, responder, &**session);
    let carried = call.carry(response, Some(inbox), forwarder).await;
    if let Ok(Ok(result)) = &carried {
        session.calls.answered(running.id, result);
    }
    running.end = match &carried {
        Ok(_) | Err(Failed::Forgotten) => End::Answered,
        Err(Failed::Rpc(_)) => End::Broken,
        Err(Failed::Late(_)) => End::Lost,
    };
    carried
}

impl HttpCall<'_> {
    async fn carry(
        &self,
        mut response: ResumableResponse<'_>,
        mut inbox: Option<Inbox>,
        mut forwarder: Forwarder<'_>,
    ) -> Result<Answer, Failed> {
        let silence = Duration::from_millis(self.state.options.upstream.timeout_ms);
        let mut was_taken = false;
        loop {
            let asking = forwarder.is_asking();
            let from_get = async {
                match &mut inbox {
                    Some(inbox) => inbox.next().await,
                    None => std::future::pending().await,
                }
            };
            let step = tokio::select! {
                biased;
                inbound = from_get => {
                    forwarder.take(inbound).await.map_err(|gone| self.gone(gone))?;
                    continue;
                }
                step = response.next() => step,
                () = forwarder.drive(), if asking => continue,
                () = tokio::time::sleep(silence), if !asking => {
                    let why = format!("no answer within {} ms", silence.as_millis());
                    return Err(Failed::Late(self.state.fault(&self.request.method, &why)));
                }
            };
            match step {
                Step::Message(message) => {
                    was_taken = true;
                    if let Some(answer) = self.message(&message, &mut forwarder).await? {
                        return Ok(answer);
                    }
                }
                Step::TooLong => self.state.invalid("an event is too long"),
                Step::Pause { retry_ms, is_asked } => {
                    was_taken = true;
                    if is_asked {
                        self.responder.hang_up(retry_ms).await.map_err(|gone| self.gone(gone))?;
                    }
                }
                Step::Refused(status, body) => {
                    if let Some(session) = self.session.filter(|s| s.is_forgotten(status, &body)) {
                        session.lose();
                        return Err(match was_taken {
                            true => self.fault("it has forgotten the session while the request ran"),
                            false => Failed::Forgotten,
                        });
                    }
                    return Ok(Err(self.refused(status, &body)));
                }
                Step::Over(why) => return Err(self.fault(&why)),
            }
        }
    }

    /// Takes one message; the outcome, if it is the answer.
    async fn message(
        &self,
        message: &Bytes,
        forwarder: &mut Forwarder<'_>,
    ) -> Result<Option<Answer>, Failed> {
        match parse(message) {
            Ok(Message::Response(response)) if is_answer(&response, self.id) => {
                return Ok(Some(response.outcome.map_err(|error| fault_of(&error))));
            }
            Ok(Message::Response(_)) => {
                Counts::add(&self.state.counts.unasked);
            }
            Ok(Message::Request(request)) => match self.session {
                Some(session) if request.method == Method::Ping => {
                    session.take_stray(Message::Request(request))
                }
                Some(_) => return self.pass(Inbound::Request(request), forwarder).await,
                None => self.state.invalid("a request in the modern era"),
            },
            Ok(Message::Notification(notification)) => {
                let is_ours =
                    notification.method.is_list_change() || notification.method == Method::ResourceUpdated;
                if is_ours {
                    match self.session {
                        Some(session) => session.sink.on_notification(notification),
                        None => self.upstream.on_notification(notification),
                    }
                    return Ok(None);
                }
                if notification.method == Method::Cancelled {
                    let id = notification.params.get("requestId").and_then(crate::mcp::Id::from_raw);
                    let Some(id) = id else { return Ok(None) };
                    return self.pass(Inbound::RequestCancelled(id), forwarder).await;
                }
                let (method, params) = (notification.method, notification.params);
                return self.pass(Inbound::Notification { method, params }, forwarder).await;
            }
            Err((id, fault)) => {
                self.state.invalid(&fault.message);
                if id.is_none_or(|id| id == crate::mcp::Id::from_number(self.id)) {
                    let why = format!("its answer cannot be read: {}", fault.message);
                    return Ok(Some(Err(self.state.fault(&self.request.method, &why))));
                }
            }
        }
        Ok(None)
    }

    async fn pass(&self, inbound: Inbound, forwarder: &mut Forwarder<'_>) -> Result<Option<Answer>, Failed> {
        forwarder.take(inbound).await.map_err(|gone| self.gone(gone))?;
        Ok(None)
    }

    fn refused(&self, status: http::StatusCode, body: &Bytes) -> RpcError {
        match parse(body) {
            Ok(Message::Response(Response { outcome: Err(error), .. })) if self.session.is_some() => {
                fault_of(&error)
            }
            Ok(Message::Response(Response { outcome: Err(_), .. })) => {
                refusal(&self.request.method, status, body)
            }
            _ => self.state.fault(&self.request.method, &format!("HTTP {status}")),
        }
    }

    fn fault(&self, why: &str) -> Failed {
        Failed::Rpc(self.state.fault(&self.request.method, why))
    }

    fn gone(&self, _: Disconnected) -> Failed {
        self.fault("the client is gone")
    }
}

/// In the modern era nobody is asked in mid-call.
struct NoReply;

impl ReplyTo for NoReply {
    fn reply<'a>(&'a self, _: Bytes) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}
