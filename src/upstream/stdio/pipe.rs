//! One conversation with a child over its stdin and stdout: our ids on the wire, every answer to the one who
//! waits for it.
//!
//! The reader never waits for a client: what a slow one does not take is dropped and counted, so nobody else
//! is delayed. An unknown id, a second answer or a line that is no message is counted and changes nothing.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::mcp::{
    Fault, Id, Members, Message, Notification, Request, Response, encode_fault, encode_notification,
    encode_request, encode_result, parse, raw,
};
use crate::upstream::base::Base;
use crate::upstream::collect::UNREACHABLE;
use crate::upstream::health::Counts;
use crate::upstream::inbox::{InboxSender, Outside, inbox};
use crate::upstream::passage::{Inbound, ReplyTo, fault_of};

use super::lines::{Line, Lines};
use super::ticket::{Cancel, Forget, Ticket};
use super::wire::{head_id, number, one_line, retokened};

/// How much of a longer line is looked at to find whose answer it is.
const HEAD_BYTES: usize = 1_024;
/// Messages that may wait to be written to a child.
const OUTBOX_MAX: usize = 64;
/// After the conversation is over, how long the child's last output is still read (and dropped).
const DRAIN: Duration = Duration::from_secs(5);
/// After the child closed its input, how long its last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

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

struct Call {
    answer: oneshot::Sender<Outcome>,
    /// `None` for requests of our own.
    inbox: Option<InboxSender>,
}

#[derive(Default)]
struct Open {
    last_id: u64,
    calls: HashMap<u64, Call>,
    /// Set once: the conversation is over.
    over: Option<Arc<str>>,
}

/// The conversation.
pub(super) struct Pipe {
    base: Arc<Base>,
    pid: u32,
    outbox: mpsc::Sender<Bytes>,
    open: Mutex<Open>,
    closed: CancellationToken,
    /// Only one client is behind it: any of its running requests may be asked.
    owned: bool,
    outside: Arc<dyn Outside>,
}

impl Pipe {
    /// Starts the tasks that read and write; they end when the child closes its output or [`Pipe::close`] is
    /// called.
    pub(super) fn start(
        base: Arc<Base>,
        pid: u32,
        stdin: ChildStdin,
        stdout: ChildStdout,
        owned: bool,
        outside: Arc<dyn Outside>,
    ) -> Arc<Pipe> {
        let (outbox, queue) = mpsc::channel(OUTBOX_MAX);
        let closed = CancellationToken::new();
        let pipe = Arc::new(Pipe { base, pid, outbox, open: Mutex::default(), closed, owned, outside });
        // Both tasks end with the token, which whoever ends the child cancels; the child's pipes end with
        // them.
        tokio::spawn(write(stdin, queue, pipe.clone()));
        tokio::spawn(read(stdout, pipe.clone()));
        pipe
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
        self.lock().over.clone()
    }

    /// Ends the conversation: stdin is closed and every waiting request gets `why`.
    pub(super) fn close(&self, why: &str) {
        let calls = {
            let mut open = self.lock();
            if open.over.is_none() {
                open.over = Some(why.into());
            }
            std::mem::take(&mut open.calls)
        };
        self.closed.cancel();
        for call in calls.into_values() {
            let _ = call.answer.send(Err(Ended::Lost(why.into())));
        }
    }

    /// Sends a request of a client. Names, ids and tokens of others cannot be touched by its answer.
    ///
    /// # Errors
    /// Why the conversation is over.
    pub(super) async fn request(self: &Arc<Self>, request: &Request) -> Result<Ticket, Arc<str>> {
        let (sender, inbox) = inbox(request.meta.progress_token.clone());
        let (id, answer) = self.open(Some(sender))?;
        let ticket = Ticket { answer, inbox, _cancel: Cancel { pipe: self.clone(), id } };
        let params = match request.meta.progress_token {
            Some(_) => Some(retokened(&request.params, &raw(&id))),
            None => (!request.params.is_empty()).then(|| request.params.to_raw()),
        };
        self.send(encode_request(&Id::from_number(id), &request.method, params.as_deref())).await?;
        Ok(ticket)
    }

    /// Sends a request of our own and waits at most `within` for its result.
    pub(super) async fn ask_within(
        &self,
        method: &str,
        params: &Members,
        within: Duration,
    ) -> Result<Box<RawValue>, Fault> {
        let lost = |why: Arc<str>| Fault::internal(format!("{method}: {why}")).with_status(UNREACHABLE);
        let (id, answer) = self.open(None).map_err(lost)?;
        let _forget = Forget { pipe: self, id };
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
    pub(super) async fn listen(self: &Arc<Self>, params: &Members) -> bool {
        let Ok((id, mut answer)) = self.open(None) else { return true };
        let _cancel = Cancel { pipe: self.clone(), id };
        let message = encode_request(&Id::from_number(id), "subscriptions/listen", Some(&params.to_raw()));
        if self.send(message).await.is_err() {
            return true;
        }
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

    fn try_send(&self, message: Bytes) {
        if self.outbox.try_send(one_line(message)).is_err() {
            Counts::add(&self.base.counts.dropped);
        }
    }

    /// Nobody waits for `id` any more; true if somebody did until now.
    pub(super) fn forget(&self, id: u64) -> bool {
        self.lock().calls.remove(&id).is_some()
    }

    fn open(&self, inbox: Option<InboxSender>) -> Result<(u64, oneshot::Receiver<Outcome>), Arc<str>> {
        let (answer, answered) = oneshot::channel();
        let mut open = self.lock();
        if let Some(why) = &open.over {
            return Err(why.clone());
        }
        open.last_id += 1;
        let id = open.last_id;
        open.calls.insert(id, Call { answer, inbox });
        Ok((id, answered))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests of clients that run now.
    fn running(&self) -> Vec<InboxSender> {
        self.lock().calls.values().filter_map(|call| call.inbox.clone()).collect()
    }

    fn take(&self, line: &[u8]) {
        match parse(line) {
            Ok(Message::Response(response)) => self.take_response(response),
            Ok(Message::Request(request)) => self.take_request(request),
            Ok(Message::Notification(notification)) => self.take_notification(notification),
            Err((id, fault)) => {
                self.base.invalid(&fault.message);
                let id = id.or_else(|| head_id(line));
                self.lose(id, &format!("its answer cannot be read: {}", fault.message));
            }
        }
    }

    /// The answer under `id`, if it is one of ours, cannot be had.
    fn lose(&self, id: Option<Id>, why: &str) {
        let call = id.and_then(|id| number(&id)).and_then(|id| self.lock().calls.remove(&id));
        if let Some(call) = call {
            let _ = call.answer.send(Err(Ended::Lost(why.into())));
        }
    }

    fn take_response(&self, response: Response) {
        let call = response.id.and_then(|id| number(&id)).and_then(|id| self.lock().calls.remove(&id));
        match call {
            Some(call) => {
                let _ = call.answer.send(response.outcome.map_err(Ended::Refused));
            }
            None => {
                Counts::add(&self.base.counts.unasked);
            }
        }
    }

    fn take_request(&self, request: Request) {
        if &*request.method == "ping" {
            return self.try_send(encode_result(&request.id, &raw(&serde_json::json!({}))));
        }
        let running = self.running();
        let whose = if self.owned { running.first() } else { running.first().filter(|_| running.len() == 1) };
        let id = request.id.clone();
        let why = match whose {
            Some(inbox) if inbox.put(Inbound::Ask(request)) => return,
            Some(_) => "the client does not read its messages".to_owned(),
            None if running.is_empty() => {
                "no request of a client is running that it could belong to".to_owned()
            }
            None => format!(
                "{} requests are running and nothing tells which of them asks; \
                 give each session its own child (instances = \"session\")",
                running.len()
            ),
        };
        self.try_send(encode_fault(&id, &Fault::internal(why)));
    }

    fn take_notification(&self, notification: Notification) {
        match &*notification.method {
            "notifications/progress" => self.take_progress(notification),
            "notifications/message" | "notifications/elicitation/complete" => {
                let running = self.running();
                if running.is_empty() {
                    return self.outside.heard(notification);
                }
                for inbox in running {
                    self.put(&inbox, notification.method.clone(), notification.params.clone());
                }
            }
            "notifications/cancelled" => {
                let id = notification.params.get("requestId").and_then(Id::from_raw);
                for inbox in self.running() {
                    if let Some(id) = &id {
                        inbox.put(Inbound::AskCancelled(id.clone()));
                    }
                }
            }
            _ => self.outside.heard(notification),
        }
    }

    fn take_progress(&self, mut notification: Notification) {
        let token = notification.params.get("progressToken").and_then(Id::from_raw);
        let inbox = token
            .and_then(|token| number(&token))
            .and_then(|id| self.lock().calls.get(&id).and_then(|call| call.inbox.clone()));
        let Some((inbox, token)) = inbox.and_then(|inbox| inbox.token.clone().map(|token| (inbox, token)))
        else {
            Counts::add(&self.base.counts.dropped);
            return;
        };
        notification.params.set("progressToken", token);
        self.put(&inbox, notification.method, notification.params);
    }

    fn put(&self, inbox: &InboxSender, method: Box<str>, params: Members) {
        if !inbox.put(Inbound::Notice { method, params }) {
            Counts::add(&self.base.counts.dropped);
        }
    }
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>, pipe: Arc<Pipe>) {
    let closed = pipe.closed.clone();
    let failed = async {
        while let Some(line) = queue.recv().await {
            if stdin.write_all(&line).await.is_err() {
                break;
            }
        }
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        () = failed => pipe.close("it closed its input"),
        () = closed.cancelled() => {}
    }
}

async fn read(stdout: ChildStdout, pipe: Arc<Pipe>) {
    let bytes_max = pipe.base.options.message_bytes_max;
    let mut lines = Lines::new(stdout, bytes_max, HEAD_BYTES);
    let closed = pipe.closed.clone();
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = closed.cancelled() => break,
        };
        match line {
            Some(Line::Whole(line)) => pipe.take(&line),
            Some(Line::TooLong(head)) => {
                let why = format!("a line is longer than {bytes_max} bytes");
                pipe.base.invalid(&why);
                pipe.lose(head_id(&head), &why);
            }
            None => pipe.close("it closed its output"),
        }
    }
    // A child that is told to end may have more to say, and must not be stuck with it.
    let rest = async { while lines.next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

impl ReplyTo for Pipe {
    fn reply<'a>(&'a self, message: Bytes) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let _ = self.send(message).await;
        })
    }
}
