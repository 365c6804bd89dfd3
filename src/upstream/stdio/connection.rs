//! Connection to a child over its stdin and stdout: ids of ours on the wire, each answer to the one who
//! waits for it.
//!
//! The reader never waits for a client: what a slow one does not take is dropped and counted, so nobody else
//! is delayed. An unknown id, a second answer or a line that is no message is counted and changes nothing.
//! What names no request reaches the client to whom alone it can belong (see [`super::super::calls`]), or
//! nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::mcp::{
    Id, Message, Method, RawObject, Request, Response, RpcError, encode_notification, encode_request, parse,
    raw,
};
use crate::upstream::elicitation_owners::ElicitationOwners;
use crate::upstream::forwarder::{ReplyTo, fault_of};
use crate::upstream::health::Counts;
use crate::upstream::inbox::{NotificationSink, inbox};
use crate::upstream::list_reader::UNREACHABLE;
use crate::upstream::places::Place;
use crate::upstream::request_table::{Owner, RequestTable};
use crate::upstream::upstream_state::UpstreamState;

use super::lines::{Line, Lines};
use super::pending_request::{CancelOnDrop, ForgetOnDrop, PendingRequest};
use super::wire::{head_id, number, one_line, retokened};

/// How much of a longer line is looked at to find whose answer it is.
const HEAD_BYTES: usize = 1_024;
/// Messages that may wait to be written to a child.
const OUTBOX_MAX: usize = 64;
/// After the conversation is over, how long the child's last output is still read (and dropped).
const DRAIN: Duration = Duration::from_secs(5);
/// After the child closed its input, how long its last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Requests that were given up and that a child has not answered, after which it is replaced: each may still
/// hold a thread or memory there.
const ABANDONED_MAX: usize = 256;

/// What a request got: the result, the child's error, or why there is neither.
pub(super) type Outcome = Result<Box<RawValue>, Ended>;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Ended {
    /// The child answered with an error, raw.
    Refused(Box<RawValue>),
    /// The conversation ended, or this answer could not be read.
    Lost(Arc<str>),
}

/// The conversation.
pub(super) struct StdioConnection {
    pub(super) state: Arc<UpstreamState>,
    pid: u32,
    outbox: mpsc::Sender<Bytes>,
    pub(super) calls: RequestTable<oneshot::Sender<Outcome>>,
    pub(super) elicitations: ElicitationOwners,
    closed: CancellationToken,
    worn: CancellationToken,
    answered: Notify,
    pub(super) sink: Arc<dyn NotificationSink>,
}

impl StdioConnection {
    /// Starts the tasks that read and write; they end when the child closes its output or
    /// [`StdioConnection::close`] is
    /// called.
    pub(super) fn start(
        state: Arc<UpstreamState>,
        pid: u32,
        stdin: ChildStdin,
        stdout: ChildStdout,
        sink: Arc<dyn NotificationSink>,
    ) -> Arc<StdioConnection> {
        let (outbox, queue) = mpsc::channel(OUTBOX_MAX);
        let connection = Arc::new(StdioConnection {
            state,
            pid,
            outbox,
            calls: RequestTable::new(),
            elicitations: ElicitationOwners::default(),
            closed: CancellationToken::new(),
            worn: CancellationToken::new(),
            answered: Notify::new(),
            sink,
        });
        // Both tasks end with the token, which whoever ends the child cancels; the child's pipes end with
        // them.
        tokio::spawn(write(stdin, queue, connection.clone()));
        tokio::spawn(read(stdout, connection.clone()));
        connection
    }

    /// The child's process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Cancelled when the conversation is over.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Why it is over, if it is.
    pub(super) fn over(&self) -> Option<Arc<str>> {
        self.calls.over()
    }

    /// Cancelled when the child has left too many requests unanswered that were given up.
    pub(super) fn worn(&self) -> &CancellationToken {
        &self.worn
    }

    /// Resolves when no client waits for an answer.
    pub(super) async fn unused(&self) {
        loop {
            let answered = self.answered.notified();
            if !self.calls.is_waited_for() {
                return;
            }
            answered.await;
        }
    }

    /// Ends the conversation: stdin is closed and every waiting request gets `why`.
    pub(super) fn close(&self, why: &str) {
        let waiting = self.calls.close(why);
        self.closed.cancel();
        for answer in waiting {
            let _ = answer.send(Err(Ended::Lost(why.into())));
        }
        self.answered.notify_waiters();
    }

    /// Sends a request of a client, which holds `place` until it is answered. Names, ids and tokens of others
    /// cannot be touched by its answer.
    ///
    /// # Errors
    /// Why the conversation is over.
    pub(super) async fn request(
        self: &Arc<Self>,
        request: &Request,
        owner: Owner,
        place: Place,
    ) -> Result<PendingRequest, Arc<str>> {
        let (sender, inbox) = inbox(request.meta.progress_token.clone());
        let (waits, answer) = oneshot::channel();
        let id = self.calls.open(owner, waits, Some(sender), Some(place))?;
        let mut pending = PendingRequest {
            answer,
            inbox,
            cancel: CancelOnDrop { connection: self.clone(), id, was_sent: false },
        };
        let params = match request.meta.progress_token {
            Some(_) => Some(retokened(&request.params, &raw(&id))),
            None => (!request.params.is_empty()).then(|| request.params.to_raw()),
        };
        self.send(encode_request(&Id::from_number(id), &request.method, params.as_deref())).await?;
        pending.cancel.was_sent = true;
        Ok(pending)
    }

    /// Sends a request of our own and waits at most `within` for its result.
    pub(super) async fn ask_within(
        &self,
        method: &str,
        params: &RawObject,
        within: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        let lost = |why: Arc<str>| RpcError::internal(format!("{method}: {why}")).with_status(UNREACHABLE);
        let owner = if is_for_clients(method) { Owner::Clients } else { Owner::Node };
        let (waits, answer) = oneshot::channel();
        let id = self.calls.open(owner, waits, None, None).map_err(lost)?;
        let _forget = ForgetOnDrop { connection: self, id };
        let message = encode_request(&Id::from_number(id), method, Some(&params.to_raw()));
        let answer = tokio::time::timeout(within, async {
            self.send(message).await.map_err(lost)?;
            match answer.await {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(Ended::Refused(error))) => Err(fault_of(&error)),
                Ok(Err(Ended::Lost(why))) => Err(lost(why)),
                Err(_) => Err(lost("no answer".into())),
            }
        });
        answer
            .await
            .unwrap_or_else(|_| Err(lost(format!("no answer within {} ms", within.as_millis()).into())))
    }

    /// Holds a `subscriptions/listen` open until the child ends it; true if the child refuses it. Dropped, it
    /// is cancelled.
    pub(super) async fn listen(self: &Arc<Self>, params: &RawObject) -> bool {
        let (waits, mut answer) = oneshot::channel();
        let Ok(id) = self.calls.open(Owner::Node, waits, None, None) else { return true };
        let mut cancel = CancelOnDrop { connection: self.clone(), id, was_sent: false };
        let message = encode_request(&Id::from_number(id), &Method::Listen, Some(&params.to_raw()));
        if self.send(message).await.is_err() {
            return true;
        }
        cancel.was_sent = true;
        !matches!((&mut answer).await, Ok(Ok(_)))
    }

    /// Sends one encoded message; waits while the child does not read.
    ///
    /// # Errors
    /// Why the conversation is over.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), Arc<str>> {
        let sent = tokio::select! {
            sent = self.outbox.send(one_line(message)) => sent.is_ok(),
            () = self.closed.cancelled() => false,
        };
        if sent { Ok(()) } else { Err(self.over().unwrap_or_else(|| "the conversation is over".into())) }
    }

    /// Sends a notification if there is room; it is dropped and counted if there is none.
    pub(super) fn try_notify(&self, method: &str, params: Option<&RawValue>) {
        self.try_send(encode_notification(method, params));
    }

    pub(super) fn try_send(&self, message: Bytes) {
        if self.outbox.try_send(one_line(message)).is_err() {
            Counts::add(&self.state.counts.dropped);
        }
    }

    /// Nobody waits for `id` any more, though the child may be at it. True if somebody did until now.
    ///
    /// Its place is free after a while, its owner is known until the child answers.
    pub(super) fn abandon(self: &Arc<Self>, id: u64) -> bool {
        if !self.calls.abandon(id) {
            return false;
        }
        self.answered.notify_waiters();
        if self.calls.abandoned() >= ABANDONED_MAX {
            self.worn.cancel();
        }
        let pause = Duration::from_millis(self.state.options.abandoned_place_ms);
        let connection = Arc::downgrade(self);
        // Bounded by the places: each task gives one back. Without a runtime the node is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(pause).await;
                if let Some(connection) = connection.upgrade() {
                    connection.calls.free(id);
                }
            });
        }
        true
    }

    /// The child never saw `id`, or it is a question of ours.
    pub(super) fn forget(&self, id: u64) {
        self.calls.take(id);
    }

    fn take(&self, line: &[u8]) {
        match parse(line) {
            Ok(Message::Response(response)) => self.take_response(response),
            Ok(Message::Request(request)) => self.take_request(request),
            Ok(Message::Notification(notification)) => self.take_notification(notification),
            Err((id, fault)) => {
                self.state.invalid(&fault.message);
                let id = id.or_else(|| head_id(line));
                self.lose(id, &format!("its answer cannot be read: {}", fault.message));
            }
        }
    }

    /// The answer under `id`, if it is one of ours, cannot be had.
    fn lose(&self, id: Option<Id>, why: &str) {
        self.settle(id, || Err(Ended::Lost(why.into())));
    }

    fn take_response(&self, response: Response) {
        if let (Some(id), Ok(result)) = (response.id.as_ref().and_then(number), &response.outcome) {
            self.calls.answered(id, result);
        }
        let outcome = response.outcome.map_err(Ended::Refused);
        if !self.settle(response.id, || outcome) {
            Counts::add(&self.state.counts.unasked);
        }
    }

    /// Hands the outcome of `id` to who waits for it; false if nobody does.
    fn settle(&self, id: Option<Id>, outcome: impl FnOnce() -> Outcome) -> bool {
        let Some(id) = id.and_then(|id| number(&id)) else { return false };
        let Some((answer, owner)) = self.calls.take(id) else { return false };
        let outcome = outcome();
        if let (Err(Ended::Refused(error)), Owner::Session(session)) = (&outcome, &owner) {
            self.elicitations.refused(error, session);
        }
        let _ = answer.send(outcome);
        self.answered.notify_waiters();
        true
    }
}

/// Whether a request of ours is put in the name of clients, so that what is said of it is theirs.
fn is_for_clients(method: &str) -> bool {
    matches!(
        Method::from(method),
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::SetLevel
    )
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>, connection: Arc<StdioConnection>) {
    let closed = connection.closed.clone();
    let failed = async {
        while let Some(line) = queue.recv().await {
            if stdin.write_all(&line).await.is_err() {
                break;
            }
        }
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        () = failed => connection.close("it closed its input"),
        () = closed.cancelled() => {}
    }
}

async fn read(stdout: ChildStdout, connection: Arc<StdioConnection>) {
    let bytes_max = connection.state.options.gateway.message_bytes_max;
    let mut lines = Lines::new(stdout, bytes_max, HEAD_BYTES);
    let closed = connection.closed.clone();
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = closed.cancelled() => break,
        };
        match line {
            Some(Line::Whole(line)) => connection.take(&line),
            Some(Line::TooLong(head)) => {
                let why = format!("a line is longer than {bytes_max} bytes");
                connection.state.invalid(&why);
                connection.lose(head_id(&head), &why);
            }
            None => connection.close("it closed its output"),
        }
    }
    // A child that is told to end may have more to say, and must not be stuck with it.
    let rest = async { while lines.next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

impl ReplyTo for StdioConnection {
    fn reply<'a>(&'a self, message: Bytes) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let _ = self.send(message).await;
        })
    }
}
