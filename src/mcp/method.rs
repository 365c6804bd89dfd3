//! Methods of the protocol: one row each, and the one place where they are told apart.
//!
//! A row says in which eras a method exists, by which capability it is answered, how the router finds its
//! provider, what `Mcp-Name` repeats of it and how long a result may be kept. A new method is a row here and
//! a handler. Names that are not in the table stay as they came: an upstream may know them.

use std::fmt;
use std::ops::Deref;

use serde::de::{Deserializer, Visitor};

use super::{Era, ListKind};

/// Milliseconds that a modern client may keep a list without asking again; listeners hear of changes at once.
const LIST_TTL_MS: u64 = 5_000;

/// Way from a request to the provider that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// None: it is about the session or the connection, or is nothing that a server answers.
    Edge,
    /// None: the merged list answers it.
    List(ListKind),
    /// Provider of the entry of this list that `params.name` names.
    Name(ListKind),
    /// Provider of the resource that `params.uri` names.
    Uri,
    /// Provider of the prompt or template that `params.ref` names.
    Reference,
    /// Every provider that offers the capability.
    All,
    /// Provider that runs the task of `params.taskId`.
    Task,
}

/// `Mcp-Name` of a modern request over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHeader {
    /// Member of `params` that the header repeats.
    pub member: &'static str,
    /// Whether a request without the header is refused.
    pub is_required: bool,
}

/// Facts of one method.
#[derive(Clone, Copy)]
struct MethodRow {
    in_legacy: bool,
    in_modern: bool,
    capability: Option<&'static str>,
    client_capability: Option<&'static str>,
    routing: Routing,
    name_header: Option<NameHeader>,
    ttl_ms: Option<u64>,
}

/// Request to a server, in no era.
const NOWHERE: MethodRow = MethodRow {
    in_legacy: false,
    in_modern: false,
    capability: None,
    client_capability: None,
    routing: Routing::Edge,
    name_header: None,
    ttl_ms: None,
};
const LEGACY: MethodRow = MethodRow { in_legacy: true, ..NOWHERE };
const MODERN: MethodRow = MethodRow { in_modern: true, ..NOWHERE };
const BOTH: MethodRow = MethodRow { in_legacy: true, in_modern: true, ..NOWHERE };

impl MethodRow {
    const fn needs(self, capability: &'static str) -> MethodRow {
        MethodRow { capability: Some(capability), ..self }
    }

    const fn routed(self, routing: Routing) -> MethodRow {
        MethodRow { routing, ..self }
    }

    const fn list(self, kind: ListKind) -> MethodRow {
        MethodRow { routing: Routing::List(kind), ttl_ms: Some(LIST_TTL_MS), ..self.needs(kind.capability()) }
    }

    const fn kept(self, ttl_ms: u64) -> MethodRow {
        MethodRow { ttl_ms: Some(ttl_ms), ..self }
    }

    const fn named_by(self, member: &'static str) -> MethodRow {
        MethodRow { name_header: Some(NameHeader { member, is_required: true }), ..self }
    }

    const fn maybe_named_by(self, member: &'static str) -> MethodRow {
        MethodRow { name_header: Some(NameHeader { member, is_required: false }), ..self }
    }

    /// MethodRow of a question that a server puts to a client.
    const fn asks(self, client_capability: &'static str) -> MethodRow {
        MethodRow { client_capability: Some(client_capability), ..self }
    }

    /// MethodRow of a name that is not in the table.
    fn unknown(name: &str) -> MethodRow {
        if name.starts_with("tasks/") { BOTH.routed(Routing::Task).maybe_named_by("taskId") } else { BOTH }
    }
}

/// Makes the type of all methods and its tables from one row each.
macro_rules! methods {
    ($($variant:ident = $name:literal, $row:expr;)+) => {
        /// Method of a request or notification, in either direction.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// Name that the table does not have.
            Other(Box<str>),
        }

        impl Method {
            /// Name on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Method::$variant => $name,)+
                    Method::Other(name) => name,
                }
            }

            fn row(&self) -> MethodRow {
                match self {
                    $(Method::$variant => const { $row },)+
                    Method::Other(name) => MethodRow::unknown(name),
                }
            }
        }

        impl From<&str> for Method {
            fn from(name: &str) -> Method {
                match name {
                    $($name => Method::$variant,)+
                    other => Method::Other(other.into()),
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),+];
    };
}

methods! {
    Initialize = "initialize", LEGACY;
    Ping = "ping", LEGACY;
    Discover = "server/discover", MODERN;
    Listen = "subscriptions/listen", MODERN;
    ToolsList = "tools/list", BOTH.list(ListKind::Tools);
    ToolsCall = "tools/call", BOTH.needs("tools").routed(Routing::Name(ListKind::Tools)).named_by("name");
    PromptsList = "prompts/list", BOTH.list(ListKind::Prompts);
    PromptsGet = "prompts/get",
        BOTH.needs("prompts").routed(Routing::Name(ListKind::Prompts)).named_by("name");
    ResourcesList = "resources/list", BOTH.list(ListKind::Resources);
    TemplatesList = "resources/templates/list", BOTH.list(ListKind::Templates);
    ResourcesRead = "resources/read", BOTH.needs("resources").routed(Routing::Uri).named_by("uri").kept(0);
    ResourcesDirectory = "resources/directory/read", BOTH.needs("resources").routed(Routing::Uri);
    ResourcesSubscribe = "resources/subscribe", LEGACY.needs("resources").routed(Routing::Uri);
    ResourcesUnsubscribe = "resources/unsubscribe", LEGACY.needs("resources").routed(Routing::Uri);
    Complete = "completion/complete", BOTH.needs("completions").routed(Routing::Reference);
    SetLevel = "logging/setLevel", LEGACY.needs("logging").routed(Routing::All);
    TasksGet = "tasks/get", BOTH.routed(Routing::Task).named_by("taskId");
    TasksUpdate = "tasks/update", MODERN.routed(Routing::Task).maybe_named_by("taskId");
    TasksCancel = "tasks/cancel", BOTH.routed(Routing::Task).maybe_named_by("taskId");
    TasksResult = "tasks/result", LEGACY.routed(Routing::Task);
    TasksList = "tasks/list", BOTH.routed(Routing::Task);
    CreateElicitation = "elicitation/create", NOWHERE.asks("elicitation");
    CreateMessage = "sampling/createMessage", NOWHERE.asks("sampling");
    RootsList = "roots/list", NOWHERE.asks("roots");
    Initialized = "notifications/initialized", NOWHERE;
    Cancelled = "notifications/cancelled", NOWHERE;
    Progress = "notifications/progress", NOWHERE;
    LogMessage = "notifications/message", NOWHERE;
    ResourceUpdated = "notifications/resources/updated", NOWHERE;
    ToolsChanged = "notifications/tools/list_changed", NOWHERE;
    PromptsChanged = "notifications/prompts/list_changed", NOWHERE;
    ResourcesChanged = "notifications/resources/list_changed", NOWHERE;
    RootsChanged = "notifications/roots/list_changed", NOWHERE;
    ElicitationComplete = "notifications/elicitation/complete", NOWHERE;
    ListenAcknowledged = "notifications/subscriptions/acknowledged", NOWHERE;
    TaskChanged = "notifications/tasks", NOWHERE;
    TaskStatus = "notifications/tasks/status", NOWHERE;
}

impl Method {
    /// Whether clients of `era` may send it as a request. A name that the table does not have may be sent.
    #[must_use]
    pub fn is_in(&self, era: Era) -> bool {
        match era {
            Era::Legacy => self.row().in_legacy,
            Era::Modern => self.row().in_modern,
        }
    }

    /// Capability of the server without which there is no such method; `None` where none is needed, or where
    /// the router judges.
    #[must_use]
    pub fn capability(&self) -> Option<&'static str> {
        self.row().capability
    }

    /// Capability of the client without which it is not asked this; `None` for what a server answers.
    #[must_use]
    pub fn client_capability(&self) -> Option<&'static str> {
        self.row().client_capability
    }

    /// Way to its provider.
    #[must_use]
    pub fn routing(&self) -> Routing {
        self.row().routing
    }

    /// Its `Mcp-Name`, if it has one.
    #[must_use]
    pub fn name_header(&self) -> Option<NameHeader> {
        self.row().name_header
    }

    /// Milliseconds that a modern client may keep a result; `None` where results do not say.
    #[must_use]
    pub fn ttl_ms(&self) -> Option<u64> {
        self.row().ttl_ms
    }

    /// Whether it is a request about a task.
    #[must_use]
    pub fn is_about_task(&self) -> bool {
        self.routing() == Routing::Task
    }

    /// Whether it is a notification about a task, of any revision.
    #[must_use]
    pub fn tells_of_task(&self) -> bool {
        self.starts_with("notifications/tasks")
    }

    /// Whether it says that a list changed.
    #[must_use]
    pub fn is_list_change(&self) -> bool {
        self.ends_with("/list_changed")
    }
}

impl Deref for Method {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl<'de> serde::Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Method, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Method;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a method")
            }

            fn visit_str<E>(self, name: &str) -> Result<Method, E> {
                Ok(Method::from(name))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_as_itself_and_no_other_name_is_known() {
        for name in NAMES {
            let method: Method = serde_json::from_str(&format!("{name:?}")).unwrap();
            assert_eq!(method.as_str(), *name);
            assert!(!matches!(method, Method::Other(_)), "{name}");
        }
        assert_eq!(Method::from("tools/calls"), Method::Other("tools/calls".into()));
    }

    #[test]
    fn a_method_exists_in_its_eras_only() {
        for (name, legacy, modern) in [
            ("initialize", true, false),
            ("ping", true, false),
            ("logging/setLevel", true, false),
            ("resources/subscribe", true, false),
            ("resources/unsubscribe", true, false),
            ("tasks/result", true, false),
            ("server/discover", false, true),
            ("subscriptions/listen", false, true),
            ("tasks/update", false, true),
            ("tools/call", true, true),
            ("tasks/get", true, true),
            ("notifications/progress", false, false),
            ("sampling/createMessage", false, false),
            ("of/an/upstream", true, true),
        ] {
            let method = Method::from(name);
            assert_eq!((method.is_in(Era::Legacy), method.is_in(Era::Modern)), (legacy, modern), "{name}");
        }
    }

    #[test]
    fn a_list_knows_its_own_methods() {
        for kind in ListKind::ALL {
            assert_eq!(kind.method().routing(), Routing::List(kind));
            assert!(kind.changed_method().is_list_change());
        }
    }

    #[test]
    fn tasks_are_known_by_their_prefix_so_that_no_later_method_passes_with_an_id_unsealed() {
        assert!(Method::from("tasks/of_tomorrow").is_about_task());
        assert!(Method::from("notifications/tasks/of_tomorrow").tells_of_task());
        assert!(!Method::from("tools/call").is_about_task());
    }
}
