//! How far partitions have been read: what workers and the control thread tell each other.
//!
//! A partition's watermark is the time before which it has no message left to give. An empty queue
//! does not tell it, since the connection may be down: the control thread asks the broker for the
//! partition's end (`control/ends.rs`), and the worker reads up to there.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use crate::clock::UnixMs;

/// A broker's answer to where a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// The offset after the newest message.
    offset: i64,
    /// When it was asked. All that was written before that is below `offset`.
    asked: UnixMs,
}

/// What is known about a partition's end.
#[derive(Debug, Default)]
struct Ends {
    /// The newest answer.
    newest: Option<End>,
    /// Whether its broker has been silent for too long, so that samples don't wait for it.
    is_excused: bool,
}

/// How far one partition has been read.
#[derive(Debug)]
pub(super) struct PartitionProgress {
    /// Offset of the next message to be given to the sink.
    next_offset: AtomicI64,
    /// The worker found no message below this offset when it was last asked.
    read_to: AtomicI64,
    /// Whether the worker is to update `read_to`.
    read_to_asked: AtomicBool,
    ends: Mutex<Ends>,
}

impl PartitionProgress {
    fn new(next_offset: i64) -> Self {
        PartitionProgress {
            next_offset: AtomicI64::new(next_offset),
            read_to: AtomicI64::new(next_offset),
            read_to_asked: AtomicBool::new(false),
            ends: Mutex::default(),
        }
    }

    /// All messages below this offset have been given to the sink.
    pub(super) fn advance(&self, next_offset: i64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
    }

    /// The offset of the next message to be given to the sink.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// Has the worker update [`PartitionProgress::read_to`] when it next finds no message.
    pub(super) fn ask_read_to(&self) {
        self.read_to_asked.store(true, Ordering::Relaxed);
    }

    /// Whether the worker is asked to do so.
    pub(super) fn read_to_is_asked(&self) -> bool {
        self.read_to_asked.load(Ordering::Relaxed)
    }

    /// There is no message from the next offset up to this one, only offsets without messages.
    pub(super) fn has_read_to(&self, offset: i64) {
        self.read_to.store(offset, Ordering::Relaxed);
        self.read_to_asked.store(false, Ordering::Relaxed);
    }

    /// Every message below this offset has been given to the sink, as far as is known.
    pub(super) fn read_to(&self) -> i64 {
        self.read_to.load(Ordering::Relaxed).max(self.next_offset())
    }

    /// The broker answered a question of this time: the partition ended at `offset`.
    pub(super) fn ends_at(&self, offset: i64, asked: UnixMs) {
        *self.lock() = Ends { newest: Some(End { offset, asked }), is_excused: false };
    }

    /// Stops samples from waiting for this partition, until its broker answers again.
    pub(super) fn excuse(&self) {
        self.lock().is_excused = true;
    }

    /// Whether the partition, read up to this offset, has reached its end as it is known.
    pub(super) fn is_at_end(&self, read_to: i64) -> bool {
        self.lock().newest.is_some_and(|end| read_to >= end.offset)
    }

    /// The watermark of the partition if it was read up to this offset; `None` if there is more to
    /// read, or its end is not known. `now` is the watermark of one that is excused.
    pub(super) fn watermark(&self, read_to: i64, now: impl FnOnce() -> UnixMs) -> Option<UnixMs> {
        let Ends { newest, is_excused } = &*self.lock();
        if *is_excused {
            return Some(now());
        }
        newest.filter(|end| read_to >= end.offset).map(|end| end.asked)
    }

    /// When the partition's end was last asked for and answered.
    fn asked(&self) -> Option<UnixMs> {
        self.lock().newest.map(|end| end.asked)
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress of all partitions that workers read.
#[derive(Debug, Default)]
pub(super) struct TopicProgress {
    partitions: Mutex<BTreeMap<i32, Arc<PartitionProgress>>>,
    /// The time up to which workers know of all partitions that they had to read.
    complete: Mutex<Option<UnixMs>>,
}

impl TopicProgress {
    /// Adds a partition that is read from this offset.
    pub(super) fn add(&self, partition: i32, start: i64) -> Arc<PartitionProgress> {
        let progress = Arc::new(PartitionProgress::new(start));
        self.lock().insert(partition, Arc::clone(&progress));
        progress
    }

    /// Removes a partition that is not read any more.
    pub(super) fn remove(&self, partition: i32) {
        self.lock().remove(&partition);
    }

    /// The offset of a partition's next message.
    pub(super) fn next_offset(&self, partition: i32) -> Option<i64> {
        self.lock().get(&partition).map(|progress| progress.next_offset())
    }

    /// All partitions with their numbers.
    pub(super) fn all(&self) -> Vec<(i32, Arc<PartitionProgress>)> {
        self.lock().iter().map(|(&partition, each)| (partition, Arc::clone(each))).collect()
    }

    /// The progress of one partition.
    pub(super) fn get(&self, partition: i32) -> Option<Arc<PartitionProgress>> {
        self.lock().get(&partition).cloned()
    }

    /// Partitions whose end is not known as of this time or a later one.
    pub(super) fn unasked_since(&self, time: UnixMs) -> Vec<i32> {
        let partitions = self.lock();
        let unasked = partitions.iter().filter(|(_, each)| each.asked() < Some(time));
        unasked.map(|(&number, _)| number).collect()
    }

    /// Until this time, workers have been told of every partition that there was to read.
    pub(super) fn complete(&self, time: UnixMs) {
        *self.complete.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
    }

    /// The watermark of a worker without partitions: until then it had none to read. To be asked
    /// before the worker takes its commands, which may bring it partitions.
    pub(super) fn complete_until(&self) -> Option<UnixMs> {
        *self.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<PartitionProgress>>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs::new(9_000);

    #[test]
    fn a_partition_has_a_watermark_once_it_is_read_to_an_end_that_a_broker_named() {
        let progress = PartitionProgress::new(5);
        assert_eq!(progress.watermark(5, || NOW), None, "an empty queue says nothing");
        progress.ends_at(7, UnixMs::new(1_000));
        assert_eq!(progress.watermark(6, || NOW), None);
        assert_eq!(progress.watermark(7, || NOW), Some(UnixMs::new(1_000)));
        assert!(progress.is_at_end(7) && !progress.is_at_end(6));
    }

    #[test]
    fn a_partition_is_excused_until_its_broker_answers_again() {
        let progress = PartitionProgress::new(0);
        progress.ends_at(7, UnixMs::new(1_000));
        progress.excuse();
        assert_eq!(progress.watermark(0, || NOW), Some(NOW));
        progress.ends_at(8, UnixMs::new(2_000));
        assert_eq!(progress.watermark(7, || NOW), None, "it is waited for again");
        assert_eq!(progress.watermark(8, || NOW), Some(UnixMs::new(2_000)));
    }

    #[test]
    fn ends_are_asked_for_that_are_older_than_the_target() {
        let topic = TopicProgress::default();
        for (partition, asked) in [(0, Some(999)), (1, Some(1_000)), (2, None)] {
            let progress = topic.add(partition, 0);
            if let Some(asked) = asked {
                progress.ends_at(0, UnixMs::new(asked));
            }
        }
        assert_eq!(topic.unasked_since(UnixMs::new(1_000)), [0, 2]);
        topic.remove(2);
        assert_eq!(topic.unasked_since(UnixMs::new(1_000)), [0]);
    }
}
