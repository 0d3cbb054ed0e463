//! Messages from a Kafka topic, through librdkafka.
//!
//! One control thread (`control`) owns the consumer: it finds the topic's partitions, decides
//! where each begins, assigns them (or joins a consumer group that does), watches over brokers and
//! lag, and asks where partitions end (`control/ends.rs`). Workers (`worker`) read the partitions' queues
//! (`queue`), partition N by worker N modulo their number.

mod bell;
mod config;
mod connections;
mod context;
mod control;
mod event;
mod inbox;
mod look;
mod progress;
mod queue;
mod right;
mod worker;

use std::{
    collections::BTreeMap,
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
use event::Event;
use inbox::{Command, Inbox};
pub use look::{LookError, Looked, look};
use progress::TopicProgress;
use worker::Worker;

/// How long a stop may take: the workers' last hand-over, its publication, the commit of it and the
/// leaving of the group.
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
    ended: mpsc::Receiver<Result<(), KafkaError>>,
}

impl KafkaSource {
    /// Checks the configuration; asks nobody yet.
    pub fn new(config: KafkaConfig, metrics: Arc<Metrics>) -> Result<Self, InvalidKafkaConfig> {
        let (send, events) = mpsc::channel();
        let (topic, in_group) = (config.topic.clone(), config.group.is_some());
        let context = Context::new(topic, Arc::clone(&metrics), send, in_group, config.mask());
        let consumer = BaseConsumer::from_config_and_context(&config.lower()?, context)
            .map_err(|error| InvalidKafkaConfig::Inconsistent(error.to_string()))?;
        Ok(KafkaSource { config, consumer: Arc::new(consumer), events, metrics })
    }

    /// Starts reading, with one worker thread for each sink. `stored` says how far partitions have
    /// been counted, which is where they go on; a partition that is not among others there is new,
    /// and read from its beginning. Waits for brokers and topic as long
    /// as it takes, and says so through `component`. `on_end` is called when the source ends by
    /// itself, which it does for errors that no waiting mends.
    pub fn start<S: Sink>(
        self,
        sinks: Vec<S>,
        stored: BTreeMap<i32, i64>,
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
            // The consumer is gone with it, out of its group.
            let result = control.run(workers);
            on_end();
            // Whoever waited has given up, if that fails.
            drop(end.send(result));
        })?;
        Ok(RunningKafkaSource { stop, inboxes, control, ended })
    }
}

impl RunningKafkaSource {
    /// Has the workers hand over and end. Returns at once; [`RunningKafkaSource::join`] waits.
    pub fn stop(&self) {
        if self.stop.send(()).is_err() {
            tracing::debug!("the Kafka source has ended by itself before it was stopped");
        }
        // Whatever the control thread is waiting for, what was counted is handed over now.
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
    }

    /// Waits for the end, which comes once the last positions are published and committed, and the
    /// group is left. After 15 s, it is not waited for any longer: all is published by then, and
    /// what is not committed is counted again by the next reader.
    pub fn join(self) -> Result<(), KafkaError> {
        drop(self.stop);
        match self.ended.recv_timeout(STOP_LIMIT) {
            Ok(result) => {
                // It has nothing left to do.
                drop(self.control.join());
                result
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::error!(
                    "Kafka does not let go of us within {STOP_LIMIT:?}: ending without. Its group, \
                     if there is one, learns of it when our session times out, and what could not \
                     be committed is counted again by the next reader"
                );
                Ok(())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(KafkaError::ClientCreation("the control thread panicked".to_owned()))
            }
        }
    }
}
