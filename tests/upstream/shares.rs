//! The part of one client's address at an upstream: of its requests, its sessions and its children.

use std::sync::Arc;

use erlmcp::config::Instances;
use erlmcp::mcp::Provider;
use tokio_util::sync::CancellationToken;

use crate::fake_http::serve;
use crate::support::{Client, at_url, eventually, fake, is_alive, quick, start_one};

const HOSTILE: &str = "127.0.0.2";

async fn child_of(client: &Client, provider: &Arc<dyn Provider>) -> u64 {
    client.call(provider, "pids", "{}").await.result()["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn who_opens_many_children_loses_its_own_and_nobody_elses() {
    let mut options = fake("up", &["--eras", "legacy"]);
    options.upstream.instances = Instances::Session;
    options.gateway.children_max = 4;
    let (upstreams, provider) = start_one(options);
    let honest = Client::legacy();
    let honest_child = child_of(&honest, &provider).await;
    let hostile: Vec<Client> = (0..3).map(|_| Client::from_address(HOSTILE)).collect();
    let mut children = Vec::new();
    for client in &hostile {
        children.push(child_of(client, &provider).await);
    }
    eventually("the child used longest ago is gone", || !is_alive(children[0])).await;
    assert!(is_alive(children[1]) && is_alive(children[2]) && is_alive(honest_child));
    assert_eq!((upstreams.health()[0].sessions, upstreams.health()[0].counts.displaced), (3, 1));
    assert_ne!(child_of(&hostile[0], &provider).await, children[0], "it gets another when it asks again");
    assert_eq!(child_of(&honest, &provider).await, honest_child);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_session_at_a_url_that_was_used_longest_ago_is_ended_for_another() {
    let server = serve("legacy").await;
    let mut options = quick(at_url("web", &server.url));
    options.gateway.sessions_max = 2;
    options.gateway.client_percent_max = 100;
    let (upstreams, provider) = start_one(options);
    let clients: Vec<Client> = (0..3).map(|_| Client::from_address(HOSTILE)).collect();
    for client in &clients {
        client.call(&provider, "echo", "{}").await.result();
    }
    // One is the node's own.
    eventually("it is ended at the upstream", || server.fake.session_count() == 3).await;
    eventually("so is its stream", || server.fake.get_count() == 3).await;
    assert_eq!((upstreams.health()[0].sessions, upstreams.health()[0].counts.displaced), (2, 1));
    upstreams.stop().await;
}

#[tokio::test]
async fn who_has_its_part_in_use_is_refused_with_the_key_that_says_so_and_others_are_served() {
    let mut options = fake("up", &["--eras", "legacy"]);
    options.upstream.instances = Instances::Session;
    options.gateway.children_max = 2;
    options.gateway.queue_requests_max = 4;
    let (upstreams, provider) = start_one(options);
    let stop = CancellationToken::new();
    let busy = Client::from_address(HOSTILE);
    let hang = r#"{"name":"hang"}"#;
    let one = busy.send_until(&provider, "tools/call", hang, stop.clone());
    let two = busy.send_until(&provider, "tools/call", hang, stop.clone());
    let others = async {
        eventually("its call runs", || upstreams.health()[0].running >= 1).await;
        let refused = Client::from_address(HOSTILE).call(&provider, "echo", "{}").await;
        let fault = refused.fault();
        assert!([42_903, 42_904].contains(&fault.code) && fault.status == 429, "{fault:?}");
        assert!(fault.message.contains("gateway.client_percent_max"), "{fault:?}");
        eventually("both its calls run", || upstreams.health()[0].running == 2).await;
        let refused = Client::from_address(HOSTILE).call(&provider, "echo", "{}").await;
        assert_eq!(refused.fault().code, 42_903, "{refused:?}");
        Client::legacy().call(&provider, "echo", "{}").await.result();
        stop.cancel();
    };
    tokio::join!(one, two, others);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_subscription_that_a_child_refuses_is_not_told_to_the_next_one() {
    let (upstreams, provider) = start_one(fake("up", &["--eras", "legacy"]));
    let client = Client::legacy();
    client.send(&provider, "resources/subscribe", r#"{"uri":"fake://refused"}"#).await.fault();
    client.send(&provider, "resources/subscribe", r#"{"uri":"fake://a"}"#).await.result();
    client.call(&provider, "die", "{}").await;
    eventually("it is started again", || upstreams.health()[0].restarts >= 1).await;
    let mut lines = String::new();
    while !lines.contains("fake://a") {
        let answer = client.call(&provider, "lines", "{}").await;
        lines = answer.outcome.map(|result| result.get().to_owned()).unwrap_or_default();
    }
    assert!(!lines.contains("fake://refused"), "{lines}");
    upstreams.stop().await;
}
