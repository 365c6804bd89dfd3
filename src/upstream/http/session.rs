//! One legacy session at an HTTP upstream: of one of our clients, or our own.
//!
//! Opened as its client opened ours, so that what the upstream may ask is what the client can answer. Ended
//! with it.
//!
//! An upstream that gives no session id cannot tell its clients apart. Such sessions have one stream for what
//! belongs to no request, ours, and what comes there reaches a client only if it can be nobody else's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::mcp::{
    Id, Message, Method, Notification, RawObject, Request, Response, RpcError, encode_error,
    encode_notification, encode_request, encode_result, parse, raw,
};
use crate::upstream::catalog_store::ServerDescription;
use crate::upstream::forwarder::{Inbound, ReplyTo, fault_of};
use crate::upstream::inbox::{InboxSender, NotificationSink};
use crate::upstream::list_reader::{RpcClient, RpcFuture, UNREACHABLE};
use crate::upstream::options::START_TIMEOUT;
use crate::upstream::places::Place;
use crate::upstream::request_table::{Attribution, Owner, RequestTable};
use crate::upstream::upstream_state::UpstreamState;
use crate::upstream::{handshake, health::Counts};

use super::client::{Endpoint, Reply};
use super::resumable_response::{Opening, ResumableResponse, Step};
use super::upstream::names_session;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One session.
pub(super) struct HttpSession {
    pub(super) state: Arc<UpstreamState>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) description: ServerDescription,
    headers: HeaderMap,
    /// Those of the session; of all sessions where the upstream gives no ids.
    pub(super) calls: Arc<RequestTable<()>>,
    is_lost: AtomicBool,
    pub(super) sink: Arc<dyn NotificationSink>,
    /// Cancelled when it ends or is lost, or the node stops.
    pub(super) ended: CancellationToken,
}

impl HttpSession {
    /// `initialize` and `notifications/initialized`. The GET stream is the caller's to open
    /// ([`super::stream::hold`]).
    ///
    /// # Errors
    /// Why there is no session; status [`UNREACHABLE`] if the upstream did not answer at all.
    pub(super) async fn open(
        state: &Arc<UpstreamState>,
        endpoint: &Arc<Endpoint>,
        hello: &RawObject,
        sink: Arc<dyn NotificationSink>,
        of_all: &Arc<RequestTable<()>>,
        stop: &CancellationToken,
    ) -> Result<Arc<HttpSession>, RpcError> {
        let unreachable =
            |why: String| RpcError::internal(format!("initialize: {why}")).with_status(UNREACHABLE);
        let opening = tokio::time::timeout(START_TIMEOUT, async {
            let id = Id::from_number(0);
            let message = encode_request(&id, &Method::Initialize, Some(&hello.to_raw()));
            let reply = endpoint.post(HeaderMap::new(), message).await.map_err(unreachable)?;
            let (answer, headers) = first_answer(reply, &id).await?;
            let (description, version) = handshake::read_initialized(&answer).map_err(RpcError::internal)?;
            let mut own = HeaderMap::new();
            let calls = match headers.get(SESSION_ID) {
                Some(session) => {
                    own.insert(SESSION_ID, session.clone());
                    Arc::new(RequestTable::new())
                }
                None => of_all.clone(),
            };
            own.insert(VERSION, HeaderValue::from_static(version.as_str()));
            let session = HttpSession {
                state: state.clone(),
                endpoint: endpoint.clone(),
                description,
                headers: own,
                calls,
                is_lost: AtomicBool::new(false),
                sink,
                ended: stop.child_token(),
            };
            let message = encode_notification(&Method::Initialized, None);
            endpoint.post(session.headers.clone(), message).await.map_err(unreachable)?;
            Ok(Arc::new(session))
        });
        opening.await.unwrap_or_else(|_| {
            Err(unreachable(format!("no answer within {} ms", START_TIMEOUT.as_millis())))
        })
    }

    /// Whether the upstream does not know it any more.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// The upstream does not know it any more: its streams end, the next request opens another.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
        self.ended.cancel();
    }

    /// Whether this refusal means that the session is not known any more. Beside the specified 404 there are
    /// servers that answer 400 and name the session in the message.
    pub(super) fn is_forgotten(&self, status: StatusCode, body: &[u8]) -> bool {
        if !self.has_id() {
            return false;
        }
        status == StatusCode::NOT_FOUND || (status == StatusCode::BAD_REQUEST && names_session(body))
    }

    /// Whether the upstream tells it from others.
    pub(super) fn has_id(&self) -> bool {
        self.headers.contains_key(SESSION_ID)
    }

    /// Registers a running request; what the GET stream brings for it goes to `inbox`.
    pub(super) fn begin(
        self: &Arc<Self>,
        owner: Owner,
        inbox: Option<InboxSender>,
        place: Option<Place>,
    ) -> HttpRequestGuard {
        let Ok(id) = self.calls.open(owner, (), inbox, None) else { unreachable!("nobody closes these") };
        HttpRequestGuard { session: self.clone(), id, place, end: End::Lost }
    }

    /// Sends a request and gives what comes back.
    pub(super) fn send(&self, id: u64, method: &str, params: Option<&RawValue>) -> ResumableResponse<'_> {
        let message = encode_request(&Id::from_number(id), method, params);
        let opening: Opening<'_> = Box::pin(self.endpoint.post(self.headers.clone(), message));
        ResumableResponse::new(opening).resuming(move |event_id, pause| {
            Box::pin(async move {
                tokio::time::sleep(pause).await;
                self.endpoint.get(self.headers_after(Some(&event_id))).await
            })
        })
    }

    /// Headers of a GET; `event_id`: the last one seen.
    pub(super) fn headers_after(&self, event_id: Option<&str>) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(value) = event_id.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(LAST_EVENT_ID, value);
        }
        headers
    }

    /// Sends a notification or a response; a failure is not an error, as nobody waits for an answer.
    pub(super) async fn post(&self, message: Bytes) {
        let within = Duration::from_millis(self.state.options.upstream.timeout_ms);
        let _ = tokio::time::timeout(within, self.endpoint.post(self.headers.clone(), message)).await;
    }

    /// Sends a request of our own and waits at most `within` for its result.
    pub(super) async fn ask_within(
        self: &Arc<Self>,
        method: &str,
        params: &RawObject,
        within: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        let mut running = self.begin(Owner::Node, None, None);
        running.end = End::Answered;
        let id = running.id;
        let unreachable =
            |why: String| RpcError::internal(format!("{method}: {why}")).with_status(UNREACHABLE);
        let asked = tokio::time::timeout(within, async {
            let params = params.to_raw();
            let mut response = self.send(id, method, Some(&params));
            loop {
                let message = match response.next().await {
                    Step::Message(message) => message,
                    Step::TooLong | Step::Pause { .. } => continue,
                    Step::Refused(status, body) => return Err(self.refusal(method, status, &body)),
                    Step::Over(why) => return Err(unreachable(why)),
                };
                match parse(&message) {
                    Ok(Message::Response(response)) if is_answer(&response, id) => {
                        return response.outcome.map_err(|error| fault_of(&error));
                    }
                    Ok(other) => self.take_stray(other),
                    Err(_) => self.state.invalid("a message cannot be read"),
                }
            }
        });
        asked
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("no answer within {} ms", within.as_millis()))))
    }

    fn refusal(&self, method: &str, status: StatusCode, body: &[u8]) -> RpcError {
        if self.is_forgotten(status, body) {
            self.lose();
            return RpcError::internal(format!("{method}: the session is gone")).with_status(UNREACHABLE);
        }
        match parse(body) {
            Ok(Message::Response(Response { outcome: Err(error), .. })) => fault_of(&error),
            _ => RpcError::internal(format!("{method}: HTTP {status}")),
        }
    }

    /// A message on a stream where it belongs to no request that waits there.
    pub(super) fn take_stray(&self, message: Message) {
        match message {
            Message::Response(_) => {
                Counts::add(&self.state.counts.unasked);
            }
            Message::Request(request) => self.take_request(request),
            Message::Notification(notification) => self.take_notification(notification),
        }
    }

    fn take_request(&self, request: Request) {
        let id = request.id.clone();
        let refusal = if request.method == Method::Ping {
            encode_result(&id, &raw(&serde_json::json!({})))
        } else {
            let why = match self.calls.attribution() {
                Attribution::Client(_, inbox) => {
                    if inbox.put(Inbound::Request(request)) {
                        return;
                    }
                    "the client does not read its messages"
                }
                Attribution::Several { .. } => {
                    self.state.unowned(&request.method);
                    "nothing tells which client it is for; answer initialize with an Mcp-Session-Id"
                }
                Attribution::Nobody | Attribution::Gone => {
                    "no request of a client is running that it could belong to"
                }
            };
            encode_error(&id, &RpcError::internal(why))
        };
        let (endpoint, headers) = (self.endpoint.clone(), self.headers.clone());
        let within = Duration::from_millis(self.state.options.upstream.timeout_ms);
        // Bounded by time; one for each request of an upstream that answers itself.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(within, endpoint.post(headers, refusal)).await;
        });
    }

    fn take_notification(&self, notification: Notification) {
        let Notification { method, params } = notification;
        if method.tells_of_task() {
            self.calls.task_told(&params);
        }
        let is_progress = method == Method::Progress;
        let is_of_a_client = matches!(method, Method::LogMessage | Method::ElicitationComplete);
        if !is_progress && (self.has_id() || !is_of_a_client) {
            return self.sink.on_notification(Notification { method, params });
        }
        let inbox = match self.calls.attribution() {
            Attribution::Client(_, newest) if !is_progress => Some(newest),
            Attribution::Client(..) => {
                let token = params.get("progressToken").map(RawValue::get);
                let is_its = |inbox: &InboxSender| inbox.token.as_ref().map(|t| t.get()) == token;
                self.calls.inboxes().into_iter().find(is_its)
            }
            Attribution::Nobody | Attribution::Gone => None,
            Attribution::Several { .. } => return self.state.unowned(&method),
        };
        if !inbox.is_some_and(|inbox| inbox.put(Inbound::Notification { method, params })) {
            Counts::add(&self.state.counts.dropped);
        }
    }

    /// Ends it at the upstream, in bounded time.
    pub(super) async fn end(&self) {
        let forgotten = self.is_lost();
        self.ended.cancel();
        if !forgotten && self.has_id() {
            let within = Duration::from_millis(self.state.options.stop_step_ms);
            let _ = tokio::time::timeout(within, self.endpoint.delete(self.headers.clone())).await;
        }
    }
}

impl Drop for HttpSession {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Whether this is the answer to our request `id`.
pub(super) fn is_answer(response: &Response, id: u64) -> bool {
    match &response.id {
        Some(answered) => *answered == Id::from_number(id),
        // An error about a message whose id could not be read: on this stream there is but one.
        None => response.outcome.is_err(),
    }
}

async fn first_answer(reply: Reply, id: &Id) -> Result<(Box<RawValue>, HeaderMap), RpcError> {
    let unreachable = |why: &str| RpcError::internal(format!("initialize: {why}")).with_status(UNREACHABLE);
    let read = |message: &[u8]| match parse(message) {
        Ok(Message::Response(response)) if response.id.as_ref() == Some(id) || response.outcome.is_err() => {
            Some(response.outcome.map_err(|error| fault_of(&error)))
        }
        _ => None,
    };
    match reply {
        Reply::Json(message, headers) => {
            let answer = read(&message).ok_or_else(|| unreachable("the answer cannot be read"))?;
            Ok((answer?, headers))
        }
        Reply::Events(mut events, headers) => {
            while let Some(event) = events.next().await {
                if let Some(answer) = read(&event.data) {
                    return Ok((answer?, headers));
                }
            }
            Err(unreachable("the stream ended before the answer"))
        }
        Reply::Nothing => Err(unreachable("the answer is empty")),
        Reply::Refused(status, body) => match read(&body) {
            Some(Err(fault)) => Err(fault.with_status(status.as_u16())),
            _ if status.is_server_error() => Err(unreachable(&format!("HTTP {status}"))),
            _ => Err(RpcError::internal(format!("initialize: HTTP {status}")).with_status(status.as_u16())),
        },
    }
}

/// How a request ended, as far as the upstream knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was answered, or never taken: the upstream is done with it.
    Answered,
    /// Its stream broke; the upstream may be at it.
    Broken,
    /// It was given up here: the upstream is told, and may be at it all the same.
    Lost,
}

/// A running request.
pub(super) struct HttpRequestGuard {
    session: Arc<HttpSession>,
    pub(super) id: u64,
    place: Option<Place>,
    /// Lost, until it is known better.
    pub(super) end: End,
}

impl Drop for HttpRequestGuard {
    fn drop(&mut self) {
        let session = &self.session;
        if self.end == End::Answered {
            session.calls.take(self.id);
            return;
        }
        session.calls.lose(self.id);
        if self.end == End::Broken {
            return;
        }
        if let Some(place) = self.place.take() {
            session.state.keep_place(place);
        }
        if !session.is_lost() {
            let reason = "the client cancelled, or it took too long";
            let params = serde_json::json!({ "requestId": self.id, "reason": reason });
            let message = encode_notification(&Method::Cancelled, Some(&raw(&params)));
            let session = session.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { session.post(message).await });
            }
        }
    }
}

impl ReplyTo for HttpSession {
    fn reply<'a>(&'a self, message: Bytes) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.post(message))
    }
}

/// Puts our own requests to a session.
pub(super) struct SessionRpcClient {
    pub(super) session: Arc<HttpSession>,
    pub(super) within: Duration,
}

impl RpcClient for SessionRpcClient {
    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> RpcFuture<'a> {
        Box::pin(async move { self.session.ask_within(method, &params, self.within).await })
    }
}
