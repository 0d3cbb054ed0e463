//! How messages are sorted into buckets, one for each tick.

/// How messages are sorted into buckets by their time, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucketing {
    pub(super) interval_ms: i64,
    /// `None` where messages belong to the tick that comes next.
    pub(super) lateness_ms: Option<i64>,
}

impl Bucketing {
    /// The bucket of a message: the first tick after its time.
    pub(super) fn bound_ms(self, time_ms: i64) -> i64 {
        (time_ms.div_euclid(self.interval_ms) + 1).saturating_mul(self.interval_ms)
    }
}
