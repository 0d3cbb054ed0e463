//! The wall clock, and its points and spans of time in milliseconds, as samples, records and
//! metrics hold them.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z. Sums and differences stay within
/// the range of `i64` rather than wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(i64);

/// A span of time in milliseconds; negative where it runs backwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(i64);

impl UnixMs {
    /// Before all other times.
    pub const MIN: UnixMs = UnixMs(i64::MIN);
    /// Later than any time.
    pub const MAX: UnixMs = UnixMs(i64::MAX);

    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: UnixMs = UnixMs(0);

    /// September 2001. Earlier times are implausible: they are in seconds, or from a clock that is
    /// not set.
    pub const EARLIEST: UnixMs = UnixMs(1_000_000_000_000);

    /// The end of the year 9999: dates as HTTP and RFC 3339 have them go up to it.
    const END_OF_DATES: UnixMs = UnixMs(253_402_300_800_000);

    /// The point this many milliseconds after the epoch.
    pub const fn new(milliseconds: i64) -> Self {
        UnixMs(milliseconds)
    }

    /// What the wall clock says; the epoch while it is set before that.
    pub fn now() -> Self {
        UnixMs(milliseconds(since_epoch()))
    }

    /// Milliseconds since the epoch.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as exposition formats write them.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The last multiple of `step` that is not after this; `step` is positive.
    #[must_use]
    pub const fn floor(self, step: Millis) -> Self {
        UnixMs(self.0.div_euclid(step.0).saturating_mul(step.0))
    }

    /// The first multiple of `step` that is after this; `step` is positive.
    #[must_use]
    pub const fn next(self, step: Millis) -> Self {
        UnixMs(self.floor(step).0.saturating_add(step.0))
    }
}

impl Millis {
    /// No time.
    pub const ZERO: Millis = Millis(0);

    /// A span of this many milliseconds.
    pub const fn new(milliseconds: i64) -> Self {
        Millis(milliseconds)
    }

    /// The number of milliseconds.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// As a `Duration`; zero where it is negative.
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(if self.0 < 0 { 0 } else { self.0.unsigned_abs() })
    }
}

impl From<Duration> for Millis {
    /// Fractions of a millisecond are left out; the longest span there is where it is longer.
    fn from(duration: Duration) -> Self {
        Millis(milliseconds(duration))
    }
}

impl Add<Millis> for UnixMs {
    type Output = UnixMs;

    fn add(self, span: Millis) -> UnixMs {
        UnixMs(self.0.saturating_add(span.0))
    }
}

impl Sub<Millis> for UnixMs {
    type Output = UnixMs;

    fn sub(self, span: Millis) -> UnixMs {
        UnixMs(self.0.saturating_sub(span.0))
    }
}

impl Sub for UnixMs {
    type Output = Millis;

    fn sub(self, earlier: UnixMs) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// A time as a date for people.
#[derive(Debug, Clone, Copy)]
pub struct Date(pub UnixMs);

impl fmt::Display for Date {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.get()) {
            Ok(time) => time.fmt(to),
            Err(_) => write!(to, "{} ms", self.0),
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// Whether a clock that shows this may be right: machines without a battery start in 1970 until NTP
/// sets the clock.
pub fn is_set(now: UnixMs) -> bool {
    (UnixMs::EARLIEST..UnixMs::END_OF_DATES).contains(&now)
}

/// The time as a date; within the years that dates have, whatever the clock says.
pub fn date() -> jiff::Timestamp {
    let last = UnixMs::END_OF_DATES - Millis::new(86_400_000);
    jiff::Timestamp::from_millisecond(UnixMs::now().min(last).get()).unwrap_or_default()
}

/// The time since the epoch; zero while the clock is set before it.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A duration in milliseconds; the largest number there is where it is longer.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_found_on_both_sides_of_the_epoch_and_nothing_wraps() {
        let step = Millis::new(15_000);
        for (at, floor, next) in
            [(0, 0, 15_000), (14_999, 0, 15_000), (15_000, 15_000, 30_000), (-1, -15_000, 0)]
        {
            let at = UnixMs::new(at);
            assert_eq!((at.floor(step), at.next(step)), (UnixMs::new(floor), UnixMs::new(next)));
        }
        let (first, last) = (UnixMs::new(i64::MIN), UnixMs::new(i64::MAX));
        assert_eq!(last + step, last);
        assert_eq!(last.next(step), last);
        assert_eq!(first - step, first);
        assert_eq!(last - first, Millis::new(i64::MAX));
        assert_eq!((first - last).to_duration(), Duration::ZERO);
        assert_eq!(Millis::from(Duration::MAX), Millis::new(i64::MAX));
    }
}
