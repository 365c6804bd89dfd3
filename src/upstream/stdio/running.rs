//! A started child with its conversation, and the handshakes that make it useful.

use std::sync::Arc;
use std::time::Duration;

use crate::mcp::{Era, Method, RawObject, code};
use crate::upstream::base::Base;
use crate::upstream::changes::Changes;
use crate::upstream::collect::{Asked, Asker};
use crate::upstream::hello;
use crate::upstream::inbox::Outside;
use crate::upstream::stock::Greeting;

use super::child::{Process, Spawner};
use super::pipe::Pipe;

/// Longest wait for the answer to `server/discover`; older servers give none.
const DISCOVER_MAX: Duration = Duration::from_secs(10);
/// How long the last output of a child that ended is read before its requests are given up.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// A child that runs.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) pipe: Arc<Pipe>,
    /// Lists that it announced as changed.
    pub(super) changes: Arc<Changes>,
    _close: CloseOnDrop,
    /// Modern and legacy, as far as the handshakes were made.
    pub(super) modern: Option<Greeting>,
    pub(super) legacy: Option<Greeting>,
}

impl Running {
    /// Starts the child; no handshake yet.
    pub(super) async fn start(
        base: &Arc<Base>,
        spawner: &Arc<Spawner>,
        changes: Arc<Changes>,
        outside: Arc<dyn Outside>,
    ) -> Result<Running, String> {
        let started = spawner.spawn(&base.options).await?;
        let pid = started.process.pid();
        tokio::spawn(super::stderr::log(base.name().into(), pid, started.stderr));
        let pipe = Pipe::start(base.clone(), pid, started.stdin, started.stdout, outside);
        let close = CloseOnDrop(pipe.clone());
        Ok(Running { process: started.process, pipe, changes, _close: close, modern: None, legacy: None })
    }

    /// `server/discover`.
    pub(super) async fn discover(&mut self, within: Duration) -> Result<(), String> {
        let params = hello::with_own_meta(RawObject::new());
        let result = self.pipe.ask_within(&Method::Discover, &params, within.min(DISCOVER_MAX)).await;
        let greeting = hello::read_discovered(&result.map_err(|fault| fault.message)?)?;
        self.modern = Some(greeting);
        Ok(())
    }

    /// `initialize` and `notifications/initialized`. The error says whether the child is modern already.
    pub(super) async fn initialize(
        &mut self,
        params: &RawObject,
        within: Duration,
    ) -> Result<(), (bool, String)> {
        let result = self.pipe.ask_within(&Method::Initialize, params, within).await;
        let result =
            result.map_err(|fault| (fault.code == code::VERSION_UNSUPPORTED, fault.message.clone()))?;
        let (greeting, _version) = hello::read_initialized(&result).map_err(|why| (false, why))?;
        self.pipe
            .send(crate::mcp::encode_notification(&Method::Initialized, None))
            .await
            .map_err(|why| (false, why.to_string()))?;
        self.legacy = Some(greeting);
        Ok(())
    }

    /// What it said about itself in `era`.
    pub(super) fn greeting(&self, era: Era) -> Option<&Greeting> {
        match era {
            Era::Modern => self.modern.as_ref(),
            Era::Legacy => self.legacy.as_ref(),
        }
    }

    /// Resolves when the child cannot be talked to any more.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.pipe.closed().cancelled() => {}
            () = self.process.exited() => {
                let _ = tokio::time::timeout(LAST_OUTPUT, self.pipe.closed().cancelled()).await;
            }
        }
    }

    /// Ends it in bounded time; requests still running get an error. Says why it is over.
    pub(super) async fn end(self, why: &str, step: Duration) -> String {
        self.pipe.close(why);
        let why = self.pipe.over().unwrap_or_else(|| why.into());
        let status = self.process.end(step).await;
        format!("{why} ({status})")
    }
}

/// Ends the conversation with the child, also where the child was given up half-way.
struct CloseOnDrop(Arc<Pipe>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("its child was given up");
    }
}

/// Puts our own requests of one era to a child.
pub(super) struct PipeAsker<'a> {
    pub(super) pipe: &'a Pipe,
    pub(super) era: Era,
    pub(super) within: Duration,
}

impl Asker for PipeAsker<'_> {
    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> Asked<'a> {
        Box::pin(async move {
            let params = match self.era {
                Era::Modern => hello::with_own_meta(params),
                Era::Legacy => params,
            };
            self.pipe.ask_within(method, &params, self.within).await
        })
    }
}
