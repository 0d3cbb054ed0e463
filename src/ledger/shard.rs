//! A worker's place at the ledger: the tables in which it counts, and the way to hand them over.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
};

use crate::{
    clock::{Millis, UnixMs},
    source::{Bound, Position},
    traffic::{Counts, Layout, Rule},
};

use super::thread::Request;

/// A table that has grown to this ([`Counts::bytes`]; about 87,000 series) is handed over without
/// being asked for.
const FULL_BYTES: usize = 2 << 20;

/// Where the tables for later samples than the next one take this ([`Counts::bytes`]), nothing more
/// is read ahead of that. What the journal holds beside the counts is bounded by it.
const FULL_AHEAD_BYTES: usize = 2 << 20;

/// Tables that the ledger has not merged yet. A worker that has handed over so many waits for it.
const TABLES_OUT: usize = 2;

/// Wakes a worker that waits for messages. Called from the ledger's thread; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What workers and ledger share about cuts.
pub(super) struct EpochGate {
    /// Number of the newest cut that was asked for.
    epoch: AtomicU64,
    /// Messages before this time belong to the next sample ([`super::schedule::Schedule::bound`]).
    bound_ms: AtomicI64,
    wakers: Vec<OnceLock<Waker>>,
}

impl EpochGate {
    pub(super) fn new(workers: usize, bound_ms: i64) -> Self {
        EpochGate {
            epoch: AtomicU64::new(0),
            bound_ms: AtomicI64::new(bound_ms),
            wakers: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Number of the newest cut.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Asks all workers to hand over, and to count for the sample of `bound_ms` from then on.
    pub(super) fn ask(&self, bound_ms: i64) {
        // A worker that sees the new epoch sees the new bound as well.
        self.bound_ms.store(bound_ms, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
        for waker in self.wakers.iter().filter_map(OnceLock::get) {
            waker();
        }
    }

    /// The time that all partitions must have passed for the next sample.
    pub(super) fn target(&self, bucketing: Bucketing) -> Option<i64> {
        let lateness = bucketing.lateness_ms?;
        Some(self.bound_ms.load(Ordering::Relaxed).saturating_add(lateness))
    }
}

/// How messages are sorted into samples by their time, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucketing {
    pub(super) interval_ms: i64,
    /// `None` where messages belong to the sample that is taken next.
    pub(super) lateness_ms: Option<i64>,
}

/// What was counted for one sample.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The sample's time, in milliseconds since the epoch: the messages are before it.
    pub(super) bound_ms: i64,
    pub(super) counts: Box<Counts>,
}

/// What a worker hands over.
pub(super) struct HandOver {
    /// The cut for which it is, if it is the first one of this worker since that was asked for.
    pub(super) epoch: Option<u64>,
    pub(super) buckets: Vec<Bucket>,
    pub(super) positions: Vec<Position>,
    pub(super) receipt: Receipt,
}

/// Tells a worker that its table is merged, at the latest when it is dropped, and gives it a table
/// to go on with.
pub(super) struct Receipt {
    table: Option<Box<Counts>>,
    to: mpsc::Sender<Option<Box<Counts>>>,
}

impl Receipt {
    /// Gives back a table, which is empty.
    pub(super) fn give(mut self, table: Box<Counts>) {
        self.table = Some(table);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // A worker that has left needs no table.
        drop(self.to.send(self.table.take()));
    }
}

/// A worker's place at the ledger.
pub struct Shard {
    number: usize,
    gate: Arc<EpochGate>,
    requests: mpsc::Sender<Request>,
    bucketing: Bucketing,
    /// For the next sample.
    counts: Box<Counts>,
    /// The next sample's time.
    bound_ms: i64,
    /// For the samples after it.
    ahead: Vec<Bucket>,
    /// What was handed over for the samples after it: their times, and [`Counts::bytes`].
    handed_ahead: Vec<(i64, usize)>,
    epoch: u64,
    /// The bound that was last reported as passed.
    reported: Option<i64>,
    /// Hand-overs without a receipt yet.
    out: usize,
    receipts_in: mpsc::Sender<Option<Box<Counts>>>,
    receipts_out: mpsc::Receiver<Option<Box<Counts>>>,
    layout: Layout,
    rule: Rule,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Shard {
    pub(super) fn new(
        number: usize,
        gate: &Arc<EpochGate>,
        requests: mpsc::Sender<Request>,
        bucketing: Bucketing,
        layout: &Layout,
        rule: Rule,
    ) -> Self {
        let (receipts_in, receipts_out) = mpsc::channel();
        Shard {
            number,
            gate: Arc::clone(gate),
            requests,
            bucketing,
            counts: Box::new(Counts::new(layout.clone(), rule)),
            bound_ms: gate.bound_ms.load(Ordering::Relaxed),
            ahead: Vec::new(),
            handed_ahead: Vec::new(),
            epoch: 0,
            reported: None,
            out: 0,
            receipts_in,
            receipts_out,
            layout: layout.clone(),
            rule,
        }
    }

    /// The worker's number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Sets how the worker is woken up when a cut is due. Only the first call counts.
    pub fn wake_with(&self, waker: Waker) {
        // A second waker would be a second source in one shard, which nobody builds.
        drop(self.gate.wakers[self.number].set(waker));
    }

    /// The table for a message with this timestamp, in milliseconds since the epoch; without one,
    /// that of the next sample.
    pub fn counts(&mut self, time_ms: Option<i64>) -> &mut Counts {
        let Some(time_ms) = time_ms else { return &mut self.counts };
        if time_ms >= self.bound_ms {
            return self.counts_ahead(time_ms);
        }
        if time_ms < self.bound_ms.saturating_sub(self.bucketing.interval_ms) {
            self.counts.late_messages += 1;
        }
        &mut self.counts
    }

    #[cold]
    fn counts_ahead(&mut self, time_ms: i64) -> &mut Counts {
        let Bucketing { interval_ms, .. } = self.bucketing;
        let bound_ms = (time_ms.div_euclid(interval_ms) + 1).saturating_mul(interval_ms);
        let place = self.ahead.iter().position(|bucket| bucket.bound_ms == bound_ms);
        let place = place.unwrap_or_else(|| {
            let counts = Box::new(Counts::new(self.layout.clone(), self.rule));
            self.ahead.push(Bucket { bound_ms, counts });
            self.ahead.len() - 1
        });
        &mut self.ahead[place].counts
    }

    /// Which messages are for the next sample; `None` if messages are counted as they come. Moves
    /// on with hand-overs alone, so that what is in a sample does not depend on who is first.
    pub fn bound(&self) -> Option<Bound> {
        let lateness_ms = self.bucketing.lateness_ms?;
        let handed = self.handed_ahead.iter().map(|&(_, bytes)| bytes);
        let held = self.ahead.iter().map(|bucket| bucket.counts.bytes());
        let reads_ahead = handed.chain(held).sum::<usize>() < FULL_AHEAD_BYTES;
        let tick = (self.bound_ms != i64::MIN).then_some(UnixMs::new(self.bound_ms));
        Some(Bound { tick, lateness: Millis::new(lateness_ms), reads_ahead })
    }

    /// Says that no message before `time_ms` (milliseconds since the epoch) is left to count, but
    /// for late ones.
    pub fn advance_watermark(&mut self, time_ms: i64) {
        if self.reported != Some(self.bound_ms) {
            self.reported = Some(self.bound_ms);
            // The ledger ends after its workers; if it is gone, the process is on its way out.
            drop(self.requests.send(Request::Watermark { worker: self.number, time_ms }));
        }
    }

    /// Whether a cut waits for this worker, or its table is full. Costs one relaxed load and two
    /// comparisons.
    pub fn hand_over_is_due(&self) -> bool {
        self.gate.epoch.load(Ordering::Relaxed) != self.epoch || self.counts.bytes() >= FULL_BYTES
    }

    /// Hands over all that was counted, with the positions up to which it was, and goes on with
    /// empty tables. Waits while the ledger has not merged what was handed over before.
    pub fn hand_over(&mut self, positions: Vec<Position>) {
        let empty = self.take_table();
        let epoch = self.gate.epoch.load(Ordering::Acquire);
        let is_asked = epoch != self.epoch;
        self.epoch = epoch;
        let counts = std::mem::replace(&mut self.counts, empty);
        let bound_ms = self.bound_ms;
        self.bound_ms = self.gate.bound_ms.load(Ordering::Relaxed);
        let mut buckets = std::mem::take(&mut self.ahead);
        self.handed_ahead
            .extend(buckets.iter().map(|bucket| (bucket.bound_ms, bucket.counts.bytes())));
        self.handed_ahead.retain(|&(of_ms, _)| of_ms > self.bound_ms);
        buckets.push(Bucket { bound_ms, counts });
        self.out += 1;
        let receipt = Receipt { table: None, to: self.receipts_in.clone() };
        let epoch = is_asked.then_some(epoch);
        drop(self.requests.send(Request::HandOver(HandOver {
            epoch,
            buckets,
            positions,
            receipt,
        })));
    }

    /// An empty table, once fewer than [`TABLES_OUT`] wait to be merged.
    fn take_table(&mut self) -> Box<Counts> {
        let mut table = None;
        while self.out > 0 {
            let receipt = if self.out < TABLES_OUT {
                self.receipts_out.try_recv().ok()
            } else {
                // One comes, whatever becomes of the ledger.
                self.receipts_out.recv().ok()
            };
            let Some(back) = receipt else { break };
            self.out -= 1;
            table = back.or(table);
        }
        table.unwrap_or_else(|| Box::new(Counts::new(self.layout.clone(), self.rule)))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        drop(self.requests.send(Request::Left));
    }
}
