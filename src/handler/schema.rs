//! Flat object schemas, built a property at a time.

use serde_json::{Map, Value, json};

/// Adds the property `name` to an object schema.
pub(super) fn add(schema: &mut Value, name: &str, property: Value, is_required: bool) {
    assert!(schema.is_object(), "a schema of arguments is an object, not {schema}");
    member(schema, "properties", Value::Object(Map::new()))[name] = property;
    if is_required && let Value::Array(required) = member(schema, "required", json!([])) {
        required.push(name.into());
    }
}

fn member<'a>(schema: &'a mut Value, name: &str, default: Value) -> &'a mut Value {
    if schema.get(name).is_none() {
        schema[name] = default;
    }
    &mut schema[name]
}
