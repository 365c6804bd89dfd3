//! Tools, resources and prompts in Rust: the library's own API for the people who write them.
//!
//! A [`Server`] is put together from plain structs and async functions, and is a
//! [`Provider`](crate::mcp::Provider) like any upstream, so the edge does not know the difference. Handlers
//! are the same for both eras of the protocol: see [`HandlerCall::elicit`] for how a question to the client
//! gets its answer in each. A handler never sees a socket, and none of its failures reaches another request.

mod answers;
mod call;
mod calls;
mod content;
mod digest;
mod handle;
mod input;
mod pattern;
mod prompt;
mod provide;
mod registry;
mod resource;
mod rounds;
mod run;
mod schema;
mod server;
mod settings;
mod tasks;
mod tool;
mod tool_error;

pub use answers::Answers;
pub use call::HandlerCall;
pub use calls::{CompleteCall, PromptCall, ReadCall, ToolCall};
pub use content::{Annotations, Block, Content, Contents, Icon, Role};
pub use handle::{OfferError, ServerHandle, TOOL_NAME_BYTES_MAX};
pub use input::{Action, Ask, ElicitForm, Elicited, Root, SampleMessage, SampleParams, Sampled};
pub use prompt::{Argument, COMPLETIONS_MAX, Completion, Prompt, PromptMessage, PromptResult};
pub use resource::{ReadResult, Resource, Template};
pub use server::Server;
pub use settings::ServerLimits;
pub use tasks::TASKS_EXTENSION;
pub use tool::{TaskSupport, Tool, ToolAnnotations, ToolResult};
pub use tool_error::{InputRequired, ToolError};

#[cfg(test)]
mod tests;
