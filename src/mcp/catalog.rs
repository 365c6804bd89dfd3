//! What a provider offers, as one whole value: readers watch the newest, so a missed change cannot matter.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::Members;

/// The four lists of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`, keyed by `name`.
    Tools,
    /// `prompts/list`, keyed by `name`.
    Prompts,
    /// `resources/list`, keyed by `uri`.
    Resources,
    /// `resources/templates/list`, keyed by `uriTemplate`.
    Templates,
}

/// One entry of a list: its key and all of it, raw.
#[derive(Clone, Debug)]
pub struct Item {
    /// `name`, `uri` or `uriTemplate`.
    pub key: Arc<str>,
    /// The whole object as the provider wrote it.
    pub raw: Arc<RawValue>,
}

impl Item {
    /// Takes the key out of an object of the list `kind`; `None` if it has none or is no object.
    #[must_use]
    pub fn read(kind: ListKind, value: &RawValue) -> Option<Item> {
        let key = Members::parse(value.get()).ok()?.text(kind.key())?;
        Some(Item { key: key.into(), raw: Arc::from(value.to_owned()) })
    }
}

impl ListKind {
    /// The member that names an entry.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            ListKind::Tools | ListKind::Prompts => "name",
            ListKind::Resources => "uri",
            ListKind::Templates => "uriTemplate",
        }
    }

    /// The member of the list's result that holds the entries.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources => "resources",
            ListKind::Templates => "resourceTemplates",
        }
    }

    /// The method that asks for it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            ListKind::Tools => "tools/list",
            ListKind::Prompts => "prompts/list",
            ListKind::Resources => "resources/list",
            ListKind::Templates => "resources/templates/list",
        }
    }

    /// The list that `method` asks for.
    #[must_use]
    pub fn of_method(method: &str) -> Option<ListKind> {
        [ListKind::Tools, ListKind::Prompts, ListKind::Resources, ListKind::Templates]
            .into_iter()
            .find(|kind| kind.method() == method)
    }

    /// The notification that it changed; templates share that of resources.
    #[must_use]
    pub fn changed_method(self) -> &'static str {
        match self {
            ListKind::Tools => "notifications/tools/list_changed",
            ListKind::Prompts => "notifications/prompts/list_changed",
            ListKind::Resources | ListKind::Templates => "notifications/resources/list_changed",
        }
    }
}

/// One list with a version that grows with every change, also one that leaves the entries alike.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Grows by at least one with each change that listeners should hear of.
    pub version: u64,
    /// The entries in their fixed order.
    pub items: Vec<Item>,
}

/// Server capabilities of a provider: the object of `initialize` / `server/discover`, raw, a level deep.
#[derive(Clone, Debug, Default)]
pub struct Offers(pub Members);

/// Everything that a provider offers in one era.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Capabilities, e.g. `tools`, `prompts`, `completions`.
    pub offers: Offers,
    /// Text for the model on how to use the server, if any.
    pub instructions: Option<Arc<str>>,
    /// The tools.
    pub tools: List,
    /// The prompts.
    pub prompts: List,
    /// The concrete resources.
    pub resources: List,
    /// The resource templates.
    pub templates: List,
}

impl Catalog {
    /// The list `kind`.
    #[must_use]
    pub fn list(&self, kind: ListKind) -> &List {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
        }
    }
}
