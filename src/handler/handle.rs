//! Changes of a running server: what it offers, and what its clients should hear of.

use std::future::Future;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::calls::{PromptCall, ReadCall, ToolCall, to_raw};
use super::pattern::Pattern;
use super::prompt::{Prompt, PromptResult};
use super::registry::{Entry, Shared};
use super::resource::{ReadResult, Resource, Template};
use super::run::HandlerFn;
use super::tool::{Tool, ToolResult};
use super::tool_error::ToolError;
use crate::mcp::{Event, Item, ListKind, raw};

/// Longest name of a tool, in bytes; the protocol's own limit.
pub const TOOL_NAME_BYTES_MAX: usize = 128;

/// Something that cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot offer {what}: {why}")]
pub struct OfferError {
    what: String,
    why: String,
}

fn refuse<T>(what: String, why: impl Into<String>) -> Result<T, OfferError> {
    Err(OfferError { what, why: why.into() })
}

/// A handle on a server, to change what it offers while it runs. Cheap to clone; clients that listen hear
/// of each change.
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

impl ServerHandle {
    pub(super) fn of(shared: &Arc<Shared>) -> ServerHandle {
        ServerHandle { shared: shared.clone() }
    }

    /// Offers a tool, in the place of one with the same name.
    ///
    /// # Errors
    /// [`OfferError`] for a name or schema that the protocol does not allow.
    pub fn add_tool<F, Fut, R>(&self, tool: Tool, handler: F) -> Result<(), OfferError>
    where
        F: Fn(ToolCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ToolResult>,
    {
        check_tool(&tool)?;
        let handler = Arc::new(handler);
        let work: HandlerFn = Arc::new(move |call| {
            let handler = handler.clone();
            Box::pin(async move {
                match handler(ToolCall::new(call)?).await {
                    Ok(result) => Ok(to_raw(&result.into())),
                    Err(ToolError::Failed(text)) => Ok(to_raw(&ToolResult::error(text))),
                    Err(stop) => Err(stop),
                }
            })
        });
        let (item, own) = (item(ListKind::Tools, &tool.name, raw(&tool)), tool.task_support);
        self.shared.change(|registry| registry.tools.put(Entry { item, work, own }));
        Ok(())
    }

    /// Offers a resource, in the place of one with the same URI.
    ///
    /// # Errors
    /// [`OfferError`] for an empty URI or name.
    pub fn add_resource<F, Fut, R>(&self, resource: Resource, handler: F) -> Result<(), OfferError>
    where
        F: Fn(ReadCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ReadResult>,
    {
        check_resource(&resource.uri, &resource.name)?;
        let item = item(ListKind::Resources, &resource.uri, raw(&resource));
        let (handler, mime) = (Arc::new(handler), resource.mime_type);
        let work: HandlerFn = Arc::new(move |call| {
            let uri = call.request().params.text("uri").unwrap_or_default();
            let (handler, mime) = (handler.clone(), mime.clone());
            Box::pin(async move {
                let result = handler(ReadCall::new(call, &uri, Vec::new())).await?;
                Ok(to_raw(&result.into().complete(&uri, mime.as_deref())))
            })
        });
        self.shared.change(|registry| registry.resources.put(Entry { item, work, own: () }));
        Ok(())
    }

    /// Offers resources by pattern, in the place of a template with the same pattern.
    ///
    /// # Errors
    /// [`OfferError`] for a pattern that is none of level 1.
    pub fn add_template<F, Fut, R>(&self, template: Template, handler: F) -> Result<(), OfferError>
    where
        F: Fn(ReadCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ReadResult>,
    {
        check_resource(&template.uri_template, &template.name)?;
        let pattern = match Pattern::parse(&template.uri_template) {
            Ok(pattern) => pattern,
            Err(why) => return refuse("a template".to_owned(), why),
        };
        let item = item(ListKind::Templates, &template.uri_template, raw(&template));
        let (handler, mime, own) = (Arc::new(handler), template.mime_type, pattern.clone());
        let work: HandlerFn = Arc::new(move |call| {
            let uri = call.request().params.text("uri").unwrap_or_default();
            let variables = pattern.matches(&uri).unwrap_or_default();
            let (handler, mime) = (handler.clone(), mime.clone());
            Box::pin(async move {
                let result = handler(ReadCall::new(call, &uri, variables)).await?;
                Ok(to_raw(&result.into().complete(&uri, mime.as_deref())))
            })
        });
        self.shared.change(|registry| registry.templates.put(Entry { item, work, own }));
        Ok(())
    }

    /// Offers a prompt, in the place of one with the same name.
    ///
    /// # Errors
    /// [`OfferError`] for an empty name.
    pub fn add_prompt<F, Fut, R>(&self, prompt: Prompt, handler: F) -> Result<(), OfferError>
    where
        F: Fn(PromptCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<PromptResult>,
    {
        if prompt.name.is_empty() {
            return refuse("a prompt".to_owned(), "it has no name");
        }
        let item = item(ListKind::Prompts, &prompt.name, raw(&prompt));
        let required = prompt.arguments.iter().filter(|argument| argument.required);
        let required: Arc<[String]> = required.map(|argument| argument.name.clone()).collect();
        let (handler, own) = (Arc::new(handler), required.clone());
        let work: HandlerFn = Arc::new(move |call| {
            let (handler, required) = (handler.clone(), required.clone());
            Box::pin(async move {
                let result = handler(PromptCall::new(call, &required)?).await?;
                Ok(to_raw(&result.into()))
            })
        });
        self.shared.change(|registry| registry.prompts.put(Entry { item, work, own }));
        Ok(())
    }

    /// Stops offering a tool; false if there is none of that name. Calls that run go on.
    pub fn remove_tool(&self, name: &str) -> bool {
        self.shared.change(|registry| registry.tools.remove(name))
    }

    /// Stops offering a prompt; false if there is none of that name.
    pub fn remove_prompt(&self, name: &str) -> bool {
        self.shared.change(|registry| registry.prompts.remove(name))
    }

    /// Stops offering a resource; false if there is none of that URI.
    pub fn remove_resource(&self, uri: &str) -> bool {
        self.shared.change(|registry| registry.resources.remove(uri))
    }

    /// Stops offering a template; false if there is none of that pattern.
    pub fn remove_template(&self, uri_template: &str) -> bool {
        self.shared.change(|registry| registry.templates.remove(uri_template))
    }

    /// Tells listeners that the tools changed, also if their list looks the same.
    pub fn notify_tools_changed(&self) {
        self.shared.change(|registry| registry.tools.touch());
    }

    /// Tells listeners that the prompts changed.
    pub fn notify_prompts_changed(&self) {
        self.shared.change(|registry| registry.prompts.touch());
    }

    /// Tells listeners that the resources changed: which there are, not what they hold.
    pub fn notify_resources_changed(&self) {
        self.shared.change(|registry| registry.resources.touch());
    }

    /// Tells subscribers that the contents of a resource changed.
    pub fn resource_updated(&self, uri: &str) {
        // Nobody listens: fine.
        let _ = self.shared.events.send(Event::ResourceUpdated { uri: uri.into() });
    }

    /// How many tasks are held, ended ones whose time is not over too.
    #[must_use]
    pub fn tasks_held(&self) -> usize {
        self.shared.tasks.held()
    }

    /// Cancels all tasks, before the process ends.
    pub fn cancel_tasks(&self) {
        self.shared.tasks.cancel_all();
    }
}

fn item(kind: ListKind, key: &str, raw: Box<RawValue>) -> Item {
    let Some(item) = Item::read(kind, &raw) else { unreachable!("{kind:?} {key:?} has no key of its own") };
    item
}

fn check_tool(tool: &Tool) -> Result<(), OfferError> {
    let what = || format!("tool {:?}", tool.name);
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if tool.name.is_empty() || tool.name.len() > TOOL_NAME_BYTES_MAX || !tool.name.bytes().all(is_word) {
        return refuse(what(), format!("a name is 1 to {TOOL_NAME_BYTES_MAX} of A-Z a-z 0-9 _ - ."));
    }
    for (name, schema) in
        [("inputSchema", Some(&tool.input_schema)), ("outputSchema", tool.output_schema.as_ref())]
    {
        if schema.is_some_and(|schema| schema["type"] != "object") {
            return refuse(what(), format!("the type of its {name} is not \"object\""));
        }
    }
    Ok(())
}

fn check_resource(uri: &str, name: &str) -> Result<(), OfferError> {
    if uri.is_empty() || name.is_empty() {
        return refuse(format!("resource {uri:?} {name:?}"), "URI and name must not be empty");
    }
    Ok(())
}
