//! Limits how fast request bodies go out.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket that holds one second's bytes. A larger body goes out in one piece and is paid
/// for afterwards, so the rate holds on average. It has no clock: callers tell the time.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: f64,
    /// Bytes that may go out at once; negative for those that have to be waited for.
    tokens: f64,
    /// When `tokens` was updated.
    at: Instant,
}

impl RateLimit {
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        RateLimit { bytes_per_second, tokens: bytes_per_second, at: now }
    }

    /// Counts a body of this size as sent. Returns how long to wait before it is.
    pub(super) fn wait(&mut self, bytes: usize, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.bytes_per_second).min(self.bytes_per_second);
        self.at = now;
        let wait = (-self.tokens).max(0.0) / self.bytes_per_second;
        self.tokens -= bytes as f64;
        Duration::from_secs_f64(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_go_out_at_the_rate_on_average_whatever_their_size() {
        for bytes in [10, 1_000, 25_000] {
            let start = Instant::now();
            let mut rate_limit = RateLimit::new(1_000, start);
            let mut now = start;
            let mut sent = 0;
            while sent < 100_000 {
                now += rate_limit.wait(bytes, now);
                sent += bytes;
            }
            // The bucket of one second, and the last body that is not paid for yet.
            let seconds = now.duration_since(start).as_secs_f64();
            let paid = (sent - bytes) as f64 / 1_000.0 - 1.0;
            assert!((seconds - paid).abs() < 0.1, "{bytes}: {seconds} s instead of {paid} s");
        }
    }

    #[test]
    fn an_idle_bucket_holds_one_second_and_no_more() {
        let start = Instant::now();
        let mut rate_limit = RateLimit::new(1_000, start);
        let later = start + Duration::from_secs(3_600);
        assert_eq!(rate_limit.wait(1_500, later), Duration::ZERO);
        assert_eq!(rate_limit.wait(1, later), Duration::from_millis(500));
    }
}
