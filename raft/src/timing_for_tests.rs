//! Times for tests on a busy machine with two cores; the product's are in its configuration. Also part of the
//! tests in `tests/`, by its path.

use std::time::Duration;

use super::Timing;

/// All times and thresholds.
pub(crate) fn timing() -> Timing {
    Timing {
        heartbeat: Duration::from_millis(150),
        election_min: Duration::from_millis(450),
        election_max: Duration::from_millis(800),
        propose: Duration::from_secs(5),
        operate: Duration::from_secs(15),
        join_pause: Duration::from_secs(1),
        promote_after: Duration::from_secs(5),
        replace_after: Duration::from_secs(30),
        reconcile: Duration::from_millis(250),
        lag_max: 250,
        snapshot_entries: 5_000,
        keep_entries: 1_000,
    }
}
