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
    config::{CheckConfig, CheckSource, ConfigError, SourceConfig},
    names::{self, NamesSource},
    publish::pusher,
    source::{input::InputSource, kafka::LookError},
    traffic::Layout,
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
    let layout = Layout::original();
    for endpoint in &config.push {
        let probed = pusher::probe(endpoint, &layout)
            .await
            .map_err(|error| ConfigError(format!("push to {}: {error}", endpoint.name)))?;
        let title = format!("push to {}", endpoint.name);
        say(out, &Found { title, works: Some(probed.works), findings: probed.findings })?;
    }
    if config.push.is_empty() {
        writeln!(out, "push: no endpoint is given")?;
    }
    let Some(CheckSource { source, rule, names, listen, state_dir }) = config.source else {
        writeln!(out, "source: none is given")?;
        return Ok(works);
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
    let mut flows = Flows::new(&layout, rule);
    match &source {
        SourceConfig::Input { input, .. } => {
            let wrong = |error| ConfigError(format!("--input {input}: {error}"));
            InputSource::open(input, false).map_err(wrong)?;
            let findings = vec!["it can be opened".to_owned()];
            say(out, &Found { title: format!("input {input}"), works: Some(true), findings })?;
            flows.read(input).map_err(wrong)?;
        }
        SourceConfig::Kafka(kafka) => {
            let kafka = kafka.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let found = topic::look_at(&kafka, &mut flows);
                (found, flows)
            });
            let (found, seen) = looked.await.context("looking at the topic")?;
            flows = seen;
            match found {
                Err(LookError::Config(error)) => {
                    return Err(ConfigError(error.to_string()).into());
                }
                found => say(out, &found?)?,
            }
        }
    }
    say(out, &flows.judge(&names))?;
    match listen {
        None => writeln!(out, "scrape: --addr is none")?,
        Some(listen) => say(out, &scrape::look_at(&listen).await)?,
    }
    match state_dir {
        None => writeln!(out, "state: --state-dir is none")?,
        Some(place) => say(out, &state::look_at(&place, &source, rule, &layout))?,
    }
    Ok(works)
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
