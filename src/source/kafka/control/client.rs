//! All questions to the brokers about the topic, and all orders to librdkafka about its partitions.
//! Decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    time::Instant,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use crate::{
    source::kafka::{
        bell::Bell,
        config::{KafkaConfig, StartOffset},
        context::Context,
        error::KafkaSourceError,
        queue::{PartitionQueue, cluster_id, commit, known_end},
        right::Right,
    },
    threads,
};

use super::{timing::ANSWER_LIMIT, trouble::Trouble};

/// A consumer of one topic.
pub(super) struct Client {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    /// Bootstrap brokers, as the operator gave them.
    brokers: String,
    topic: String,
    group: Option<String>,
}

/// The topic as the brokers describe it.
pub(super) enum Description {
    /// Its partitions, each with whether it has a leader.
    Partitions(BTreeMap<i32, bool>),
    /// There is no such topic.
    Absent,
    /// It is being created.
    Unfinished,
}

/// The offsets that a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// That of its oldest message.
    pub(super) low: i64,
    /// The one after its newest message.
    pub(super) high: i64,
}

impl Client {
    pub(super) fn new(consumer: Arc<BaseConsumer<Context>>, config: &KafkaConfig) -> Self {
        let KafkaConfig { brokers, topic, group, .. } = config.clone();
        Client { consumer, brokers, topic, group }
    }

    /// The topic's name.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// What librdkafka's callbacks share with us.
    pub(super) fn context(&self) -> &Context {
        self.consumer.context()
    }

    /// Asks for the topic's partitions.
    pub(super) fn describe(&self) -> Result<Description, Trouble> {
        let topic = &self.topic;
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_LIMIT)
            .map_err(|error| self.unanswered(error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions: BTreeMap<i32, bool> = found
            .iter()
            .flat_map(|found| found.partitions())
            .map(|partition| (partition.id(), partition.leader() >= 0))
            .collect();
        match found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from) {
            None if !partitions.is_empty() => Ok(Description::Partitions(partitions)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(Description::Absent),
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(Description::Unfinished),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(self.denied(Right::Topic)),
            Some(error) => Err(Trouble::Other(format!(
                "waiting for topic {topic}: {} answer {error}; check --topic, and the user's \
                 rights to read and describe it",
                self.brokers
            ))),
        }
    }

    /// The id of the cluster, as brokers named it last. Asks nobody. `None` if they have not answered
    /// yet or don't name it.
    pub(super) fn cluster(&self) -> Option<String> {
        cluster_id(&self.consumer)
    }

    /// Says that the brokers are not those of the cluster that was counted.
    pub(super) fn other_cluster(&self, found: String, counted: String) -> KafkaSourceError {
        let (brokers, topic) = (self.brokers.clone(), self.topic.clone());
        KafkaSourceError::OtherCluster { brokers, topic, found, counted }
    }

    /// The offsets that these starts stand for. A partition without a leader is left out. Kafka
    /// answers the end, the beginning and times by the same request (`ListOffsets`, special
    /// timestamps -1 and -2).
    pub(super) fn offsets(
        &self,
        starts: &[(i32, StartOffset)],
    ) -> Result<Vec<(i32, i64)>, Trouble> {
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = starts.iter().map(|&(partition, start)| {
            let offset = match start {
                StartOffset::Stored | StartOffset::Latest => Offset::End,
                StartOffset::Earliest => Offset::Beginning,
                StartOffset::At(time) => Offset::Offset(time.get()),
            };
            (partition, offset)
        });
        let answer = self
            .consumer
            .offsets_for_times(self.list(wanted), ANSWER_LIMIT)
            .map_err(|error| self.unanswered(error))?;
        let mut offsets = Vec::new();
        for element in answer.elements() {
            let partition = element.partition();
            let error = element.error().err().and_then(|error| error.rdkafka_error_code());
            if let Some(right) = error.and_then(Right::missing) {
                return Err(self.denied(right));
            }
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                // No message is as young as the time asked for: begin with the next one.
                Offset::End => {
                    match self.consumer.fetch_watermarks(&self.topic, partition, ANSWER_LIMIT) {
                        Ok((_, end)) => end,
                        Err(error) => return Err(self.unanswered(error)),
                    }
                }
                // An error of this partition alone, such as one without a leader: later again.
                _ => continue,
            };
            if error.is_none() {
                offsets.push((partition, offset));
            }
        }
        Ok(offsets)
    }

    /// The ends of partitions, as far as brokers answer for them.
    pub(super) fn ends(&self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, KafkaError> {
        let list = self.list(partitions.iter().map(|&partition| (partition, Offset::End)));
        let answer = self.consumer.offsets_for_times(list, ANSWER_LIMIT)?;
        let ends = answer.elements().into_iter().filter_map(|element| {
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => Some((element.partition(), offset)),
                _ => None,
            }
        });
        Ok(ends.collect())
    }

    /// The offsets that partitions have, as far as brokers answer for them.
    pub(super) fn ranges(&self, partitions: &[i32]) -> Result<Vec<(i32, Range)>, Trouble> {
        let ask = |which| {
            let starts: Vec<_> = partitions.iter().map(|&partition| (partition, which)).collect();
            self.offsets(&starts)
        };
        let lows = ask(StartOffset::Earliest)?;
        let highs: BTreeMap<i32, i64> = ask(StartOffset::Latest)?.into_iter().collect();
        let ranges = lows.into_iter().filter_map(|(partition, low)| {
            highs.get(&partition).map(|&high| (partition, Range { low, high }))
        });
        Ok(ranges.collect())
    }

    /// The offsets that the group has committed for these partitions; those without one are left
    /// out.
    pub(super) fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, Trouble> {
        let answer = self
            .consumer
            .committed_offsets(self.numbers(partitions), ANSWER_LIMIT)
            .map_err(|error| self.unanswered(error))?;
        let mut committed = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.unanswered(error))?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), offset);
            }
        }
        Ok(committed)
    }

    /// Whether the last fetch of a partition succeeded. Asks no broker.
    pub(super) fn is_fetched(&self, partition: i32) -> bool {
        known_end(&self.consumer, &self.topic, partition).is_some()
    }

    /// Splits off a partition's queue, which rings `bell` when messages come. To be called before
    /// the partition is fetched.
    pub(super) fn queue(&self, partition: i32, bell: Arc<Bell>) -> Option<PartitionQueue> {
        PartitionQueue::split(Arc::clone(&self.consumer), &self.topic, partition, bell)
    }

    /// Has librdkafka fetch these partitions (number, first offset) in addition.
    pub(super) fn fetch(&self, starts: &[(i32, i64)]) -> Result<(), KafkaError> {
        self.consumer.incremental_assign(&self.offset_list(starts))
    }

    /// Has librdkafka stop fetching these partitions.
    pub(super) fn stop_fetching(&self, partitions: &[i32]) {
        if let Err(error) = self.consumer.incremental_unassign(&self.numbers(partitions)) {
            self.context().report(
                error.rdkafka_error_code(),
                &format!("releasing partitions {partitions:?}: {error}"),
            );
        }
    }

    /// Commits offsets without waiting for the answer, which comes as an event.
    pub(super) fn commit(&self, offsets: &[(i32, i64)]) -> Result<(), RDKafkaErrorCode> {
        commit(&self.consumer, &self.offset_list(offsets))
    }

    /// Commits offsets and waits for the answer until `deadline`: librdkafka has no bound for it.
    pub(super) fn commit_by(
        &self,
        deadline: Instant,
        offsets: &[(i32, i64)],
    ) -> Result<(), KafkaError> {
        let (answer, answered) = mpsc::channel();
        let (consumer, list) = (Arc::clone(&self.consumer), self.offset_list(offsets));
        let asking = threads::helper("kafka-commit", move || {
            // If this fails, the caller no longer waits.
            drop(answer.send(consumer.commit(&list, CommitMode::Sync)));
        });
        let timed_out = KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut);
        let Ok(asking) = asking else { return Err(timed_out) };
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => asking.join().map_or(Err(timed_out), |()| result),
            Err(_) => Err(timed_out),
        }
    }

    /// What a failed question means.
    fn unanswered(&self, error: KafkaError) -> Trouble {
        match error.rdkafka_error_code().and_then(Right::missing) {
            Some(right) => self.denied(right),
            None => Trouble::Silent(error),
        }
    }

    /// Counts that a question was refused.
    fn denied(&self, right: Right) -> Trouble {
        self.context().count(match right {
            Right::Topic => RDKafkaErrorCode::TopicAuthorizationFailed,
            Right::Group => RDKafkaErrorCode::GroupAuthorizationFailed,
        });
        Trouble::Denied(right)
    }

    /// What to tell the operator: what is wrong and what to do. `was_read` if partitions of the
    /// topic were read before it was gone.
    pub(super) fn explain(&self, trouble: &Trouble, was_read: bool) -> String {
        let Client { brokers, topic, group, .. } = self;
        match trouble {
            Trouble::Silent(error) => self.unreachable(&error.to_string()),
            Trouble::NoTopic if !was_read => format!(
                "waiting for topic {topic}: no such topic on {brokers} yet; it will be read from \
                 its beginning once it exists. Check --topic and that the collector writes to it"
            ),
            Trouble::NoTopic => format!(
                "waiting for topic {topic}: it no longer exists on {brokers}; reading continues as \
                 soon as it exists again. Create it, or find out what deletes it"
            ),
            Trouble::Denied(Right::Topic) => format!(
                "{}. Reading then continues by itself; until then samples wait",
                Right::Topic.explain(brokers, topic, group.as_deref())
            ),
            Trouble::Denied(Right::Group) => format!(
                "{}. The program then recovers by itself; until then nothing is committed",
                Right::Group.explain(brokers, topic, group.as_deref())
            ),
            Trouble::Lacking(text) | Trouble::Other(text) => text.clone(),
        }
    }

    /// Tells the operator that no broker answers. What is known about connections says more than
    /// `error`, which most often is that time is up.
    pub(super) fn unreachable(&self, error: &str) -> String {
        let reason = self.context().connections.reason();
        format!(
            "waiting for the Kafka brokers {}: {}. Check --brokers, that they run, and, for TLS and \
             SASL, --kafka-config",
            self.brokers,
            reason.as_deref().unwrap_or(error)
        )
    }

    fn numbers(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }

    fn offset_list(&self, offsets: &[(i32, i64)]) -> TopicPartitionList {
        self.list(offsets.iter().map(|&(partition, offset)| (partition, Offset::Offset(offset))))
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, Offset)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, offset)
                .expect("the list takes any offset that is not stored");
        }
        list
    }
}
