//! The node's own tools, served like everybody's: the cluster as this node knows it, and an echo.
//!
//! Reads only: what an operator may do needs the admin token and is not for models.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::status::StatusSource;
use crate::api::Status;
use crate::handler::{Server, Tool, ToolAnnotations, ToolCall, ToolError, ToolResult};
use crate::mcp::SealKey;

#[derive(Deserialize)]
struct Echo {
    text: String,
}

/// The tools. With `is_gateway` prompts and resources are declared even while no upstream has said what it
/// offers: legacy clients learn the capabilities only once, when they connect.
#[must_use]
pub fn node_tools(source: &Arc<StatusSource>, seal: Arc<SealKey>, is_gateway: bool) -> Server {
    let mut server = Server::new("erlmcp", env!("CARGO_PKG_VERSION"))
        .seal_key(seal)
        .tool(
            read_only("echo", "Returns the text that it was given, to see that calls arrive.")
                .required("text", json!({ "type": "string" })),
            async |call: ToolCall| {
                let Echo { text } = call.arguments()?;
                Ok(text)
            },
        )
        .tool(
            read_only(
                "cluster_status",
                "The cluster as the answering node knows it: health, leader, members, load.",
            ),
            view(source, |status| status),
        )
        .tool(
            read_only(
                "cluster_members",
                "The nodes of the cluster, with role, state and how far each is behind.",
            ),
            view(source, |status| json!({ "members": status.members })),
        )
        .tool(
            read_only(
                "cluster_quota",
                "The limits of the cluster and the connections of the answering node.",
            ),
            view(source, |status| json!({ "quota": status.quota, "connections": status.connections })),
        );
    if is_gateway {
        server = server
            .capability("completions", &json!({}))
            .capability("logging", &json!({}))
            .capability("prompts", &json!({ "listChanged": true }))
            .capability("resources", &json!({ "listChanged": true, "subscribe": true }));
    }
    server
}

fn read_only(name: &str, description: &str) -> Tool {
    let annotations = ToolAnnotations {
        read_only_hint: Some(true),
        open_world_hint: Some(false),
        ..ToolAnnotations::default()
    };
    Tool::new(name).describe(description).annotate(annotations)
}

type ToolFuture = std::pin::Pin<Box<dyn Future<Output = Result<ToolResult, ToolError>> + Send>>;

fn view<T: Serialize + 'static>(
    source: &Arc<StatusSource>,
    take: fn(Status) -> T,
) -> impl Fn(ToolCall) -> ToolFuture + Send + Sync + 'static {
    let source = source.clone();
    move |_| {
        let source = source.clone();
        Box::pin(async move { Ok(ToolResult::structured(&take(source.status()))?) })
    }
}
