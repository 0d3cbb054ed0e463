//! Log lines at a limited rate.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Lets one event through in each period, and counts those that it held back.
#[derive(Debug)]
pub struct LogLimit {
    period: Duration,
    /// Milliseconds after [`origin`] from which on the next event goes through.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl LogLimit {
    /// At most one event in each `period`.
    pub const fn new(period: Duration) -> Self {
        LogLimit { period, next: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// `Some` if the event may be logged, with the number of those held back since the last one.
    pub fn permit(&self) -> Option<u64> {
        let now = u64::try_from(origin().elapsed().as_millis()).unwrap_or(u64::MAX);
        let period = u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX);
        let due = self.next.load(Ordering::Relaxed);
        let won = now >= due
            && self
                .next
                .compare_exchange(due, now + period, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_within_a_period_are_held_back_and_counted() {
        let limit = LogLimit::new(Duration::from_secs(3600));
        assert_eq!(limit.permit(), Some(0));
        assert_eq!(limit.permit(), None);
        assert_eq!(limit.permit(), None);
        let never = LogLimit::new(Duration::ZERO);
        assert_eq!(never.permit(), Some(0));
        assert_eq!(never.permit(), Some(0));
    }
}
