//! Bounds on what a message names or describes: what is kept, compared or passed on has a size of its own,
//! far below that of a whole message.

use serde_json::value::RawValue;

use crate::mcp::{RawObject, Request, RpcError};

/// Members of params that name something.
const NAMES: [&str; 5] = ["uri", "name", "cursor", "taskId", "ref"];

/// Checks the names in `request`.
///
/// # Errors
/// -32602 under 400 that says which is too long.
pub(super) fn check_names(request: &Request, bytes_max: usize) -> Result<(), RpcError> {
    // Nearly always nothing is that long.
    let long = request.params.iter().filter(|(_, value)| value.get().len() > bytes_max);
    for (member, value) in long {
        if NAMES.contains(&member) {
            return Err(too_long(
                &format!("params.{member}"),
                value.get().len(),
                bytes_max,
                "http.name_bytes_max",
            ));
        }
    }
    Ok(())
}

/// Checks one entry of a list of names.
///
/// # Errors
/// As [`check_names`].
pub(super) fn check_name(member: &str, name: &str, bytes_max: usize) -> Result<(), RpcError> {
    if name.len() > bytes_max {
        let what = format!("an entry of params.notifications.{member}");
        return Err(too_long(&what, name.len(), bytes_max, "http.name_bytes_max"));
    }
    Ok(())
}

/// The member of `params` if it has at most `bytes_max` bytes, the value of `key`.
///
/// # Errors
/// -32602 under 400.
pub(super) fn described<'a>(
    params: &'a RawObject,
    member: &str,
    bytes_max: usize,
    key: &str,
) -> Result<Option<&'a RawValue>, RpcError> {
    let Some(value) = params.get(member) else { return Ok(None) };
    match value.get().len() {
        length if length > bytes_max => Err(too_long(&format!("params.{member}"), length, bytes_max, key)),
        _ => Ok(Some(value)),
    }
}

fn too_long(what: &str, length: usize, bytes_max: usize, key: &str) -> RpcError {
    let text = format!("{what} has {length} bytes; at most {bytes_max} are taken ({key})");
    RpcError::invalid_params(text).with_status(400)
}
