//! What waits to be sent, between the snapshots and the sender.
//!
//! It holds the snapshot that is being sent and the newest one behind it: while an endpoint is
//! away, older samples are superseded by newer ones. A queue that forgets nothing has to offer
//! what this one does ([`Batches`]).

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use crate::{
    ledger::Snapshot,
    log_limit::LogLimit,
    publish::remote_write::{
        Batch, BatchBounds, ExternalLabels, FamilyId, LabelPool, SAMPLE_MAX_BYTES, Sample,
    },
};

use super::{
    LOG_PERIOD,
    account::{Account, DropReason},
    stream::Batches,
};

/// How far apart, in the samples' time, type and help of the metrics are sent.
const METADATA_INTERVAL_MS: i64 = 60_000;

/// Snapshots as they come.
pub(super) type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// The samples of one endpoint that are neither confirmed nor given up.
#[derive(Debug)]
pub(super) struct Queue {
    snapshots: Snapshots,
    external: ExternalLabels,
    bounds: BatchBounds,
    /// The label sets of the batch under way.
    pool: LabelPool,
    account: Account,
    current: Option<Current>,
    /// The newest snapshot, if its turn has not come.
    waiting: Option<Arc<Snapshot>>,
    /// Time of the newest snapshot taken in.
    newest_ms: i64,
    /// Time of the newest samples that went out with metadata.
    metadata_ms: Option<i64>,
    /// Since when no more snapshots come.
    closed: Option<Instant>,
    superseded_log: LogLimit,
}

/// The snapshot that is being sent.
#[derive(Debug)]
struct Current {
    snapshot: Arc<Snapshot>,
    /// Where the next batch begins.
    slot: usize,
    /// Samples of it that are pending, those of a batch under way included.
    pending: usize,
}

impl Queue {
    pub(super) fn new(
        mut snapshots: Snapshots,
        external: ExternalLabels,
        bounds: BatchBounds,
        account: Account,
    ) -> Self {
        // What is there already is news to us.
        snapshots.mark_changed();
        Queue {
            snapshots,
            external,
            bounds,
            pool: LabelPool::new(),
            account,
            current: None,
            waiting: None,
            newest_ms: i64::MIN,
            metadata_ms: None,
            closed: None,
            superseded_log: LogLimit::new(LOG_PERIOD),
        }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    fn fill(&mut self) -> Option<Batch> {
        let current = self.current.as_mut()?;
        let snapshot = &current.snapshot;
        let time_ms = snapshot.time_ms;
        let metadata_due = self
            .metadata_ms
            .is_none_or(|last| time_ms.saturating_sub(last) >= METADATA_INTERVAL_MS);
        self.pool = LabelPool::new();
        let mut batch = Batch::default();
        if current.slot == 0 && metadata_due && !snapshot.is_empty() {
            batch.metadata = true;
            self.metadata_ms = Some(time_ms);
        }
        let most = self.bounds.series.min(self.bounds.samples);
        let mut bytes = 0;
        while current.slot < snapshot.slots() && batch.len() < most {
            if let Some(series) = snapshot.get(current.slot) {
                let name = series.direction.metric().to_owned();
                let mut labels = vec![("__name__", name)];
                series.labels(|name, value| labels.push((name, value.to_owned())));
                let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
                let set = self.pool.add(self.external.merge(labels));
                bytes += self.pool.encoded_len(set) + SAMPLE_MAX_BYTES;
                if bytes > self.bounds.bytes && !batch.is_empty() {
                    break;
                }
                // Prometheus' samples are doubles: above 2^53 they hold a count's leading digits.
                let value = series.bytes as f64;
                let sample = Sample { time_ms, value, start_ms: series.start_ms };
                batch.push(set, FamilyId::flow(series.direction), &[sample]);
            }
            current.slot += 1;
        }
        if batch.is_empty() {
            self.current = None;
            return None;
        }
        Some(batch)
    }

    fn settle(&mut self, samples: usize) {
        if let Some(current) = &mut self.current {
            current.pending -= samples;
        }
    }

    /// Gives up all that is pending, at the end. Returns how many samples that is.
    pub(super) fn abandon(&mut self) -> usize {
        let waiting = self.waiting.take().map_or(0, |snapshot| snapshot.len());
        self.account.dropped(waiting, DropReason::Shutdown);
        waiting + self.give_up_current(DropReason::Shutdown)
    }

    fn give_up_current(&mut self, reason: DropReason) -> usize {
        let pending = self.current.take().map_or(0, |current| current.pending);
        match reason {
            DropReason::Superseded => self.superseded(pending),
            _ => self.account.dropped(pending, reason),
        }
        pending
    }

    fn superseded(&mut self, samples: usize) {
        self.account.dropped(samples, DropReason::Superseded);
        if samples > 0
            && let Some(held_back) = self.superseded_log.permit()
        {
            tracing::warn!(
                endpoint = self.account.endpoint(),
                samples,
                held_back,
                "newer samples are there before the endpoint took these: they are dropped"
            );
        }
    }
}

impl Batches for Queue {
    async fn next(&mut self) -> Option<Batch> {
        loop {
            if self.closed.is_some() && self.waiting.is_some() {
                // Counters hold all that came before: the last sample matters most.
                self.give_up_current(DropReason::Superseded);
            }
            if let Some(batch) = self.fill() {
                return Some(batch);
            }
            match self.waiting.take() {
                Some(snapshot) => {
                    let pending = snapshot.len();
                    self.current = Some(Current { snapshot, slot: 0, pending });
                }
                None if self.closed.is_some() => return None,
                None => self.news().await,
            }
        }
    }

    fn maybe_sent(&self) -> bool {
        false
    }

    fn pool(&self) -> &LabelPool {
        &self.pool
    }

    async fn news(&mut self) {
        if self.snapshots.changed().await.is_err() {
            self.closed.get_or_insert_with(Instant::now);
            return;
        }
        let Some(snapshot) = self.snapshots.borrow_and_update().clone() else { return };
        self.account.generated(snapshot.len());
        if snapshot.time_ms <= self.newest_ms {
            // Samples of a series must rise in time.
            self.account.dropped(snapshot.len(), DropReason::NotNewer);
            return;
        }
        self.newest_ms = snapshot.time_ms;
        if let Some(older) = self.waiting.replace(snapshot) {
            self.superseded(older.len());
        }
    }

    fn closed(&self) -> Option<Instant> {
        self.closed
    }

    fn confirm(&mut self, batch: Batch) {
        self.account.confirmed(batch.samples());
        self.settle(batch.samples());
    }

    fn give_up(&mut self, batch: Batch, reason: DropReason) {
        self.account.dropped(batch.samples(), reason);
        self.settle(batch.samples());
    }

    fn limit(&mut self, bounds: BatchBounds) {
        self.bounds = bounds;
    }
}
