//! One legacy session at an HTTP upstream: of one of our clients, or our own.
//!
//! Opened as its client opened ours, so that what the upstream may ask is what the client can answer. Ended
//! with it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::mcp::{
    Fault, Id, Members, Message, Notification, Request, Response, encode_fault, encode_notification,
    encode_request, encode_result, parse, raw,
};
use crate::upstream::base::Base;
use crate::upstream::collect::{Asked, Asker, UNREACHABLE};
use crate::upstream::health::Counts;
use crate::upstream::hello;
use crate::upstream::inbox::{InboxSender, Outside};
use crate::upstream::passage::{Inbound, ReplyTo, fault_of};
use crate::upstream::stock::Greeting;

use super::client::{Endpoint, Reply};
use super::talk::{Opening, Step, Talk};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One session.
pub(super) struct HttpSession {
    pub(super) base: Arc<Base>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) greeting: Greeting,
    headers: HeaderMap,
    next_id: AtomicU64,
    running: Mutex<HashMap<u64, InboxSender>>,
    is_lost: AtomicBool,
    pub(super) outside: Arc<dyn Outside>,
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
        base: &Arc<Base>,
        endpoint: &Arc<Endpoint>,
        hello: &Members,
        outside: Arc<dyn Outside>,
        stop: &CancellationToken,
    ) -> Result<Arc<HttpSession>, Fault> {
        let unreachable =
            |why: String| Fault::internal(format!("initialize: {why}")).with_status(UNREACHABLE);
        let within = Duration::from_millis(base.options.start_timeout_ms);
        let opening = tokio::time::timeout(within, async {
            let id = Id::from_number(0);
            let message = encode_request(&id, "initialize", Some(&hello.to_raw()));
            let reply = endpoint.post(HeaderMap::new(), message).await.map_err(unreachable)?;
            let (answer, headers) = first_answer(reply, &id).await?;
            let (greeting, version) = hello::read_initialized(&answer).map_err(Fault::internal)?;
            let mut own = HeaderMap::new();
            if let Some(session) = headers.get(SESSION_ID) {
                own.insert(SESSION_ID, session.clone());
            }
            own.insert(VERSION, HeaderValue::from_static(version.as_str()));
            let session = HttpSession {
                base: base.clone(),
                endpoint: endpoint.clone(),
                greeting,
                headers: own,
                next_id: AtomicU64::new(1),
                running: Mutex::default(),
                is_lost: AtomicBool::new(false),
                outside,
                ended: stop.child_token(),
            };
            let message = encode_notification("notifications/initialized", None);
            endpoint.post(session.headers.clone(), message).await.map_err(unreachable)?;
            Ok(Arc::new(session))
        });
        opening
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("no answer within {} ms", within.as_millis()))))
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
        if !self.headers.contains_key(SESSION_ID) {
            return false;
        }
        let names_it = || {
            let text = String::from_utf8_lossy(body).to_ascii_lowercase();
            text.contains("-32000") && text.contains("session")
        };
        status == StatusCode::NOT_FOUND || (status == StatusCode::BAD_REQUEST && names_it())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, InboxSender>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a running request; what the GET stream brings for it goes to `inbox`.
    pub(super) fn begin(self: &Arc<Self>, inbox: Option<InboxSender>) -> Running {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if let Some(inbox) = inbox {
            self.lock().insert(id, inbox);
        }
        Running { session: self.clone(), id, cancels: false }
    }

    /// Sends a request and gives what comes back.
    pub(super) fn talk(&self, id: u64, method: &str, params: Option<&RawValue>) -> Talk<'_> {
        let message = encode_request(&Id::from_number(id), method, params);
        let opening: Opening<'_> = Box::pin(self.endpoint.post(self.headers.clone(), message));
        Talk::new(opening).resuming(move |event_id, pause| {
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
        let within = Duration::from_millis(self.base.options.timeout_ms);
        let _ = tokio::time::timeout(within, self.endpoint.post(self.headers.clone(), message)).await;
    }

    /// Sends a request of our own and waits at most `within` for its result.
    pub(super) async fn ask_within(
        self: &Arc<Self>,
        method: &str,
        params: &Members,
        within: Duration,
    ) -> Result<Box<RawValue>, Fault> {
        let running = self.begin(None);
        let id = running.id;
        let unreachable = |why: String| Fault::internal(format!("{method}: {why}")).with_status(UNREACHABLE);
        let asked = tokio::time::timeout(within, async {
            let params = params.to_raw();
            let mut talk = self.talk(id, method, Some(&params));
            loop {
                let message = match talk.next().await {
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
                    Err(_) => self.base.invalid("a message cannot be read"),
                }
            }
        });
        asked
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("no answer within {} ms", within.as_millis()))))
    }

    fn refusal(&self, method: &str, status: StatusCode, body: &[u8]) -> Fault {
        if self.is_forgotten(status, body) {
            self.lose();
            return Fault::internal(format!("{method}: the session is gone")).with_status(UNREACHABLE);
        }
        match parse(body) {
            Ok(Message::Response(Response { outcome: Err(error), .. })) => fault_of(&error),
            _ => Fault::internal(format!("{method}: HTTP {status}")),
        }
    }

    /// A message on a stream where it belongs to no request that waits there.
    pub(super) fn take_stray(&self, message: Message) {
        match message {
            Message::Response(_) => {
                Counts::add(&self.base.counts.unasked);
            }
            Message::Request(request) => self.take_request(request),
            Message::Notification(notification) => self.take_notification(notification),
        }
    }

    fn take_request(&self, request: Request) {
        let id = request.id.clone();
        let refusal = if &*request.method == "ping" {
            encode_result(&id, &raw(&serde_json::json!({})))
        } else {
            let first = self.lock().values().next().cloned();
            let why = match first {
                Some(inbox) if inbox.put(Inbound::Ask(request)) => return,
                Some(_) => "the client does not read its messages",
                None => "no request of a client is running that it could belong to",
            };
            encode_fault(&id, &Fault::internal(why))
        };
        let (endpoint, headers) = (self.endpoint.clone(), self.headers.clone());
        let within = Duration::from_millis(self.base.options.timeout_ms);
        // Bounded by time; one for each request of an upstream that answers itself.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(within, endpoint.post(headers, refusal)).await;
        });
    }

    fn take_notification(&self, notification: Notification) {
        if &*notification.method != "notifications/progress" {
            return self.outside.heard(notification);
        }
        let token = notification.params.get("progressToken").map(RawValue::get);
        let inbox =
            self.lock().values().find(|inbox| inbox.token.as_ref().map(|t| t.get()) == token).cloned();
        let Notification { method, params } = notification;
        if !inbox.is_some_and(|inbox| inbox.put(Inbound::Notice { method, params })) {
            Counts::add(&self.base.counts.dropped);
        }
    }

    /// Ends it at the upstream, in bounded time.
    pub(super) async fn end(&self) {
        let forgotten = self.is_lost();
        self.ended.cancel();
        if !forgotten && self.headers.contains_key(SESSION_ID) {
            let within = Duration::from_millis(self.base.options.stop_step_ms);
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

async fn first_answer(reply: Reply, id: &Id) -> Result<(Box<RawValue>, HeaderMap), Fault> {
    let unreachable = |why: &str| Fault::internal(format!("initialize: {why}")).with_status(UNREACHABLE);
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
            _ => Err(Fault::internal(format!("initialize: HTTP {status}")).with_status(status.as_u16())),
        },
    }
}

/// A running request. Dropped while [`Running::cancels`] is set, it is cancelled at the upstream.
pub(super) struct Running {
    session: Arc<HttpSession>,
    pub(super) id: u64,
    /// Whether the upstream has to be told that nobody waits any more.
    pub(super) cancels: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.lock().remove(&self.id);
        if self.cancels && !self.session.is_lost() {
            let reason = "the client cancelled, or it took too long";
            let params = serde_json::json!({ "requestId": self.id, "reason": reason });
            let message = encode_notification("notifications/cancelled", Some(&raw(&params)));
            let session = self.session.clone();
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
pub(super) struct SessionAsker {
    pub(super) session: Arc<HttpSession>,
    pub(super) within: Duration,
}

impl Asker for SessionAsker {
    fn ask<'a>(&'a self, method: &'a str, params: Members) -> Asked<'a> {
        Box::pin(async move { self.session.ask_within(method, &params, self.within).await })
    }
}
