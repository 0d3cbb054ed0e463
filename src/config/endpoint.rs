//! The defaults of an endpoint, wherever it is configured.

use std::time::Duration;

use crate::publish::pusher::PusherConfig;

/// The longest time over which a fleet spreads what becomes due at one instant: short enough that
/// fresh samples are seen at once.
const JITTER_LIMIT: Duration = Duration::from_secs(5);
/// The largest part of an interval that it takes.
const JITTER_PART: u32 = 3;

/// An endpoint with the defaults for everything but its URL.
pub(super) fn defaults(url: String, interval: Duration) -> PusherConfig {
    let jitter = (interval / JITTER_PART).min(JITTER_LIMIT);
    PusherConfig { interval, jitter, ..PusherConfig::new(url) }
}
