//! librdkafka's callbacks: logs, errors, statistics, rebalances.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

use crate::{log_limit::LogLimit, metrics::Metrics};

use super::control::Event;

static LOG_ERRORS: LogLimit = LogLimit::new(Duration::from_secs(10));

/// What callbacks and the control thread share.
pub(super) struct Context {
    metrics: Arc<Metrics>,
    events: mpsc::Sender<Event>,
    /// Whether this consumer is a member of a group.
    in_group: bool,
    /// Brokers to which a connection stands.
    brokers_up: AtomicUsize,
    /// Set when a consumer is about to go: nobody answers rebalances any more.
    closing: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Context {
    pub(super) fn new(metrics: Arc<Metrics>, events: mpsc::Sender<Event>, in_group: bool) -> Self {
        Context {
            metrics,
            events,
            in_group,
            brokers_up: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            last_error: Mutex::default(),
        }
    }

    /// How many brokers a connection stands to.
    pub(super) fn brokers_up(&self) -> usize {
        self.brokers_up.load(Ordering::Relaxed)
    }

    /// The newest error since a broker was last reached, in librdkafka's words.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on rebalances are answered at once, by giving everything up.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Tells the control thread, which is gone only after it has called [`Context::close`].
    pub(super) fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }

    /// Counts and logs an error.
    pub(super) fn report(&self, code: Option<RDKafkaErrorCode>, text: &str) {
        let name = code.map_or_else(|| "other".to_owned(), |code| format!("{code:?}"));
        self.metrics.kafka_errors.with_label_values(&[&name]).inc();
        let shown = text.to_owned();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        if let Some(held_back) = LOG_ERRORS.permit() {
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

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match (level, facility) {
            // What fails with a broker is reported as an error as well, at a limited rate.
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
        // Bootstrap entries (id -1) turn into real brokers once these have answered; logical ones
        // (the group's coordinator) are a second view of a real one.
        let (mut up, mut down) = (0, 0);
        for broker in statistics.brokers.values() {
            if matches!(broker.source.as_str(), "logical" | "internal") {
                continue;
            }
            match broker.state.as_str() {
                "UP" | "UPDATE" => up += 1,
                _ if broker.nodeid >= 0 => down += 1,
                _ => {}
            }
        }
        self.metrics.kafka_brokers.with_label_values(&["up"]).set(up);
        self.metrics.kafka_brokers.with_label_values(&["down"]).set(down);
        self.brokers_up.store(up.unsigned_abs() as usize, Ordering::Relaxed);
        if up > 0 {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.brokers_up.store(0, Ordering::Relaxed);
        }
        // Without a group, its coordinator may well refuse us: nothing depends on it.
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
                tracing::debug!("Kafka: giving up partitions while closing: {error}");
            }
            return;
        }
        let numbers = partitions.elements().iter().map(TopicPartitionListElem::partition).collect();
        let event = if assigned { Event::Assigned(numbers) } else { Event::Revoked(numbers) };
        // The control thread answers it as soon as this poll returns.
        self.tell(event);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        // Between two generations of the group nothing can be committed; it is tried again.
        if let Err(error) = &result
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::RebalanceInProgress)
        {
            self.report(error.rdkafka_error_code(), &format!("committing offsets: {error}"));
        }
        let answers = offsets.elements().into_iter().filter_map(|element| {
            let offset = element.offset().to_raw()?;
            let confirmed = result.is_ok() && element.error().is_ok();
            Some((element.partition(), offset, confirmed))
        });
        self.tell(Event::CommitAnswered(answers.collect()));
    }
}
