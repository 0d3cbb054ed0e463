//! What the server is told at its start: its bounds, and where what it shows comes from.

use std::{sync::Arc, time::Duration};

use crate::{health::Health, ledger::Reader, metrics::Metrics, reload::ReloadHandle};

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
