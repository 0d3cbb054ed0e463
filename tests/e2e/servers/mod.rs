//! Real servers: each a process with a directory and a loopback address of its own, so that all
//! of them can listen on their usual ports at the same time.

mod kafka;
mod pmacctd;
mod process;
mod prometheus;
mod victoria_metrics;

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

pub(crate) use kafka::{Kafka, Security};
pub(crate) use pmacctd::Pmacctd;
pub(crate) use process::Process;
pub(crate) use prometheus::Prometheus;
pub(crate) use victoria_metrics::VictoriaMetrics;

/// How long a server may take to answer for the first time, on a machine that is busy.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to stop when asked to.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks at something that is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Addresses that one test process can hand out.
const ADDRESSES_PER_PROCESS: u32 = 64;

/// A loopback address that nobody else uses: made of the process id and a count, all of 127/8
/// but 127.0/16, where other programs live, and 127.255/16, which ends in a broadcast address.
pub(crate) fn unused_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < ADDRESSES_PER_PROCESS, "each process has {ADDRESSES_PER_PROCESS} addresses");
    let number = std::process::id().wrapping_mul(ADDRESSES_PER_PROCESS).wrapping_add(count);
    Ipv4Addr::from((127 << 24) + (1 << 16) + number % (254 << 16))
}

/// Looks again and again until `look` finds what is awaited; when `limit` is over, the test fails
/// with what `look` found instead.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
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
