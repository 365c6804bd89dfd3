//! A server of tools, resources and prompts written in Rust: put together here, served by the node as one
//! provider among others.

use std::future::Future;
use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};

use super::calls::{CompleteCall, PromptCall, ReadCall, ToolCall};
use super::handle::{OfferError, ServerHandle};
use super::prompt::{Completion, Prompt, PromptResult};
use super::registry::{Complete, Registry, Shared};
use super::resource::{ReadResult, Resource, Template};

use super::settings::{ServerLimits, Settings};
use super::tasks::TaskTable;
use super::tool::{Tool, ToolResult};
use super::tool_error::ToolError;
use crate::clock::Clock;
use crate::mcp::{Caller, ListKind, Notification, SealKey, raw};
use crate::random;

/// Events that may wait for the slowest reader.
const EVENTS_KEPT: usize = 1024;

/// A server of native tools, resources and prompts.
///
/// ```
/// use erlmcp::handler::{Server, ToolError, Tool, ToolCall};
/// use serde::Deserialize;
/// use serde_json::json;
///
/// #[derive(Deserialize)]
/// struct Add {
///     a: f64,
///     b: f64,
/// }
///
/// async fn add(call: ToolCall) -> Result<String, ToolError> {
///     let Add { a, b } = call.arguments()?;
///     Ok(format!("{}", a + b))
/// }
///
/// let tool = Tool::new("add")
///     .describe("Adds two numbers")
///     .required("a", json!({ "type": "number" }))
///     .required("b", json!({ "type": "number" }));
/// let server = Server::new("calculator", "1.0.0").tool(tool, add);
/// # let _ = server;
/// ```
pub struct Server {
    pub(super) shared: Arc<Shared>,
}

impl Server {
    /// A server without anything. `name` is its prefix where names collide: `a-z 0-9 -`.
    ///
    /// States for clients to keep are sealed with a key of this process; give a [`Server::seal_key`] where
    /// several nodes serve the same clients.
    ///
    /// # Panics
    /// For another name.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Server {
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(
            !name.is_empty() && name.bytes().all(is_word),
            "a server's name is of a-z 0-9 -, not {name:?}"
        );
        let settings = Settings {
            seal: Arc::new(SealKey::derive(&random::bytes::<32>(), "request state")),
            clock: || Clock::new().unix_ms(),
            limits: ServerLimits::default(),
        };
        let shared = Server::assemble(name, version, settings, Registry::default());
        Server { shared: Arc::new(shared) }
    }

    fn assemble(name: &str, version: &str, settings: Settings, registry: Registry) -> Shared {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (legacy, modern) = (watch::Sender::default(), watch::Sender::default());
        let tasks = TaskTable::new(settings.limits.clone(), settings.clock, events.clone());
        let shared = Shared {
            name: name.into(),
            version: version.into(),
            settings,
            registry: registry.into(),
            legacy,
            modern,
            events,
            tasks,
            on_notification: Vec::new(),
            on_session_end: Vec::new(),
        };
        shared.change(|_| ());
        shared
    }

    /// Changes that only the server itself may make, before anybody has a handle.
    fn own(&mut self) -> &mut Shared {
        let Some(shared) = Arc::get_mut(&mut self.shared) else {
            panic!("settings of a server come before its first handle")
        };
        shared
    }

    /// The same with the cluster's key for states that clients keep.
    ///
    /// # Panics
    /// After the first [`Server::handle`]; so do all other settings.
    #[must_use]
    pub fn seal_key(mut self, key: Arc<SealKey>) -> Server {
        self.own().settings.seal = key;
        self
    }

    /// The same with another calendar: unix time in milliseconds.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> u64) -> Server {
        let shared = self.own();
        shared.settings.clock = clock;
        shared.tasks = TaskTable::new(shared.settings.limits.clone(), clock, shared.events.clone());
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn limits(mut self, limits: ServerLimits) -> Server {
        let shared = self.own();
        shared.tasks = TaskTable::new(limits.clone(), shared.settings.clock, shared.events.clone());
        shared.settings.limits = limits;
        self
    }

    /// The same with text for the model on how to use it.
    #[must_use]
    pub fn instructions(self, text: &str) -> Server {
        self.shared.change(|registry| registry.instructions = Some(text.into()));
        self
    }

    /// The same with one more capability, beside those that follow from what is offered.
    #[must_use]
    pub fn capability(self, name: &str, value: &serde_json::Value) -> Server {
        self.shared.change(|registry| registry.capabilities.set(name, raw(value)));
        self
    }

    /// The same with a tool. A handler ends with anything that is a [`ToolResult`], or with [`ToolError`];
    /// `?` works on any error and gives a result with `isError` and the error's text.
    ///
    /// # Panics
    /// For a name or schema that the protocol does not allow, and for a name given twice: both are bugs of
    /// the caller.
    #[must_use]
    pub fn tool<F, Fut, R>(self, tool: Tool, handler: F) -> Server
    where
        F: Fn(ToolCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ToolResult>,
    {
        self.refuse_twice("tool", &tool.name, |registry| registry.tools.find(&tool.name).is_some());
        self.offer(|handle| handle.add_tool(tool, handler))
    }

    /// The same with a resource.
    ///
    /// # Panics
    /// For an empty URI or name, and for a URI given twice.
    #[must_use]
    pub fn resource<F, Fut, R>(self, resource: Resource, handler: F) -> Server
    where
        F: Fn(ReadCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ReadResult>,
    {
        self.refuse_twice("resource", &resource.uri, |registry| {
            registry.resources.find(&resource.uri).is_some()
        });
        self.offer(|handle| handle.add_resource(resource, handler))
    }

    /// The same with resources by pattern.
    ///
    /// # Panics
    /// For a pattern that is none of level 1, and for one given twice.
    #[must_use]
    pub fn template<F, Fut, R>(self, template: Template, handler: F) -> Server
    where
        F: Fn(ReadCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ReadResult>,
    {
        let pattern = &template.uri_template;
        self.refuse_twice("template", pattern, |registry| registry.templates.find(pattern).is_some());
        self.offer(|handle| handle.add_template(template, handler))
    }

    /// The same with a prompt.
    ///
    /// # Panics
    /// For an empty name, and for one given twice.
    #[must_use]
    pub fn prompt<F, Fut, R>(self, prompt: Prompt, handler: F) -> Server
    where
        F: Fn(PromptCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<PromptResult>,
    {
        self.refuse_twice("prompt", &prompt.name, |registry| registry.prompts.find(&prompt.name).is_some());
        self.offer(|handle| handle.add_prompt(prompt, handler))
    }

    /// The same with completions of an argument of a prompt.
    #[must_use]
    pub fn complete_prompt<F, Fut, R>(self, prompt: &str, argument: &str, handler: F) -> Server
    where
        F: Fn(CompleteCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<Completion>,
    {
        self.complete(ListKind::Prompts, prompt, argument, handler)
    }

    /// The same with completions of a variable of a template.
    ///
    /// # Panics
    /// If the template is there and has no such variable.
    #[must_use]
    pub fn complete_template<F, Fut, R>(self, uri_template: &str, variable: &str, handler: F) -> Server
    where
        F: Fn(CompleteCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<Completion>,
    {
        self.shared.read(|registry| {
            let template = registry.templates.find(uri_template);
            let has = template.is_none_or(|entry| entry.own.has(variable));
            assert!(has, "template {uri_template:?} has no variable {variable:?}");
        });
        self.complete(ListKind::Templates, uri_template, variable, handler)
    }

    fn complete<F, Fut, R>(self, kind: ListKind, name: &str, argument: &str, handler: F) -> Server
    where
        F: Fn(CompleteCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<Completion>,
    {
        let handler: Complete = Arc::new(move |call| {
            let running = handler(call);
            Box::pin(async move { Ok(running.await?.into()) })
        });
        let key = (kind, name.into(), argument.into());
        self.shared.change(|registry| registry.completions.insert(key, handler));
        self
    }

    /// Calls `hook` for each notification of a client, such as `notifications/roots/list_changed`. It must
    /// not wait.
    #[must_use]
    pub fn on_notification(
        mut self,
        hook: impl Fn(&Notification, &Caller) + Send + Sync + 'static,
    ) -> Server {
        self.own().on_notification.push(Box::new(hook));
        self
    }

    /// Calls `hook` with the key of each legacy session that ends. It must not wait.
    #[must_use]
    pub fn on_session_end(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Server {
        self.own().on_session_end.push(Box::new(hook));
        self
    }

    /// A handle, to change what is offered while it runs.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::of(&self.shared)
    }

    /// `serverInfo`: name and version.
    #[must_use]
    pub fn info(&self) -> Box<RawValue> {
        raw(&json!({ "name": &*self.shared.name, "version": &*self.shared.version }))
    }

    fn offer(self, add: impl FnOnce(&ServerHandle) -> Result<(), OfferError>) -> Server {
        if let Err(error) = add(&self.handle()) {
            panic!("{error}");
        }
        self
    }

    fn refuse_twice(&self, noun: &str, key: &str, is_there: impl FnOnce(&Registry) -> bool) {
        assert!(!self.shared.read(is_there), "{noun} {key:?} is there already");
    }
}
