//! Messages from a Kafka topic, through librdkafka.
//!
//! One control thread (`control`) owns the consumer: it finds the topic's partitions, decides where
//! each begins, assigns them (or joins a consumer group that does), reports brokers and lag, and
//! asks where partitions end. Workers (`worker`) read the partitions' queues (`queue`); partition N
//! belongs to worker N modulo the number of workers. Workers get commands from the control thread
//! (`inbox`) and share with it how far partitions are read (`progress`); workers and librdkafka's
//! callbacks (`context`) send it events (`event`).
//!
//! `look` is separate: it looks at a topic once, for the command `check`.

mod bell;
mod config;
mod connections;
mod context;
mod control;
mod error;
mod event;
mod inbox;
mod look;
mod progress;
mod queue;
mod right;
mod stored;
mod worker;

use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    health::{Component, State},
    metrics::Metrics,
    source::{Publication, Sink},
    threads,
};

pub use config::{InvalidKafkaConfig, KafkaConfig, PartitionChoice, StartOffset};
use context::Context;
use control::{Control, Setup};
pub use error::KafkaSourceError;
use event::Event;
use inbox::{Command, Inbox};
pub use look::{LookError, Looked, LookedTopic, look};
use progress::TopicProgress;
pub use stored::Stored;
use worker::Worker;

/// How long a stop may take: the workers' last hand-over, its publication, its commit, and leaving
/// the group.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A Kafka source that has not started yet.
pub struct KafkaSource {
    config: KafkaConfig,
    consumer: Arc<BaseConsumer<Context>>,
    events: mpsc::Receiver<Event>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A Kafka source at work.
#[derive(Debug)]
pub struct RunningKafkaSource {
    stop: mpsc::Sender<()>,
    inboxes: Vec<Arc<Inbox>>,
    control: JoinHandle<()>,
    /// How it ended.
    ended: mpsc::Receiver<Result<(), KafkaSourceError>>,
}

impl KafkaSource {
    /// Checks the configuration; connects to nothing yet.
    pub fn new(config: KafkaConfig, metrics: Arc<Metrics>) -> Result<Self, InvalidKafkaConfig> {
        let (send, events) = mpsc::channel();
        let (topic, in_group) = (config.topic.clone(), config.group.is_some());
        let context = Context::new(topic, Arc::clone(&metrics), send, in_group, config.mask());
        let consumer = BaseConsumer::from_config_and_context(&config.lower()?, context)
            .map_err(|error| InvalidKafkaConfig::Inconsistent(error.to_string()))?;
        Ok(KafkaSource { config, consumer: Arc::new(consumer), events, metrics })
    }

    /// Starts reading, with one worker thread per sink. `stored` tells how far partitions have been
    /// counted, which is where they continue; if it has others but not this one, a partition is new
    /// and read from its beginning. Nothing is read from another cluster than the stored one. Waits
    /// for brokers and topic as long as it takes, and says so through `component`. `on_end` is called
    /// when the source ends by itself, which it does on errors that waiting can't cure.
    pub fn start<S: Sink>(
        self,
        sinks: Vec<S>,
        stored: Stored,
        publication: Arc<dyn Publication>,
        component: Component,
        on_end: impl FnOnce() + Send + 'static,
    ) -> io::Result<RunningKafkaSource> {
        let KafkaSource { config, consumer, events, metrics } = self;
        let progress = Arc::new(TopicProgress::default());
        let topic: Arc<str> = config.topic.as_str().into();
        let mut inboxes = Vec::new();
        let mut workers = Vec::new();
        for (number, mut sink) in sinks.into_iter().enumerate() {
            let inbox = Arc::new(Inbox::default());
            let bell = Arc::clone(inbox.bell());
            sink.wake_with(Arc::new(move || bell.ring()));
            inboxes.push(Arc::clone(&inbox));
            let reporter = Arc::clone(&consumer);
            let worker = Worker {
                topic: Arc::clone(&topic),
                sink,
                inbox,
                on_error: Arc::new({
                    let topic = Arc::clone(&topic);
                    move |partition, error, offset| {
                        let context = reporter.context();
                        if error == RDKafkaErrorCode::AutoOffsetReset {
                            context.tell(Event::OutOfRange { partition, offset });
                            return;
                        }
                        let text = format!("topic {topic}, partition {partition}: {error}");
                        context.report(Some(error), &text);
                        context.tell(Event::Failed { partition, error });
                    }
                }),
                on_untimed: Arc::new({
                    let metrics = Arc::clone(&metrics);
                    move |reason| metrics.untimed_messages.with_label_values(&[reason]).inc()
                }),
                progress: Arc::clone(&progress),
            };
            let name = format!("kafka-{number}");
            workers.push(threads::thread(component.lifeline(name), move || worker.run())?);
        }
        let (stop, stop_asked) = mpsc::channel();
        component.set(State::Starting(format!("asking {} for topic {topic}", config.brokers)));
        let lifeline = component.lifeline("kafka-control");
        let control = Control::new(Setup {
            config,
            stored,
            consumer,
            inboxes: inboxes.clone(),
            progress,
            events,
            publication,
            metrics,
            component,
            stop: stop_asked,
        });
        let (end, ended) = mpsc::channel();
        let control = threads::thread(lifeline, move || {
            // This drops the consumer, which leaves its group.
            let result = control.run(workers);
            on_end();
            // If this fails, nothing waits for it any more.
            drop(end.send(result));
        })?;
        Ok(RunningKafkaSource { stop, inboxes, control, ended })
    }
}

impl RunningKafkaSource {
    /// Has the workers hand over and end. Returns at once; [`RunningKafkaSource::join`] waits.
    pub fn stop(&self) {
        if self.stop.send(()).is_err() {
            tracing::debug!("the Kafka source had already ended when it was stopped");
        }
        // Counts are handed over now, whatever the control thread is waiting for.
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
    }

    /// Waits for the end: until the last positions are published and committed, and the group is
    /// left, but for no more than 15 s. Everything is published by then; what is not committed is
    /// counted again by the next reader.
    pub fn join(self) -> Result<(), KafkaSourceError> {
        drop(self.stop);
        match self.ended.recv_timeout(STOP_LIMIT) {
            Ok(result) => {
                // It has nothing left to do.
                drop(self.control.join());
                result
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::error!(
                    "the Kafka source did not stop within {STOP_LIMIT:?}: exiting without waiting \
                     for it. A group notices when our session times out, and the next reader \
                     counts again what could not be committed"
                );
                Ok(())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(KafkaError::ClientCreation("the control thread panicked".to_owned()).into())
            }
        }
    }
}
