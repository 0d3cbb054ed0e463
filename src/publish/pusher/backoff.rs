//! How long to wait before a request is sent again.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime},
};

use super::config::BackoffBounds;

/// Waits that double. It only says how long: others do the waiting.
#[derive(Debug)]
pub(crate) struct Backoff {
    bounds: BackoffBounds,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(bounds: BackoffBounds) -> Self {
        Backoff { bounds, next: bounds.min }
    }

    /// The endpoint has accepted a request: the next wait is the shortest one.
    pub(crate) fn reset(&mut self) {
        self.next = self.bounds.min;
    }

    /// The wait after a failure: twice the one before, within bounds, shortened by up to 10 % so
    /// that a fleet does not come back all at once; or, if longer, what the endpoint asked for,
    /// lengthened by up to 10 %.
    pub(crate) fn after_failure(&mut self, retry_after: Option<Duration>) -> Duration {
        let jitter = random_fraction() / 10.0;
        let wait = self.next.mul_f64(1.0 - jitter);
        self.next = (self.next * 2).min(self.bounds.max);
        let asked = retry_after.unwrap_or_default().min(self.bounds.retry_after_max);
        wait.max(asked.mul_f64(1.0 + jitter))
    }

    /// The wait when only an operator can help.
    pub(super) fn longest(&mut self) -> Duration {
        self.next = self.bounds.max;
        self.after_failure(None)
    }
}

/// From 0 up to 1.
fn random_fraction() -> f64 {
    // Each of these hashers has a random key, which is random enough for this.
    let random = RandomState::new().hash_one(());
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// Parses `Retry-After` (RFC 9110, 10.2.3: seconds, or a date).
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = SystemTime::from(jiff::fmt::rfc2822::parse(value).ok()?.timestamp());
    // After a date that has passed, at once.
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn waits_double_from_1_s_to_60_s_with_at_most_10_percent_of_jitter() {
        let mut backoff = Backoff::new(BackoffBounds::default());
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let wait = backoff.after_failure(None).as_secs_f64();
            assert!(wait <= expected && wait >= expected * 0.9, "{wait} s instead of {expected} s");
        }
        backoff.reset();
        assert!(backoff.after_failure(None) <= Duration::from_secs(1));
        assert!(backoff.longest() >= Duration::from_secs(54));
    }

    #[test]
    fn a_retry_after_is_never_cut_short_but_by_the_bound() {
        let bounds = BackoffBounds::default();
        let mut backoff = Backoff::new(bounds);
        let asked = Duration::from_secs(100);
        let wait = backoff.after_failure(Some(asked));
        assert!(wait >= asked && wait <= asked.mul_f64(1.1), "{wait:?}");
        let wait = backoff.after_failure(Some(Duration::MAX));
        assert!(wait <= bounds.retry_after_max.mul_f64(1.1), "{wait:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }
}
