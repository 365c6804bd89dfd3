//! Headers in which a modern request repeats its body, for those on the way who do not read bodies: they must
//! say what the body says.
//!
//! An intermediary may have routed by a header, so a header that differs, is missing, or comes twice is
//! refused.

use data_encoding::BASE64;
use http::HeaderMap;
use serde_json::Value;

use crate::mcp::{Method, NameHeader, Request, RpcError, code};
use crate::router::HeaderParam;

const PARAM_PREFIX: &str = "mcp-param-";

/// The one value of `name` without its surrounding blanks.
///
/// # Errors
/// -32020 under 400 if it comes twice or is no visible text.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(mismatch(format!("{name} comes more than once")));
    }
    let text = value.to_str().map_err(|_| mismatch(format!("{name} has characters beyond ASCII")))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// Checks `Mcp-Method`, `Mcp-Name` and the `Mcp-Param-*` headers of a modern request.
///
/// # Errors
/// -32020 under 400 that names the header.
pub(super) fn check(
    headers: &HeaderMap,
    request: &Request,
    params_of: impl FnOnce(&str) -> Vec<HeaderParam>,
) -> Result<(), RpcError> {
    match single(headers, "mcp-method")? {
        Some(method) if *method == *request.method => {}
        Some(_) => return Err(mismatch("Mcp-Method differs from the body's method")),
        None => return Err(mismatch("Mcp-Method is missing")),
    }
    check_name(headers, request)?;
    if request.method == Method::ToolsCall
        && let Some(tool) = request.params.text("name")
    {
        check_params(headers, request, &params_of(&tool))?;
    }
    Ok(())
}

/// All `Mcp-Param-*` headers as received, to be passed on.
pub(super) fn params(headers: &HeaderMap) -> Vec<(String, String)> {
    let own = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(PARAM_PREFIX)?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    own.collect()
}

fn check_name(headers: &HeaderMap, request: &Request) -> Result<(), RpcError> {
    let Some(NameHeader { member, is_required }) = request.method.name_header() else { return Ok(()) };
    let Some(said) = request.params.text(member) else { return Ok(()) };
    match single(headers, "mcp-name")? {
        Some(header) if decode(header).is_some_and(|header| header == said) => Ok(()),
        Some(_) => Err(mismatch(format!("Mcp-Name differs from params.{member}"))),
        None if is_required => Err(mismatch("Mcp-Name is missing")),
        None => Ok(()),
    }
}

fn check_params(headers: &HeaderMap, request: &Request, params: &[HeaderParam]) -> Result<(), RpcError> {
    if params.is_empty() {
        return Ok(());
    }
    let arguments: Value = request.params.read("arguments").ok().flatten().unwrap_or_default();
    for HeaderParam { path, header } in params {
        let name = format!("{PARAM_PREFIX}{}", header.to_ascii_lowercase());
        let sent = single(headers, &name)?;
        let argument = path.iter().try_fold(&arguments, |value, key| value.get(key)).filter(|v| !v.is_null());
        let agrees = match (sent, argument.map(text_of)) {
            (None, None | Some(None)) => true,
            (Some(sent), Some(Some(said))) => decode(sent).is_some_and(|sent| same(&sent, &said, argument)),
            _ => false,
        };
        if !agrees {
            return Err(mismatch(format!("Mcp-Param-{header} differs from arguments.{}", path.join("."))));
        }
    }
    Ok(())
}

/// An argument as clients write it into a header; `None` for what has no such form.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Numbers agree by value (`42` and `42.0`), all else by text.
fn same(sent: &str, said: &str, argument: Option<&Value>) -> bool {
    let whole = |text: &str| match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') && !zeros.is_empty() => whole.to_owned(),
        _ => text.to_owned(),
    };
    sent == said || matches!(argument, Some(Value::Number(_))) && whole(sent) == whole(said)
}

/// A header's value: `=?base64?...?=` is decoded, all else is what it says. `None` for a broken code.
fn decode(value: &str) -> Option<String> {
    let coded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    match coded {
        Some(coded) => String::from_utf8(base64(coded)?).ok(),
        None => Some(value.to_owned()),
    }
}

/// Canonical base64 with padding (RFC 4648, section 4), nothing else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    // Padded pieces in a row decode too; no encoder makes them.
    (BASE64.encode(&bytes) == text).then_some(bytes)
}

fn mismatch(why: impl std::fmt::Display) -> RpcError {
    RpcError::new(code::HEADER_MISMATCH, format!("header mismatch: {why}")).with_status(400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Message, parse};

    fn request(body: &str) -> Request {
        let Message::Request(request) = parse(body.as_bytes()).unwrap() else { panic!("no request") };
        request
    }

    fn checked(body: &str, headers: &[(&str, &str)]) -> Result<(), i64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let params = |tool: &str| {
            assert_eq!(tool, "t");
            vec![HeaderParam { path: vec!["a".into()], header: "Region".into() }]
        };
        check(&map, &request(body), params).map_err(|fault| {
            assert_eq!(fault.status, 400);
            fault.code
        })
    }

    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

    #[test]
    fn the_method_is_repeated_exactly() {
        assert_eq!(checked(LIST, &[("Mcp-Method", " tools/list ")]), Ok(()));
        assert_eq!(checked(LIST, &[("mcp-method", "TOOLS/LIST")]), Err(-32020));
        assert_eq!(checked(LIST, &[]), Err(-32020));
        assert_eq!(checked(LIST, &[("mcp-method", "tools/list"), ("mcp-method", "tools/list")]), Err(-32020));
    }

    #[test]
    fn the_name_is_repeated_where_there_is_one() {
        for (method, member, required) in [
            ("prompts/get", "name", true),
            ("resources/read", "uri", true),
            ("tasks/get", "taskId", true),
            ("tasks/cancel", "taskId", false),
            ("completion/complete", "name", false),
        ] {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{member}":"x ä"}}}}"#);
            let named = |name| checked(&body, &[("mcp-method", method), ("mcp-name", name)]);
            assert_eq!(named("=?base64?eCDDpA==?="), Ok(()), "{method}");
            let wrong = if method.starts_with("completion") { Ok(()) } else { Err(-32020) };
            assert_eq!(named("y"), wrong, "{method}");
            let missing = checked(&body, &[("mcp-method", method)]);
            assert_eq!(missing.is_err(), required, "{method}");
        }
    }

    #[test]
    fn annotated_parameters_are_repeated_and_compared() {
        let call = |arguments: &str, sent: Option<&str>| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call",
                     "params":{{"name":"t","arguments":{arguments}}}}}"#
            );
            let mut headers = vec![("mcp-method", "tools/call"), ("mcp-name", "t")];
            headers.extend(sent.map(|sent| ("Mcp-Param-Region", sent)));
            checked(&body, &headers)
        };
        for (arguments, sent) in [
            (r#"{"a":"Hello"}"#, Some("Hello")),
            (r#"{"a":"Hello"}"#, Some("=?base64?SGVsbG8=?=")),
            (r#"{"a":"SGVsbG8="}"#, Some("SGVsbG8=")),
            (r#"{"a":"=?base64?SGVsbG8="}"#, Some("=?base64?SGVsbG8=")),
            (r#"{"a":true}"#, Some("true")),
            (r#"{"a":42.0}"#, Some("42")),
            (r#"{"a":null}"#, None),
            (r#"{"a":[1]}"#, None),
            ("{}", None),
        ] {
            assert_eq!(call(arguments, sent), Ok(()), "{arguments} {sent:?}");
        }
        for (arguments, sent) in [
            (r#"{"a":"Hello"}"#, Some("hello")),
            (r#"{"a":"Hello"}"#, None),
            (r#"{"a":"Hello"}"#, Some("=?base64?SGVsbG8?=")),
            (r#"{"a":"Hello"}"#, Some("=?base64?SGVs!!!bG8=?=")),
            (r#"{"a":42}"#, Some("43")),
            ("{}", Some("x")),
        ] {
            assert_eq!(call(arguments, sent), Err(-32020), "{arguments} {sent:?}");
        }
    }

    #[test]
    fn only_canonical_base64_is_taken() {
        assert_eq!(base64("SGVsbG8=").unwrap(), b"Hello");
        assert_eq!(base64("").unwrap(), b"");
        assert_eq!(base64("AAAA").unwrap(), [0, 0, 0]);
        for bad in ["SGVsbG8", "SGVsbG9=", "S===", "=SGV", "SG=V", "SGVs bG8", "SGVsbG8=SGVsbG8="] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }
}
