//! Tasks of a shared upstream, seen by two clients at the node's HTTP edge.

use std::net::SocketAddr;
use std::sync::Arc;

use erlmcp::admission::Gate;
use erlmcp::clock::Clock;
use erlmcp::config::ServiceConfig;
use erlmcp::drain::DrainState;
use erlmcp::exchange::LISTENERS_MAX;
use erlmcp::mcp::{Era, raw};
use erlmcp::monitor::Recorder;
use erlmcp::router::{Naming, Router, TaskKey};
use erlmcp::transport::{Ending, HttpService, HttpServiceOptions, listener};
use erlmcp::upstream::{UpstreamOptions, Upstreams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fake_http::serve;
use crate::support::{SOON, at_url, catalog_where, fake, names, quick, start_one};

struct Node {
    address: SocketAddr,
    upstreams: Upstreams,
    _stop: DropGuard,
}

impl Node {
    /// A node in front of `options`, once the upstream's tools are there in both eras.
    async fn before(options: UpstreamOptions) -> Node {
        let (upstreams, provider) = start_one(options);
        for era in [Era::Legacy, Era::Modern] {
            catalog_where(&provider, era, |catalog| names(catalog).contains(&"work".to_owned())).await;
        }
        let (stop, recorder, config) =
            (CancellationToken::new(), Arc::<Recorder>::default(), Arc::<ServiceConfig>::default());
        let socket = listener::bind("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        let address = socket.local_addr().unwrap();
        let key = TaskKey::random();
        let edge = HttpService::new(HttpServiceOptions {
            router: Router::start(vec![provider], 0, Naming::OnConflict, key, &stop),
            recorder: recorder.clone(),
            server_info: raw(&json!({ "name": "test", "version": "1" })),
            node_id: 7,
            config: config.clone(),
            listeners_max: LISTENERS_MAX,
            address,
            clock: Clock::new(),
            drain: DrainState::default(),
            stop: stop.clone(),
        });
        let (routes, until) = (edge.routes(), Ending::at_once(stop.clone()));
        let gate = Gate::alone(config.http.connections_max, Clock::new());
        tokio::spawn(async move { listener::serve(socket, routes, &config, gate, recorder, until).await });
        Node { address, upstreams, _stop: stop.drop_guard() }
    }

    /// One POST on a connection of its own: the session id of the answer's head, and its body.
    async fn post(&self, headers: &[(&str, &str)], message: &Value) -> (Option<String>, Value) {
        let (body, address) = (message.to_string(), self.address);
        let mut head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let exchange = async {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            socket.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(SOON, exchange).await.expect("no answer in time");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let session = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        (session.map(ToOwned::to_owned), serde_json::from_str(body).unwrap_or_default())
    }

    async fn session(&self) -> Client<'_> {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"}}});
        Client { node: self, session: self.post(&[], &hello).await.0 }
    }
}

/// One client: a legacy session, or none and modern.
struct Client<'a> {
    node: &'a Node,
    session: Option<String>,
}

impl Client<'_> {
    async fn ask(&self, method: &str, mut params: Value) -> Value {
        let name = params["name"].as_str().or(params["taskId"].as_str()).unwrap_or("none").to_owned();
        let headers = match &self.session {
            Some(session) => vec![("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Session-Id", session)],
            None => {
                params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities":
                        {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
                vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method), ("Mcp-Name", &name)]
            }
        };
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.node.post(&headers, &message).await.1
    }

    /// Calls the tool that makes a task, and returns the id by which this client knows it.
    async fn work(&self, id: &str) -> String {
        let answer =
            self.ask("tools/call", json!({"name": "work", "arguments": {"id": id}, "task": {}})).await;
        let result = &answer["result"];
        let shown = result["task"]["taskId"].as_str().or(result["taskId"].as_str());
        shown.unwrap_or_else(|| panic!("no task: {answer}")).to_owned()
    }

    async fn listed(&self) -> Vec<Value> {
        let answer = self.ask("tasks/list", json!({})).await;
        let tasks = answer["result"]["tasks"].as_array().unwrap_or_else(|| panic!("{answer}"));
        tasks.iter().map(|task| task["taskId"].clone()).collect()
    }
}

async fn each_has_its_own_tasks(node: Node) {
    let (alice, bob) = (node.session().await, node.session().await);
    let known = alice.work("task-of-ALICE").await;
    assert_eq!(alice.listed().await, [json!(known)]);
    assert_eq!(bob.listed().await, Vec::<Value>::new());
    for id in ["task-of-ALICE", &known] {
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let answer = bob.ask(method, json!({"taskId": id})).await;
            assert_eq!(answer["error"]["code"], -32602, "{method} {id}: {answer}");
        }
    }
    let anyone = Client { node: &node, session: None };
    let own = anyone.work("task-of-NOBODY").await;
    for id in ["task-of-ALICE", "task-of-NOBODY", &known] {
        let answer = anyone.ask("tasks/cancel", json!({"taskId": id})).await;
        assert_eq!(answer["error"]["code"], -32602, "{id}: {answer}");
    }
    for (client, id) in [(&alice, known), (&anyone, own)] {
        let task = client.ask("tasks/get", json!({"taskId": id})).await;
        assert_eq!((&task["result"]["taskId"], &task["result"]["status"]), (&json!(id), &json!("working")));
        let task = client.ask("tasks/cancel", json!({"taskId": id})).await;
        assert_eq!(task["result"]["status"], "cancelled", "{task}");
    }
    node.upstreams.stop().await;
}

#[tokio::test]
async fn another_client_neither_lists_nor_cancels_a_task_of_a_child() {
    each_has_its_own_tasks(Node::before(fake("up", &["--tasks"])).await).await;
}

#[tokio::test]
async fn another_client_neither_lists_nor_cancels_a_task_over_http() {
    let server = serve("legacy modern tasks").await;
    each_has_its_own_tasks(Node::before(quick(at_url("web", &server.url))).await).await;
}
