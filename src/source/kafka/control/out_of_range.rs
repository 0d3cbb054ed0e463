//! Partitions whose next offset the broker does not have: Kafka has deleted messages, truncated the
//! log, or the topic was recreated.

use std::collections::BTreeMap;

use super::client::Range;

/// Partitions that the broker does not have at the offset that was to be fetched.
#[derive(Debug, Default)]
pub(super) struct OutOfRange {
    /// By partition; negative where librdkafka does not say at which offset.
    offsets: BTreeMap<i32, i64>,
}

/// Why the broker does not have an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It deleted this many messages before we read them.
    Deleted(u64),
    /// The topic was deleted and recreated.
    Recreated,
    /// The log was truncated to this offset.
    Truncated,
}

impl OutOfRange {
    /// The broker does not have this offset; a negative one is not known.
    pub(super) fn add(&mut self, partition: i32, offset: i64) {
        self.offsets.insert(partition, offset);
    }

    /// These partitions are no longer ours to read, or were restarted.
    pub(super) fn forget(&mut self, partitions: &[i32]) {
        self.offsets.retain(|partition, _| !partitions.contains(partition));
    }

    /// Forgets all partitions that are not assigned.
    pub(super) fn retain(&mut self, assigned: &BTreeMap<i32, i64>) {
        self.offsets.retain(|partition, _| assigned.contains_key(partition));
    }

    /// Whether this partition is among them.
    pub(super) fn has(&self, partition: i32) -> bool {
        self.offsets.contains_key(&partition)
    }

    /// Whether there are no such partitions.
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The partitions.
    pub(super) fn partitions(&self) -> Vec<i32> {
        self.offsets.keys().copied().collect()
    }

    /// The offset that the broker does not have; `None` if that is no longer where we are: `next`
    /// is the offset of our next message.
    pub(super) fn position(&self, partition: i32, next: Option<i64>) -> Option<i64> {
        // librdkafka does not report the offset if a log was truncated.
        let refused = self.offsets.get(&partition).copied().filter(|&offset| offset >= 0);
        let position = refused.or(next)?;
        next.is_none_or(|next| position >= next).then_some(position)
    }
}

/// Why a broker that has this range does not have this offset.
pub(super) fn cause(position: i64, range: Range) -> Cause {
    if position < range.low {
        Cause::Deleted((range.low - position).unsigned_abs())
    } else if position > range.high {
        Cause::Recreated
    } else {
        Cause::Truncated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_follows_from_what_the_broker_has() {
        let range = Range { low: 10, high: 20 };
        assert_eq!(cause(7, range), Cause::Deleted(3));
        assert_eq!(cause(21, range), Cause::Recreated);
        for position in [10, 15, 20] {
            assert_eq!(cause(position, range), Cause::Truncated);
        }
    }

    #[test]
    fn word_from_before_a_partition_was_last_taken_up_is_old() {
        let mut refused = OutOfRange::default();
        refused.add(0, 7);
        refused.add(1, -1);
        assert_eq!(refused.position(0, Some(7)), Some(7));
        assert_eq!(refused.position(0, Some(8)), None);
        assert_eq!(refused.position(0, None), Some(7));
        assert_eq!(refused.position(1, Some(8)), Some(8));
        assert_eq!(refused.position(1, None), None);
    }
}
