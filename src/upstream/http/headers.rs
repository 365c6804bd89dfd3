//! The headers of a modern request: what the body says, again, for those who route without reading bodies.

use std::collections::HashMap;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mcp::{Item, MODERN_LATEST, Method, RawObject, Request};

/// Deepest nesting of an input schema that is searched for annotations.
const SCHEMA_DEPTH_MAX: usize = 16;

/// Annotated parameters of one tool: the property's path from the outside in, and its header's name.
pub(super) type Annotated = Vec<(Vec<String>, HeaderName)>;

/// Reads the `x-mcp-header` annotations of all `tools`.
pub(super) fn annotations(tools: &[Item]) -> HashMap<String, Annotated> {
    let annotated = |tool: &Item| {
        if !tool.raw.get().contains("x-mcp-header") {
            return None;
        }
        let schema: Value = RawObject::parse(tool.raw.get()).ok()?.read("inputSchema").ok()??;
        let mut found = Annotated::new();
        search(&schema, &mut Vec::new(), &mut found);
        (!found.is_empty()).then(|| (tool.key.to_string(), found))
    };
    tools.iter().filter_map(annotated).collect()
}

fn search(schema: &Value, path: &mut Vec<String>, found: &mut Annotated) {
    if path.len() > SCHEMA_DEPTH_MAX {
        return;
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        let header = property.get("x-mcp-header").and_then(Value::as_str);
        if let Some(Ok(header)) = header.map(|header| HeaderName::try_from(format!("mcp-param-{header}"))) {
            found.push((path.clone(), header));
        }
        search(property, path, found);
        path.pop();
    }
}

/// The headers of `request`; `annotated`: of its tool, where that is known.
pub(super) fn modern(request: &Request, annotated: Option<&Annotated>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let version = request.meta.protocol_version.as_deref().unwrap_or(MODERN_LATEST.as_str());
    put(&mut headers, HeaderName::from_static("mcp-protocol-version"), version);
    put(&mut headers, HeaderName::from_static("mcp-method"), &request.method);
    if let Some(name) = request.method.name_header().and_then(|name| request.params.text(name.member)) {
        put(&mut headers, HeaderName::from_static("mcp-name"), &name);
    }
    if request.method != Method::ToolsCall {
        return headers;
    }
    let Some(annotated) = annotated else {
        for (name, value) in &request.param_headers {
            if let Ok(name) = HeaderName::try_from(format!("mcp-param-{name}")) {
                // Received as a header: it can be sent as one, as it was.
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
        }
        return headers;
    };
    let Some(arguments) = request.params.get("arguments") else { return headers };
    for (path, header) in annotated {
        if let Some(value) = scalar_at(arguments, path) {
            put(&mut headers, header.clone(), &value);
        }
    }
    headers
}

/// The scalar at `path` as text: a string's content, else its JSON.
fn scalar_at(arguments: &RawValue, path: &[String]) -> Option<String> {
    let mut value = arguments.to_owned();
    for key in path {
        value = RawObject::parse(value.get()).ok()?.get(key)?.to_owned();
    }
    let text = value.get();
    match text.bytes().next()? {
        b'"' => serde_json::from_str(text).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(text.to_owned()),
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let plain = value.bytes().all(|b| matches!(b, b' '..=b'~'))
        && value.trim_matches(' ') == value
        && !(value.starts_with("=?base64?") && value.ends_with("?="));
    let value =
        if plain { value.to_owned() } else { format!("=?base64?{}?=", BASE64.encode(value.as_bytes())) };
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{ListKind, Message, parse};

    fn request(params: &str) -> Request {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        match parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            _ => panic!("no request"),
        }
    }

    #[test]
    fn annotated_parameters_become_headers_and_others_do_not() {
        let tool = r#"{"name":"t","inputSchema":{"properties":{"region":{"x-mcp-header":"Region"},
            "in":{"properties":{"deep":{"x-mcp-header":"Deep"},"no":{"x-mcp-header":"No"}}},"plain":{}}}}"#;
        let tool = Item::read(ListKind::Tools, &RawValue::from_string(tool.into()).unwrap()).unwrap();
        let annotated = annotations(&[tool]);
        let request = request(
            r#"{"name":"t","arguments":{"region":"ü","p":"x","in":{"deep":123456789012,"no":null}}}"#,
        );
        let headers = modern(&request, annotated.get("t"));
        assert_eq!(headers["mcp-param-region"], "=?base64?w7w=?=");
        assert_eq!(headers["mcp-param-deep"], "123456789012");
        assert_eq!(headers["mcp-name"], "t");
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn a_value_that_could_be_taken_for_another_is_wrapped() {
        for (value, wrapped) in [("a b", false), (" a", true), ("a\n", true), ("=?base64?YQ==?=", true)] {
            let mut headers = HeaderMap::new();
            put(&mut headers, HeaderName::from_static("mcp-name"), value);
            assert_eq!(headers["mcp-name"] != value, wrapped, "{value:?}");
        }
    }
}
