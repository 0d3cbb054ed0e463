//! The configured source of flows: Kafka, an input, or the demo's topic.

use std::sync::Arc;

use anyhow::Context as _;

use crate::{
    config::{ConfigError, Setting, SourceConfig},
    demo::{Demo, DemoConfig},
    health::Component,
    metrics::Metrics,
    source::{
        Publication,
        input::{InputSource, RunningInputSource},
        kafka::{
            InvalidKafkaConfig, KafkaConfig, KafkaSource, PartitionChoice, RunningKafkaSource,
            StartOffset, Stored,
        },
    },
};

use super::sink::CountingSink;

/// A source that has not started yet.
pub(super) enum Source {
    Kafka(KafkaSource),
    Input { source: InputSource, exit_at_end: bool },
}

/// The demo's topic, read from its beginning.
fn of_demo(config: &DemoConfig, brokers: String) -> KafkaConfig {
    KafkaConfig {
        brokers,
        topic: config.topic.clone(),
        partitions: PartitionChoice::All,
        group: None,
        start: StartOffset::Earliest,
        settings: Vec::new(),
    }
}

/// A running source.
pub(super) enum Running {
    Kafka(RunningKafkaSource),
    Input(RunningInputSource),
}

impl Source {
    /// Checks and opens what can be checked and opened before anything runs. The demo's topic is on
    /// the broker of `demo`.
    pub(super) fn new(
        config: &SourceConfig,
        demo: Option<&Demo>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ConfigError> {
        let (kafka, error): (_, Box<dyn Fn(InvalidKafkaConfig) -> ConfigError>) = match config {
            SourceConfig::Kafka(kafka) => (kafka.lower(), Box::new(|error| kafka.error(&error))),
            SourceConfig::Demo(config) => {
                let brokers = demo.map(|demo| demo.brokers.clone()).unwrap_or_default();
                let error = |error: InvalidKafkaConfig| ConfigError(error.to_string());
                (of_demo(config, brokers), Box::new(error))
            }
            SourceConfig::Input { input: Setting { value: input, origin }, exit_at_end } => {
                let exit_at_end = exit_at_end.value;
                return InputSource::open(input, exit_at_end)
                    .map(|source| Source::Input { source, exit_at_end })
                    .map_err(|error| ConfigError(format!("{origin} {input}: {error}")));
            }
        };
        KafkaSource::new(kafka, Arc::clone(metrics)).map(Source::Kafka).map_err(error)
    }

    /// Starts a worker for each sink. Partitions continue from their `stored` positions. `on_end` is
    /// called if the program is to end with the source.
    pub(super) fn start(
        self,
        mut sinks: Vec<CountingSink>,
        stored: Stored,
        publication: Arc<dyn Publication>,
        component: Component,
        on_end: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Running> {
        match self {
            Source::Kafka(source) => source
                .start(sinks, stored, publication, component, on_end)
                .map(Running::Kafka)
                .context("starting the Kafka source's threads"),
            Source::Input { source, exit_at_end } => {
                let sink = sinks.pop().context("an input needs a worker")?;
                let on_end = move |result: &std::io::Result<()>| {
                    if exit_at_end || result.is_err() {
                        on_end();
                    }
                };
                source
                    .start(sink, component, on_end)
                    .map(Running::Input)
                    .context("starting the input's threads")
            }
        }
    }
}

impl Running {
    /// Has the workers hand over and end. Does not wait for them.
    pub(super) fn stop(&self) {
        match self {
            Running::Kafka(source) => source.stop(),
            Running::Input(source) => source.stop(),
        }
    }

    /// Waits for the end.
    pub(super) fn join(self) -> anyhow::Result<()> {
        match self {
            Running::Kafka(source) => source.join().context("consuming from Kafka"),
            // Errors of I/O as such are those of standard output.
            Running::Input(source) => {
                source.join().map_err(|error| anyhow::anyhow!("reading the input: {error}"))
            }
        }
    }
}
