//! The control thread: which partitions are read, from where on, and how they fare.

mod assignment;
mod commit;
mod ends;
mod faults;
mod group;
mod refused;
mod report;
mod solo;
mod starts;
mod topic;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use crate::{
    health::{Component, State},
    log_limit::LogLimit,
    metrics::Metrics,
    source::Publication,
};

pub(super) use commit::Commits;
pub(super) use ends::Ends;
pub(super) use faults::Faults;
pub(super) use topic::Topic;
use trouble::Trouble;

use super::{
    config::KafkaConfig,
    context::Context,
    event::Event,
    inbox::{Command, Inbox},
    progress::TopicProgress,
    queue::has_events,
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

/// The control thread's state.
pub(super) struct Control {
    pub(super) config: KafkaConfig,
    /// How far partitions have been counted.
    pub(super) stored: BTreeMap<i32, i64>,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) progress: Arc<TopicProgress>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) publication: Arc<dyn Publication>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) component: Component,
    pub(super) stop: mpsc::Receiver<()>,
    /// Partitions given to workers, and where each began.
    pub(super) assigned: BTreeMap<i32, i64>,
    /// Whether the group has ever told which partitions are ours.
    pub(super) joined: bool,
    /// Partitions that the group assigned and that are not taken up yet.
    pub(super) to_take_up: Option<Vec<i32>>,
    /// Partitions that were ours to read and that Kafka does not have any more.
    pub(super) released: BTreeSet<i32>,
    /// What the brokers say of the topic.
    pub(super) topic: Topic,
    /// What keeps partitions from being found.
    pub(super) trouble: Option<Trouble>,
    /// Partitions that can't be read on at this offset.
    pub(super) refused: BTreeMap<i32, i64>,
    /// Partitions that can't be read on for other reasons.
    pub(super) faults: Faults,
    /// What the group has been told.
    pub(super) commits: Commits,
    pub(super) ends: Ends,
}

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
        let last = self.publication.last(SETTLE_LIMIT);
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
            if now >= next_discovery || std::mem::take(&mut self.faults.look_again) {
                let looked = self.look_at_topic();
                // What was said meanwhile may be why there is no answer, or a rebalance.
                self.serve()?;
                self.trouble = looked.and_then(|found| self.take_up_found(&found)).err();
                self.release_vanished();
                let settled =
                    self.trouble.is_none() && self.faults.is_empty() && !self.topic.is_unsettled();
                next_discovery = Instant::now() + if settled { DISCOVERY } else { Duration::ZERO };
            }
            self.take_up_from_group();
            self.restart_refused();
            self.restart_granted();
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
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Assigned(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["assigned"]).inc();
                    self.joined = true;
                    self.faults.group_is_denied = false;
                    self.to_take_up = Some(partitions);
                    self.take_up_from_group();
                }
                Event::Revoked(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["revoked"]).inc();
                    self.give_away(&partitions);
                }
                Event::CommitAnswered(answers, error) => {
                    self.commits.answered(&answers);
                    match error {
                        Some(error) => self.faults.group_failed(error),
                        None => self.faults.group_is_denied = false,
                    }
                }
                Event::OutOfRange { partition, offset } => {
                    self.refused.insert(partition, offset);
                    refused = true;
                }
                Event::Failed { partition, error } => self.faults.add(partition, error),
            }
        }
        self.restart_stumbled();
        refused
    }

    /// Whether all partitions that are ours to read are with the workers, and can be read.
    pub(super) fn takes_part(&self) -> bool {
        let found = match &self.trouble {
            None => self.topic.is_known(),
            Some(Trouble::Lacking(_)) => self.topic.lacks_none_for_now(),
            Some(_) => false,
        };
        let is_given = self.config.group.is_none() || self.joined && self.to_take_up.is_none();
        found && is_given && self.refused.is_empty() && !self.faults.are_denied()
    }

    fn take_error(&mut self, error: &KafkaError) {
        // Errors of single partitions come through their queues; these concern the topic, which is
        // looked at again and again, or the group. All are counted and logged already.
        if let Some(code) = error.rdkafka_error_code()
            && self.config.group.is_some()
        {
            self.faults.group_failed(code);
        }
    }
}
