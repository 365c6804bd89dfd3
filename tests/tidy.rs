//! The rules of the house, enforced: how a file opens, how long it may be, what it may call, whom it
//! may import.
//!
//! Each rule is a plain function from text to faults, so that the rule itself is tested on a small bad
//! sample; one test applies all of them to every file of the workspace. A rule is changed here and in
//! `docs/decisions/`, never worked around in the file that breaks it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/mask.rs"]
mod mask;

use mask::{mask, words};

const LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
const TEST_FUNCTION_LINES_MAX: usize = 120;
const COLUMNS_MAX: usize = 110;

/// A dependency and the only places that may name it. `in_tests_too`: whether test code is bound as well.
const CONFINED: &[(&str, &[&str], bool)] = &[
    ("sled", &["storage/"], true),
    ("openraft", &["raft/"], true),
    ("governor", &["src/admission/rate.rs"], true),
    (
        "axum",
        &["src/transport.rs", "src/transport/", "src/admin.rs", "src/admin/", "raft/src/peer_server.rs"],
        false,
    ),
];

/// Folders whose types are named after the tables of JSON and TOML that they are, and are written with their
/// module (`config::Session`, `api::Status`).
const NAMED_BY_MODULE: &[&str] = &["src/api/", "src/config/"];
/// Folders that are to be cut anew and keep their names until then.
const PLANNED_MOVE: &[&str] = &["src/upstream/"];

/// Crates of ours and whom each may import.
const CRATES: &[(&str, &[&str])] = &[
    ("raft/ledger/", &[]),
    ("raft/quota/", &["erlmcp_ledger"]),
    ("storage/", &[]),
    ("raft/", &["erlmcp_storage", "erlmcp_ledger", "erlmcp_quota"]),
];

/// One source file split into what ships and what only tests.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
    /// Code without comments and literals, test block blanked out.
    shipped: String,
    /// Code without comments and literals, whole file.
    all: String,
    is_test: bool,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let all = mask(text);
        let is_test = ["tests/", "examples/", "benches/"]
            .iter()
            .any(|d| path.starts_with(d) || path.contains(&format!("/{d}")))
            || path.ends_with("/tests.rs")
            || path.ends_with("_tests.rs");
        let shipped = if is_test { String::new() } else { all[..tests_start(&all)].to_string() };
        Source { path, text, shipped, all, is_test }
    }

    fn at(&self, offset: usize, what: &str) -> String {
        let line = self.all[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// Offset at which the trailing `#[cfg(test)] mod name {` begins; the end of the text when there is none.
fn tests_start(masked: &str) -> usize {
    for (at, _) in masked.match_indices("#[cfg(test)]") {
        let rest = masked[at + "#[cfg(test)]".len()..].trim_start();
        let is_block = rest.starts_with("mod ") && rest.find('{') < rest.find(';').or(Some(usize::MAX));
        if is_block && (at == 0 || masked.as_bytes()[at - 1] == b'\n') {
            return at;
        }
    }
    masked.len()
}

fn shape(s: &Source<'_>, faults: &mut Vec<String>) {
    if !s.text.starts_with("//!") {
        faults.push(format!("{}: a file opens with //! (what it is, why so, what it must never do)", s.path));
    }
    // Only in tests/ does `x/mod.rs` mean something that `x.rs` does not: shared code and no test of its own.
    if s.path.ends_with("/mod.rs") && !s.is_test {
        faults.push(format!("{}: module files are x.rs beside x/, not mod.rs", s.path));
    }
    let (lines, max) = if s.is_test {
        (s.text.lines().count(), TEST_LINES_MAX)
    } else {
        (s.text[..s.shipped.len()].lines().count(), LINES_MAX)
    };
    if lines > max {
        faults.push(format!("{}: {lines} lines without tests; at most {max}", s.path));
    }
    for (number, line) in s.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            faults.push(format!("{}:{}: {columns} columns; at most {COLUMNS_MAX}", s.path, number + 1));
        }
    }
}

fn functions(s: &Source<'_>, faults: &mut Vec<String>) {
    for (start, name, lines) in mask::functions(&s.all) {
        let is_test = s.is_test || start >= s.shipped.len();
        let max = if is_test { TEST_FUNCTION_LINES_MAX } else { FUNCTION_LINES_MAX };
        if lines > max {
            faults.push(s.at(start, &format!("fn {name} has {lines} lines; at most {max}")));
        }
    }
}

fn calls(s: &Source<'_>, faults: &mut Vec<String>) {
    let banned = |needles: &[&str], why: &str, faults: &mut Vec<String>| {
        for needle in needles {
            for (at, _) in s.shipped.match_indices(needle) {
                let inside_word = needle.starts_with(|c: char| c.is_alphabetic())
                    && s.shipped[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if !inside_word {
                    faults.push(s.at(at, &format!("`{needle}`: {why}")));
                }
            }
        }
    };
    banned(
        &[".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("],
        "outside tests use `?`, `let else`, or assert!/unreachable! for a true bug",
        faults,
    );
    if !s.path.starts_with("src/cli") && !s.path.ends_with("build.rs") {
        banned(&["println!", "eprintln!", "print!", "eprint!", "dbg!"], "only src/cli prints", faults);
    }
    if !s.path.ends_with("/clock.rs") {
        banned(
            &["Instant::now", "SystemTime::now"],
            "time is an argument; only clock.rs reads a clock",
            faults,
        );
    }
    banned(
        &["unbounded_channel", "mpsc::unbounded", "std::sync::mpsc::channel", "channel::unbounded"],
        "every queue has a named limit",
        faults,
    );
    banned(&["todo!", "unimplemented!"], "nothing is left as a stub", faults);
    banned(&["unsafe "], "no unsafe code", faults);
}

fn imports(s: &Source<'_>, faults: &mut Vec<String>) {
    for (at, statement) in mask::use_statements(&s.all) {
        if !statement.contains('*') {
            continue;
        }
        let is_test = s.is_test || at >= s.shipped.len();
        if !(is_test && (statement.ends_with("super::*") || statement == "proptest::prelude::*")) {
            faults.push(s.at(at, "no glob imports (tests may `use super::*` and proptest's prelude)"));
        }
    }
    for (name, allowed, in_tests_too) in CONFINED {
        let code = if *in_tests_too { &s.all } else { &s.shipped };
        if allowed.iter().any(|a| s.path.starts_with(a)) {
            continue;
        }
        for at in words(code, name) {
            let rest = code[at + name.len()..].trim_start();
            let before = code[..at].trim_end();
            if rest.starts_with("::") && !before.ends_with("::") || before.ends_with("use") {
                faults.push(s.at(at, &format!("{name} may be named only in {}", allowed.join(", "))));
            }
        }
    }
    if let Some((_, may)) = CRATES.iter().find(|(folder, _)| s.path.starts_with(folder)) {
        for name in ["erlmcp_raft", "erlmcp_storage", "erlmcp_ledger", "erlmcp_quota", "erlmcp"] {
            let own = s.is_test || s.path.contains("/bin/");
            if !may.contains(&name) && !own && words(&s.shipped, name).next().is_some() {
                faults.push(format!("{}: this crate must not import {name}", s.path));
            }
        }
    }
}

/// Names of methods as literals, where their table is not.
fn methods(s: &Source<'_>, faults: &mut Vec<String>) {
    if s.is_test || !s.path.starts_with("src/") || s.path == "src/mcp/method.rs" {
        return;
    }
    for family in ["tools", "prompts", "resources", "tasks", "notifications", "elicitation", "sampling"] {
        for (at, _) in s.text[..s.shipped.len()].match_indices(&format!("\"{family}/")) {
            faults.push(s.at(at, "a method is named by `mcp::Method`, whose table has all that holds of it"));
        }
    }
}

/// Pronouns that a doc must not begin with: it names the thing, then says unit, owner or lifetime.
fn pronouns(s: &Source<'_>, faults: &mut Vec<String>) {
    if PLANNED_MOVE.iter().any(|folder| s.path.starts_with(folder)) {
        return;
    }
    for (number, line) in s.text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! ")).unwrap_or("");
        let word = doc.split(' ').next().unwrap_or("");
        if ["Who", "What", "Whose", "Where"].contains(&word) {
            faults.push(format!("{}:{}: a doc begins with a noun, not with {word}", s.path, number + 1));
        }
    }
}

/// Words that say "not finished". Put together here so that this file does not contain them.
fn unfinished(path: &str, text: &str, faults: &mut Vec<String>) {
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
        for at in words(text, word) {
            let line = text[..at].matches('\n').count() + 1;
            faults.push(format!("{path}:{line}: {word}; finish it or write an issue"));
        }
    }
}

/// Every fault of one Rust file at `path` (relative to the workspace, with `/`).
fn faults_in(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let source = Source::new(path, text);
    shape(&source, &mut faults);
    functions(&source, &mut faults);
    calls(&source, &mut faults);
    imports(&source, &mut faults);
    methods(&source, &mut faults);
    pronouns(&source, &mut faults);
    if !source.is_test {
        faults
            .extend(layers::faults(path, &source.shipped).into_iter().map(|(at, what)| source.at(at, &what)));
    }
    unfinished(path, text, &mut faults);
    faults
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files that belong to the project: no build output, no run-time state, nothing hidden but `.ci`.
fn project_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_top = folder == root();
        let is_hidden = name.starts_with('.') && name != ".ci";
        let is_output = ["target", "node_modules", "__pycache__", "venv"].contains(&name.as_str())
            || is_top && ["data", "logs"].contains(&name.as_str());
        if is_hidden || is_output {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            project_files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Types of a shipped file by name: those that its crate has once.
fn types(masked: &str) -> impl Iterator<Item = &str> {
    let declared = |line: &str| {
        let line = line.strip_prefix("pub(super) ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let line = line.strip_prefix("pub ").unwrap_or(line);
        ["struct ", "enum ", "trait ", "type "].iter().any(|word| line.starts_with(word))
    };
    masked.lines().filter(move |line| declared(line)).filter_map(|line| {
        let at = line.find("struct ").or(line.find("enum ")).or(line.find("trait ")).or(line.find("type "))?;
        let name = line[at..].split_once(' ')?.1;
        Some(&name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())])
    })
}

#[test]
fn a_type_is_found_by_its_name() {
    let mut files = Vec::new();
    project_files(root(), &mut files);
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in files {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        let Some(krate) = ["src/", "raft/src/", "raft/ledger/src/", "raft/quota/src/", "storage/src/"]
            .into_iter()
            .find(|folder| path.starts_with(folder))
        else {
            continue;
        };
        let is_exempt = NAMED_BY_MODULE.iter().chain(PLANNED_MOVE).any(|folder| path.starts_with(folder));
        if !path.ends_with(".rs") || is_exempt {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let source = Source::new(&path, &text);
        for name in types(&source.shipped) {
            places.entry((krate.to_owned(), name.to_owned())).or_default().push(path.clone());
        }
    }
    assert!(places.len() > 200, "only {} types were found", places.len());
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "a type's name is unique in its crate: {twice:#?}");
}

#[test]
fn no_files_of_a_folder_need_each_other() {
    for (folder, knot) in circles::WITHOUT {
        let mut files = circles::Files::new();
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let is_code = path.extension().is_some_and(|ext| ext == "rs") && name != "lib";
            if !is_code || name.ends_with("tests") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let shipped = Source::new(folder, &text).shipped;
            let uses = mask::use_statements(&shipped).into_iter().map(|(_, statement)| statement.to_string());
            files.insert(name, uses.collect());
        }
        assert!(files.len() > 10, "{folder} has only {} files", files.len());
        let faults = circles::faults(folder, knot, &files);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let mut files = Vec::new();
    project_files(root(), &mut files);
    assert!(files.len() > 10, "the walk found only {} files under {}", files.len(), root().display());
    let mut faults = Vec::new();
    for file in files {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        let extension = file.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        let is_script = path == ".ci/run";
        if !["rs", "md", "toml", "sh", "py", "yml", "yaml"].contains(&extension.as_str()) && !is_script {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        if extension == "rs" {
            faults.extend(faults_in(&path, &text));
        } else {
            unfinished(&path, &text, &mut faults);
        }
        if path.ends_with("Cargo.toml") && !text.contains("[lints]\nworkspace = true") {
            faults.push(format!("{path}: [lints] workspace = true is missing (it forbids unsafe code)"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// A mutant whose text has moved breaks nothing and proves nothing.
#[test]
fn the_text_of_every_mutant_stands_once_in_its_file() {
    let (mut mutants, mut faults) = (0, Vec::new());
    for list in fs::read_dir(root().join("tests/mutants")).unwrap() {
        let list: toml::Table = fs::read_to_string(list.unwrap().path()).unwrap().parse().unwrap();
        for mutant in list["mutant"].as_array().unwrap() {
            let word = |key: &str| mutant[key].as_str().unwrap();
            let text = fs::read_to_string(root().join(word("file"))).unwrap();
            let count = text.matches(word("old")).count();
            mutants += 1;
            if count != 1 {
                faults.push(format!("{}: its text stands {count} times in {}", word("name"), word("file")));
            }
        }
    }
    assert!(mutants > 100, "only {mutants} mutants");
    assert!(faults.is_empty(), "{faults:#?}");
}

mod samples {
    use super::{circles, faults_in};

    #[track_caller]
    fn caught(path: &str, text: &str, needle: &str) {
        let faults = faults_in(path, text);
        assert!(
            faults.iter().any(|f| f.contains(needle)),
            "nothing said {needle:?} about {path}; said: {faults:?}"
        );
    }

    #[track_caller]
    fn fine(path: &str, text: &str) {
        let faults = faults_in(path, text);
        assert!(faults.is_empty(), "{path} has no fault, yet: {faults:?}");
    }

    #[test]
    fn a_file_without_a_module_doc_is_caught() {
        caught("src/clock.rs", "use std::fmt;\n", "opens with //!");
    }

    #[test]
    fn a_method_named_by_a_literal_is_caught() {
        let text = "//! X.\nfn a(b: &str) -> bool { b == \"tools/call\" }\n";
        caught("src/node.rs", text, "`mcp::Method`");
        fine("src/mcp/method.rs", text);
        fine("tests/edge/wire.rs", text);
    }

    #[test]
    fn a_doc_that_begins_with_a_pronoun_is_caught() {
        caught("src/node.rs", "//! X.\n/// What bounds it.\nstruct A;\n", "not with What");
        fine("src/node.rs", "//! X.\n/// Bounds of the node: what may wait.\nstruct A;\n");
    }

    #[test]
    fn files_that_need_each_other_are_caught() {
        let files = |uses: &[(&str, &str)]| -> circles::Files {
            uses.iter().map(|(file, path)| ((*file).to_owned(), vec![(*path).to_owned()])).collect()
        };
        let chain = files(&[("a", "crate::b::B"), ("b", "crate::{c::C, d}"), ("c", "std::fmt")]);
        assert_eq!(circles::faults("raft/src/", &[], &chain), Vec::<String>::new());
        let circle = files(&[("a", "crate::b::B"), ("b", "crate::{c::C, d}"), ("c", "super::a")]);
        assert_eq!(circles::faults("raft/src/", &[], &circle).len(), 3);
        assert_eq!(circles::faults("raft/src/", &["a", "b", "c"], &circle), Vec::<String>::new());
    }

    #[test]
    fn a_mod_rs_is_caught() {
        caught("src/cli/mod.rs", "//! X.\n", "not mod.rs");
        fine("tests/common/mod.rs", "//! X.\n");
    }

    #[test]
    fn a_file_is_too_long_at_401_lines_and_tests_do_not_count() {
        let code = |n: usize| format!("//! X.\n{}", "// y\n".repeat(n - 1));
        fine("src/clock.rs", &code(400));
        caught("src/clock.rs", &code(401), "401 lines");
        fine(
            "src/clock.rs",
            &format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", code(400), "// z\n".repeat(90)),
        );
    }

    #[test]
    fn a_function_is_too_long_at_71_lines() {
        let code = |n: usize| format!("//! X.\nfn a() -> [u8; 2] {{\n{}}}\n", "    b();\n".repeat(n - 2));
        fine("src/clock.rs", &code(70));
        caught("src/clock.rs", &code(71), "fn a has 71 lines");
    }

    #[test]
    fn a_line_is_too_long_at_111_columns() {
        fine("src/clock.rs", &format!("//!{}\n", "é".repeat(107)));
        caught("src/clock.rs", &format!("//!{}\n", "é".repeat(108)), "111 columns");
    }

    #[test]
    fn unwrap_and_expect_are_caught_outside_tests_only() {
        caught("src/clock.rs", "//! X.\nfn a() { b().unwrap(); }\n", ".unwrap()");
        caught("src/clock.rs", "//! X.\nfn a() { b().expect(\"c\"); }\n", ".expect(");
        fine("src/clock.rs", "//! X.\n// .unwrap()\nfn a() { b(\".unwrap()\"); }\n");
        fine("src/clock.rs", "//! X.\n#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}\n");
        fine("tests/a.rs", "//! X.\nfn a() { b().unwrap(); }\n");
    }

    #[test]
    fn printing_outside_the_cli_is_caught() {
        caught("src/node.rs", "//! X.\nfn a() { println!(\"b\"); }\n", "only src/cli prints");
        caught("src/node.rs", "//! X.\nfn a() { eprint!(\"b\"); }\n", "only src/cli prints");
        fine("src/cli/status.rs", "//! X.\nfn a() { println!(\"b\"); }\n");
    }

    #[test]
    fn glob_imports_are_caught() {
        caught("src/node.rs", "//! X.\nuse std::io::{self,\n    prelude::*};\n", "no glob imports");
        caught("src/node.rs", "//! X.\npub use std::io::*;\n", "no glob imports");
        caught("tests/a.rs", "//! X.\nuse std::io::*;\n", "no glob imports");
        fine("src/node.rs", "//! X.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n");
        fine("raft/ledger/tests/laws.rs", "//! X.\nuse proptest::prelude::*;\n");
    }

    #[test]
    fn reading_a_clock_is_caught_outside_clock_files() {
        caught("src/node.rs", "//! X.\nfn a() { std::time::Instant::now(); }\n", "time is an argument");
        caught("storage/src/db.rs", "//! X.\nfn a() { SystemTime::now(); }\n", "time is an argument");
        fine("src/clock.rs", "//! X.\nfn a() { SystemTime::now(); }\n");
        fine("raft/src/clock.rs", "//! X.\nfn a() { Instant::now(); }\n");
    }

    #[test]
    fn unbounded_channels_are_caught() {
        caught("src/node.rs", "//! X.\nfn a() { tokio::sync::mpsc::unbounded_channel(); }\n", "named limit");
        caught("src/node.rs", "//! X.\nfn a() { std::sync::mpsc::channel(); }\n", "named limit");
        fine("src/node.rs", "//! X.\nfn a() { tokio::sync::mpsc::channel(8); }\n");
    }

    #[test]
    fn confined_dependencies_are_caught_elsewhere() {
        caught("src/node.rs", "//! X.\nuse sled::Db;\n", "sled may be named only in");
        caught("storage/src/log.rs", "//! X.\nfn a(b: openraft::Vote) {}\n", "openraft may be named only in");
        caught("src/handler.rs", "//! X.\nuse axum::Router;\n", "axum may be named only in");
        caught("src/admission/gate.rs", "//! X.\nuse governor::Quota;\n", "governor may be named only in");
        fine("src/admin/health.rs", "//! X.\nuse axum::Router;\n");
        fine("raft/src/types.rs", "//! X.\nuse openraft::Vote;\n");
        fine("tests/e2e/client.rs", "//! X.\nuse axum::Router;\n");
        fine("src/clock.rs", "//! X.\nfn a(sled: u8) { b(sled) }\n");
    }

    #[test]
    fn crates_that_import_upwards_are_caught() {
        caught(
            "raft/ledger/src/lib.rs",
            "//! X.\nuse erlmcp_storage::Db;\n",
            "must not import erlmcp_storage",
        );
        caught("storage/src/lib.rs", "//! X.\nuse erlmcp_raft::Node;\n", "must not import erlmcp_raft");
        fine("raft/src/lib.rs", "//! X.\nuse erlmcp_storage::Db;\n");
    }

    #[test]
    fn imports_against_the_layers_are_caught() {
        caught("src/mcp/parse.rs", "//! X.\nuse crate::router::Route;\n", "layer");
        caught("src/mcp.rs", "//! X.\nuse super::router::Route;\n", "layer");
        caught("src/session/id.rs", "//! X.\nuse crate::{clock, exchange::Exchange};\n", "layer");
        caught("src/session/id.rs", "//! X.\nuse crate::admission::Gate;\n", "same row");
        caught("src/handler/tools.rs", "//! X.\nfn a() { crate::transport::b(); }\n", "layer");
        caught("src/gadget.rs", "//! X.\n", "not in the layer table");
        caught("src/node.rs", "//! X.\nuse crate::gadget::A;\n", "not in the layer table");
        fine("src/session/id.rs", "//! X.\nuse crate::mcp::Era;\nuse crate::session::table::Table;\n");
        fine("src/mcp/parse.rs", "//! X.\n#[cfg(test)]\nmod tests {\n    use crate::router::Route;\n}\n");
        fine("src/main.rs", "//! X.\nuse erlmcp::cli::Cli;\n");
    }

    #[test]
    fn unfinished_work_is_caught() {
        caught("src/clock.rs", concat!("//! X.\n// TO", "DO: later\n"), "finish it");
        caught("src/clock.rs", "//! X.\nfn a() { todo!() }\n", "no");
    }
}
