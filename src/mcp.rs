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
mod fault;
mod id;
mod link;
mod members;
mod meta;
mod method;
mod provider;
mod scan;
mod seal;
mod task;

pub use answer::{stamp, stamp_cacheable};
pub use caller::{ANONYMOUS, Caller, ClientCapabilities, SessionPort};
pub use catalog::{Catalog, Item, List, ListKind, Offers};
pub use encode::{encode_fault, encode_fault_without_id, encode_notification, encode_request, encode_result};
pub use envelope::{Message, Notification, Request, Response, parse};
pub use era::{Era, LEGACY_LATEST, MODERN_LATEST, Version};
pub use fault::{Fault, code};
pub use id::{ID_BYTES_MAX, Id};
pub use link::{ASKS_OPEN_MAX, AskError, Asks, Frame, Frames, Gone, LINK_FRAMES_MAX, Link};
pub use members::{MEMBERS_MAX, Members, raw};
pub use meta::{LogLevel, Meta};
pub use method::{Method, NameHeader, Routing};
pub use provider::{Event, Provider, Served, TASKS_EXTENSION, TaskName};
pub use scan::{DEPTH_MAX, scan};
pub use seal::{SealError, SealKey};
pub use task::{RELATED_TASK, created_task, is_new_task, may_name_task};
