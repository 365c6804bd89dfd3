//! Children die with the node, also when it is killed with -9.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{Client, SOON, eventually, fake, is_alive, kill_9, now_unix_ms};
use erlmcp::upstream::{UpstreamDeps, Upstreams};
use tokio::io::{AsyncBufReadExt, BufReader};

fn through_the_launcher() -> UpstreamDeps {
    UpstreamDeps { launcher: Some(vec![env!("CARGO_BIN_EXE_erlmcp-node").into()]), now_unix_ms }
}

#[tokio::test]
async fn a_child_behind_the_launcher_is_the_command_itself() {
    let upstreams = Upstreams::start(vec![fake("up", &[])], &through_the_launcher()).unwrap();
    let provider = upstreams.providers().remove(0);
    let pids = Client::legacy().call(&provider, "pids", "{}").await.result();
    assert_eq!(pids["pid"].as_u64().unwrap(), u64::from(upstreams.health()[0].pids[0]));
    upstreams.stop().await;
    assert!(!is_alive(pids["pid"].as_u64().unwrap()));
}

/// The part of the node, run in a process of its own by the test below.
#[tokio::test]
#[ignore = "a role in another test"]
async fn node_role() {
    let upstreams = Upstreams::start(vec![fake("up", &["--stay"])], &through_the_launcher()).unwrap();
    let provider = upstreams.providers().remove(0);
    let pids = Client::legacy().call(&provider, "pids", "{}").await.result();
    println!("child {}", pids["pid"]);
    tokio::time::sleep(Duration::from_secs(600)).await;
}

#[tokio::test]
async fn a_child_is_gone_after_kill_9_of_the_node() {
    let mut node = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "launcher::node_role", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let child = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, pid)) = line.split_once("child ") {
                return pid.parse::<u64>().unwrap();
            }
        }
        panic!("the node ended");
    };
    let child = tokio::time::timeout(SOON, child).await.unwrap();
    assert!(is_alive(child));
    // The end of its stdin does not end it: it was told to stay.
    kill_9(u64::from(node.id().unwrap()));
    eventually("the child is gone", || !is_alive(child)).await;
    node.wait().await.unwrap();
}
