//! The HTTP server: the page to be scraped, health, and a page for people.
//!
//! [`bind`] and [`serve`] are two steps, so that a bad address fails at start-up, and clients can
//! ask for health from the first moment.

mod connections;
mod home;
mod listen;
mod negotiate;
mod routes;
mod scrape;
mod scrapes;
mod stall;

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet, yield_now},
    time::{sleep, timeout},
};

use crate::{
    clock, health::Health, ledger::Reader, log_limit::LogLimit, metrics::Metrics,
    reload::ReloadHandle,
};

use self::{
    connections::{CloseReason, Connections, Slot},
    scrapes::{Bounds, Scrapes},
    stall::StallLimit,
};
pub use listen::{ListenAddr, ListenAddrError, Listener, bind};

/// How long the server rests when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often it is logged that connections are closed early.
const CLOSE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The server's bounds.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Connections that may be open. For one more, the one gives way that has waited longest for
    /// the head of a request: so clients that send theirs at once, as a health check does, are
    /// served however many others trickle. Half of the 1,024 files that many systems let a process
    /// open; fewer would leave newcomers less time for their heads in a burst of others.
    pub max_connections: usize,
    /// Connections of one address (of IPv6, one /64) that may be open; for one more, its own give
    /// way. All clients of a reverse proxy are one address: a smaller number of connections than
    /// it opens costs it idle ones, and no answers.
    pub max_connections_per_peer: usize,
    /// Scrapes that may be under way; beyond it, the one ends of which nothing was taken for
    /// longest. Each takes up to 500 kB. A number below those of connections leaves room for health.
    pub max_scrapes: usize,
    /// Snapshots that scrapes may hold. Each is the memory of what has changed until the next:
    /// up to 10 MB for 500,000 series. Beyond it, the scrapes of the one with the slowest readers
    /// are ended.
    pub max_snapshots: usize,
    /// How long the answer to a scrape may take to its last byte. No longer than Prometheus
    /// waits for it, which is its scrape interval at most.
    pub scrape_timeout: Duration,
    /// How long a scrape may go on without regard to how much is taken of it. From then on, the
    /// part of the page that was taken must be at least the part that has passed of the time until
    /// `scrape_timeout`: who is too slow for the whole is not waited for.
    pub scrape_grace: Duration,
    /// Bytes in the head of a request (at least 8,192, which is hyper's minimum); a longer one is
    /// answered 431. Also how much of an answer waits for a slow client, beside one step of the
    /// page.
    pub max_head_bytes: usize,
    /// How long a client may take to send the head of a request, and how long a connection is
    /// kept without one.
    pub head_timeout: Duration,
    /// How long a client may take to receive what was written (about one step of the page) before
    /// its connection is closed.
    pub stall_timeout: Duration,
    /// How old a snapshot may be when it is scraped.
    pub max_age: Duration,
    /// How long a scrape waits for such a snapshot; then it gets the newest there is.
    pub snapshot_wait: Duration,
    /// How long connections may go on after the shutdown has begun.
    pub shutdown_deadline: Duration,
    /// Whether `OpenMetrics` pages tell when series began.
    pub created: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            max_connections: 512,
            max_connections_per_peer: 256,
            max_scrapes: 96,
            max_snapshots: 8,
            scrape_timeout: Duration::from_secs(60),
            scrape_grace: Duration::from_secs(10),
            max_head_bytes: 16 * 1024,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(1),
            snapshot_wait: Duration::from_secs(2),
            shutdown_deadline: Duration::from_secs(5),
            created: false,
        }
    }
}

/// What the server shows.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// What is counted and from where, in a line for the page at `/`.
    pub about: String,
    /// The flow series.
    pub reader: Reader,
    /// The program's own metrics, those of the server among them.
    pub metrics: Arc<Metrics>,
    /// The components.
    pub health: Health,
    /// Reloads the configuration for `POST /-/reload`; without it, that path is not served.
    pub reload: Option<ReloadHandle>,
}

/// Answers requests until `shutdown` completes, then ends open connections: idle ones at once,
/// others after their answer, or at the deadline.
///
/// # Errors
/// If the runtime can't take the sockets; nothing that a client does is an error.
pub async fn serve(
    listener: Listener,
    config: ServerConfig,
    state: ServerState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listeners = listener
        .sockets
        .into_iter()
        .map(TcpListener::from_std)
        .collect::<io::Result<Vec<TcpListener>>>()?;
    routes::announce(&state);
    let (config, state) = (Arc::new(config), Arc::new(state));
    let mut shutdown = pin!(shutdown);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let connections = Connections::new(config.max_connections, config.max_connections_per_peer);
    let scrapes = Scrapes::new(Bounds {
        scrapes: config.max_scrapes,
        snapshots: config.max_snapshots,
        grace: config.scrape_grace,
        limit: config.scrape_timeout,
    });
    let mut end_the_slow = pin!(scrapes.end_the_slow());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = &mut end_the_slow => {}
            Some(ended) = tasks.join_next() => log_panic(ended),
            (stream, peer) = accept(&listeners) => {
                let Some(slot) = connections.enter(peer.ip()) else {
                    log_closed(&state.metrics, CloseReason::Crowded, peer);
                    continue;
                };
                let served = Served::new(&state.metrics.http_connections);
                let client = Client {
                    peer,
                    slot,
                    scrapes: Arc::clone(&scrapes),
                    config: Arc::clone(&config),
                    state: Arc::clone(&state),
                };
                tasks.spawn(connection(stream, client, stopping.clone(), served));
                // However fast others come, what this one has sent is read before it may have to
                // give way.
                yield_now().await;
            }
        }
    }
    drop(listeners);
    stop.send_replace(true);
    let drained = timeout(config.shutdown_deadline, async {
        while let Some(ended) = tasks.join_next().await {
            log_panic(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "HTTP connections were cut off: clients did not take their answers in time"
        );
        tasks.shutdown().await;
    }
    Ok(())
}

/// The next connection of any of the sockets.
async fn accept(listeners: &[TcpListener]) -> (TcpStream, SocketAddr) {
    loop {
        let accepted: io::Result<(TcpStream, SocketAddr)> = std::future::poll_fn(|cx| {
            for listener in listeners {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await;
        match accepted {
            Ok(accepted) => return accepted,
            // The client has left before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept HTTP connections: is the limit of open files too low?");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Who is connected, and what it is answered with.
struct Client {
    peer: SocketAddr,
    slot: Slot,
    scrapes: Arc<Scrapes>,
    config: Arc<ServerConfig>,
    state: Arc<ServerState>,
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    client: Client,
    mut stopping: watch::Receiver<bool>,
    _served: Served,
) {
    // Answers are written in few large pieces; the last one must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "can't set TCP_NODELAY");
    }
    let Client { peer, slot, scrapes, config, state } = client;
    let service = service_fn(|request| routes::respond(&config, &state, &slot, &scrapes, request));
    let closer = slot.closer();
    let stream = TokioIo::new(StallLimit::new(stream, config.stall_timeout, closer.clone()));
    let result = {
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                // A server that does not know the time must not tell it (RFC 9110, 6.6.1).
                .auto_date_header(clock::is_set(clock::now_ms()))
                // Who has said all that they have to say may still listen.
                .half_close(true)
                .header_read_timeout(config.head_timeout)
                .max_buf_size(config.max_head_bytes)
                .serve_connection(stream, service)
        );
        let stop = async { drop(stopping.wait_for(|stop| *stop).await) };
        let served = async {
            tokio::select! {
                result = connection.as_mut() => result,
                () = stop => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        tokio::select! {
            result = served => result,
            _ = closer.ended() => Ok(()),
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
        // hyper has answered the last two itself.
        if error.is_timeout() {
            closer.end(CloseReason::HeadTimeout);
        } else if error.is_parse_too_large() {
            routes::count(&state.metrics, routes::OTHER, "431");
        } else if error.is_parse() {
            routes::count(&state.metrics, routes::OTHER, "400");
        }
    }
    if let Some(reason) = closer.reason() {
        log_closed(&state.metrics, reason, peer);
    }
}

/// Counts a connection that the server has ended, and logs it at a limited rate.
fn log_closed(metrics: &Metrics, reason: CloseReason, peer: SocketAddr) {
    static CROWDED: LogLimit = LogLimit::new(CLOSE_LOG_INTERVAL);
    static SLOW: LogLimit = LogLimit::new(CLOSE_LOG_INTERVAL);
    metrics.http_closed.with_label_values(&[reason.label()]).inc();
    let label = reason.label();
    let (limit, what) = match reason {
        // Nobody has lost an answer: an idle connection, or one that was never used.
        CloseReason::HeadTimeout => {
            return tracing::debug!(%peer, reason = label, "no request came");
        }
        CloseReason::Crowded => (
            &CROWDED,
            "more HTTP connections came than are kept: those that waited longest for a request \
             are closed",
        ),
        CloseReason::Stalled
        | CloseReason::Slow
        | CloseReason::Scrapes
        | CloseReason::Snapshots => {
            (&SLOW, "an answer was cut off: the client is too slow for all of it")
        }
    };
    if let Some(held_back) = limit.permit() {
        tracing::warn!(%peer, reason = label, held_back, "{what}");
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an HTTP connection ended by an error of ours: please report it");
    }
}

/// Counts a connection as open for as long as it lives, even if it is cut off.
struct Served(IntGauge);

impl Served {
    fn new(open: &IntGauge) -> Self {
        open.inc();
        Served(open.clone())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.dec();
    }
}
