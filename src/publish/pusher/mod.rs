//! The push door: sends snapshots to one remote-write endpoint.
//!
//! [`Pusher::new`] checks everything that can be checked without the network; [`Pusher::run`] is
//! one ordered stream of requests, so no two that hold the same series are ever under way at once.
//! A slow or dead endpoint costs its own samples (`queue.rs`) and nothing else: the snapshots are
//! published whether or not they are taken.

mod account;
mod answer;
mod auth;
mod backoff;
mod client;
mod config;
mod probe;
mod queue;
mod secret;
mod sender;

use std::{pin::pin, sync::Arc, time::Duration};

use reqwest::StatusCode;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{ledger::Snapshot, log_limit::LogLimit, metrics::Metrics, traffic::Layout};

use super::remote_write::{ExternalLabels, OldEncoder, Request};

use account::{Account, DropReason};
use answer::{Answer, judge};
use backoff::Backoff;
pub use config::{
    Auth, BackoffBounds, CompressionChoice, OAuth2Config, Order, ProtocolChoice, ProxyConfig,
    PusherConfig, PusherConfigError, Secret, SecretSource, SigV4Config, TlsConfig, TlsVersion,
};
pub use probe::{Probed, probe};
use queue::Queue;
pub use sender::{Content, Reply, SendError, SendErrorKind, Sender, Written};

/// What may happen with every request is logged once in this time.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The sender of one endpoint.
#[derive(Debug)]
pub struct Pusher {
    stream: Stream,
    encoder: OldEncoder,
    account: Account,
}

impl Pusher {
    /// A pusher of series of `layout`; does not touch the network.
    pub fn new(
        config: &PusherConfig,
        layout: &Layout,
        metrics: Arc<Metrics>,
    ) -> Result<Self, PusherConfigError> {
        let external = ExternalLabels::new(&config.external_labels, layout)?;
        let sender = Sender::new(config)?;
        let account = Account::new(config.name.clone(), metrics);
        Ok(Pusher {
            stream: Stream {
                sender,
                backoff: Backoff::new(config.backoff),
                shutdown_timeout: config.shutdown_timeout,
                failing: false,
                held: None,
                failure_log: LogLimit::new(LOG_PERIOD),
                refusal_log: LogLimit::new(LOG_PERIOD),
            },
            encoder: OldEncoder::new(external, config.batch),
            account,
        })
    }

    /// Sends each snapshot that comes, until the other end of the channel is gone: that is how it
    /// learns that the program ends. Then the last snapshot is sent within
    /// [`PusherConfig::shutdown_timeout`] and without second tries; not even that if the endpoint
    /// is not well at that moment.
    pub async fn run(self, snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
        let Pusher { mut stream, encoder, account } = self;
        let mut queue = Queue::new(snapshots, encoder, account);
        while let Some(request) = queue.next().await {
            if stream.deliver(&mut queue, &request).await.is_err() {
                let samples = queue.abandon();
                tracing::warn!(
                    endpoint = queue.account().endpoint(),
                    samples,
                    "the program ends before the endpoint took the last samples: they are dropped"
                );
                return;
            }
        }
    }
}

/// The program ends, and there is no more time for what is pending.
struct Ended;

/// The one ordered stream of requests to an endpoint.
#[derive(Debug)]
struct Stream {
    sender: Sender,
    backoff: Backoff,
    shutdown_timeout: Duration,
    /// Whether the last request failed.
    failing: bool,
    /// With what status the endpoint said that its operator is needed, if it did so last.
    held: Option<StatusCode>,
    failure_log: LogLimit,
    refusal_log: LogLimit,
}

impl Stream {
    /// Sends a request, the same bytes again if need be, until it is confirmed, refused or
    /// superseded.
    async fn deliver(&mut self, queue: &mut Queue, request: &Request) -> Result<(), Ended> {
        loop {
            queue.account().sent(request.body.len());
            let started = Instant::now();
            let sending = self.sender.send(request.body.clone(), Content::V1);
            let reply = attend(queue, self.shutdown_timeout, sending).await?;
            let attempt = judge(reply, started.elapsed());
            queue.account().attempted(&attempt);
            let endpoint = queue.account().endpoint();
            let wait = match attempt.answer {
                Answer::Confirmed => {
                    if self.failing {
                        tracing::info!(endpoint, "the endpoint takes samples again");
                    }
                    self.is_well();
                    queue.confirm(request);
                    return Ok(());
                }
                Answer::Refused(status, words) => {
                    if let Some(held_back) = self.refusal_log.permit() {
                        tracing::warn!(
                            endpoint,
                            %status,
                            answer = words,
                            samples = request.samples,
                            held_back,
                            "the endpoint refuses samples for good: they are dropped"
                        );
                    }
                    self.is_well();
                    queue.refuse(request, DropReason::Refused(status));
                    return Ok(());
                }
                Answer::Held(status, words) => {
                    let wait = self.backoff.longest();
                    if self.held.replace(status) != Some(status) {
                        tracing::error!(
                            endpoint,
                            %status,
                            answer = words,
                            retry_every = ?wait,
                            "NOTHING IS PUSHED: check the endpoint's URL and credentials"
                        );
                    }
                    wait
                }
                Answer::Failed { what, retry_after } => {
                    let wait = self.backoff.after_failure(retry_after);
                    if let Some(held_back) = self.failure_log.permit() {
                        tracing::warn!(
                            endpoint,
                            error = what,
                            retry_in = ?wait,
                            held_back,
                            "cannot send samples, trying again"
                        );
                    }
                    wait
                }
            };
            self.failing = true;
            pause(queue, wait).await?;
            if queue.supersede() {
                return Ok(());
            }
        }
    }

    fn is_well(&mut self) {
        self.backoff.reset();
        self.failing = false;
        self.held = None;
    }
}

/// Does `work` while the queue takes in what comes. Once no more comes, `work` has `grace` left.
async fn attend<T>(
    queue: &mut Queue,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Ended> {
    let mut work = pin!(work);
    loop {
        let closed = queue.closed();
        let deadline = async {
            match closed {
                Some(at) => time::sleep_until(at + grace).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // News first: what is done next depends on it.
            biased;
            () = queue.news(), if closed.is_none() => {}
            done = &mut work => return Ok(done),
            () = deadline => return Err(Ended),
        }
    }
}

/// Waits while the queue takes in what comes; not a moment longer than something can come.
async fn pause(queue: &mut Queue, wait: Duration) -> Result<(), Ended> {
    let mut over = pin!(time::sleep(wait));
    loop {
        if queue.closed().is_some() {
            return Err(Ended);
        }
        tokio::select! {
            () = &mut over => return Ok(()),
            () = queue.news() => {}
        }
    }
}
