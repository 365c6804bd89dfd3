//! Behind proxies: whose word about the client's address counts, over real connections.

use crate::server::{Server, initialize};
use crate::wire::Wire;

/// A node that trusts who connects from this machine, and a second proxy before that one.
async fn behind_proxies(connections_max: u32) -> Server {
    Server::with(|config| {
        config.http.trusted_proxies = vec!["127.0.0.0/8".to_owned(), "10.0.0.0/8".to_owned()];
        config.http.connections_max = connections_max;
    })
    .await
}

/// Address that the node takes for the sender of a request.
async fn client(wire: &mut Wire, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
    wire.send(&format!("GET /cluster/client HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n")).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn each_request_of_a_proxys_connection_has_its_own_client() {
    let server = behind_proxies(8).await;
    let mut wire = server.wire().await;
    assert_eq!(client(&mut wire, &["203.0.113.7"]).await, "203.0.113.7");
    assert_eq!(client(&mut wire, &["[2001:db8::8]:99, 10.0.0.2"]).await, "2001:db8::8");
    assert_eq!(client(&mut wire, &[]).await, "127.0.0.1");
    // Two lines, of which the client wrote the first to look like another.
    assert_eq!(client(&mut wire, &["198.51.100.1, 10.0.0.9", "203.0.113.7, 10.0.0.2"]).await, "203.0.113.7");
}

#[tokio::test]
async fn without_trusted_proxies_a_client_is_who_connects() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    assert_eq!(client(&mut wire, &["203.0.113.7"]).await, "127.0.0.1");
}

#[tokio::test]
async fn a_full_node_knows_its_operator_too() {
    let server = behind_proxies(1).await;
    let mut idle = server.wire().await;
    assert_eq!(idle.post(&[], &initialize("2025-11-25")).await.status, 200);
    let mut wire = server.wire().await;
    assert_eq!(client(&mut wire, &["198.51.100.1, 203.0.113.7, 10.0.0.2"]).await, "203.0.113.7");
    wire.closed().await;
}
