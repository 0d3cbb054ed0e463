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
    source::{Bound, Position},
    traffic::{Counts, Layout, Rule},
};

use super::cut::Request;

/// Wakes a worker that waits for messages. Called from the ledger's thread; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What workers and ledger share about cuts.
pub(super) struct Gate {
    /// Number of the newest cut that was asked for.
    epoch: AtomicU64,
    /// Messages before this time belong to the next sample ([`super::schedule::Schedule::bound`]).
    bound_ms: AtomicI64,
    wakers: Vec<OnceLock<Waker>>,
}

impl Gate {
    pub(super) fn new(workers: usize, bound_ms: i64) -> Self {
        Gate {
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
    pub(super) fn awaited(&self, order: Order) -> Option<i64> {
        let lateness = order.lateness_ms?;
        Some(self.bound_ms.load(Ordering::Relaxed).saturating_add(lateness))
    }
}

/// How messages are sorted into samples by their time, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) interval_ms: i64,
    /// `None` where messages belong to the sample that is taken next.
    pub(super) lateness_ms: Option<i64>,
}

/// What was counted for one sample.
#[derive(Debug)]
pub(super) struct Bin {
    /// The sample's time, in milliseconds since the epoch: the messages are before it.
    pub(super) bound_ms: i64,
    pub(super) counts: Box<Counts>,
}

/// A worker's place at the ledger.
pub struct Seat {
    number: usize,
    gate: Arc<Gate>,
    requests: mpsc::Sender<Request>,
    order: Order,
    /// For the next sample.
    counts: Box<Counts>,
    /// The next sample's time.
    bound_ms: i64,
    /// For the samples after it.
    ahead: Vec<Bin>,
    epoch: u64,
    /// The bound that was last reported as passed.
    reported: Option<i64>,
    spare_in: mpsc::Sender<Box<Counts>>,
    spare_out: mpsc::Receiver<Box<Counts>>,
    layout: Layout,
    rule: Rule,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Seat {
    pub(super) fn new(
        number: usize,
        gate: &Arc<Gate>,
        requests: mpsc::Sender<Request>,
        order: Order,
        layout: &Layout,
        rule: Rule,
    ) -> Self {
        let (spare_in, spare_out) = mpsc::channel();
        Seat {
            number,
            gate: Arc::clone(gate),
            requests,
            order,
            counts: Box::new(Counts::new(layout.clone(), rule)),
            bound_ms: gate.bound_ms.load(Ordering::Relaxed),
            ahead: Vec::new(),
            epoch: 0,
            reported: None,
            spare_in,
            spare_out,
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
        // A second waker would be a second source in one seat, which nobody builds.
        drop(self.gate.wakers[self.number].set(waker));
    }

    /// The table for a message with this timestamp, in milliseconds since the epoch; without one,
    /// that of the next sample.
    pub fn counts(&mut self, time_ms: Option<i64>) -> &mut Counts {
        let Some(time_ms) = time_ms else { return &mut self.counts };
        if time_ms >= self.bound_ms {
            return self.counts_ahead(time_ms);
        }
        if time_ms < self.bound_ms.saturating_sub(self.order.interval_ms) {
            self.counts.late_messages += 1;
        }
        &mut self.counts
    }

    #[cold]
    fn counts_ahead(&mut self, time_ms: i64) -> &mut Counts {
        let Order { interval_ms, .. } = self.order;
        let bound_ms = (time_ms.div_euclid(interval_ms) + 1).saturating_mul(interval_ms);
        let place = self.ahead.iter().position(|bin| bin.bound_ms == bound_ms);
        let place = place.unwrap_or_else(|| {
            let counts = Box::new(Counts::new(self.layout.clone(), self.rule));
            self.ahead.push(Bin { bound_ms, counts });
            self.ahead.len() - 1
        });
        &mut self.ahead[place].counts
    }

    /// Which messages are for the next sample; `None` if messages are counted as they come. Moves
    /// on with hand-overs alone, so that what is in a sample does not depend on who is first.
    pub fn bound(&self) -> Option<Bound> {
        let lateness_ms = self.order.lateness_ms?;
        Some(Bound { time_ms: self.bound_ms, lateness_ms })
    }

    /// Says that no message before `time_ms` (milliseconds since the epoch) is left to count, but
    /// for late ones.
    pub fn passed(&mut self, time_ms: i64) {
        if self.reported != Some(self.bound_ms) {
            self.reported = Some(self.bound_ms);
            // The ledger ends after its workers; if it is gone, the process is on its way out.
            drop(self.requests.send(Request::Passed { worker: self.number, time_ms }));
        }
    }

    /// Whether a cut waits for this worker. Costs one relaxed load.
    pub fn cut_is_due(&self) -> bool {
        self.gate.epoch.load(Ordering::Relaxed) != self.epoch
    }

    /// Hands over all that was counted, with the positions up to which it was, and goes on with
    /// empty tables.
    pub fn hand_over(&mut self, positions: Vec<Position>) {
        self.epoch = self.gate.epoch.load(Ordering::Acquire);
        let empty = self
            .spare_out
            .try_recv()
            .unwrap_or_else(|_| Box::new(Counts::new(self.layout.clone(), self.rule)));
        let counts = std::mem::replace(&mut self.counts, empty);
        let bound_ms = self.bound_ms;
        self.bound_ms = self.gate.bound_ms.load(Ordering::Relaxed);
        let mut bins = std::mem::take(&mut self.ahead);
        bins.push(Bin { bound_ms, counts });
        drop(self.requests.send(Request::HandOver {
            epoch: self.epoch,
            bins,
            positions,
            spare: self.spare_in.clone(),
        }));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.requests.send(Request::Left));
    }
}
