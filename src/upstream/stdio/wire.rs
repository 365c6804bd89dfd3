//! Framing of stdio: one JSON message a line, numbers of ours as ids and progress tokens.

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::mcp::{Id, RawObject};
use crate::upstream::request_table::Attribution;

/// The message as one line. Line ends between JSON tokens become spaces; inside strings JSON has none.
pub(super) fn one_line(message: Bytes) -> Bytes {
    let mut line = BytesMut::from(message);
    for byte in line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    line.extend_from_slice(b"\n");
    line.freeze()
}

/// The number that `id` is, if we can have minted it.
pub(super) fn number(id: &Id) -> Option<u64> {
    id.as_json().parse().ok()
}

/// The params with our token in the place of the client's in `_meta.progressToken`.
pub(super) fn retokened(params: &RawObject, token: &RawValue) -> Box<RawValue> {
    let meta = params.get("_meta").map(|meta| RawObject::parse(meta.get()));
    let Some(Ok(mut meta)) = meta else { return params.to_raw() };
    let mut params = params.clone();
    meta.set("progressToken", token.to_owned());
    params.set("_meta", meta.to_raw());
    params.to_raw()
}

/// Why a question can be put to no client.
pub(super) fn refusal_of_question(attribution: &Attribution) -> String {
    const REMEDY: &str = "give each session its own child (instances = \"session\")";
    match attribution {
        Attribution::Several { calls, abandoned: 0 } => {
            format!("{calls} requests or tasks are running and nothing tells which of them asks; {REMEDY}")
        }
        Attribution::Several { calls, abandoned } => format!(
            "{calls} requests or tasks are running, {abandoned} of them given up and never answered, and \
             nothing tells which of them asks; {REMEDY}"
        ),
        Attribution::Gone => "the client that it belongs to waits no more".to_owned(),
        Attribution::Client(..) | Attribution::Nobody => {
            "no request of a client is running that it could belong to".to_owned()
        }
    }
}

/// The id of an answer of which only the head can be read: the members before the first nested value.
pub(super) fn head_id(head: &[u8]) -> Option<Id> {
    let text = String::from_utf8_lossy(head);
    let mut rest = text.trim_start().strip_prefix('{')?;
    loop {
        let (key, after) = token(rest)?;
        let after = after.trim_start().strip_prefix(':')?;
        let (value, after) = token(after)?;
        match key {
            "\"method\"" => return None,
            "\"id\"" => {
                return RawValue::from_string(value.to_owned()).ok().and_then(|raw| Id::from_raw(&raw));
            }
            _ => rest = after.trim_start().strip_prefix(',')?,
        }
    }
}

/// One string or bare scalar at the start of `text`, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = if text.starts_with('"') {
        let mut escaped = false;
        let inside = text.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        inside + 2
    } else {
        text.find([',', ':', '{', '[', '}', '\n'])?
    };
    (end > 0).then(|| (text[..end].trim_end(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_inside_a_message_do_not_end_the_line() {
        let pretty = Bytes::from_static(b"{\n  \"a\":\r\n \"x\\ny\"}");
        assert_eq!(&one_line(pretty)[..], b"{   \"a\":   \"x\\ny\"}\n");
    }

    #[test]
    fn the_id_is_found_before_the_first_nested_value_only() {
        let id = |head: &str| head_id(head.as_bytes()).map(|id| id.as_json().to_owned());
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"result":{"x":"#).as_deref(), Some("7"));
        assert_eq!(id(r#"{ "id" : "a\"b" , "result":"#).as_deref(), Some(r#""a\"b""#));
        assert_eq!(id(r#"{"jsonrpc":"2.0","result":{"id":7}"#), None);
        assert_eq!(id(r#"{"jsonrpc":"2.0","method":"x","id":7"#), None);
        assert_eq!(id("no json"), None);
    }

    #[test]
    fn only_the_progress_token_is_replaced() {
        let params = r#"{"a":1.0,"_meta":{"x":1e5,"progressToken":"mine","y":[ ]}}"#;
        let params = retokened(&RawObject::parse(params).unwrap(), &crate::mcp::raw(&9));
        assert_eq!(params.get(), r#"{"a":1.0,"_meta":{"x":1e5,"progressToken":9,"y":[ ]}}"#);
    }
}
