//! Circles: files of a folder that need each other, so that none can be read, moved or tested alone.

use std::collections::{BTreeMap, BTreeSet};

/// Folders without circles. What a file imports from its neighbours is read from its `use` lines.
pub(crate) const WITHOUT: &[(&str, &[&str])] = &[
    ("raft/src/", &[]),
    // A server's offers are functions of calls, and a call knows the server whose offers it may change.
    ("src/handler/", &["call", "calls", "handle", "registry", "run"]),
];

/// Files by the name of their module, each with the statements of its `use` lines.
pub(crate) type Files = BTreeMap<String, Vec<String>>;

/// Names of neighbours in `folder` that a `use` statement of one of its files names.
fn named<'a>(folder: &str, statement: &'a str) -> Vec<&'a str> {
    let inner =
        folder.strip_prefix("src/").map(|folder| format!("crate::{}::", folder.trim_end_matches('/')));
    let own = if folder.starts_with("src/") { inner.as_deref() } else { Some("crate::") };
    let rest = own.and_then(|own| statement.strip_prefix(own)).or(statement.strip_prefix("super::"));
    let Some(rest) = rest else { return Vec::new() };
    let parts = rest.strip_prefix('{').map_or(vec![rest], |inner| inner.split(',').collect());
    let name = |part: &'a str| part.trim().split([':', ' ', '}', ';']).next().unwrap_or("");
    parts.into_iter().map(name).filter(|name| !name.is_empty()).collect()
}

/// Files of `folder` that are in a circle with a file outside `knot`, each with the neighbour it needs.
pub(crate) fn faults(folder: &str, knot: &[&str], files: &Files) -> Vec<String> {
    let needs = |file: &str| -> BTreeSet<&str> {
        let statements = files.get(file).into_iter().flatten();
        let named = statements.flat_map(|statement| named(folder, statement));
        named.filter(|name| *name != file && files.contains_key(*name)).collect()
    };
    let reached = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), needs(from).into_iter().collect::<Vec<_>>());
        while let Some(file) = open.pop() {
            if seen.insert(file.to_owned()) {
                open.extend(needs(file));
            }
        }
        seen
    };
    let mut faults = Vec::new();
    for file in files.keys() {
        let back = needs(file).into_iter().filter(|other| reached(other).contains(file));
        for other in back.filter(|other| !(knot.contains(&file.as_str()) && knot.contains(other))) {
            faults.push(format!("{folder}{file}.rs needs {other}.rs, which needs it: move what both need"));
        }
    }
    faults
}
