//! Messages to bytes, without building a tree.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Id, RpcError};

fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// `{"jsonrpc":"2.0","id":…,"result":…}`
#[must_use]
pub fn encode_result(id: &Id, result: &RawValue) -> Bytes {
    let parts = [r#"{"jsonrpc":"2.0","id":"#, id.as_json(), r#","result":"#, result.get(), "}"];
    Bytes::from(parts.concat())
}

/// `{"jsonrpc":"2.0","id":…,"error":{…}}`
#[must_use]
pub fn encode_error(id: &Id, fault: &RpcError) -> Bytes {
    encode_error_under(Some(id.as_json()), fault)
}

/// An error for a message whose id could not be read. Legacy schemas allow no `null` here, so `id` is left
/// out.
#[must_use]
pub fn encode_error_without_id(fault: &RpcError) -> Bytes {
    encode_error_under(None, fault)
}

fn encode_error_under(id: Option<&str>, fault: &RpcError) -> Bytes {
    let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let data = fault.data.as_ref().map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    let (code, message) = (fault.code, text(&fault.message));
    Bytes::from(format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":{message}{data}}}}}"#))
}

/// `{"jsonrpc":"2.0","method":…,"params":…}`
#[must_use]
pub fn encode_notification(method: &str, params: Option<&RawValue>) -> Bytes {
    let params = params.map(|params| format!(r#","params":{params}"#)).unwrap_or_default();
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","method":{}{params}}}"#, text(method)))
}

/// `{"jsonrpc":"2.0","id":…,"method":…,"params":…}`
#[must_use]
pub fn encode_request(id: &Id, method: &str, params: Option<&RawValue>) -> Bytes {
    let params = params.map(|params| format!(r#","params":{params}"#)).unwrap_or_default();
    let id = id.as_json();
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{}{params}}}"#, text(method)))
}
