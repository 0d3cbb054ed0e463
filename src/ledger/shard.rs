//! One worker's part of the ledger: the tables in which it counts, and how it hands them over.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::Instant,
};

use crate::{
    clock::UnixMs,
    schema::Schema,
    source::{Bound, Position},
    traffic::Counts,
};

use super::{
    bucketing::{Bucketing, TickBound},
    gate::{EpochGate, Waker},
    message::{Bucket, HandOver, Receipt, Request},
    waiting::WaitingIn,
};

/// A table that has grown to this ([`Counts::bytes`]; about 87,000 series) is handed over unasked.
const FULL_BYTES: usize = 2 << 20;

/// When the tables for later ticks than the next one take this ([`Counts::bytes`]), no more messages
/// are read ahead. So the early counts in the journal are bounded.
const FULL_EARLY_BYTES: usize = 2 << 20;

/// A worker waits for the ledger while this many of its tables are not merged yet.
const TABLES_OUT: usize = 2;

/// One worker's part of the ledger.
pub struct Shard {
    number: usize,
    gate: Arc<EpochGate>,
    requests: mpsc::Sender<Request>,
    bucketing: Bucketing,
    /// For the next tick.
    counts: Box<Counts>,
    /// Which messages belong to the next tick.
    bound: TickBound,
    /// For the ticks after it.
    early: Vec<Bucket>,
    /// What was handed over for the ticks after it: their times, and [`Counts::bytes`].
    handed_early: Vec<(TickBound, usize)>,
    epoch: u64,
    /// The bound for which a watermark was last reported.
    reported: Option<TickBound>,
    /// Hand-overs without a receipt yet.
    out: usize,
    receipts_in: mpsc::Sender<Option<Box<Counts>>>,
    receipts_out: mpsc::Receiver<Option<Box<Counts>>>,
    /// What all tables are of that are not handed over.
    schema: Arc<Schema>,
    /// To be handed over next.
    places: Option<Vec<u8>>,
    waiting: Option<((WaitingIn, usize), Vec<u8>)>,
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
    ) -> Self {
        let schema = gate.schema();
        let (receipts_in, receipts_out) = mpsc::channel();
        Shard {
            number,
            gate: Arc::clone(gate),
            requests,
            bucketing,
            counts: Box::new(Counts::new(Arc::clone(&schema))),
            bound: gate.bound(),
            early: Vec::new(),
            handed_early: Vec::new(),
            epoch: 0,
            reported: None,
            out: 0,
            receipts_in,
            receipts_out,
            schema,
            places: None,
            waiting: None,
        }
    }

    /// The worker's number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// What is counted. Changes only with hand-overs.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Sets how the worker is woken up when it is to hand over. Only the first call counts.
    pub fn wake_with(&self, waker: Waker) {
        self.gate.wake_with(self.number, waker);
    }

    /// The table for a message with this timestamp; without one, that of the next tick.
    pub fn counts(&mut self, time: Option<UnixMs>) -> &mut Counts {
        let Some(time) = time else { return &mut self.counts };
        let TickBound::Before(tick) = self.bound else {
            return if self.bound == TickBound::Unknown {
                self.early_counts(time)
            } else {
                &mut self.counts
            };
        };
        if time >= tick {
            return self.early_counts(time);
        }
        if time < tick - self.bucketing.interval {
            self.counts.late_messages += 1;
        }
        &mut self.counts
    }

    #[cold]
    fn early_counts(&mut self, time: UnixMs) -> &mut Counts {
        let bound = TickBound::Before(time.next(self.bucketing.interval));
        let place = self.early.iter().position(|bucket| bucket.bound == bound);
        let place = place.unwrap_or_else(|| {
            let counts = Box::new(Counts::new(Arc::clone(&self.schema)));
            self.early.push(Bucket { bound, counts });
            self.early.len() - 1
        });
        &mut self.early[place].counts
    }

    /// Which messages belong to the next tick; `None` if messages are counted as they come. Changes
    /// only with hand-overs, so what a tick counts does not depend on which worker is first.
    pub fn bound(&self) -> Option<Bound> {
        let lateness = self.bucketing.lateness?;
        let handed = self.handed_early.iter().map(|&(_, bytes)| bytes);
        let held = self.early.iter().map(|bucket| bucket.counts.bytes());
        let reads_ahead = handed.chain(held).sum::<usize>() < FULL_EARLY_BYTES;
        let tick = match self.bound {
            TickBound::Before(tick) => Some(tick),
            TickBound::Unknown | TickBound::Unbounded => None,
        };
        Some(Bound { tick, lateness, reads_ahead })
    }

    /// Reports that no message before `time` is left to count, except for late ones.
    pub fn advance_watermark(&mut self, time: UnixMs) {
        if self.reported != Some(self.bound) {
            self.reported = Some(self.bound);
            // The ledger ends after its workers; if it is gone, the process is on its way out.
            drop(self.requests.send(Request::Watermark { worker: self.number, time }));
        }
    }

    /// Whether the ledger waits for this worker, or its table is full. Costs one relaxed load and two
    /// comparisons.
    #[inline]
    pub fn hand_over_is_due(&self) -> bool {
        self.gate.is_after(self.epoch) || self.counts.bytes() >= FULL_BYTES
    }

    /// Has the next hand-over say which datagrams come next: the journal has that beside the counts.
    pub fn set_places(&mut self, places: Vec<u8>) {
        self.places = Some(places);
    }

    /// Has the next hand-over say what was taken and is not counted yet, though positions are past it: the
    /// journal has that beside the counts, in the place of what the worker with this number among those
    /// of its kind said before.
    pub fn set_waiting(&mut self, worker: (WaitingIn, usize), waiting: Vec<u8>) {
        self.waiting = Some((worker, waiting));
    }

    /// Asks for a snapshot soon.
    pub fn ask_for_snapshot(&self) {
        drop(self.requests.send(Request::Freshen(Instant::now())));
    }

    /// Hands over everything that was counted, with the positions up to which it was, and continues
    /// with empty tables, which are of another schema if the ledger wants that. Waits if the ledger has not merged what was handed over before.
    pub fn hand_over(&mut self, positions: Vec<Position>) {
        let returned = self.take_table();
        let epoch = self.gate.epoch();
        let is_asked = epoch != self.epoch;
        self.epoch = epoch;
        if is_asked {
            self.schema = self.gate.schema();
        }
        let empty = returned
            .filter(|table| Arc::ptr_eq(table.schema(), &self.schema))
            .unwrap_or_else(|| Box::new(Counts::new(Arc::clone(&self.schema))));
        let counts = std::mem::replace(&mut self.counts, empty);
        let bound = self.bound;
        self.bound = self.gate.bound();
        let mut buckets = std::mem::take(&mut self.early);
        self.handed_early
            .extend(buckets.iter().map(|bucket| (bucket.bound, bucket.counts.bytes())));
        self.handed_early.retain(|&(of, _)| of > self.bound);
        buckets.push(Bucket { bound, counts });
        self.out += 1;
        let receipt = Receipt::new(self.receipts_in.clone());
        let epoch = is_asked.then_some(epoch);
        drop(self.requests.send(Request::HandOver(HandOver {
            epoch,
            buckets,
            positions,
            places: self.places.take(),
            waiting: self.waiting.take(),
            receipt,
        })));
    }

    /// An empty table that was merged, if there is one, once fewer than [`TABLES_OUT`] wait for that.
    fn take_table(&mut self) -> Option<Box<Counts>> {
        let mut table = None;
        while self.out > 0 {
            let receipt = if self.out < TABLES_OUT {
                self.receipts_out.try_recv().ok()
            } else {
                // A receipt always comes: it is sent even when it is dropped.
                self.receipts_out.recv().ok()
            };
            let Some(back) = receipt else { break };
            self.out -= 1;
            table = back.or(table);
        }
        table
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        drop(self.requests.send(Request::Left));
    }
}
