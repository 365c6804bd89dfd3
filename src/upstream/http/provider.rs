//! A URL as a [`Provider`].

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mcp::{
    Caller, Catalog, Era, Event, Method, Notification, Provider, Request, Responder, RpcError, Served,
    SessionPort, encode_notification, raw,
};
use crate::upstream::health::Health;
use crate::upstream::places::Place;
use crate::upstream::upstream_state::UpstreamState;

use super::call::{self, Failed};
use super::client::Endpoint;
use super::sessions::Sessions;
use super::supervisor::supervise;
use super::upstream::HttpUpstream;

/// One upstream behind a URL.
pub(in crate::upstream) struct HttpProvider {
    upstream: Arc<HttpUpstream>,
    sessions: Arc<Sessions>,
}

impl HttpProvider {
    /// Starts to probe it; ends its sessions when `stop` is cancelled, in tasks of `tasks`.
    pub(in crate::upstream) fn start(
        state: Arc<UpstreamState>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<HttpProvider> {
        let endpoint = Endpoint::new(&state.options);
        let upstream = HttpUpstream::new(state, endpoint, stop, tasks);
        let sessions = Arc::new(Sessions::new(upstream.clone()));
        upstream.tasks.spawn(supervise(upstream.clone()));
        upstream.tasks.spawn(sessions.clone().end_with_the_node());
        Arc::new(HttpProvider { upstream, sessions })
    }

    /// How it is doing.
    pub(in crate::upstream) fn health(&self) -> Health {
        self.upstream.state.health("http", Vec::new(), self.sessions.count())
    }

    pub(in crate::upstream) fn state(&self) -> &Arc<UpstreamState> {
        &self.upstream.state
    }

    async fn pass(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        let upstream = &*self.upstream;
        if let Err(fault) = upstream.availability.ready(&upstream.state, caller.era(), &request.method).await
        {
            upstream.wake.notify_one();
            return Err(fault);
        }
        match (caller.era(), &caller.session) {
            (Era::Modern, _) => match self.subscription(request) {
                Some(answer) => answer,
                None => call::modern(upstream, request, caller, responder, place).await,
            },
            (Era::Legacy, Some(port)) => self.in_session(port, request, caller, responder, place).await,
            (Era::Legacy, None) => {
                let gone = || upstream.state.fault(&request.method, "it has forgotten our session");
                let own = upstream.own().ok_or_else(gone)?;
                match call::legacy(upstream, &own, request, caller, responder, place).await {
                    Ok(answer) => answer,
                    Err(Failed::Rpc(fault) | Failed::Late(fault)) => Err(fault),
                    Err(Failed::Forgotten) => Err(gone()),
                }
            }
        }
    }

    /// What modern listeners want of resources; the listen stream does it for all.
    fn subscription(&self, request: &Request) -> Option<Result<Box<RawValue>, RpcError>> {
        let uri = || request.params.text("uri").unwrap_or_default();
        let subscriptions = &self.upstream.subscriptions;
        match request.method {
            Method::ResourcesSubscribe if !subscriptions.add(&uri()) => {
                let why = "too many resources are subscribed to there";
                return Some(Err(self.upstream.state.fault(&request.method, why)));
            }
            Method::ResourcesSubscribe => {}
            Method::ResourcesUnsubscribe => subscriptions.remove(&uri()),
            _ => return None,
        }
        Some(Ok(raw(&serde_json::json!({}))))
    }

    async fn in_session(
        &self,
        port: &Arc<dyn SessionPort>,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        let upstream = &*self.upstream;
        if request.method == Method::SetLevel && self.sessions.now(port.key()).is_none() {
            // A session opened later begins with the level that the client's session has then.
            return Ok(raw(&serde_json::json!({})));
        }
        let slot = self.sessions.hold(caller, port, &request.method)?;
        let mut answer = Err(Failed::Forgotten);
        // An upstream that has forgotten the session has not looked at the request: once more, in a new one.
        for _ in 0..2 {
            let session = self.sessions.open(&slot, caller, port, &request.method).await?;
            answer = call::legacy(upstream, &session, request, caller, responder, place.clone()).await;
            if !matches!(answer, Err(Failed::Forgotten)) {
                break;
            }
        }
        let answer = answer.unwrap_or_else(|failed| match failed {
            Failed::Rpc(fault) | Failed::Late(fault) => Err(fault),
            Failed::Forgotten => {
                Err(upstream.state.fault(&request.method, "it forgets sessions as soon as it opens them"))
            }
        });
        let is_wanted = request.method == Method::ResourcesSubscribe;
        if answer.is_ok() && (is_wanted || request.method == Method::ResourcesUnsubscribe) {
            let uri = request.params.text("uri").unwrap_or_default();
            self.sessions.subscribed(port.key(), uri, is_wanted);
        }
        answer
    }
}

impl Provider for HttpProvider {
    fn name(&self) -> &str {
        self.upstream.state.name()
    }

    fn catalog(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        self.upstream.state.catalogs.watch(era)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.upstream.state.events.subscribe()
    }

    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a> {
        Box::pin(
            self.upstream
                .state
                .bounded(request, caller, responder, |place| self.pass(request, caller, responder, place)),
        )
    }

    fn notify(&self, notification: &Notification, caller: &Caller) {
        let Some(port) = &caller.session else { return };
        let params = (!notification.params.is_empty()).then(|| notification.params.to_raw());
        self.sessions.notify(port.key(), encode_notification(&notification.method, params.as_deref()));
    }

    fn session_ended(&self, session_key: &str) {
        self.sessions.ended(session_key);
    }
}
