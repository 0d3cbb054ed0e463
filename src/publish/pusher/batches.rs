//! The queue as the stream and its requests see it, and waits that end when the queue says so.

use std::{pin::pin, time::Duration};

use tokio::time::{self, Instant};

use crate::publish::remote_write::{Batch, BatchBounds, LabelPool};

use super::push_metrics::DropReason;

/// The samples of one endpoint that are neither confirmed nor dropped, as the stream sees them.
pub(super) trait Batches {
    /// Waits for the next samples to send; `None` once everything that ever came is settled, or
    /// sending is to stop. Each sample has to be confirmed or given up, in this batch or in parts
    /// of it, before the next batch is asked for. The future may be dropped at any time.
    async fn next(&mut self) -> Option<Batch>;
    /// Whether samples of the batch that [`Batches::next`] returned last may have been sent before
    /// this pusher started.
    fn maybe_sent(&self) -> bool;
    /// Whether [`Batches::next`] had to wait for the batch that it returned last.
    fn is_fresh(&self) -> bool;
    /// The pool of the batches' label sets.
    fn pool(&self) -> &LabelPool;
    /// Waits until the log has grown, or will not grow any more. The future may be dropped at any
    /// time.
    async fn news(&mut self);
    /// When sending has to end; `None` while the log may still grow.
    fn deadline(&self) -> Option<Instant>;
    /// The receiver has these samples.
    fn confirm(&mut self, batch: Batch);
    /// The receiver will never take these samples.
    fn give_up(&mut self, batch: Batch, reason: DropReason);
    /// Limits the size of batches from now on.
    fn limit(&mut self, bounds: BatchBounds);
}

/// The pusher has to end, and there is no more time for what is pending.
pub(super) struct Ended;

/// Does `work` while the queue follows the log. Once the queue has a deadline, `work` has until
/// then.
pub(super) async fn attend<T>(
    queue: &mut impl Batches,
    work: impl Future<Output = T>,
) -> Result<T, Ended> {
    let mut work = pin!(work);
    loop {
        let deadline = queue.deadline();
        let over = async {
            match deadline {
                Some(deadline) => time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // News first: what is done next depends on it.
            biased;
            () = queue.news(), if deadline.is_none() => {}
            done = &mut work => return Ok(done),
            () = over => return Err(Ended),
        }
    }
}

/// Waits while the queue follows the log, and not at all once the queue has a deadline.
pub(super) async fn pause(queue: &mut impl Batches, wait: Duration) -> Result<(), Ended> {
    let mut over = pin!(time::sleep(wait));
    loop {
        if queue.deadline().is_some() {
            return Err(Ended);
        }
        tokio::select! {
            () = &mut over => return Ok(()),
            () = queue.news() => {}
        }
    }
}
