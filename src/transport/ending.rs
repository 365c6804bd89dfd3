//! How a listener ends, in two steps of its owner: clients go first, the port closes last.
//!
//! Between the two the owner ends what it has behind the port, and probes are answered meanwhile.

use tokio_util::sync::CancellationToken;

use crate::drain::DrainState;

/// The steps of an end; a clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Whether new clients are let in, and those who are there asked to go.
    pub state: DrainState,
    /// Cancelled by the owner: clients are sent away, what runs may finish in time, probes are answered.
    pub drain: CancellationToken,
    /// Cancelled by the listener once no client is left.
    pub drained: CancellationToken,
    /// Cancelled by the owner: the port closes.
    pub close: CancellationToken,
}

impl Ending {
    /// Both steps in one, for an owner without anybody who probes it.
    #[must_use]
    pub fn at_once(stop: CancellationToken) -> Ending {
        Ending { drain: stop.clone(), close: stop, ..Ending::default() }
    }
}
