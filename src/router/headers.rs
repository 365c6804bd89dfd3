//! Tool parameters that a modern client repeats in `Mcp-Param-*` headers: those annotated `x-mcp-header` in
//! the input schema.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One annotated parameter of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderParam {
    /// Path of the value in `arguments`: property names from the outside in.
    pub path: Vec<String>,
    /// Header name after `Mcp-Param-`.
    pub header: String,
}

/// The annotated parameters of a tool, from its raw definition.
pub(super) fn header_params(tool: &RawValue) -> Vec<HeaderParam> {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(rename = "inputSchema")]
        input_schema: Value,
    }
    if !tool.get().contains("x-mcp-header") {
        return Vec::new();
    }
    let Ok(tool) = serde_json::from_str::<Tool>(tool.get()) else { return Vec::new() };
    let mut found = Vec::new();
    collect(&tool.input_schema, &mut Vec::new(), &mut found);
    found
}

/// Recursion is bounded by the depth limit of every message that reaches us.
fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<HeaderParam>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            found.push(HeaderParam { path: path.clone(), header: header.to_owned() });
        }
        collect(property, path, found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotated_parameters_are_found_at_any_depth() {
        let tool = r#"{"name":"t","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"type":"object","properties":{"key":{"type":"string","x-mcp-header":"Key"}}},
            "plain":{"type":"string"}}}}"#;
        let found = header_params(&RawValue::from_string(tool.to_owned()).unwrap());
        let found: Vec<_> = found.iter().map(|p| (p.path.join("."), p.header.as_str())).collect();
        assert_eq!(found, [("deep.key".to_owned(), "Key"), ("region".to_owned(), "Region")]);
    }
}
