//! Coalescing: the renewals that reach the leader within some milliseconds become one entry of the log.
//!
//! So commits do not grow with the number of nodes. Each renewal gets its own answer, as if it had been
//! alone; a node is once in each entry. Openings are never put together: the answer to one names a log index.

use std::time::Duration;

use erlmcp_ledger::{Command, RENEWALS_MAX, Receipt, Renewal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Committed};

/// How long the first renewal of an entry waits for others.
const GATHER_TIME: Duration = Duration::from_millis(30);

/// The longest wait for a commit: a node gives up a renewal after a second.
const COMMIT_TIME: Duration = Duration::from_secs(1);

/// Renewals that wait at most; every member has one under way, and one that it gave up.
const QUEUE_MAX: usize = 2 * RENEWALS_MAX;

/// A renewal and the one who waits for its answer.
pub(crate) type Waiting = (Renewal, oneshot::Sender<Attempt>);

/// The way to the task that gathers.
pub(crate) type RenewalQueue = mpsc::Sender<Waiting>;

/// The two ends of the queue.
pub(crate) fn queue() -> (RenewalQueue, mpsc::Receiver<Waiting>) {
    mpsc::channel(QUEUE_MAX)
}

/// Gathers and writes with `write` until `closing`.
pub(crate) async fn run<W: Future<Output = Attempt>>(
    mut queue: mpsc::Receiver<Waiting>,
    closing: CancellationToken,
    write: impl Fn(Command, Duration) -> W,
) {
    let gathering = async {
        while let Some(first) = queue.recv().await {
            tokio::time::sleep(GATHER_TIME).await;
            let mut waiting = vec![first];
            while let Ok(next) = queue.try_recv() {
                waiting.push(next);
            }
            while !waiting.is_empty() {
                let (renewals, waiters): (Vec<_>, Vec<_>) = take_batch(&mut waiting).into_iter().unzip();
                let attempt = write(Command::Renew { renewals }, COMMIT_TIME).await;
                answer(waiters, attempt);
            }
        }
    };
    closing.run_until_cancelled(gathering).await;
}

/// Takes out the first renewal of each node, in order.
fn take_batch(waiting: &mut Vec<Waiting>) -> Vec<Waiting> {
    let mut batch: Vec<Waiting> = Vec::with_capacity(waiting.len().min(RENEWALS_MAX));
    let mut rest = Vec::new();
    for one in waiting.drain(..) {
        let is_in = batch.iter().any(|(other, _)| other.node == one.0.node);
        if is_in || batch.len() == RENEWALS_MAX { rest.push(one) } else { batch.push(one) }
    }
    *waiting = rest;
    batch
}

fn answer(waiters: Vec<oneshot::Sender<Attempt>>, attempt: Attempt) {
    let answers = split(attempt, waiters.len());
    for (waiter, answer) in waiters.into_iter().zip(answers) {
        // One who gave it up has a later number by now.
        let _ = waiter.send(answer);
    }
}

/// The attempt of all as one of each.
fn split(attempt: Attempt, count: usize) -> Vec<Attempt> {
    match attempt {
        Attempt::Committed(Committed { index, receipt: Receipt::Renewed(answers) }) => {
            let alone = |answer| Committed { index, receipt: Receipt::Renewed(vec![answer]) };
            answers.into_iter().map(|answer| Attempt::Committed(alone(answer))).collect()
        }
        other => vec![other; count],
    }
}

#[cfg(test)]
mod tests {
    use erlmcp_ledger::{Amount, Reason};

    use super::*;

    fn waiting(node: u64, seq: u32) -> Waiting {
        let renewal = Renewal {
            node,
            session: 1,
            seq,
            held: Amount::default(),
            in_use: Amount::default(),
            want: Amount::default(),
            ceiling: 1,
            lease_ms: None,
        };
        (renewal, oneshot::channel().0)
    }

    fn names(batch: &[Waiting]) -> Vec<(u64, u32)> {
        batch.iter().map(|(renewal, _)| (renewal.node, renewal.seq)).collect()
    }

    #[test]
    fn a_node_is_once_in_each_entry_and_its_renewals_stay_in_order() {
        let mut all = vec![waiting(1, 1), waiting(2, 1), waiting(1, 2), waiting(3, 1), waiting(1, 3)];
        assert_eq!(names(&take_batch(&mut all)), [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(names(&take_batch(&mut all)), [(1, 2)]);
        assert_eq!(names(&take_batch(&mut all)), [(1, 3)]);
        assert!(all.is_empty());
    }

    #[test]
    fn each_gets_its_own_answer() {
        let refusals = [5, 6].map(|seq| Err(Reason::StaleSeq { node: 1, seq }));
        let receipt = Receipt::Renewed(refusals.to_vec());
        let split = split(Attempt::Committed(Committed { index: 9, receipt }), 2);
        let receipts = split.into_iter().map(|attempt| match attempt {
            Attempt::Committed(Committed { index: 9, receipt: Receipt::Renewed(answers) }) => answers,
            _ => panic!("not committed"),
        });
        assert_eq!(receipts.collect::<Vec<_>>(), refusals.map(|refusal| vec![refusal]));
        assert_eq!(super::split(Attempt::Unknown, 3).len(), 3);
    }
}
