//! Looking at a topic without counting it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{clock::UnixMs, mask::Mask};

use super::{
    InvalidKafkaConfig, KafkaConfig, PartitionChoice,
    connections::Connections,
    context::{concerns_connections, concerns_groups},
    right::Right,
};

/// How long the brokers may take for each answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Messages that are read of all partitions together, but of each at least one.
const MESSAGES: i64 = 1000;
/// Messages that are read of a partition at most.
const MESSAGES_OF_ONE: i64 = 100;
/// How long is waited for the newest messages.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long librdkafka may take for each thing that it has to say of connections and rights.
const EVENT_LIMIT: Duration = Duration::from_millis(100);
/// How long it is listened to, if it does not come to an end.
const ERRORS_LIMIT: Duration = Duration::from_secs(1);

/// A partition as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// The oldest offset that there is.
    pub oldest: i64,
    /// The offset of the next message that will be written.
    pub next: i64,
    /// Whether the partition could be read up to there.
    pub is_read: bool,
}

/// Why a topic can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] InvalidKafkaConfig),
    /// The brokers don't answer.
    #[error("the brokers {brokers} can't be reached: {reason}")]
    Brokers {
        /// As they were given.
        brokers: String,
        /// In librdkafka's words.
        reason: String,
    },
    /// They answer, and refuse the topic.
    #[error("the brokers answer, but not for topic {topic}: {reason}; check its name")]
    Topic {
        /// The topic.
        topic: String,
        /// The brokers' words.
        reason: String,
    },
    /// They refuse us the topic or the group.
    #[error("{0}")]
    Denied(String),
    /// A partition that is asked for is not there.
    #[error("topic {topic} has no partition {partition}: it has {partitions}")]
    Partition {
        /// The topic.
        topic: String,
        /// The number asked for.
        partition: i32,
        /// How many there are.
        partitions: usize,
    },
}

/// Keeps what librdkafka says of connections, without our secrets.
struct LookContext(Connections, Mask);

impl ClientContext for LookContext {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.logged(facility, &self.1.text(message));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(concerns_connections) {
            self.0.failed(&self.1.text(reason));
        }
    }
}

impl ConsumerContext for LookContext {}

/// Asks for the topic's partitions and hands the newest messages of each to `recent`, oldest first,
/// with their partition and timestamp. Blocks for at most half a
/// minute and joins no group; with one, asks whether it may know of it. The partitions without a
/// message, or of which none came in time, are in the result alone.
pub fn look(
    config: &KafkaConfig,
    mut recent: impl FnMut(i32, Option<UnixMs>, &[u8]),
) -> Result<BTreeMap<i32, Looked>, LookError> {
    let mut settings = config.lower()?;
    settings.set("statistics.interval.ms", "0");
    // Not every offset has a message: the end of what there is has to be told. Of a partition
    // without messages it says that we may read it.
    settings.set("enable.partition.eof", "true");
    let context = LookContext(Connections::default(), config.mask());
    let consumer: BaseConsumer<LookContext> =
        BaseConsumer::from_config_and_context(&settings, context)
            .map_err(|error| InvalidKafkaConfig::Inconsistent(error.to_string()))?;
    let mut looked = describe(config, &consumer)?;
    let of_each = (MESSAGES / looked.len().max(1) as i64).clamp(1, MESSAGES_OF_ONE);
    let mut starts = TopicPartitionList::new();
    for (&partition, &Looked { oldest, next, .. }) in &looked {
        let from = Offset::Offset(oldest.max(next - of_each));
        starts
            .add_partition_offset(&config.topic, partition, from)
            .map_err(|error| failed(config, &consumer, &error))?;
    }
    consumer.assign(&starts).map_err(|error| failed(config, &consumer, &error))?;
    let deadline = Instant::now() + READ_LIMIT;
    while looked.values().any(|looked| !looked.is_read) {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.poll(left) {
            Some(Ok(message)) => {
                let partition = message.partition();
                let Some(looked) = looked.get_mut(&partition) else { continue };
                // What is written meanwhile is left out.
                if !looked.is_read && message.offset() < looked.next {
                    let time = message.timestamp().to_millis().map(UnixMs::new);
                    recent(partition, time, message.payload().unwrap_or_default());
                }
                looked.is_read |= message.offset() >= looked.next - 1;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if let Some(looked) = looked.get_mut(&partition) {
                    looked.is_read = true;
                }
            }
            Some(Err(error)) if passes(config, &error) => {}
            Some(Err(error)) => return Err(failed(config, &consumer, &error)),
            None if left.is_zero() => break,
            None => {}
        }
    }
    let is_unread = looked.values().all(|looked| !looked.is_read);
    if let Some(reason) = consumer.context().0.reason().filter(|_| is_unread) {
        return Err(LookError::Brokers { brokers: config.brokers.clone(), reason });
    }
    Ok(looked)
}

/// Whether an error is nothing to stop for: a connection is made again, and without a group, its
/// coordinator may well refuse us.
fn passes(config: &KafkaConfig, error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| {
        concerns_connections(code)
            || code == RDKafkaErrorCode::AllBrokersDown
            || config.group.is_none() && concerns_groups(code)
    })
}

/// The partitions that are asked for, with their offsets.
fn describe(
    config: &KafkaConfig,
    consumer: &BaseConsumer<LookContext>,
) -> Result<BTreeMap<i32, Looked>, LookError> {
    let topic = config.topic.as_str();
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER_LIMIT)
        .map_err(|error| failed(config, consumer, &error))?;
    let described = metadata.topics().iter().find(|described| described.name() == topic);
    let no_topic = |reason: String| LookError::Topic { topic: topic.to_owned(), reason };
    let described = described.ok_or_else(|| no_topic("it is not there".to_owned()))?;
    if let Some(error) = described.error() {
        let code = RDKafkaErrorCode::from(error);
        return Err(Right::missing(code).map_or_else(
            || no_topic(code.to_string()),
            |right| LookError::Denied(denied(config, right)),
        ));
    }
    let mut partitions: Vec<i32> =
        described.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    if let PartitionChoice::These(chosen) = &config.partitions {
        if let Some(&partition) = chosen.iter().find(|chosen| !partitions.contains(chosen)) {
            let topic = topic.to_owned();
            return Err(LookError::Partition { topic, partition, partitions: partitions.len() });
        }
        partitions.clone_from(chosen);
    }
    let mut all = TopicPartitionList::new();
    let mut looked = BTreeMap::new();
    for partition in partitions {
        all.add_partition(topic, partition);
        let (oldest, next) = consumer
            .fetch_watermarks(topic, partition, ANSWER_LIMIT)
            .map_err(|error| failed(config, consumer, &error))?;
        looked.insert(partition, Looked { oldest, next, is_read: false });
    }
    if config.group.is_some() {
        consumer
            .committed_offsets(all, ANSWER_LIMIT)
            .map_err(|error| failed(config, consumer, &error))?;
    }
    Ok(looked)
}

/// That we lack a right.
fn denied(KafkaConfig { brokers, topic, group, .. }: &KafkaConfig, right: Right) -> String {
    right.explain(brokers, topic, group.as_deref())
}

/// What an error means, with what librdkafka said of connections.
fn failed(
    config: &KafkaConfig,
    consumer: &BaseConsumer<LookContext>,
    error: &KafkaError,
) -> LookError {
    let code = error.rdkafka_error_code();
    if let Some(right) = code.and_then(Right::missing) {
        return LookError::Denied(denied(config, right));
    }
    // Errors wait until somebody asks for messages. Where the coordinator refuses us, a question to
    // it times out. Brokers that can't be reached make errors without end.
    let deadline = Instant::now() + ERRORS_LIMIT;
    while Instant::now() < deadline
        && let Some(Err(error)) = consumer.poll(EVENT_LIMIT)
    {
        match error.rdkafka_error_code().and_then(Right::missing) {
            Some(Right::Group) if config.group.is_none() => {}
            Some(right) => return LookError::Denied(denied(config, right)),
            None => {}
        }
    }
    let brokers = config.brokers.clone();
    match consumer.context().0.reason() {
        Some(reason) => LookError::Brokers { brokers, reason },
        None if code == Some(RDKafkaErrorCode::OperationTimedOut) => {
            LookError::Brokers { brokers, reason: error.to_string() }
        }
        None => LookError::Topic { topic: config.topic.clone(), reason: error.to_string() },
    }
}
