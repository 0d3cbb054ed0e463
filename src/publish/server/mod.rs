//! The HTTP server: the page to be scraped, health, and a page for people.
//!
//! [`bind`] and [`serve`] are two steps, so that a bad address fails at start-up, and clients can
//! ask for health from the first moment.

mod home;
mod listen;
mod negotiate;
mod routes;
mod scrape;
mod stall;

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{health::Health, ledger::Reader, log_limit::LogLimit, metrics::Metrics};

use self::stall::StallLimit;
pub use listen::{ListenAddr, ListenAddrError, Listener, bind};

/// How long the server rests when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often it is logged that the server is full.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The server's bounds.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Connections that are served at once. Those beyond wait in the kernel's backlog until one
    /// ends, which the other bounds make certain: a scrape is late then, where a refusal would
    /// lose it, and a health check is not failed by other clients' doing.
    pub max_connections: usize,
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
    pub cut_wait: Duration,
    /// How long connections may go on after the shutdown has begun.
    pub shutdown_deadline: Duration,
    /// Whether `OpenMetrics` pages tell when series began.
    pub created: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            max_connections: 128,
            max_head_bytes: 16 * 1024,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(1),
            cut_wait: Duration::from_secs(2),
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
    routes::announce(&state.metrics);
    let (config, state) = (Arc::new(config), Arc::new(state));
    let mut shutdown = pin!(shutdown);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let full_log = LogLimit::new(FULL_LOG_INTERVAL);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            stream = accept(&listeners), if connections.len() < config.max_connections => {
                let served = Served::new(&state.metrics.http_connections);
                let (config, state) = (Arc::clone(&config), Arc::clone(&state));
                connections.spawn(connection(stream, config, state, stopping.clone(), served));
            }
        }
        if connections.len() >= config.max_connections && full_log.permit().is_some() {
            tracing::warn!(
                connections = connections.len(),
                "as many HTTP connections are open as are served at once; others wait"
            );
        }
    }
    drop(listeners);
    stop.send_replace(true);
    let drained = timeout(config.shutdown_deadline, async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "HTTP connections were cut off: clients did not take their answers in time"
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection of any of the sockets.
async fn accept(listeners: &[TcpListener]) -> TcpStream {
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
            Ok((stream, _)) => return stream,
            // The client has left before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept HTTP connections: is the limit of open files too low?");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    state: Arc<ServerState>,
    mut stopping: watch::Receiver<bool>,
    _served: Served,
) {
    // Answers are written in few large pieces; the last one must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "can't set TCP_NODELAY");
    }
    let service = service_fn(|request| routes::respond(&config, &state, request));
    let stream = TokioIo::new(StallLimit::new(stream, config.stall_timeout));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.head_timeout)
            .max_buf_size(config.max_head_bytes)
            .serve_connection(stream, service)
    );
    let stop = async { drop(stopping.wait_for(|stop| *stop).await) };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended early");
        // hyper has answered these itself.
        if error.is_parse_too_large() {
            routes::count(&state.metrics, routes::OTHER, "431");
        } else if error.is_parse() {
            routes::count(&state.metrics, routes::OTHER, "400");
        }
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
