//! Questions to a log and its answers, the same on disk and in memory.

use std::time::Duration;

use super::{
    error::Broken,
    position::{LogPosition, Totals},
};

/// How much of a log is kept, and how much may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What is kept from the given position on, in bytes; up to a segment more.
    pub bytes: u64,
    /// Bytes of all deltas appended since the log was opened.
    pub appended_bytes: u64,
    /// The oldest is dropped if it would be more than this.
    pub max_bytes: u64,
    /// Anything older is dropped.
    pub max_age: Duration,
}

/// Where to start reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest state.
    Oldest,
    /// After the newest durable delta.
    Newest,
    /// After this position.
    After(LogPosition),
}

/// What a reader can no longer get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Ticks.
    pub ticks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Why.
    pub cause: Cause,
}

impl Lost {
    /// What lies between two positions.
    pub(super) fn between(from: Totals, to: Totals, cause: Cause) -> Self {
        Lost {
            ticks: to.ticks.saturating_sub(from.ticks),
            samples: to.samples.saturating_sub(from.samples),
            cause,
        }
    }
}

/// Why deltas are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// They exceeded the caps.
    Dropped,
    /// They can't be read.
    Broken(Broken),
}

/// Where a reader was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// At the position that was asked for.
    Exact,
    /// At the oldest position that can be read, because what was asked for is lost.
    Later(Lost),
    /// At the newest position, because the journal has lost deltas that were read before, as after
    /// damage to the disk. Values that were sent may be larger than those that follow.
    Earlier,
}

/// What a reader has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A delta, see [`Reader::delta()`]. The state includes it.
    Delta,
    /// Nothing more for now: all durable deltas have been read.
    End,
    /// Some deltas are lost. The state is the next one that can be read.
    Lost(Lost),
}
