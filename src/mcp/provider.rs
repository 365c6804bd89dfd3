//! The seam between the edge and what stands behind it: native tools and upstreams look alike from here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};

use super::{Caller, Catalog, Era, Method, Notification, Request, Responder, RpcError};

/// `result` of one served request, raw, or the error.
pub type CallResult = Result<Box<RawValue>, RpcError>;
/// The future of one served request: its `result`, raw, or the fault.
pub type Served<'a> = Pin<Box<dyn Future<Output = CallResult> + Send + 'a>>;

/// The extension's name in capabilities (2026-07-28).
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// One task, as its server names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskName {
    /// The upstream that runs it; `None` for the node's own providers, and as any provider says it.
    pub upstream: Option<Arc<str>>,
    /// Its id there.
    pub own: Arc<str>,
}

/// Something that happened outside any request.
#[derive(Clone, Debug)]
pub enum Event {
    /// The contents of this resource changed.
    ResourceUpdated {
        /// As clients name it.
        uri: Arc<str>,
    },
    /// A task changed: the params of `notifications/tasks`, raw, for listeners who asked for that task.
    TaskChanged {
        /// Which one.
        task: TaskName,
        /// The notification's method.
        method: Method,
        /// The notification's params.
        params: Arc<RawValue>,
    },
}

/// A source of tools, prompts and resources.
pub trait Provider: Send + Sync + 'static {
    /// Short name: `[a-z0-9-]`, unique in the node; prefix of its names where they collide.
    fn name(&self) -> &str;

    /// The newest catalog for clients of `era`; `None` if it cannot serve that era.
    fn catalog(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>>;

    /// Events outside requests; a receiver that lags must take it as "anything may have changed".
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Serves one request (`tools/call`, `prompts/get`, `resources/read`, `completion/complete`,
    /// `resources/subscribe`, `tasks/*`, ...; never a list). Names in `request` are the provider's own.
    /// Messages that precede the result go through `responder`. Dropping the future, or
    /// `responder.cancelled()`, cancels the request.
    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a>;

    /// A client's notification that concerns this provider (`notifications/roots/list_changed`, ...). Must
    /// not wait.
    fn notify(&self, notification: &Notification, caller: &Caller);

    /// A legacy session ended: free what was held for it. Must not wait.
    fn session_ended(&self, session_key: &str);
}
