//! Offer of a server right now, by name, and the catalogs that it publishes of it.
//!
//! Every change publishes a whole new catalog per era with a grown version; nobody has to catch each one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::{broadcast, watch};

use super::calls::CompleteCall;
use super::pattern::Pattern;
use super::prompt::Completion;
use super::run::{Future, HandlerFn};
use super::settings::Settings;
use super::tasks::{TASKS_EXTENSION, TaskTable};
use super::tool::TaskSupport;
use super::tool_error::ToolError;
use crate::mcp::{
    Caller, Catalog, Era, Event, Item, List, ListKind, Notification, RawObject, ServerCapabilities, raw,
};

pub(super) type Complete = Arc<dyn Fn(CompleteCall) -> Future<Result<Completion, ToolError>> + Send + Sync>;
pub(super) type OnNotification = Box<dyn Fn(&Notification, &Caller) + Send + Sync>;
pub(super) type OnSessionEnd = Box<dyn Fn(&str) + Send + Sync>;

/// A tool, prompt, resource or template with its handler.
#[derive(Clone)]
pub(super) struct Entry<T> {
    pub(super) item: Item,
    pub(super) work: HandlerFn,
    pub(super) own: T,
}

/// Entries in the order in which they came, found by key.
pub(super) struct Shelf<T> {
    version: u64,
    order: Vec<Entry<T>>,
    places: HashMap<Arc<str>, usize>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf { version: 0, order: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Shelf<T> {
    pub(super) fn find(&self, key: &str) -> Option<&Entry<T>> {
        self.places.get(key).map(|place| &self.order[*place])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.order.iter()
    }

    /// Adds `entry`, in the place of one with the same key.
    pub(super) fn put(&mut self, entry: Entry<T>) {
        self.version += 1;
        match self.places.get(&entry.item.key) {
            Some(place) => self.order[*place] = entry,
            None => {
                self.places.insert(entry.item.key.clone(), self.order.len());
                self.order.push(entry);
            }
        }
    }

    /// Takes the entry of `key` away; false if there is none.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some(place) = self.places.remove(key) else { return false };
        self.order.remove(place);
        for later in self.places.values_mut().filter(|later| **later > place) {
            *later -= 1;
        }
        self.version += 1;
        true
    }

    /// Makes the list look changed.
    pub(super) fn touch(&mut self) {
        self.version += 1;
    }

    fn list(&self, keep: impl Fn(&Entry<T>) -> bool) -> List {
        let items = self.order.iter().filter(|entry| keep(entry)).map(|entry| entry.item.clone()).collect();
        List { version: self.version, items }
    }
}

/// Everything on offer.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) instructions: Option<Arc<str>>,
    pub(super) capabilities: RawObject,
    pub(super) tools: Shelf<TaskSupport>,
    /// With the names of the arguments that must be given.
    pub(super) prompts: Shelf<Arc<[String]>>,
    pub(super) resources: Shelf<()>,
    pub(super) templates: Shelf<Pattern>,
    /// By kind, name or template, and argument.
    pub(super) completions: HashMap<(ListKind, Arc<str>, Arc<str>), Complete>,
}

impl Registry {
    fn catalog(&self, era: Era) -> Catalog {
        let is_seen = |support: TaskSupport| era == Era::Modern || support != TaskSupport::Required;
        Catalog {
            offers: self.offers(era),
            instructions: self.instructions.clone(),
            tools: self.tools.list(|entry| is_seen(entry.own)),
            prompts: self.prompts.list(|_| true),
            resources: self.resources.list(|_| true),
            templates: self.templates.list(|_| true),
        }
    }

    fn offers(&self, era: Era) -> ServerCapabilities {
        let mut offers = RawObject::new();
        offers.set("logging", raw(&json!({})));
        if self.tools.version > 0 {
            offers.set("tools", raw(&json!({ "listChanged": true })));
        }
        if self.prompts.version > 0 {
            offers.set("prompts", raw(&json!({ "listChanged": true })));
        }
        if self.resources.version + self.templates.version > 0 {
            offers.set("resources", raw(&json!({ "subscribe": true, "listChanged": true })));
        }
        if !self.completions.is_empty() {
            offers.set("completions", raw(&json!({})));
        }
        if era == Era::Modern && self.tools.iter().any(|entry| entry.own != TaskSupport::Forbidden) {
            offers.set("extensions", raw(&json!({ TASKS_EXTENSION: {} })));
        }
        for (name, value) in self.capabilities.iter() {
            offers.set(name, value.to_owned());
        }
        ServerCapabilities(offers)
    }
}

/// One server, shared by its handle, its running calls and whoever serves it.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) settings: Settings,
    pub(super) registry: RwLock<Registry>,
    pub(super) legacy: watch::Sender<Arc<Catalog>>,
    pub(super) modern: watch::Sender<Arc<Catalog>>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) tasks: Arc<TaskTable>,
    pub(super) on_notification: Vec<OnNotification>,
    pub(super) on_session_end: Vec<OnSessionEnd>,
}

impl Shared {
    /// Looks something up.
    pub(super) fn read<R>(&self, look: impl FnOnce(&Registry) -> R) -> R {
        look(&self.registry.read())
    }

    /// Changes what is on offer and publishes it, in the order of the changes.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Registry) -> R) -> R {
        let mut registry = self.registry.write();
        let result = change(&mut registry);
        self.legacy.send_replace(Arc::new(registry.catalog(Era::Legacy)));
        self.modern.send_replace(Arc::new(registry.catalog(Era::Modern)));
        result
    }
}
