//! State that every upstream has, whatever its transport: options, catalogs, events, counts, and the texts
//! of its errors.
//!
//! An error names the upstream, what was tried and why it failed; never its command's arguments, environment
//! or headers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use crate::mcp::{Caller, Event, Method, RawObject, Request, Responder, RpcError, TaskName};
use crate::refusal::Refusal;

use super::catalog_store::CatalogStore;
use super::health::{Counts, Health, HealthCell, HealthSnapshot, State};
use super::options::{EraSupport, UpstreamOptions};
use super::places::{NoPlace, Place, Places};
use super::session_slots::SessionSlots;

/// Events that a reader may lag behind before it has to take it as "anything may have changed".
const EVENTS_MAX: usize = 1_024;

/// The common part of one upstream.
pub(super) struct UpstreamState {
    pub(super) options: UpstreamOptions,
    pub(super) catalogs: CatalogStore,
    pub(super) counts: Counts,
    pub(super) events: broadcast::Sender<Event>,
    now_unix_ms: fn() -> u64,
    places: Arc<Places>,
    health_cells: Mutex<Vec<Arc<HealthCell>>>,
}

impl UpstreamState {
    pub(super) fn new(options: UpstreamOptions, now_unix_ms: fn() -> u64) -> UpstreamState {
        let catalogs = CatalogStore::new(
            options.era_support != EraSupport::Modern,
            options.era_support != EraSupport::Legacy,
        );
        let gateway = &options.gateway;
        let places = Places::new(gateway.queue_requests_max as usize, gateway.client_percent_max);
        UpstreamState {
            options,
            catalogs,
            counts: Counts::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            now_unix_ms,
            places,
            health_cells: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.options.upstream.name
    }

    /// One more part (a child, an endpoint) whose state counts for this upstream's health.
    pub(super) fn health_cell(&self) -> Arc<HealthCell> {
        let health_cell = Arc::new(HealthCell::new(self.now_unix_ms));
        self.health_cells.lock().push(health_cell.clone());
        health_cell
    }

    /// A place for one running request; full means refuse.
    fn place(&self, request: &Request, caller: &Caller) -> Result<Place, RpcError> {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let Places { max, of_client_max, .. } = *self.places;
        self.places.take(caller.address).map_err(|none| match none {
            NoPlace::Full => {
                let why = format!("{max} requests are running there already (gateway.queue_requests_max)");
                self.refused(&request.method, Refusal::UpstreamRequestsFull, &why)
            }
            NoPlace::ClientFull => {
                let why = format!(
                    "{of_client_max} requests from your address are running there already \
                     (gateway.client_percent_max)"
                );
                self.refused(&request.method, Refusal::ClientRequestsFull, &why)
            }
        })
    }

    /// Keeps the place of a request for a while that was given up and that the upstream may still be at.
    pub(super) fn keep_place(&self, place: Place) {
        let pause = Duration::from_millis(self.options.abandoned_place_ms);
        // Bounded by the places. Without a runtime the node is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(pause).await;
                drop(place);
            });
        }
    }

    /// Counts what belongs to no client for certain, and so is told to none.
    pub(super) fn unowned(&self, method: &str) {
        Counts::add(&self.counts.unowned);
        tracing::debug!(upstream = self.name(), method, "a message belongs to no client for certain");
    }

    /// Places that are taken: requests of clients that run now, or were given up a moment ago.
    pub(super) fn running(&self) -> usize {
        self.places.taken()
    }

    /// The error of a request that this upstream could not serve.
    pub(super) fn fault(&self, method: &str, why: &str) -> RpcError {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        RpcError::internal(format!("upstream {:?}: {method}: {why}", self.name()))
    }

    /// The error of a request that has no room here now, though it would have later.
    pub(super) fn refused(&self, method: &str, refusal: Refusal, why: &str) -> RpcError {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        let text = format!("upstream {:?}: {method}: {why}; try again soon", self.name());
        RpcError::new(refusal.code(), text).with_status(refusal.status())
    }

    /// The error of a request that needs a session or a child here, for which there is no room.
    pub(super) fn no_session<T>(
        &self,
        method: &str,
        none: NoPlace,
        slots: &SessionSlots<T>,
        key: &str,
    ) -> RpcError {
        let (refusal, max, whose, key) = match none {
            NoPlace::Full => (Refusal::UpstreamSessionsFull, slots.max, "", key),
            NoPlace::ClientFull => {
                let key = "gateway.client_percent_max";
                (Refusal::ClientSessionsFull, slots.of_client_max, " from your address", key)
            }
        };
        let why = format!("{max} sessions{whose} are open there already and none is idle ({key})");
        self.refused(method, refusal, &why)
    }

    /// Serves a request within the limits that hold for every transport: admitted names, places, time,
    /// cancellation. `work` takes the place and holds it until the upstream is done with the request.
    pub(super) async fn bounded<F: Future<Output = Result<Box<RawValue>, RpcError>>>(
        &self,
        request: &Request,
        caller: &Caller,
        responder: &Responder,
        work: impl FnOnce(Place) -> F,
    ) -> Result<Box<RawValue>, RpcError> {
        let place = self.place(request, caller)?;
        if request.method == Method::ToolsCall {
            let name = request.params.text("name").unwrap_or_default();
            if !self.options.admits(&name) {
                return Err(RpcError::invalid_params(format!("Unknown tool: {name}")));
            }
        }
        let longest = Duration::from_millis(self.options.call_max_ms);
        tokio::select! {
            answer = work(place) => answer,
            () = responder.cancelled().cancelled() => Err(RpcError::internal("the request was cancelled")),
            () = tokio::time::sleep(longest) => {
                let why = format!("no answer within {} ms", self.options.call_max_ms);
                Err(self.fault(&request.method, &why))
            }
        }
    }

    /// Counts what is no message; the first is logged, a flood is not.
    pub(super) fn invalid(&self, why: &str) {
        if Counts::add(&self.counts.invalid) {
            let name = self.name();
            tracing::warn!(
                upstream = name,
                why,
                "an upstream sends what is no message; more is only counted"
            );
        }
    }

    /// Tells whoever watches events; nobody need be there.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Turns a notification of resources and tasks into an event; false if it is another.
    pub(super) fn on_event(&self, method: &Method, params: &RawObject) -> bool {
        if *method == Method::ResourceUpdated {
            if let Some(uri) = params.text("uri") {
                self.tell(Event::ResourceUpdated { uri: uri.into() });
            }
            return true;
        }
        if !method.tells_of_task() {
            return false;
        }
        if let Some(task_id) = params.text("taskId") {
            let params = Arc::from(params.to_raw());
            let task = TaskName { upstream: None, own: task_id.into() };
            self.tell(Event::TaskChanged { task, method: method.clone(), params });
        }
        true
    }

    /// Whether its first start is over: its lists were read, or it failed.
    pub(super) fn has_been_tried(&self) -> bool {
        let has_failed = |health_cell: &Arc<HealthCell>| health_cell.read().last_error.is_some();
        self.catalogs.is_known() || self.health_cells.lock().iter().any(has_failed)
    }

    /// How it is doing; the worst of its parts counts.
    pub(super) fn health(&self, transport: &'static str, pids: Vec<u32>, sessions: usize) -> Health {
        let snapshots: Vec<HealthSnapshot> = {
            let health_cells = self.health_cells.lock();
            health_cells.iter().map(|health_cell| health_cell.read()).collect()
        };
        let rank = |state: State| match state {
            State::Down => 4,
            State::Starting => 3,
            State::Ready => 2,
            State::Asleep => 1,
            State::Stopped => 0,
        };
        let worst = snapshots.iter().max_by_key(|snapshot| rank(snapshot.state));
        let eras = [("modern", crate::mcp::Era::Modern), ("legacy", crate::mcp::Era::Legacy)];
        Health {
            name: self.name().to_owned(),
            transport,
            state: worst.map_or(State::Starting, |snapshot| snapshot.state),
            since_unix_ms: worst.map_or(0, |snapshot| snapshot.since_unix_ms),
            last_error: snapshots
                .iter()
                .max_by_key(|snapshot| {
                    (snapshot.last_error.is_some(), rank(snapshot.state), snapshot.since_unix_ms)
                })
                .and_then(|snapshot| snapshot.last_error.clone()),
            restarts: snapshots.iter().map(|snapshot| snapshot.restarts).sum(),
            pids,
            eras: eras
                .iter()
                .filter(|(_, era)| self.catalogs.era_support(*era))
                .map(|(name, _)| *name)
                .collect(),
            running: self.running(),
            sessions,
            counts: self.counts.view(),
        }
    }
}
