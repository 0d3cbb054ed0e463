//! The control thread: which partitions are read, from where on, and how they fare.

mod commit;
mod ends;
mod group;
mod refused;
mod solo;
mod starts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::{MetadataPartition, MetadataTopic},
    types::RDKafkaRespErr,
};

use crate::{
    health::{Component, State},
    log_limit::LogLimit,
    metrics::Metrics,
    source::Progress,
};

pub(super) use commit::Commits;
pub(super) use ends::Ends;

use super::{
    config::KafkaConfig,
    context::{Context, concerns_groups},
    inbox::{Command, Inbox},
    queue::{PartitionQueue, has_events, known_end},
    standing::Standings,
};

/// How often events of the consumer and new publications to commit are looked for.
const POLL: Duration = Duration::from_millis(100);
/// How often lag and health are looked after, and a topic that is not there yet.
const TICK: Duration = Duration::from_secs(1);
/// How often new partitions are looked for.
const DISCOVERY: Duration = Duration::from_secs(10);
/// How long a question to the brokers may take. Events wait meanwhile, and so does a stop.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a rebalance may wait for counts to be published before partitions are given away.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

static LOG_WAITING: LogLimit = LogLimit::new(Duration::from_secs(30));

/// What the control thread is told by librdkafka's callbacks and by workers.
pub(super) enum Event {
    /// The group gave us these partitions.
    Assigned(Vec<i32>),
    /// The group wants these partitions back.
    Revoked(Vec<i32>),
    /// What became of offsets that were to be committed: partition, offset, whether it is.
    CommitAnswered(Vec<(i32, i64, bool)>),
    /// The broker does not have the offset that was to be fetched, or below 0 does not say which;
    /// fetching this partition has ended.
    Refused { partition: i32, offset: i64 },
    /// Fetching this partition met an error, and goes on by itself.
    Stumbled { partition: i32 },
}

/// The control thread's state.
pub(super) struct Control {
    pub(super) config: KafkaConfig,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) standings: Arc<Standings>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) component: Component,
    pub(super) stop: mpsc::Receiver<()>,
    /// Partitions given to workers, and where each began.
    pub(super) assigned: BTreeMap<i32, i64>,
    /// Whether the group has ever told which partitions are ours.
    pub(super) joined: bool,
    /// Partitions that the group assigned and that are not taken up yet.
    pub(super) to_take_up: Option<Vec<i32>>,
    /// How many partitions the topic had when it was first seen; those beyond are new.
    pub(super) first_count: Option<i32>,
    /// What keeps partitions from being found, in words for the operator.
    pub(super) trouble: Option<String>,
    /// Partitions that can't be read on at this offset.
    pub(super) refused: BTreeMap<i32, i64>,
    /// What the group has been told.
    pub(super) commits: Commits,
    pub(super) ends: Ends,
}

/// Why a topic can't be read for now, in words for the operator.
type Trouble = String;

impl Control {
    /// Runs until told to stop, then stops the workers, has the last positions committed and
    /// leaves the group. An error is one that no waiting mends.
    pub(super) fn run(mut self, workers: Vec<JoinHandle<()>>) -> Result<(), KafkaError> {
        let result = self.watch();
        let failure = result.as_ref().err().map(|error| format!("Kafka: {error}"));
        if let Some(failure) = &failure {
            self.component.set(State::Failing(failure.clone()));
        }
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a Kafka worker panicked; what it had not handed over is lost");
            }
        }
        let last = self.progress.last(SETTLE_LIMIT);
        if self.config.group.is_some() {
            self.commit_now(last.unwrap_or_default());
        }
        // The consumer leaves the group when it is dropped, with nobody here to answer.
        self.consumer.context().close();
        match failure {
            Some(failure) => self.component.fail(failure),
            None => self.component.finish(),
        }
        result
    }

    fn watch(&mut self) -> Result<(), KafkaError> {
        if self.config.group.is_some() {
            self.consumer.subscribe(&[&self.config.topic])?;
        }
        let mut next_tick = Instant::now();
        let mut next_discovery = Instant::now();
        // A wait of our own, not one of librdkafka's: a stop ends it at once.
        while self.stop.recv_timeout(POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
            // After the group's events: librdkafka takes whatever we assign for the answer to them.
            if self.serve()? {
                self.restart_refused();
            }
            self.ask_for_ends();
            if self.config.group.is_some() {
                self.commit_published();
            }
            let now = Instant::now();
            if now < next_tick {
                continue;
            }
            next_tick = now + TICK;
            if now >= next_discovery {
                self.trouble = self.discover().err();
                if let Some(trouble) = &self.trouble
                    && LOG_WAITING.permit().is_some()
                {
                    tracing::warn!("{trouble}");
                }
                let settled = self.trouble.is_none();
                next_discovery = Instant::now() + if settled { DISCOVERY } else { Duration::ZERO };
            }
            self.take_up_from_group();
            self.restart_refused();
            self.report();
        }
        Ok(())
    }

    /// Takes what librdkafka has to say, and does what events ask for. Returns whether any partition
    /// can't be read on.
    fn serve(&mut self) -> Result<bool, KafkaError> {
        let mut refused = self.take_events();
        while has_events(&self.consumer) {
            match self.consumer.poll(Duration::ZERO) {
                None => {}
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => self.take_error(&error),
                // Queues are split off before their partitions are assigned.
                Some(Ok(_)) => tracing::error!("Kafka: a message came past its partition's queue"),
            }
            refused |= self.take_events();
        }
        Ok(refused)
    }

    /// Does what events ask for. Returns whether any partition can't be read on.
    fn take_events(&mut self) -> bool {
        let mut refused = false;
        let mut stumbled = BTreeSet::new();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Assigned(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["assigned"]).inc();
                    self.joined = true;
                    self.to_take_up = Some(partitions);
                    self.take_up_from_group();
                }
                Event::Revoked(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["revoked"]).inc();
                    self.give_away(&partitions);
                }
                Event::CommitAnswered(answers) => self.commits.answered(&answers),
                Event::Refused { partition, offset } => {
                    self.refused.insert(partition, offset);
                    refused = true;
                }
                Event::Stumbled { partition } => _ = stumbled.insert(partition),
            }
        }
        if self.to_take_up.is_none() {
            for partition in stumbled {
                self.restart_stumbled(partition);
            }
        }
        refused
    }

    /// Whether all partitions that are ours to read are with the workers.
    pub(super) fn takes_part(&self) -> bool {
        self.refused.is_empty()
            && if self.config.group.is_some() {
                self.joined && self.to_take_up.is_none()
            } else {
                self.first_count.is_some() && self.trouble.is_none()
            }
    }

    fn take_error(&self, error: &KafkaError) {
        // Errors of single partitions come through their queues; these concern the topic or the
        // group.
        let code = error.rdkafka_error_code();
        let expected = match code {
            Some(
                // The discovery says so, with what to do.
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                // Reported as a global error already.
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure,
            ) => true,
            Some(code) => self.config.group.is_none() && concerns_groups(code),
            None => false,
        };
        if !expected {
            self.consumer.context().report(code, &error.to_string());
        }
    }

    /// Looks at the topic. Without a group, takes up partitions that are not assigned yet.
    fn discover(&mut self) -> Result<(), Trouble> {
        let partitions = self.look_at_topic()?;
        if self.config.group.is_some() { Ok(()) } else { self.take_up_found(&partitions) }
    }

    /// Looks at the topic: its partitions.
    fn look_at_topic(&mut self) -> Result<BTreeSet<i32>, Trouble> {
        let KafkaConfig { brokers, topic, .. } = &self.config;
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_LIMIT)
            .map_err(|error| self.unreachable(brokers, &error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let error = found.and_then(MetadataTopic::error);
        let partitions: BTreeSet<i32> =
            found.iter().flat_map(|found| found.partitions()).map(MetadataPartition::id).collect();
        match error {
            None if !partitions.is_empty() => {}
            None
            | Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            ) => {
                // Whatever will be there once the topic is, is new.
                self.first_count.get_or_insert(0);
                return Err(format!(
                    "waiting for topic {topic}: no such topic on {brokers} yet; it will be read \
                     from its beginning once it is there. Check --topic and that the collector \
                     writes to it"
                ));
            }
            Some(error) => {
                let error = RDKafkaErrorCode::from(error);
                return Err(format!(
                    "waiting for topic {topic}: {brokers} answer {error}; check the user's rights \
                     to read and describe it"
                ));
            }
        }
        let count = partitions.last().map_or(0, |last| last + 1);
        self.first_count.get_or_insert(count);
        Ok(partitions)
    }

    fn unreachable(&self, brokers: &str, error: &KafkaError) -> Trouble {
        let reason = self.consumer.context().last_error().unwrap_or_else(|| error.to_string());
        format!(
            "waiting for the Kafka brokers {brokers}: {reason}. Check --brokers, that they run, \
             and, for TLS and SASL, --kafka-config"
        )
    }

    /// Gives partitions to their workers, and has librdkafka fetch them.
    fn take_up(&mut self, starts: &[(i32, i64)]) -> Result<(), Trouble> {
        let topic = &self.config.topic;
        let failed = |error| format!("Kafka: assigning partitions of {topic}: {error}");
        let mut list = TopicPartitionList::new();
        let mut queues = Vec::new();
        for &(partition, start) in starts {
            let inbox = &self.inboxes[partition.unsigned_abs() as usize % self.inboxes.len()];
            let client = Arc::clone(&self.consumer);
            let queue = PartitionQueue::split(client, topic, partition, Arc::clone(inbox))
                .ok_or_else(|| format!("no queue for partition {partition} of {topic}"))?;
            queues.push((inbox, Command::Assign { queue, start }));
            list.add_partition_offset(topic, partition, Offset::Offset(start)).map_err(failed)?;
        }
        if starts.is_empty() && self.config.group.is_none() {
            return Ok(());
        }
        self.consumer.incremental_assign(&list).map_err(failed)?;
        for (inbox, command) in queues {
            inbox.send(command);
        }
        for &(partition, start) in starts {
            self.assigned.insert(partition, start);
            let labels = [topic.as_str(), &partition.to_string()];
            self.metrics.kafka_lost.with_label_values(&labels);
            self.metrics.kafka_remade.with_label_values(&labels);
            if self.config.group.is_some() {
                self.metrics.kafka_left_uncommitted.with_label_values(&labels);
            }
        }
        if self.config.group.is_some() {
            self.commits.taken_up(starts, &self.progress.published());
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        if !starts.is_empty() {
            tracing::info!(topic, ?starts, "reading partitions (number, first offset)");
        }
        Ok(())
    }

    /// Has the workers let go of partitions, and waits for it.
    fn let_go(&self, partitions: &[i32], deadline: Instant) {
        let (done, all_done) = mpsc::channel();
        for inbox in &self.inboxes {
            let done = done.clone();
            inbox.send(Command::Revoke { partitions: partitions.to_vec(), done });
        }
        drop(done);
        for _ in &self.inboxes {
            // A worker answers between two batches.
            if all_done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                tracing::error!("a Kafka worker does not let go of its partitions");
                break;
            }
        }
    }

    /// Has librdkafka fetch partitions no longer.
    fn unassign(&self, partitions: &[i32]) {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.config.topic, partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.consumer.context().report(
                error.rdkafka_error_code(),
                &format!("giving up partitions {partitions:?}: {error}"),
            );
        }
    }

    /// Shows how brokers and partitions fare.
    fn report(&self) {
        for (partition, next_offset) in self.standings.all() {
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            self.metrics.kafka_position.with_label_values(&labels).set(next_offset);
            if let Some(end) = known_end(&self.consumer, &self.config.topic, partition) {
                let lag = (end - next_offset).max(0);
                self.metrics.kafka_lag.with_label_values(&labels).set(lag);
            }
        }
        if self.config.group.is_some() {
            self.report_uncommitted();
        }
        let context = self.consumer.context();
        if let Some(trouble) = &self.trouble {
            self.component.set(State::Failing(trouble.clone()));
        } else if context.brokers_up() == 0 {
            let silent = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
            self.component.set(State::Failing(self.unreachable(&self.config.brokers, &silent)));
        } else {
            self.component.set(State::Ready);
        }
    }
}
