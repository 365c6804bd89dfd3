//! Streamable HTTP upstreams that behave, and some that lie.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use erlmcp::mcp::{Era, Event, LogLevel};
use erlmcp::upstream::{State, UpstreamOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake_http::{serve, serve_at};
use crate::support::{Client, SOON, at_url, catalog_where, eventually, fake, names, quick, start, start_one};

fn at(url: &str) -> UpstreamOptions {
    let headers = vec![("X-Api-Key".to_owned(), "hunter2".to_owned())];
    quick(UpstreamOptions { headers, ..at_url("web", url) })
}

#[tokio::test]
async fn results_pass_unchanged_in_both_eras_and_on_one_line() {
    let server = serve("legacy modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    for client in [Client::legacy(), Client::modern()] {
        let answer = client.call(&provider, "echo", "{}").await;
        let result = answer.outcome.unwrap();
        assert_eq!(result.get(), r#"{"content":[],"big":123456789012345678901234567890,"kept": 1.000}"#);
        let params = r#"{"name":"seen","zz":123456789012345678901234567890,"arguments":{"b":1.50,"a":[ ]}}"#;
        let seen = client.send(&provider, "tools/call", params).await.result()["text"].to_string();
        let kept = r#"\"zz\":123456789012345678901234567890,\"arguments\":{\"b\":1.50,\"a\":[ ]}"#;
        assert!(seen.contains(kept), "{seen}");
    }
    assert!(server.fake.seen.lock().unwrap().iter().all(|seen| seen.headers["x-api-key"] == "hunter2"));
    upstreams.stop().await;
}

#[tokio::test]
async fn modern_requests_carry_the_headers_that_their_bodies_imply() {
    let server = serve("modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    catalog_where(&provider, Era::Modern, |catalog| !catalog.tools.items.is_empty()).await;
    assert!(provider.catalog(Era::Legacy).is_none());
    Client::modern().call(&provider, "echo", r#"{"region":"Zürich","other":1}"#).await.result();
    let seen = server.fake.of_method("tools/call").remove(0);
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
        ("mcp-param-region", "=?base64?WsO8cmljaA==?="),
        ("accept", "application/json, text/event-stream"),
    ] {
        assert_eq!(seen.headers[name], value);
    }
    assert!(!seen.headers.contains_key("mcp-session-id"));
    upstreams.stop().await;
}

#[tokio::test]
async fn each_client_session_has_its_own_session_there_opened_as_the_client_opened_ours() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let (one, two) = (Client::legacy_with(r#"{"roots":{"listChanged":true}}"#), Client::legacy());
    let first = one.call(&provider, "seen", "{}").await.result();
    let second = two.call(&provider, "seen", "{}").await.result();
    assert_eq!(first["hello"]["capabilities"], json!({"roots": {"listChanged": true}}));
    assert_eq!(first["hello"]["clientInfo"]["name"], "tester");
    assert_ne!(first["key"], second["key"]);
    assert_eq!(one.call(&provider, "seen", "{}").await.result()["key"], first["key"]);
    assert_eq!((server.fake.session_count(), upstreams.health()[0].sessions), (3, 2));
    provider.session_ended(one.caller.session.as_ref().unwrap().key());
    eventually("the session there is ended", || server.fake.session_count() == 2).await;
    upstreams.stop().await;
    assert_eq!(server.fake.session_count(), 0);
    assert_eq!(server.fake.of_http(&Method::DELETE).len(), 3);
}

#[tokio::test]
async fn progress_logs_and_errors_pass_in_both_eras() {
    let server = serve("legacy modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    for mut client in [Client::legacy(), Client::modern()] {
        client.caller.log_level = Some(LogLevel::Debug);
        let answer = client.call_with_token(&provider, "progress", "\"t\"").await;
        assert_eq!((answer.text().as_str(), answer.methods()), ("done", vec!["notifications/progress"; 3]));
        assert!(answer.frames.iter().all(|frame| frame["params"]["progressToken"] == "t"));
        assert_eq!(client.call(&provider, "log", "{}").await.methods(), ["notifications/message"]);
        let fault = client.call(&provider, "fail", "{}").await;
        assert_eq!((fault.fault().code, &*fault.fault().message), (-32055, "I failed"));
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn modern_errors_keep_their_status_where_the_protocol_gives_it_meaning() {
    let server = serve("modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let client = Client::modern();
    for (tool, code, status) in [("bad", -32021, 400), ("gone", -32601, 404), ("fail", -32055, 200)] {
        let answer = client.call(&provider, tool, "{}").await;
        assert_eq!((answer.fault().code, answer.fault().status), (code, status), "{tool}");
    }
    let data = client.call(&provider, "bad", "{}").await.fault().data.clone().unwrap();
    assert_eq!(data.get(), r#"{"requiredCapabilities":{"sampling":{}}}"#);
    upstreams.stop().await;
}

#[tokio::test]
async fn questions_on_either_stream_are_put_to_the_client_and_answers_posted_back() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let client = Client::legacy()
        .answering(|_| Some(json!({"result": {"action": "accept", "content": {"name": "Ada"}}})));
    client.call(&provider, "echo", "{}").await.result();
    eventually("the GET streams are open", || server.fake.get_count() == 2).await;
    for tool in ["ask", "ask_on_get"] {
        let answer = client.call(&provider, tool, "{}").await.result();
        assert_eq!(answer["answered"]["result"]["content"]["name"], "Ada", "{tool}");
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn a_stream_closed_for_polling_hangs_up_on_the_client_and_the_result_still_comes() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let answer = Client::legacy().call(&provider, "poll", "{}").await;
    assert_eq!(answer.text(), "polled");
    assert_eq!(answer.frames, [json!({"hangup": 30})]);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_stream_cut_before_the_answer_is_one_error() {
    let server = serve("legacy modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    for client in [Client::legacy(), Client::modern()] {
        let answer = client.call(&provider, "cut", "{}").await;
        assert!(answer.fault().message.contains("closed the stream before the answer"), "{answer:?}");
        assert!(answer.fault().message.contains("\"web\""));
    }
    let answer = Client::legacy().call(&provider, "refuse", "{}").await;
    assert!(answer.fault().message.contains("HTTP 502"), "{answer:?}");
    assert_eq!((answer.fault().code, answer.fault().status), (-32603, 200));
    upstreams.stop().await;
}

#[tokio::test]
async fn lies_on_a_stream_are_counted_and_the_truth_arrives() {
    let server = serve("legacy modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    assert_eq!(Client::modern().call(&provider, "oversize", "{}").await.text(), "after");
    assert_eq!(upstreams.health()[0].counts.invalid, 1);
    let client = Client::legacy();
    // No id can be read, and on this stream there is one request: it is told.
    assert!(client.call(&provider, "lie", "{}").await.fault().message.contains("cannot be read"));
    assert_eq!(upstreams.health()[0].counts.unasked, 1);
    client.call(&provider, "echo", "{}").await.result();
    upstreams.stop().await;
}

#[tokio::test]
async fn a_cancelled_modern_call_closes_its_stream_and_a_legacy_one_is_told() {
    let server = serve("legacy modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    catalog_where(&provider, Era::Modern, |catalog| !catalog.tools.items.is_empty()).await;
    for client in [Client::modern(), Client::legacy()] {
        client.call(&provider, "echo", "{}").await.result();
        let stop = CancellationToken::new();
        let calls = server.fake.of_method("tools/call").len();
        let hanging = client.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
        let (answer, ()) = tokio::join!(hanging, async {
            eventually("the call arrived", || server.fake.of_method("tools/call").len() > calls).await;
            stop.cancel();
        });
        assert!(answer.outcome.is_err());
    }
    eventually("it was told", || server.fake.of_method("notifications/cancelled").len() == 1).await;
    let cancelled = server.fake.of_method("notifications/cancelled").remove(0);
    let hanging = server.fake.of_method("tools/call").pop().unwrap();
    assert_eq!(cancelled.body["params"]["requestId"], hanging.body["id"]);
    // What stays open: GET streams of two sessions and one listen stream.
    eventually("its stream is closed", || server.fake.streams_open.load(Ordering::SeqCst) <= 3).await;
    upstreams.stop().await;
}

#[tokio::test]
async fn a_session_forgotten_by_the_upstream_is_replaced_unseen() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let client = Client::legacy();
    *client.session().level.lock().unwrap() = Some(LogLevel::Warning);
    let first = client.call(&provider, "seen", "{}").await.result();
    client.send(&provider, "resources/subscribe", r#"{"uri":"fake://a"}"#).await.result();
    server.fake.forget_sessions();
    let second = client.call(&provider, "seen", "{}").await;
    if second.outcome.is_ok() {
        assert_ne!(first["key"], second.result()["key"]);
    }
    eventually("it is ready again", || upstreams.health()[0].state == State::Ready).await;
    assert_ne!(client.call(&provider, "seen", "{}").await.result()["key"], first["key"]);
    assert_eq!(server.fake.of_method("resources/subscribe").len(), 2);
    assert_eq!(server.fake.of_method("logging/setLevel").len(), 2);
    upstreams.stop().await;
}

#[tokio::test]
async fn announcements_on_get_and_listen_streams_grow_the_version() {
    let server = serve("legacy modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let client = Client::legacy();
    client.call(&provider, "echo", "{}").await.result();
    eventually("the streams are open", || server.fake.get_count() == 2 && server.fake.listener_count() == 1)
        .await;
    client.call(&provider, "grow", r#"{"name":"new"}"#).await.result();
    for era in [Era::Legacy, Era::Modern] {
        catalog_where(&provider, era, |catalog| names(catalog) == ["echo", "new"]).await;
    }
    let version = |era| provider.catalog(era).unwrap().borrow().tools.version;
    let (legacy, modern) = (version(Era::Legacy), version(Era::Modern));
    server.fake.say_to_listeners("notifications/tools/list_changed", json!({})).await;
    catalog_where(&provider, Era::Modern, |catalog| catalog.tools.version > modern).await;
    catalog_where(&provider, Era::Legacy, |catalog| catalog.tools.version > legacy).await;
    upstreams.stop().await;
}

#[tokio::test]
async fn a_resource_update_goes_to_the_session_that_it_was_sent_to() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let (one, two) = (Client::legacy(), Client::legacy());
    for client in [&one, &two] {
        client.call(&provider, "echo", "{}").await.result();
    }
    eventually("the GET streams are open", || server.fake.get_count() == 3).await;
    one.call(&provider, "touch", "{}").await.result();
    eventually("it is pushed", || !one.session().pushed.lock().unwrap().is_empty()).await;
    assert_eq!(one.session().pushed.lock().unwrap()[0]["method"], "notifications/resources/updated");
    assert!(two.session().pushed.lock().unwrap().is_empty());
    upstreams.stop().await;
}

#[tokio::test]
async fn what_modern_clients_listen_for_is_one_stream_and_its_updates_are_events() {
    let server = serve("modern").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let mut events = provider.events();
    let client = Client::modern();
    client.send(&provider, "resources/subscribe", r#"{"uri":"fake://a"}"#).await.result();
    eventually("it is listened for", || {
        let listens = server.fake.of_method("subscriptions/listen");
        let last = listens.last().map(|seen| seen.body["params"]["notifications"].clone());
        last == Some(json!({"toolsListChanged": true, "resourceSubscriptions": ["fake://a"]}))
    })
    .await;
    eventually("one stream is left", || server.fake.listener_count() == 1).await;
    server.fake.say_to_listeners("notifications/resources/updated", json!({"uri": "fake://a"})).await;
    let event = tokio::time::timeout(SOON, events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::ResourceUpdated { uri } if &*uri == "fake://a"));
    upstreams.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_answers_fast_and_comes_back_when_it_does() {
    let server = serve("legacy modern").await;
    let (url, port) = (server.url.clone(), server.port);
    server.stop().await;
    let mut options = at(&url);
    options.upstream.restart_max_ms = 60_000;
    let (upstreams, providers) = start(vec![options, fake("other", &[])]);
    eventually("it is down", || upstreams.health()[0].state == State::Down).await;
    let before = std::time::Instant::now();
    let answer = Client::legacy().call(&providers[0], "echo", "{}").await;
    assert!(before.elapsed() < Duration::from_millis(300), "{:?}", before.elapsed());
    assert!(answer.fault().message.contains("refused"), "{answer:?}");
    assert!(!answer.fault().message.contains("hunter2"));
    Client::legacy().call(&providers[1], "echo", "{}").await.result();
    let _server = serve_at("legacy modern", port).await;
    eventually("it is ready", || upstreams.health()[0].state == State::Ready).await;
    Client::legacy().call(&providers[0], "echo", "{}").await.result();
    upstreams.stop().await;
}

#[tokio::test]
async fn a_call_without_answer_ends_with_one_error_in_time() {
    let server = serve("legacy modern").await;
    let mut options = at(&server.url);
    options.upstream.timeout_ms = 300;
    let (upstreams, provider) = start_one(options);
    for client in [Client::legacy(), Client::modern()] {
        let answer = client.call(&provider, "hang", "{}").await;
        assert!(answer.fault().message.contains("no answer within 300 ms"), "{answer:?}");
    }
    eventually("the legacy one is cancelled", || server.fake.of_method("notifications/cancelled").len() == 1)
        .await;
    upstreams.stop().await;
}

#[tokio::test]
async fn a_clients_notification_reaches_its_own_session() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let client = Client::legacy();
    let key = client.call(&provider, "seen", "{}").await.result()["key"].clone();
    client.notify(&provider, "notifications/roots/list_changed");
    let heard = || server.fake.of_method("notifications/roots/list_changed");
    eventually("it arrives", || heard().len() == 1).await;
    assert_eq!(heard()[0].headers["mcp-session-id"].to_str().unwrap(), key.as_str().unwrap());
    upstreams.stop().await;
}

#[tokio::test]
async fn ten_thousand_notifications_take_one_socket_and_the_newest_arrive() {
    let server = serve("legacy gated").await;
    let (upstreams, provider) = start_one(at(&server.url));
    let client = Client::legacy();
    client.call(&provider, "seen", "{}").await.result();
    for number in 0..10_000 {
        let params = format!(r#"{{"progressToken":1,"progress":{number}}}"#);
        client.notify_with(&provider, "notifications/progress", &params);
        client.notify(&provider, "notifications/roots/list_changed");
    }
    let heard = |method: &str| server.fake.of_method(method);
    let all = || heard("notifications/progress").len() + heard("notifications/roots/list_changed").len();
    eventually("the first arrives", || all() == 1).await;
    // The others wait until it is answered.
    client.call(&provider, "seen", "{}").await.result();
    assert_eq!(all(), 1);
    eventually("the newest arrives", || {
        server.fake.gate.notify_one();
        heard("notifications/progress").last().is_some_and(|seen| seen.body["params"]["progress"] == 9_999)
    })
    .await;
    assert!(all() <= 17, "{} were sent", all());
    assert_eq!(heard("notifications/roots/list_changed").len(), 1, "the same one waits once");
    upstreams.stop().await;
}
