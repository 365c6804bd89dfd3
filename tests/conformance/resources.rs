//! Resources, templates, prompts and completions.

use erlmcp::handler::{
    CompleteCall, Content, Contents, Prompt, PromptCall, PromptResult, ReadCall, Resource, Role, Server,
    Template, ToolError,
};
use serde_json::json;

use super::PNG;

pub(super) fn add(server: Server) -> Server {
    prompts(server)
        .resource(
            Resource::new("test://static-text", "static text").describe("A fixed text").mime("text/plain"),
            |_: ReadCall| async { Ok("This is the content of the static text resource.") },
        )
        .resource(
            Resource::new("test://static-binary", "static picture").describe("A picture").mime("image/png"),
            |_: ReadCall| async { Ok(Contents::blob(PNG)) },
        )
        .resource(
            Resource::new("test://watched-resource", "watched").describe("May change").mime("text/plain"),
            |_: ReadCall| async { Ok("This resource may change.") },
        )
        .template(
            Template::new("test://template/{id}/data", "by id")
                .describe("One of many")
                .mime("application/json"),
            by_id,
        )
        .complete_template("test://template/{id}/data", "id", |call: CompleteCall| async move {
            Ok(call.matching(["123", "124", "456"]))
        })
}

async fn by_id(call: ReadCall) -> Result<String, ToolError> {
    let id = call.variable("id");
    Ok(json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") }).to_string())
}

fn prompts(server: Server) -> Server {
    server
        .prompt(Prompt::new("test_simple_prompt").describe("A fixed text"), |_: PromptCall| async {
            Ok("This is a simple prompt for testing.")
        })
        .prompt(
            Prompt::new("test_prompt_with_arguments")
                .describe("Repeats its arguments")
                .required("arg1", "First test argument")
                .required("arg2", "Second test argument"),
            |call: PromptCall| async move {
                let (arg1, arg2) = (call.argument("arg1"), call.argument("arg2"));
                Ok(format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))
            },
        )
        .prompt(
            Prompt::new("test_prompt_with_embedded_resource")
                .describe("Holds a resource")
                .required("resourceUri", "URI of the resource"),
            embedded,
        )
        .prompt(Prompt::new("test_prompt_with_image").describe("Holds a picture"), |_: PromptCall| async {
            Ok(PromptResult::user(Content::image(PNG, "image/png"))
                .and(Role::User, "Please analyze the image above."))
        })
        .complete_prompt("test_prompt_with_arguments", "arg1", |call: CompleteCall| async move {
            Ok(call.matching(["paris", "park", "party", "test"]))
        })
}

async fn embedded(call: PromptCall) -> Result<PromptResult, ToolError> {
    let contents = Contents::text("Embedded resource content for testing.");
    let resource = contents.of(call.argument("resourceUri")).mime("text/plain");
    Ok(PromptResult::user(Content::resource(resource))
        .and(Role::User, "Please process the embedded resource above."))
}
