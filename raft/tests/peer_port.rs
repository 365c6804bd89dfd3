//! The peer port on the wire: what it lets through, what it turns away, and in which order.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::Incarnation;
use erlmcp_raft::{
    ClusterSecret, NodeTag, PeerAuth, PeerChannel, PeerClient, PeerClock, PeerError, PeerReply, PeerRoutes,
    PeerServer, Target,
};
use futures_util::FutureExt as _;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TIME: Duration = Duration::from_secs(20);
const SECRET: &str = "0123456789abcdef:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "0123456789abcdef:00000000000000000000000000000000000000000000000000000000000000ff";

fn tag(id: u64) -> NodeTag {
    NodeTag { id, incarnation: Incarnation::new(u128::from(id)) }
}

fn auth(id: u64, secret: &str) -> PeerAuth {
    PeerAuth::new(ClusterSecret::from_text(secret).unwrap(), tag(id), PeerClock::start())
}

/// A server of node 2 that answers `/echo` with the sender's id and the body's length, and its target.
fn serve() -> (PeerServer, Target) {
    let echo = |request: erlmcp_raft::PeerRequest| {
        async move { PeerReply::json(&(request.from.id, request.body.len())) }.boxed()
    };
    let stream = axum::Router::new().route(
        "/relay/{what}",
        axum::routing::post(|from: axum::Extension<NodeTag>, body: String| async move {
            format!("{} from {}", body.to_uppercase(), from.0.id)
        }),
    );
    let routes = PeerRoutes::default().post("/echo", 10, echo).mount("/relay/", 1_000, stream);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = PeerServer::start(listener, auth(2, SECRET), routes).unwrap();
    let target = Target { address: server.address().to_string(), node: Some(tag(2)) };
    (server, target)
}

async fn post(
    client: &PeerClient,
    target: &Target,
    path: &str,
    body: &'static [u8],
) -> Result<Bytes, PeerError> {
    client.post(target, PeerChannel::Control, path, Bytes::from_static(body), TIME).await
}

fn code(outcome: Result<Bytes, PeerError>) -> String {
    match outcome {
        Err(PeerError::Refused { code, .. }) => code,
        // The receiver cannot sign for one who holds another secret.
        Err(PeerError::Unproven { code, .. }) => format!("unproven {code}"),
        other => panic!("not refused: {other:?}"),
    }
}

/// Sends bytes and reads until the other side closes or pauses after an answer.
async fn raw(target: &Target, request: &str) -> String {
    let mut stream = TcpStream::connect(&target.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(TIME, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// The head of a signed request to `/echo`, for a body of two bytes.
fn signed(body: &str) -> String {
    let headers = auth(1, SECRET).sign("POST", "/echo", body.as_bytes(), Some(tag(2)), 0).unwrap();
    let mut head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n".to_owned();
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head + "\r\n"
}

#[tokio::test]
async fn a_peer_is_served_and_named_and_mounted_routes_are_too() {
    let (server, target) = serve();
    let client = PeerClient::new(auth(1, SECRET));
    assert_eq!(post(&client, &target, "/echo", b"0123456789").await.unwrap(), "[1,10]");
    assert_eq!(post(&client, &target, "/relay/x?y=z", b"hello").await.unwrap(), "HELLO from 1");
    assert_eq!(code(post(&client, &target, "/nowhere", b"").await), "no_route");
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_of_its_route_is_refused_before_the_sender_is_known() {
    let (server, target) = serve();
    let client = PeerClient::new(auth(1, SECRET));
    assert_eq!(code(post(&client, &target, "/echo", b"0123456789+").await), "too_large");
    let stranger = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n";
    assert!(raw(&target, stranger).await.starts_with("HTTP/1.1 413"));
    let endless = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(raw(&target, endless).await.starts_with("HTTP/1.1 413"));
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_is_refused_before_its_body_is_read() {
    let (server, target) = serve();
    // The body never comes, and yet there is an answer.
    let answer = raw(&target, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("unsigned"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn another_cluster_another_secret_and_another_node_are_told_apart() {
    let (server, target) = serve();
    let other_cluster = PeerClient::new(auth(1, "quite another secret of another cluster"));
    assert_eq!(code(post(&other_cluster, &target, "/echo", b"").await), "unproven other_cluster");
    let other_secret = PeerClient::new(auth(1, OTHER_KEY));
    assert_eq!(code(post(&other_secret, &target, "/echo", b"").await), "unproven wrong_secret");
    let client = PeerClient::new(auth(1, SECRET));
    let other_node = Target { node: Some(tag(3)), ..target };
    assert_eq!(code(post(&client, &other_node, "/echo", b"").await), "misdirected");
    server.stop().await;
}

/// Answers every request with `answer`, whoever asks.
async fn stranger(answer: String) -> Target {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Target { address, node: Some(tag(2)) }
}

#[tokio::test]
async fn whoever_answers_in_the_place_of_a_dead_peer_is_not_believed() {
    let client = PeerClient::new(auth(1, SECRET));
    for (status, body) in [("200 OK", r#""Success""#), ("410 Gone", r#"{"error":"removed","message":"go"}"#)]
    {
        let length = body.len();
        let target = stranger(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")).await;
        for node in [target.node, None] {
            let error = post(&client, &Target { node, ..target.clone() }, "/echo", b"").await.unwrap_err();
            assert!(matches!(error, PeerError::Unproven { .. }) && !error.is_harmless(), "{error}");
            assert!(error.code().is_none(), "a stranger's word decides nothing: {error}");
        }
    }
}

#[tokio::test]
async fn an_answer_recorded_from_a_peer_is_no_answer_to_the_next_request() {
    let (server, target) = serve();
    let recorded = raw(&target, &format!("{}hi", signed("hi"))).await;
    assert!(recorded.contains("erlmcp-signature"), "{recorded}");
    server.stop().await;
    let client = PeerClient::new(auth(1, SECRET));
    let error = post(&client, &stranger(recorded).await, "/echo", b"hi").await.unwrap_err();
    assert!(matches!(error, PeerError::Unproven { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_whose_body_was_altered_is_not_taken() {
    let (server, target) = serve();
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = Target { address: proxy.local_addr().unwrap().to_string(), ..target.clone() };
    tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut peer = TcpStream::connect(&target.address).await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = client.read(&mut bytes).await.unwrap();
        peer.write_all(&bytes[..read]).await.unwrap();
        let read = peer.read(&mut bytes).await.unwrap();
        let altered = String::from_utf8_lossy(&bytes[..read]).replace("[1,2]", "[9,2]");
        client.write_all(altered.as_bytes()).await.unwrap();
    });
    let error = post(&PeerClient::new(auth(1, SECRET)), &between, "/echo", b"hi").await.unwrap_err();
    assert!(matches!(error, PeerError::Lost { .. }), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_sent_twice_on_the_wire_is_answered_once() {
    let (server, target) = serve();
    let request = format!("{}hi", signed("hi"));
    assert!(raw(&target, &request).await.starts_with("HTTP/1.1 200"));
    let again = raw(&target, &request).await;
    assert!(again.starts_with("HTTP/1.1 401") && again.contains("replayed"), "{again}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_altered_on_the_way_is_refused() {
    let (server, target) = serve();
    let altered = raw(&target, &format!("{}ho", signed("hi"))).await;
    assert!(altered.starts_with("HTTP/1.1 401") && altered.contains("tampered"), "{altered}");
    server.stop().await;
}

#[tokio::test]
async fn a_peer_whose_clock_is_an_hour_off_corrects_itself() {
    let (server, target) = serve();
    for off_ms in [3_600_000, -3_600_000] {
        let clock = PeerClock::start_off_by(off_ms);
        let auth = PeerAuth::new(ClusterSecret::from_text(SECRET).unwrap(), tag(1), clock);
        let client = PeerClient::new(auth);
        for _ in 0..2 {
            assert_eq!(post(&client, &target, "/echo", b"").await.unwrap(), "[1,0]");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn junk_is_answered_or_closed_and_the_port_lives_on() {
    let (server, target) = serve();
    for junk in
        ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST /echo HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
    {
        let answer = raw(&target, junk).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let huge = format!("POST /echo HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let answer = raw(&target, &huge).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let client = PeerClient::new(auth(1, SECRET));
    assert_eq!(post(&client, &target, "/echo", b"").await.unwrap(), "[1,0]");
    server.stop().await;
}

#[tokio::test]
async fn nobody_there_is_harmless_and_nobody_answering_is_not() {
    let client = PeerClient::new(auth(1, SECRET));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let outcome = post(&client, &Target { address: closed, node: None }, "/echo", b"").await.unwrap_err();
    assert!(matches!(outcome, PeerError::Unreachable { .. }) && outcome.is_harmless(), "{outcome}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target { address: silent.local_addr().unwrap().to_string(), node: None };
    let sent = client.post(&target, PeerChannel::Control, "/echo", Bytes::new(), Duration::from_millis(50));
    let outcome = sent.await.unwrap_err();
    assert!(matches!(outcome, PeerError::Lost { .. }) && !outcome.is_harmless(), "{outcome}");
}

#[tokio::test]
async fn a_refusal_carries_its_status() {
    let refuse = |_: erlmcp_raft::PeerRequest| {
        async { PeerReply::refuse(StatusCode::CONFLICT, "taken", "it is taken") }.boxed()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let routes = PeerRoutes::default().post("/no", 0, refuse);
    let server = PeerServer::start(listener, auth(2, SECRET), routes).unwrap();
    let target = Target { address: server.address().to_string(), node: None };
    let outcome = post(&PeerClient::new(auth(1, SECRET)), &target, "/no", b"").await.unwrap_err();
    let PeerError::Refused { status, code, message, .. } = outcome else { panic!("{outcome}") };
    assert_eq!((status, code.as_str(), message.as_str()), (StatusCode::CONFLICT, "taken", "it is taken"));
    server.stop().await;
}
