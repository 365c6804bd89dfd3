//! Defaults, then files, then `ERLMCP_*` variables, then flags: each over the one before, origins remembered.
//!
//! Works on keys, not on structs: every value is checked against the table here and nowhere else. A key
//! that is not in the table is a fault wherever it stands; nothing is silently ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::{ConfigError, Origin, Problem};
use super::key::{Fallback, Key};
use super::planned::PLANNED;
use super::sections;

/// Variables with a second, shorter name.
const SHORT_VARIABLES: &[(&str, &str)] = &[
    ("ERLMCP_PORT_BASE", "cluster.port_base"),
    ("ERLMCP_DATA_DIR", "cluster.data_dir"),
    ("ERLMCP_LOG", "telemetry.log"),
    ("ERLMCP_INSECURE", "connections.insecure"),
];

/// Variables of ours that are no keys: read by the command line and by the scripts.
const OTHER_VARIABLES: &[&str] = &[
    "ERLMCP_BIN",
    "ERLMCP_CONFIG",
    "ERLMCP_CONFORMANCE",
    "ERLMCP_LOG_DIR",
    "ERLMCP_NODES",
    "ERLMCP_NODE_ID",
    "ERLMCP_REWRITE",
    "ERLMCP_START_TIMEOUT_S",
    "ERLMCP_STOP_TIMEOUT_S",
    "ERLMCP_URL",
];

/// Form of a list of nodes in a variable.
const NODES_FORM: &str = "a list such as \"1=10.0.0.1:9200,2=10.0.0.2:9200\"";

/// Longest value shown in a message; a secret pasted into the wrong place should not end up in a log.
const SHOWN_CHARS_MAX: usize = 40;

/// Sources of values, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files to read, in order; each must exist.
    pub files: Vec<PathBuf>,
    /// Variables of the environment; those without our prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags: how the user wrote it, the key's path, the value.
    pub flags: Vec<(String, String, String)>,
}

/// One element of a list such as `[[upstream]]`, complete with defaults.
#[derive(Clone, Debug)]
pub struct Element {
    /// Its keys by name.
    pub table: Table,
}

/// Every key with its value and where the value is from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (Value, Origin)>,
    lists: BTreeMap<&'static str, (Vec<Element>, Origin)>,
    without_effect: BTreeMap<&'static str, (Value, Origin)>,
}

impl Settings {
    /// Reads all sources, collecting every fault.
    ///
    /// # Errors
    /// All unreadable files, unknown keys and bad values.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let mut settings = Settings::default();
        let mut faults = Vec::new();
        for key in sections::all().filter(|key| !sections::is_listed(key)) {
            if let Some(value) = key.default_value() {
                settings.values.insert(key.path, (value, Origin::Default));
            }
        }
        for list in sections::LISTS {
            settings.lists.insert(list, (Vec::new(), Origin::Default));
        }
        for path in &sources.files {
            match read_file(path) {
                Ok(table) => settings.take_table(&Origin::File(path.clone()), "", table, &mut faults),
                Err(fault) => faults.push(fault),
            }
        }
        for (name, text) in &sources.environment {
            settings.take_variable(name, text, &mut faults);
        }
        for (flag, path, text) in &sources.flags {
            settings.take_text(&Origin::Flag(flag.clone()), path, text, &mut faults);
        }
        if faults.is_empty() { Ok(settings) } else { Err(ConfigError { faults }) }
    }

    /// The value of a key that is not in a list, and where it is from.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<(&Value, &Origin)> {
        self.values.get(path).map(|(value, origin)| (value, origin))
    }

    /// The elements of a list and where they are from.
    #[must_use]
    pub fn list(&self, path: &str) -> (&[Element], &Origin) {
        self.lists.get(path).map_or((&[], &Origin::Default), |(elements, origin)| (elements, origin))
    }

    /// Keys that were set although they have no effect in this release, in the order of the table.
    pub fn without_effect(&self) -> impl Iterator<Item = (&'static Key, &Value, &Origin)> {
        PLANNED.iter().filter_map(|key| {
            let (value, origin) = self.without_effect.get(key.path)?;
            Some((key, value, origin))
        })
    }

    /// One line that names the keys of [`Settings::without_effect`] and who set them; none if there are none.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let mut origins: Vec<String> = Vec::new();
        let mut paths = Vec::new();
        for (key, _, origin) in self.without_effect() {
            let origin = origin.to_string();
            if !origins.contains(&origin) {
                origins.push(origin);
            }
            paths.push(key.path);
        }
        let (origins, keys) = (origins.join(", "), paths.join(", "));
        (!paths.is_empty()).then(|| format!("{origins}: these keys have no effect in this release: {keys}"))
    }

    /// Source of a key's value.
    #[must_use]
    pub fn origin(&self, path: &str) -> Origin {
        let is_within = |list: &str| path.strip_prefix(list).is_some_and(|rest| !rest.starts_with('_'));
        let list = sections::LISTS.iter().find(|list| is_within(list));
        list.map_or_else(
            || self.value(path).map_or(Origin::Default, |(_, origin)| origin.clone()),
            |list| self.list(list).1.clone(),
        )
    }

    /// All values as one nested table, as the structs of the sections expect it.
    pub(super) fn to_table(&self) -> Table {
        let mut root = Table::new();
        for (path, (value, _)) in &self.values {
            put(&mut root, path, value.clone());
        }
        for (path, (elements, _)) in &self.lists {
            let tables = elements.iter().map(|element| Value::Table(element.table.clone()));
            put(&mut root, path, Value::Array(tables.collect()));
        }
        root
    }

    fn take_table(&mut self, origin: &Origin, section: &str, table: Table, faults: &mut Vec<Problem>) {
        for (name, value) in table {
            let path = if section.is_empty() { name } else { format!("{section}.{name}") };
            if let Some(list) = sections::LISTS.iter().find(|list| **list == path) {
                self.take_list(origin, list, value, faults);
            } else if let Some(key) = sections::find(&path) {
                self.take_value(origin, key, value, faults);
            } else if sections::is_section(&path) {
                match value {
                    Value::Table(inner) => self.take_table(origin, &path, inner, faults),
                    other => faults.push(bad_value(origin, &path, &other, "a section".to_string())),
                }
            } else {
                faults.push(unknown(origin, path));
            }
        }
    }

    fn take_value(&mut self, origin: &Origin, key: &'static Key, value: Value, faults: &mut Vec<Problem>) {
        match key.check(&value) {
            Ok(()) => {
                let is_planned = PLANNED.iter().any(|planned| planned.path == key.path);
                let taken = if is_planned { &mut self.without_effect } else { &mut self.values };
                taken.insert(key.path, (value, origin.clone()));
            }
            Err(wanted) => faults.push(bad_value(origin, key.path, &value, wanted)),
        }
    }

    /// A later list replaces an earlier one as a whole: half of two lists would be nobody's intention.
    fn take_list(&mut self, origin: &Origin, list: &'static str, value: Value, faults: &mut Vec<Problem>) {
        let Value::Array(items) = value else {
            let wanted = format!("written as [[{list}]]");
            faults.push(bad_value(origin, list, &value, wanted));
            return;
        };
        let mut elements = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let label = format!("{list}[{index}]");
            match item {
                Value::Table(table) => elements.push(element(origin, list, &label, table, faults)),
                other => faults.push(bad_value(origin, &label, &other, "a table".to_string())),
            }
        }
        self.lists.insert(list, (elements, origin.clone()));
    }

    fn take_variable(&mut self, name: &str, text: &str, faults: &mut Vec<Problem>) {
        if !name.starts_with("ERLMCP_") || OTHER_VARIABLES.contains(&name) || is_injected(name) {
            return;
        }
        let origin = Origin::Environment(name.to_string());
        if name == "ERLMCP_CLUSTER_NODES" {
            match nodes_from_text(text) {
                Some(nodes) => self.take_list(&origin, "cluster.nodes", nodes, faults),
                None => faults.push(bad_value(
                    &origin,
                    "cluster.nodes",
                    &Value::String(text.to_string()),
                    NODES_FORM.to_string(),
                )),
            }
            return;
        }
        let short = SHORT_VARIABLES.iter().find(|(short, _)| *short == name).map(|(_, path)| *path);
        let long =
            || sections::known().filter(|key| !sections::is_listed(key)).find(|key| key.variable() == name);
        match short.or_else(|| long().map(|key| key.path)) {
            Some(path) => self.take_text(&origin, path, text, faults),
            None => {
                let path = name.trim_start_matches("ERLMCP_").to_lowercase().replacen('_', ".", 1);
                faults.push(Problem::Unknown {
                    origin,
                    key: name.to_string(),
                    nearest: sections::nearest(&path),
                });
            }
        }
    }

    fn take_text(&mut self, origin: &Origin, path: &str, text: &str, faults: &mut Vec<Problem>) {
        match sections::find(path).filter(|key| !sections::is_listed(key)) {
            Some(key) => self.take_value(origin, key, key.parse(text), faults),
            None => faults.push(unknown(origin, path.to_string())),
        }
    }
}

fn read_file(path: &Path) -> Result<Table, Problem> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Problem::Unreadable { path: path.to_path_buf(), source })?;
    text.parse::<Table>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem::Syntax { path: path.to_path_buf(), line, what: error.message().replace('\n', ", ") }
    })
}

/// One element of a list, checked key by key and completed with defaults.
fn element(
    origin: &Origin,
    list: &'static str,
    label: &str,
    mut given: Table,
    faults: &mut Vec<Problem>,
) -> Element {
    let mut table = Table::new();
    for key in sections::all().filter(|key| key.section() == list) {
        let label = format!("{label}.{}", key.name());
        match given.remove(key.name()) {
            Some(value) => match key.check(&value) {
                Ok(()) => {
                    table.insert(key.name().to_string(), value);
                }
                Err(wanted) => faults.push(bad_value(origin, &label, &value, wanted)),
            },
            None if key.fallback == Fallback::Required => {
                faults.push(Problem::Missing {
                    origin: origin.clone(),
                    key: label,
                    wanted: key.kind.to_string(),
                });
            }
            None => {
                if let Some(value) = key.default_value() {
                    table.insert(key.name().to_string(), value);
                }
            }
        }
    }
    for name in given.keys() {
        let nearest = sections::nearest(&format!("{list}.{name}"));
        faults.push(Problem::Unknown { origin: origin.clone(), key: format!("{label}.{name}"), nearest });
    }
    Element { table }
}

/// `1=host:port,2=host:port` as the array that a file would hold.
fn nodes_from_text(text: &str) -> Option<Value> {
    let nodes = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let (id, peer) = part.split_once('=')?;
        let mut node = Table::new();
        node.insert("id".to_string(), Value::Integer(id.trim().parse().ok()?));
        node.insert("peer".to_string(), Value::String(peer.trim().to_string()));
        Some(Value::Table(node))
    });
    nodes.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Variables that Kubernetes and Docker links put beside a service named `erlmcp`; they are not ours.
fn is_injected(name: &str) -> bool {
    let is_link = |rest: &str| {
        rest.split_once("_TCP").is_some_and(|(port, _)| port.bytes().all(|b| b.is_ascii_digit()))
    };
    name == "ERLMCP_PORT"
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.match_indices("_PORT_").any(|(at, found)| is_link(&name[at + found.len()..]))
}

fn put(root: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            root.insert(path.to_string(), value);
        }
        Some((section, rest)) => {
            let inner = root.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn unknown(origin: &Origin, key: String) -> Problem {
    let nearest = sections::nearest(&key);
    Problem::Unknown { origin: origin.clone(), key, nearest }
}

fn bad_value(origin: &Origin, key: &str, value: &Value, wanted: String) -> Problem {
    let mut shown = match value {
        Value::Table(_) => "a table".to_string(),
        other => other.to_string(),
    };
    if let Some((at, _)) = shown.char_indices().nth(SHOWN_CHARS_MAX) {
        shown.truncate(at);
        shown.push_str("...");
    }
    Problem::Value { origin: origin.clone(), key: key.to_string(), value: shown, wanted }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
