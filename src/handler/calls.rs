//! Input of each kind of handler: the call, and what belongs to tools, prompts, resources or completions
//! alone.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::call::HandlerCall;
use super::tool_error::ToolError;
use crate::mcp::{Caller, RawObject, RpcError, raw};

/// A call of a tool. Everything of [`HandlerCall`] is here too.
#[derive(Clone)]
pub struct ToolCall {
    call: HandlerCall,
}

impl ToolCall {
    pub(super) fn new(call: HandlerCall) -> Result<ToolCall, RpcError> {
        let call = ToolCall { call };
        if call.raw_arguments().get().starts_with('{') {
            Ok(call)
        } else {
            Err(RpcError::invalid_params("arguments must be an object"))
        }
    }

    /// The arguments as `T`.
    ///
    /// # Errors
    /// A failure that the model can read: which argument is missing or has another type.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        serde_json::from_str(self.raw_arguments().get())
            .map_err(|error| ToolError::failed(format!("invalid arguments: {}", without_place(&error))))
    }

    /// The arguments as the client wrote them; `{}` if it wrote none.
    #[must_use]
    pub fn raw_arguments(&self) -> &RawValue {
        let given = self.call.request().params.get("arguments");
        given.filter(|value| value.get() != "null").unwrap_or_else(|| no_arguments())
    }
}

fn no_arguments() -> &'static RawValue {
    let Ok(none) = serde_json::from_str("{}") else { unreachable!("{{}} is JSON") };
    none
}

impl Deref for ToolCall {
    type Target = HandlerCall;
    fn deref(&self) -> &HandlerCall {
        &self.call
    }
}

/// A request for a prompt. Everything of [`HandlerCall`] is here too.
#[derive(Clone)]
pub struct PromptCall {
    call: HandlerCall,
    arguments: Arc<BTreeMap<String, String>>,
}

impl PromptCall {
    pub(super) fn new(call: HandlerCall, required: &[String]) -> Result<PromptCall, RpcError> {
        let arguments = call.request().params.read::<BTreeMap<String, String>>("arguments");
        let arguments = arguments
            .map_err(|error| RpcError::invalid_params(format!("arguments: {error}")))?
            .unwrap_or_default();
        if let Some(missing) = required.iter().find(|name| !arguments.contains_key(*name)) {
            return Err(RpcError::invalid_params(format!("missing argument {missing:?}")));
        }
        Ok(PromptCall { call, arguments: Arc::new(arguments) })
    }

    /// An argument; empty if an optional one was left out.
    #[must_use]
    pub fn argument(&self, name: &str) -> &str {
        self.arguments.get(name).map_or("", String::as_str)
    }

    /// All arguments.
    #[must_use]
    pub fn arguments(&self) -> &BTreeMap<String, String> {
        &self.arguments
    }
}

impl Deref for PromptCall {
    type Target = HandlerCall;
    fn deref(&self) -> &HandlerCall {
        &self.call
    }
}

/// A read of a resource. Everything of [`HandlerCall`] is here too.
#[derive(Clone)]
pub struct ReadCall {
    call: HandlerCall,
    uri: Arc<str>,
    variables: Arc<Vec<(String, String)>>,
}

impl ReadCall {
    pub(super) fn new(call: HandlerCall, uri: &str, variables: Vec<(String, String)>) -> ReadCall {
        ReadCall { call, uri: uri.into(), variables: Arc::new(variables) }
    }

    /// URI that is read.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A variable of the template, decoded; empty if the template has no such variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> &str {
        self.variables.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// The fault that says that there is no such resource, for templates that match more than exists.
    #[must_use]
    pub fn not_found(&self) -> ToolError {
        ToolError::Rpc(RpcError::resource_not_found(self.call.caller().era(), &self.uri))
    }
}

impl Deref for ReadCall {
    type Target = HandlerCall;
    fn deref(&self) -> &HandlerCall {
        &self.call
    }
}

/// A request to complete an argument of a prompt or a variable of a template.
#[derive(Clone)]
pub struct CompleteCall {
    caller: Caller,
    value: String,
    others: BTreeMap<String, String>,
}

impl CompleteCall {
    pub(super) fn new(
        caller: &Caller,
        argument: &RawObject,
        params: &RawObject,
    ) -> Result<CompleteCall, RpcError> {
        let bad = |error: serde_json::Error| RpcError::invalid_params(format!("context.arguments: {error}"));
        let context = params.read::<RawObject>("context").map_err(bad)?.unwrap_or_default();
        let others = context.read::<BTreeMap<String, String>>("arguments").map_err(bad)?;
        let value = argument.text("value");
        let value =
            value.ok_or_else(|| RpcError::invalid_params("argument.value is missing or no string"))?;
        Ok(CompleteCall { caller: caller.clone(), value, others: others.unwrap_or_default() })
    }

    /// The client that asks.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Text typed so far.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// An argument that was filled in before; empty if it was not.
    #[must_use]
    pub fn other(&self, name: &str) -> &str {
        self.others.get(name).map_or("", String::as_str)
    }

    /// Those of `values` that start with what has been typed, whatever the case.
    pub fn matching<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let typed = self.value.to_lowercase();
        let fits = |value: &&str| value.to_lowercase().starts_with(&typed);
        values.into_iter().filter(fits).map(ToOwned::to_owned).collect()
    }
}

/// The error without the line and column of a text that the reader does not see.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A result that the node can send.
pub(super) fn to_raw<T: serde::Serialize>(result: &T) -> Box<RawValue> {
    raw(result)
}
