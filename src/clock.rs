//! The wall clock as numbers: what samples, records and metrics hold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// September 2001, in milliseconds since the epoch. What is before is not of now: it is in seconds, or
/// from a clock that nobody has set.
pub const EARLIEST_MS: i64 = 1_000_000_000_000;

/// The end of the year 9999, in milliseconds since the epoch: dates as HTTP and RFC 3339 have them
/// go up to it.
const END_OF_DATES_MS: i64 = 253_402_300_800_000;

/// Whether this may be the time, in milliseconds since the epoch: machines without a battery begin in
/// 1970 until they have asked for it.
pub fn is_set(now_ms: i64) -> bool {
    (EARLIEST_MS..END_OF_DATES_MS).contains(&now_ms)
}

/// The time as a date; within the years that dates have, whatever the clock says.
pub fn date() -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(now_ms().min(END_OF_DATES_MS - 86_400_000))
        .unwrap_or_default()
}

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
