//! `scripts/start-cluster.sh` where no node is needed: usage, and whom it may never signal.
//!
//! That a cluster forms and stops through the script is shown end to end with real nodes elsewhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot start the script has failed")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn script(dir: &Path, verb: &str, set: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new("bash");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ERLMCP_")) {
        command.env_remove(name);
    }
    let output = command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/start-cluster.sh"))
        .args(verb.split_whitespace())
        .env("ERLMCP_DATA_DIR", dir.join("data"))
        .env("ERLMCP_LOG_DIR", dir.join("logs"))
        .env("ERLMCP_BIN", env!("CARGO_BIN_EXE_erlmcp-node"))
        .envs(set.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// A process that is not a node, ended when the test ends.
struct Bystander(Child);

impl Bystander {
    fn new(name: &[&str]) -> Self {
        // `exec -a` gives a sleeping process any command line.
        let command = format!("exec -a '{}' sleep 60", name.join(" "));
        Bystander(Command::new("bash").args(["-c", &command]).spawn().unwrap())
    }

    fn ticks(&self) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(19).unwrap().to_string()
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_pid(dir: &Path, pid: u32, ticks: &str) {
    fs::create_dir_all(dir.join("logs")).unwrap();
    fs::write(dir.join("logs/node1.pid"), format!("{pid} {ticks}\n")).unwrap();
}

#[test]
fn wrong_usage_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    for (verb, set) in [
        ("", ("ERLMCP_NODES", "4")),
        ("frobnicate", ("ERLMCP_NODES", "4")),
        ("start", ("ERLMCP_NODES", "0")),
        ("start", ("ERLMCP_NODES", "many")),
        ("start", ("ERLMCP_PORT_BASE", "80")),
        ("stop", ("ERLMCP_STOP_TIMEOUT_S", "-1")),
    ] {
        let (code, said) = script(dir.path(), verb, &[set]);
        assert_eq!(code, 2, "{verb} {set:?}: {said}");
    }
}

#[test]
fn stopping_nothing_is_done_and_status_says_3() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(script(dir.path(), "stop", &[]), (0, "no node runs\n".to_string()));
    let (code, said) = script(dir.path(), "status", &[("ERLMCP_NODES", "2")]);
    assert_eq!((code, said.as_str()), (3, "node 1  does not run\nnode 2  does not run\n"));
}

#[test]
fn a_binary_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = script(dir.path(), "start", &[("ERLMCP_BIN", "/nowhere/erlmcp-node")]);
    assert_eq!((code, said.contains("/nowhere/erlmcp-node cannot be run")), (1, true), "{said}");
}

#[test]
fn a_process_that_took_the_pid_of_a_node_is_not_signalled() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = Bystander::new(&["erlmcp-node", "start", "--id", "1"]);
    let ticks: u64 = other.ticks().parse().unwrap();
    write_pid(dir.path(), other.0.id(), &(ticks - 1).to_string());
    assert_eq!(script(dir.path(), "stop", &[]), (0, "no node runs\n".to_string()));
    assert!(other.is_running());
}

#[test]
fn a_process_that_is_no_node_is_not_signalled_whatever_the_pid_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = Bystander::new(&["editor", "node1.log"]);
    write_pid(dir.path(), other.0.id(), &other.ticks());
    assert_eq!(script(dir.path(), "stop", &[]), (0, "no node runs\n".to_string()));
    assert!(other.is_running());
}
