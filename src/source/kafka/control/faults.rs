//! Partitions whose workers got an error instead of a message and stopped reading, and when reading
//! may continue.
//!
//! In batches, librdkafka hands out an error as if it were a message: if it resumed by itself, as it
//! does when the assignment changes, it would skip one message. So each such partition is taken up
//! again at the offset of its next message.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

/// A partition without an error for this long after it was taken up again may be read. librdkafka
/// tries 5 s after it was refused (ten times `fetch.error.backoff.ms`).
const PROBATION: Duration = Duration::from_secs(6);

/// Partitions that are not read because of an error.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// To be taken up again.
    stumbled: BTreeSet<i32>,
    /// To be taken up again once the brokers name them.
    unknown: BTreeSet<i32>,
    /// Those that we may not read; with when they were taken up again, in the belief that we may.
    denied: BTreeMap<i32, Option<Instant>>,
}

impl Faults {
    /// A partition's worker met this error. Returns whether the topic should be looked at soon.
    pub(super) fn add(&mut self, partition: i32, error: RDKafkaErrorCode) -> bool {
        match error {
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                self.denied.insert(partition, None);
                true
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => {
                self.unknown.insert(partition);
                true
            }
            _ => {
                self.stumbled.insert(partition);
                false
            }
        }
    }

    /// The brokers name these partitions.
    pub(super) fn found(&mut self, partitions: &BTreeSet<i32>) {
        self.stumbled.extend(self.unknown.intersection(partitions));
        self.unknown.retain(|partition| !partitions.contains(partition));
    }

    /// These partitions are not ours to read any more.
    pub(super) fn forget(&mut self, partitions: &BTreeSet<i32>) {
        self.stumbled.retain(|partition| !partitions.contains(partition));
        self.unknown.retain(|partition| !partitions.contains(partition));
        self.denied.retain(|partition, _| !partitions.contains(partition));
    }

    /// Takes out the partitions that can be restarted.
    pub(super) fn take_stumbled(&mut self) -> BTreeSet<i32> {
        std::mem::take(&mut self.stumbled)
    }

    /// Takes partitions for readable that have given no error for long enough, and forgets those
    /// that are not assigned.
    pub(super) fn end_probation(&mut self, assigned: &BTreeMap<i32, i64>) {
        self.denied.retain(|partition, taken_up| {
            assigned.contains_key(partition)
                && taken_up.is_none_or(|taken_up| taken_up.elapsed() < PROBATION)
        });
    }

    /// The partitions that we may read now, as far as `is_fetched` can tell: they are to be taken up
    /// again, on probation.
    pub(super) fn take_granted(&mut self, is_fetched: impl Fn(i32) -> bool) -> Vec<i32> {
        let mut granted = Vec::new();
        for (&partition, taken_up) in &mut self.denied {
            if taken_up.is_none() && is_fetched(partition) {
                *taken_up = Some(Instant::now());
                granted.push(partition);
            }
        }
        granted
    }

    /// Whether we may not read this partition.
    pub(super) fn is_denied(&self, partition: i32) -> bool {
        self.denied.contains_key(&partition)
    }

    /// Whether there are partitions that we may not read.
    pub(super) fn any_is_denied(&self) -> bool {
        !self.denied.is_empty()
    }

    /// Whether no partition has an error.
    pub(super) fn is_empty(&self) -> bool {
        self.stumbled.is_empty() && self.unknown.is_empty() && self.denied.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_restarted_at_once_when_it_is_named_or_when_it_may_be_read_by_its_error() {
        let mut faults = Faults::default();
        assert!(!faults.add(0, RDKafkaErrorCode::BadMessage));
        assert!(faults.add(1, RDKafkaErrorCode::UnknownPartition));
        assert!(faults.add(2, RDKafkaErrorCode::TopicAuthorizationFailed));
        assert_eq!(faults.take_stumbled(), BTreeSet::from([0]));
        faults.found(&BTreeSet::from([0, 2]));
        assert!(faults.take_stumbled().is_empty());
        faults.found(&BTreeSet::from([1]));
        assert_eq!(faults.take_stumbled(), BTreeSet::from([1]));
        assert!(faults.is_denied(2) && !faults.is_empty());
        assert!(faults.take_granted(|_| false).is_empty());
        assert_eq!(faults.take_granted(|_| true), [2]);
        assert!(faults.take_granted(|_| true).is_empty(), "it is on probation");
        assert!(faults.is_denied(2), "samples wait until it has proved readable");
    }

    #[test]
    fn what_is_not_ours_any_more_is_forgotten() {
        let mut faults = Faults::default();
        for (partition, error) in [
            (0, RDKafkaErrorCode::BadMessage),
            (1, RDKafkaErrorCode::UnknownPartition),
            (2, RDKafkaErrorCode::TopicAuthorizationFailed),
            (3, RDKafkaErrorCode::TopicAuthorizationFailed),
        ] {
            faults.add(partition, error);
        }
        faults.forget(&BTreeSet::from([0, 1, 2]));
        faults.end_probation(&BTreeMap::new());
        assert!(faults.is_empty());
    }
}
