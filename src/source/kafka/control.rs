//! The control thread: which partitions are read, from where on, and how they fare.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::{MetadataPartition, MetadataTopic},
    types::RDKafkaRespErr,
};

use crate::{
    health::{Component, State},
    log_limit::LogLimit,
    metrics::Metrics,
    source::{Position, Progress},
};

use super::{
    config::{KafkaConfig, PartitionChoice, StartOffset},
    context::{Context, concerns_groups},
    ends::Ends,
    inbox::{Command, Inbox},
    queue::{PartitionQueue, known_end},
    standing::Standings,
};

/// How often events of the consumer are looked for.
const POLL: Duration = Duration::from_millis(100);
/// How often lag, health and commits are looked after, and a topic that is not there yet.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How often new partitions are looked for.
const DISCOVERY: Duration = Duration::from_secs(10);
/// How long a question to the brokers may take. Events wait meanwhile, and so does a stop.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a rebalance may wait for counts to be published before partitions are given away.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// How long a commit is tried again while the group rebalances.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

static LOG_WAITING: LogLimit = LogLimit::new(Duration::from_secs(30));

/// What the group did.
pub(super) enum GroupEvent {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

/// The control thread's state.
pub(super) struct Control {
    pub(super) config: KafkaConfig,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) standings: Arc<Standings>,
    pub(super) group_events: mpsc::Receiver<GroupEvent>,
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
    /// What the group has been told, by partition.
    pub(super) committed: BTreeMap<i32, i64>,
    pub(super) ends: Ends,
}

/// Why a topic can't be read for now, in words for the operator.
type Trouble = String;

impl Control {
    /// Runs until told to stop, then stops the workers, has the last positions committed and
    /// leaves the group. An error is one that no waiting mends.
    pub(super) fn run(mut self, workers: Vec<JoinHandle<()>>) -> Result<(), KafkaError> {
        let result = self.watch();
        if let Err(error) = &result {
            self.component.set(State::Failing(format!("Kafka: {error}")));
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
            self.commit(last.unwrap_or_default(), CommitMode::Sync);
        }
        // The consumer leaves the group when it is dropped, with nobody here to answer.
        self.consumer.context().close();
        result
    }

    fn watch(&mut self) -> Result<(), KafkaError> {
        if self.config.group.is_some() {
            self.consumer.subscribe(&[&self.config.topic])?;
        }
        let mut next_tick = Instant::now();
        let mut next_discovery = Instant::now();
        while matches!(self.stop.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => self.take_error(&error),
                // Queues are split off before their partitions are assigned.
                Some(Ok(_)) => tracing::error!("Kafka: a message came past its partition's queue"),
            }
            self.answer_group();
            self.ask_for_ends();
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
            self.report();
            if self.config.group.is_some() {
                self.commit(self.progress.published(), CommitMode::Async);
            }
        }
        Ok(())
    }

    /// Whether all partitions that are ours to read are with the workers.
    pub(super) fn takes_part(&self) -> bool {
        if self.config.group.is_some() {
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
        let first_count = *self.first_count.get_or_insert(count);
        if self.config.group.is_some() {
            return Ok(());
        }
        let wanted: Vec<i32> = match &self.config.partitions {
            PartitionChoice::All => partitions.iter().copied().collect(),
            PartitionChoice::These(these) => these.clone(),
        };
        let start = self.config.start;
        let mut known = Vec::new();
        let mut starts = TopicPartitionList::new();
        for &partition in &wanted {
            if !partitions.contains(&partition) || self.assigned.contains_key(&partition) {
                continue;
            }
            if let Some(&offset) = self.config.stored.get(&partition) {
                known.push((partition, offset));
                continue;
            }
            let new = partition >= first_count || !self.config.stored.is_empty();
            self.ask_for(&mut starts, partition, if new { StartOffset::Earliest } else { start });
        }
        self.take_up(&known)?;
        if starts.count() > 0 {
            let starts = self.resolve(&starts)?;
            self.take_up(&starts)?;
        }
        let topic = &self.config.topic;
        if wanted.iter().all(|partition| self.assigned.contains_key(partition)) {
            Ok(())
        } else {
            let lacking: Vec<_> =
                wanted.iter().filter(|p| !self.assigned.contains_key(p)).collect();
            Err(format!(
                "waiting for partitions {lacking:?} of topic {topic}: it has {count}, and each \
                 needs a leader; check --partitions and the brokers"
            ))
        }
    }

    fn unreachable(&self, brokers: &str, error: &KafkaError) -> Trouble {
        let reason = self.consumer.context().last_error().unwrap_or_else(|| error.to_string());
        format!(
            "waiting for the Kafka brokers {brokers}: {reason}. Check --brokers, that they run, \
             and, for TLS and SASL, --kafka-config"
        )
    }

    fn ask_for(&self, list: &mut TopicPartitionList, partition: i32, start: StartOffset) {
        let offset = match start {
            StartOffset::Stored | StartOffset::Latest => Offset::End,
            StartOffset::Earliest => Offset::Beginning,
            StartOffset::At(time_ms) => Offset::Offset(time_ms),
        };
        list.add_partition_offset(&self.config.topic, partition, offset)
            .expect("the list takes any offset that is not stored");
    }

    /// The offsets behind what [`Control::ask_for`] asked for. Kafka answers the end, the
    /// beginning and times by the same request (`ListOffsets`, special timestamps -1 and -2).
    fn resolve(&self, asked: &TopicPartitionList) -> Result<Vec<(i32, i64)>, Trouble> {
        let KafkaConfig { brokers, topic, .. } = &self.config;
        let answer = self
            .consumer
            .offsets_for_times(asked.clone(), ANSWER_LIMIT)
            .map_err(|error| self.unreachable(brokers, &error))?;
        let mut starts = Vec::new();
        for element in answer.elements() {
            let partition = element.partition();
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                // No message is as young as the time asked for: begin with the next one.
                Offset::End => {
                    match self.consumer.fetch_watermarks(topic, partition, ANSWER_LIMIT) {
                        Ok((_, end)) => end,
                        Err(error) => return Err(self.unreachable(brokers, &error)),
                    }
                }
                // An error of this partition alone, such as one without a leader: later again.
                _ => continue,
            };
            if element.error().is_ok() {
                starts.push((partition, offset));
            }
        }
        Ok(starts)
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
        self.assigned.extend(starts.iter().copied());
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        if !starts.is_empty() {
            tracing::info!(topic, ?starts, "reading partitions (number, first offset)");
        }
        Ok(())
    }

    /// Answers what the group decided. librdkafka waits for it.
    fn answer_group(&mut self) {
        while let Ok(event) = self.group_events.try_recv() {
            match event {
                GroupEvent::Assigned(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["assigned"]).inc();
                    self.joined = true;
                    self.to_take_up = Some(partitions);
                    self.take_up_from_group();
                }
                GroupEvent::Revoked(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["revoked"]).inc();
                    self.give_away(&partitions);
                }
            }
        }
    }

    /// Takes up the partitions that the group assigned. Where the brokers can't be asked for the
    /// offsets to begin with, it is tried again later: the group thinks that we read them.
    fn take_up_from_group(&mut self) {
        let Some(partitions) = self.to_take_up.take() else { return };
        let taken_up = self.group_starts(&partitions).and_then(|starts| self.take_up(&starts));
        if let Err(trouble) = taken_up {
            if LOG_WAITING.permit().is_some() {
                tracing::warn!(?partitions, "{trouble}");
            }
            self.trouble = Some(trouble);
            self.to_take_up = Some(partitions);
        }
    }

    /// Where partitions of the group begin: at the group's committed offset, else as configured.
    fn group_starts(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, Trouble> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        if self.first_count.is_none() {
            self.discover()?;
        }
        let KafkaConfig { brokers, topic, start, .. } = &self.config;
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(topic, partition);
        }
        let committed = self
            .consumer
            .committed_offsets(list, ANSWER_LIMIT)
            .map_err(|error| self.unreachable(brokers, &error))?;
        let mut starts = Vec::new();
        let mut unknown = TopicPartitionList::new();
        for element in committed.elements() {
            let partition = element.partition();
            match (element.error(), element.offset()) {
                // What we counted of it ourselves may be more than we came to commit.
                (Ok(()), Offset::Offset(offset)) => {
                    let stored = self.config.stored.get(&partition).copied();
                    starts.push((partition, stored.map_or(offset, |stored| stored.max(offset))));
                }
                (Ok(()), _) => {
                    let new = self.first_count.is_some_and(|first| partition >= first);
                    let start = if new { StartOffset::Earliest } else { *start };
                    self.ask_for(&mut unknown, partition, start);
                }
                (Err(error), _) => return Err(self.unreachable(brokers, &error)),
            }
        }
        if unknown.count() > 0 {
            starts.extend(self.resolve(&unknown)?);
        }
        if starts.len() < partitions.len() {
            return Err(format!("waiting for a leader of some of {topic}'s {partitions:?}"));
        }
        Ok(starts)
    }

    /// Gives partitions back to the group, once what was counted of them is published and
    /// committed, so that whoever reads them next begins just there.
    fn give_away(&mut self, partitions: &[i32]) {
        if let Some(pending) = &mut self.to_take_up {
            pending.retain(|partition| !partitions.contains(partition));
        }
        let deadline = Instant::now() + SETTLE_LIMIT;
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
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(positions) = self.progress.settle(left) {
            let theirs = positions.into_iter().filter(|p| partitions.contains(&p.partition));
            self.commit(theirs.collect(), CommitMode::Sync);
        } else {
            tracing::error!(
                ?partitions,
                "counts could not be published before these partitions went to another member of \
                 the group, which will count again what is not committed"
            );
        }
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.config.topic, partition);
            self.assigned.remove(&partition);
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            // They may never have been set.
            drop(self.metrics.kafka_lag.remove_label_values(&labels));
            drop(self.metrics.kafka_position.remove_label_values(&labels));
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.consumer.context().report(
                error.rdkafka_error_code(),
                &format!("giving partitions {partitions:?} back to the group: {error}"),
            );
        }
    }

    /// Commits positions of partitions that are ours, where they have moved. A position at or
    /// below the offset where a partition began is from an earlier assignment.
    fn commit(&mut self, positions: Vec<Position>, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        let mut moved = Vec::new();
        for Position { partition, next_offset } in positions {
            let ours = self.assigned.get(&partition).is_some_and(|&start| next_offset > start);
            if ours && self.committed.get(&partition) != Some(&next_offset) {
                list.add_partition_offset(
                    &self.config.topic,
                    partition,
                    Offset::Offset(next_offset),
                )
                .expect("the list takes any offset");
                moved.push((partition, next_offset));
            }
        }
        if moved.is_empty() {
            return;
        }
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            match self.consumer.commit(&list, mode) {
                Ok(()) => self.committed.extend(moved),
                // The group is between two generations: what we have is still ours to commit once
                // the next one stands.
                Err(error)
                    if error.rdkafka_error_code()
                        == Some(RDKafkaErrorCode::RebalanceInProgress)
                        && Instant::now() < deadline =>
                {
                    drop(self.consumer.poll(POLL));
                    continue;
                }
                Err(error) => self.consumer.context().report(
                    error.rdkafka_error_code(),
                    &format!(
                        "committing offsets {moved:?} (partition, offset): {error}; whoever reads \
                         these partitions next counts again what is not committed"
                    ),
                ),
            }
            return;
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
