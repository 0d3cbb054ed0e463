//! The wall clock as numbers: what samples, records and metrics hold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since the epoch; zero while the clock is set before it.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time since the epoch in milliseconds.
pub fn now_ms() -> i64 {
    milliseconds(since_epoch())
}

/// A duration in milliseconds; the largest number there is where it is longer.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
