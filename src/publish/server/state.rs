//! The server's limits, and the state of the program that it serves.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    health::Health, history::History, ledger::Reader, metrics::Metrics, reload::ReloadHandle,
};

use super::web::Web;

/// The server's limits.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Open connections. For one more, the connection that has waited longest for the head of a
    /// request is closed, so clients that send theirs at once, as health checks do, are served
    /// however many others trickle. The default is half of the 1,024 files that many systems let a
    /// process open; with fewer, a burst of connections would leave each less time to send its
    /// head.
    pub max_connections: usize,
    /// Open connections of one address (for IPv6, of one /64); for one more, one of its own is
    /// closed. All clients behind a reverse proxy share an address: if the proxy opens more
    /// connections than this, it loses idle ones, but no answers.
    pub max_connections_per_peer: usize,
    /// Concurrent scrapes; for one more, the one whose client has read nothing for longest is
    /// closed. Each takes up to 500 kB. It is below the limits of connections, to leave room for
    /// health checks.
    pub max_scrapes: usize,
    /// Snapshots held by scrapes. Each takes the memory of what has changed until the next one: up
    /// to 10 MB for 500,000 series. For one more, the scrapes of the snapshot with the slowest
    /// readers are closed.
    pub max_snapshots: usize,
    /// How long a scrape may take to its last byte. Prometheus waits no longer than its scrape
    /// interval.
    pub scrape_timeout: Duration,
    /// How long a scrape may take however slowly its client reads. After that, the fraction of the
    /// page that was read has to keep up with the fraction of `scrape_timeout` that has passed: a
    /// client that could not finish in time is not waited for.
    pub scrape_grace: Duration,
    /// Bytes in the head of a request (at least 8,192, hyper's minimum); a longer one is answered
    /// with 431. Also how much of an answer is buffered for a slow client, besides one step of the
    /// page.
    pub max_head_bytes: usize,
    /// How long a client may take to send the head of a request, and how long an idle connection is
    /// kept.
    pub head_timeout: Duration,
    /// How long a client may take for the handshake of TLS.
    pub handshake_timeout: Duration,
    /// How long an answer may go on that was begun before the web configuration changed, and a stream of
    /// events.
    pub leave_timeout: Duration,
    /// How long a client may take to read what was written (about one step of the page) before its
    /// connection is closed.
    pub stall_timeout: Duration,
    /// The maximum age of a snapshot when it is scraped.
    pub max_age: Duration,
    /// How long a scrape waits for such a snapshot before it gets the newest existing one.
    pub snapshot_wait: Duration,
    /// Questions about traffic that are answered at once; others wait. Each takes a thread, and memory in
    /// proportion to the number of series.
    pub max_queries: usize,
    /// Streams of events; one more is refused.
    pub max_event_streams: usize,
    /// The time between two events of a stream.
    pub event_interval: Duration,
    /// How long connections may stay open once shutdown has begun.
    pub shutdown_deadline: Duration,
    /// Whether `OpenMetrics` pages have the time when each series began (`_created`).
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
            handshake_timeout: Duration::from_secs(10),
            leave_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(1),
            snapshot_wait: Duration::from_secs(2),
            max_queries: 2,
            max_event_streams: 16,
            event_interval: Duration::from_secs(5),
            shutdown_deadline: Duration::from_secs(5),
            created: false,
        }
    }
}

/// Finds the host names that the operator gives exporters.
#[derive(Clone)]
pub struct Hostnames(Arc<dyn Fn(IpAddr) -> Option<String> + Send + Sync>);

impl Hostnames {
    /// As `find` says: the name of the exporter with an address.
    pub fn new(find: impl Fn(IpAddr) -> Option<String> + Send + Sync + 'static) -> Self {
        Hostnames(Arc::new(find))
    }

    /// The name of the exporter with this address, if it is given one.
    pub(super) fn of(&self, exporter: IpAddr) -> Option<String> {
        (self.0)(exporter)
    }
}

impl fmt::Debug for Hostnames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hostnames")
    }
}

/// What the server serves.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// What is counted, and from which source, in a line for the page at `/`.
    pub about: watch::Receiver<String>,
    /// The names of exporters.
    pub hostnames: Hostnames,
    /// The flow series.
    pub reader: Reader,
    /// The program's own metrics, those of the server among them.
    pub metrics: Arc<Metrics>,
    /// What was counted within the last hour, if that is kept.
    pub history: Option<History>,
    /// The state of each component.
    pub health: Health,
    /// Reloads the configuration for `POST /-/reload`; without it, that path is not served.
    pub reload: Option<ReloadHandle>,
    /// What is asked of clients.
    pub web: Web,
}
