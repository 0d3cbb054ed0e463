//! The push door: sends samples to one remote-write endpoint.
//!
//! [`Pusher::new`] checks everything that can be checked without the network; [`Pusher::run`] is
//! one ordered stream of requests (`stream.rs`), so no two that hold the same series are ever under
//! way at once. A slow or dead endpoint costs its own samples' time and nothing else: they are
//! published whether or not they are taken.

mod answer;
mod auth;
mod backoff;
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
mod secret;
mod sender;
mod status;
mod stream;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    health::Component,
    journal::{self, Log},
    metrics::Metrics,
    traffic::Layout,
};

use super::remote_write::{Encoder, ExternalLabels, Families};

use backoff::Backoff;
use canary::Canary;
pub use config::{
    Auth, BackoffBounds, CompressionChoice, OAuth2Config, Order, ProtocolChoice, ProxyConfig,
    PusherConfig, PusherConfigError, Secret, SecretSource, SigV4Config, TlsConfig, TlsVersion,
};
pub use identity::{Identities, IdentityTaken};
use negotiate::{Negotiation, Notes};
pub use probe::{Probed, probe};
use push_metrics::PushMetrics;
use quarantine::Quarantine;
use queue::{Labeler, Queue};
use rate_limit::RateLimit;
use rejected::RejectedSeries;
pub use sender::{Content, Reply, SendError, SendErrorKind, Sender, Written};
use status::PushStatus;
use stream::{Limit, Stream};

/// What may happen with every request is logged once in this time.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The directory for what was found out about endpoints, in the state directory.
pub const ENDPOINTS: &str = "endpoints";

/// The directory for refused samples, in the state directory.
pub const QUARANTINE: &str = "quarantine";

/// How much of an endpoint's name those of its cursor and files have.
const FILE_NAME_LIMIT: usize = 80;

/// The sender of one endpoint.
#[derive(Debug)]
pub struct Pusher {
    stream: Stream,
    config: PusherConfig,
    /// Of its cursor and bookmark in the log.
    name: String,
    labeler: Labeler,
    metrics: PushMetrics,
    program: Arc<Metrics>,
    with_self_metrics: bool,
}

impl Pusher {
    /// A pusher of series of `layout`; does not touch the network. In `state_dir` it keeps what it
    /// found out about the endpoint (`endpoints/`) and samples that were refused (`quarantine/`);
    /// without it, neither is kept.
    pub fn new(
        config: &PusherConfig,
        layout: &Layout,
        metrics: Arc<Metrics>,
        component: Component,
        state_dir: Option<&Path>,
    ) -> Result<Self, PusherConfigError> {
        let external = ExternalLabels::new(&config.external_labels, layout)?;
        let sender = Sender::new(config)?;
        let endpoint = config.name.clone();
        let file = |directory: &str, ending: &str| {
            let name = format!("{}.{ending}", file_name(&endpoint));
            state_dir.map(|state_dir| state_dir.join(directory).join(name))
        };
        let notes = file(ENDPOINTS, "protocol").map(|path| Notes::new(path, &config.url));
        let found = notes.as_ref().and_then(Notes::read);
        let mut negotiation = Negotiation::new(config.protocol, config.compression, found);
        if config.trust_2xx {
            negotiation.trust();
        }
        let families = Arc::new(Families::all());
        let canary = Canary::new(&families, external.merge([]));
        let stream = Stream {
            encoder: Encoder::new(families, config.start_timestamps),
            negotiation,
            notes,
            quarantine: file(QUARANTINE, "jsonl").map(Quarantine::new),
            backoff: Backoff::new(config.backoff),
            rate_limit: config.bandwidth.map(|rate| RateLimit::new(rate, Instant::now())),
            offset: offset(config),
            shutdown_timeout: config.shutdown_timeout,
            limit: Limit::new(config.batch),
            canary,
            trust_2xx: config.trust_2xx,
            unrecognized: 0,
            status: PushStatus::new(endpoint.clone(), Arc::clone(&metrics), component),
            refused_whole: false,
            rejected: RejectedSeries::new(),
            sender,
        };
        let name = file_name(&endpoint);
        let program = metrics;
        let metrics = PushMetrics::new(endpoint, Arc::clone(&program));
        let labeler = Labeler::new(layout.clone(), external, config.relabel.clone());
        let config = config.clone();
        let with_self_metrics = false;
        Ok(Pusher { stream, config, name, labeler, metrics, program, with_self_metrics })
    }

    /// Pushes the program's own metrics as well.
    #[must_use]
    pub fn with_self_metrics(self) -> Self {
        Pusher { with_self_metrics: true, ..self }
    }

    /// Sends what comes in `log`, from where the endpoint was on. `news` changes whenever something
    /// has come; its other end is gone when the program ends. Then what is left is sent within
    /// [`PusherConfig::shutdown_timeout`] and without second tries; not even that if the endpoint is
    /// not well at that moment. A log on disk keeps the rest for the next start.
    pub async fn run(self, log: Log, news: watch::Receiver<()>) {
        let Pusher { stream, config, name, labeler, metrics, program, with_self_metrics } = self;
        let self_metrics = with_self_metrics.then_some(program);
        let is_durable = log.is_durable();
        let mut queue = Queue::new(&config, name, labeler, log, news, metrics, self_metrics);
        if stream.run(&mut queue).await.is_err() {
            let samples = queue.abandon();
            let endpoint = queue.metrics().endpoint();
            if is_durable {
                tracing::info!(endpoint, samples, "the rest is sent after the next start");
            } else {
                tracing::warn!(
                    endpoint,
                    samples,
                    "the program ends before the endpoint took the last samples: they are dropped"
                );
            }
        }
    }
}

/// Has the log be kept for these endpoints from now on, for those that are new from its end on; and
/// no more for endpoints that there were before. To be called before the log grows.
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
                "an endpoint is not configured any more: what waited for it is given up"
            );
            log.forget(&name)?;
        }
    }
    for name in names {
        queue::claim(log, name)?;
    }
    Ok(())
}

/// An endpoint's name as that of its cursor and files: what of it can be read in a file name, and
/// a checksum of all of it.
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

/// The host's own moment within the jitter.
fn offset(config: &PusherConfig) -> Duration {
    let mut host = gethostname::gethostname().to_string_lossy().into_owned();
    for (name, value) in &config.external_labels {
        host.extend([name, "=", value]);
    }
    config.jitter.mul_f64(f64::from(crc32fast::hash(host.as_bytes())) / f64::from(u32::MAX))
}
