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
mod state;

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

use crate::{clock, log_limit::LogLimit, metrics::Metrics};

use self::{
    connections::{CloseReason, Connections, Slot},
    scrapes::{Bounds, Scrapes},
    stall::StallLimit,
};
pub use listen::{ListenAddr, ListenAddrError, Listener, bind};
pub use state::{ServerConfig, ServerState};

/// How long the server rests when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often it is logged that connections are closed early.
const CLOSE_LOG_INTERVAL: Duration = Duration::from_secs(60);

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
