//! URI templates of RFC 6570, level 1: which URIs fit one, and what its variables then are.
//!
//! A variable stands for one or more characters other than `/`, `?` and `#`; what it matches is
//! percent-decoded.

/// Most variables of one template; matching tries each boundary between them.
const VARIABLES_MAX: usize = 16;

/// A template, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// Literal text before each variable.
    parts: Vec<(String, String)>,
    /// Literal text after the last.
    end: String,
}

impl Pattern {
    /// Reads `{name}` variables; operators of higher levels (`{+x}`, `{?x}`, `{x*}`) are refused.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub(super) fn parse(template: &str) -> Result<Pattern, String> {
        let (mut parts, mut rest) = (Vec::new(), template);
        while let Some((literal, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("template {template:?}: '{{' without '}}'"));
            };
            let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if name.is_empty() || !name.bytes().all(is_word) {
                return Err(format!("template {template:?}: {{{name}}} is no plain variable"));
            }
            parts.push((literal.to_owned(), name.to_owned()));
            rest = after;
        }
        if parts.is_empty() || parts.len() > VARIABLES_MAX {
            return Err(format!(
                "template {template:?} has {} variables, not 1 to {VARIABLES_MAX}",
                parts.len()
            ));
        }
        if parts.iter().skip(1).any(|(literal, _)| literal.is_empty()) {
            return Err(format!("template {template:?}: nothing between two variables"));
        }
        Ok(Pattern { parts, end: rest.to_owned() })
    }

    /// The variables of `uri` if it fits, in the template's order, decoded.
    pub(super) fn matches(&self, uri: &str) -> Option<Vec<(String, String)>> {
        let (first, _) = self.parts.first()?;
        let mut values = Vec::with_capacity(self.parts.len());
        self.rest_matches(uri.strip_prefix(first.as_str())?, 0, &mut values).then_some(values)
    }

    /// Whether variable `at` and all after it fit `rest`; the shortest value of a variable is tried first.
    fn rest_matches(&self, rest: &str, at: usize, values: &mut Vec<(String, String)>) -> bool {
        let (_, name) = &self.parts[at];
        let stop = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let Some((next, _)) = self.parts.get(at + 1) else {
            let Some(value) = rest.strip_suffix(self.end.as_str()) else { return false };
            return stop >= value.len() && push(values, name, value);
        };
        for (start, _) in rest.match_indices(next.as_str()) {
            if start > stop {
                break;
            }
            if push(values, name, &rest[..start]) {
                // A literal that starts with a delimiter ends the variable for good.
                if self.rest_matches(&rest[start + next.len()..], at + 1, values) {
                    return true;
                }
                values.pop();
            }
            if next.starts_with(['/', '?', '#']) {
                break;
            }
        }
        false
    }

    /// Whether it has the variable `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|(_, own)| own == name)
    }
}

fn push(values: &mut Vec<(String, String)>, name: &str, value: &str) -> bool {
    let Some(value) = decoded(value).filter(|value| !value.is_empty()) else { return false };
    values.push((name.to_owned(), value));
    true
}

/// Percent-decoded text; `None` if it is no UTF-8 or a code is broken.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (code, after) = rest.split_at_checked(2)?;
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(code[0])? << 4 | digit(code[1])?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(template: &str, uri: &str) -> Option<Vec<String>> {
        let found = Pattern::parse(template).unwrap().matches(uri)?;
        Some(found.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn a_variable_is_what_stands_between_the_literals() {
        assert_eq!(values("test://template/{id}/data", "test://template/123/data").unwrap(), ["123"]);
        assert_eq!(values("a://{x}-{y}.txt", "a://1-2-3.txt").unwrap(), ["1", "2-3"]);
        assert_eq!(values("a://{x}/{y}", "a://o%20k/%C3%A4").unwrap(), ["o k", "ä"]);
    }

    #[test]
    fn a_uri_that_does_not_fit_is_refused() {
        for uri in ["a:///data", "a://1/2/data", "a://1/data/", "b://1/data", "a://%GG/data", "a://%ff/data"]
        {
            assert_eq!(values("a://{id}/data", uri), None, "{uri}");
        }
        assert_eq!(values("a://{x}/{y}", "a://1/2/3"), None);
        assert_eq!(values("a://{x}", "a://1?q"), None);
    }

    #[test]
    fn templates_of_higher_levels_are_refused() {
        for template in ["a://b", "a://{+x}", "a://{x*}", "a://{x", "a://{}", "a://{x}{y}", "a://{?q}"] {
            assert!(Pattern::parse(template).is_err(), "{template}");
        }
    }
}
