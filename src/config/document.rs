//! The table of keys as a page to read: `docs/configuration.md`.
//!
//! Like the shipped files it is held equal to what this makes by a test, so that it never says something
//! else than the program does.

use std::fmt::Write as _;

use super::key::{Fallback, Key, Kind};
use super::planned::PLANNED;
use super::render::list_head;
use super::sections;

const HEAD: &str = "# Configuration

Built-in values, then files, then variables, then flags: each over the one before. A node reads
`config/cluster.toml` and `config/runtime.toml`, or the files and directories that `--config` names, one over
the other; `config/bench.toml` only when named. A key outside lists can be given as
`--set section.key=value`. A key that is not on this page stops the start.

`erlmcp-node config show` tells each value and where it is from, `erlmcp-node config check` whether they fit
together.

This page and the shipped files are made from the table of keys in `src/config/`:
`ERLMCP_REWRITE=1 cargo test --test config_files` writes them anew.
";

const PLANNED_HEAD: &str = "
## Without effect in this release

A file that sets these is taken, and one line of `config check`, `config show` and the log of the start names
them. They are not in the shipped files.

| key | what it is to do |
|---|---|
";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn document() -> String {
    let mut out = HEAD.to_string();
    let mut section = "";
    for key in sections::all() {
        if key.section() != section {
            section = key.section();
            open_section(&mut out, section, sections::is_listed(key));
        }
        let variable = if sections::is_listed(key) { String::new() } else { format!("`{}`", key.variable()) };
        let (name, default, range, about) = (key.name(), default(key), range(key), plain(key.about));
        let _ = writeln!(out, "| `{name}` | {default} | {range} | {} | {about} | {variable} |", key.unit);
    }
    out.push_str(PLANNED_HEAD);
    for key in PLANNED {
        let _ = writeln!(out, "| `{}` | {} |", key.path, plain(key.about));
    }
    out
}

fn open_section(out: &mut String, section: &str, is_list: bool) {
    if is_list {
        let _ = write!(out, "\n## `[[{section}]]`\n\n{}\n", plain(list_head(section)));
    } else {
        let _ = write!(out, "\n## `[{section}]`\n");
    }
    out.push_str(
        "\n| key | default | range | unit | what it does and why | variable |\n|---|---|---|---|---|---|\n",
    );
}

fn default(key: &Key) -> String {
    match (key.fallback, key.default_value()) {
        (Fallback::Required, _) => "required".to_string(),
        (_, None) => "none".to_string(),
        (_, Some(value)) => format!("`{value}`"),
    }
}

fn range(key: &Key) -> String {
    match key.kind {
        Kind::Int { min, max } => format!("{min} to {max}"),
        kind => plain(&kind.to_string()),
    }
}

/// The text as it is to be seen: nothing in it is markup.
fn plain(text: &str) -> String {
    let mut out = text.replace("__", "\\_\\_");
    for mark in ["|", "<", "*", "["] {
        out = out.replace(mark, &format!("\\{mark}"));
    }
    out
}
