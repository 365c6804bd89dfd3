//! The newest catalog and the events of each provider, followed by tasks that end with the node.
//!
//! Levels, not edges: a merge always takes the newest of all, so a change missed in between cannot matter.

use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::merge::{CatalogSource, Merged};
use super::names::Naming;
use crate::mcp::{Catalog, Era, Event, ListKind, Provider};

pub(super) type Followed = (watch::Receiver<Arc<Merged>>, watch::Receiver<Arc<Catalog>>);

/// The catalogs of one era, newest of each provider.
struct Catalogs {
    names: Vec<Arc<str>>,
    inputs: Vec<Option<watch::Receiver<Arc<Catalog>>>>,
    /// Kept when a provider is gone: its names must not move to another.
    newest: Vec<Arc<Catalog>>,
    natives: usize,
    naming: Naming,
}

impl Catalogs {
    fn merge(&mut self) -> Arc<Merged> {
        for (newest, input) in self.newest.iter_mut().zip(&mut self.inputs) {
            if let Some(input) = input {
                *newest = input.borrow_and_update().clone();
            }
        }
        let sources = self.names.iter().zip(&self.newest).enumerate().map(|(place, (name, catalog))| {
            CatalogSource { name: name.clone(), native: place < self.natives, catalog: catalog.clone() }
        });
        Arc::new(Merged::of(&sources.collect::<Vec<_>>(), self.naming))
    }

    /// Returns when one has changed; false when none can change any more.
    async fn changed(&mut self) -> bool {
        loop {
            let changes: Vec<_> =
                self.inputs.iter_mut().flatten().map(|input| Box::pin(input.changed())).collect();
            if changes.is_empty() {
                return false;
            }
            if let (Ok(()), _, _) = select_all(changes).await {
                return true;
            }
            for input in &mut self.inputs {
                if input.as_ref().is_some_and(|input| input.has_changed().is_err()) {
                    *input = None;
                }
            }
        }
    }
}

/// Merges the catalogs of `era` now and again whenever one of them changes.
pub(super) fn follow(
    providers: &[Arc<dyn Provider>],
    natives: usize,
    naming: Naming,
    era: Era,
    stop: &CancellationToken,
) -> Followed {
    let mut all = Catalogs {
        names: providers.iter().map(|provider| provider.name().into()).collect(),
        inputs: providers.iter().map(|provider| provider.catalog(era)).collect(),
        newest: vec![Arc::default(); providers.len()],
        natives,
        naming,
    };
    let first = all.merge();
    let (catalogs, catalog) = watch::channel(first.catalog.clone());
    let (views, view) = watch::channel(first);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let more = tokio::select! {
                more = all.changed() => more,
                () = stop.cancelled() => false,
            };
            if !more {
                return;
            }
            let merged = all.merge();
            let catalog = merged.catalog.clone();
            // The routes first: who hears of a new name must be able to call it.
            let _ = views.send(merged);
            let _ = catalogs.send(catalog);
        }
    });
    (view, catalog)
}

/// Passes on the events of the provider in `place`: its URIs as clients see them in `view`, its tasks as
/// those of `upstream`, if it is one.
pub(super) async fn follow_events(
    place: usize,
    upstream: Option<Arc<str>>,
    mut from: broadcast::Receiver<Event>,
    to: broadcast::Sender<Event>,
    view: watch::Receiver<Arc<Merged>>,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            event = from.recv() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Ok(Event::ResourceUpdated { uri }) => {
                let uri = view.borrow().shown(ListKind::Resources, place, &uri);
                let _ = to.send(Event::ResourceUpdated { uri });
            }
            Ok(Event::TaskChanged { mut task, method, params }) => {
                task.upstream.clone_from(&upstream);
                let _ = to.send(Event::TaskChanged { task, method, params });
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events of a provider came faster than they could be passed on");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
