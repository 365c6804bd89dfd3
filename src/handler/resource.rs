//! Description of a resource or a template, and the result of reading one.

use serde::Serialize;
use serde_json::{Map, Value};

use super::content::{Annotations, Contents, Icon};

/// A resource as clients see it in `resources/list`.
///
/// ```
/// use erlmcp::handler::Resource;
/// let resource = Resource::new("config://app", "app configuration").mime("application/json");
/// assert_eq!(serde_json::to_value(&resource).unwrap()["mimeType"], "application/json");
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// URI by which clients read it.
    pub uri: String,
    /// Short name.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Media type, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Bytes before any encoding, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// For whom it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
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

impl Resource {
    /// A resource.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Resource {
        Resource { uri: uri.into(), name: name.into(), ..Resource::default() }
    }

    /// The same with a description.
    #[must_use]
    pub fn describe(mut self, description: impl Into<String>) -> Resource {
        self.description = Some(description.into());
        self
    }

    /// The same with a media type.
    #[must_use]
    pub fn mime(mut self, mime_type: impl Into<String>) -> Resource {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// Resources by pattern, as clients see it in `resources/templates/list`.
///
/// The pattern is RFC 6570 level 1: `{name}` stands for one or more characters other than `/`,
/// percent-encoded in the URI.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Such as `notes://{user}/{day}`.
    pub uri_template: String,
    /// Short name.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Media type, if all have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// For whom they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
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

impl Template {
    /// A template.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> Template {
        Template { uri_template: uri_template.into(), name: name.into(), ..Template::default() }
    }

    /// The same with a description.
    #[must_use]
    pub fn describe(mut self, description: impl Into<String>) -> Template {
        self.description = Some(description.into());
        self
    }

    /// The same with a media type.
    #[must_use]
    pub fn mime(mut self, mime_type: impl Into<String>) -> Template {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// Result of reading a resource. Text, bytes and [`Contents`] turn into one by themselves.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadResult {
    /// The contents: usually one; several for a folder.
    pub contents: Vec<Contents>,
    /// How long a modern client may keep them, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Scope of caches that may keep them: `private` (the default of the node) or `public`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_scope: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ReadResult {
    /// Fills in what the handler left out, from what was read.
    pub(super) fn complete(mut self, uri: &str, mime_type: Option<&str>) -> ReadResult {
        for contents in &mut self.contents {
            if contents.uri.is_empty() {
                uri.clone_into(&mut contents.uri);
            }
            if contents.mime_type.is_none() {
                contents.mime_type = mime_type.map(ToOwned::to_owned);
            }
        }
        self
    }
}

impl From<Contents> for ReadResult {
    fn from(contents: Contents) -> ReadResult {
        vec![contents].into()
    }
}

impl From<Vec<Contents>> for ReadResult {
    fn from(contents: Vec<Contents>) -> ReadResult {
        ReadResult { contents, ..ReadResult::default() }
    }
}

impl From<&str> for ReadResult {
    fn from(text: &str) -> ReadResult {
        Contents::text(text).into()
    }
}

impl From<String> for ReadResult {
    fn from(text: String) -> ReadResult {
        Contents::text(text).into()
    }
}

impl From<Vec<u8>> for ReadResult {
    fn from(bytes: Vec<u8>) -> ReadResult {
        Contents::blob(bytes).into()
    }
}
