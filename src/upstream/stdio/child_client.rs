//! A started child with its connection, and the handshakes that make it useful.

use std::sync::Arc;
use std::time::Duration;

use crate::mcp::{Era, Method, RawObject, code};
use crate::upstream::catalog_store::ServerDescription;
use crate::upstream::handshake;
use crate::upstream::inbox::NotificationSink;
use crate::upstream::list_changes::ListChanges;
use crate::upstream::list_reader::{RpcClient, RpcFuture};
use crate::upstream::upstream_state::UpstreamState;

use super::child::{Process, Spawner};
use super::connection::StdioConnection;

/// Longest wait for the answer to `server/discover`; older servers give none.
const DISCOVER_MAX: Duration = Duration::from_secs(10);
/// How long the last output of a child that ended is read before its requests are given up.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// A child that runs.
pub(super) struct ChildClient {
    pub(super) process: Process,
    pub(super) connection: Arc<StdioConnection>,
    /// Lists that it announced as changed.
    pub(super) changes: Arc<ListChanges>,
    _close: CloseOnDrop,
    /// Modern and legacy, as far as the handshakes were made.
    pub(super) modern: Option<ServerDescription>,
    pub(super) legacy: Option<ServerDescription>,
}

impl ChildClient {
    /// Starts the child; no handshake yet.
    pub(super) async fn start(
        state: &Arc<UpstreamState>,
        spawner: &Arc<Spawner>,
        changes: Arc<ListChanges>,
        sink: Arc<dyn NotificationSink>,
    ) -> Result<ChildClient, String> {
        let started = spawner.spawn(&state.options).await?;
        let pid = started.process.pid();
        tokio::spawn(super::stderr::log(state.name().into(), pid, started.stderr));
        let connection = StdioConnection::start(state.clone(), pid, started.stdin, started.stdout, sink);
        let close = CloseOnDrop(connection.clone());
        Ok(ChildClient {
            process: started.process,
            connection,
            changes,
            _close: close,
            modern: None,
            legacy: None,
        })
    }

    /// `server/discover`.
    pub(super) async fn discover(&mut self, within: Duration) -> Result<(), String> {
        let params = handshake::with_own_meta(RawObject::new());
        let result = self.connection.ask_within(&Method::Discover, &params, within.min(DISCOVER_MAX)).await;
        let description = handshake::read_discovered(&result.map_err(|fault| fault.message)?)?;
        self.modern = Some(description);
        Ok(())
    }

    /// `initialize` and `notifications/initialized`. The error says whether the child is modern already.
    pub(super) async fn initialize(
        &mut self,
        params: &RawObject,
        within: Duration,
    ) -> Result<(), (bool, String)> {
        let result = self.connection.ask_within(&Method::Initialize, params, within).await;
        let result =
            result.map_err(|fault| (fault.code == code::VERSION_UNSUPPORTED, fault.message.clone()))?;
        let (description, _version) = handshake::read_initialized(&result).map_err(|why| (false, why))?;
        self.connection
            .send(crate::mcp::encode_notification(&Method::Initialized, None))
            .await
            .map_err(|why| (false, why.to_string()))?;
        self.legacy = Some(description);
        Ok(())
    }

    /// What it said about itself in `era`.
    pub(super) fn description(&self, era: Era) -> Option<&ServerDescription> {
        match era {
            Era::Modern => self.modern.as_ref(),
            Era::Legacy => self.legacy.as_ref(),
        }
    }

    /// Resolves when the child cannot be talked to any more.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.connection.closed().cancelled() => {}
            () = self.process.exited() => {
                let _ = tokio::time::timeout(LAST_OUTPUT, self.connection.closed().cancelled()).await;
            }
        }
    }

    /// Ends it in bounded time; requests still running get an error. Says why it is over.
    pub(super) async fn end(self, why: &str, step: Duration) -> String {
        self.connection.close(why);
        let why = self.connection.over().unwrap_or_else(|| why.into());
        let status = self.process.end(step).await;
        format!("{why} ({status})")
    }
}

/// Ends the conversation with the child, also where the child was given up half-way.
struct CloseOnDrop(Arc<StdioConnection>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("its child was given up");
    }
}

/// Puts our own requests of one era to a child.
pub(super) struct StdioRpcClient<'a> {
    pub(super) connection: &'a StdioConnection,
    pub(super) era: Era,
    pub(super) within: Duration,
}

impl RpcClient for StdioRpcClient<'_> {
    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> RpcFuture<'a> {
        Box::pin(async move {
            let params = match self.era {
                Era::Modern => handshake::with_own_meta(params),
                Era::Legacy => params,
            };
            self.connection.ask_within(method, &params, self.within).await
        })
    }
}
