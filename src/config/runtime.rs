//! Section `runtime`: threads, files, processors. They are what the Erlang VM's arguments were.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::Key;
use super::sections::defaults;

/// Threads, files, processors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    pub worker_threads: usize,
    pub control_threads: usize,
    pub blocking_threads: usize,
    pub open_files: u64,
    pub backlog: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        defaults("runtime")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::int(
        "runtime.worker_threads",
        0,
        (0, 1024),
        "threads",
        "Threads that serve clients; 0 is one for each core. The Erlang system: schedulers (+S).",
    ),
    Key::int(
        "runtime.control_threads",
        2,
        (1, 64),
        "threads",
        "Threads of Raft, quota and store, apart from the clients' so that no storm of them stops a \
         heartbeat.",
    ),
    Key::int(
        "runtime.blocking_threads",
        256,
        (1, 4096),
        "threads",
        "Most threads for calls that block (files, names). The Erlang system: async threads (+A 256).",
    ),
    Key::int(
        "runtime.open_files",
        0,
        (0, 1_073_741_816),
        "files",
        "The limit we raise ourselves to at start; 0 is all the system allows. The Erlang system: \
         ERL_MAX_PORTS. Its process limit has no like here: tasks are bounded by connections and \
         sessions.",
    ),
    Key::int(
        "runtime.backlog",
        2048,
        (1, 65_535),
        "connections",
        "Connections the kernel completes before we accept them. The kernel's own net.core.somaxconn \
         caps it.",
    ),
];
