//! Where partitions stand: what workers and the control thread tell each other about them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

/// A time before all others.
const NEVER: i64 = i64::MIN;

/// Where one partition stands.
#[derive(Debug)]
pub(super) struct PartitionProgress {
    /// Offset of the next message to be given to the sink.
    next_offset: AtomicI64,
    /// The partition's end, by the broker's newest answer, and when it was asked, in milliseconds
    /// since the epoch. The offset is written first and read last, so that it is never older than
    /// the time.
    end_offset: AtomicI64,
    end_asked_ms: AtomicI64,
    /// Up to which offset there is no further message, as the worker found when it was asked last.
    read_to: AtomicI64,
    /// Whether the worker is to say so.
    read_to_asked: AtomicBool,
    /// Whether nobody waits for it, because its broker has been silent for too long.
    excused: AtomicBool,
}

impl PartitionProgress {
    fn new(next_offset: i64) -> Self {
        PartitionProgress {
            next_offset: AtomicI64::new(next_offset),
            end_offset: AtomicI64::new(i64::MAX),
            end_asked_ms: AtomicI64::new(NEVER),
            read_to: AtomicI64::new(next_offset),
            read_to_asked: AtomicBool::new(false),
            excused: AtomicBool::new(false),
        }
    }

    /// Says that all below this offset was given to the sink.
    pub(super) fn advance(&self, next_offset: i64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
    }

    /// All below this offset was given to the sink.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// Has the worker say up to where it has read, the next time that there is no message.
    pub(super) fn ask_read_to(&self) {
        self.read_to_asked.store(true, Ordering::Relaxed);
    }

    /// Whether the worker is asked to say so.
    pub(super) fn read_to_is_asked(&self) -> bool {
        self.read_to_asked.load(Ordering::Relaxed)
    }

    /// Says that there is no message from the next one's offset up to this one, but offsets without
    /// messages.
    pub(super) fn has_read_to(&self, offset: i64) {
        self.read_to.store(offset, Ordering::Relaxed);
        self.read_to_asked.store(false, Ordering::Relaxed);
    }

    /// Below this offset there is no message that is not given to the sink, as far as is known.
    pub(super) fn read_to(&self) -> i64 {
        self.read_to.load(Ordering::Relaxed).max(self.next_offset())
    }

    /// Takes the broker's answer: the partition ended at `offset` after `asked_ms`.
    pub(super) fn ends(&self, offset: i64, asked_ms: i64) {
        self.end_offset.store(offset, Ordering::Relaxed);
        self.end_asked_ms.store(asked_ms, Ordering::Release);
        self.excused.store(false, Ordering::Relaxed);
    }

    /// Does not wait for it any more.
    pub(super) fn excuse(&self) {
        self.excused.store(true, Ordering::Relaxed);
    }

    /// Whether the end that is known lies at or below this offset.
    pub(super) fn is_at_end(&self, next_offset: i64) -> bool {
        next_offset >= self.end_offset.load(Ordering::Relaxed)
    }

    /// Until when it is known to have given all that there was, if it was read up to this offset.
    pub(super) fn watermark_ms(&self, next_offset: i64) -> Option<i64> {
        if self.excused.load(Ordering::Relaxed) {
            return Some(i64::MAX);
        }
        let asked_ms = self.end_asked_ms.load(Ordering::Acquire);
        (self.is_at_end(next_offset) && asked_ms != NEVER).then_some(asked_ms)
    }
}

/// Where all assigned partitions stand.
#[derive(Debug)]
pub(super) struct TopicProgress {
    partitions: Mutex<BTreeMap<i32, Arc<PartitionProgress>>>,
    /// Until when no partitions but those at hand were to be read, in milliseconds since the epoch.
    complete_ms: AtomicI64,
}

impl Default for TopicProgress {
    fn default() -> Self {
        TopicProgress { partitions: Mutex::default(), complete_ms: AtomicI64::new(NEVER) }
    }
}

impl TopicProgress {
    pub(super) fn add(&self, partition: i32, start: i64) -> Arc<PartitionProgress> {
        let progress = Arc::new(PartitionProgress::new(start));
        self.lock().insert(partition, Arc::clone(&progress));
        progress
    }

    pub(super) fn remove(&self, partition: i32) {
        self.lock().remove(&partition);
    }

    /// The offset of a partition's next message.
    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        self.lock().get(&partition).map(|progress| progress.next_offset())
    }

    /// All partitions.
    pub(super) fn all(&self) -> Vec<(i32, Arc<PartitionProgress>)> {
        self.lock().iter().map(|(&partition, each)| (partition, Arc::clone(each))).collect()
    }

    pub(super) fn get(&self, partition: i32) -> Option<Arc<PartitionProgress>> {
        self.lock().get(&partition).cloned()
    }

    /// Partitions of which the end was not asked for since `ms`.
    pub(super) fn unasked_since(&self, ms: i64) -> Vec<i32> {
        let unasked = |progress: &PartitionProgress| {
            let asked_ms = progress.end_asked_ms.load(Ordering::Relaxed);
            asked_ms == NEVER || asked_ms < ms
        };
        let partitions = self.lock();
        partitions.iter().filter(|(_, each)| unasked(each)).map(|(&number, _)| number).collect()
    }

    /// Says that up to this time, there were no partitions to read but those that workers have
    /// been told of.
    pub(super) fn complete(&self, ms: i64) {
        self.complete_ms.store(ms, Ordering::Release);
    }

    /// Up to when a worker without partitions is known to have missed none. To be asked before it
    /// looks at its orders.
    pub(super) fn none_until_ms(&self) -> Option<i64> {
        Some(self.complete_ms.load(Ordering::Acquire)).filter(|&ms| ms != NEVER)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<PartitionProgress>>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
