//! The catalogs of one upstream, one for each era, as whole values that readers watch.
//!
//! A list's version grows with each announced change, also one that leaves the entries alike: listeners were
//! promised to hear of it. What an upstream offered stays listed while it is down; calls say that it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::mcp::{Catalog, Era, Item, List, ListKind, RawObject, ServerCapabilities};

/// The four kinds, in the order of [`Lists`].
pub(super) const KINDS: [ListKind; 4] =
    [ListKind::Tools, ListKind::Prompts, ListKind::Resources, ListKind::Templates];

/// Entries of the four lists, in the order of [`KINDS`].
pub(super) type Lists = [Vec<Item>; 4];

/// What the upstream said about itself in its handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerDescription {
    /// Its capabilities.
    pub(super) offers: RawObject,
    /// Its instructions.
    pub(super) instructions: Option<Arc<str>>,
}

impl ServerDescription {
    /// Reads the result of `initialize` or `server/discover`.
    pub(super) fn read(result: &RawValue) -> Result<ServerDescription, String> {
        let members = RawObject::parse(result.get()).map_err(|error| error.to_string())?;
        let offers = match members.get("capabilities") {
            Some(value) => RawObject::parse(value.get()).map_err(|error| format!("capabilities: {error}"))?,
            None => RawObject::new(),
        };
        Ok(ServerDescription { offers, instructions: members.text("instructions").map(Arc::from) })
    }

    /// Whether the capability `name` is declared.
    pub(super) fn offers(&self, name: &str) -> bool {
        self.offers.get(name).is_some_and(|value| value.get() != "null")
    }
}

const UNKNOWN: u8 = 0;
const SPOKEN: u8 = 1;
const UNSPOKEN: u8 = 2;

struct CatalogCell {
    sender: watch::Sender<Arc<Catalog>>,
    spoken: AtomicU8,
}

impl CatalogCell {
    fn new(possible: bool) -> CatalogCell {
        let spoken = if possible { UNKNOWN } else { UNSPOKEN };
        CatalogCell { sender: watch::Sender::new(Arc::default()), spoken: AtomicU8::new(spoken) }
    }
}

/// Both catalogs.
pub(super) struct CatalogStore {
    legacy: CatalogCell,
    modern: CatalogCell,
}

impl CatalogStore {
    /// Empty catalogs; an era that is not `possible` is known not to be spoken.
    pub(super) fn new(legacy_possible: bool, modern_possible: bool) -> CatalogStore {
        CatalogStore { legacy: CatalogCell::new(legacy_possible), modern: CatalogCell::new(modern_possible) }
    }

    fn cell(&self, era: Era) -> &CatalogCell {
        match era {
            Era::Legacy => &self.legacy,
            Era::Modern => &self.modern,
        }
    }

    /// The catalog of `era`: empty until the upstream was probed, `None` once it is known not to speak it.
    pub(super) fn watch(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        let cell = self.cell(era);
        (cell.spoken.load(Ordering::Relaxed) != UNSPOKEN).then(|| cell.sender.subscribe())
    }

    /// The newest catalog of `era`.
    pub(super) fn newest(&self, era: Era) -> Arc<Catalog> {
        self.cell(era).sender.borrow().clone()
    }

    /// Whether the upstream is known to speak `era`.
    pub(super) fn era_support(&self, era: Era) -> bool {
        self.cell(era).spoken.load(Ordering::Relaxed) == SPOKEN
    }

    /// Whether it is known of each era if the upstream speaks it.
    pub(super) fn is_known(&self) -> bool {
        [&self.legacy, &self.modern].iter().all(|cell| cell.spoken.load(Ordering::Relaxed) != UNKNOWN)
    }

    /// Records that it does not speak `era`: its catalog is empty.
    pub(super) fn unspoken(&self, era: Era) {
        let cell = self.cell(era);
        if cell.spoken.swap(UNSPOKEN, Ordering::Relaxed) == SPOKEN {
            let empty: Lists = Lists::default();
            publish(&cell.sender, &ServerDescription::default(), &empty, &KINDS);
        }
    }

    /// Shows new lists; those in `announced` get a new version in any case, others only if their entries
    /// differ.
    pub(super) fn publish(
        &self,
        era: Era,
        description: &ServerDescription,
        lists: &Lists,
        announced: &[ListKind],
    ) {
        let cell = self.cell(era);
        cell.spoken.store(SPOKEN, Ordering::Relaxed);
        publish(&cell.sender, description, lists, announced);
    }
}

fn publish(
    sender: &watch::Sender<Arc<Catalog>>,
    description: &ServerDescription,
    lists: &Lists,
    announced: &[ListKind],
) {
    sender.send_if_modified(|catalog| {
        let next = Catalog {
            offers: ServerCapabilities(description.offers.clone()),
            instructions: description.instructions.clone(),
            tools: list(catalog, lists, announced, 0),
            prompts: list(catalog, lists, announced, 1),
            resources: list(catalog, lists, announced, 2),
            templates: list(catalog, lists, announced, 3),
        };
        let alike = KINDS.iter().all(|kind| catalog.list(*kind).version == next.list(*kind).version)
            && catalog.offers.0.to_raw().get() == next.offers.0.to_raw().get()
            && catalog.instructions == next.instructions;
        *catalog = Arc::new(next);
        !alike
    });
}

fn list(old: &Catalog, lists: &Lists, announced: &[ListKind], at: usize) -> List {
    let (kind, items) = (KINDS[at], &lists[at]);
    let old = old.list(kind);
    let alike = old.items.len() == items.len()
        && old.items.iter().zip(items).all(|(a, b)| a.key == b.key && a.raw.get() == b.raw.get());
    let grows = announced.contains(&kind) || !alike;
    List { version: old.version + u64::from(grows), items: items.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Item {
        Item::read(ListKind::Tools, &RawValue::from_string(json.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn an_announced_change_grows_the_version_even_if_the_entries_stay_alike() {
        let catalogs = CatalogStore::new(true, true);
        let description = ServerDescription::default();
        let lists: Lists = [vec![item(r#"{"name":"a"}"#)], vec![], vec![], vec![]];
        let mut watch = catalogs.watch(Era::Legacy).unwrap();
        catalogs.publish(Era::Legacy, &description, &lists, &[]);
        assert_eq!(watch.borrow_and_update().tools.version, 1);
        catalogs.publish(Era::Legacy, &description, &lists, &[]);
        assert!(!watch.has_changed().unwrap());
        catalogs.publish(Era::Legacy, &description, &lists, &[ListKind::Tools]);
        assert_eq!(watch.borrow_and_update().tools.version, 2);
        assert_eq!(watch.borrow().prompts.version, 0);
    }

    #[test]
    fn an_era_that_is_not_spoken_has_no_catalog() {
        let catalogs = CatalogStore::new(false, true);
        assert!(catalogs.watch(Era::Legacy).is_none());
        assert!(catalogs.watch(Era::Modern).is_some());
        catalogs.unspoken(Era::Modern);
        assert!(catalogs.watch(Era::Modern).is_none());
    }
}
