//! The endpoints of remote write: starting them, and changing them while the program runs.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    task::{self, JoinSet},
    time::Instant,
};

use crate::{
    config::{ConfigError, Endpoint},
    health::{Health, Lifeline},
    journal::{self, Log},
    ledger,
    metrics::Metrics,
    publish::pusher::{self, Identities, Pusher, StopError},
    schema::Schema,
};

/// How long a request may take to end when its endpoint is changed or removed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What every endpoint needs.
#[derive(Debug, Clone)]
pub(super) struct Needs {
    pub(super) schema: Arc<Schema>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Health,
    pub(super) state_dir: Option<PathBuf>,
}

/// Endpoints that have not started yet.
pub(super) struct Idle {
    needs: Needs,
    pushers: Vec<(Endpoint, Pusher, Lifeline)>,
    identities: Identities,
}

/// The running endpoints.
pub(super) struct Endpoints {
    needs: Needs,
    /// What they send. Without it, there are no endpoints and can't be any.
    log: Option<Log>,
    reader: ledger::Reader,
    running: Vec<(Endpoint, pusher::Running)>,
    /// Names of endpoints whose threads did not stop when they were to.
    stuck: BTreeSet<String>,
    /// Keeps other processes on this host from pushing the same series.
    identities: Identities,
}

/// How the endpoints are to change. Everything that can be checked beforehand has been.
#[derive(Debug)]
pub(super) struct Change {
    /// Names of endpoints that are no longer configured.
    removed: Vec<String>,
    /// Endpoints with new settings.
    changed: Vec<Endpoint>,
    /// Endpoints that are as before, but are to know other metrics.
    restarted: Vec<Endpoint>,
    added: Vec<Endpoint>,
    /// Of all endpoints after the change.
    identities: Identities,
    /// What the series are after the change.
    schema: Arc<Schema>,
}

/// Why endpoints can't be changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    /// An endpoint can't be used as configured, or another process pushes the same series.
    #[error("{0}")]
    Invalid(String),
    /// There is no queue for endpoints.
    #[error("endpoints can't be added, because the queue in memory is created at the start")]
    NoLog,
    /// A thread of an earlier pusher still waits for the disk.
    #[error("endpoint {0} could not be stopped earlier, because its thread waits for the disk")]
    Stuck(String),
}

/// A pusher for the endpoint, which has not started, and the lifeline of its thread.
fn pusher(endpoint: &Endpoint, needs: &Needs) -> Result<(Pusher, Lifeline), ConfigError> {
    let component = needs.health.register(component_name(&endpoint.config.name));
    let lifeline = component.lifeline("stream");
    let metrics = Arc::clone(&needs.metrics);
    match Pusher::new(
        &endpoint.config,
        &needs.schema,
        metrics,
        component,
        needs.state_dir.as_deref(),
    ) {
        Ok(pusher) => Ok((pusher.with_self_metrics(), lifeline)),
        Err(error) => {
            lifeline.end();
            Err(endpoint.error(&error))
        }
    }
}

/// What `/-/ready` calls an endpoint.
fn component_name(endpoint: &str) -> String {
    format!("push to {endpoint}")
}

impl Idle {
    /// Checks the endpoints; sends nothing.
    pub(super) fn new(endpoints: &[Endpoint], needs: Needs) -> Result<Self, ConfigError> {
        let pusher = |endpoint: &Endpoint| {
            let (pusher, lifeline) = pusher(endpoint, &needs)?;
            Ok((endpoint.clone(), pusher, lifeline))
        };
        let pushers = endpoints.iter().map(pusher).collect::<Result<_, _>>()?;
        let configs: Vec<_> = endpoints.iter().map(|endpoint| endpoint.config.clone()).collect();
        let identities =
            Identities::hold(&configs).map_err(|error| ConfigError(error.to_string()))?;
        Ok(Idle { needs, pushers, identities })
    }

    /// Has the log kept for these endpoints from now on, and no longer for others.
    pub(super) fn claim(&self, log: &Log) -> Result<(), journal::Error> {
        pusher::claim(log, self.pushers.iter().map(|(_, pusher, _)| pusher))
    }

    /// Starts pushing what is in the log.
    pub(super) fn start(
        self,
        log: Option<Log>,
        reader: ledger::Reader,
    ) -> anyhow::Result<Endpoints> {
        let Idle { needs, pushers, identities } = self;
        let (running, stuck) = (Vec::new(), BTreeSet::new());
        let mut endpoints = Endpoints { needs, log, reader, running, stuck, identities };
        for (endpoint, pusher, lifeline) in pushers {
            endpoints.run(endpoint, pusher, lifeline)?;
        }
        Ok(endpoints)
    }
}

impl Endpoints {
    fn run(
        &mut self,
        endpoint: Endpoint,
        pusher: Pusher,
        lifeline: Lifeline,
    ) -> anyhow::Result<()> {
        let log = self.log.clone().context("there is no log to push from")?;
        let running = pusher
            .start(lifeline, log, self.reader.news())
            .context("starting the thread of an endpoint")?;
        self.running.push((endpoint, running));
        Ok(())
    }

    /// What has to change so that just the `wanted` endpoints run and send series of `schema`. Checks
    /// them and changes nothing.
    ///
    /// # Errors
    /// If they can't run.
    pub(super) async fn plan(
        &self,
        wanted: &[Endpoint],
        schema: &Arc<Schema>,
    ) -> Result<Change, ChangeError> {
        let of = |name: &str| {
            let mut running = self.running.iter().map(|(endpoint, _)| endpoint);
            running.find(|endpoint| endpoint.config.name == name)
        };
        let mut removed = Vec::new();
        for (endpoint, _) in &self.running {
            let name = &endpoint.config.name;
            if wanted.iter().all(|wanted| wanted.config.name != *name) {
                removed.push(name.clone());
            }
        }
        let has_other_metrics = schema.families() != self.needs.schema.families();
        let (mut changed, mut restarted, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for endpoint in wanted {
            match of(&endpoint.config.name) {
                None => added.push(endpoint.clone()),
                Some(before) if before != endpoint => changed.push(endpoint.clone()),
                Some(_) if has_other_metrics => restarted.push(endpoint.clone()),
                Some(_) => {}
            }
        }
        if self.log.is_none() && !added.is_empty() {
            return Err(ChangeError::NoLog);
        }
        let new = changed.iter().chain(&restarted).chain(&added);
        if let Some(stuck) = new.clone().find(|new| self.stuck.contains(&new.config.name)) {
            return Err(ChangeError::Stuck(stuck.config.name.clone()));
        }
        // External labels of the others are checked as well if series get other labels.
        let is_same_schema = *schema == self.needs.schema;
        let to_check: Vec<Endpoint> =
            if is_same_schema { new.cloned().collect() } else { wanted.to_vec() };
        let to_send = Arc::clone(schema);
        // This reads files, which may block.
        let checked = task::spawn_blocking(move || {
            let check = |endpoint: &Endpoint| {
                pusher::check(&endpoint.config, &to_send).map_err(|error| endpoint.error(&error))
            };
            to_check.iter().try_for_each(check)
        });
        let checked = checked.await.map_err(|error| ChangeError::Invalid(error.to_string()))?;
        checked.map_err(|error| ChangeError::Invalid(error.to_string()))?;
        let configs: Vec<_> = wanted.iter().map(|endpoint| endpoint.config.clone()).collect();
        let identities = self
            .identities
            .renewed(&configs)
            .map_err(|error| ChangeError::Invalid(error.to_string()))?;
        let schema = Arc::clone(schema);
        Ok(Change { removed, changed, restarted, added, identities, schema })
    }

    /// Makes the change. Returns what it did and what went wrong, in lines for people. Unchanged
    /// endpoints continue undisturbed. A changed one stops and starts as in a restart: the new one
    /// sends what waits. An endpoint for which something went wrong no longer pushes.
    pub(super) async fn apply(&mut self, change: Change) -> (Vec<String>, Vec<String>) {
        let Change { removed, changed, restarted, added, identities, schema } = change;
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + STOP_LIMIT;
        let mut stops = JoinSet::new();
        for (endpoint, running) in std::mem::take(&mut self.running) {
            let name = endpoint.config.name.clone();
            let is_removed = removed.contains(&name);
            let mut stopped = changed.iter().chain(&restarted);
            if !is_removed && stopped.all(|stopped| stopped.config.name != name) {
                self.running.push((endpoint, running));
                continue;
            }
            stops.spawn(async move {
                let stopped = if is_removed {
                    running.remove(deadline).await
                } else {
                    running.stop(deadline).await
                };
                (name, is_removed, stopped)
            });
        }
        while let Some(stop) = stops.join_next().await {
            let Ok((name, is_removed, stopped)) = stop else { continue };
            // A thread that still waits for the disk stays visible.
            if matches!(stopped, Err(StopError::Deadline | StopError::Panicked)) {
                self.stuck.insert(name.clone());
            } else {
                self.needs.health.retire(&component_name(&name));
            }
            if is_removed {
                self.needs.metrics.forget_endpoint(&name);
                done.push(format!("endpoint {name} removed: its pending samples are dropped"));
            }
            if let Err(error) = stopped {
                failed.push(format!("endpoint {name}: {error}"));
            }
        }
        self.identities = identities;
        self.needs.schema = schema;
        let of = |what: Option<&'static str>| move |endpoint: Endpoint| (what, endpoint);
        let changed = changed.into_iter().map(of(Some("changed")));
        let restarted = restarted.into_iter().map(of(None));
        let new = changed.chain(restarted).chain(added.into_iter().map(of(Some("added"))));
        for (what, endpoint) in new {
            let name = endpoint.config.name.clone();
            // Two of them would send the same samples.
            if self.stuck.contains(&name) {
                continue;
            }
            match self.begin(endpoint).await {
                Ok(()) => done.extend(what.map(|what| format!("endpoint {name} {what}"))),
                Err(error) => failed.push(format!("endpoint {name}: {error:#}")),
            }
        }
        (done, failed)
    }

    /// Starts an endpoint.
    async fn begin(&mut self, endpoint: Endpoint) -> anyhow::Result<()> {
        let needs = self.needs.clone();
        let made = task::spawn_blocking(move || {
            pusher(&endpoint, &needs).map(|(pusher, lifeline)| (endpoint, pusher, lifeline))
        });
        let (endpoint, pusher, lifeline) = made.await.context("reading its files")??;
        self.run(endpoint, pusher, lifeline)
    }

    /// The running endpoints.
    pub(super) fn configured(&self) -> Vec<Endpoint> {
        self.running.iter().map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// Waits until all have ended by themselves, which they do when the ledger has.
    ///
    /// # Errors
    /// If one has panicked.
    pub(super) async fn ended(self) -> Result<(), StopError> {
        let mut result = Ok(());
        for (_, running) in self.running {
            result = result.and(running.ended().await);
        }
        result
    }
}
