//! `config check` and `config show`: every key with its value, where it is from, and what it means.
//!
//! Secrets are in files and never in keys, so that everything may be shown.

use serde_json::{Value as Json, json};

use crate::config::{self, Config, Key, LISTS, Origin, Shipped, keys};
use crate::telemetry;

use super::args::{ConfigArgs, ShowArgs};
use super::error::CliError;
use super::paint::{Grid, Paint, Tone};
use super::settings;

pub(super) fn check(args: &ShowArgs, from: &ConfigArgs) -> Result<String, CliError> {
    let sources = settings::sources(from, &[]);
    let config = Config::load(args.id, &sources)?;
    telemetry::check(&config.sections.telemetry.log)?;
    let files: Vec<String> = sources.files.iter().map(|file| file.display().to_string()).collect();
    if args.json {
        let idle: Vec<&str> = config.settings.without_effect().map(|(key, _, _)| key.path).collect();
        return Ok(format!("{:#}\n", json!({"ok": true, "files": files, "no_effect": idle})));
    }
    let files = if files.is_empty() { "built-in values, no file".to_string() } else { files.join(", ") };
    Ok(format!("the configuration of node {} is sound ({files})\n{}", args.id, notice(&config)))
}

pub(super) fn show(args: &ShowArgs, from: &ConfigArgs) -> Result<String, CliError> {
    if args.defaults {
        return Ok(config::render(Shipped::Cluster) + "\n" + &config::render(Shipped::Runtime));
    }
    let config = settings::load(args.id, from)?;
    let wanted = |path: &str| args.prefix.as_ref().is_none_or(|prefix| path.starts_with(prefix.as_str()));
    let mut shown: Vec<Row> = rows(&config).into_iter().filter(|row| wanted(&row.path)).collect();
    if args.json {
        shown.extend(idle_rows(&config).filter(|row| wanted(&row.path)));
    }
    if let (Some(prefix), true) = (&args.prefix, shown.is_empty()) {
        return Err(CliError::Found(format!(
            "no key begins with \"{prefix}\"; see: erlmcp-node config show"
        )));
    }
    let as_text = || as_table(&shown, Paint::for_stdout()) + &notice(&config);
    Ok(if args.json { as_json(&shown) } else { as_text() })
}

/// The line about keys that were set and do nothing, or "".
fn notice(config: &Config) -> String {
    config.settings.notice().map(|notice| notice + "\n").unwrap_or_default()
}

/// One key as shown.
struct Row {
    path: String,
    value: toml::Value,
    origin: Origin,
    key: &'static Key,
    has_effect: bool,
}

fn rows(config: &Config) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for key in keys() {
        if !config::is_listed(key) {
            if let Some((value, origin)) = config.settings.value(key.path) {
                let (path, value, origin) = (key.path.to_string(), value.clone(), origin.clone());
                rows.push(Row { path, value, origin, key, has_effect: true });
            }
        } else if let Some(list) = LISTS.iter().find(|list| **list == key.section() && !done.contains(*list))
        {
            done.push(list);
            rows.extend(list_rows(config, list));
        }
    }
    rows
}

fn list_rows(config: &Config, list: &str) -> Vec<Row> {
    let (elements, origin) = config.settings.list(list);
    let mut rows = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        for key in keys().filter(|key| key.section() == list) {
            if let Some(value) = element.table.get(key.name()) {
                let path = format!("{list}[{index}].{}", key.name());
                let (value, origin) = (hide(key, value), origin.clone());
                rows.push(Row { path, value, origin, key, has_effect: true });
            }
        }
    }
    rows
}

/// Keys that were set and do nothing in this release.
fn idle_rows(config: &Config) -> impl Iterator<Item = Row> {
    config.settings.without_effect().map(|(key, value, origin)| {
        let (path, value, origin) = (key.path.to_string(), value.clone(), origin.clone());
        Row { path, value, origin, key, has_effect: false }
    })
}

/// The environment of a child often carries its credentials: its names are shown, its values are not.
fn hide(key: &Key, value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(map) if key.path == "upstream.env" => {
            let hidden = map.keys().map(|name| (name.clone(), toml::Value::String("(hidden)".to_string())));
            toml::Value::Table(hidden.collect())
        }
        other => other.clone(),
    }
}

fn as_table(rows: &[Row], paint: Paint) -> String {
    let mut grid = Grid::head(&["KEY", "VALUE", "UNIT", "FROM"]);
    for row in rows {
        let is_default = row.origin == Origin::Default;
        grid.row(vec![
            (row.path.clone(), Tone::Plain),
            (row.value.to_string(), if is_default { Tone::Plain } else { Tone::Strong }),
            (row.key.unit.to_string(), Tone::Dim),
            (row.origin.to_string(), if is_default { Tone::Dim } else { Tone::Good }),
        ]);
    }
    grid.draw(paint)
}

fn as_json(rows: &[Row]) -> String {
    let list: Vec<Json> = rows
        .iter()
        .map(|row| {
            json!({
                "key": row.path,
                "value": serde_json::to_value(&row.value).unwrap_or(Json::Null),
                "unit": row.key.unit,
                "from": row.origin.to_string(),
                "variable": (!config::is_listed(row.key)).then(|| row.key.variable()),
                "about": config::explanation(row.key),
                "planned": !row.has_effect,
            })
        })
        .collect();
    format!("{:#}\n", Json::Array(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(1, &config::Sources { files: vec![path], ..config::Sources::default() }).unwrap()
    }

    #[test]
    fn every_key_is_shown_with_its_origin() {
        let shown = rows(&config("[raft]\nkeep_entries = 5\n"));
        assert_eq!(shown.len(), keys().filter(|key| !config::is_listed(key)).count());
        let changed = shown.iter().find(|row| row.path == "raft.keep_entries").unwrap();
        assert!(matches!(changed.origin, Origin::File(_)));
    }

    #[test]
    fn keys_that_do_nothing_are_shown_only_if_set_and_in_one_line() {
        assert_eq!(notice(&config("")), "");
        let idle = config("[websocket]\nenabled = true\n[tcp]\nlisten = \"off\"\n[raft]\nkeep_entries = 5\n");
        let line = notice(&idle);
        let wanted = "c.toml: these keys have no effect in this release: tcp.listen, websocket.enabled\n";
        assert!(line.ends_with(wanted) && line.lines().count() == 1, "{line}");
        assert!(!as_table(&rows(&idle), Paint::off()).contains("websocket"));
        let json = as_json(&idle_rows(&idle).collect::<Vec<_>>());
        assert_eq!(json.matches("\"planned\": true").count(), 2, "{json}");
    }

    #[test]
    fn the_environment_of_a_child_is_not_shown() {
        let text = "[[upstream]]\nname = \"a\"\ncommand = \"b\"\nenv = { TOKEN = \"s3cret\" }\n";
        let shown = rows(&config(text));
        let table = as_table(&shown, Paint::off()) + &as_json(&shown);
        assert!(table.contains("upstream[0].env") && table.contains("TOKEN"), "{table}");
        assert!(!table.contains("s3cret"));
    }
}
