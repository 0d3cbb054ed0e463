//! The bound on requests: a token bucket.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets a burst of requests through, and from then on one in each interval.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    burst: u32,
    /// When all of the burst will be there again.
    full: Mutex<Instant>,
}

impl RateLimit {
    /// One request in each `interval`, which is above 0, and up to `burst` at once, at least one.
    pub fn new(interval: Duration, burst: u32) -> Self {
        RateLimit { interval, burst, full: Mutex::new(Instant::now()) }
    }

    /// Whether a request that comes `now` is answered. If not, how long it takes until one is.
    pub(in crate::publish::server) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full).max(now) + self.interval;
        let bound = now + self.interval * self.burst;
        if next > bound {
            return Err(next - bound);
        }
        *full = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_one_in_each_interval() {
        let second = Duration::from_secs(1);
        let limit = RateLimit::new(second, 3);
        let begin = Instant::now() + second;
        for _ in 0..3 {
            assert_eq!(limit.admit(begin), Ok(()));
        }
        assert_eq!(limit.admit(begin), Err(second));
        assert_eq!(limit.admit(begin + second / 2), Err(second / 2));
        assert_eq!(limit.admit(begin + second), Ok(()));
        assert_eq!(limit.admit(begin + second), Err(second));
        for _ in 0..3 {
            assert_eq!(limit.admit(begin + 60 * second), Ok(()));
        }
        assert_eq!(limit.admit(begin + 60 * second), Err(second));
    }
}
