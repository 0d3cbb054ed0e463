//! librdkafka's callbacks: logs, errors, statistics, rebalances. They count, log, and tell the
//! control thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};

use crate::{log_limit::LogLimit, mask::Mask, metrics::Metrics};

use super::{connections::Connections, event::Event};

static LOG_ERRORS: LogLimit = LogLimit::new(Duration::from_secs(10));

/// What callbacks and the control thread share.
pub(super) struct Context {
    topic: String,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<Event>,
    /// Whether this consumer is to be a member of a group.
    in_group: bool,
    /// The state of the connections to brokers.
    pub(super) connections: Connections,
    /// Set when the consumer is about to be dropped: the control thread answers no rebalances any
    /// more.
    closing: AtomicBool,
    /// The end of each partition, as the last fetch told it.
    ends: Mutex<BTreeMap<i32, i64>>,
    /// Takes our secrets out of what brokers say, since they may repeat what they are sent.
    mask: Mask,
}

impl Context {
    pub(super) fn new(
        topic: String,
        metrics: Arc<Metrics>,
        events: mpsc::Sender<Event>,
        in_group: bool,
        mask: Mask,
    ) -> Self {
        Context {
            topic,
            metrics,
            events,
            in_group,
            connections: Connections::default(),
            closing: AtomicBool::new(false),
            ends: Mutex::default(),
            mask,
        }
    }

    /// The end of a partition, as the last fetch told it: the offset after the last message that we
    /// can be given, which open transactions are not (`isolation.level`). `None` if it is not known.
    pub(super) fn end(&self, partition: i32) -> Option<i64> {
        self.lock_ends().get(&partition).copied()
    }

    fn lock_ends(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, rebalances are answered at once by giving everything up.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Tells the control thread, which ends only after it has called [`Context::close`].
    pub(super) fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }

    /// Counts an error that is reported elsewhere.
    pub(super) fn count(&self, code: RDKafkaErrorCode) {
        self.metrics.kafka_errors.with_label_values(&[&format!("{code:?}")]).inc();
    }

    /// Counts and logs an error.
    pub(super) fn report(&self, code: Option<RDKafkaErrorCode>, text: &str) {
        let name = code.map_or_else(|| "other".to_owned(), |code| format!("{code:?}"));
        self.metrics.kafka_errors.with_label_values(&[&name]).inc();
        if let Some(held_back) = LOG_ERRORS.permit() {
            let text = self.mask.text(text);
            tracing::warn!(error = name, held_back, "Kafka: {text}");
        }
    }
}

/// Whether an error comes from a group's coordinator.
pub(super) fn concerns_groups(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
    )
}

/// Whether an error concerns a connection.
pub(super) fn concerns_connections(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::OperationTimedOut
    )
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = self.mask.text(message);
        self.connections.logged(facility, &message);
        match (level, facility) {
            // Failures of brokers are reported as errors as well, at a limited rate.
            (_, "FAIL" | "ERROR") => tracing::debug!(target: "librdkafka", facility, "{message}"),
            (
                RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Warning,
                _,
            ) => tracing::warn!(target: "librdkafka", facility, "{message}"),
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        // Bootstrap entries (id -1) become real brokers once these have answered; logical ones (the
        // group's coordinator) are a second view of a real one.
        let (mut up, mut down) = (Vec::new(), 0);
        for broker in statistics.brokers.values() {
            if matches!(broker.source.as_str(), "logical" | "internal") {
                continue;
            }
            match broker.state.as_str() {
                "UP" | "UPDATE" => up.push(broker.name.as_str()),
                _ if broker.nodeid >= 0 => down += 1,
                _ => {}
            }
        }
        self.metrics.kafka_brokers.with_label_values(&["up"]).set(up.len() as i64);
        self.metrics.kafka_brokers.with_label_values(&["down"]).set(down);
        self.connections.are_up(&up);
        let partitions = statistics.topics.get(&self.topic).map(|topic| &topic.partitions);
        *self.lock_ends() = partitions
            .into_iter()
            .flatten()
            .filter(|(_, partition)| partition.ls_offset >= 0)
            .map(|(&number, partition)| (number, partition.ls_offset))
            .collect();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.connections.all_are_down(),
            Some(code) if concerns_connections(code) => {
                self.connections.failed(&self.mask.text(reason));
            }
            _ => {}
        }
        // Without a group, its coordinator may refuse us: nothing depends on it.
        let of_group = code.is_some_and(concerns_groups);
        if self.in_group || !of_group {
            self.report(code, reason);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            let answer = if assigned {
                consumer.incremental_assign(&TopicPartitionList::new())
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let Err(error) = answer {
                tracing::debug!("Kafka: releasing partitions while closing: {error}");
            }
            return;
        }
        let numbers = partitions.elements().iter().map(TopicPartitionListElem::partition).collect();
        let event = if assigned { Event::Assigned(numbers) } else { Event::Revoked(numbers) };
        // The control thread answers it as soon as this poll returns.
        self.tell(event);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        // Between two generations of the group nothing can be committed; it is tried again later.
        if let Err(error) = &result
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::RebalanceInProgress)
        {
            self.report(error.rdkafka_error_code(), &format!("committing offsets: {error}"));
        }
        let refused = offsets
            .elements()
            .iter()
            .find_map(|element| element.error().err().and_then(|error| error.rdkafka_error_code()));
        if let (Ok(()), Some(code)) = (&result, refused) {
            self.report(Some(code), &format!("committing offsets: {code}"));
        }
        let well = result.is_ok();
        let code = result.err().and_then(|error| error.rdkafka_error_code()).or(refused);
        let answers = offsets.elements().into_iter().filter_map(|element| {
            let offset = element.offset().to_raw()?;
            Some((element.partition(), offset, well && element.error().is_ok()))
        });
        self.tell(Event::CommitAnswered(answers.collect(), code));
    }
}
