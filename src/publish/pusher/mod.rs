//! Sends samples to remote-write endpoints.
//!
//! A [`Pusher`] sends to one endpoint. [`Pusher::new`] checks everything that can be checked without
//! the network; [`Pusher::start`] starts a thread for it, on which one ordered stream of requests
//! (`stream.rs`) takes its batches from a queue (`queue/`). No two requests that hold the same series
//! are ever under way at once. Endpoints share nothing but the log, so a slow or dead one delays
//! neither the others nor counting.

mod answer;
mod auth;
mod backoff;
mod batches;
mod canary;
mod client;
mod config;
mod delivery;
mod identity;
mod negotiate;
mod probe;
mod push_metrics;
mod quarantine;
mod queue;
mod rate_limit;
mod recognize;
mod rejected;
mod requests;
mod running;
mod secret;
mod send_error;
mod sender;
mod status;
mod stream;

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    files::Files,
    health::{Component, Lifeline},
    journal::{self, Log},
    metrics::Metrics,
    schema::Schema,
};

use super::remote_write::{Encoder, ExternalLabels, Families};

pub(crate) use auth::Authenticator;
pub(crate) use backoff::Backoff;
use canary::Canary;
pub(crate) use client::HttpClient;
pub use config::{
    Auth, AwsEnvironment, BackoffBounds, CompressionChoice, OAuth2Config, Order, ProtocolChoice,
    ProxyConfig, PusherConfig, PusherConfigError, Secret, SecretSource, SigV4Config, TlsConfig,
    TlsVersion,
};
pub use identity::{Identities, IdentityTaken};
use negotiate::{Negotiation, Notes};
pub use probe::{Probed, probe};
use push_metrics::PushMetrics;
use quarantine::Quarantine;
use queue::{Labeler, News, Queue};
use rate_limit::RateLimit;
use rejected::RejectedSeries;
use requests::Requests;
use running::Stop;
pub use running::{Running, StopError};
pub use send_error::{SendError, SendErrorKind};
pub use sender::{Content, Reply, Sender, Written};
use status::PushStatus;
use stream::{Limit, Stream};

/// The directory for what was found out about endpoints, in the state directory.
pub const ENDPOINTS: &str = "endpoints";

/// The directory for refused samples, in the state directory.
pub const QUARANTINE: &str = "quarantine";

/// How many characters of an endpoint's name go into the names of its cursor and files.
const FILE_NAME_LIMIT: usize = 80;

/// The sender of one endpoint, which has not started yet.
#[derive(Debug)]
pub struct Pusher {
    stream: Stream,
    config: PusherConfig,
    /// Name of its retention cursor and acknowledged position in the log.
    name: String,
    labeler: Labeler,
    metrics: PushMetrics,
    /// The program's own metrics, where they are pushed as well.
    self_metrics: Option<Arc<Metrics>>,
}

impl Pusher {
    /// A pusher of series of `schema`; does not touch the network. In `state_dir` it keeps what it
    /// found out about the endpoint (`endpoints/`) and samples that were refused (`quarantine/`);
    /// without it, neither is kept.
    pub fn new(
        config: &PusherConfig,
        schema: &Schema,
        metrics: Arc<Metrics>,
        component: Component,
        state_dir: Option<&Path>,
    ) -> Result<Self, PusherConfigError> {
        let (external, sender) = match parts(config, schema) {
            Ok(parts) => parts,
            Err(error) => {
                // What never was can't have died.
                component.finish();
                return Err(error);
            }
        };
        let endpoint = config.name.clone();
        let file = |directory: &str, ending: &str| {
            let name = format!("{}.{ending}", file_name(&endpoint));
            state_dir.map(|state_dir| state_dir.join(directory).join(name))
        };
        let notes =
            file(ENDPOINTS, "protocol").map(|path| Notes::new(Files::default(), path, &config.url));
        let found = notes.as_ref().and_then(Notes::read);
        let mut negotiation = Negotiation::new(config.protocol, config.compression, found);
        if config.trust_2xx {
            negotiation.trust();
        }
        let families = Arc::new(Families::all(schema));
        let canary = Canary::new(&families, external.merge([]));
        let requests = Requests {
            sender,
            encoder: Encoder::new(Arc::clone(&families), config.start_timestamps),
            negotiation,
            notes,
            backoff: Backoff::new(config.backoff),
            rate_limit: config.bandwidth.map(|rate| RateLimit::new(rate, Instant::now())),
            canary,
            trust_2xx: config.trust_2xx,
            unrecognized: 0,
            status: PushStatus::new(endpoint.clone(), Arc::clone(&metrics), component),
        };
        let stream = Stream {
            requests,
            quarantine: file(QUARANTINE, "jsonl")
                .map(|path| Quarantine::new(Files::default(), path)),
            offset: offset(config),
            limit: Limit::new(config.batch),
            refused_whole: false,
            rejected: RejectedSeries::new(),
        };
        Ok(Pusher {
            stream,
            config: config.clone(),
            name: file_name(&endpoint),
            labeler: Labeler::new(families, external, config.relabel.clone()),
            metrics: PushMetrics::new(endpoint, metrics),
            self_metrics: None,
        })
    }

    /// Pushes the program's own metrics as well.
    #[must_use]
    pub fn with_self_metrics(self) -> Self {
        Pusher { self_metrics: Some(self.metrics.all()), ..self }
    }

    /// Starts a thread that sends what comes in `log`, from where the endpoint was on. `news` changes
    /// whenever something has come; its other end is gone when the program ends. Then what is left
    /// is sent within [`PusherConfig::shutdown_timeout`] and without second tries; not even that if
    /// the endpoint is in trouble at that moment. A log on disk keeps the rest for the next start.
    ///
    /// May be called while others push from the same log, once [`claim`] has been told of all of
    /// them.
    ///
    /// # Errors
    /// If the system has no room for a thread.
    pub fn start(
        self,
        lifeline: Lifeline,
        log: Log,
        news: watch::Receiver<()>,
    ) -> io::Result<Running> {
        let (name, metrics) = (self.name.clone(), self.metrics.clone());
        let running_log = log.clone();
        Running::start(lifeline, name, running_log, metrics, move |stop| {
            self.run_until(log, news, stop)
        })
    }

    /// Does what [`Pusher::start`] says, in the caller's task. Waits for the disk block it.
    pub async fn run(self, log: Log, news: watch::Receiver<()>) {
        let (_never, stop) = watch::channel(None);
        Box::pin(self.run_until(log, news, stop)).await;
    }

    async fn run_until(self, log: Log, news: watch::Receiver<()>, stop: Stop) {
        let Pusher { stream, config, name, labeler, metrics, self_metrics } = self;
        let is_durable = log.is_durable();
        metrics.inherit();
        let news = News::new(news, stop, config.shutdown_timeout);
        let queue = Queue::open(&config, name, labeler, log, news, metrics, self_metrics).await;
        let Some(mut queue) = queue else { return stream.finish() };
        let result = stream.run(&mut queue).await;
        if result.is_err() {
            queue.finish().await;
        }
        let samples = queue.abandon();
        if result.is_err() {
            let endpoint = queue.metrics().endpoint();
            if is_durable {
                tracing::info!(
                    endpoint,
                    samples,
                    "push has stopped: the remaining samples are sent after the next start"
                );
            } else {
                tracing::warn!(
                    endpoint,
                    samples,
                    "the endpoint did not accept the last samples in time: they are dropped"
                );
            }
        }
    }
}

/// Checks what [`Pusher::new`] would, files included.
///
/// # Errors
/// Those of [`Pusher::new`].
pub fn check(config: &PusherConfig, schema: &Schema) -> Result<(), PusherConfigError> {
    parts(config, schema).map(drop)
}

/// The parts of a pusher that a wrong configuration fails in.
fn parts(
    config: &PusherConfig,
    schema: &Schema,
) -> Result<(ExternalLabels, Sender), PusherConfigError> {
    Ok((ExternalLabels::new(&config.external_labels, schema)?, Sender::new(config)?))
}

/// Has the log kept for these endpoints from now on, for new ones from its end on, and no longer for
/// endpoints that are not configured any more. To be called before the log grows.
pub fn claim<'p>(
    log: &Log,
    pushers: impl IntoIterator<Item = &'p Pusher>,
) -> Result<(), journal::Error> {
    let names: Vec<&str> = pushers.into_iter().map(|pusher| pusher.name.as_str()).collect();
    let written = log.end().totals.samples;
    for (name, cursor) in log.retention_cursors() {
        if !names.contains(&name.as_str()) {
            let unsent = written.saturating_sub(cursor.totals.samples);
            tracing::warn!(
                name,
                unsent,
                "an endpoint is no longer configured: its pending samples are dropped"
            );
            log.forget(&name)?;
        }
    }
    for name in names {
        queue::claim(log, name)?;
    }
    Ok(())
}

/// The name of an endpoint's cursor and files: what of the endpoint's name can stand in a file name,
/// and a checksum of all of it.
fn file_name(endpoint: &str) -> String {
    let sum = crc32fast::hash(endpoint.as_bytes());
    let plain = |each: char| each.is_ascii_alphanumeric() || "-_.".contains(each);
    let name: String = endpoint
        .chars()
        .map(|each| if plain(each) { each } else { '_' })
        .take(FILE_NAME_LIMIT)
        .collect();
    format!("{}-{sum:08x}", name.trim_start_matches('.'))
}

/// By how much this host sends later than a tick: the same each time, and another for each host.
fn offset(config: &PusherConfig) -> Duration {
    let mut host = gethostname::gethostname().to_string_lossy().into_owned();
    for (name, value) in &config.external_labels {
        host.extend([name, "=", value]);
    }
    config.jitter.mul_f64(f64::from(crc32fast::hash(host.as_bytes())) / f64::from(u32::MAX))
}
