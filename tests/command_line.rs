//! The program as a user meets it: real processes, real exit codes, real output.
//!
//! Each test has its own empty working directory, so that no configuration of the machine leaks in, and
//! where a node has to answer a few lines of a server stand in for it.
#![allow(clippy::unwrap_used, reason = "a test that cannot start the program has failed")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

fn command(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_erlmcp-node"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ERLMCP_")) {
        command.env_remove(name);
    }
    command.args(line.split_whitespace()).current_dir(dir).stdin(Stdio::null());
    command
}

fn run(dir: &Path, line: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(dir, line).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Answers every request with `body` until the test ends, and hands on what was asked.
fn node(status: &'static str, body: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, seen) = std::sync::mpsc::sync_channel(64);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = vec![0; 65_536];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let _ = asked.try_send(String::from_utf8_lossy(&buffer[..n]).into_owned());
            let head =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (url, seen)
}

#[test]
fn wrong_usage_exits_2_and_help_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    for (line, code) in [("", 2), ("start", 2), ("frobnicate", 2), ("--help", 0), ("start --help", 0)] {
        assert_eq!(run(dir.path(), line).0, code, "{line}");
    }
    assert!(run(dir.path(), "--version").1.starts_with("erlmcp-node "));
}

#[test]
fn an_open_client_port_exits_78_with_one_line_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, error) = run(dir.path(), "start --id 1 --set http.listen=0.0.0.0:0");
    assert_eq!(code, 78);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("--insecure"), "{error}");
}

#[test]
fn a_bad_file_exits_1_and_names_file_key_value_and_range() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("config")).unwrap();
    std::fs::write(dir.path().join("config/cluster.toml"), "[connections]\nper_node = 0\n").unwrap();
    for line in ["config check", "start --id 1", "status"] {
        let (code, _, error) = run(dir.path(), line);
        assert_eq!(code, 1, "{line}");
        let wanted = "config/cluster.toml: connections.per_node is 0; it must be between 1 and 1000000";
        assert_eq!(error, format!("erlmcp-node: {wanted}\n"), "{line}");
    }
}

#[test]
fn a_bad_log_level_is_found_before_the_node_starts() {
    let dir = tempfile::tempdir().unwrap();
    for line in ["config check --set telemetry.log=loud", "start --id 1 --log loud"] {
        let (code, _, error) = run(dir.path(), line);
        assert!(code == 1 && error.contains("\"loud\" is no log level"), "{line}: {error}");
    }
}

#[test]
fn init_makes_a_node_once_and_says_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said, error) = run(dir.path(), "init --id 1");
    assert_eq!(code, 0, "{error}");
    assert!(said.ends_with("next: erlmcp-node start --id 1\n"), "{said}");
    let before = std::fs::read(dir.path().join("data/cluster1/identity.json")).unwrap();
    assert_eq!(run(dir.path(), "init --id 1").0, 0);
    assert_eq!(std::fs::read(dir.path().join("data/cluster1/identity.json")).unwrap(), before);
    let json: serde_json::Value = serde_json::from_str(&run(dir.path(), "init --id 1 --json").1).unwrap();
    assert_eq!(json["made"]["identity"], false);
}

#[test]
fn a_node_whose_open_files_leave_no_connection_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), "init --id 1").0, 0);
    let node =
        command(dir.path(), "start --id 1 --set http.listen=127.0.0.1:0 --set peer.listen=127.0.0.1:0");
    let args = node.get_args().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ");
    let line = format!("ulimit -n 256; exec timeout 20 {} {args}", node.get_program().to_str().unwrap());
    let mut limited = Command::new("sh");
    limited.args(["-c", &line]).current_dir(dir.path()).stdin(Stdio::null());
    let output = limited.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let wanted = "erlmcp-node: 256 open files less 256 for ourselves (connections.reserve_files) leave room \
                  for no client; raise the limit: ulimit -n, LimitNOFILE= (systemd), ulimits (Docker)\n";
    assert_eq!(error, wanted);
}

#[test]
fn a_node_that_was_never_initialised_says_how() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, error) = run(dir.path(), "start --id 3");
    assert_eq!(code, 1);
    let wanted = "erlmcp-node: data/cluster3 holds no node; make one: erlmcp-node init --id 3\n";
    assert_eq!(error, wanted);
}

#[test]
fn a_join_address_waits_for_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), "init --id 1").0, 0);
    assert_eq!(run(dir.path(), "init --id 9 --join 10.0.0.1:9201").0, 0);
    let kept = std::fs::read_to_string(dir.path().join("data/cluster9/join")).unwrap();
    assert_eq!(kept, "10.0.0.1:9201\n");
}

#[test]
fn status_draws_what_a_node_says_and_json_passes_it_through() {
    let dir = tempfile::tempdir().unwrap();
    let body = r#"{"cluster":{"name":"blue","formation":"forming 2/4","health":"ok"},"unknown":7}"#;
    let (url, _seen) = node("200 OK", body);
    let (code, said, _) = run(dir.path(), &format!("status --url {url}"));
    assert_eq!(code, 0);
    assert!(said.starts_with("blue  forming 2/4  ok\n"), "{said}");
    let (_, said, _) = run(dir.path(), &format!("status --json --url {url}"));
    assert_eq!(said, format!("{body}\n"));
}

#[test]
fn an_action_carries_the_token_and_a_refusal_is_told() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), "init --id 1").0, 0);
    let token = std::fs::read_to_string(dir.path().join("data/cluster1/admin.token")).unwrap();
    let (url, seen) = node("409 Conflict", r#"{"error":"node 2 is the last voter"}"#);
    let (code, _, error) = run(dir.path(), &format!("remove --id 2 --dead --url {url}"));
    assert_eq!(code, 1);
    assert_eq!(error, format!("erlmcp-node: {url} says 409: node 2 is the last voter\n"));
    assert!(!error.contains(token.trim()));
    let request = seen.iter().find(|request| request.starts_with("POST")).unwrap();
    assert!(request.starts_with("POST /cluster/remove "), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {}", token.trim())), "{request}");
}

#[test]
fn the_word_that_a_dead_node_does_not_run_is_passed_on_and_else_left_out() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), "init --id 1").0, 0);
    let (url, seen) = node("200 OK", r#"{"node":2,"removed":true}"#);
    for (flags, body) in
        [("--dead", r#"{"dead":true,"node":2}"#), ("--dead --now", r#"{"dead":true,"node":2,"now":true}"#)]
    {
        assert_eq!(run(dir.path(), &format!("remove --id 2 {flags} --url {url}")).0, 0);
        let request = seen.iter().find(|request| request.starts_with("POST")).unwrap();
        assert!(request.ends_with(body), "{request}");
    }
    let (code, _, error) = run(dir.path(), &format!("remove --id 2 --now --url {url}"));
    assert!(code == 2 && error.contains("--dead"), "{error}");
}

#[test]
fn the_limit_is_set_and_what_follows_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), "init --id 1").0, 0);
    let answer = r#"{"connections_before":9,"connections":5,"lease_ms_before":30000,"lease_ms":"never",
        "granted":7,"in_use":6,"notices":["nobody is shed"]}"#;
    let (url, seen) = node("200 OK", answer);
    let (code, said, _) = run(dir.path(), &format!("quota set --connections 5 --lease-ms never --url {url}"));
    let wanted = "limit 5 (was 9), lease never (was 30 s); 7 granted and 6 in use now\nnobody is shed\n";
    assert_eq!((code, said.as_str()), (0, wanted));
    let request = seen.iter().find(|request| request.starts_with("POST")).unwrap();
    assert!(request.starts_with("POST /cluster/quota "), "{request}");
    assert!(request.ends_with(r#"{"connections":5,"lease_ms":"never"}"#), "{request}");
}

#[test]
fn healthcheck_exits_0_when_ready_and_1_when_not_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, _seen) = node("200 OK", "{}");
    assert_eq!(run(dir.path(), &format!("healthcheck --url {ready}")).0, 0);
    let (busy, _seen) = node("503 Service Unavailable", "no leader");
    let (code, _, error) = run(dir.path(), &format!("healthcheck --url {busy}"));
    assert!(code == 1 && error.contains("not ready (503): no leader"), "{error}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, error) = run(dir.path(), &format!("healthcheck --url http://{gone}"));
    assert_eq!(code, 1);
    assert!(error.contains(&format!("no node answers at http://{gone} (connection refused)")), "{error}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command(dir.path(), "config show --defaults")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[test]
fn the_defaults_that_are_shown_are_a_sound_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text, _) = run(dir.path(), "config show --defaults");
    assert_eq!(code, 0);
    std::fs::write(dir.path().join("all.toml"), text).unwrap();
    assert_eq!(run(dir.path(), "config check --config all.toml").0, 0);
    let (_, shown, _) = run(dir.path(), "config show --json raft --config all.toml");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown.as_array().unwrap().iter().all(|row| row["from"] == "all.toml"));
}

#[test]
fn doctor_reports_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let (_, said, _) = run(dir.path(), "doctor --json --set cluster.port_base=41000");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let names: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| f["name"].clone()).collect();
    for name in ["open files", "durable write", "free space", "memory", "processors", "backlog", "HTTP port"]
    {
        assert!(names.contains(&name.into()), "{name} is missing in {names:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, text, _) = run(dir.path(), &format!("completions {shell}"));
        assert!(code == 0 && text.contains("transfer-leader"), "{shell}");
    }
}
