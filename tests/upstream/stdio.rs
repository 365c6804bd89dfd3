//! Child processes that behave.

use std::time::Duration;

use erlmcp::config::Instances;
use erlmcp::mcp::{Era, Event, LogLevel};
use erlmcp::upstream::{EraSupport, State};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, catalog_where, eventually, fake, is_alive, kill_9, names, start, start_one};

#[tokio::test]
async fn all_pages_of_a_childs_lists_are_shown_in_its_order_in_both_eras() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    for era in [Era::Legacy, Era::Modern] {
        let catalog = catalog_where(&provider, era, |catalog| !catalog.tools.items.is_empty()).await;
        assert_eq!(catalog.tools.items.len(), 25);
        assert_eq!(names(&catalog)[..3], ["echo", "progress", "fail"]);
        assert_eq!((catalog.resources.items.len(), catalog.prompts.items.len()), (1, 1));
        assert!(catalog.tools.items[0].raw.get().contains("123456789012345678901234567890"));
        assert!(catalog.offers.0.get("experimental").is_some());
        assert!(catalog.instructions.is_some());
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn params_and_results_pass_unchanged_except_id_and_progress_token() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    let params = "{\"name\":\"echo\",\n \"zz\":123456789012345678901234567890,\
                  \"arguments\":{\"b\":1.50,\n\"a\":[ ]},\
                  \"_meta\":{\"x\":1e2,\"progressToken\":\"t\",\"y\":{}}}";
    let answer = client.send(&provider, "tools/call", params).await;
    let raw = answer.outcome.as_ref().unwrap().get();
    assert!(raw.starts_with(
        r#"{"content":[],"big":123456789012345678901234567890,"kept": 1.000, "a":{"z":1,"b":[ ]},"line":"#
    ));
    let line = answer.result()["line"].as_str().unwrap().to_owned();
    let (head, tail) = line.split_once(r#""progressToken":"#).unwrap();
    assert!(head.ends_with(
        r#""zz":123456789012345678901234567890,"arguments":{"b":1.50, "a":[ ]},"_meta":{"x":1e2,"#
    ));
    assert!(tail.ends_with(r#","y":{}}}}"#) && !tail.starts_with("\"t\""), "{tail}");
    upstreams.stop().await;
}

#[tokio::test]
async fn progress_comes_before_the_result_under_the_clients_own_token() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    for client in [Client::legacy(), Client::modern()] {
        let answer = client.call_with_token(&provider, "progress", "9007199254740993").await;
        assert_eq!(answer.text(), "done");
        assert_eq!(answer.methods(), ["notifications/progress"; 3]);
        assert!(answer.frames.iter().all(|f| f["params"]["progressToken"] == 9_007_199_254_740_993_u64));
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn two_clients_with_the_same_token_get_their_own_progress() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let clients = [Client::legacy(), Client::legacy(), Client::legacy()];
    let calls = clients.iter().map(|client| client.call_with_token(&provider, "progress", "1"));
    for answer in futures_util::future::join_all(calls).await {
        let steps: Vec<_> = answer.frames.iter().map(|f| f["params"]["progress"].as_u64().unwrap()).collect();
        assert_eq!(steps, [0, 1, 2]);
        assert!(answer.frames.iter().all(|f| f["params"]["progressToken"] == 1));
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn an_error_of_the_upstream_passes_with_code_message_and_data() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let answer = Client::legacy().call(&provider, "fail", "{}").await;
    let fault = answer.fault();
    assert_eq!((fault.code, &*fault.message), (-32055, "I failed"));
    assert_eq!(fault.data.as_ref().unwrap().get(), r#"{"why": 123456789012345678901234567890}"#);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_question_in_mid_call_is_put_to_the_client_and_its_answer_goes_back() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy().answering(|question| {
        assert_eq!(question["method"], "elicitation/create");
        Some(json!({"result": {"action": "accept", "content": {"name": "Ada"}}}))
    });
    let answer = client.call(&provider, "ask", "{}").await;
    assert_eq!(answer.result()["answered"]["content"]["name"], "Ada");
    let refusing =
        Client::legacy().answering(|_| Some(json!({"error": {"code": -1, "message": "no", "data": 7}})));
    let answer = refusing.call(&provider, "ask", "{}").await;
    assert_eq!(answer.result()["refused"], json!({"code": -1, "message": "no", "data": 7}));
    upstreams.stop().await;
}

#[tokio::test]
async fn a_client_that_has_not_declared_it_is_never_asked() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let answer = Client::legacy_with("{}").call(&provider, "ask", "{}").await;
    assert_eq!(answer.result()["refused"]["code"], -32601);
    let answer = Client::legacy_with(r#"{"elicitation":{"form":{}}}"#).call(&provider, "ask_url", "{}").await;
    assert!(answer.result()["refused"]["message"].as_str().unwrap().contains("elicitation.url"));
    assert!(answer.frames.is_empty());
    upstreams.stop().await;
}

#[tokio::test]
async fn with_two_calls_running_a_shared_child_is_told_why_nobody_can_be_asked() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let (one, two) = (Client::legacy(), Client::legacy());
    let stop = CancellationToken::new();
    let hanging = one.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
    let asking = async {
        eventually("the first call runs", || upstreams.health()[0].running == 1).await;
        let answer = two.call(&provider, "ask", "{}").await;
        stop.cancel();
        answer
    };
    let (_, answer) = tokio::join!(hanging, asking);
    let message = answer.result()["refused"]["message"].to_string();
    assert!(
        message.contains("2 requests or tasks are running") && message.contains("instances"),
        "{message}"
    );
    upstreams.stop().await;
}

#[tokio::test]
async fn with_a_child_for_each_session_two_calls_may_ask_and_the_hello_is_the_clients() {
    let mut options = fake("up", &["--eras", "legacy"]);
    options.upstream.instances = Instances::Session;
    let (upstreams, provider) = start_one(options);
    let answering = |name: &'static str| {
        Client::legacy_with(r#"{"elicitation":{"form":{}}}"#)
            .answering(move |_| Some(json!({"result": {"action": "accept", "content": {"name": name}}})))
    };
    let (one, two) = (answering("one"), answering("two"));
    let (first, second) = tokio::join!(one.call(&provider, "ask", "{}"), two.call(&provider, "ask", "{}"));
    assert_eq!(first.result()["answered"]["content"]["name"], "one");
    assert_eq!(second.result()["answered"]["content"]["name"], "two");
    let hello = one.call(&provider, "hello", "{}").await.result();
    assert_eq!(hello["hello"]["clientInfo"], json!({"name": "tester", "version": "9"}));
    assert_eq!(hello["hello"]["capabilities"], json!({"elicitation": {"form": {}}}));
    let other = two.call(&provider, "hello", "{}").await.result();
    assert_ne!(hello["pid"], other["pid"]);
    let pid = hello["pid"].as_u64().unwrap();
    provider.session_ended(one.caller.session.as_ref().unwrap().key());
    eventually("the child of the ended session is gone", || !is_alive(pid)).await;
    assert!(is_alive(other["pid"].as_u64().unwrap()));
    upstreams.stop().await;
    assert!(!is_alive(other["pid"].as_u64().unwrap()));
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_child() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    let stop = CancellationToken::new();
    let hanging = client.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
    let cancelling = async {
        eventually("the call runs", || upstreams.health()[0].running == 1).await;
        // An answered call shows that the child has read what was sent before.
        client.call(&provider, "echo", "{}").await.result();
        stop.cancel();
    };
    let (answer, ()) = tokio::join!(hanging, cancelling);
    assert!(answer.outcome.is_err());
    let lines = client.call(&provider, "lines", "{}").await.result()["lines"].to_string();
    assert!(lines.contains("notifications/cancelled"), "{lines}");
    upstreams.stop().await;
}

#[tokio::test]
async fn a_call_without_answer_ends_with_one_error_in_time() {
    let mut options = fake("slow", &[]);
    options.upstream.timeout_ms = 300;
    let (upstreams, provider) = start_one(options);
    let answer = Client::legacy().call(&provider, "hang", "{}").await;
    assert_eq!(answer.fault().code, -32603);
    let message = &answer.fault().message;
    assert!(
        message.contains("\"slow\"") && message.contains("tools/call") && message.contains("300 ms"),
        "{message}"
    );
    upstreams.stop().await;
}

#[tokio::test]
async fn a_killed_child_costs_one_error_a_running_call_and_comes_back() {
    let (upstreams, providers) = start(vec![fake("up", &[]), fake("other", &[])]);
    let client = Client::legacy();
    let pid = client.call(&providers[0], "pids", "{}").await.result()["pid"].as_u64().unwrap();
    let other = client.call(&providers[1], "pids", "{}").await.result()["pid"].as_u64().unwrap();
    let (answer, ()) = tokio::join!(client.call(&providers[0], "hang", "{}"), async {
        eventually("the call runs", || upstreams.health()[0].running == 1).await;
        kill_9(pid);
    });
    assert_eq!(answer.fault().code, -32603, "{answer:?}");
    eventually("the child is started again", || upstreams.health()[0].restarts >= 1).await;
    eventually("the upstream is ready", || upstreams.health()[0].state == State::Ready).await;
    let again = client.call(&providers[0], "pids", "{}").await.result()["pid"].as_u64().unwrap();
    assert_ne!(pid, again);
    assert_eq!(client.call(&providers[1], "pids", "{}").await.result()["pid"].as_u64().unwrap(), other);
    assert_eq!(upstreams.health()[1].restarts, 0);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_child_that_does_not_start_answers_fast_and_is_tried_with_growing_pauses() {
    let mut options = fake("bad", &["--refuse-start"]);
    options.upstream.restart_min_ms = 100;
    options.upstream.restart_max_ms = 60_000;
    let (upstreams, provider) = start_one(options);
    eventually("three starts failed", || upstreams.health()[0].restarts >= 3).await;
    eventually("it is down", || upstreams.health()[0].state == State::Down).await;
    let before = std::time::Instant::now();
    let answer = Client::legacy().call(&provider, "echo", "{}").await;
    assert!(before.elapsed() < Duration::from_millis(300), "{:?}", before.elapsed());
    assert!(answer.fault().message.contains("\"bad\""), "{answer:?}");
    assert!(upstreams.health()[0].last_error.is_some());
    upstreams.stop().await;
    assert_eq!(upstreams.health()[0].state, State::Stopped);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_but_its_arguments_and_environment_are_not() {
    let mut options = fake("none", &[]);
    options.upstream.command = Some("/nonexistent/server".into());
    options.upstream.args = vec!["--key=hunter2".into()];
    options.upstream.env.insert("KEY".into(), "hunter2".into());
    let (upstreams, provider) = start_one(options);
    let answer = Client::legacy().call(&provider, "echo", "{}").await;
    let message = &answer.fault().message;
    assert!(message.contains("/nonexistent/server") && !message.contains("hunter2"), "{message}");
    assert!(!serde_json::to_string(&upstreams.health()).unwrap().contains("hunter2"));
    upstreams.stop().await;
}

#[tokio::test]
async fn the_whole_group_is_gone_after_stop() {
    let (upstreams, provider) = start_one(fake("up", &["--grandchild"]));
    let pids = Client::legacy().call(&provider, "pids", "{}").await.result();
    let (pid, grandchild) = (pids["pid"].as_u64().unwrap(), pids["grandchild"].as_u64().unwrap());
    assert_eq!(pids["group"].as_u64().unwrap(), pid);
    assert!(is_alive(pid) && is_alive(grandchild));
    upstreams.stop().await;
    assert!(!is_alive(pid));
    eventually("the grandchild is gone", || !is_alive(grandchild)).await;
}

#[tokio::test]
async fn a_child_gets_its_environment_and_not_the_nodes_secrets() {
    let mut options = fake("up", &[]);
    options.upstream.env.insert("MINE".into(), "yes".into());
    options.upstream.cwd = Some("/".into());
    let (upstreams, provider) = start_one(options);
    let env = Client::legacy().call(&provider, "env", "{}").await.result();
    assert_eq!((&env["env"]["MINE"], &env["cwd"]), (&json!("yes"), &json!("/")));
    assert!(env["env"]["PATH"].is_string() && env["env"]["CARGO_MANIFEST_DIR"].is_null());
    upstreams.stop().await;
}

#[tokio::test]
async fn a_child_that_speaks_one_era_a_connection_gets_one_child_for_each() {
    let (upstreams, provider) = start_one(fake("up", &["--lock"]));
    let legacy = Client::legacy().call(&provider, "pids", "{}").await.result();
    let modern = Client::modern().call(&provider, "pids", "{}").await.result();
    assert_ne!(legacy["pid"], modern["pid"]);
    assert_eq!(upstreams.health()[0].eras, ["modern", "legacy"]);
    assert_eq!(upstreams.health()[0].pids.len(), 2);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_child_that_speaks_both_eras_on_one_connection_is_one_child() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let legacy = Client::legacy().call(&provider, "pids", "{}").await.result();
    let modern = Client::modern().call(&provider, "pids", "{}").await.result();
    assert_eq!((&legacy["pid"], upstreams.health()[0].pids.len()), (&modern["pid"], 1));
    upstreams.stop().await;
}

#[tokio::test]
async fn an_era_that_a_child_does_not_speak_has_no_catalog_and_its_calls_say_so() {
    for (eras, spoken, not) in [("legacy", Era::Legacy, Era::Modern), ("modern", Era::Modern, Era::Legacy)] {
        let (upstreams, provider) = start_one(fake("up", &["--eras", eras]));
        catalog_where(&provider, spoken, |catalog| !catalog.tools.items.is_empty()).await;
        assert!(provider.catalog(not).is_none());
        let client = if not == Era::Modern { Client::modern() } else { Client::legacy() };
        assert!(client.call(&provider, "echo", "{}").await.fault().message.contains("does not speak"));
        upstreams.stop().await;
    }
}

#[tokio::test]
async fn a_configured_era_is_the_only_one_tried() {
    let mut options = fake("up", &[]);
    options.era_support = EraSupport::Legacy;
    let (upstreams, provider) = start_one(options);
    assert!(provider.catalog(Era::Modern).is_none());
    let lines = Client::legacy().call(&provider, "lines", "{}").await.result()["lines"].to_string();
    assert!(!lines.contains("server/discover"));
    upstreams.stop().await;
}

#[tokio::test]
async fn an_announced_change_is_read_and_grows_the_version_even_if_nothing_changed() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    for era in [Era::Legacy, Era::Modern] {
        catalog_where(&provider, era, |catalog| !catalog.tools.items.is_empty()).await;
    }
    client.call(&provider, "grow", r#"{"name":"new"}"#).await.result();
    for era in [Era::Legacy, Era::Modern] {
        let grown = |c: &erlmcp::mcp::Catalog| c.tools.items.iter().any(|i| &*i.key == "new");
        let version = catalog_where(&provider, era, grown).await.tools.version;
        client.call(&provider, "announce", r#"{"list":"tools"}"#).await.result();
        catalog_where(&provider, era, |catalog| catalog.tools.version > version).await;
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn a_resource_update_becomes_an_event_and_subscriptions_survive_a_restart() {
    let (upstreams, provider) = start_one(fake("up", &["--eras", "legacy"]));
    let client = Client::legacy();
    let mut events = provider.events();
    client.send(&provider, "resources/subscribe", r#"{"uri":"fake://a"}"#).await.result();
    client.call(&provider, "touch", r#"{"uri":"fake://a"}"#).await.result();
    let event = tokio::time::timeout(crate::support::SOON, events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::ResourceUpdated { uri } if &*uri == "fake://a"));
    client.call(&provider, "die", "{}").await;
    eventually("it is started again", || upstreams.health()[0].restarts >= 1).await;
    eventually("it is ready", || upstreams.health()[0].state == State::Ready).await;
    let mut told = false;
    while !told {
        let lines = client.call(&provider, "lines", "{}").await.result()["lines"].to_string();
        told = lines.contains("resources/subscribe");
    }
    upstreams.stop().await;
}

#[tokio::test]
async fn log_messages_reach_the_running_call_as_far_as_its_level_wants_them() {
    let (upstreams, provider) = start_one(fake("up", &[]));
    let client = Client::legacy();
    assert_eq!(client.call(&provider, "log", "{}").await.frames.len(), 3);
    *client.session().level.lock().unwrap() = Some(LogLevel::Error);
    assert_eq!(client.call(&provider, "log", "{}").await.frames.len(), 1);
    let mut modern = Client::modern();
    assert_eq!(modern.call(&provider, "log", "{}").await.frames.len(), 0);
    modern.caller.log_level = Some(LogLevel::Info);
    assert_eq!(modern.call(&provider, "log", "{}").await.frames.len(), 2);
    upstreams.stop().await;
}

#[tokio::test]
async fn a_denied_tool_is_neither_listed_nor_called() {
    let mut options = fake("up", &[]);
    options.upstream.deny = vec!["d*".into()];
    let (upstreams, provider) = start_one(options);
    let catalog = catalog_where(&provider, Era::Legacy, |catalog| !catalog.tools.items.is_empty()).await;
    assert!(!names(&catalog).iter().any(|name| name.starts_with('d')));
    assert_eq!(Client::legacy().call(&provider, "die", "{}").await.fault().code, -32602);
    upstreams.stop().await;
}

#[tokio::test]
async fn requests_above_the_limit_are_refused_at_once() {
    let mut options = fake("up", &[]);
    options.gateway.queue_requests_max = 1;
    let (upstreams, provider) = start_one(options);
    let client = Client::legacy();
    let stop = CancellationToken::new();
    let hanging = client.send_until(&provider, "tools/call", r#"{"name":"hang"}"#, stop.clone());
    let (_, answer) = tokio::join!(hanging, async {
        eventually("the call runs", || upstreams.health()[0].running == 1).await;
        let answer = client.call(&provider, "echo", "{}").await;
        stop.cancel();
        answer
    });
    assert!(answer.fault().message.contains("1 requests are running"), "{answer:?}");
    client.call(&provider, "echo", "{}").await.result();
    upstreams.stop().await;
}

#[tokio::test]
async fn an_idle_child_is_ended_and_the_next_request_starts_it_again_without_an_error() {
    let mut options = fake("up", &[]);
    options.upstream.idle_s = 1;
    let (upstreams, provider) = start_one(options);
    let client = Client::legacy();
    let pid = client.call(&provider, "pids", "{}").await.result()["pid"].as_u64().unwrap();
    eventually("it sleeps", || upstreams.health()[0].state == State::Asleep).await;
    eventually("its child is gone", || !is_alive(pid)).await;
    let catalog = catalog_where(&provider, Era::Legacy, |_| true).await;
    assert_eq!(catalog.tools.items.len(), 25, "what it offered stays listed");
    let again = client.call(&provider, "pids", "{}").await.result()["pid"].as_u64().unwrap();
    assert_ne!(pid, again);
    assert_eq!((upstreams.health()[0].restarts, upstreams.health()[0].counts.failures), (0, 0));
    upstreams.stop().await;
}

#[tokio::test]
async fn a_child_that_is_subscribed_to_or_called_is_not_idle() {
    let mut options = fake("up", &["--eras", "legacy"]);
    options.upstream.idle_s = 1;
    let (upstreams, provider) = start_one(options);
    let client = Client::legacy();
    client.send(&provider, "resources/subscribe", r#"{"uri":"fake://a"}"#).await.result();
    let pid = client.call(&provider, "pids", "{}").await.result()["pid"].clone();
    client.call(&provider, "late", r#"{"s":0.6}"#).await.result();
    assert_eq!(client.call(&provider, "pids", "{}").await.result()["pid"], pid);
    provider.session_ended(client.caller.session.as_ref().unwrap().key());
    eventually("it sleeps", || upstreams.health()[0].state == State::Asleep).await;
    upstreams.stop().await;
}

fn zombies_of_ours() -> usize {
    let me = std::process::id().to_string();
    let is_ours = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&me.as_str())
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(is_ours).count()
}

#[tokio::test]
async fn children_that_failed_leave_no_zombies() {
    let (upstreams, _) = start_one(fake("bad", &["--refuse-start"]));
    eventually("four starts failed", || upstreams.health()[0].restarts >= 4).await;
    upstreams.stop().await;
    eventually("all are reaped", || zombies_of_ours() == 0).await;
}
