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
use crate::upstream::base::Base;
use crate::upstream::calls::Owner;
use crate::upstream::health::Health;
use crate::upstream::passage::{Passage, fault_of};
use crate::upstream::places::Place;

use super::audience::{Wish, one};
use super::child::Spawner;
use super::owned::Owned;
use super::pipe::{Ended, Outcome, Pipe};
use super::shared::Shared;

/// One upstream behind stdio.
pub(in crate::upstream) struct StdioUpstream {
    base: Arc<Base>,
    shared: Arc<Shared>,
    owned: Option<Owned>,
}

impl StdioUpstream {
    /// Starts to probe it; ends its children when `stop` is cancelled, in tasks of `tasks`.
    pub(in crate::upstream) fn start(
        base: Arc<Base>,
        spawner: Arc<Spawner>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<StdioUpstream> {
        let instances = base.options.upstream.instances;
        let shared = Shared::new(base.clone(), spawner, stop, tasks.clone());
        tasks.spawn(shared.clone().keep());
        let owned = (instances == config::Instances::Session).then(|| Owned::new(shared.clone()));
        Arc::new(StdioUpstream { base, shared, owned })
    }

    /// How it is doing.
    pub(in crate::upstream) fn health(&self) -> Health {
        let sessions = self.owned.as_ref().map_or_else(|| self.shared.audience.sessions(), Owned::sessions);
        self.base.health("stdio", self.shared.pids(), sessions)
    }

    pub(in crate::upstream) fn base(&self) -> &Arc<Base> {
        &self.base
    }

    async fn pass(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        if let (Some(owned), Some(session)) = (&self.owned, &caller.session) {
            let (pipe, _held) = owned.pipe(caller, session, &request.method).await?;
            return self.carry(&pipe, request, caller, responder, place).await;
        }
        if let Some(answer) = self.join(request, caller).await {
            return answer;
        }
        let wish = self.wish(request, caller)?;
        let pipe = self.shared.seats.open(&self.base, caller.era(), &request.method).await?;
        let answer = self.carry(&pipe, request, caller, responder, place).await;
        if let Some(wish) = wish.filter(|_| answer.is_ok()) {
            wish.keep();
        }
        answer
    }

    /// The subscription that a session asks a shared child for.
    fn wish<'a>(&'a self, request: &Request, caller: &'a Caller) -> Result<Option<Wish<'a>>, RpcError> {
        let session = caller.session.as_ref().filter(|_| request.method == Method::ResourcesSubscribe);
        let Some(session) = session else { return Ok(None) };
        let uri = request.params.text("uri").unwrap_or_default();
        let wish = Wish::new(&self.shared.audience, session.key(), uri);
        wish.map(Some).ok_or_else(|| self.too_many(request))
    }

    /// What many sessions ask of a shared child in their own name. `None`: pass it on as it is.
    async fn join(&self, request: &Request, caller: &Caller) -> Option<Result<Box<RawValue>, RpcError>> {
        let audience = &self.shared.audience;
        let done = Some(Ok(raw(&serde_json::json!({}))));
        let uri = || request.params.text("uri").unwrap_or_default();
        let Some(session) = &caller.session else {
            if caller.era() == Era::Legacy {
                return None;
            }
            return match request.method {
                Method::ResourcesSubscribe if audience.wishes.add(&uri()) => done,
                Method::ResourcesSubscribe => Some(Err(self.too_many(request))),
                Method::ResourcesUnsubscribe => {
                    audience.wishes.remove(&uri());
                    done
                }
                _ => None,
            };
        };
        audience.joins(caller);
        match request.method {
            Method::ResourcesUnsubscribe if !audience.unsubscribe(session.key(), &uri()) => done,
            Method::SetLevel => {
                let level = request.params.read::<LogLevel>("level").ok().flatten()?;
                let level = audience.level(session.key(), level);
                let pipe = match self.shared.seats.open(&self.base, Era::Legacy, &request.method).await {
                    Ok(pipe) => pipe,
                    Err(fault) => return Some(Err(fault)),
                };
                let within = Duration::from_millis(self.base.options.upstream.timeout_ms);
                Some(pipe.ask_within(&request.method, &one("level", &level), within).await)
            }
            _ => None,
        }
    }

    fn too_many(&self, request: &Request) -> RpcError {
        self.base.fault(&request.method, "too many resources are subscribed to there")
    }

    /// Sends the request and carries what comes back until its answer, in bounded time.
    async fn carry(
        &self,
        pipe: &Arc<Pipe>,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        place: Place,
    ) -> Result<Box<RawValue>, RpcError> {
        let (method, options) = (&request.method, &self.base.options);
        let silence = Duration::from_millis(options.upstream.timeout_ms);
        let down = |why: Arc<str>| self.base.fault(method, &why);
        let late =
            || self.base.fault(method, &format!("no answer within {} ms", options.upstream.timeout_ms));
        let sent = tokio::time::timeout(silence, pipe.request(request, Owner::of(caller), place)).await;
        let mut ticket = sent.map_err(|_| late())?.map_err(down)?;
        let mut passage = Passage::new(caller, responder, &**pipe);
        let gone = |_| self.base.fault(method, "the client is gone");
        let outcome = loop {
            let asking = passage.is_asking();
            tokio::select! {
                biased;
                inbound = ticket.inbox.next() => passage.take(inbound).await.map_err(gone)?,
                outcome = &mut ticket.answer => break outcome,
                () = passage.drive(), if asking => {}
                () = tokio::time::sleep(silence), if !asking => return Err(late()),
            }
        };
        while let Some(inbound) = ticket.inbox.ready() {
            passage.take(inbound).await.map_err(gone)?;
        }
        self.outcome(method, outcome.unwrap_or_else(|_| Err(Ended::Lost("no answer".into()))))
    }

    fn outcome(&self, method: &str, outcome: Outcome) -> Result<Box<RawValue>, RpcError> {
        outcome.map_err(|ended| match ended {
            Ended::Refused(error) => fault_of(&error),
            Ended::Lost(why) => self.base.fault(method, &why),
        })
    }
}

impl Provider for StdioUpstream {
    fn name(&self) -> &str {
        self.base.name()
    }

    fn catalog(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        self.base.stock.watch(era)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.base.events.subscribe()
    }

    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a> {
        Box::pin(
            self.base
                .bounded(request, caller, responder, |place| self.pass(request, caller, responder, place)),
        )
    }

    fn notify(&self, notification: &Notification, caller: &Caller) {
        // To a shared child, one client's roots and progress would be another's.
        let (Some(owned), Some(session)) = (&self.owned, &caller.session) else { return };
        if let Some(pipe) = owned.pipe_now(session.key()) {
            let params = (!notification.params.is_empty()).then(|| notification.params.to_raw());
            pipe.try_notify(&notification.method, params.as_deref());
        }
    }

    fn session_ended(&self, session_key: &str) {
        if let Some(owned) = &self.owned {
            owned.session_ended(session_key);
        }
        let orphans = self.shared.audience.leaves(session_key);
        let Some(pipe) = self.shared.seats.now(Era::Legacy).filter(|_| !orphans.is_empty()) else { return };
        let within = Duration::from_millis(self.base.options.upstream.timeout_ms);
        self.shared.tasks.spawn(async move {
            for uri in orphans {
                let _ = pipe.ask_within(&Method::ResourcesUnsubscribe, &one("uri", &uri), within).await;
            }
        });
    }
}
