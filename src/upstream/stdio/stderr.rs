//! What children write on stderr, into the log: untrusted text, cut and rated so that one child cannot flood
//! it.

use std::time::Duration;

use tokio::process::ChildStderr;
use tokio::time::{MissedTickBehavior, interval};

use super::lines::{Line, Lines};

/// Longest line logged, in bytes; of a longer one the head.
const LINE_BYTES_MAX: usize = 4_096;
/// Lines logged at once, and in each second after.
const LINES_PER_SECOND: u32 = 50;

/// Logs the lines of one child until it closes its stderr.
pub(super) async fn log(upstream: std::sync::Arc<str>, pid: u32, stderr: ChildStderr) {
    let mut lines = Lines::new(stderr, LINE_BYTES_MAX, LINE_BYTES_MAX);
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut left, mut cut) = (LINES_PER_SECOND, 0_u64);
    loop {
        tokio::select! {
            _ = second.tick() => {
                left = LINES_PER_SECOND;
                if cut > 0 {
                    tracing::warn!(upstream = %upstream, pid, lines = cut, "stderr was left out");
                    cut = 0;
                }
            }
            line = lines.next() => {
                let Some(Line::Whole(line) | Line::TooLong(line)) = line else { return };
                if left == 0 {
                    cut += 1;
                    continue;
                }
                left -= 1;
                let line = String::from_utf8_lossy(&line);
                tracing::info!(upstream = %upstream, pid, stderr = ?line, "an upstream says");
            }
        }
    }
}
