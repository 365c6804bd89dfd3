//! One request that is being served: messages that precede its result, then the result.
//!
//! The call runs only while somebody awaits [`PendingCall::next`]; dropping it cancels the request.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

use super::EncodedResponse;
use crate::mcp::{LogLevel, Outbound, Outbox};
use crate::session::passes;

type ResponseFuture = Pin<Box<dyn Future<Output = EncodedResponse> + Send>>;

/// Next item of a call.
#[derive(Debug)]
pub enum StreamItem {
    /// A message before the result, or a hangup.
    Message(Outbound),
    /// The end.
    Done(EncodedResponse),
}

/// One request that is being served.
pub struct PendingCall {
    work: ResponseFuture,
    frames: Outbox,
    log_level: Option<LogLevel>,
    outcome: Option<EncodedResponse>,
    /// Nobody can send frames any more.
    is_silent: bool,
    /// Whether the answer is a stream whatever comes.
    is_listening: bool,
    _held: Option<Box<dyn Any + Send>>,
    _cancel: tokio_util::sync::DropGuard,
}

impl PendingCall {
    /// Of `work`, whose messages come through `frames`; log messages below `log_level` are dropped here.
    pub(super) fn new(
        work: ResponseFuture,
        frames: Outbox,
        log_level: Option<LogLevel>,
        cancelled: CancellationToken,
    ) -> PendingCall {
        PendingCall {
            work,
            frames,
            log_level,
            outcome: None,
            is_silent: false,
            is_listening: false,
            _held: None,
            _cancel: cancelled.drop_guard(),
        }
    }

    /// The same, as a stream that stays open until the client or the node ends it.
    pub(super) fn listening(mut self) -> PendingCall {
        self.is_listening = true;
        self
    }

    /// The same, which holds something until it ends.
    #[must_use]
    pub fn holding<T: Send + 'static>(mut self, held: Option<T>) -> PendingCall {
        self._held = held.map(|held| Box::new(held) as Box<dyn Any + Send>);
        self
    }

    /// Whether the answer is a stream whatever comes.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// The next message. Loses nothing if it is dropped while it waits.
    pub async fn next(&mut self) -> StreamItem {
        loop {
            let frame = match &self.outcome {
                Some(_) => self.frames.try_recv(),
                None => tokio::select! {
                    biased;
                    frame = self.frames.recv(), if !self.is_silent => {
                        self.is_silent = frame.is_none();
                        frame
                    }
                    outcome = &mut self.work => {
                        self.outcome = Some(outcome);
                        continue;
                    }
                },
            };
            match frame {
                Some(Outbound::Message(message)) if !passes(&message, self.log_level) => {}
                Some(frame) => return StreamItem::Message(frame),
                None => {
                    if let Some(outcome) = self.outcome.take() {
                        return StreamItem::Done(outcome);
                    }
                }
            }
        }
    }

    /// Runs it to its end although nobody hears of it: what it sends is dropped, what it asks stays
    /// unanswered.
    pub async fn finish_unheard(mut self) {
        if self.outcome.is_some() {
            return;
        }
        let swallowing = async {
            self.frames.swallow().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = &mut self.work => {}
            () = swallowing => {}
        }
    }
}
