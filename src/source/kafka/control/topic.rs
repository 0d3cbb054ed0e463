//! The topic as the brokers describe it: which partitions there are, and which are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::Consumer,
    error::RDKafkaErrorCode,
    metadata::{MetadataPartition, MetadataTopic},
};

use crate::source::kafka::right::Right;

use super::{ANSWER_LIMIT, Control, Trouble, ends::SILENCE_LIMIT};

/// A partition that brokers do not name for so long is gone. A broker that has just started may not
/// know all of them.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// What is known of the topic.
#[derive(Debug, Default)]
pub(in crate::source::kafka) struct Topic {
    /// How many partitions it had when it was first seen; those beyond are new.
    pub(super) first_count: Option<i32>,
    /// The partitions that the brokers named last, each with whether it has a leader; `None` where
    /// they did not answer.
    partitions: Option<BTreeMap<i32, bool>>,
    /// Partitions with the workers that brokers do not name, and since when.
    missing: BTreeMap<i32, Instant>,
    /// Partitions that are there and could not be taken up, and since when.
    lacking: BTreeMap<i32, Instant>,
}

impl Topic {
    /// Whether the brokers have ever described it.
    pub(super) fn is_known(&self) -> bool {
        self.first_count.is_some()
    }

    /// Whether a partition is there, and has a leader, by what brokers said last.
    pub(super) fn may_answer(&self, partition: i32) -> bool {
        self.partitions.as_ref().is_none_or(|named| named.get(&partition) == Some(&true))
    }

    /// Whether all partitions are taken up that anybody waits for.
    pub(super) fn lacks_none_for_now(&self) -> bool {
        self.lacking.values().all(|since| since.elapsed() >= SILENCE_LIMIT)
    }

    /// Whether partitions are on their way out.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Notes which partitions could not be taken up, though they are there.
    pub(super) fn lacks(&mut self, partitions: &[i32]) {
        let now = Instant::now();
        self.lacking.retain(|partition, _| partitions.contains(partition));
        for &partition in partitions {
            self.lacking.entry(partition).or_insert(now);
        }
    }
}

impl Control {
    /// Asks for the topic's partitions.
    pub(super) fn look_at_topic(&mut self) -> Result<BTreeSet<i32>, Trouble> {
        let topic = &self.config.topic;
        self.topic.partitions = None;
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_LIMIT)
            .map_err(|error| self.unanswered(error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let error = found.and_then(MetadataTopic::error);
        let partitions: BTreeMap<i32, bool> = found
            .iter()
            .flat_map(|found| found.partitions())
            .map(|partition: &MetadataPartition| (partition.id(), partition.leader() >= 0))
            .collect();
        match error.map(RDKafkaErrorCode::from) {
            None if !partitions.is_empty() => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                // Whatever will be there once the topic is, is new.
                self.topic.first_count.get_or_insert(0);
                self.topic.partitions = Some(BTreeMap::new());
                return Err(Trouble::NoTopic);
            }
            // It is being made.
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => {
                self.topic.first_count.get_or_insert(0);
                return Err(Trouble::NoTopic);
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(self.denied(Right::Topic));
            }
            Some(error) => {
                return Err(Trouble::Other(format!(
                    "waiting for topic {topic}: {} answer {error}; check --topic, and the user's \
                     rights to read and describe it",
                    self.config.brokers
                )));
            }
        }
        let count = partitions.keys().last().map_or(0, |last| last + 1);
        self.topic.first_count.get_or_insert(count);
        let found = partitions.keys().copied().collect();
        self.topic.partitions = Some(partitions);
        Ok(found)
    }

    /// Takes up what was found and is ours to read: without a group, partitions that are not
    /// assigned yet; with and without, those that were gone and are back.
    pub(super) fn take_up_found(&mut self, found: &BTreeSet<i32>) -> Result<(), Trouble> {
        self.faults.found(found);
        self.restart_stumbled();
        if self.to_take_up.is_none() {
            self.take_back(found)?;
        }
        if self.config.group.is_some() { Ok(()) } else { self.take_up_ours(found) }
    }

    /// Lets go of partitions that the brokers have not named for long enough.
    pub(super) fn release_vanished(&mut self) {
        // Without an answer, all is as it was.
        let Some(named) = &self.topic.partitions else { return };
        let now = Instant::now();
        self.topic.missing.retain(|partition, _| {
            self.assigned.contains_key(partition) && !named.contains_key(partition)
        });
        for &partition in self.assigned.keys().filter(|&partition| !named.contains_key(partition)) {
            self.topic.missing.entry(partition).or_insert(now);
        }
        let mut gone = BTreeSet::new();
        self.topic.missing.retain(|&partition, since| {
            let stays = since.elapsed() < GONE_LIMIT;
            stays || !gone.insert(partition)
        });
        if !gone.is_empty() {
            self.release(&gone);
            self.faults.forget(&gone);
        }
    }
}
