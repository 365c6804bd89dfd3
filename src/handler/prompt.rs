//! Description of a prompt, the result of getting it, and completions of arguments.

use serde::Serialize;
use serde_json::{Map, Value};

use super::content::{Content, Icon, Role};

/// A prompt as clients see it in `prompts/list`.
///
/// ```
/// use erlmcp::handler::Prompt;
/// let prompt = Prompt::new("review").describe("Reviews a change").required("diff", "the change, as a diff");
/// assert!(prompt.arguments[0].required);
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// Unique name.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Arguments that the client fills in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
    /// Pictures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One argument of a prompt; its value is always text.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it must be given; without it the prompt is refused (-32602) before its handler runs.
    pub required: bool,
}

impl Prompt {
    /// A prompt without arguments.
    pub fn new(name: impl Into<String>) -> Prompt {
        Prompt { name: name.into(), ..Prompt::default() }
    }

    /// The same with a description.
    #[must_use]
    pub fn describe(mut self, description: impl Into<String>) -> Prompt {
        self.description = Some(description.into());
        self
    }

    /// The same with an argument that must be given.
    #[must_use]
    pub fn required(self, name: &str, description: &str) -> Prompt {
        self.argument(name, description, true)
    }

    /// The same with an argument that may be left out.
    #[must_use]
    pub fn optional(self, name: &str, description: &str) -> Prompt {
        self.argument(name, description, false)
    }

    fn argument(mut self, name: &str, description: &str, required: bool) -> Prompt {
        let (name, description) = (name.to_owned(), Some(description.to_owned()));
        self.arguments.push(Argument { name, title: None, description, required });
        self
    }
}

/// One message of a prompt.
#[derive(Clone, Debug, Serialize)]
pub struct PromptMessage {
    /// Role of the speaker.
    pub role: Role,
    /// The content.
    pub content: Content,
}

/// Result of getting a prompt. Text and lists of messages turn into one by themselves.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PromptResult {
    /// Its purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The conversation so far.
    pub messages: Vec<PromptMessage>,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl PromptResult {
    /// One message of the user.
    pub fn user(content: impl Into<Content>) -> PromptResult {
        PromptResult::default().and(Role::User, content)
    }

    /// The same with one more message.
    #[must_use]
    pub fn and(mut self, role: Role, content: impl Into<Content>) -> PromptResult {
        self.messages.push(PromptMessage { role, content: content.into() });
        self
    }
}

impl From<&str> for PromptResult {
    fn from(text: &str) -> PromptResult {
        PromptResult::user(text)
    }
}

impl From<String> for PromptResult {
    fn from(text: String) -> PromptResult {
        PromptResult::user(text)
    }
}

/// Most values of one completion; the protocol's own limit.
pub const COMPLETIONS_MAX: usize = 100;

/// Values that would complete an argument, best first. A list of text turns into one by itself.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// At most [`COMPLETIONS_MAX`]; the rest is cut off.
    pub values: Vec<String>,
    /// How many there are in all, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// Whether there are more than these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
}

impl Completion {
    /// The same within the limit.
    pub(super) fn cut(mut self) -> Completion {
        if self.values.len() > COMPLETIONS_MAX {
            self.total = self.total.or(Some(self.values.len()));
            self.has_more = Some(true);
            self.values.truncate(COMPLETIONS_MAX);
        }
        self
    }
}

impl<T: Into<String>> FromIterator<T> for Completion {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Completion {
        Completion { values: values.into_iter().map(Into::into).collect(), ..Completion::default() }
    }
}

impl<T: Into<String>> From<Vec<T>> for Completion {
    fn from(values: Vec<T>) -> Completion {
        values.into_iter().collect()
    }
}
