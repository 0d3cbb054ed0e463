//! The configured sources of flows: Kafka, an input or the demo's topic, and the collector.

use std::{io::ErrorKind, sync::Arc};

use anyhow::Context as _;

use crate::{
    config::{CollectorSettings, Config, ConfigError, Setting, SourceConfig},
    demo::{Demo, DemoConfig, Exporters, Traffic},
    health::{Component, Health},
    metrics::Metrics,
    source::{
        Publication,
        collector::{CollectorSource, PassedSockets, RunningCollectorSource},
        input::{InputSource, RunningInputSource},
        kafka::{
            InvalidKafkaConfig, KafkaConfig, KafkaSource, PartitionChoice, RunningKafkaSource,
            StartOffset, Stored,
        },
    },
};

use super::{refusal::refuse, sink::CountingSink};

/// Sources that have not started yet.
pub(super) struct Sources {
    main: Option<Source>,
    collector: Option<CollectorSource>,
    /// What the demo's exporters send to the collector.
    traffic: Option<Traffic>,
}

/// A source besides the collector that has not started yet.
enum Source {
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

/// Running sources.
pub(super) struct Running {
    main: Option<RunningSource>,
    collector: Option<RunningCollectorSource>,
    exporters: Option<Exporters>,
}

enum RunningSource {
    Kafka(RunningKafkaSource),
    Input(RunningInputSource),
}

impl Sources {
    /// Checks and opens what can be checked and opened before anything runs. The demo's topic is on
    /// the broker of `demo`.
    pub(super) fn new(
        config: &Config,
        demo: Option<&Demo>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let main = Source::new(&config.source, demo, metrics)?;
        let by_arrival = main.is_some();
        let collector =
            config.collector.as_ref().map(|settings| bind(settings, by_arrival, metrics));
        let traffic = config.collector.as_ref().and_then(|settings| settings.demo);
        Ok(Sources { main, collector: collector.transpose()?, traffic })
    }

    /// Starts a worker for each sink, the last of which is the collector's if there is one. Partitions
    /// continue from their `stored` positions. `on_end` is called if the program is to end with the
    /// source.
    pub(super) fn start(
        self,
        mut sinks: Vec<CountingSink>,
        stored: Stored,
        publication: Arc<dyn Publication>,
        health: &Health,
        on_end: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Running> {
        let mut exporters = None;
        let collector = match self.collector {
            None => None,
            Some(collector) => {
                let sink = sinks.pop().context("the collector needs a worker")?;
                if let Some((traffic, address)) = self.traffic.zip(collector.local_addrs().next()) {
                    let started = Exporters::start(traffic, address, health.register("demo"));
                    exporters = Some(started.context("starting the demo's exporters")?);
                }
                let started = collector.start(sink, health.register("collector"));
                Some(started.context("starting the collector's thread")?)
            }
        };
        let main = match self.main {
            None => None,
            Some(source) => {
                let component = health.register("source");
                Some(source.start(sinks, stored, publication, component, on_end)?)
            }
        };
        Ok(Running { main, collector, exporters })
    }
}

/// Binds the collector's sockets.
fn bind(
    settings: &CollectorSettings,
    by_arrival: bool,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<CollectorSource> {
    let bound = PassedSockets::from_env().and_then(|passed| {
        CollectorSource::bind(settings.lower(by_arrival), passed, Arc::clone(metrics))
    });
    bound.map_err(|error| {
        // Another process may release an address, and an interface may come up.
        let may_pass = matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable);
        refuse(&settings.listen.origin, &error, may_pass)
    })
}

impl Source {
    /// `None` if there is none but the collector.
    fn new(
        config: &SourceConfig,
        demo: Option<&Demo>,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Self>, ConfigError> {
        let (kafka, error): (_, Box<dyn Fn(InvalidKafkaConfig) -> ConfigError>) = match config {
            SourceConfig::Collector => return Ok(None),
            SourceConfig::Kafka(kafka) => (kafka.lower(), Box::new(|error| kafka.error(&error))),
            SourceConfig::Demo(config) => {
                let brokers = demo.map(|demo| demo.brokers.clone()).unwrap_or_default();
                let error = |error: InvalidKafkaConfig| ConfigError(error.to_string());
                (of_demo(config, brokers), Box::new(error))
            }
            SourceConfig::Input { input: Setting { value: input, origin }, exit_at_end } => {
                let exit_at_end = exit_at_end.value;
                return InputSource::open(input, exit_at_end)
                    .map(|source| Some(Source::Input { source, exit_at_end }))
                    .map_err(|error| ConfigError(format!("{origin} {input}: {error}")));
            }
        };
        let source = KafkaSource::new(kafka, Arc::clone(metrics)).map(Source::Kafka);
        source.map(Some).map_err(error)
    }

    fn start(
        self,
        mut sinks: Vec<CountingSink>,
        stored: Stored,
        publication: Arc<dyn Publication>,
        component: Component,
        on_end: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<RunningSource> {
        match self {
            Source::Kafka(source) => source
                .start(sinks, stored, publication, component, on_end)
                .map(RunningSource::Kafka)
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
                    .map(RunningSource::Input)
                    .context("starting the input's threads")
            }
        }
    }
}

impl Running {
    /// Has the workers hand over and end. Does not wait for them.
    pub(super) fn stop(&mut self) {
        // All that they have sent is in the collector's sockets then.
        if let Some(exporters) = self.exporters.take() {
            exporters.stop();
        }
        match &self.main {
            Some(RunningSource::Kafka(source)) => source.stop(),
            Some(RunningSource::Input(source)) => source.stop(),
            None => {}
        }
        if let Some(collector) = &self.collector {
            collector.stop();
        }
    }

    /// Waits for the end.
    pub(super) fn join(self) -> anyhow::Result<()> {
        let ended = match self.main {
            Some(RunningSource::Kafka(source)) => source.join().context("consuming from Kafka"),
            // Errors of I/O as such are those of standard output.
            Some(RunningSource::Input(source)) => {
                source.join().map_err(|error| anyhow::anyhow!("reading the input: {error}"))
            }
            None => Ok(()),
        };
        let collected = self.collector.map(RunningCollectorSource::join).transpose();
        ended.and(collected.map(drop).context("collecting datagrams"))
    }
}
