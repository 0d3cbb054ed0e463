//! Looking at a topic without counting it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{InvalidKafkaConfig, KafkaConfig, PartitionChoice};

/// How long the brokers may take for each answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long librdkafka may take to say what it has to say of connections.
const WORDS_LIMIT: Duration = Duration::from_millis(100);
/// Messages that are read of all partitions together, but of each at least one.
const MESSAGES: i64 = 1000;
/// Messages that are read of a partition at most.
const MESSAGES_OF_ONE: i64 = 100;
/// How long is waited for the newest messages.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// A partition as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// The oldest offset that there is.
    pub oldest: i64,
    /// The offset of the next message that will be written.
    pub next: i64,
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
    #[error(
        "the brokers answer, but not for topic {topic}: {reason}; check its name and our rights"
    )]
    Topic {
        /// The topic.
        topic: String,
        /// The brokers' words.
        reason: String,
    },
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

/// Keeps what librdkafka says of connections.
#[derive(Default)]
struct Words(Mutex<Option<String>>);

impl ClientContext for Words {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down is no reason.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Words {}

/// Asks for the topic's partitions and hands the newest messages of each to `recent`, oldest first,
/// with their partition and time in milliseconds since the epoch. Blocks for at most half a
/// minute and joins no group. The partitions without a message, or of which none came in time, are
/// in the result alone.
pub fn look(
    config: &KafkaConfig,
    mut recent: impl FnMut(i32, Option<i64>, &[u8]),
) -> Result<BTreeMap<i32, Looked>, LookError> {
    let mut settings = config.lower()?;
    settings.set("statistics.interval.ms", "0");
    // Not every offset has a message: the end of what there is has to be told.
    settings.set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Words> =
        BaseConsumer::from_config_and_context(&settings, Words::default())
            .map_err(|error| InvalidKafkaConfig::Inconsistent(error.to_string()))?;
    let unreachable = |error: KafkaError| LookError::Brokers {
        brokers: config.brokers.clone(),
        reason: words(&consumer).unwrap_or_else(|| error.to_string()),
    };
    let topic = config.topic.as_str();
    let no_topic = |reason: String| LookError::Topic { topic: topic.to_owned(), reason };
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_LIMIT).map_err(unreachable)?;
    let described = metadata.topics().iter().find(|described| described.name() == topic);
    let described = described.ok_or_else(|| no_topic("it is not there".to_owned()))?;
    if let Some(error) = described.error() {
        return Err(no_topic(RDKafkaErrorCode::from(error).to_string()));
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
    let of_each = (MESSAGES / partitions.len().max(1) as i64).clamp(1, MESSAGES_OF_ONE);
    let mut looked = BTreeMap::new();
    let mut ends = TopicPartitionList::new();
    for partition in partitions {
        let (oldest, next) = consumer
            .fetch_watermarks(topic, partition, ANSWER_LIMIT)
            .map_err(|error| no_topic(error.to_string()))?;
        looked.insert(partition, Looked { oldest, next });
        if next > oldest {
            let from = oldest.max(next - of_each);
            ends.add_partition_offset(topic, partition, Offset::Offset(from))
                .map_err(|error| no_topic(error.to_string()))?;
        }
    }
    // Partitions that are being read, with their ends: what is written meanwhile is left out.
    let mut awaited: BTreeMap<i32, i64> = looked
        .iter()
        .filter(|(_, Looked { oldest, next })| next > oldest)
        .map(|(&partition, looked)| (partition, looked.next))
        .collect();
    consumer.assign(&ends).map_err(|error| no_topic(error.to_string()))?;
    let deadline = Instant::now() + READ_LIMIT;
    while !awaited.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.poll(left) {
            Some(Ok(message)) => {
                let partition = message.partition();
                let Some(&next) = awaited.get(&partition) else { continue };
                if message.offset() >= next - 1 {
                    awaited.remove(&partition);
                }
                if message.offset() >= next {
                    continue;
                }
                let time_ms = message.timestamp().to_millis();
                let payload = message.payload().unwrap_or_default();
                recent(partition, time_ms, payload);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                awaited.remove(&partition);
            }
            Some(Err(error)) => return Err(no_topic(error.to_string())),
            None if left.is_zero() => break,
            None => {}
        }
    }
    Ok(looked)
}

/// What librdkafka said of connections last.
fn words(consumer: &BaseConsumer<Words>) -> Option<String> {
    // Errors wait until somebody asks for messages.
    drop(consumer.poll(WORDS_LIMIT));
    consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take()
}
