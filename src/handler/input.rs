//! Questions to the client, and its answers.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::content::{Content, Role};
use crate::mcp::{ClientCapabilities, Method, raw};

/// One question to the client. Its key names the answer: each question of one handler has its own.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) params: Value,
}

/// The kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Form,
    Url,
    Sample,
    Roots,
}

impl Ask {
    /// Asks the user to fill in a form.
    pub fn elicit(key: impl Into<String>, form: ElicitForm) -> Ask {
        let params = json!({ "message": form.message, "requestedSchema": form.schema });
        Ask { key: key.into(), kind: Kind::Form, params }
    }

    /// Asks the user to open a page, for what must not pass through the client (passwords, payments).
    pub fn elicit_url(key: impl Into<String>, message: &str, url: &str) -> Ask {
        let params = json!({ "mode": "url", "message": message, "url": url });
        Ask { key: key.into(), kind: Kind::Url, params }
    }

    /// Asks the client's model.
    pub fn sample(key: impl Into<String>, params: SampleParams) -> Ask {
        Ask { key: key.into(), kind: Kind::Sample, params: json!(params) }
    }

    /// Asks for the client's roots.
    pub fn roots(key: impl Into<String>) -> Ask {
        Ask { key: key.into(), kind: Kind::Roots, params: json!({}) }
    }

    /// The key of its answer.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn method(&self) -> Method {
        match self.kind {
            Kind::Form | Kind::Url => Method::CreateElicitation,
            Kind::Sample => Method::CreateMessage,
            Kind::Roots => Method::RootsList,
        }
    }

    /// The entry of `inputRequests`.
    pub(super) fn request(&self) -> Value {
        json!({ "method": self.method().as_str(), "params": self.params })
    }

    /// The capability that the client lacks for it, as an object like its capabilities.
    pub(super) fn lacks(&self, client: &ClientCapabilities) -> Option<Value> {
        let (has, needs) = match self.kind {
            // An empty object means forms.
            Kind::Form => (
                client.has("elicitation")
                    && (client.has_under("elicitation", "form") || !client.has_under("elicitation", "url")),
                json!({ "elicitation": {} }),
            ),
            Kind::Url => (client.has_under("elicitation", "url"), json!({ "elicitation": { "url": {} } })),
            Kind::Sample => (client.has("sampling"), json!({ "sampling": {} })),
            Kind::Roots => (client.has("roots"), json!({ "roots": {} })),
        };
        (!has).then_some(needs)
    }

    /// Whether `answer` has the shape of an answer to this.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub(super) fn check(&self, answer: &RawValue) -> Result<(), String> {
        let checked = match self.kind {
            Kind::Form | Kind::Url => serde_json::from_str::<Elicited>(answer.get()).map(drop),
            Kind::Sample => serde_json::from_str::<Sampled>(answer.get()).map(drop),
            Kind::Roots => serde_json::from_str::<Roots>(answer.get()).map(drop),
        };
        checked.map_err(|error| {
            format!("the answer to {:?} is no result of {}: {error}", self.key, self.method())
        })
    }
}

/// A form for the user: a message and a flat object schema.
///
/// ```
/// use erlmcp::handler::ElicitForm;
/// use serde_json::json;
/// let form = ElicitForm::new("Which city?").required("city", json!({ "type": "string" }));
/// assert_eq!(form.schema["required"], json!(["city"]));
/// ```
#[derive(Clone, Debug)]
pub struct ElicitForm {
    /// Text that the user reads.
    pub message: String,
    /// `requestedSchema`: an object of texts, numbers, booleans and choices.
    pub schema: Value,
}

impl ElicitForm {
    /// A form without fields: the user just agrees or not.
    pub fn new(message: impl Into<String>) -> ElicitForm {
        ElicitForm { message: message.into(), schema: json!({ "type": "object", "properties": {} }) }
    }

    /// The same with this schema.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> ElicitForm {
        self.schema = schema;
        self
    }

    /// The same with a field that must be filled in.
    #[must_use]
    pub fn required(mut self, name: &str, schema: Value) -> ElicitForm {
        super::schema::add(&mut self.schema, name, schema, true);
        self
    }

    /// The same with a field that may stay empty.
    #[must_use]
    pub fn optional(mut self, name: &str, schema: Value) -> ElicitForm {
        super::schema::add(&mut self.schema, name, schema, false);
        self
    }
}

/// Answer of the user to a form or a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Agreed.
    Accept,
    /// Said no.
    Decline,
    /// Went away without a choice.
    Cancel,
}

/// The answer to a form or a page. The fields come from the user and were not checked against the schema.
#[derive(Clone, Debug, Deserialize)]
pub struct Elicited {
    /// Choice of the user.
    pub action: Action,
    /// The fields, if the user agreed.
    #[serde(default)]
    pub content: Option<Map<String, Value>>,
}

/// Question to the client's model.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleParams {
    /// The conversation.
    pub messages: Vec<SampleMessage>,
    /// Longest answer, in tokens.
    pub max_tokens: u32,
    /// Instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Other members: `modelPreferences`, `stopSequences`, `tools`, ...
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One message to the client's model.
#[derive(Clone, Debug, Serialize)]
pub struct SampleMessage {
    /// Role of the speaker.
    pub role: Role,
    /// The content.
    pub content: Content,
}

impl SampleParams {
    /// One message of the user.
    pub fn prompt(content: impl Into<Content>, max_tokens: u32) -> SampleParams {
        let message = SampleMessage { role: Role::User, content: content.into() };
        let (system_prompt, temperature, extra) = (None, None, Map::new());
        SampleParams { messages: vec![message], max_tokens, system_prompt, temperature, extra }
    }

    /// The same with instructions.
    #[must_use]
    pub fn system(mut self, prompt: impl Into<String>) -> SampleParams {
        self.system_prompt = Some(prompt.into());
        self
    }
}

/// Answer of the client's model.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampled {
    /// Role of the speaker: usually the assistant.
    pub role: Role,
    /// One block of content, or a list.
    pub content: Value,
    /// Which model.
    pub model: String,
    /// Why it ended.
    #[serde(default)]
    pub stop_reason: Option<String>,
}

impl Sampled {
    /// The text of all its text blocks.
    #[must_use]
    pub fn text(&self) -> String {
        let blocks = match &self.content {
            Value::Array(blocks) => blocks.as_slice(),
            block => std::slice::from_ref(block),
        };
        blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect()
    }
}

/// A folder or file that the client opens to the server.
#[derive(Clone, Debug, Deserialize)]
pub struct Root {
    /// A `file://` URI.
    pub uri: String,
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Roots {
    pub(super) roots: Vec<Root>,
}

/// `inputRequests` for these questions.
pub(super) fn requests<'a>(asks: impl Iterator<Item = (&'a str, &'a Ask)>) -> Box<RawValue> {
    let map: Map<String, Value> = asks.map(|(key, ask)| (key.to_owned(), ask.request())).collect();
    raw(&map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(json: &str) -> ClientCapabilities {
        ClientCapabilities::read(&RawValue::from_string(json.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn forms_need_elicitation_and_pages_need_its_url_mode() {
        let form = Ask::elicit("k", ElicitForm::new("?"));
        let page = Ask::elicit_url("k", "?", "https://example.com");
        for (json, has_form, has_page) in [
            ("{}", false, false),
            (r#"{"elicitation":{}}"#, true, false),
            (r#"{"elicitation":{"form":{}}}"#, true, false),
            (r#"{"elicitation":{"url":{}}}"#, false, true),
            (r#"{"elicitation":{"form":{},"url":{}}}"#, true, true),
        ] {
            assert_eq!(form.lacks(&client(json)).is_none(), has_form, "{json}");
            assert_eq!(page.lacks(&client(json)).is_none(), has_page, "{json}");
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_found() {
        let check =
            |ask: &Ask, json: &str| ask.check(&RawValue::from_string(json.to_owned()).unwrap()).is_ok();
        let form = Ask::elicit("k", ElicitForm::new("?"));
        assert!(check(&form, r#"{"action":"decline"}"#));
        assert!(check(&form, r#"{"action":"accept","content":{"name":"x"}}"#));
        for bad in ["12345", "null", "{}", r#"{"action":"maybe"}"#, r#"{"action":"accept","content":[1]}"#] {
            assert!(!check(&form, bad), "{bad}");
        }
        assert!(!check(&Ask::roots("k"), r#"{"action":"accept"}"#));
        assert!(!check(&Ask::sample("k", SampleParams::prompt("?", 1)), r#"{"roots":[]}"#));
    }
}
