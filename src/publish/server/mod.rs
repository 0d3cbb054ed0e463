//! The HTTP server: `/metrics` for scrapes, health checks, reloads, a status page for people, and the
//! API from which pages are made.
//!
//! [`bind`] and [`serve`] are separate steps, so that a bad address fails at startup and clients
//! can connect from the first moment. `routes.rs` decides how each request is answered; `scrape.rs`
//! renders the page while it is sent; `api` answers in JSON; `web` has what is asked of clients before that. `connections.rs`, `scrapes.rs` and `stall.rs` keep slow or
//! numerous clients within the limits of [`ServerConfig`].

mod access;
mod answer;
mod api;
mod assets;
mod connections;
mod event_body;
mod home;
mod listen;
mod negotiate;
mod routes;
mod scrape;
mod scrapes;
mod stall;
mod state;
mod web;

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet, yield_now},
    time::{sleep, timeout},
};

use crate::{
    clock::{self, UnixMs},
    log_limit::LogLimit,
    metrics::Metrics,
};

use self::{
    api::Api,
    connections::{CloseReason, Connections, Slot},
    scrapes::{Bounds, Scrapes},
    stall::StallLimit,
};
pub use listen::{Listener, bind};
pub use state::{Hostnames, ServerConfig, ServerState};
use web::HandshakeFailure;
pub use web::{
    CIPHERS, CURVES, ClientAuth, RateLimit, ReadWeb, Tls, TlsError, TlsKey, TlsOptions,
    TlsVersionLimit, UserError, Users, Web, WebConfig, WebFileError,
};

/// How long the server pauses when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often early closes of connections are logged.
const CLOSE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Answers requests until `shutdown` completes, then closes open connections: idle ones at once,
/// others after their answer or at the deadline.
///
/// # Errors
/// If the runtime can't take over the sockets; nothing that a client does is an error.
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
    let api = Api::new(&state, &config, stopping.clone());
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
                    api: api.clone(),
                    config: Arc::clone(&config),
                    state: Arc::clone(&state),
                };
                tasks.spawn(connection(stream, client, stopping.clone(), served));
                // However fast others connect, the request of this one is read before it can be
                // closed for another.
                yield_now().await;
            }
        }
    }
    drop(listeners);
    state.web.end();
    stop.send_replace(true);
    let drained = timeout(config.shutdown_deadline, async {
        while let Some(ended) = tasks.join_next().await {
            log_panic(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "HTTP connections were closed at shutdown: clients did not read their answers in time"
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
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept HTTP connections: check the limit of open files");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connected client, and what its requests are answered from.
struct Client {
    peer: SocketAddr,
    slot: Slot,
    scrapes: Arc<Scrapes>,
    api: Api,
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
    // Answers are written in few large pieces; the last one must not be delayed.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "can't set TCP_NODELAY");
    }
    let closer = client.slot.closer();
    let stream = StallLimit::new(stream, client.config.stall_timeout, closer.clone());
    let stopped = async { drop(stopping.wait_for(|stop| *stop).await) };
    let (web, changed) = client.state.web.connected().await;
    let served = async {
        match &web.tls {
            None => serve_http(stream, &client, stopped, changed).await,
            Some(tls) => {
                let shaken = tokio::select! {
                    shaken = tls.accept(stream, client.config.handshake_timeout) => shaken,
                    _ = closer.ended() => return,
                };
                match shaken {
                    Ok(stream) => serve_http(stream, &client, stopped, changed).await,
                    Err(failure) => log_handshake(&client, &failure),
                }
            }
        }
    };
    served.await;
    if let Some(reason) = closer.reason() {
        log_closed(&client.state.metrics, reason, client.peer);
    }
}

/// Serves HTTP on a connection to its end. Once the server has `stopped`, or what is asked of clients has
/// `changed`, without further requests.
async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: &Client,
    stopped: impl Future<Output = ()>,
    changed: impl Future<Output = ()>,
) {
    let Client { peer, slot, scrapes, api, config, state } = client;
    let closer = slot.closer();
    let service = service_fn(|request| routes::respond(config, state, slot, scrapes, api, request));
    let result = {
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                // A server that does not know the time must not send it (RFC 9110, 6.6.1).
                .auto_date_header(clock::is_set(UnixMs::now()))
                // A client that has finished sending may still read.
                .half_close(true)
                .header_read_timeout(config.head_timeout)
                .max_buf_size(config.max_head_bytes)
                .serve_connection(TokioIo::new(stream), service)
        );
        let served = async {
            let is_stopped = tokio::select! {
                result = connection.as_mut() => return result,
                () = stopped => true,
                () = changed => false,
            };
            connection.as_mut().graceful_shutdown();
            if is_stopped {
                return connection.await;
            }
            timeout(config.leave_timeout, connection).await.unwrap_or_else(|_| {
                closer.end(CloseReason::WebConfig);
                Ok(())
            })
        };
        tokio::select! {
            result = served => result,
            _ = closer.ended() => Ok(()),
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
        // hyper itself has answered the last two.
        if error.is_timeout() {
            closer.end(CloseReason::HeadTimeout);
        } else if error.is_parse_too_large() {
            routes::count(&state.metrics, routes::OTHER, "431");
        } else if error.is_parse() {
            routes::count(&state.metrics, routes::OTHER, "400");
        }
    }
}

/// Counts a connection that could not be encrypted, and logs it at a limited rate.
fn log_handshake(client: &Client, failure: &HandshakeFailure) {
    static FAILED: LogLimit = LogLimit::new(CLOSE_LOG_INTERVAL);
    let (peer, reason) = (client.peer, failure.label());
    client.state.metrics.tls_failures.with_label_values(&[reason]).inc();
    // Checks of ports leave at once.
    if *failure == HandshakeFailure::Closed {
        tracing::debug!(%peer, "a client left before the handshake of TLS was done");
    } else if let Some(held_back) = FAILED.permit() {
        tracing::warn!(%peer, reason, held_back, "a handshake of TLS failed: {failure}");
    }
}

/// Counts a connection that the server has closed, and logs it at a limited rate.
fn log_closed(metrics: &Metrics, reason: CloseReason, peer: SocketAddr) {
    static CROWDED: LogLimit = LogLimit::new(CLOSE_LOG_INTERVAL);
    static SLOW: LogLimit = LogLimit::new(CLOSE_LOG_INTERVAL);
    metrics.http_closed.with_label_values(&[reason.label()]).inc();
    let label = reason.label();
    let (limit, what) = match reason {
        // No answer was lost: the connection was idle or never used.
        CloseReason::HeadTimeout => {
            return tracing::debug!(%peer, reason = label, "no request came");
        }
        CloseReason::WebConfig => {
            return tracing::debug!(%peer, reason = label, "the web configuration has changed");
        }
        CloseReason::Crowded => (
            &CROWDED,
            "too many HTTP connections: those that waited longest for a request are closed",
        ),
        CloseReason::Stalled
        | CloseReason::Slow
        | CloseReason::Scrapes
        | CloseReason::Snapshots => (&SLOW, "an answer was cut off: the client reads too slowly"),
    };
    if let Some(held_back) = limit.permit() {
        tracing::warn!(%peer, reason = label, held_back, "{what}");
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an HTTP connection ended because of a bug: please report it");
    }
}

/// Counts a connection as open until it is dropped, however it ends.
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
