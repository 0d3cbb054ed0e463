//! How flows are counted, whatever the views: what all workers are given, and what people are told
//! of it. It changes while the program runs.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    config::{Config, ConfigError, KafkaSettings, SourceConfig},
    demo::{Demo, DemoConfig},
    diagnosis::Setup,
    ledger::{ChangeError, Reader, Shard},
    pipeline::Counting,
    publish::server::Hostnames,
    schema::Schema,
    tables::{TablesError, Watch, WatchHandle},
    traffic::Rule,
};

use super::sink::CountingSink;

/// How flows are counted now.
#[derive(Debug)]
pub(super) struct Counted {
    counting: watch::Sender<Counting>,
    /// What is counted, and from where, in one line.
    about: watch::Sender<String>,
    /// Where flows come from.
    origin: String,
    /// Reads files with tables of addresses again, if there are any.
    files: Option<WatchHandle>,
}

/// What is configured, with the tables of addresses; and what watches their files.
pub(super) fn counting(config: &Config) -> Result<(Counting, Option<Watch>), ConfigError> {
    let loaded = config.address_sources().load();
    let (tables, watch) = loaded.map_err(|error| ConfigError(error.to_string()))?;
    Ok((config.counting(tables), watch))
}

impl Counted {
    /// By `counting`, of which `files` watches the files.
    pub(super) fn new(
        counting: Counting,
        files: Option<&Watch>,
        config: &Config,
        demo: Option<&Demo>,
    ) -> Self {
        let origin = origin(config, demo);
        let about = watch::Sender::new(about(&counting.rule, &origin));
        let files = files.map(Watch::handle);
        Counted { counting: watch::Sender::new(counting), about, origin, files }
    }

    /// Takes up files with tables of addresses that have changed. Says which, in lines for people.
    ///
    /// # Errors
    /// If one can't be used. What was in use of it stays.
    pub(super) async fn read_files(&self) -> Result<Vec<String>, TablesError> {
        match &self.files {
            Some(files) => files.read().await,
            None => Ok(Vec::new()),
        }
    }

    /// How flows are counted now.
    pub(super) fn counting(&self) -> Counting {
        self.counting.borrow().clone()
    }

    pub(super) fn rule(&self) -> Rule {
        self.counting.borrow().rule.clone()
    }

    /// What advice depends on.
    pub(super) fn setup(&self) -> Setup {
        Setup::from(&*self.counting.borrow())
    }

    /// What is counted, and from where, in one line.
    pub(super) fn about(&self) -> watch::Receiver<String> {
        self.about.subscribe()
    }

    /// The names that exporters are given, also after a reload.
    pub(super) fn hostnames(&self) -> Hostnames {
        let counting = self.counting.subscribe();
        Hostnames::new(move |address| {
            counting.borrow().exporters.hostname(address).map(str::to_owned)
        })
    }

    /// What a worker does with messages, for each shard.
    pub(super) fn sinks(&self, shards: Vec<Shard>) -> Vec<CountingSink> {
        let sink = |shard| CountingSink::new(shard, self.counting.subscribe());
        shards.into_iter().map(sink).collect()
    }

    /// Whether another configuration counts flows in another way. It has the same tables of addresses.
    pub(super) fn differs(&self, config: &Config) -> bool {
        let Counting { rule, directions, sampling, tables, exporters, interfaces, .. } =
            &*self.counting.borrow();
        let new = config.counting(tables.clone());
        *rule != new.rule
            || *directions != new.directions
            || *sampling != new.sampling
            || *exporters != new.exporters
            || *interfaces != new.interfaces
    }

    /// Has flows counted as another configuration has it, in the views of `schema`. Returns whether
    /// they are classified by the same rule, and says what has changed besides views, in lines for
    /// people.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub(super) async fn change(
        &self,
        config: &Config,
        schema: Arc<Schema>,
        ledger: &Reader,
    ) -> Result<(bool, Vec<String>), ChangeError> {
        let before = self.counting.borrow().clone();
        // Schemas of a registry stay known.
        let avro = before.avro.clone();
        let counting = Counting { avro, ..config.counting(before.tables.clone()) };
        let rule = (counting.rule != before.rule).then(|| counting.rule.clone());
        let resampled = (counting.sampling != before.sampling)
            .then(|| "sampling rates changed: series continue".to_owned());
        let redirected = (counting.directions != before.directions)
            .then(|| "directions that count changed: series continue".to_owned());
        let renamed = (counting.interfaces != before.interfaces).then(|| {
            "names of interfaces changed: series with other names begin from zero".to_owned()
        });
        let exporters_changed = (counting.exporters != before.exporters).then(|| {
            "what the file says of exporters changed: series with other names begin from zero, all \
             others continue"
                .to_owned()
        });
        // Workers look at it when the ledger wants another schema, and not before.
        self.counting.send_replace(counting);
        if let Err(error) = ledger.change(schema, rule.clone()).await {
            self.counting.send_replace(before);
            return Err(error);
        }
        let reclassified = rule.as_ref().map(|rule| {
            self.about.send_replace(about(rule, &self.origin));
            format!("flows are classified by {rule}: all series end, and others begin from zero")
        });
        let lines = [reclassified, redirected, resampled, renamed, exporters_changed];
        Ok((rule.is_none(), lines.into_iter().flatten().collect()))
    }
}

/// What is counted, and from where, in one line. Warns about AS 0.
fn about(rule: &Rule, origin: &str) -> String {
    if rule.only_as() == Some(0) {
        tracing::warn!(
            "--asn is not given or 0: flows without an AS number at one end count as the monitored \
             AS's own, so the data will be inaccurate"
        );
    }
    format!("{rule}, from {origin}")
}

fn origin(config: &Config, demo: Option<&Demo>) -> String {
    let source = match &config.source {
        SourceConfig::Kafka(kafka) => {
            let KafkaSettings { topic, brokers, .. } = &**kafka;
            format!("topic {} of {}", topic.value, brokers.value)
        }
        SourceConfig::Demo(DemoConfig { topic, .. }) => {
            let brokers = demo.map(|demo| demo.brokers.as_str()).unwrap_or_default();
            format!("topic {topic} of {brokers}")
        }
        SourceConfig::Input { input, .. } => input.value.to_string(),
        SourceConfig::Collector => String::new(),
    };
    let Some(collector) = &config.collector else { return source };
    if collector.demo.is_some() {
        return "the demo's exporters".to_owned();
    }
    let listen: Vec<_> = collector.listen.value.iter().map(ToString::to_string).collect();
    let exporters = format!("exporters at {}", listen.join(", "));
    if source.is_empty() { exporters } else { format!("{source} and {exporters}") }
}
