//! The digest of a request's parameters: equal for equal values, however they are written.
//!
//! Numbers are told apart by their text and never turned into floats, so that no two big integers look alike.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde_json::value::RawValue;

use crate::mcp::RawObject;

/// Left out of the digest: what differs between a request and its retry.
const CHANGES: [&str; 3] = ["_meta", "inputResponses", "requestState"];

/// SHA-256 over `params` without what changes on a retry. The nesting was bounded when the message was read.
pub(super) fn digest(params: &RawObject) -> [u8; 32] {
    let mut sum = Context::new(&SHA256);
    object(params.iter().filter(|(key, _)| !CHANGES.contains(key)), &mut sum);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(sum.finish().as_ref());
    bytes
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a RawValue)>, sum: &mut Context) {
    let sorted: BTreeMap<&str, &RawValue> = members.collect();
    sum.update(b"{");
    for (key, member) in sorted {
        text(key, sum);
        value(member, sum);
    }
    sum.update(b"}");
}

fn value(raw: &RawValue, sum: &mut Context) {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'{') => match RawObject::parse(json) {
            Ok(members) => object(members.iter(), sum),
            // Repeated keys below the first level: not ours to judge, so the text itself counts.
            Err(_) => text(json, sum),
        },
        Some(b'[') => {
            sum.update(b"[");
            for item in serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default() {
                value(item, sum);
            }
            sum.update(b"]");
        }
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(decoded) => text(&decoded, sum),
            Err(_) => text(json, sum),
        },
        _ => {
            sum.update(b"#");
            text(json, sum);
        }
    }
}

/// Length first, so that no two sequences of texts look alike.
fn text(text: &str, sum: &mut Context) {
    sum.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
    sum.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> [u8; 32] {
        digest(&RawObject::parse(json).unwrap())
    }

    #[test]
    fn the_way_of_writing_does_not_count_and_the_value_does() {
        let base = of(r#"{"name":"x","arguments":{"a":[1,"é"],"b":null}}"#);
        assert_eq!(base, of(r#"{ "arguments" : {"b":null, "a": [ 1, "\u00e9"]}, "name":"x"}"#));
        assert_eq!(
            base,
            of(r#"{"name":"x","arguments":{"a":[1,"é"],"b":null},"_meta":{},"requestState":"s"}"#)
        );
        assert_ne!(base, of(r#"{"name":"x","arguments":{"a":[2,"é"],"b":null}}"#));
        assert_ne!(base, of(r#"{"name":"x","arguments":{"a":[["1"],"é"],"b":null}}"#));
    }

    #[test]
    fn big_integers_and_types_are_told_apart() {
        assert_ne!(of(r#"{"n":90071992547409930001}"#), of(r#"{"n":90071992547409930002}"#));
        assert_ne!(of(r#"{"n":"1"}"#), of(r#"{"n":1}"#));
        assert_ne!(of(r#"{"n":["a","b"]}"#), of(r#"{"n":["ab"]}"#));
        assert_ne!(of(r#"{"n":[["a"],"b"]}"#), of(r#"{"n":["a",["b"]]}"#));
    }
}
