//! Tasks: calls that outlive their request (extension `io.modelcontextprotocol/tasks`, modern era).
//!
//! They live in this process: a task ends with its node. A task's id is unguessable and is known only to
//! its principal.

mod entry;
mod methods;
mod table;
mod time;

pub(super) use methods::{serve, undeclared};
pub(super) use table::{TaskRef, TaskTable, random_id};

pub use crate::mcp::TASKS_EXTENSION;
