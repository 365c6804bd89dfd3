//! Child processes that lie: nobody gets another's answer, and the others' calls go on.

use crate::support::{Client, eventually, fake, start_one};

#[tokio::test]
async fn answers_nobody_asked_for_are_counted_and_change_nothing() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    assert_eq!(client.call(&provider, "unknown_id", "{}").await.text(), "truth");
    assert_eq!(client.call(&provider, "twice", "{}").await.text(), "first");
    client.call(&provider, "echo", "{}").await.result();
    assert_eq!(upstreams.health()[0].counts.unasked, 4);
    upstreams.stop().await;
}

#[tokio::test]
async fn lines_that_are_no_messages_are_counted_and_the_child_lives_on() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    assert_eq!(client.call(&provider, "garbage", "{}").await.text(), "fine");
    assert_eq!(client.call(&provider, "oversize", "{}").await.text(), "after");
    assert_eq!(upstreams.health()[0].counts.invalid, 5);
    assert_eq!(upstreams.health()[0].restarts, 0);
    upstreams.stop().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_an_error_at_once_not_a_timeout() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    let answer = client.call(&provider, "oversize_answer", "{}").await;
    assert!(answer.fault().message.contains("longer than 16777216 bytes"), "{answer:?}");
    let answer = client.call(&provider, "deep", "{}").await;
    assert!(answer.fault().message.contains("nested deeper"), "{answer:?}");
    upstreams.stop().await;
}

#[tokio::test]
async fn a_flood_of_notifications_is_bounded_and_the_result_still_comes() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    let answer = client.call(&provider, "flood", r#"{"count":50000}"#).await;
    assert_eq!(answer.text(), "flooded");
    let dropped = upstreams.health()[0].counts.dropped;
    assert_eq!(answer.frames.len() as u64 + dropped, 50_000);
    upstreams.stop().await;
}

#[tokio::test]
async fn progress_under_an_unknown_token_reaches_nobody() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let answer = Client::legacy().call(&provider, "orphan_progress", "{}").await;
    assert_eq!((answer.text().as_str(), answer.frames.len()), ("ok", 0));
    assert_eq!(upstreams.health()[0].counts.dropped, 2);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_flood_on_stderr_delays_nobody() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    assert_eq!(client.call(&provider, "stderr", r#"{"lines":2000}"#).await.text(), "ok");
    eventually("no call is left", || upstreams.health()[0].running == 0).await;
    upstreams.stop().await;
}
