//! The command `check`: tries everything that flags and files name, and changes nothing.

mod collector;
mod flows;
mod found;
mod schemas;
mod scrape;
mod state;
mod topic;
mod views;

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    asn::AsNames,
    config::{CheckConfig, Config, ConfigError, Setting, SourceConfig},
    ledger::{COLLECTOR, Identity},
    names::{self, NamesConfig, NamesSource},
    publish::pusher,
    schema::Schema,
    source::{input::InputSource, kafka::LookError},
    state_dir,
};

use flows::Flows;
use found::Found;
use schemas::Asked;

/// Tries everything, writes what it finds for people, and returns whether all of it works. Counts,
/// sends and keeps nothing. Datagrams are listened to for `listen_for` at most.
///
/// # Errors
/// [`ConfigError`] for what is wrong in flags and files; others if the result can't be written.
pub async fn run(
    config: CheckConfig,
    listen_for: Duration,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut report =
        Report { out: &mut Unread(out), failed: Vec::new(), unknown: Vec::new(), hints: 0 };
    try_all(config, listen_for, &mut report).await?;
    Ok(report.finish()?)
}

async fn try_all(
    config: CheckConfig,
    listen_for: Duration,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    if matches!(&config, CheckConfig::Endpoints(endpoints) if endpoints.is_empty()) {
        return Err(ConfigError(
            "nothing to check is given: give --collect, --brokers and --topic, --input, or an endpoint \
             for remote write"
                .to_owned(),
        )
        .into());
    }
    let schema = match &config {
        CheckConfig::All(config) => Schema::new(config.views.value.clone()),
        CheckConfig::Endpoints(_) => Schema::original(),
    };
    for endpoint in config.endpoints() {
        let probed = pusher::probe(&endpoint.config, &schema)
            .await
            .map_err(|error| endpoint.error(&error))?;
        let title = format!("push to {}", endpoint.config.name);
        report.say(&Found { title, works: Some(probed.works), findings: probed.findings })?;
    }
    let CheckConfig::All(config) = config else {
        return Ok(report.line("source: none is given")?);
    };
    let tables = config.address_sources().load();
    let (tables, _) = tables.map_err(|error| ConfigError(error.to_string()))?;
    let counting = config.counting(tables);
    let names = names_of(&config)?;
    let asked = Asked::new(&config, &counting)?;
    let mut flows = Flows::new(schema, counting.clone(), asked);
    // Before anything takes time.
    let web = config.web_file.value.as_deref().map(scrape::look_at_web).transpose()?;
    let (mut cluster, mut is_read) = (None, true);
    match &config.source {
        SourceConfig::Demo(_) | SourceConfig::Collector => {}
        SourceConfig::Input { input: Setting { value: input, origin }, .. } => {
            let wrong = |error| ConfigError(format!("{origin} {input}: {error}"));
            InputSource::open(input, false).map_err(wrong)?;
            let findings = vec![flows.read(input).map_err(wrong)?];
            report.say(&Found { title: format!("input {input}"), works: Some(true), findings })?;
        }
        SourceConfig::Kafka(kafka) => {
            let lowered = kafka.lower();
            let looked = tokio::task::spawn_blocking(move || {
                let found = topic::look_at(&lowered, &mut flows);
                (found, flows)
            });
            let (found, seen) = looked.await.context("looking at the topic")?;
            flows = seen;
            match found {
                Err(LookError::Config(error)) => return Err(kafka.error(&error).into()),
                found => {
                    let (found, of_cluster) = found?;
                    is_read = found.works == Some(true);
                    report.say(&found)?;
                    cluster = of_cluster;
                }
            }
        }
    }
    if let Some(asked) = flows.asked() {
        report.say(&asked.found().await)?;
    }
    if let Some(settings) = &config.collector {
        let (found, hints, seen) = collector::look_at(settings.clone(), listen_for, flows).await?;
        report.say(&found)?;
        report.hint(&hints)?;
        flows = seen;
    }
    if let Some(formats) = flows.formats() {
        report.line(&formats)?;
    }
    let (found, hints) = flows.judge(&names, nothing(&config, is_read));
    report.say(&found)?;
    report.hint(&hints)?;
    if config.listen.value.is_empty() {
        report.line("scrape: --addr is none")?;
    }
    for listen in &config.listen.value {
        report.say(&scrape::look_at(listen).await)?;
    }
    if let Some(web) = &web {
        report.say(web)?;
    }
    let identity = Identity { topic: topic_of(&config.source).into(), rule: counting.rule };
    match state_dir::choose(&config.state_dir.value, &identity) {
        None => report.line("state: nothing is kept")?,
        Some(place) => {
            let is_kept = !matches!(config.source, SourceConfig::Input { .. });
            let identity = is_kept.then_some(&identity);
            report.say(&state::look_at(&place, identity, cluster.as_deref()))?;
        }
    }
    if config.push.endpoints.is_empty() {
        report.line("push: no endpoint is given, so Prometheus has to scrape")?;
    }
    Ok(())
}

/// What it means that there was no record; whether the topic, if there is one, `is_read`.
fn nothing(config: &Config, is_read: bool) -> &'static str {
    match (&config.source, &config.collector) {
        (SourceConfig::Kafka(_), None) if !is_read => "no message could be read",
        (SourceConfig::Input { .. }, _) => "there is no record in the input",
        (SourceConfig::Collector, _) => "no flow came",
        (_, None) => "there is no message yet (does the collector write to this topic?)",
        (_, Some(_)) => "there is no message yet, and no flow came",
    }
}

/// The names of ASes, as far as they are here: where they are fetched, the program starts with the
/// embedded ones.
fn names_of(config: &Config) -> Result<Arc<AsNames>, ConfigError> {
    match config.names.value.clone() {
        NamesSource::Auto
        | NamesSource::Url(_)
        | NamesSource::Embedded
        | NamesSource::EmbeddedAnd(..) => Ok(Arc::new(AsNames::embedded())),
        source @ (NamesSource::File(_) | NamesSource::None) => {
            let refresh = config.names_refresh.value;
            let loaded = names::load_initial(NamesConfig { source, refresh, cache_dir: None });
            loaded.map(|(names, _)| names).map_err(|error| ConfigError(error.to_string()))
        }
    }
}

/// The topic that the state is about.
fn topic_of(source: &SourceConfig) -> &str {
    match source {
        SourceConfig::Kafka(kafka) => &kafka.topic.value,
        SourceConfig::Demo(demo) => &demo.topic,
        SourceConfig::Input { .. } => "",
        SourceConfig::Collector => COLLECTOR,
    }
}

/// Ignores a reader that has gone, as behind `| head`: the exit code has the result.
struct Unread<W>(W);

impl<W: Write> Write for Unread<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What is found, as it is written.
struct Report<'o> {
    out: &'o mut dyn Write,
    /// Titles of what does not work.
    failed: Vec<String>,
    /// Titles of what there was nothing to judge by.
    unknown: Vec<String>,
    /// How many hints were written.
    hints: usize,
}

impl Report<'_> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    fn say(&mut self, found: &Found) -> io::Result<()> {
        let Found { title, works, findings } = found;
        let verdict = match works {
            Some(true) => "works",
            Some(false) => "DOES NOT WORK",
            None => "not known",
        };
        self.line(&format!("{title}: {verdict}"))?;
        for finding in findings {
            self.line(&format!("  {finding}"))?;
        }
        match works {
            Some(true) => {}
            Some(false) => self.failed.push(title.clone()),
            None => self.unknown.push(title.clone()),
        }
        Ok(())
    }

    /// Hints at what works and could be better.
    fn hint(&mut self, hints: &[String]) -> io::Result<()> {
        self.hints += hints.len();
        hints.iter().try_for_each(|hint| self.line(&format!("  hint: {hint}")))
    }

    /// Says whether all of it works, in the last line.
    fn finish(mut self) -> io::Result<bool> {
        let works = self.failed.is_empty();
        let mut results = vec![if works {
            "nothing is wrong".to_owned()
        } else {
            format!("DOES NOT WORK: {}", self.failed.join("; "))
        }];
        if !self.unknown.is_empty() {
            results.push(format!("not known: {}", self.unknown.join("; ")));
        }
        match self.hints {
            0 => {}
            1 => results.push("see the hint above".to_owned()),
            hints => results.push(format!("see the {hints} hints above")),
        }
        self.line(&format!("result: {}", results.join("; ")))?;
        Ok(works)
    }
}
