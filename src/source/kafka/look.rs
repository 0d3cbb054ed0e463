//! Looks at a topic and its newest messages once, for the command `check`. Commits and counts
//! nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use crate::{clock::UnixMs, mask::Mask, nearest::nearest};

use super::{
    InvalidKafkaConfig, KafkaConfig, PartitionChoice,
    connections::Connections,
    context::{concerns_connections, concerns_groups},
    queue::cluster_id,
    right::Right,
};

/// How long the brokers may take for each answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long all leaders together may take to tell where their partitions begin and end.
const RANGES_LIMIT: Duration = Duration::from_secs(10);
/// Messages that are read from all partitions together, but at least one from each.
const MESSAGES: i64 = 1000;
/// Messages that are read from one partition at most.
const MESSAGES_OF_ONE: i64 = 100;
/// Topics that are named if the one that is asked for is not there.
const NAMED_TOPICS: usize = 10;
/// How long to wait for the newest messages.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for each error that librdkafka has about connections and rights.
const EVENT_LIMIT: Duration = Duration::from_millis(100);
/// How long to take such errors, if they never end.
const ERRORS_LIMIT: Duration = Duration::from_secs(1);

/// A partition as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// The offset of the oldest message; like `next`, 0 if no broker answers for the partition.
    pub oldest: i64,
    /// The offset of the next message that will be written.
    pub next: i64,
    /// Whether the partition was read up to there.
    pub is_read: bool,
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedTopic {
    /// Its partitions.
    pub partitions: BTreeMap<i32, Looked>,
    /// The id of the cluster; `None` if the brokers don't name it.
    pub cluster: Option<String>,
}

/// Why looking at a topic failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] InvalidKafkaConfig),
    /// The brokers can't be reached.
    #[error("the brokers {brokers} can't be reached: {reason}")]
    Brokers {
        /// As the operator gave them.
        brokers: String,
        /// librdkafka's message.
        reason: String,
    },
    /// One answers and names another one, at which nobody can be reached.
    #[error(
        "{brokers} answers, and names a broker at {address}, which can't be reached from here: have the \
         broker advertise an address that can (advertised.listeners), or correct name resolution and \
         firewalls"
    )]
    Advertised {
        /// As the operator gave them.
        brokers: String,
        /// Of the other one.
        address: String,
    },
    /// They answer, and have no such topic.
    #[error("the brokers answer, and have no topic {topic}: {advice}")]
    NoTopic {
        /// The topic.
        topic: String,
        /// What to do.
        advice: String,
    },
    /// They answer, but with an error about the topic.
    #[error("the brokers answer, but not for topic {topic}: {reason}; check its name")]
    Topic {
        /// The topic.
        topic: String,
        /// The brokers' error.
        reason: String,
    },
    /// They deny us the topic or the group.
    #[error("{0}")]
    Denied(String),
    /// A partition that is asked for does not exist.
    #[error(
        "topic {topic} has no partition {partition}: it has {partitions}, numbered from 0; correct --partitions"
    )]
    Partition {
        /// The topic.
        topic: String,
        /// The number asked for.
        partition: i32,
        /// How many there are.
        partitions: usize,
    },
}

/// Keeps what librdkafka says about connections, without our secrets.
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

/// Asks for the topic's partitions and passes the newest messages of each to `recent`, oldest first,
/// with their partition and timestamp. Blocks for at most half a minute. Joins no group; if one is
/// configured, checks that we may ask it for its offsets. A partition for which no broker answers, or
/// that gave no message in time, is in the result as not read.
pub fn look(
    config: &KafkaConfig,
    mut recent: impl FnMut(i32, Option<UnixMs>, &[u8]),
) -> Result<LookedTopic, LookError> {
    let mut settings = config.lower()?;
    settings.set("statistics.interval.ms", "0");
    // Not every offset has a message, so librdkafka must tell where the end is. For a partition
    // without messages that also tells that we may read it.
    settings.set("enable.partition.eof", "true");
    let context = LookContext(Connections::default(), config.mask());
    let consumer: BaseConsumer<LookContext> =
        BaseConsumer::from_config_and_context(&settings, context)
            .map_err(|error| InvalidKafkaConfig::Inconsistent(error.to_string()))?;
    let (mut looked, silent) = describe(config, &consumer)?;
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
                // What has been written since is left out.
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
        if let Some(address) = consumer.context().0.unreachable_other(&config.brokers) {
            return Err(LookError::Advertised { brokers: config.brokers.clone(), address });
        }
        return Err(LookError::Brokers { brokers: config.brokers.clone(), reason });
    }
    let unknown = Looked { oldest: 0, next: 0, is_read: false };
    looked.extend(silent.into_iter().map(|partition| (partition, unknown)));
    Ok(LookedTopic { partitions: looked, cluster: cluster_id(&consumer) })
}

/// Whether an error does not matter: connections are made again, and without a group, its
/// coordinator may refuse us.
fn passes(config: &KafkaConfig, error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| {
        concerns_connections(code)
            || code == RDKafkaErrorCode::AllBrokersDown
            || config.group.is_none() && concerns_groups(code)
    })
}

/// The partitions that are asked for, with their offsets; and those for which no broker answers.
fn describe(
    config: &KafkaConfig,
    consumer: &BaseConsumer<LookContext>,
) -> Result<(BTreeMap<i32, Looked>, Vec<i32>), LookError> {
    let topic = config.topic.as_str();
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER_LIMIT)
        .map_err(|error| failed(config, consumer, &error))?;
    let described = metadata.topics().iter().find(|described| described.name() == topic);
    let no_topic = |reason: String| LookError::Topic { topic: topic.to_owned(), reason };
    let described = described.ok_or_else(|| no_topic("it is not there".to_owned()))?;
    if let Some(error) = described.error() {
        let code = RDKafkaErrorCode::from(error);
        if matches!(
            code,
            RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition
        ) {
            let (topic, advice) = (topic.to_owned(), others_than(topic, consumer));
            return Err(LookError::NoTopic { topic, advice });
        }
        return Err(Right::missing(code).map_or_else(
            || no_topic(code.to_string()),
            |right| LookError::Denied(denied(config, right)),
        ));
    }
    let leaders: BTreeMap<i32, i32> =
        described.partitions().iter().map(|each| (each.id(), each.leader())).collect();
    let partitions: Vec<i32> = match &config.partitions {
        PartitionChoice::All => leaders.keys().copied().collect(),
        PartitionChoice::These(chosen) => chosen.clone(),
    };
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let Some(&leader) = leaders.get(&partition) else {
            let topic = topic.to_owned();
            return Err(LookError::Partition { topic, partition, partitions: leaders.len() });
        };
        by_leader.entry(leader).or_default().push(partition);
    }
    let mut looked = BTreeMap::new();
    let mut failure = None;
    // A leader that does not answer leaves out its own partitions, not those of others.
    let deadline = Instant::now() + RANGES_LIMIT;
    for (_, partitions) in by_leader.iter().filter(|(leader, _)| **leader >= 0) {
        match ranges(consumer, topic, partitions, deadline) {
            Ok(ranges) => looked.extend(ranges),
            Err(error) if error.rdkafka_error_code().and_then(Right::missing).is_some() => {
                return Err(failed(config, consumer, &error));
            }
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure.filter(|_| looked.is_empty()) {
        return Err(failed(config, consumer, &error));
    }
    let all: Vec<i32> = by_leader.into_values().flatten().collect();
    if config.group.is_some() {
        let mut list = TopicPartitionList::new();
        for &partition in &all {
            list.add_partition(topic, partition);
        }
        consumer
            .committed_offsets(list, ANSWER_LIMIT)
            .map_err(|error| failed(config, consumer, &error))?;
    }
    let silent = all.into_iter().filter(|partition| !looked.contains_key(partition)).collect();
    Ok((looked, silent))
}

/// What to do about a topic that is not there, with the names of those that are.
fn others_than(topic: &str, consumer: &BaseConsumer<LookContext>) -> String {
    let Ok(metadata) = consumer.fetch_metadata(None, ANSWER_LIMIT) else {
        return "check its name".to_owned();
    };
    let names = metadata.topics().iter().map(MetadataTopic::name);
    // Kafka's own.
    let mut names: Vec<&str> =
        names.filter(|name| !name.starts_with("__") && *name != topic).collect();
    names.sort_unstable();
    if let Some(meant) = nearest(topic, names.iter().copied()) {
        return format!("did you mean {meant}?");
    }
    let more = names.len().saturating_sub(NAMED_TOPICS);
    names.truncate(NAMED_TOPICS);
    match (names.is_empty(), more) {
        (true, _) => {
            "nor any other that we may see; has the collector written to it yet?".to_owned()
        }
        (false, 0) => format!("those are {}", names.join(", ")),
        (false, more) => format!("those are {} and {more} more", names.join(", ")),
    }
}

/// The offsets of partitions with one leader, as far as it answers for them.
fn ranges(
    consumer: &BaseConsumer<LookContext>,
    topic: &str,
    partitions: &[i32],
    deadline: Instant,
) -> Result<Vec<(i32, Looked)>, KafkaError> {
    let ask = |which: Offset| -> Result<BTreeMap<i32, i64>, KafkaError> {
        let limit = deadline.saturating_duration_since(Instant::now()).min(ANSWER_LIMIT);
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition_offset(topic, partition, which)?;
        }
        let mut offsets = BTreeMap::new();
        for element in consumer.offsets_for_times(list, limit)?.elements() {
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => _ = offsets.insert(element.partition(), offset),
                (Err(error), _)
                    if error.rdkafka_error_code().and_then(Right::missing).is_some() =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(offsets)
    };
    let (oldest, next) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    let ranges = oldest.into_iter().filter_map(|(partition, oldest)| {
        let &next = next.get(&partition)?;
        Some((partition, Looked { oldest, next, is_read: false }))
    });
    Ok(ranges.collect())
}

/// Tells the operator which right is missing and how to grant it.
fn denied(KafkaConfig { brokers, topic, group, .. }: &KafkaConfig, right: Right) -> String {
    right.explain(brokers, topic, group.as_deref())
}

/// What an error means, with what librdkafka said about connections.
fn failed(
    config: &KafkaConfig,
    consumer: &BaseConsumer<LookContext>,
    error: &KafkaError,
) -> LookError {
    let code = error.rdkafka_error_code();
    if let Some(right) = code.and_then(Right::missing) {
        return LookError::Denied(denied(config, right));
    }
    // Errors about connections and rights are only seen by polling: if the coordinator refuses us, a
    // question to it just times out. Brokers that can't be reached cause errors without end.
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
    if let Some(address) = consumer.context().0.unreachable_other(&brokers) {
        return LookError::Advertised { brokers, address };
    }
    match consumer.context().0.reason() {
        Some(reason) => LookError::Brokers { brokers, reason },
        None if code.is_some_and(concerns_connections)
            || code == Some(RDKafkaErrorCode::OperationTimedOut) =>
        {
            let seconds = ANSWER_LIMIT.as_secs();
            let reason = format!(
                "no answer came within {seconds} s; does the broker hang, or is something other than \
                 Kafka listening there?"
            );
            LookError::Brokers { brokers, reason }
        }
        None => LookError::Topic { topic: config.topic.clone(), reason: error.to_string() },
    }
}
