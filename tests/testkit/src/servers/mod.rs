//! Real servers: each a process with a directory and a loopback address of its own, so that all
//! of them can listen on their usual ports at the same time.

mod kafka;
mod mimir;
mod pmacctd;
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

pub use kafka::{Kafka, Security};
pub use mimir::Mimir;
pub use pmacctd::Pmacctd;
pub use process::Process;
pub use prometheus::Settings as PrometheusSettings;
pub use victoria_metrics::VictoriaMetrics;

/// What takes remote write and answers questions about it.
pub trait Database {
    /// What to call it.
    fn name(&self) -> &str;

    /// Where it takes remote write.
    fn write_url(&self) -> String;

    /// The newest value of every flow series that was pushed, summed over instances.
    fn totals(&self) -> Result<Totals, String>;

    /// All samples of all flow series that were pushed.
    fn samples(&self) -> Result<Vec<Exported>, String>;
}

/// How long a server may take to answer for the first time, on a machine that is busy.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to stop when asked to.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks at something that is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Addresses that one test process can hand out.
const ADDRESSES_PER_PROCESS: u32 = 256;

/// Where the scripts keep the servers that Debian does not have.
fn cached(path: &str) -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    let path = cache.join("flow-exporter-e2e").join(path);
    assert!(path.exists(), "no {}: scripts/e2e brings it, or scripts/e2e all", path.display());
    path
}

/// A loopback address that nobody else uses: made of the process id and a count, all of 127/8
/// but 127.0/16, where other programs live, and 127.255/16, which ends in a broadcast address.
pub fn unused_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < ADDRESSES_PER_PROCESS, "each process has {ADDRESSES_PER_PROCESS} addresses");
    let number = std::process::id().wrapping_mul(ADDRESSES_PER_PROCESS).wrapping_add(count);
    Ipv4Addr::from((127 << 24) + (1 << 16) + number % (254 << 16))
}

/// Looks again and again until `look` finds what is awaited; when `limit` is over, the test fails
/// with what `look` found instead.
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
