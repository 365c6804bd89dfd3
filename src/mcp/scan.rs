//! One pass over the bytes of a message before anything is built from them: UTF-8 and depth.
//!
//! serde_json skips a raw value without a depth limit, and what we pass on is read by others who recurse.

use super::RpcError;

/// Deepest nesting of arrays and objects accepted.
pub const DEPTH_MAX: usize = 64;

/// Checks that `bytes` are UTF-8 and nest no deeper than [`DEPTH_MAX`]; says nothing about being JSON.
///
/// # Errors
/// A parse fault (-32700) that says which of the two failed and where.
pub fn scan(bytes: &[u8]) -> Result<&str, RpcError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| RpcError::parse(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(RpcError::parse(format!("nested deeper than {DEPTH_MAX} at byte {at}")));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_limit_holds_one_below_at_and_above() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(scan(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert!(scan(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(scan(nested(DEPTH_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn brackets_inside_strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(100), "{".repeat(100));
        assert!(scan(text.as_bytes()).is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(scan(b"{\"a\":\"\xff\"}").is_err());
    }
}
