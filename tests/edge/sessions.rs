//! Sessions and the bytes they keep run out for nobody but the address that holds most.

use std::net::IpAddr;

use serde_json::json;

use crate::fake::request;
use crate::server::{Server, initialize};
use crate::wire::Wire;

const HOSTILE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const VERSION: &str = "2025-11-25";

/// Opens a session from the hostile address.
async fn hostile_session(server: &Server, body: &str) -> String {
    let answer = Wire::connect_from(HOSTILE, server.address).await.post(&[], body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("mcp-session-id").unwrap().to_owned()
}

async fn ping(server: &Server, session: &str) -> u16 {
    server.wire().await.legacy(session, &request(1, "ping", &json!({}))).await.status
}

#[tokio::test]
async fn one_address_that_takes_all_sessions_loses_its_own_and_locks_nobody_out() {
    let server = Server::with(|config| config.session.per_node_max = 4).await;
    let honest = server.session().await;
    let with_stream = hostile_session(&server, &initialize(VERSION)).await;
    let mut stream = server.wire().await;
    stream.send_other("GET", &[("accept", "text/event-stream"), ("mcp-session-id", &with_stream)]).await;
    assert_eq!(stream.head().await.status, 200);
    let idle = hostile_session(&server, &initialize(VERSION)).await;
    hostile_session(&server, &initialize(VERSION)).await;
    let newcomer = server.session().await;
    for (session, status) in [(&honest, 200), (&newcomer, 200), (&with_stream, 200), (&idle, 404)] {
        assert_eq!(ping(&server, session).await, status, "{session}");
    }
    let totals = server.edge.exchange().recorder().totals();
    assert_eq!((totals.sessions, totals.sessions_displaced), (4, 1));
}

#[tokio::test]
async fn a_thousand_large_descriptions_keep_no_more_than_the_budget() {
    const BUDGET: usize = 262_144;
    let server = Server::with(|config| config.session.bytes_max = BUDGET).await;
    let honest = server.session().await;
    let large = json!({
        "protocolVersion": VERSION,
        "capabilities": { "experimental": { "x": "x".repeat(16_000) } },
        "clientInfo": { "name": "n".repeat(4_000), "version": "1" },
    });
    let large = request(1, "initialize", &large);
    let mut wire = Wire::connect_from(HOSTILE, server.address).await;
    for _ in 0..1_000 {
        assert_eq!(wire.post(&[], &large).await.status, 200);
        let kept = server.edge.exchange().sessions().kept_bytes();
        assert!(kept <= BUDGET, "{kept} bytes are kept");
    }
    assert_eq!(ping(&server, &honest).await, 200);
    assert!(server.edge.exchange().sessions().len() < 20);
}

#[tokio::test]
async fn who_reads_a_stream_in_each_session_is_refused_subscriptions_beyond_the_budget() {
    let server = Server::with(|config| config.session.bytes_max = 65_536).await;
    let session = server.session().await;
    let mut stream = server.wire().await;
    stream.send_other("GET", &[("accept", "text/event-stream"), ("mcp-session-id", &session)]).await;
    assert_eq!(stream.head().await.status, 200);
    let mut wire = server.wire().await;
    let mut refused = None;
    for number in 0..20 {
        let uri = format!("test://{number}/{}", "x".repeat(8_000));
        let answer =
            wire.legacy(&session, &request(number, "resources/subscribe", &json!({ "uri": uri }))).await;
        if answer.json().get("error").is_some() {
            refused = Some((number, answer));
            break;
        }
    }
    let (number, answer) = refused.expect("no end to subscriptions");
    assert_eq!((number, answer.fault().1), (8, 50_308), "{answer:?}");
    assert!(answer.body.contains("session.bytes_max"), "{answer:?}");
    assert_eq!(server.edge.exchange().recorder().refusals()["session_bytes_full"], 1);
}
