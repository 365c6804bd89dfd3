//! Forms of the search: how many nodes, and what may go wrong.

/// Bounds of a search, and the things that it allows.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub name: &'static str,
    pub nodes: u64,
    /// The limit at first.
    pub limit: u32,
    /// Limits that the operator sets.
    pub limits: &'static [u32],
    /// The operator also sets the lease to "never" and back.
    pub has_never: bool,
    /// Any node may be recalled to any number.
    pub has_targets: bool,
    /// Members are drained and back.
    pub has_drains: bool,
    /// Processes are killed and start again with their disk.
    pub has_crashes: bool,
    /// They may also lose the session on their disk.
    pub has_wipes: bool,
    /// Times that an id may be removed and join anew, its old process serving or not.
    pub rejoins: u8,
    /// Requests of one node that may be under way at once.
    pub requests: usize,
    /// Answers that may be on their way to a process.
    pub answers: usize,
    /// Proposals of leaders and operators that may be under way.
    pub proposals: usize,
    /// From every state, whether the limit is regained.
    pub is_healed: bool,
}

const ALL: Form = Form {
    name: "",
    nodes: 1,
    limit: 2,
    limits: &[],
    has_never: false,
    has_targets: false,
    has_drains: false,
    has_crashes: true,
    has_wipes: false,
    rejoins: 0,
    requests: 2,
    answers: 1,
    proposals: 1,
    is_healed: true,
};

/// One node with each thing that may go wrong, small enough for every change. A node's share is what it may
/// serve, so this is where most laws break first.
const SMALL: &[Form] = &[
    Form { name: "one node", ..ALL },
    Form { name: "one node, recalled", has_targets: true, limit: 1, ..ALL },
    Form { name: "one node, other limits", limits: &[1, 2], requests: 1, ..ALL },
    Form { name: "one node, lease never and back", has_never: true, requests: 1, limit: 1, ..ALL },
    Form { name: "one node, disk wiped", has_wipes: true, limit: 1, ..ALL },
    Form { name: "one node, drained", has_drains: true, requests: 1, limit: 1, ..ALL },
    Form {
        name: "one node, its id joins anew",
        rejoins: 1,
        requests: 1,
        has_crashes: false,
        limit: 1,
        ..ALL
    },
];

/// The same with two requests under way everywhere, and together what is apart above.
const ONE: &[Form] = &[
    Form { name: "one node, recalled, limit 2", has_targets: true, ..ALL },
    Form { name: "one node, recalled, other limits", has_targets: true, limits: &[1, 2], ..ALL },
    Form {
        name: "one node, lease never and back, disk wiped",
        has_never: true,
        has_wipes: true,
        limit: 1,
        ..ALL
    },
    Form {
        name: "one node, drained, lease never and back",
        has_drains: true,
        has_never: true,
        limit: 1,
        ..ALL
    },
    Form {
        name: "one node, its id joins anew, lease never",
        rejoins: 1,
        has_never: true,
        requests: 1,
        limit: 1,
        ..ALL
    },
];

/// Two nodes that share a limit.
const TWO: &[Form] = &[
    Form { name: "two nodes", nodes: 2, limit: 1, requests: 1, has_crashes: false, ..ALL },
    Form { name: "two nodes that crash", nodes: 2, limit: 1, requests: 1, ..ALL },
    Form { name: "two nodes, limit 2", nodes: 2, limit: 2, requests: 1, ..ALL },
];

/// Three nodes that share a limit.
const THREE: &[Form] =
    &[Form { name: "three nodes", nodes: 3, limit: 1, requests: 1, has_crashes: false, ..ALL }];

/// The forms of so many nodes; the small ones if no number is given.
pub fn of(nodes: Option<u64>) -> &'static [Form] {
    match nodes {
        None => SMALL,
        Some(1) => ONE,
        Some(2) => TWO,
        Some(_) => THREE,
    }
}
