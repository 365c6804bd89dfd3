//! A command as a [`Provider`]: which child serves a request, and the one loop that carries it through.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::mcp::{
    Caller, Catalog, Era, Event, LogLevel, Method, Notification, Provider, Request, Responder, RpcError,
    Served, raw,
};
use crate::upstream::forwarder::{Forwarder, fault_of};
use crate::upstream::health::Health;
use crate::upstream::places::Place;
use crate::upstream::request_table::Owner;
use crate::upstream::upstream_state::UpstreamState;

use super::child::Spawner;
use super::connection::{Ended, Outcome, StdioConnection};
use super::session_children::SessionChildren;
use super::shared_children::SharedChildren;
use super::shared_clients::{PendingSubscription, one};

/// One upstream behind stdio.
pub(in crate::upstream) struct StdioProvider {
    state: Arc<UpstreamState>,
    shared: Arc<SharedChildren>,
    session_children: Option<SessionChildren>,
}

impl StdioProvider {
    /// Starts to probe it; ends its children when `stop` is cancelled, in tasks of `tasks`.
    pub(in crate::upstream) fn start(
        state: Arc<UpstreamState>,
        spawner: Arc<Spawner>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<StdioProvider> {
        let instances = state.options.upstream.instances;
        let shared = SharedChildren::new(state.clone(), spawner, stop, tasks.clone());
        tasks.spawn(shared.clone().supervise());
        let session_children =
            (instances == config::Instances::Session).then(|| SessionChildren::new(shared.clone()));
        Arc::new(StdioProvider { state, shared, session_children })
    }

    /// How it is doing.
    pub(in crate::upstream) fn health(&self) -> Health {
        let sessions = self
            .session_children
            .as_ref()
            .map_or_else(|| self.shared.clients.sessions(), SessionChildren::sessions);
        self.state.health("stdio", self.shared.pids(), sessions)
    }

    pub(in crate::upstream) fn state(&self) -> &Arc<UpstreamState> {
        &self.state
    }

    async fn pass(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        if let (Some(session_children), Some(session)) = (&self.session_children, &caller.session) {
            let (connection, _held) = session_children.connection(caller, session, &request.method).await?;
            return self.carry(&connection, request, caller, responder, place).await;
        }
        if let Some(answer) = self.join(request, caller).await {
            return answer;
        }
        let subscription = self.subscription(request, caller)?;
        let connection = self.shared.availability.ready(&self.state, caller.era(), &request.method).await?;
        let answer = self.carry(&connection, request, caller, responder, place).await;
        if let Some(subscription) = subscription.filter(|_| answer.is_ok()) {
            subscription.supervise();
        }
        answer
    }

    /// The subscription that a session asks a shared child for.
    fn subscription<'a>(
        &'a self,
        request: &Request,
        caller: &'a Caller,
    ) -> Result<Option<PendingSubscription<'a>>, RpcError> {
        let session = caller.session.as_ref().filter(|_| request.method == Method::ResourcesSubscribe);
        let Some(session) = session else { return Ok(None) };
        let uri = request.params.text("uri").unwrap_or_default();
        let subscription = PendingSubscription::new(&self.shared.clients, session.key(), uri);
        subscription.map(Some).ok_or_else(|| self.too_many(request))
    }

    /// What many sessions ask of a shared child in their own name. `None`: pass it on as it is.
    async fn join(&self, request: &Request, caller: &Caller) -> Option<Result<Box<RawValue>, RpcError>> {
        let clients = &self.shared.clients;
        let done = Some(Ok(raw(&serde_json::json!({}))));
        let uri = || request.params.text("uri").unwrap_or_default();
        let Some(session) = &caller.session else {
            if caller.era() == Era::Legacy {
                return None;
            }
            return match request.method {
                Method::ResourcesSubscribe if clients.subscriptions.add(&uri()) => done,
                Method::ResourcesSubscribe => Some(Err(self.too_many(request))),
                Method::ResourcesUnsubscribe => {
                    clients.subscriptions.remove(&uri());
                    done
                }
                _ => None,
            };
        };
        clients.joins(caller);
        match request.method {
            Method::ResourcesUnsubscribe if !clients.unsubscribe(session.key(), &uri()) => done,
            Method::SetLevel => {
                let level = request.params.read::<LogLevel>("level").ok().flatten()?;
                let level = clients.level(session.key(), level);
                let connection =
                    match self.shared.availability.ready(&self.state, Era::Legacy, &request.method).await {
                        Ok(connection) => connection,
                        Err(fault) => return Some(Err(fault)),
                    };
                let within = Duration::from_millis(self.state.options.upstream.timeout_ms);
                Some(connection.ask_within(&request.method, &one("level", &level), within).await)
            }
            _ => None,
        }
    }

    fn too_many(&self, request: &Request) -> RpcError {
        self.state.fault(&request.method, "too many resources are subscribed to there")
    }

    /// Sends the request and carries what comes back until its answer, in bounded time.
    async fn carry(
        &self,
        connection: &Arc<StdioConnection>,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        let (method, options) = (&request.method, &self.state.options);
        let silence = Duration::from_millis(options.upstream.timeout_ms);
        let down = |why: Arc<str>| self.state.fault(method, &why);
        let late =
            || self.state.fault(method, &format!("no answer within {} ms", options.upstream.timeout_ms));
        let sent = tokio::time::timeout(silence, connection.request(request, Owner::of(caller), place)).await;
        let mut pending = sent.map_err(|_| late())?.map_err(down)?;
        let mut forwarder = Forwarder::new(caller, responder, &**connection);
        let gone = |_| self.state.fault(method, "the client is gone");
        let outcome = loop {
            let asking = forwarder.is_asking();
            tokio::select! {
                biased;
                inbound = pending.inbox.next() => forwarder.take(inbound).await.map_err(gone)?,
                outcome = &mut pending.answer => break outcome,
                () = forwarder.drive(), if asking => {}
                () = tokio::time::sleep(silence), if !asking => return Err(late()),
            }
        };
        while let Some(inbound) = pending.inbox.ready() {
            forwarder.take(inbound).await.map_err(gone)?;
        }
        self.outcome(method, outcome.unwrap_or_else(|_| Err(Ended::Lost("no answer".into()))))
    }

    fn outcome(&self, method: &str, outcome: Outcome) -> Result<Box<RawValue>, RpcError> {
        outcome.map_err(|ended| match ended {
            Ended::Refused(error) => fault_of(&error),
            Ended::Lost(why) => self.state.fault(method, &why),
        })
    }
}

impl Provider for StdioProvider {
    fn name(&self) -> &str {
        self.state.name()
    }

    fn catalog(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        self.state.catalogs.watch(era)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.state.events.subscribe()
    }

    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a> {
        Box::pin(
            self.state
                .bounded(request, caller, responder, |place| self.pass(request, caller, responder, place)),
        )
    }

    fn notify(&self, notification: &Notification, caller: &Caller) {
        // To a shared child, one client's roots and progress would be another's.
        let (Some(session_children), Some(session)) = (&self.session_children, &caller.session) else {
            return;
        };
        if let Some(connection) = session_children.connection_now(session.key()) {
            let params = (!notification.params.is_empty()).then(|| notification.params.to_raw());
            connection.try_notify(&notification.method, params.as_deref());
        }
    }

    fn session_ended(&self, session_key: &str) {
        if let Some(session_children) = &self.session_children {
            session_children.session_ended(session_key);
        }
        let orphans = self.shared.clients.leaves(session_key);
        let Some(connection) = self.shared.availability.now(Era::Legacy).filter(|_| !orphans.is_empty())
        else {
            return;
        };
        let within = Duration::from_millis(self.state.options.upstream.timeout_ms);
        self.shared.tasks.spawn(async move {
            for uri in orphans {
                let _ = connection.ask_within(&Method::ResourcesUnsubscribe, &one("uri", &uri), within).await;
            }
        });
    }
}
