//! The catalogs of all providers merged into one, with the way back from each name to its provider.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::headers::{HeaderParam, header_params};
use super::listing::Pages;
use super::names::{Naming, Uses, prefixed};
use crate::mcp::{
    Catalog, Item, List, ListKind, RawObject, RpcError, ServerCapabilities, TASKS_EXTENSION, raw,
};

/// Target of a name: the provider by its place, and the name that it uses itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) provider: usize,
    pub(super) own: Arc<str>,
}

/// One provider's part in a merge.
pub(super) struct CatalogSource {
    pub(super) name: Arc<str>,
    pub(super) native: bool,
    pub(super) catalog: Arc<Catalog>,
}

/// The merged view of one era.
pub(super) struct Merged {
    pub(super) catalog: Arc<Catalog>,
    names: Vec<Arc<str>>,
    /// By provider: the capabilities it declares.
    pub(super) offers: Vec<ServerCapabilities>,
    tools: HashMap<Arc<str>, Route>,
    prompts: HashMap<Arc<str>, Route>,
    resources: HashMap<Arc<str>, Route>,
    templates: HashMap<Arc<str>, Route>,
    headers: HashMap<Arc<str>, Vec<HeaderParam>>,
    pages: [Pages; 4],
}

impl Merged {
    /// Merges `sources`, in their order.
    pub(super) fn of(sources: &[CatalogSource], naming: Naming) -> Merged {
        let (tools, tool_routes) = merge_list(sources, naming, ListKind::Tools);
        let (prompts, prompt_routes) = merge_list(sources, naming, ListKind::Prompts);
        let (resources, resource_routes) = merge_list(sources, naming, ListKind::Resources);
        let (templates, template_routes) = merge_list(sources, naming, ListKind::Templates);
        let annotated = tools.items.iter().map(|item| (item.key.clone(), header_params(&item.raw)));
        let headers = annotated.filter(|(_, params)| !params.is_empty()).collect();
        let catalog = Catalog {
            offers: merge_offers(sources),
            instructions: merge_instructions(sources),
            tools,
            prompts,
            resources,
            templates,
        };
        let pages = ListKind::ALL.map(|kind| Pages::of(catalog.list(kind)));
        Merged {
            catalog: Arc::new(catalog),
            names: sources.iter().map(|source| source.name.clone()).collect(),
            offers: sources.iter().map(|source| source.catalog.offers.clone()).collect(),
            tools: tool_routes,
            prompts: prompt_routes,
            resources: resource_routes,
            templates: template_routes,
            headers,
            pages,
        }
    }

    /// A page of the list `kind`, as `stamp` completes it when the list is new.
    ///
    /// # Errors
    /// -32602 for a cursor that is not one of ours.
    pub(super) fn page(
        &self,
        kind: ListKind,
        cursor: Option<&str>,
        stamp: impl FnOnce(Box<RawValue>) -> Box<RawValue>,
    ) -> Result<Arc<RawValue>, RpcError> {
        self.pages[kind as usize].page(kind, self.catalog.list(kind), cursor, stamp)
    }

    /// Target of `name` in the list `kind`.
    pub(super) fn route(&self, kind: ListKind, name: &str) -> Option<&Route> {
        match kind {
            ListKind::Tools => self.tools.get(name),
            ListKind::Prompts => self.prompts.get(name),
            ListKind::Resources => self.resources.get(name),
            ListKind::Templates => self.templates.get(name),
        }
    }

    /// The name that clients see for `own` of `provider`; `own` itself if it is not listed.
    pub(super) fn shown(&self, kind: ListKind, provider: usize, own: &Arc<str>) -> Arc<str> {
        let leads_there = |name: &str| self.route(kind, name).is_some_and(|route| route.provider == provider);
        if leads_there(own) {
            return own.clone();
        }
        let prefixed = prefixed(kind, self.names.get(provider).map_or("", |name| name), own);
        if leads_there(&prefixed) { prefixed.into() } else { own.clone() }
    }

    /// Whether the provider in `place` declares tasks, in the way of either era.
    pub(super) fn offers_tasks(&self, place: usize) -> bool {
        let Some(ServerCapabilities(offers)) = self.offers.get(place) else { return false };
        let extensions = offers.read::<RawObject>("extensions").ok().flatten();
        offers.get("tasks").is_some()
            || extensions.is_some_and(|members| members.get(TASKS_EXTENSION).is_some())
    }

    /// The templates with their routes.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&Arc<str>, &Route)> {
        self.templates.iter()
    }

    /// The annotated parameters of `tool`.
    pub(super) fn header_params(&self, tool: &str) -> Vec<HeaderParam> {
        self.headers.get(tool).cloned().unwrap_or_default()
    }
}

fn merge_list(sources: &[CatalogSource], naming: Naming, kind: ListKind) -> (List, HashMap<Arc<str>, Route>) {
    let uses =
        Uses::count(sources.iter().flat_map(|s| s.catalog.list(kind).items.iter().map(|item| &item.key)));
    let mut merged = List::default();
    let mut routes = HashMap::new();
    for (provider, source) in sources.iter().enumerate() {
        let list = source.catalog.list(kind);
        merged.version += list.version;
        for item in &list.items {
            let own = item.key.clone();
            let shown = if uses.wants_prefix(naming, source.native, &own) {
                renamed(kind, &source.name, item)
            } else {
                item.clone()
            };
            if routes.contains_key(&shown.key) {
                continue;
            }
            routes.insert(shown.key.clone(), Route { provider, own });
            merged.items.push(shown);
        }
    }
    (merged, routes)
}

fn renamed(kind: ListKind, provider: &str, item: &Item) -> Item {
    let key: Arc<str> = prefixed(kind, provider, &item.key).into();
    let Ok(mut members) = RawObject::parse(item.raw.get()) else { unreachable!("an item is an object") };
    members.set(kind.key(), raw(&*key));
    Item { key, raw: Arc::from(members.to_raw()) }
}

/// The union: an object's members are united, `true` wins over `false`.
fn merge_offers(sources: &[CatalogSource]) -> ServerCapabilities {
    let mut united = serde_json::Map::new();
    for source in sources {
        for (name, value) in source.catalog.offers.0.iter() {
            let Ok(value) = serde_json::from_str::<Value>(value.get()) else { continue };
            match united.get_mut(name) {
                Some(old) => unite(old, value),
                None => {
                    united.insert(name.to_owned(), value);
                }
            }
        }
    }
    let mut members = RawObject::new();
    for (name, value) in &united {
        members.set(name, raw(value));
    }
    ServerCapabilities(members)
}

fn unite(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get_mut(&key) {
                    Some(old) => unite(old, value),
                    None => {
                        old.insert(key, value);
                    }
                }
            }
        }
        (old @ Value::Bool(false), Value::Bool(true)) => *old = Value::Bool(true),
        _ => {}
    }
}

fn merge_instructions(sources: &[CatalogSource]) -> Option<Arc<str>> {
    let texts: Vec<_> = sources
        .iter()
        .filter_map(|source| source.catalog.instructions.as_ref().map(|text| (&source.name, text)))
        .collect();
    match texts.as_slice() {
        [] => None,
        [(_, text)] => Some((*text).clone()),
        many => {
            let parts: Vec<_> = many.iter().map(|(name, text)| format!("[{name}]\n{text}")).collect();
            Some(parts.join("\n\n").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, native: bool, tools: &[&str]) -> CatalogSource {
        let items = tools.iter().map(|tool| {
            let json = format!(r#"{{"name":"{tool}","inputSchema":{{}},"x":1.0}}"#);
            Item::read(ListKind::Tools, &serde_json::value::RawValue::from_string(json).unwrap()).unwrap()
        });
        let tools = List { version: 1, items: items.collect() };
        CatalogSource {
            name: name.into(),
            native,
            catalog: Arc::new(Catalog { tools, ..Catalog::default() }),
        }
    }

    fn names(sources: &[CatalogSource], naming: Naming) -> Vec<String> {
        let merged = Merged::of(sources, naming);
        merged.catalog.tools.items.iter().map(|item| item.key.to_string()).collect()
    }

    #[test]
    fn colliding_upstreams_both_get_their_prefix_and_the_node_keeps_its_names() {
        let sources =
            [source("node", true, &["echo"]), source("a", false, &["echo", "x"]), source("b", false, &["x"])];
        assert_eq!(names(&sources, Naming::OnConflict), ["echo", "a__echo", "a__x", "b__x"]);
        assert_eq!(names(&sources, Naming::Always), ["echo", "a__echo", "a__x", "b__x"]);
        assert_eq!(names(&sources, Naming::Never), ["echo", "x"]);
        let merged = Merged::of(&sources, Naming::OnConflict);
        let route = merged.route(ListKind::Tools, "b__x").unwrap();
        assert_eq!((route.provider, &*route.own), (2, "x"));
    }

    #[test]
    fn a_renamed_tool_keeps_its_other_members_raw() {
        let sources = [source("a", false, &["x"])];
        let merged = Merged::of(&sources, Naming::Always);
        assert_eq!(merged.catalog.tools.items[0].raw.get(), r#"{"name":"a__x","inputSchema":{},"x":1.0}"#);
    }
}
