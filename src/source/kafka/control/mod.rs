//! The control thread: it owns the consumer, and decides which partitions are read and from where.
//!
//! [`Control`] only connects parts that own their state. Its loop (`watch`) passes them
//! librdkafka's events and the time:
//!
//! - `client` asks the brokers, and gives librdkafka orders; nothing else does;
//! - `cluster` sees to it that nothing is read from another cluster than before;
//! - `topic` knows which partitions exist, and `starts` where one begins;
//! - `assignment` gives partitions to workers and takes them back, for `alone` (this process
//!   reads all partitions) or `group` (Kafka shares them), and `commits` tells a group how far they
//!   are counted;
//! - `ends` asks where partitions end, while a tick waits for their watermarks;
//! - `out_of_range` and `faults` remember partitions whose reading has stopped, until it can
//!   continue.

mod alone;
mod assignment;
mod client;
mod cluster;
mod commits;
mod ends;
mod faults;
mod group;
mod out_of_range;
mod starts;
mod timing;
mod topic;
mod trouble;

use std::{
    collections::BTreeSet,
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

use alone::Alone;
use assignment::Assignment;
use client::{Client, Range};
use cluster::Cluster;
use commits::Commits;
use ends::{Asked, Ends};
use faults::Faults;
use group::Group;
use out_of_range::{Cause, OutOfRange, cause};
use timing::{DISCOVERY, HOUSEKEEPING, POLL, SETTLE_LIMIT};
use topic::Topic;
use trouble::Trouble;

use super::{
    config::KafkaConfig, context::Context, error::KafkaSourceError, event::Event, inbox::Inbox,
    progress::TopicProgress, queue::has_events, right::Right, stored::Stored,
};

static LOG_WAITING: LogLimit = LogLimit::new(Duration::from_secs(30));
static LOG_LOST: LogLimit = LogLimit::new(Duration::from_secs(10));

/// What the control thread works with.
pub(super) struct Setup {
    pub(super) config: KafkaConfig,
    /// What is known from before.
    pub(super) stored: Stored,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    /// Those of the workers.
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) progress: Arc<TopicProgress>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) publication: Arc<dyn Publication>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) component: Component,
    /// Ends the thread.
    pub(super) stop: mpsc::Receiver<()>,
}

/// The control thread's state.
pub(super) struct Control {
    client: Arc<Client>,
    cluster: Cluster,
    topic: Topic,
    assignment: Assignment,
    mode: Mode,
    ends: Ends,
    out_of_range: OutOfRange,
    faults: Faults,
    /// What keeps partitions from being found.
    trouble: Option<Trouble>,
    /// Whether the topic is to be looked at before it is time.
    look_soon: bool,
    events: mpsc::Receiver<Event>,
    publication: Arc<dyn Publication>,
    metrics: Arc<Metrics>,
    component: Component,
    stop: mpsc::Receiver<()>,
}

/// Who decides which partitions are ours.
enum Mode {
    /// This process does.
    Alone(Alone),
    /// The group does.
    Group(Group),
}

impl Control {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup { config, stored, consumer, inboxes, progress, .. } = setup;
        let Setup { events, publication, metrics, component, stop, .. } = setup;
        let client = Arc::new(Client::new(consumer, &config));
        let assignment = Assignment::new(
            Arc::clone(&client),
            inboxes,
            Arc::clone(&progress),
            Arc::clone(&metrics),
            config.group.is_some(),
            stored.positions,
        );
        let KafkaConfig { partitions, group, start, .. } = config;
        let mode = match group {
            None => Mode::Alone(Alone { client: Arc::clone(&client), partitions, start }),
            Some(name) => {
                let commits = Commits::new(Arc::clone(&client), Arc::clone(&metrics));
                let publication = Arc::clone(&publication);
                Mode::Group(Group::new(Arc::clone(&client), publication, name, start, commits))
            }
        };
        Control {
            cluster: Cluster::new(Arc::clone(&client), Arc::clone(&publication), stored.cluster),
            topic: Topic::new(Arc::clone(&client)),
            ends: Ends::new(Arc::clone(&client), progress),
            client,
            assignment,
            mode,
            out_of_range: OutOfRange::default(),
            faults: Faults::default(),
            trouble: None,
            look_soon: false,
            events,
            publication,
            metrics,
            component,
            stop,
        }
    }

    /// Runs until told to stop, then stops the workers, has the last positions committed and
    /// leaves the group. An error is one that no waiting mends.
    pub(super) fn run(mut self, workers: Vec<JoinHandle<()>>) -> Result<(), KafkaSourceError> {
        let result = self.watch();
        let failure = result.as_ref().err().map(|error| format!("Kafka: {error}"));
        if let Some(failure) = &failure {
            self.component.set(State::Failing(failure.clone()));
        }
        self.assignment.stop_workers();
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a Kafka worker panicked; what it had not handed over is lost");
            }
        }
        let last = self.publication.last(SETTLE_LIMIT);
        if let Mode::Group(group) = &mut self.mode {
            group.commit_last(&last.unwrap_or_default(), &self.assignment);
        }
        // The consumer leaves the group when it is dropped, and nothing answers rebalances by then.
        self.client.context().close();
        match failure {
            Some(failure) => self.component.fail(failure),
            None => self.component.finish(),
        }
        result
    }

    fn watch(&mut self) -> Result<(), KafkaSourceError> {
        if let Mode::Group(_) = self.mode {
            self.client.consumer.subscribe(&[self.client.topic()])?;
        }
        let mut next_housekeeping = Instant::now();
        let mut next_discovery = Instant::now();
        // A wait of our own, not one of librdkafka's: a stop ends it at once.
        while self.stop.recv_timeout(POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
            // After the group's events: librdkafka takes whatever we assign for the answer to them.
            let is_out_of_range = self.serve()?;
            self.check_cluster()?;
            if is_out_of_range {
                self.restart_out_of_range();
            }
            self.ask_for_ends();
            if let Mode::Group(group) = &mut self.mode {
                group.commit_published(&self.assignment);
            }
            let now = Instant::now();
            if now < next_housekeeping {
                continue;
            }
            next_housekeeping = now + HOUSEKEEPING;
            if now >= next_discovery || std::mem::take(&mut self.look_soon) {
                let looked = self.topic.look();
                // What was said meanwhile may be why there is no answer, or a rebalance.
                self.serve()?;
                self.check_cluster()?;
                self.trouble = looked.and_then(|found| self.take_up_found(&found)).err();
                self.release_vanished();
                let is_settled =
                    self.trouble.is_none() && self.faults.is_empty() && !self.topic.is_unsettled();
                next_discovery =
                    Instant::now() + if is_settled { DISCOVERY } else { Duration::ZERO };
            }
            self.take_up_from_group();
            self.restart_out_of_range();
            self.restart_granted();
            self.report();
        }
        Ok(())
    }

    /// Ends if the brokers are those of another cluster than before. They name their cluster with the
    /// first description of the topic.
    fn check_cluster(&mut self) -> Result<(), KafkaSourceError> {
        if self.topic.is_known() { self.cluster.check() } else { Ok(()) }
    }

    /// Takes what librdkafka has to say, and does what events ask for. Returns whether there was an
    /// offset that a broker does not have.
    fn serve(&mut self) -> Result<bool, KafkaError> {
        let mut is_out_of_range = self.take_events();
        while has_events(&self.client.consumer) {
            let polled = self.client.consumer.poll(Duration::ZERO).map(|polled| polled.map(drop));
            match polled {
                None => {}
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                // Errors of single partitions come through their queues; these concern the topic,
                // which is looked at again and again, or the group. All are counted and logged
                // already.
                Some(Err(error)) => {
                    if let (Mode::Group(group), Some(code)) =
                        (&mut self.mode, error.rdkafka_error_code())
                    {
                        group.failed(code);
                    }
                }
                // Queues are split off before their partitions are assigned.
                Some(Ok(())) => tracing::error!("Kafka: a message bypassed its partition's queue"),
            }
            is_out_of_range |= self.take_events();
        }
        Ok(is_out_of_range)
    }

    /// Does what events ask for. Returns whether there was an offset that a broker does not have.
    fn take_events(&mut self) -> bool {
        let mut is_out_of_range = false;
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Assigned(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["assigned"]).inc();
                    if let Mode::Group(group) = &mut self.mode {
                        group.assign(partitions);
                    }
                    self.take_up_from_group();
                }
                Event::Revoked(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["revoked"]).inc();
                    if let Mode::Group(group) = &mut self.mode {
                        group.give_away(&partitions, &mut self.assignment);
                    }
                    self.out_of_range.forget(&partitions);
                    self.faults.forget(&partitions.into_iter().collect());
                }
                Event::CommitAnswered(answers, error) => {
                    if let Mode::Group(group) = &mut self.mode {
                        group.answered(&answers, error);
                    }
                }
                Event::OutOfRange { partition, offset } => {
                    self.out_of_range.add(partition, offset);
                    is_out_of_range = true;
                }
                Event::Failed { partition, error } => {
                    self.look_soon |= self.faults.add(partition, error);
                }
            }
        }
        self.restart_stumbled();
        is_out_of_range
    }

    /// Takes up what was found and is ours to read: without a group, partitions that are not read
    /// yet; with one, those that were gone and are back.
    fn take_up_found(&mut self, found: &BTreeSet<i32>) -> Result<(), Trouble> {
        self.faults.found(found);
        self.restart_stumbled();
        let Control { topic, assignment, .. } = self;
        match &mut self.mode {
            Mode::Alone(alone) => alone.take_up(found, topic, assignment),
            Mode::Group(group) => group.take_back(found, topic, assignment),
        }
    }

    fn take_up_from_group(&mut self) {
        if let Mode::Group(group) = &mut self.mode
            && self.cluster.is_checked()
            && let Err(trouble) = group.take_up(&mut self.topic, &mut self.assignment)
        {
            self.trouble = Some(trouble);
        }
    }

    fn release_vanished(&mut self) {
        let gone = self.topic.vanished(self.assignment.assigned());
        if !gone.is_empty() {
            self.assignment.release(&gone);
            self.faults.forget(&gone);
        }
    }

    /// Goes on with partitions whose next offset the broker does not have. If the brokers can't be
    /// asked what they have, it is tried again later.
    fn restart_out_of_range(&mut self) {
        self.out_of_range.retain(self.assignment.assigned());
        if self.out_of_range.is_empty() || self.is_pending() {
            return;
        }
        let partitions = self.out_of_range.partitions();
        let restarted = self.client.ranges(&partitions).and_then(|ranges| {
            ranges
                .into_iter()
                .try_for_each(|(partition, range)| self.restart_in_range(partition, range))
        });
        if let Err(trouble) = restarted
            && LOG_WAITING.permit().is_some()
        {
            tracing::warn!(?partitions, "{}", self.explain(&trouble));
        }
    }

    /// Finds out why the broker does not have a partition's offset, continues reading, and counts
    /// it.
    fn restart_in_range(&mut self, partition: i32, range: Range) -> Result<(), Trouble> {
        let next = self.assignment.next_offset(partition);
        let Some(position) = self.out_of_range.position(partition, next) else {
            if next.is_some() {
                // Reported before the partition was last taken up.
                self.out_of_range.forget(&[partition]);
            }
            return Ok(());
        };
        let cause = cause(position, range);
        let start = match cause {
            Cause::Deleted(_) => range.low,
            Cause::Recreated => self.begun(partition, range)?.unwrap_or(range.low),
            Cause::Truncated => position,
        };
        // If this fails half-way, it starts over with the same position.
        self.out_of_range.add(partition, position);
        self.restart(partition, start)?;
        self.out_of_range.forget(&[partition]);
        match cause {
            Cause::Deleted(lost) => self.note_lost(partition, position, lost),
            Cause::Recreated => self.assignment.note_recreated(partition),
            Cause::Truncated => tracing::warn!(
                topic = self.client.topic(),
                partition,
                position,
                "Kafka truncated the log of this partition, so its newest messages are lost to all \
                 consumers: did an out-of-sync replica become the leader? Reading continues"
            ),
        }
        Ok(())
    }

    /// Where another member of the group has begun to read a recreated partition.
    fn begun(&self, partition: i32, range: Range) -> Result<Option<i64>, Trouble> {
        let Mode::Group(_) = self.mode else { return Ok(None) };
        let committed = self.client.committed(&[partition])?.get(&partition).copied();
        Ok(committed.filter(|offset| (range.low..=range.high).contains(offset)))
    }

    /// Counts and logs that messages are gone.
    fn note_lost(&self, partition: i32, position: i64, lost: u64) {
        let topic = self.client.topic();
        self.metrics.kafka_lost.with_label_values(&[topic, &partition.to_string()]).inc_by(lost);
        let Some(held_back) = LOG_LOST.permit() else { return };
        tracing::error!(
            topic,
            partition,
            position,
            lost,
            held_back,
            "messages are lost: Kafka deleted them before they were counted; reading continues \
             with the oldest that it has. Set the topic's retention.ms and retention.bytes above what \
             comes in while flow-exporter is away or behind"
        );
    }

    /// Takes up again the partitions whose errors are over.
    fn restart_stumbled(&mut self) {
        if self.is_pending() {
            return;
        }
        for partition in self.faults.take_stumbled() {
            self.restart_at_next(partition);
        }
    }

    /// Takes up again the partitions that we may read now, as far as can be told: a fetch that is
    /// refused has no end of the partition.
    fn restart_granted(&mut self) {
        self.faults.end_probation(self.assignment.assigned());
        if self.trouble.is_some() || self.is_pending() {
            return;
        }
        for partition in self.faults.take_granted(|partition| self.client.is_fetched(partition)) {
            self.restart_at_next(partition);
        }
    }

    /// Restarts a partition at its next offset, unless it is not read or its offset is out of
    /// range.
    fn restart_at_next(&mut self, partition: i32) {
        let Some(next) = self.assignment.next_offset(partition) else { return };
        if !self.assignment.has(partition) || self.out_of_range.has(partition) {
            return;
        }
        if let Err(trouble) = self.restart(partition, next) {
            tracing::error!("{}", self.explain(&trouble));
        }
    }

    fn restart(&mut self, partition: i32, start: i64) -> Result<(), Trouble> {
        self.assignment.restart(partition, start)?;
        if let Mode::Group(group) = &mut self.mode {
            group.taken_up(&[(partition, start)]);
        }
        Ok(())
    }

    /// Whether the group's assignment waits to be taken up, so that nothing else may be.
    fn is_pending(&self) -> bool {
        matches!(&self.mode, Mode::Group(group) if group.is_pending())
    }

    fn ask_for_ends(&mut self) {
        let Some(target) = self.publication.target() else { return };
        let takes_part = self.takes_part();
        let is_denied = |partition| self.faults.is_denied(partition);
        match self.ends.ask(target, &self.topic, is_denied, takes_part) {
            Asked::Answered => self.assignment.wake_workers(),
            Asked::Failed => self.look_soon = true,
            Asked::Nothing | Asked::Unanswered => {}
        }
    }

    /// Whether all partitions that are ours to read are with the workers, and can be read.
    fn takes_part(&self) -> bool {
        let is_found = match &self.trouble {
            None => self.topic.is_known(),
            Some(Trouble::Lacking(_)) => self.topic.lacks_none_for_now(),
            Some(_) => false,
        };
        let is_assigned = match &self.mode {
            Mode::Alone(_) => true,
            Mode::Group(group) => group.has_joined() && !group.is_pending(),
        };
        let may_read = match self.lacked() {
            None => true,
            Some(Right::Topic) => false,
            // A member that may not commit keeps its partitions and counts on.
            Some(Right::Group) => !self.assignment.assigned().is_empty(),
        };
        is_found && is_assigned && self.out_of_range.is_empty() && may_read
    }

    /// Which right we lack.
    fn lacked(&self) -> Option<Right> {
        match &self.mode {
            _ if self.faults.any_is_denied() => Some(Right::Topic),
            Mode::Group(group) if group.is_denied() => Some(Right::Group),
            _ => None,
        }
    }

    /// Shows how brokers and partitions fare, as metrics and as the state of the source.
    fn report(&self) {
        self.assignment.report();
        if let Mode::Group(group) = &self.mode {
            group.report(&self.assignment);
        }
        let state = self.state();
        if let State::Failing(reason) = &state
            && LOG_WAITING.permit().is_some()
        {
            tracing::warn!("{reason}");
        }
        self.component.set(state);
    }

    fn state(&self) -> State {
        let connections = &self.client.context().connections;
        let lacked = self.lacked();
        // The group's coordinator may leave a question unanswered that it refuses.
        let is_silent = matches!(self.trouble, Some(Trouble::Silent(_)));
        if let Some(trouble) = self.trouble.as_ref().filter(|_| !is_silent || lacked.is_none()) {
            let text = self.explain(trouble);
            // Connections take their time; that one has failed is known soon.
            let begins = is_silent
                && !self.topic.is_known()
                && connections.up().is_none()
                && connections.reason().is_none();
            return if begins { State::Starting(text) } else { State::Failing(text) };
        }
        if connections.up() == Some(0) {
            return State::Failing(self.client.unreachable("no broker is connected"));
        }
        if let Some(right) = lacked {
            return State::Failing(self.explain(&Trouble::Denied(right)));
        }
        let topic = self.client.topic();
        if let Mode::Group(group) = &self.mode
            && !group.has_joined()
        {
            let group = group.name();
            return State::Starting(format!(
                "joining group {group} for its share of topic {topic}"
            ));
        }
        let released = self.assignment.released();
        if released.is_empty() {
            return State::Ready;
        }
        State::Degraded(format!(
            "topic {topic} no longer has its partitions {released:?}: it was recreated with fewer. \
             Add partitions if you need as many as before; samples don't wait for them"
        ))
    }

    fn explain(&self, trouble: &Trouble) -> String {
        self.client.explain(trouble, !self.assignment.released().is_empty())
    }
}
