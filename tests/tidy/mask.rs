//! Rust text reduced to what a rule may look at: comments and literals blanked, positions kept.
//!
//! A small lexer, not a parser: enough to tell code from words about code. It never changes the length
//! of the text or the place of a line break, so that every position found here is a position in the
//! file.

/// Blanks comments, strings and characters with spaces, byte for byte.
pub(crate) fn mask(text: &str) -> String {
    let b = text.as_bytes();
    let mut out = b.to_vec();
    let mut i = 0;
    while i < b.len() {
        let end = match b[i] {
            b'/' if b.get(i + 1) == Some(&b'/') => line_end(b, i),
            b'/' if b.get(i + 1) == Some(&b'*') => block_end(b, i),
            b'"' => string_end(b, i),
            b'r' if !is_word_before(b, i) || b[i - 1] == b'b' => match raw_string_end(b, i) {
                Some(end) => end,
                None => {
                    i += 1;
                    continue;
                }
            },
            b'\'' => match char_end(b, i) {
                Some(end) => end,
                None => {
                    i += 1;
                    continue;
                }
            },
            _ => {
                i += 1;
                continue;
            }
        };
        for byte in &mut out[i..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        i = end;
    }
    String::from_utf8(out).expect("whole literals were blanked")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_word_before(b: &[u8], i: usize) -> bool {
    i > 0 && is_word(b[i - 1])
}

fn line_end(b: &[u8], from: usize) -> usize {
    b[from..].iter().position(|c| *c == b'\n').map_or(b.len(), |n| from + n)
}

fn block_end(b: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i + 1 < b.len() {
        match (b[i], b[i + 1]) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    b.len()
}

fn string_end(b: &[u8], from: usize) -> usize {
    let mut i = from + 1;
    while i < b.len() {
        match b[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    b.len()
}

fn raw_string_end(b: &[u8], from: usize) -> Option<usize> {
    let hashes = b[from + 1..].iter().take_while(|c| **c == b'#').count();
    let open = from + 1 + hashes;
    if b.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let rest = &b[open + 1..];
    let end =
        rest.windows(close.len()).position(|w| w == close).map_or(b.len(), |n| open + 1 + n + close.len());
    Some(end)
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(b: &[u8], from: usize) -> Option<usize> {
    if b.get(from + 1) == Some(&b'\\') {
        let end = b[from + 3..].iter().position(|c| *c == b'\'')?;
        return Some(from + 3 + end + 1);
    }
    // One character of up to four bytes, then the closing quote.
    let width = match b.get(from + 1)? {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (b.get(from + 1 + width) == Some(&b'\'')).then_some(from + 2 + width)
}

/// Positions of `word` as a whole word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let b = text.as_bytes();
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !is_word_before(b, *at) && b.get(at + word.len()).is_none_or(|c| !is_word(*c)))
}

/// Functions with a body: position, name, and lines from `fn` to the closing brace.
pub(crate) fn functions(masked: &str) -> Vec<(usize, &str, usize)> {
    let mut found = Vec::new();
    for at in words(masked, "fn") {
        let rest = &masked[at + 2..];
        let name = rest.trim_start();
        let name = &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0)];
        if name.is_empty() {
            continue; // a function pointer type
        }
        let Some(open) = body_start(rest) else { continue };
        let body = &rest[open..];
        let lines = masked[at..at + 2 + open + closing(body)].matches('\n').count() + 1;
        found.push((at, name, lines));
    }
    found
}

/// Offset at which the body opens: the first brace outside brackets; none if a semicolon comes first.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0i32;
    for (i, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(i),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn closing(body: &str) -> usize {
    let mut depth = 0i32;
    for (i, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    body.len()
}

/// `use` statements: position, and the text between `use` and the semicolon without line breaks.
pub(crate) fn use_statements(masked: &str) -> Vec<(usize, String)> {
    words(masked, "use")
        .filter_map(|at| {
            let end = masked[at..].find(';')?;
            let line_start = masked[..at].rfind('\n').map_or(0, |n| n + 1);
            let before = masked[line_start..at].trim();
            let is_statement =
                before.is_empty() || before.starts_with("pub") || before.ends_with(['{', ';', '}']);
            is_statement.then(|| (at, masked[at + 3..at + end].split_whitespace().collect()))
        })
        .collect()
}

#[test]
fn comments_strings_and_characters_are_blanked_and_nothing_moves() {
    let text = "a // b\n/* c /* d */ e */ \"f\\\"g\" r#\"h\"i\"# 'j' '\\'' b'k' &'l m 'é' n";
    let masked = mask(text);
    assert_eq!(masked.len(), text.len());
    assert_eq!(masked.split_whitespace().collect::<Vec<_>>(), ["a", "b", "&'l", "m", "n"]);
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_brace() {
    let text =
        "fn a();\nfn b<T>(x: [u8; 2]) -> [u8; 3]\nwhere\n    T: Fn(u8),\n{\n    c {}\n}\ntype D = fn();\n";
    let found: Vec<(&str, usize)> = functions(text).into_iter().map(|(_, n, l)| (n, l)).collect();
    assert_eq!(found, [("b", 6)]);
}
