//! The layer table: who may import whom inside the node's crate.
//!
//! A file imports from lower rows and from its own top folder, never sideways or upwards. Why the rows
//! are these is in `docs/decisions/0001-layers.md`; a new top-level module gets a row here first.

use crate::mask::words;

/// Rows from the top down; a module may import every module of every later row.
const ROWS: &[(u8, &[&str])] = &[
    (7, &["main", "cli", "node"]),
    (6, &["transport", "admin"]),
    (5, &["exchange"]),
    (4, &["handler", "quota", "relay"]),
    (3, &["router", "upstream"]),
    (2, &["admission", "session", "monitor"]),
    (1, &["api", "mcp"]),
    (
        0,
        &["causes", "client_address", "clock", "drain", "memory", "random", "refusal", "telemetry", "config"],
    ),
];

/// Row 7 is the top of the house: its members build on one another, `main` on `cli` on `node`.
const TOP: u8 = 7;

fn row(module: &str) -> Option<u8> {
    ROWS.iter().find(|(_, modules)| modules.contains(&module)).map(|(row, _)| *row)
}

/// Faults of a shipped file: position and what is wrong.
pub(crate) fn faults(path: &str, masked: &str) -> Vec<(usize, String)> {
    let Some(inner) = path.strip_prefix("src/") else { return Vec::new() };
    let own = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
    if own == "lib" || own == "bin" {
        return Vec::new();
    }
    let Some(own_row) = row(own) else {
        return vec![(0, format!("module {own} is not in the layer table of tests/tidy/layers.rs"))];
    };
    let mut faults = Vec::new();
    for (at, module) in imported(inner, masked) {
        if module == own {
            continue;
        }
        match row(&module) {
            None => faults.push((at, format!("crate::{module} is not in the layer table"))),
            Some(r) if r > own_row => {
                faults.push((at, format!("{own} (layer {own_row}) must not import {module} (layer {r})")));
            }
            Some(r) if r == own_row && r != TOP => {
                faults.push((at, format!("{own} must not import {module}: both are in the same row, {r}")));
            }
            Some(_) => {}
        }
    }
    faults
}

/// Top-level modules that the code names: by `crate::`, by the crate's name, or by climbing with `super::`.
fn imported(inner: &str, masked: &str) -> Vec<(usize, String)> {
    let depth = inner.matches('/').count() + 1;
    let mut found = Vec::new();
    for root in ["crate", "erlmcp"] {
        for at in words(masked, root) {
            if let Some(rest) = masked[at + root.len()..].strip_prefix("::") {
                found.extend(first_names(rest).into_iter().map(|name| (at, name)));
            }
        }
    }
    let climb = "super::".repeat(depth);
    for (at, _) in masked.match_indices(&climb) {
        let rest = &masked[at + climb.len()..];
        let names = first_names(rest).into_iter().filter(|n| row(n).is_some());
        if !masked[..at].ends_with("super::") {
            found.extend(names.map(|name| (at, name)));
        }
    }
    found
}

/// The first name of each path in `a::b` or `{a::b, c, d::{e, f}}`.
fn first_names(rest: &str) -> Vec<String> {
    let word = |s: &str| -> String { s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut names = Vec::new();
    let mut depth = 0i32;
    let mut part = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(word(part.trim()));
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    names.push(word(part.trim()));
    names.retain(|n| !n.is_empty());
    names
}
