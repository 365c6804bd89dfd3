//! Offer of a provider, as one whole value: readers watch the newest, so a missed change cannot matter.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Method, RawObject};

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
        let key = RawObject::parse(value.get()).ok()?.text(kind.key())?;
        Some(Item { key: key.into(), raw: Arc::from(value.to_owned()) })
    }
}

impl ListKind {
    /// Every list, in the order of catalogs.
    pub const ALL: [ListKind; 4] =
        [ListKind::Tools, ListKind::Prompts, ListKind::Resources, ListKind::Templates];

    /// Word by which an error calls an entry.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            ListKind::Tools => "tool",
            ListKind::Prompts => "prompt",
            ListKind::Resources => "resource",
            ListKind::Templates => "resource template",
        }
    }

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
            ListKind::Templates => "resourceTemplates",
            _ => self.capability(),
        }
    }

    /// The capability that offers it; templates share that of resources.
    #[must_use]
    pub const fn capability(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources | ListKind::Templates => "resources",
        }
    }

    /// The method that asks for it.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            ListKind::Tools => Method::ToolsList,
            ListKind::Prompts => Method::PromptsList,
            ListKind::Resources => Method::ResourcesList,
            ListKind::Templates => Method::TemplatesList,
        }
    }

    /// The notification that it changed; templates share that of resources.
    #[must_use]
    pub fn changed_method(self) -> Method {
        match self {
            ListKind::Tools => Method::ToolsChanged,
            ListKind::Prompts => Method::PromptsChanged,
            ListKind::Resources | ListKind::Templates => Method::ResourcesChanged,
        }
    }

    /// The member of a listener's filter that asks for its changes; templates share that of resources.
    #[must_use]
    pub fn filter(self) -> &'static str {
        match self {
            ListKind::Tools => "toolsListChanged",
            ListKind::Prompts => "promptsListChanged",
            ListKind::Resources | ListKind::Templates => "resourcesListChanged",
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
pub struct ServerCapabilities(pub RawObject);

/// Everything that a provider offers in one era.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Capabilities, e.g. `tools`, `prompts`, `completions`.
    pub offers: ServerCapabilities,
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
