//! The command `check`: does what the flags and files name work?

mod flows;
mod found;
mod scrape;
mod state;
mod topic;

use std::{
    io::{self, Write},
    sync::Arc,
};

use anyhow::Context as _;

use crate::{
    asn::AsNames,
    config::{CheckConfig, ConfigError, Setting, SourceConfig},
    ledger::Identity,
    names::{self, NamesConfig, NamesSource},
    publish::pusher,
    schema::Schema,
    source::{input::InputSource, kafka::LookError},
    state_dir,
    traffic::Rule,
};

use flows::Flows;
use found::Found;

/// Tries everything, says in words what it finds, and returns whether all of it works. Counts,
/// sends and keeps nothing.
///
/// # Errors
/// [`ConfigError`] for what is wrong in flags and files; others where the result can't be said.
pub async fn run(config: CheckConfig, out: &mut impl Write) -> anyhow::Result<bool> {
    let out = &mut Told(out);
    let mut works = true;
    let mut say = |out: &mut dyn Write, found: &Found| {
        works &= found.works != Some(false);
        tell(out, found)
    };
    let schema = Schema::original();
    for endpoint in config.endpoints() {
        let probed = pusher::probe(&endpoint.config, &schema)
            .await
            .map_err(|error| endpoint.error(&error))?;
        let title = format!("push to {}", endpoint.config.name);
        say(out, &Found { title, works: Some(probed.works), findings: probed.findings })?;
    }
    if config.endpoints().is_empty() {
        writeln!(out, "push: no endpoint is given")?;
    }
    let CheckConfig::All(config) = config else {
        writeln!(out, "source: none is given")?;
        return Ok(works);
    };
    let rule = Rule { asn: config.asn.value };
    let names = NamesConfig {
        source: config.names.value,
        refresh: config.names_refresh.value,
        cache_dir: None,
    };
    let names = match names.source {
        // To be fetched, or built in: the program begins with the latter.
        NamesSource::Auto | NamesSource::Url(_) | NamesSource::Embedded => {
            Arc::new(AsNames::embedded())
        }
        NamesSource::File(_) | NamesSource::None => {
            let loaded = names::load_initial(names);
            loaded.map_err(|error| ConfigError(error.to_string()))?.0
        }
    };
    let mut flows = Flows::new(schema, rule);
    match &config.source {
        SourceConfig::Demo(_) => {}
        SourceConfig::Input { input: Setting { value: input, origin }, .. } => {
            let wrong = |error| origin.error(format_args!("{input}: {error}"));
            InputSource::open(input, false).map_err(wrong)?;
            let findings = vec!["it can be opened".to_owned()];
            say(out, &Found { title: format!("input {input}"), works: Some(true), findings })?;
            flows.read(input).map_err(wrong)?;
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
                found => say(out, &found?)?,
            }
        }
    }
    say(out, &flows.judge(&names))?;
    match &config.listen.value {
        None => writeln!(out, "scrape: --addr is none")?,
        Some(listen) => say(out, &scrape::look_at(listen).await)?,
    }
    let identity = Identity { topic: topic_of(&config.source).into(), rule };
    match state_dir::choose(&config.state_dir.value, &identity) {
        None => writeln!(out, "state: nothing is kept")?,
        Some(place) => {
            let is_kept = !matches!(config.source, SourceConfig::Input { .. });
            say(out, &state::look_at(&place, is_kept.then_some(&identity)))?;
        }
    }
    Ok(works)
}

/// What the state is about.
fn topic_of(source: &SourceConfig) -> &str {
    match source {
        SourceConfig::Kafka(kafka) => &kafka.topic.value,
        SourceConfig::Demo(demo) => &demo.topic,
        SourceConfig::Input { .. } => "",
    }
}

/// Where nobody reads any more, as behind `| head`, the result is in the exit code alone.
struct Told<W>(W);

impl<W: Write> Write for Told<W> {
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

fn tell(out: &mut dyn Write, found: &Found) -> io::Result<()> {
    let Found { title, works, findings } = found;
    let verdict = match works {
        Some(true) => "works",
        Some(false) => "DOES NOT WORK",
        None => "not known",
    };
    writeln!(out, "{title}: {verdict}")?;
    for finding in findings {
        writeln!(out, "  {finding}")?;
    }
    Ok(())
}
