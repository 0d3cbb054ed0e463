//! Real servers. Each is a process with its own directory and loopback address, so that all of them
//! can use their usual ports at the same time.

mod chromium;
mod goflow2;
mod kafka;
mod mimir;
mod nfcapd;
mod pmacctd;
mod probe;
mod process;
mod prometheus;
mod victoria_metrics;

use std::{
    env,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{query::Exported, series::Totals};

pub use chromium::Chromium;
pub use goflow2::Goflow2;
pub use kafka::{Kafka, Security};
pub use mimir::Mimir;
pub use nfcapd::{Counts, Nfcapd};
pub use pmacctd::{Nfacctd, Pmacctd};
pub use probe::Probe;
pub use process::Process;
pub use prometheus::{Prometheus, Settings as PrometheusSettings};
pub use victoria_metrics::VictoriaMetrics;

/// A database that accepts remote write.
pub trait Database {
    /// Its name in messages.
    fn name(&self) -> &str;

    /// Its URL for remote write.
    fn write_url(&self) -> String;

    /// The newest value of each flow series that was pushed, summed over instances.
    fn totals(&self) -> Result<Totals, String>;

    /// All samples of all flow series that were pushed.
    fn samples(&self) -> Result<Vec<Exported>, String>;
}

/// How long a server may take to start, on a busy machine.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to stop when asked to.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks of [`wait_for`].
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Addresses for each test process.
const ADDRESSES_PER_PROCESS: u32 = 1024;

/// A file that the scripts have fetched or built, since Debian does not have it.
fn cached(path: &str) -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    let path = cache.join("flow-exporter-e2e").join(path);
    assert!(path.exists(), "no {}: scripts/e2e brings it, or scripts/e2e all", path.display());
    path
}

/// A loopback address that no other test uses, derived from the process id and a counter. 127.0/16
/// is left to other programs, and 127.255/16 has a broadcast address.
pub fn unused_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < ADDRESSES_PER_PROCESS, "each process has {ADDRESSES_PER_PROCESS} addresses");
    let number = std::process::id().wrapping_mul(ADDRESSES_PER_PROCESS).wrapping_add(count);
    Ipv4Addr::from((127 << 24) + (1 << 16) + number % (254 << 16))
}

/// Calls `look` until it succeeds. After `limit` the test fails with the last error.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(found) if Instant::now() >= end => {
                panic!("no {what} within {limit:?}; last look: {found}")
            }
            Err(_) => thread::sleep(LOOK_INTERVAL),
        }
    }
}
