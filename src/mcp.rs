//! The Model Context Protocol as this node speaks it: messages, eras, faults, and the seams between edge and
//! tools.
//!
//! Only the envelope of a message is parsed; every member that we do not know stays raw and survives.

mod answer;
mod caller;
mod catalog;
mod encode;
mod envelope;
mod era;
mod id;
mod meta;
mod method;
mod provider;
mod raw_object;
mod responder;
mod rpc_error;
mod scan;
mod seal;
mod task;

pub use answer::{add_cache_meta, add_server_meta};
pub use caller::{ANONYMOUS, Caller, ClientCapabilities, SessionPort};
pub use catalog::{Catalog, Item, List, ListKind, ServerCapabilities};
pub use encode::{encode_error, encode_error_without_id, encode_notification, encode_request, encode_result};
pub use envelope::{Message, Notification, Request, Response, parse};
pub use era::{Era, LEGACY_LATEST, MODERN_LATEST, Version};
pub use id::{ID_BYTES_MAX, Id};
pub use meta::{LogLevel, Meta};
pub use method::{Method, NameHeader, Routing};
pub use provider::{CallResult, Event, Provider, Served, TASKS_EXTENSION, TaskName};
pub use raw_object::{MEMBERS_MAX, RawObject, raw};
pub use responder::{
    Disconnected, Outbound, Outbox, RESPONDER_MESSAGES_MAX, Responder, SERVER_REQUESTS_MAX,
    ServerRequestError, ServerRequests,
};
pub use rpc_error::{RpcError, code};
pub use scan::{DEPTH_MAX, scan};
pub use seal::{SealError, SealKey};
pub use task::{RELATED_TASK, created_task, is_new_task, may_name_task};
