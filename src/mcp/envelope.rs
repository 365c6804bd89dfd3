//! One JSON-RPC message: the envelope is read, the rest stays raw.

use serde_json::value::RawValue;

use super::{Id, Meta, Method, RawObject, RpcError, scan};

/// A message in either direction.
#[derive(Debug)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Answers a request of ours.
    Response(Response),
}

/// A request: `method` with an id.
#[derive(Clone, Debug)]
pub struct Request {
    /// The client's id, raw.
    pub id: Id,
    /// The method, known or not.
    pub method: Method,
    /// The members of `params`, raw; empty if there were none.
    pub params: RawObject,
    /// Content of `params._meta`.
    pub meta: Meta,
    /// `Mcp-Param-*` headers as received (name without the prefix, value), to be passed on to an upstream.
    pub param_headers: Vec<(String, String)>,
}

/// A notification: `method` without an id.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The method, known or not.
    pub method: Method,
    /// The members of `params`, raw; empty if there were none.
    pub params: RawObject,
}

/// An answer to a request of ours.
#[derive(Clone, Debug)]
pub struct Response {
    /// The id that we gave; `None` for an error without one.
    pub id: Option<Id>,
    /// `result` or `error`, raw.
    pub outcome: Result<Box<RawValue>, Box<RawValue>>,
}

/// Reads one message.
///
/// Checks UTF-8, depth, repeated keys in the envelope, `params` and `_meta`. A batch (an array) is refused:
/// the newest revisions have none.
///
/// # Errors
/// The fault and, where it could still be read, the id to answer under.
pub fn parse(bytes: &[u8]) -> Result<Message, (Option<Id>, RpcError)> {
    let text = scan(bytes).map_err(|fault| (None, fault))?;
    let trimmed = text.trim_start();
    if trimmed.starts_with('[') {
        return Err((None, RpcError::invalid_request("a batch is not accepted; send one message at a time")));
    }
    let envelope = RawObject::parse(text).map_err(|error| (None, envelope_fault(trimmed, &error)))?;
    let id = envelope.get("id").and_then(Id::from_raw);
    read(&envelope, id.clone()).map_err(|fault| (id, fault))
}

fn envelope_fault(text: &str, error: &serde_json::Error) -> RpcError {
    if error.is_data() && text.starts_with('{') {
        return RpcError::invalid_request(error.to_string());
    }
    if error.is_data() {
        return RpcError::invalid_request("a message is a JSON object");
    }
    RpcError::parse(error.to_string())
}

fn read(envelope: &RawObject, id: Option<Id>) -> Result<Message, RpcError> {
    if envelope.text("jsonrpc").as_deref() != Some("2.0") {
        return Err(RpcError::invalid_request("\"jsonrpc\" must be \"2.0\""));
    }
    let Some(method) = envelope.get("method") else { return read_response(envelope, id) };
    let method: Method = serde_json::from_str(method.get())
        .map_err(|_| RpcError::invalid_request("\"method\" must be a string"))?;
    let params = match envelope.get("params") {
        Some(value) => RawObject::parse(value.get())
            .map_err(|error| RpcError::invalid_params(format!("params: {error}")).with_status(400))?,
        None => RawObject::new(),
    };
    match (envelope.get("id"), id) {
        (None, _) => Ok(Message::Notification(Notification { method, params })),
        (Some(_), None) => Err(RpcError::invalid_request("\"id\" must be a string or an integer")),
        (Some(_), Some(id)) => {
            let meta = Meta::read(&params)?;
            Ok(Message::Request(Request { id, method, params, meta, param_headers: Vec::new() }))
        }
    }
}

fn read_response(envelope: &RawObject, id: Option<Id>) -> Result<Message, RpcError> {
    let outcome = match (envelope.get("result"), envelope.get("error")) {
        (Some(result), None) => Ok(result.to_owned()),
        (None, Some(error)) => Err(error.to_owned()),
        _ => return Err(RpcError::invalid_request("neither a request, a notification nor a response")),
    };
    if outcome.is_ok() && id.is_none() {
        return Err(RpcError::invalid_request("a response needs the \"id\" of its request"));
    }
    Ok(Message::Response(Response { id, outcome }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (Option<Id>, i64) {
        let (id, fault) = parse(text.as_bytes()).unwrap_err();
        (id, fault.code)
    }

    #[test]
    fn a_request_keeps_unknown_members_of_params() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":"n","new":{"a":1}}}"#;
        let Message::Request(request) = parse(text.as_bytes()).unwrap() else { panic!("not a request") };
        assert_eq!(request.params.to_raw().get(), r#"{"name":"n","new":{"a":1}}"#);
    }

    #[test]
    fn each_malformed_message_gets_its_code_and_its_id() {
        assert_eq!(fault("{").1, -32700);
        assert_eq!(fault("[]").1, -32600);
        assert_eq!(fault("7").1, -32600);
        assert_eq!(fault(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#).1, -32600);
        assert_eq!(fault(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#).1, -32600);
        let (id, code) = fault(r#"{"jsonrpc":"2.0","id":"q","method":"x","params":[1]}"#);
        assert_eq!((id.unwrap().as_json(), code), ("\"q\"", -32602));
        let (id, code) = fault(r#"{"jsonrpc":"2.0","id":4,"method":"x","params":{"name":1,"name":2}}"#);
        assert_eq!((id.unwrap().as_json(), code), ("4", -32602));
        assert_eq!(fault(r#"{"id":1,"method":"x"}"#).1, -32600);
    }
}
