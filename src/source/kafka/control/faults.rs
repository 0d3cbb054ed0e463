//! Partitions whose worker met an error in place of a message and reads no further, and how they go
//! on.
//!
//! In batches, librdkafka takes an error for a message: where it were to resume by itself, as it
//! does when the assignment changes, it would leave one out. So each is taken up afresh, at the
//! offset of the next message.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

use crate::source::kafka::{queue::known_end, right::Right};

use super::{Control, SETTLE_LIMIT};

/// A partition that gives no error for so long after it was taken up again may be read. librdkafka
/// tries 5 s after it was refused (ten times `fetch.error.backoff.ms`).
const PROBATION: Duration = Duration::from_secs(6);

/// What is the matter with partitions, and with our membership.
#[derive(Debug, Default)]
pub(in crate::source::kafka) struct Faults {
    /// To be taken up again.
    stumbled: BTreeSet<i32>,
    /// To be taken up again if the brokers still name them.
    unknown: BTreeSet<i32>,
    /// Those that we may not read; with when they were taken up again, in the belief that we may.
    denied: BTreeMap<i32, Option<Instant>>,
    /// Whether the group refuses us.
    pub(super) group_is_denied: bool,
    /// Whether the topic is to be looked at soon.
    pub(super) look_again: bool,
}

impl Faults {
    /// A partition's worker met this error.
    pub(super) fn add(&mut self, partition: i32, error: RDKafkaErrorCode) {
        match error {
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                self.denied.insert(partition, None);
                self.look_again = true;
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => {
                self.unknown.insert(partition);
                self.look_again = true;
            }
            _ => _ = self.stumbled.insert(partition),
        }
    }

    /// The group's coordinator answered with this error.
    pub(super) fn group_failed(&mut self, error: RDKafkaErrorCode) {
        self.group_is_denied |= Right::missing(error) == Some(Right::Group);
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

    /// Whether we may not read this partition.
    pub(super) fn is_denied(&self, partition: i32) -> bool {
        self.denied.contains_key(&partition)
    }

    /// Whether we lack a right.
    pub(super) fn are_denied(&self) -> bool {
        !self.denied.is_empty() || self.group_is_denied
    }

    /// Which right we lack.
    pub(super) fn lacked(&self) -> Option<Right> {
        if self.denied.is_empty() {
            self.group_is_denied.then_some(Right::Group)
        } else {
            Some(Right::Topic)
        }
    }

    /// Whether nothing is the matter with partitions.
    pub(super) fn is_empty(&self) -> bool {
        self.stumbled.is_empty() && self.unknown.is_empty() && self.denied.is_empty()
    }
}

impl Control {
    /// Takes up again the partitions whose errors have passed.
    pub(super) fn restart_stumbled(&mut self) {
        // librdkafka would take it for the answer to what the group assigned.
        if self.to_take_up.is_some() {
            return;
        }
        for partition in std::mem::take(&mut self.faults.stumbled) {
            self.restart_at_next(partition);
        }
    }

    /// Takes up again the partitions that we may read now, as far as can be told: a fetch that is
    /// refused has no end of the partition.
    pub(super) fn restart_granted(&mut self) {
        let assigned = &self.assigned;
        self.faults.denied.retain(|partition, taken_up| {
            assigned.contains_key(partition)
                && taken_up.is_none_or(|taken_up| taken_up.elapsed() < PROBATION)
        });
        if self.trouble.is_some() || self.to_take_up.is_some() {
            return;
        }
        let topic = &self.config.topic;
        let is_fetched = |partition| known_end(&self.consumer, topic, partition).is_some();
        let granted: Vec<i32> = self
            .faults
            .denied
            .iter()
            .filter(|(partition, taken_up)| taken_up.is_none() && is_fetched(**partition))
            .map(|(&partition, _)| partition)
            .collect();
        for partition in granted {
            self.faults.denied.insert(partition, Some(Instant::now()));
            self.restart_at_next(partition);
        }
    }

    fn restart_at_next(&mut self, partition: i32) {
        let Some(progress) = self.progress.get(partition) else { return };
        if !self.assigned.contains_key(&partition) || self.refused.contains_key(&partition) {
            return;
        }
        self.let_go(&[partition], Instant::now() + SETTLE_LIMIT);
        self.unassign(&[partition]);
        if let Err(trouble) = self.take_up(&[(partition, progress.next_offset())]) {
            tracing::error!("{}", self.explain(&trouble));
        }
    }
}
