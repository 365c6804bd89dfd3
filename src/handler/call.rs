//! One request as its handler sees it: who asks, the way back, and questions to the client in one form for
//! both eras.
//!
//! A question is answered in place where the client can be asked (legacy sessions, tasks). A modern client
//! cannot: the handler ends with [`ToolError::InputRequired`], the client answers with a retry, and the
//! handler runs again from its start, where the same question then has its answer. So what a handler does
//! before its last question must bear being done twice.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::try_join_all;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::handle::ServerHandle;
use super::input::{Ask, ElicitForm, Elicited, Root, SampleParams, Sampled};
use super::registry::Shared;
use super::rounds::{Rounds, binding};
use super::tasks::TaskRef;
use super::tool_error::{InputRequired, ToolError};
use crate::mcp::{
    Caller, ClientCapabilities, Era, LogLevel, Method, RawObject, Request, Responder, RpcError,
    ServerRequestError, raw,
};

/// One request that a handler serves. Cheap to clone.
#[derive(Clone)]
pub struct HandlerCall(pub(super) Arc<CallState>);

pub(super) struct CallState {
    pub(super) shared: Arc<Shared>,
    pub(super) request: Request,
    pub(super) caller: Caller,
    pub(super) responder: Responder,
    pub(super) stop: CancellationToken,
    pub(super) rounds: Mutex<Rounds>,
    progress: Mutex<f64>,
    /// Channel on which this call says that it is to be a task; `None` where it cannot be one.
    pub(super) task_requested: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
    pub(super) task: OnceLock<TaskRef>,
}

impl HandlerCall {
    pub(super) fn new(
        shared: &Arc<Shared>,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
    ) -> Result<HandlerCall, RpcError> {
        let bound = || binding(&shared.name, &caller.principal, &request.method, &request.params);
        let rounds = match caller.era() {
            Era::Legacy => Rounds::default(),
            Era::Modern => Rounds::resume(&request.params, &shared.settings, bound)?,
        };
        Ok(HandlerCall(Arc::new(CallState {
            shared: shared.clone(),
            request: request.clone(),
            caller: caller.clone(),
            responder: responder.clone(),
            stop: CancellationToken::new(),
            rounds: Mutex::new(rounds),
            progress: Mutex::new(f64::NEG_INFINITY),
            task_requested: Mutex::new(None),
            task: OnceLock::new(),
        })))
    }

    /// The client that asks: principal, revision, session.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Questions that the client takes: `call.client().has("sampling")`.
    #[must_use]
    pub fn client(&self) -> &ClientCapabilities {
        &self.0.caller.capabilities
    }

    /// The whole request, raw, with members that this library does not know.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// The server's handle, to change what it offers or to say that a resource changed.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::of(&self.0.shared)
    }

    /// Cancelled when this request ends, by itself or by the client. A cancelled handler is dropped at its
    /// next `.await`; this is for work that it has moved elsewhere.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Tells the client how far the work is. Does nothing if the client gave no progress token, or if
    /// `done` has not grown. In a task, `message` becomes the task's status message.
    pub async fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        {
            let mut last = self.0.progress.lock();
            if done.is_nan() || done <= *last {
                return;
            }
            *last = done;
        }
        if let Some(task) = self.0.task.get() {
            if let Some(message) = message {
                task.say(message);
            }
            return;
        }
        let Some(token) = &self.0.request.meta.progress_token else { return };
        let mut params = RawObject::new();
        params.set("progressToken", token.clone());
        params.set("progress", raw(&number(done)));
        if let Some(total) = total {
            params.set("total", raw(&number(total)));
        }
        if let Some(message) = message {
            params.set("message", raw(message));
        }
        // The client is gone: the handler will notice by being cancelled.
        let _ = self.0.responder.notify(&Method::Progress, &params.to_raw()).await;
    }

    /// Sends a log message to the client if it wants this level.
    pub async fn log<T: Serialize + ?Sized>(&self, level: LogLevel, logger: Option<&str>, data: &T) {
        let wanted = match &self.0.caller.session {
            Some(session) => session.log_level().or(self.0.caller.log_level),
            None => self.0.caller.log_level,
        };
        if wanted.is_none_or(|wanted| level < wanted) || self.0.task.get().is_some() {
            return;
        }
        let Ok(data) = serde_json::value::to_raw_value(data) else { return };
        let mut params = RawObject::new();
        params.set("level", raw(&level));
        if let Some(logger) = logger {
            params.set("logger", raw(logger));
        }
        params.set("data", data);
        // The client is gone: the handler will notice by being cancelled.
        let _ = self.0.responder.notify(&Method::LogMessage, &params.to_raw()).await;
    }

    /// Legacy: closes the client's stream; what follows is delivered when it comes back, after `retry_ms`.
    /// For work that lasts longer than a stream should. Does nothing elsewhere.
    pub async fn close_stream(&self, retry_ms: u64) {
        if self.0.caller.era() == Era::Legacy {
            let _ = self.0.responder.hang_up(retry_ms).await;
        }
    }

    /// Turns this call into a task: the client gets a task's id now and the result by `tasks/get`; what
    /// follows runs on its own. Answers whether it is one: not for clients that do not know tasks, and only
    /// for tools that [support](super::TaskSupport) them.
    ///
    /// Questions asked before are put to the client in the ordinary way, questions after through the task.
    pub async fn start_task(&self) -> bool {
        if self.0.task.get().is_some() {
            return true;
        }
        let sender = self.0.task_requested.lock().take();
        let Some(sender) = sender else { return false };
        let (adopted, is_adopted) = oneshot::channel();
        // Whoever serves the request takes the future of this handler and lets it go on; else it is dropped
        // right here.
        sender.send(adopted).is_ok() && is_adopted.await.is_ok()
    }

    /// Asks the user to fill in a form.
    ///
    /// # Errors
    /// [`ToolError::InputRequired`] in the modern era until the client has answered: pass it on with `?`. A
    /// fault if a modern client did not declare the capability or answered with another shape; a failure if
    /// a legacy client cannot be asked, refuses or does not answer in time.
    pub async fn elicit(&self, key: &str, form: ElicitForm) -> Result<Elicited, ToolError> {
        self.inputs([Ask::elicit(key, form)]).await?.elicited(key)
    }

    /// Asks the user to open a page. The answer says only whether the user agreed to.
    ///
    /// # Errors
    /// As [`HandlerCall::elicit`].
    pub async fn elicit_url(&self, key: &str, message: &str, url: &str) -> Result<Elicited, ToolError> {
        self.inputs([Ask::elicit_url(key, message, url)]).await?.elicited(key)
    }

    /// Asks the client's model.
    ///
    /// # Errors
    /// As [`HandlerCall::elicit`].
    pub async fn sample(&self, key: &str, params: SampleParams) -> Result<Sampled, ToolError> {
        self.inputs([Ask::sample(key, params)]).await?.sampled(key)
    }

    /// Asks for the client's roots.
    ///
    /// # Errors
    /// As [`HandlerCall::elicit`].
    pub async fn roots(&self, key: &str) -> Result<Vec<Root>, ToolError> {
        self.inputs([Ask::roots(key)]).await?.roots(key)
    }

    /// Asks several questions at once.
    ///
    /// # Errors
    /// As [`HandlerCall::elicit`].
    pub async fn inputs(&self, asks: impl IntoIterator<Item = Ask>) -> Result<Answers, ToolError> {
        let asks: Vec<Ask> = asks.into_iter().collect();
        let mut open = Vec::new();
        for ask in &asks {
            self.may_ask(ask)?;
            if !self.take(ask)? {
                open.push(ask.clone());
            }
        }
        if !open.is_empty() {
            if !self.answers_in_place() {
                return Err(ToolError::InputRequired(InputRequired { asks: open }));
            }
            self.gather(&open).await?;
        }
        let rounds = self.rounds();
        let answers = asks.iter().filter_map(|ask| {
            let answer = rounds.taken.get(&ask.key)?;
            Some((ask.key.clone(), answer.clone()))
        });
        Ok(Answers(answers.collect()))
    }

    /// The client's answer under `key`, raw and unchecked: for handlers that return
    /// [`ToolError::InputRequired`] by hand.
    #[must_use]
    pub fn response(&self, key: &str) -> Option<Box<RawValue>> {
        let rounds = self.rounds();
        rounds.taken.get(key).or_else(|| rounds.offered.get(key)).cloned()
    }

    /// Value that this handler kept in an earlier round of the same request; `None` in the first.
    ///
    /// # Errors
    /// serde_json's own words if it has another shape.
    pub fn state<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        let state = self.rounds().state.clone();
        state.map(|state| serde_json::from_str(state.get())).transpose()
    }

    /// Keeps `state` for the next round of the same request. A modern client holds it, sealed: it can
    /// neither read nor alter it, but it can come back with an older one.
    ///
    /// # Errors
    /// serde_json's own words if `state` does not serialise.
    pub fn set_state<T: Serialize + ?Sized>(&self, state: &T) -> Result<(), serde_json::Error> {
        self.rounds().state = Some(serde_json::value::to_raw_value(state)?);
        Ok(())
    }

    pub(super) fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.0.rounds.lock()
    }

    /// Whether questions are answered while the handler waits.
    pub(super) fn answers_in_place(&self) -> bool {
        self.0.caller.era() == Era::Legacy || self.0.task.get().is_some()
    }

    fn may_ask(&self, ask: &Ask) -> Result<(), ToolError> {
        let Some(needs) = ask.lacks(self.client()) else { return Ok(()) };
        Err(match self.0.caller.era() {
            Era::Modern => ToolError::Rpc(RpcError::capability_missing(&needs)),
            Era::Legacy => ToolError::failed(format!("this client does not offer {}", ask.method())),
        })
    }

    /// Takes the answer to `ask` if there is one.
    fn take(&self, ask: &Ask) -> Result<bool, RpcError> {
        let mut rounds = self.rounds();
        let offered = match rounds.taken.get(&ask.key) {
            Some(taken) => taken.clone(),
            None => match rounds.offered.get(&ask.key) {
                Some(offered) => offered.clone(),
                None => return Ok(false),
            },
        };
        ask.check(&offered).map_err(|why| RpcError::invalid_params(format!("inputResponses: {why}")))?;
        rounds.taken.insert(ask.key.clone(), offered);
        Ok(true)
    }

    /// The same for questions that were not checked against the client's capabilities yet.
    pub(super) async fn gather_checked(&self, asks: &[Ask]) -> Result<(), ToolError> {
        asks.iter().try_for_each(|ask| self.may_ask(ask))?;
        self.gather(asks).await
    }

    /// Puts `asks` to a client that can be asked, and keeps its answers.
    async fn gather(&self, asks: &[Ask]) -> Result<(), ToolError> {
        let wait_ms = self.0.shared.settings.limits.input_wait_ms;
        let all = async {
            match self.0.task.get() {
                Some(task) => task.ask(asks).await,
                None => try_join_all(asks.iter().map(|ask| self.ask_legacy(ask))).await,
            }
        };
        let Ok(answers) = tokio::time::timeout(Duration::from_millis(wait_ms), all).await else {
            return Err(ToolError::failed(format!("no answer from the client in {wait_ms} ms")));
        };
        let mut rounds = self.rounds();
        for (ask, answer) in asks.iter().zip(answers?) {
            rounds.taken.insert(ask.key.clone(), answer);
        }
        Ok(())
    }

    async fn ask_legacy(&self, ask: &Ask) -> Result<Box<RawValue>, ToolError> {
        let mut params = ask.params.clone();
        if ask.kind == super::input::Kind::Url {
            // This revision pairs the page with its end by an id.
            params["elicitationId"] = super::tasks::random_id().into();
        }
        let answer =
            self.0.responder.ask(&ask.method(), Some(&raw(&params))).await.map_err(|error| match error {
                ServerRequestError::Refused(error) => {
                    ToolError::failed(format!("the client refused: {error}"))
                }
                error => ToolError::from(error),
            })?;
        ask.check(&answer).map_err(ToolError::failed)?;
        Ok(answer)
    }
}

/// Whole numbers without a fraction, as people write them.
fn number(value: f64) -> Value {
    // Below 2^53 every whole number is exact.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        return Value::from(value as i64);
    }
    Value::from(value)
}
