//! Asks the schema registry for what messages need.

use std::collections::BTreeSet;

use tokio::runtime::Handle;

use crate::{
    config::{AvroConfig, Config, ConfigError},
    flow::AvroSource,
    pipeline::Counting,
    registry::Registry,
};

use super::found::Found;

/// What a registry said.
#[derive(Debug)]
pub(super) struct Asked {
    registry: Registry,
    runtime: Handle,
    /// Why it does not say anything.
    trouble: Option<String>,
    /// What is wrong with schemas.
    refused: BTreeSet<String>,
    /// Messages whose schema is not known because of that.
    waiting: u64,
}

impl Asked {
    /// The configured registry, if there is one. Nothing is taken from the state directory or kept there.
    pub(super) fn new(config: &Config, counting: &Counting) -> Result<Option<Self>, ConfigError> {
        let (AvroConfig::Registry(registry), AvroSource::Registry(schemas)) =
            (&config.avro.value, &counting.avro)
        else {
            return Ok(None);
        };
        let registry = Registry::new(registry, schemas.clone(), None)
            .map_err(|error| config.avro.origin.error(error))?;
        let (runtime, refused) = (Handle::current(), BTreeSet::new());
        Ok(Some(Asked { registry, runtime, trouble: None, refused, waiting: 0 }))
    }

    /// Asks for the schema that a message needs. Must not be called on a thread of the runtime.
    pub(super) fn ask(&mut self) {
        if self.trouble.is_none() {
            match self.runtime.block_on(self.registry.ask_once()) {
                Ok(refused) => self.refused.extend(refused),
                Err(trouble) => self.trouble = Some(trouble),
            }
        }
        self.waiting += u64::from(self.trouble.is_some());
    }

    /// Whether it answers.
    pub(super) async fn found(mut self) -> Found {
        if self.trouble.is_none() {
            self.trouble = self.registry.probe().await.err();
        }
        let works = self.trouble.is_none();
        let mut findings: Vec<_> = self.trouble.into_iter().collect();
        if self.waiting > 0 {
            findings.push(format!(
                "{} of the newest messages need a schema that is not known: their partitions would wait",
                self.waiting
            ));
        }
        findings.extend(self.refused);
        if findings.is_empty() {
            findings.push("it answers".to_owned());
        }
        Found {
            title: format!("schema registry {}", self.registry.name()),
            works: Some(works),
            findings,
        }
    }
}
