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
use crate::upstream::base::Base;
use crate::upstream::health::Health;
use crate::upstream::places::Place;

use super::client::Endpoint;
use super::core::Core;
use super::errand::{self, Failed};
use super::keep::keep;
use super::sessions::Sessions;

/// One upstream behind a URL.
pub(in crate::upstream) struct HttpUpstream {
    core: Arc<Core>,
    sessions: Arc<Sessions>,
}

impl HttpUpstream {
    /// Starts to probe it; ends its sessions when `stop` is cancelled, in tasks of `tasks`.
    pub(in crate::upstream) fn start(
        base: Arc<Base>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<HttpUpstream> {
        let endpoint = Endpoint::new(&base.options);
        let core = Core::new(base, endpoint, stop, tasks);
        let sessions = Arc::new(Sessions::new(core.clone()));
        core.tasks.spawn(keep(core.clone()));
        core.tasks.spawn(sessions.clone().end_with_the_node());
        Arc::new(HttpUpstream { core, sessions })
    }

    /// How it is doing.
    pub(in crate::upstream) fn health(&self) -> Health {
        self.core.base.health("http", Vec::new(), self.sessions.count())
    }

    pub(in crate::upstream) fn base(&self) -> &Arc<Base> {
        &self.core.base
    }

    async fn pass(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        let core = &*self.core;
        if let Err(fault) = core.seats.open(&core.base, caller.era(), &request.method).await {
            core.wake.notify_one();
            return Err(fault);
        }
        match (caller.era(), &caller.session) {
            (Era::Modern, _) => match self.wish(request) {
                Some(answer) => answer,
                None => errand::modern(core, request, caller, responder, place).await,
            },
            (Era::Legacy, Some(port)) => self.in_session(port, request, caller, responder, place).await,
            (Era::Legacy, None) => {
                let gone = || core.base.fault(&request.method, "it has forgotten our session");
                let own = core.own().ok_or_else(gone)?;
                match errand::legacy(core, &own, request, caller, responder, place).await {
                    Ok(answer) => answer,
                    Err(Failed::Rpc(fault) | Failed::Late(fault)) => Err(fault),
                    Err(Failed::Forgotten) => Err(gone()),
                }
            }
        }
    }

    /// What modern listeners want of resources; the listen stream does it for all.
    fn wish(&self, request: &Request) -> Option<Result<Box<RawValue>, RpcError>> {
        let uri = || request.params.text("uri").unwrap_or_default();
        let wishes = &self.core.wishes;
        match request.method {
            Method::ResourcesSubscribe if !wishes.add(&uri()) => {
                let why = "too many resources are subscribed to there";
                return Some(Err(self.core.base.fault(&request.method, why)));
            }
            Method::ResourcesSubscribe => {}
            Method::ResourcesUnsubscribe => wishes.remove(&uri()),
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
        let core = &*self.core;
        if request.method == Method::SetLevel && self.sessions.now(port.key()).is_none() {
            // A session opened later begins with the level that the client's session has then.
            return Ok(raw(&serde_json::json!({})));
        }
        let slot = self.sessions.hold(caller, port, &request.method)?;
        let mut answer = Err(Failed::Forgotten);
        // An upstream that has forgotten the session has not looked at the request: once more, in a new one.
        for _ in 0..2 {
            let session = self.sessions.open(&slot, caller, port, &request.method).await?;
            answer = errand::legacy(core, &session, request, caller, responder, place.clone()).await;
            if !matches!(answer, Err(Failed::Forgotten)) {
                break;
            }
        }
        let answer = answer.unwrap_or_else(|failed| match failed {
            Failed::Rpc(fault) | Failed::Late(fault) => Err(fault),
            Failed::Forgotten => {
                Err(core.base.fault(&request.method, "it forgets sessions as soon as it opens them"))
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

impl Provider for HttpUpstream {
    fn name(&self) -> &str {
        self.core.base.name()
    }

    fn catalog(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        self.core.base.stock.watch(era)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.core.base.events.subscribe()
    }

    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a> {
        Box::pin(
            self.core
                .base
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
