//! Changes outside requests, told to legacy sessions on their own stream; and the end of idle sessions.
//!
//! Levels, not edges: versions are compared, and a message that still waits in a session is not queued again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;

use super::{Exchange, capabilities};
use crate::mcp::{Catalog, Era, Event, ListKind, Method, RawObject, encode_notification, raw};
use crate::session::Shortage;

/// How often idle sessions are looked for: a small part of the shortest life that one has without use.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How often at most sessions are ended for want of bytes: none may be idle, and each look costs.
const MAKE_ROOM_INTERVAL: Duration = Duration::from_millis(20);

/// The versions of what clients hear changes of; templates count as resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    tools: u64,
    prompts: u64,
    resources: (u64, u64),
}

impl Versions {
    pub(super) fn of(catalog: &Catalog) -> Versions {
        Versions {
            tools: catalog.tools.version,
            prompts: catalog.prompts.version,
            resources: (catalog.resources.version, catalog.templates.version),
        }
    }

    /// The lists that differ from `other`.
    pub(super) fn differing(self, other: Versions) -> impl Iterator<Item = ListKind> {
        let lists = [
            (ListKind::Tools, self.tools != other.tools),
            (ListKind::Prompts, self.prompts != other.prompts),
            (ListKind::Resources, self.resources != other.resources),
        ];
        lists.into_iter().filter_map(|(kind, differs)| differs.then_some(kind))
    }
}

/// Starts the tasks; they end with the exchange's stop.
pub(super) fn follow(exchange: &Arc<Exchange>) {
    let stop = &exchange.stop;
    tokio::spawn(stop.clone().run_until_cancelled_owned(lists(exchange.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(updates(exchange.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(sweeps(exchange.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(make_room(exchange.clone())));
}

async fn lists(exchange: Arc<Exchange>) {
    let mut catalog = exchange.router.catalog(Era::Legacy);
    let mut seen = Versions::of(&catalog.borrow_and_update());
    while catalog.changed().await.is_ok() {
        let newest = catalog.borrow_and_update().clone();
        let now = Versions::of(&newest);
        for kind in seen.differing(now) {
            if capabilities::has_flag(&newest, kind.capability(), "listChanged") {
                notify_sessions(&exchange, &encode_notification(&kind.changed_method(), None)).await;
            }
        }
        seen = now;
    }
}

/// Tells every session, one part of the table after the other so that others get their turn.
async fn notify_sessions(exchange: &Exchange, message: &Bytes) {
    let mut part = 0;
    while let Some(sessions) = exchange.sessions.part(part) {
        sessions.iter().for_each(|session| session.push_level(message.clone()));
        part += 1;
        tokio::task::yield_now().await;
    }
}

async fn updates(exchange: Arc<Exchange>) {
    let mut events = exchange.router.events();
    loop {
        match events.recv().await {
            Ok(Event::ResourceUpdated { uri }) => notify_subscribers(&exchange, &uri),
            Ok(Event::TaskChanged { .. }) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "events were missed; every subscribed resource counts as updated");
                exchange.sessions.subscribed_uris().iter().for_each(|uri| notify_subscribers(&exchange, uri));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn notify_subscribers(exchange: &Exchange, uri: &str) {
    let sessions = exchange.sessions.subscribers(uri);
    if sessions.is_empty() {
        return;
    }
    let mut params = RawObject::new();
    params.set("uri", raw(uri));
    let message = encode_notification(&Method::ResourceUpdated, Some(&params.to_raw()));
    sessions.iter().for_each(|session| session.push_level(message.clone()));
}

/// Ends sessions while they keep too many bytes together.
async fn make_room(exchange: Arc<Exchange>) {
    loop {
        exchange.sessions.short_of_bytes().await;
        while !exchange.sessions.is_low() && exchange.give_way(Shortage::Bytes) {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(MAKE_ROOM_INTERVAL).await;
    }
}

async fn sweeps(exchange: Arc<Exchange>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        exchange.sweep(exchange.clock.monotonic_ms()).await;
    }
}

impl Exchange {
    /// Ends the sessions that are idle at `now_ms` and frees what they held everywhere.
    pub async fn sweep(&self, now_ms: u64) {
        let mut part = 0;
        while let Some(ended) = self.sessions.sweep(part, now_ms) {
            self.recorder.sessions_ended(ended.len());
            ended.iter().for_each(|session| self.router.session_ended(session.id()));
            part += 1;
            tokio::task::yield_now().await;
        }
    }
}
