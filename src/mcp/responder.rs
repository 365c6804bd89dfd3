//! The way back to the client while one request runs: messages that precede its result, and questions to the
//! client.
//!
//! Bounded: a client that does not read makes `send` wait, so the one who serves it slows down; it never
//! piles up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Id, Response, encode_notification, encode_request};

/// Messages that may wait in one responder before the sender has to.
pub const RESPONDER_MESSAGES_MAX: usize = 64;
/// Questions to one client that may be open at once.
pub const SERVER_REQUESTS_MAX: usize = 64;

/// Item that travels through a responder.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// One JSON-RPC message, encoded.
    Message(Bytes),
    /// Legacy SSE: close the stream now; the client comes back after `retry_ms` with its last event id.
    CloseStream {
        /// Pause that the client is told to make, in milliseconds.
        retry_ms: u64,
    },
}

/// The client is gone or its stream is closed for good.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client is gone")]
pub struct Disconnected;

/// Why a question to the client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServerRequestError {
    /// This client cannot be asked (modern era, or no way back).
    #[error("this client cannot be asked")]
    Unsupported,
    /// Too many questions are open.
    #[error("{SERVER_REQUESTS_MAX} questions to the client are open already")]
    TooMany,
    /// It went away, or the request was cancelled.
    #[error("the client is gone")]
    Disconnected,
    /// It answered with a JSON-RPC error, raw.
    #[error("the client answered with an error: {0}")]
    Refused(Box<RawValue>),
}

/// The way back for one request.
#[derive(Clone)]
pub struct Responder {
    frames: mpsc::Sender<Outbound>,
    asks: Option<Arc<ServerRequests>>,
    asking: Arc<watch::Sender<Asking>>,
    cancelled: CancellationToken,
}

/// Open questions of a request to its client, and whether anybody hears.
#[derive(Default)]
struct Asking {
    /// Its questions that are open.
    open: usize,
    /// Nobody reads what it sends; there will be no answer.
    is_unheard: bool,
}

/// Receiving end of a responder.
pub struct Outbox {
    receiver: mpsc::Receiver<Outbound>,
    asking: Arc<watch::Sender<Asking>>,
}

impl Outbox {
    /// The next one; `None` when nobody can send any more. Loses nothing if it is dropped while it waits.
    pub async fn recv(&mut self) -> Option<Outbound> {
        self.receiver.recv().await
    }

    /// The next one, if it is there already.
    pub fn try_recv(&mut self) -> Option<Outbound> {
        self.receiver.try_recv().ok()
    }

    /// Drops whatever comes, so that the request goes on though its client does not hear of it; its questions
    /// end unanswered. Returns when nobody can send any more.
    pub async fn swallow(&mut self) {
        self.asking.send_modify(|asking| asking.is_unheard = true);
        while self.receiver.recv().await.is_some() {}
    }
}

impl Responder {
    /// A responder and what comes out of it. `asks`: the legacy session's open questions; `None`
    /// where the client cannot be asked.
    #[must_use]
    pub fn new(asks: Option<Arc<ServerRequests>>, cancelled: CancellationToken) -> (Responder, Outbox) {
        let (frames, receiver) = mpsc::channel(RESPONDER_MESSAGES_MAX);
        let asking = Arc::new(watch::Sender::new(Asking::default()));
        (Responder { frames, asks, asking: asking.clone(), cancelled }, Outbox { receiver, asking })
    }

    /// Whether this request waits for the client's answer to a question; that time is the client's.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asking.borrow().open > 0
    }

    /// Waits until no question of this request is open.
    pub async fn answered(&self) {
        let mut asking = self.asking.subscribe();
        // Never an error: this responder holds the sender.
        let _ = asking.wait_for(|asking| asking.open == 0).await;
    }

    /// Sends one encoded message; waits while the link is full.
    ///
    /// # Errors
    /// [`Disconnected`] when nobody will read it.
    pub async fn send(&self, message: Bytes) -> Result<(), Disconnected> {
        self.frames.send(Outbound::Message(message)).await.map_err(|_| Disconnected)
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// [`Disconnected`] when nobody will read it.
    pub async fn notify(&self, method: &str, params: &RawValue) -> Result<(), Disconnected> {
        self.send(encode_notification(method, Some(params))).await
    }

    /// Closes the client's current SSE stream (legacy); what follows is kept until it comes back.
    ///
    /// # Errors
    /// [`Disconnected`] when there is no stream.
    pub async fn hang_up(&self, retry_ms: u64) -> Result<(), Disconnected> {
        self.frames.send(Outbound::CloseStream { retry_ms }).await.map_err(|_| Disconnected)
    }

    /// Cancelled when the client cancelled the request or went away for good.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Whether [`Responder::ask`] can work.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.asks.is_some()
    }

    /// Asks the client (legacy: `elicitation/create`, `sampling/createMessage`, `roots/list`) and waits for
    /// its result.
    ///
    /// The caller bounds the wait.
    ///
    /// # Errors
    /// See [`ServerRequestError`].
    pub async fn ask(
        &self,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, ServerRequestError> {
        let asks = self.asks.as_ref().ok_or(ServerRequestError::Unsupported)?;
        let (id, answer) = asks.open()?;
        self.asking.send_modify(|asking| asking.open += 1);
        let _close = CloseAsk { asks, id: &id, asking: &self.asking };
        self.send(encode_request(&id, method, params)).await.map_err(|_| ServerRequestError::Disconnected)?;
        let mut asking = self.asking.subscribe();
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(error)) => Err(ServerRequestError::Refused(error)),
                Err(_) => Err(ServerRequestError::Disconnected),
            },
            () = self.cancelled.cancelled() => Err(ServerRequestError::Disconnected),
            _ = asking.wait_for(|asking| asking.is_unheard) => Err(ServerRequestError::Disconnected),
        }
    }
}

struct CloseAsk<'a> {
    asks: &'a ServerRequests,
    id: &'a Id,
    asking: &'a watch::Sender<Asking>,
}

impl Drop for CloseAsk<'_> {
    fn drop(&mut self) {
        self.asks.close(self.id);
        self.asking.send_modify(|asking| asking.open -= 1);
    }
}

type ClientResult = Result<Box<RawValue>, Box<RawValue>>;

/// Open questions to one legacy client, by the id that we gave them.
#[derive(Debug)]
pub struct ServerRequests {
    /// Starts the ids, so that two nodes never mint the same one for a session.
    prefix: String,
    next: AtomicU64,
    open: Mutex<HashMap<Id, oneshot::Sender<ClientResult>>>,
}

impl ServerRequests {
    /// No open question; `prefix` starts every id.
    #[must_use]
    pub fn new(prefix: &str) -> ServerRequests {
        ServerRequests { prefix: prefix.to_owned(), next: AtomicU64::new(1), open: Mutex::default() }
    }

    /// Hands a client's response to the one who asked; false if nobody did (late, unknown or a lie).
    pub fn answer(&self, response: Response) -> bool {
        let Some(id) = response.id else { return false };
        let asker = self.open.lock().remove(&id);
        asker.is_some_and(|asker| asker.send(response.outcome).is_ok())
    }

    fn open(&self) -> Result<(Id, oneshot::Receiver<ClientResult>), ServerRequestError> {
        let mut open = self.open.lock();
        if open.len() >= SERVER_REQUESTS_MAX {
            return Err(ServerRequestError::TooMany);
        }
        let id = Id::from_text(&format!("{}{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)));
        let (tx, rx) = oneshot::channel();
        open.insert(id.clone(), tx);
        Ok((id, rx))
    }

    fn close(&self, id: &Id) {
        self.open.lock().remove(id);
    }
}
