//! Answers of the client as a handler reads them: a missing or malformed one ends the handler.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::input::{Action, Elicited, Root, Roots, Sampled};
use super::tool_error::ToolError;

impl Elicited {
    /// The fields as `T`, if the user agreed.
    ///
    /// # Errors
    /// A failure that says that the user did not agree, or which field is missing or of another type.
    pub fn accepted<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        match self.action {
            Action::Accept => {
                let content = Value::Object(self.content.clone().unwrap_or_default());
                serde_json::from_value(content)
                    .map_err(|error| ToolError::failed(format!("the form: {error}")))
            }
            Action::Decline => Err(ToolError::failed("the user declined")),
            Action::Cancel => Err(ToolError::failed("the user cancelled")),
        }
    }

    /// A text field; `None` if the user did not agree or left it empty.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        match self.action {
            Action::Accept => self.content.as_ref()?.get(field)?.as_str(),
            _ => None,
        }
    }
}

/// Answers by the key of their question, each of the shape that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Answers(pub(super) Vec<(String, Box<RawValue>)>);

impl Answers {
    /// The answer, raw.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, answer)| &**answer)
    }

    /// The answer to a form or a page.
    ///
    /// # Errors
    /// A failure if no such question was asked.
    pub fn elicited(&self, key: &str) -> Result<Elicited, ToolError> {
        self.read(key)
    }

    /// The answer of the client's model.
    ///
    /// # Errors
    /// A failure if no such question was asked.
    pub fn sampled(&self, key: &str) -> Result<Sampled, ToolError> {
        self.read(key)
    }

    /// The client's roots.
    ///
    /// # Errors
    /// A failure if no such question was asked.
    pub fn roots(&self, key: &str) -> Result<Vec<Root>, ToolError> {
        self.read::<Roots>(key).map(|answer| answer.roots)
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T, ToolError> {
        let Some(answer) = self.raw(key) else {
            return Err(ToolError::failed(format!("nothing was asked as {key:?}")));
        };
        serde_json::from_str(answer.get()).map_err(ToolError::from)
    }
}
