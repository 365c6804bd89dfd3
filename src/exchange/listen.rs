//! `subscriptions/listen`: a modern request whose answer is a stream of what changes, until the client or the
//! node ends it.
//!
//! The acknowledgement goes first and says what is honoured. Changes are levels: a listener that is behind
//! hears once of many, and of a resource whose provider answered only after the acknowledgement, that it may
//! have changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::answer::refused;
use super::changes::Versions;
use super::subscription_guard::SubscriptionGuard;
use super::{EncodedResponse, Exchange, bounds, capabilities};
use crate::mcp::{
    Caller, Catalog, Disconnected, Era, Event, Id, ListKind, Method, RawObject, Request, Responder, RpcError,
    TaskName, add_server_meta, encode_notification, raw,
};
use crate::refusal::Refusal;

/// Open `subscriptions/listen` streams on a node: as many as sessions, which they stand for.
pub const LISTENERS_MAX: usize = 100_000;
/// Resources, and tasks, that one such stream may name.
const NAMES_MAX: usize = 1_000;
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The lists that a filter has a flag for.
const FLAGGED: [ListKind; 3] = [ListKind::Tools, ListKind::Prompts, ListKind::Resources];

/// Changes that a listener asks for and that are honoured.
#[derive(Debug, Default)]
struct Filter {
    lists: Vec<ListKind>,
    uris: HashSet<String>,
    /// By the task, the id that the client gave.
    tasks: HashMap<TaskName, String>,
}

/// How long the acknowledgement waits for those who serve the resources.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(500);

/// One open listening stream.
pub(super) struct Listening {
    id: Id,
    filter: Filter,
    catalog: watch::Receiver<Arc<Catalog>>,
    events: Option<broadcast::Receiver<Event>>,
    subscription: Option<SubscriptionGuard>,
    _permit: OwnedSemaphorePermit,
}

/// Reads the filter and takes a place among the listeners.
///
/// # Errors
/// -32602 for a malformed filter; the refusal if there are too many listeners.
pub(super) fn open(exchange: &Exchange, request: &Request, caller: &Caller) -> Result<Listening, RpcError> {
    let mut catalog = exchange.router.catalog(Era::Modern);
    let bytes_max = exchange.config.http.name_bytes_max;
    let (mut filter, tasks) = read(request, &catalog.borrow_and_update(), bytes_max)?;
    let own = |id: String| Some((exchange.router.task(caller, &id)?, id));
    filter.tasks = tasks.into_iter().filter_map(own).collect();
    let permit = exchange.listeners.clone().try_acquire_owned();
    let permit = permit.map_err(|_| refused(Refusal::ListenersFull))?;
    let wants_events = !filter.uris.is_empty() || !filter.tasks.is_empty();
    let events = wants_events.then(|| exchange.router.events());
    Ok(Listening { id: request.id.clone(), filter, catalog, events, subscription: None, _permit: permit })
}

/// The filter without its tasks, and the task ids that are wanted.
fn read(
    request: &Request,
    catalog: &Catalog,
    bytes_max: usize,
) -> Result<(Filter, HashSet<String>), RpcError> {
    let bad = |what: String| RpcError::invalid_params(format!("params.notifications{what}")).with_status(400);
    let wanted =
        request.params.read::<RawObject>("notifications").map_err(|error| bad(format!(": {error}")))?;
    let wanted = wanted.ok_or_else(|| bad(" is missing".to_owned()))?;
    let mut filter = Filter::default();
    for kind in FLAGGED {
        let (flag, capability) = (kind.filter(), kind.capability());
        let asked = wanted.read::<bool>(flag).map_err(|error| bad(format!(".{flag}: {error}")))?;
        if asked == Some(true) && capabilities::has_flag(catalog, capability, "listChanged") {
            filter.lists.push(kind);
        }
    }
    let names = |member: &str| {
        let names = wanted.read::<Vec<String>>(member).map_err(|error| bad(format!(".{member}: {error}")))?;
        let names = names.unwrap_or_default();
        if names.len() > NAMES_MAX {
            return Err(bad(format!(".{member} has more than {NAMES_MAX} entries")));
        }
        names.iter().try_for_each(|name| bounds::check_name(member, name, bytes_max))?;
        Ok(names.into_iter().collect::<HashSet<_>>())
    };
    let (uris, tasks) = (names("resourceSubscriptions")?, names("taskIds")?);
    if capabilities::has_flag(catalog, "resources", "subscribe") {
        filter.uris = uris;
    }
    Ok((filter, tasks))
}

impl Filter {
    /// As it is acknowledged.
    fn to_raw(&self) -> Box<RawValue> {
        let mut honoured = RawObject::new();
        for kind in FLAGGED {
            if self.lists.contains(&kind) {
                honoured.set(kind.filter(), raw(&true));
            }
        }
        let (uris, tasks) = (self.uris.iter().collect(), self.tasks.values().collect());
        for (member, names) in [("resourceSubscriptions", uris), ("taskIds", tasks)] {
            let mut names: Vec<&String> = names;
            if !names.is_empty() {
                names.sort_unstable();
                honoured.set(member, raw(&names));
            }
        }
        honoured.to_raw()
    }
}

impl Listening {
    /// Listens until the node drains, or the link is gone.
    pub(super) async fn run(
        mut self,
        exchange: Arc<Exchange>,
        caller: Caller,
        responder: Responder,
    ) -> EncodedResponse {
        let listening = async {
            self.subscribe(&exchange, &caller).await;
            self.notify_changes(&exchange, &caller, &responder).await
        };
        tokio::select! {
            _ = listening => {}
            () = exchange.stop.cancelled() => {}
            () = exchange.drain.calls_end() => {}
        }
        let mut result = RawObject::new();
        result.set("_meta", self.meta());
        EncodedResponse::result(&self.id, &add_server_meta(&result.to_raw(), &exchange.server_info))
    }

    /// Subscribes to the resources, and waits for it a little.
    async fn subscribe(&mut self, exchange: &Arc<Exchange>, caller: &Caller) {
        if self.filter.uris.is_empty() {
            return;
        }
        let uris = self.filter.uris.iter().cloned().collect();
        let mut subscription = SubscriptionGuard::in_resources(exchange.clone(), caller.clone(), uris);
        let all = async { while subscription.next().await.is_some() {} };
        let _ = tokio::time::timeout(ACKNOWLEDGE_WITHIN, all).await;
        self.subscription = Some(subscription);
    }

    async fn notify_changes(
        &mut self,
        exchange: &Exchange,
        caller: &Caller,
        responder: &Responder,
    ) -> Result<(), Disconnected> {
        let mut acknowledged = RawObject::new();
        acknowledged.set("notifications", self.filter.to_raw());
        // Before the acknowledgement: a change that it provokes must differ from this.
        let mut seen = Versions::of(&self.catalog.borrow_and_update());
        self.send(responder, &Method::ListenAcknowledged, acknowledged).await?;
        loop {
            tokio::select! {
                changed = self.catalog.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let newest = self.catalog.borrow_and_update().clone();
                    let now = Versions::of(&newest);
                    for kind in seen.differing(now) {
                        if self.filter.lists.contains(&kind) {
                            self.send(responder, &kind.changed_method(), RawObject::new()).await?;
                        }
                    }
                    seen = now;
                }
                event = next(&mut self.events) => match event {
                    Ok(Event::TaskChanged { task, method, params }) => {
                        if self.filter.tasks.contains_key(&task) {
                            let params = exchange.router.task_params(caller, &task, &params);
                            self.send(responder, &method, params).await?;
                        }
                    }
                    event => self.notify_event(responder, event).await?,
                },
                uri = late(&mut self.subscription) => self.updated(responder, &uri).await?,
            }
        }
    }

    async fn notify_event(
        &self,
        responder: &Responder,
        event: Result<Event, RecvError>,
    ) -> Result<(), Disconnected> {
        match event {
            Ok(Event::ResourceUpdated { uri }) if self.filter.uris.contains(&*uri) => {
                self.updated(responder, &uri).await
            }
            Ok(_) => Ok(()),
            // Anything may have changed.
            Err(_) => {
                for uri in &self.filter.uris {
                    self.updated(responder, uri).await?;
                }
                Ok(())
            }
        }
    }

    async fn updated(&self, responder: &Responder, uri: &str) -> Result<(), Disconnected> {
        let mut params = RawObject::new();
        params.set("uri", raw(uri));
        self.send(responder, &Method::ResourceUpdated, params).await
    }

    async fn send(
        &self,
        responder: &Responder,
        method: &str,
        mut params: RawObject,
    ) -> Result<(), Disconnected> {
        let meta = match params.get("_meta") {
            Some(meta) => RawObject::parse(meta.get()).unwrap_or_default(),
            None => RawObject::new(),
        };
        params.set("_meta", self.tagged(meta));
        responder.send(encode_notification(method, Some(&params.to_raw()))).await
    }

    fn meta(&self) -> Box<RawValue> {
        self.tagged(RawObject::new())
    }

    fn tagged(&self, mut meta: RawObject) -> Box<RawValue> {
        let Ok(id) = RawValue::from_string(self.id.as_json().to_owned()) else {
            unreachable!("an id is JSON")
        };
        meta.set(SUBSCRIPTION_ID, id);
        meta.to_raw()
    }
}

/// The next resource whose provider answered only now.
async fn late(subscription: &mut Option<SubscriptionGuard>) -> String {
    match subscription {
        Some(subscription) => match subscription.next().await {
            Some(uri) => uri,
            // All have; what was taken stays so.
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn next(events: &mut Option<broadcast::Receiver<Event>>) -> Result<Event, RecvError> {
    match events {
        Some(receiver) => {
            let event = receiver.recv().await;
            if matches!(event, Err(RecvError::Closed)) {
                *events = None;
                return std::future::pending().await;
            }
            event
        }
        None => std::future::pending().await,
    }
}
