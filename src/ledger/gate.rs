//! How the ledger asks its workers to hand over: epochs, without a lock.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use crate::{clock::UnixMs, schema::Schema};

use super::bucketing::{Bucketing, TickBound};

/// Wakes a worker that waits for messages. Called from the ledger's thread; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What workers and ledger share about hand-overs. Each snapshot begins an epoch, in which each
/// worker hands over once, and from which on it counts by the schema of that epoch.
pub(super) struct EpochGate {
    /// Number of the newest epoch.
    epoch: AtomicU64,
    /// Which messages belong to the next tick, as [`number`] writes it.
    bound: AtomicI64,
    /// What is counted from the newest epoch on.
    schema: Mutex<Arc<Schema>>,
    wakers: Vec<OnceLock<Waker>>,
}

impl EpochGate {
    pub(super) fn new(workers: usize, bound: TickBound, schema: Arc<Schema>) -> Self {
        EpochGate {
            epoch: AtomicU64::new(0),
            bound: AtomicI64::new(number(bound)),
            schema: Mutex::new(schema),
            wakers: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Number of the newest epoch. A worker that sees it sees its bound as well.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the newest epoch is a later one. Costs one relaxed load.
    #[inline]
    pub(super) fn is_after(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Relaxed) != epoch
    }

    /// Which messages belong to the next tick.
    pub(super) fn bound(&self) -> TickBound {
        match self.bound.load(Ordering::Relaxed) {
            i64::MIN => TickBound::Unknown,
            i64::MAX => TickBound::Unbounded,
            time => TickBound::Before(UnixMs::new(time)),
        }
    }

    /// What is counted. A worker that sees an epoch sees the schema that it began with as well.
    pub(super) fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.schema.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets how a worker is woken up. Only the first call counts.
    pub(super) fn wake_with(&self, worker: usize, waker: Waker) {
        // A second waker would mean a second source for one shard, which does not exist.
        drop(self.wakers[worker].set(waker));
    }

    /// Asks all workers to hand over, and to count for the tick with this bound from then on.
    pub(super) fn ask(&self, bound: TickBound) {
        self.bound.store(number(bound), Ordering::Relaxed);
        // Released behind the bound: see `epoch`.
        self.epoch.fetch_add(1, Ordering::Release);
        for waker in self.wakers.iter().filter_map(OnceLock::get) {
            waker();
        }
    }

    /// The same, and to count by this schema from then on.
    pub(super) fn ask_for(&self, schema: Arc<Schema>, bound: TickBound) {
        *self.schema.lock().unwrap_or_else(PoisonError::into_inner) = schema;
        self.ask(bound);
    }

    /// The watermark that all partitions must reach for the next tick; `None` if ticks don't wait
    /// for partitions. Before the first tick is known, any watermark will do.
    pub(super) fn target(&self, bucketing: Bucketing) -> Option<UnixMs> {
        let lateness = bucketing.lateness?;
        match self.bound() {
            TickBound::Before(tick) => Some(tick + lateness),
            TickBound::Unknown | TickBound::Unbounded => Some(UnixMs::default()),
        }
    }
}

/// A bound as one number that is atomic.
const fn number(bound: TickBound) -> i64 {
    match bound {
        TickBound::Unknown => i64::MIN,
        TickBound::Before(time) => time.get(),
        TickBound::Unbounded => i64::MAX,
    }
}
