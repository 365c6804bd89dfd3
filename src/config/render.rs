//! The table of keys as the commented TOML that is shipped in `config/`.
//!
//! The files are written by hand from nothing: a test holds them equal to what this makes, so that a
//! comment can never say something else than the program does.

use std::fmt::Write as _;

use toml::Value;

use super::key::{Fallback, Key, Kind};
use super::sections;

/// Columns of a comment line.
const COLUMNS: usize = 100;

/// Which shipped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// `config/cluster.toml`: all but the process.
    Cluster,
    /// `config/runtime.toml`: threads, files, processors.
    Runtime,
}

impl Shipped {
    fn holds(self, key: &Key) -> bool {
        (key.section() == "runtime") == (self == Shipped::Runtime)
    }

    fn head(self) -> &'static str {
        match self {
            Shipped::Cluster => {
                "The cluster, its edge, its limits. Every key with its built-in value: an empty file \
                 means the same. Overridden by ERLMCP_<SECTION>_<KEY> variables, and these by flags; \
                 `erlmcp-node config show` tells what holds and why. docs/configuration.md \
                 has them as tables."
            }
            Shipped::Runtime => {
                "The process: threads, files, processors; what the VM's arguments were in the Erlang \
                 system. Every key with its built-in value: an empty file means the same."
            }
        }
    }
}

/// The text of a shipped file.
#[must_use]
pub fn render(file: Shipped) -> String {
    let mut out = String::new();
    comment(&mut out, file.head());
    let mut section = "";
    for key in sections::all().filter(|key| file.holds(key)) {
        let is_listed = sections::is_listed(key);
        if key.section() != section {
            section = key.section();
            out.push('\n');
            if is_listed {
                comment(&mut out, &format!("{} The form:", list_head(section)));
                let _ = writeln!(out, "# [[{section}]]");
            } else {
                let _ = writeln!(out, "[{section}]");
            }
        }
        if !is_listed && !out.ends_with(&format!("[{section}]\n")) {
            out.push('\n');
        }
        comment(&mut out, &explanation(key));
        let value = key.default_value().map_or_else(|| example(key), |value| value.to_string());
        let mark = if is_listed { "# " } else { "" };
        let _ = writeln!(out, "{mark}{} = {value}", key.name());
    }
    out
}

/// Effect of a key, its range and unit.
#[must_use]
pub fn explanation(key: &Key) -> String {
    let mut text = key.about.to_string();
    match (key.kind, key.unit) {
        (Kind::Int { min, max }, "") => _ = write!(text, " From {min} to {max}."),
        (Kind::Int { min, max }, unit) => _ = write!(text, " {min} to {max} {unit}."),
        (Kind::Texts | Kind::TextMap | Kind::Bool | Kind::Text { .. }, _) => {}
        (kind, _) => _ = write!(text, " {}.", capitalised(&kind.to_string())),
    }
    match key.fallback {
        Fallback::Required => text.push_str(" Required."),
        Fallback::Absent => text.push_str(" Optional."),
        _ => {}
    }
    text
}

/// Purpose of an element of this list.
pub(super) fn list_head(section: &str) -> &'static str {
    match section {
        "cluster.nodes" => {
            "The nodes of the cluster, one table each. Without a list: nodes 1 to nodes_expected on \
             this machine, by their ports. A node that is not the founder joins through them. Also \
             ERLMCP_CLUSTER_NODES, as \"1=10.0.0.1:9200,2=10.0.0.2:9200\"."
        }
        _ => "Servers behind this node, one table each. None by default.",
    }
}

/// Text in place of the value of a key without a default.
fn example(key: &Key) -> String {
    let text = match key.path {
        "cluster.nodes.id" => return "1".to_string(),
        "cluster.nodes.peer" => "127.0.0.1:9201",
        "cluster.nodes.http" => "127.0.0.1:8080",
        "upstream.name" => "files",
        "upstream.command" => "npx",
        "upstream.cwd" => "/srv/files",
        "upstream.url" => "http://127.0.0.1:3000/mcp",
        _ => "",
    };
    Value::String(text.to_string()).to_string()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
