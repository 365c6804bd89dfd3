//! Content: what tools answer with and prompts are made of.

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Map, Value};

/// One block of content.
///
/// ```
/// use erlmcp::handler::Content;
/// let block = Content::text("17 degrees").meta("source", "station 4");
/// let json = serde_json::to_value(&block).unwrap();
/// assert_eq!((&json["type"], &json["_meta"]["source"]), (&"text".into(), &"station 4".into()));
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// The content itself.
    #[serde(flatten)]
    pub block: Block,
    /// For whom it is and how much it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The kinds of content.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Base64.
        data: String,
        /// Such as `image/png`.
        #[serde(rename = "mimeType")]
        mime_type: String,
    },
    /// A sound.
    Audio {
        /// Base64.
        data: String,
        /// Such as `audio/wav`.
        #[serde(rename = "mimeType")]
        mime_type: String,
    },
    /// A resource with its contents.
    Resource {
        /// The contents.
        resource: Contents,
    },
    /// A resource that the client may read.
    ResourceLink(super::Resource),
}

/// For whom content is and how much it matters.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// `user`, `assistant` or both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<Role>,
    /// 0 (optional) to 1 (required).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// Roles that speak or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// The contents of a resource, whole or a part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Contents {
    /// URI of the resource; empty: the one that is being read.
    pub uri: String,
    /// Media type; `None`: that of the resource that is being read.
    #[serde(rename = "mimeType", skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Text contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Binary contents as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Members that this library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Content {
    fn of(block: Block) -> Content {
        Content { block, annotations: None, meta: Map::new(), extra: Map::new() }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Content {
        Content::of(Block::Text { text: text.into() })
    }

    /// A picture from its bytes.
    pub fn image(bytes: impl AsRef<[u8]>, mime_type: impl Into<String>) -> Content {
        Content::of(Block::Image { data: BASE64.encode(bytes.as_ref()), mime_type: mime_type.into() })
    }

    /// A sound from its bytes.
    pub fn audio(bytes: impl AsRef<[u8]>, mime_type: impl Into<String>) -> Content {
        Content::of(Block::Audio { data: BASE64.encode(bytes.as_ref()), mime_type: mime_type.into() })
    }

    /// A resource with its contents, which should name their URI.
    #[must_use]
    pub fn resource(contents: Contents) -> Content {
        Content::of(Block::Resource { resource: contents })
    }

    /// A link to a resource.
    #[must_use]
    pub fn responder(resource: super::Resource) -> Content {
        Content::of(Block::ResourceLink(resource))
    }

    /// The same, annotated.
    #[must_use]
    pub fn annotate(mut self, annotations: Annotations) -> Content {
        match &mut self.block {
            Block::ResourceLink(resource) => resource.annotations = Some(annotations),
            _ => self.annotations = Some(annotations),
        }
        self
    }

    /// The same with a member in `_meta`.
    #[must_use]
    pub fn meta(mut self, key: &str, value: impl Into<Value>) -> Content {
        let meta = match &mut self.block {
            Block::ResourceLink(resource) => &mut resource.meta,
            _ => &mut self.meta,
        };
        meta.insert(key.to_owned(), value.into());
        self
    }
}

impl Contents {
    /// Text contents.
    pub fn text(text: impl Into<String>) -> Contents {
        Contents { text: Some(text.into()), ..Contents::default() }
    }

    /// Binary contents.
    pub fn blob(bytes: impl AsRef<[u8]>) -> Contents {
        Contents { blob: Some(BASE64.encode(bytes.as_ref())), ..Contents::default() }
    }

    /// The same, of this resource.
    #[must_use]
    pub fn of(mut self, uri: impl Into<String>) -> Contents {
        self.uri = uri.into();
        self
    }

    /// The same with a media type.
    #[must_use]
    pub fn mime(mut self, mime_type: impl Into<String>) -> Contents {
        self.mime_type = Some(mime_type.into());
        self
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Content {
        Content::text(text)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Content {
        Content::text(text)
    }
}

/// A picture of a tool, resource, prompt or server.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    /// URL or `data:` URI.
    pub src: String,
    /// Media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Such as `48x48` or `any`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
    /// `light` or `dark`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
}
