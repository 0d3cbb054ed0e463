//! How messages are sorted into buckets, one for each tick.

use crate::clock::{Millis, UnixMs};

/// How messages are sorted into buckets by their time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucketing {
    /// Between two ticks.
    pub(super) interval: Millis,
    /// How long a tick waits for messages; `None` if messages belong to the tick that comes next.
    pub(super) lateness: Option<Millis>,
}

/// Which messages belong to the next tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TickBound {
    /// None yet: the first tick is not known.
    Unknown,
    /// Those before the tick's time.
    Before(UnixMs),
    /// All of them.
    Unbounded,
}
