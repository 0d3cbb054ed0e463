//! The schema registry: finds out the schemas that messages of Avro name by their id.
//!
//! Workers look in [`Schemas`], which has no I/O, and hold back a partition whose next message has a
//! schema of which nothing is known. A [`Registry`] asks for it, until the registry says something: so
//! nothing is lost while it is away. What the registry itself has no schema of use for (an id that it does
//! not know, a schema of Protobuf) is told to the workers as well, who count such messages as not decodable
//! for a while; others follow.

mod cache;
mod client;
mod config;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use crate::{
    flow::{KnownSchema, Schemas},
    health::{Component, State},
    metrics::Metrics,
    publish::pusher::{Backoff, BackoffBounds, PusherConfigError},
};

pub use cache::SCHEMAS;
pub use config::RegistryConfig;

use cache::Cache;
use client::{Answer, Client, Trouble};

/// Waits after failures.
const BACKOFF: BackoffBounds = BackoffBounds {
    min: Duration::from_secs(1),
    max: Duration::from_secs(30),
    retry_after_max: Duration::from_secs(30),
};
/// A registry that follows another one may learn of a schema after its messages are there, and what is in
/// front of it may answer in its place: that an id has no schema of use counts only if it is said twice, this
/// much apart.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// With more such ids than this, once is enough: somebody makes them up.
const DOUBTED: usize = 16;
/// How long such an id is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How many such ids are remembered. Beyond them, the one that is due first is asked for again.
const MOST_REFUSED: usize = 1024;

/// Asks a registry for the schemas that are wanted.
#[derive(Debug)]
pub struct Registry {
    name: String,
    client: Client,
    schemas: Schemas,
    cache: Option<Cache>,
    wanted: Arc<Notify>,
    /// Ids without a schema of use, with when they are to be asked for again.
    refused: BTreeMap<u32, Instant>,
    backoff: Backoff,
    /// The id that got no answer last.
    silent: u32,
}

/// When to ask again.
enum Next {
    /// After this time, and not before.
    After(Duration),
    /// After this time, or once something is wanted.
    WhenWanted(Duration),
}

impl Registry {
    /// A registry whose schemas workers find in `schemas`. Takes up what is kept in the state
    /// directory. Does not use the network.
    ///
    /// # Errors
    /// If files with secrets or certificates can't be used.
    pub fn new(
        config: &RegistryConfig,
        schemas: Schemas,
        state_dir: Option<&Path>,
    ) -> Result<Self, PusherConfigError> {
        let client = Client::new(config)?;
        let name = config.name().to_owned();
        let cache = state_dir.map(|folder| Cache::open(folder, &name));
        for (id, schema) in cache.iter().flat_map(Cache::schemas) {
            schemas.learn(id, KnownSchema::Schema(schema));
        }
        let wanted = Arc::new(Notify::new());
        let notify = Arc::clone(&wanted);
        schemas.ask_with(Arc::new(move || notify.notify_one()));
        let (refused, backoff) = (BTreeMap::new(), Backoff::new(BACKOFF));
        Ok(Registry { name, client, schemas, cache, wanted, refused, backoff, silent: 0 })
    }

    /// The registry's URL, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks once for all that is wanted. Says what is wrong with those schemas that can't be used.
    ///
    /// # Errors
    /// If the registry does not say what one of them is: why, and what to do.
    pub async fn ask_once(&mut self) -> Result<Vec<String>, String> {
        let mut refused = Vec::new();
        for id in self.schemas.wanted() {
            let known = match self.client.ask(id).await.map_err(|trouble| trouble.what)? {
                Answer::Schema(schema, _) => KnownSchema::Schema(schema),
                Answer::Refused(reason, why) => {
                    refused.push(format!("messages with schema {id} can't be decoded: {why}"));
                    KnownSchema::Refused(reason)
                }
            };
            self.schemas.learn(id, known);
        }
        Ok(refused)
    }

    /// Finds out whether the registry answers as one.
    ///
    /// # Errors
    /// If it does not: why, and what to do.
    pub async fn probe(&self) -> Result<(), String> {
        // No schema has this id, which a registry says.
        self.client.ask(0).await.map(drop).map_err(|trouble| trouble.what)
    }

    /// Asks for what is wanted, until `shutdown` completes.
    pub async fn run(
        mut self,
        metrics: Arc<Metrics>,
        component: &Component,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        loop {
            let next = tokio::select! {
                () = &mut shutdown => return,
                next = self.round(&metrics, component) => next,
            };
            let (wait, is_idle) = match next {
                Next::After(wait) => (wait, false),
                Next::WhenWanted(wait) => (wait, true),
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = time::sleep(wait) => {}
                () = self.wanted.notified(), if is_idle => {}
            }
        }
    }

    /// Asks for all that is wanted.
    async fn round(&mut self, metrics: &Metrics, component: &Component) -> Next {
        self.forget();
        let mut trouble = None;
        let mut is_doubted = false;
        // One that is never answered does not keep those behind it waiting.
        let mut wanted = self.schemas.wanted();
        let behind = wanted.partition_point(|id| *id <= self.silent);
        wanted.rotate_left(behind);
        for id in wanted {
            metrics.schemas_wanted.set(self.schemas.wanted().len() as i64);
            let counted = |result| metrics.schema_requests.with_label_values(&[result]).inc();
            match self.client.ask(id).await {
                Ok(Answer::Schema(schema, text)) => {
                    counted("schema");
                    tracing::info!(
                        id,
                        registry = self.name,
                        "messages with this schema are decoded"
                    );
                    self.keep(id, text).await;
                    self.schemas.learn(id, KnownSchema::Schema(schema));
                    self.refused.remove(&id);
                }
                Ok(Answer::Refused(reason, why)) => {
                    counted(reason.label());
                    if self.doubts(id) {
                        is_doubted = true;
                        continue;
                    }
                    tracing::warn!(
                        id,
                        registry = self.name,
                        reason = reason.label(),
                        "messages with this schema can't be decoded and are not counted: {why}"
                    );
                    self.schemas.learn(id, KnownSchema::Refused(reason));
                }
                Err(Trouble { what, is_answer }) => {
                    counted("failed");
                    trouble = Some((id, what));
                    if !is_answer {
                        self.silent = id;
                        break;
                    }
                }
            }
        }
        metrics.schemas_wanted.set(self.schemas.wanted().len() as i64);
        let Some((id, what)) = trouble else {
            self.backoff.reset();
            component.set(State::Ready);
            if is_doubted {
                return Next::After(SECOND_LOOK);
            }
            let due = self.refused.values().min();
            let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
            return Next::WhenWanted(wait.unwrap_or(Duration::MAX));
        };
        let wait = self.backoff.after_failure(None);
        let text = format!(
            "the schema registry {} does not say what the schema {id} is: {what}; partitions wait at its \
             messages, nothing is lost, and it is asked again",
            self.name
        );
        tracing::error!(next_try = ?wait, "{text}");
        component.set(State::Failing(text));
        Next::After(wait)
    }

    /// Whether that an id has no schema of use is to be heard again. If not, it is not asked for in a while.
    fn doubts(&mut self, id: u32) -> bool {
        let now = Instant::now();
        let is_first = !self.refused.contains_key(&id);
        let doubted = is_first && self.refused.len() < DOUBTED;
        if is_first
            && self.refused.len() >= MOST_REFUSED
            && let Some(first) = self.refused.iter().min_by_key(|(_, due)| **due)
        {
            let first = *first.0;
            self.refused.remove(&first);
            self.schemas.forget(first);
        }
        self.refused.insert(id, if doubted { now } else { now + REFUSED_FOR });
        doubted
    }

    /// Has ids that had no schema of use be asked for again, if messages come with them.
    fn forget(&mut self) {
        let now = Instant::now();
        let wanted = self.schemas.wanted();
        self.refused.retain(|id, due| {
            let is_due = *due <= now && !wanted.contains(id);
            if is_due {
                self.schemas.forget(*id);
            }
            !is_due
        });
    }

    /// Keeps a schema for the next start.
    async fn keep(&mut self, id: u32, text: String) {
        let Some(mut cache) = self.cache.take() else { return };
        let kept = tokio::task::spawn_blocking(move || {
            cache.keep(id, text);
            cache
        });
        self.cache = kept.await.ok();
    }
}
