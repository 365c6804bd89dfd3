//! Messages of a shared upstream that do not say for whom, and calls that were given up: by symptom.

use std::time::Duration;

use erlmcp::upstream::Upstreams;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake_http::serve;
use crate::support::{Client, at_url, eventually, fake, quick, start_one};

/// A client that says `name` to whatever it is asked.
fn answering(name: &'static str) -> Client {
    Client::legacy()
        .answering(move |_| Some(json!({"result": {"action": "accept", "content": {"who": name}}})))
}

async fn runs(upstreams: &Upstreams, calls: usize) {
    eventually(&format!("{calls} calls run"), || upstreams.health()[0].running == calls).await;
}

#[tokio::test]
async fn a_question_of_a_cancelled_call_is_not_put_to_the_only_client_left() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let (alice, bob) = (answering("alice"), answering("bob"));
    let (alices, bobs) = (CancellationToken::new(), CancellationToken::new());
    let params = r#"{"name":"ask_late","arguments":{"key":"alice"}}"#;
    let asking = alice.send_until(&provider, "tools/call", params, alices.clone());
    let cancelling = async {
        runs(&upstreams, 1).await;
        // An answered call shows that the child has read what was sent before.
        bob.call(&provider, "echo", "{}").await.result();
        alices.cancel();
    };
    assert!(tokio::join!(asking, cancelling).0.outcome.is_err());
    // Now bob runs alone, as far as anybody waits; his second call makes the child ask for alice's.
    let hanging = bob.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, bobs.clone());
    let releasing = async {
        runs(&upstreams, 2).await;
        let answer = bob.call(&provider, "release", r#"{"key":"alice"}"#).await;
        bobs.cancel();
        answer
    };
    let (hung, released) = tokio::join!(hanging, releasing);
    assert!(hung.frames.is_empty() && released.frames.is_empty(), "{hung:?} {released:?}");
    let answer = bob.call(&provider, "asked", r#"{"key":"alice"}"#).await.result();
    let why = answer["refused"]["message"].to_string();
    assert!(why.contains("1 of them given up"), "{answer}");
    assert!(upstreams.health()[0].counts.unowned >= 1);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_log_line_of_one_client_reaches_no_other() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let (alice, bob) = (Client::legacy(), Client::legacy());
    bob.call(&provider, "echo", "{}").await.result();
    let stop = CancellationToken::new();
    let hanging = bob.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
    let logging = async {
        runs(&upstreams, 1).await;
        let answer = alice.call(&provider, "log", "{}").await;
        stop.cancel();
        answer
    };
    let (hung, logged) = tokio::join!(hanging, logging);
    assert!(hung.frames.is_empty() && logged.frames.is_empty(), "{hung:?} {logged:?}");
    assert!(bob.session().pushed.lock().unwrap().is_empty());
    assert_eq!(upstreams.health()[0].counts.unowned, 3);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_log_line_of_a_task_does_not_reach_the_only_client_that_waits() {
    let (upstreams, provider) = start_one(fake("up", &["--tasks"]));
    let (alice, bob) = (Client::legacy(), Client::legacy());
    alice.call(&provider, "work", r#"{"id":"t"}"#).await.result();
    // Nobody waits for alice's task just now, but the child is at it.
    assert!(bob.call(&provider, "log", "{}").await.frames.is_empty());
    assert_eq!(alice.call(&provider, "log", "{}").await.frames.len(), 3);
    alice.send(&provider, "tasks/cancel", r#"{"taskId":"t"}"#).await.result();
    assert_eq!(bob.call(&provider, "log", "{}").await.frames.len(), 3);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_question_of_a_task_over_http_is_not_put_to_the_only_client_that_waits() {
    let server = serve("legacy anonymous tasks").await;
    let web = at_url("web", &server.url);
    let (upstreams, provider) = start_one(quick(web));
    let (alice, bob) = (answering("alice"), answering("bob"));
    eventually("one stream is open for all", || server.fake.get_count() == 1).await;
    alice.call(&provider, "work", r#"{"id":"t"}"#).await.result();
    let asked = bob.call(&provider, "ask_on_get", "{}").await;
    assert!(asked.frames.is_empty() && asked.result()["answered"]["error"].is_object(), "{asked:?}");
    alice.send(&provider, "tasks/cancel", r#"{"taskId":"t"}"#).await.result();
    let asked = bob.call(&provider, "ask_on_get", "{}").await;
    assert_eq!(asked.result()["answered"]["result"]["content"]["who"], "bob");
    upstreams.stop().await;
}

#[tokio::test]
async fn a_log_line_while_nothing_runs_is_told_to_nobody() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let (alice, bob) = (Client::legacy(), Client::legacy());
    bob.call(&provider, "echo", "{}").await.result();
    alice.call(&provider, "log_after", "{}").await.result();
    eventually("the line is counted", || upstreams.health()[0].counts.unowned == 1).await;
    for client in [alice, bob] {
        assert!(client.session().pushed.lock().unwrap().is_empty());
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn a_client_that_runs_two_calls_is_asked_on_the_newest_ones_stream() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let alice = answering("alice");
    let stop = CancellationToken::new();
    let hanging = alice.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
    let asking = async {
        runs(&upstreams, 1).await;
        let answer = alice.call(&provider, "ask", "{}").await;
        stop.cancel();
        answer
    };
    let (hung, asked) = tokio::join!(hanging, asking);
    assert_eq!(asked.result()["answered"]["content"]["who"], "alice");
    assert_eq!((hung.frames.len(), asked.methods()), (0, vec!["elicitation/create"]));
    upstreams.stop().await;
}

#[tokio::test]
async fn the_end_of_a_page_is_told_to_the_session_that_was_sent_there() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let with_pages = || Client::legacy_with(r#"{"elicitation":{"url":{}}}"#);
    let alice = with_pages().answering(|_| Some(json!({"result": {"action": "accept"}})));
    let bob = with_pages();
    alice.call(&provider, "ask_url", "{}").await.result();
    bob.call(&provider, "page_done", r#"{"id":"e"}"#).await.result();
    let has_heard = || !alice.session().pushed.lock().unwrap().is_empty();
    eventually("alice hears of it", has_heard).await;
    assert_eq!(alice.session().pushed.lock().unwrap()[0]["params"]["elicitationId"], "e");
    assert!(bob.session().pushed.lock().unwrap().is_empty());
    upstreams.stop().await;
}

#[tokio::test]
async fn calls_that_were_given_up_keep_their_places_until_the_child_answers_or_for_a_while() {
    let mut options = fake("up", &[]);
    options.gateway.queue_requests_max = 2;
    options.gateway.client_percent_max = 100;
    options.abandoned_place_ms = 60_000;
    let (upstreams, provider) = start_one(options);
    let client = Client::legacy();
    let stop = CancellationToken::new();
    let params = r#"{"name":"ask_late","arguments":{"key":"x"}}"#;
    let hanging = client.send_until(&provider, "tools/call", params, stop.clone());
    let cancelling = async {
        runs(&upstreams, 1).await;
        client.call(&provider, "echo", "{}").await.result();
        stop.cancel();
    };
    tokio::join!(hanging, cancelling);
    assert_eq!(upstreams.health()[0].running, 1, "the child may still be at it");
    client.call(&provider, "finish", r#"{"key":"x"}"#).await.result();
    runs(&upstreams, 0).await;
    upstreams.stop().await;
}

#[tokio::test]
async fn the_place_of_a_call_that_is_never_answered_is_free_after_a_while() {
    let server = serve("legacy modern").await;
    let web = quick(at_url("web", &server.url));
    for (mut options, client) in
        [(fake("up", &[]), Client::legacy()), (web.clone(), Client::legacy()), (web, Client::modern())]
    {
        options.gateway.queue_requests_max = 1;
        options.abandoned_place_ms = 300;
        let (upstreams, provider) = start_one(options);
        client.call(&provider, "echo", "{}").await.result();
        let stop = CancellationToken::new();
        let hanging = client.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
        let cancelling = async {
            runs(&upstreams, 1).await;
            // What was never sent is not at the upstream; no event tells when it was.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
        };
        tokio::join!(hanging, cancelling);
        let refused = client.call(&provider, "echo", "{}").await;
        assert!(refused.fault().message.contains("1 requests are running"), "{refused:?}");
        runs(&upstreams, 0).await;
        client.call(&provider, "echo", "{}").await.result();
        upstreams.stop().await;
    }
}

#[tokio::test]
async fn a_child_that_never_answers_what_was_given_up_is_replaced_without_an_error() {
    let mut options = fake("up", &[]);
    options.abandoned_place_ms = 1;
    let (upstreams, provider) = start_one(options);
    let client = Client::legacy();
    let pid = client.call(&provider, "pids", "{}").await.result()["pid"].clone();
    let stop = CancellationToken::new();
    let calls =
        (0..300).map(|_| client.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone()));
    let cancelling = async {
        runs(&upstreams, 300).await;
        client.call(&provider, "echo", "{}").await.result();
        stop.cancel();
    };
    tokio::join!(futures_util::future::join_all(calls), cancelling);
    let mut now = pid.clone();
    while now == pid {
        now = client.call(&provider, "pids", "{}").await.result()["pid"].clone();
    }
    assert_eq!(upstreams.health()[0].counts.failures, 0);
    upstreams.stop().await;
}

#[tokio::test]
async fn nobody_waits_while_a_child_is_replaced_at_which_a_call_still_runs() {
    let mut options = fake("up", &[]);
    options.abandoned_place_ms = 1;
    let (upstreams, provider) = start_one(options);
    let (client, hostile) = (Client::legacy(), Client::from_address("127.0.0.2"));
    let pid = client.call(&provider, "pids", "{}").await.result()["pid"].clone();
    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let hang = r#"{"name":"hang"}"#;
    let runs_on = hostile.send_until(&provider, "tools/call", hang, end.clone());
    let calls = (0..300).map(|_| hostile.send_until(&provider, "tools/call", hang, stop.clone()));
    let honest = async {
        runs(&upstreams, 301).await;
        client.call(&provider, "echo", "{}").await.result();
        stop.cancel();
        let replaced = async { while client.call(&provider, "pids", "{}").await.result()["pid"] == pid {} };
        // Less than the ten seconds that calls at the old child may take to end.
        tokio::time::timeout(Duration::from_secs(5), replaced).await.expect("calls wait for the old child");
        end.cancel();
    };
    tokio::join!(futures_util::future::join_all(calls), runs_on, honest);
    upstreams.stop().await;
}

#[tokio::test]
async fn an_http_upstream_without_session_ids_asks_only_who_can_be_meant() {
    let server = serve("legacy anonymous").await;
    let web = at_url("web", &server.url);
    let (upstreams, provider) = start_one(quick(web));
    let (alice, bob) = (answering("alice"), answering("bob"));
    eventually("one stream is open for all", || server.fake.get_count() == 1).await;
    let answer = alice.call(&provider, "ask_on_get", "{}").await;
    assert_eq!(answer.result()["answered"]["result"]["content"]["who"], "alice");
    let stop = CancellationToken::new();
    let hanging = bob.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
    let asking = async {
        runs(&upstreams, 1).await;
        eventually("bob's call is there", || server.fake.of_method("tools/call").len() == 2).await;
        let while_bob_runs = alice.call(&provider, "ask_on_get", "{}").await;
        stop.cancel();
        while_bob_runs
    };
    let (hung, asked) = tokio::join!(hanging, asking);
    assert!(hung.frames.is_empty() && asked.frames.is_empty(), "{hung:?} {asked:?}");
    assert!(asked.result()["answered"]["error"]["message"].as_str().unwrap().contains("which client"));
    // Bob's call was given up; nobody knows whether the upstream is still at it.
    let after = alice.call(&provider, "ask_on_get", "{}").await;
    assert!(after.frames.is_empty() && after.result()["answered"]["error"].is_object(), "{after:?}");
    assert_eq!(server.fake.get_count(), 1);
    upstreams.stop().await;
}
