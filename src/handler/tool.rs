//! Description of a tool, and the result of a call.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::content::{Content, Icon};

/// A tool as clients see it in `tools/list`.
///
/// ```
/// use erlmcp::handler::Tool;
/// use serde_json::json;
/// let tool = Tool::new("add")
///     .describe("Adds two numbers")
///     .required("a", json!({ "type": "number" }))
///     .required("b", json!({ "type": "number" }));
/// assert_eq!(tool.input_schema["required"], json!(["a", "b"]));
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// `A-Z a-z 0-9 _ - .`, at most 128.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model: what it does and when to use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the arguments, an object.
    pub input_schema: Value,
    /// JSON Schema of `structuredContent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Hints on its behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ToolAnnotations>,
    /// Pictures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
    /// Whether a call may become a task; not on the wire.
    #[serde(skip)]
    pub task_support: TaskSupport,
}

/// Hints on what a tool does; clients must not trust them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// May delete or overwrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Twice is as good as once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// Talks to the world outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// Whether a call may become a task (extension `io.modelcontextprotocol/tasks`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSupport {
    /// Never: [`HandlerCall::start_task`](super::HandlerCall::start_task) does nothing.
    #[default]
    Forbidden,
    /// A task where the client knows tasks; others wait for the result.
    Optional,
    /// Only clients that know tasks can call it; the rest get -32021, and legacy clients do not see it.
    Required,
}

impl Tool {
    /// A tool without arguments.
    pub fn new(name: impl Into<String>) -> Tool {
        Tool {
            name: name.into(),
            title: None,
            description: None,
            input_schema: json!({ "type": "object", "properties": {} }),
            output_schema: None,
            annotations: None,
            icons: Vec::new(),
            meta: Map::new(),
            extra: Map::new(),
            task_support: TaskSupport::Forbidden,
        }
    }

    /// The same with a description for the model.
    #[must_use]
    pub fn describe(mut self, description: impl Into<String>) -> Tool {
        self.description = Some(description.into());
        self
    }

    /// The same with a title for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Tool {
        self.title = Some(title.into());
        self
    }

    /// The same with this schema of its arguments.
    #[must_use]
    pub fn input_schema(mut self, schema: Value) -> Tool {
        self.input_schema = schema;
        self
    }

    /// The same with an argument that must be given.
    #[must_use]
    pub fn required(mut self, name: &str, schema: Value) -> Tool {
        super::schema::add(&mut self.input_schema, name, schema, true);
        self
    }

    /// The same with an argument that may be left out.
    #[must_use]
    pub fn optional(mut self, name: &str, schema: Value) -> Tool {
        super::schema::add(&mut self.input_schema, name, schema, false);
        self
    }

    /// The same with a schema of its structured content.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Tool {
        self.output_schema = Some(schema);
        self
    }

    /// The same with hints on its behaviour.
    #[must_use]
    pub fn annotate(mut self, annotations: ToolAnnotations) -> Tool {
        self.annotations = Some(annotations);
        self
    }

    /// The same with one more picture.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Tool {
        self.icons.push(icon);
        self
    }

    /// The same with a member in `_meta`.
    #[must_use]
    pub fn meta(mut self, key: &str, value: impl Into<Value>) -> Tool {
        self.meta.insert(key.to_owned(), value.into());
        self
    }

    /// The same with another support of tasks.
    #[must_use]
    pub fn task_support(mut self, support: TaskSupport) -> Tool {
        self.task_support = support;
        self
    }
}

/// Result of a call of a tool. Text, [`Content`] and lists of it turn into one by themselves.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// For the model.
    pub content: Vec<Content>,
    /// For programs, as `outputSchema` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_content: Option<Value>,
    /// The tool failed, and the content says why.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ToolResult {
    /// One text.
    pub fn text(text: impl Into<String>) -> ToolResult {
        Content::text(text).into()
    }

    /// A failure that the model can read.
    pub fn error(text: impl Into<String>) -> ToolResult {
        ToolResult { is_error: true, ..ToolResult::text(text) }
    }

    /// Structured content, and the same as text for clients that know only text.
    ///
    /// # Errors
    /// serde_json's own words if `value` does not serialise.
    pub fn structured<T: Serialize + ?Sized>(value: &T) -> Result<ToolResult, serde_json::Error> {
        let value = serde_json::to_value(value)?;
        let text = value.to_string();
        Ok(ToolResult { structured_content: Some(value), ..ToolResult::text(text) })
    }

    /// The same with one more block.
    #[must_use]
    pub fn and(mut self, content: impl Into<Content>) -> ToolResult {
        self.content.push(content.into());
        self
    }

    /// The same with a member in `_meta`.
    #[must_use]
    pub fn meta(mut self, key: &str, value: impl Into<Value>) -> ToolResult {
        self.meta.insert(key.to_owned(), value.into());
        self
    }
}

impl From<Content> for ToolResult {
    fn from(content: Content) -> ToolResult {
        vec![content].into()
    }
}

impl From<Vec<Content>> for ToolResult {
    fn from(content: Vec<Content>) -> ToolResult {
        ToolResult { content, ..ToolResult::default() }
    }
}

impl From<&str> for ToolResult {
    fn from(text: &str) -> ToolResult {
        ToolResult::text(text)
    }
}

impl From<String> for ToolResult {
    fn from(text: String) -> ToolResult {
        ToolResult::text(text)
    }
}
