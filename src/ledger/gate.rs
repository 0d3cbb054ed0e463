//! How the ledger asks its workers to hand over: epochs, without a lock.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::bucketing::Bucketing;

/// Wakes a worker that waits for messages. Called from the ledger's thread; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What workers and ledger share about hand-overs. Each snapshot begins an epoch, in which each
/// worker hands over once.
pub(super) struct EpochGate {
    /// Number of the newest epoch.
    epoch: AtomicU64,
    /// Messages before this time belong to the next tick ([`super::schedule::Schedule::bound`]).
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

    /// Number of the newest epoch. A worker that sees it sees its bound as well.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the newest epoch is a later one. Costs one relaxed load.
    #[inline]
    pub(super) fn is_after(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Relaxed) != epoch
    }

    /// Messages before this time, in milliseconds since the epoch, belong to the next tick.
    pub(super) fn bound_ms(&self) -> i64 {
        self.bound_ms.load(Ordering::Relaxed)
    }

    /// Sets how a worker is woken up. Only the first call counts.
    pub(super) fn wake_with(&self, worker: usize, waker: Waker) {
        // A second waker would be a second source for one shard, which nobody builds.
        drop(self.wakers[worker].set(waker));
    }

    /// Asks all workers to hand over, and to count for the tick of `bound_ms` from then on.
    pub(super) fn ask(&self, bound_ms: i64) {
        self.bound_ms.store(bound_ms, Ordering::Relaxed);
        // Released behind the bound: see `epoch`.
        self.epoch.fetch_add(1, Ordering::Release);
        for waker in self.wakers.iter().filter_map(OnceLock::get) {
            waker();
        }
    }

    /// The watermark that all partitions must reach for the next tick; `None` if ticks don't wait
    /// for partitions.
    pub(super) fn target(&self, bucketing: Bucketing) -> Option<i64> {
        Some(self.bound_ms().saturating_add(bucketing.lateness_ms?))
    }
}
