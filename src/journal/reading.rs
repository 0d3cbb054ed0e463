//! What readers of a log ask for and are told, wherever it is kept.

use std::time::Duration;

use super::{
    error::Broken,
    position::{LogPosition, Totals},
};

/// How much of a log is kept, and how much may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Kept from the place that was asked about on, in bytes; up to a segment more than that.
    pub bytes: u64,
    /// Bytes of all deltas appended since the log was opened.
    pub appended_bytes: u64,
    /// The oldest is dropped rather than keeping more than this.
    pub max_bytes: u64,
    /// What is older is dropped.
    pub max_age: Duration,
}

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest state that there is.
    Oldest,
    /// After the newest durable delta.
    Newest,
    /// After the deltas that were dealt with.
    After(LogPosition),
}

/// What a reader can't have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Cuts that were samples.
    pub ticks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Why.
    pub cause: Cause,
}

impl Lost {
    /// What lies between two places.
    pub(super) fn between(from: Totals, to: Totals, cause: Cause) -> Self {
        Lost {
            ticks: to.ticks.saturating_sub(from.ticks),
            samples: to.samples.saturating_sub(from.samples),
            cause,
        }
    }
}

/// Why something is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It went beyond the caps.
    Dropped,
    /// It can't be read.
    Broken(Broken),
}

/// Where a reader was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Where it wanted to be.
    Exact,
    /// At the oldest place there is, because what it wanted is lost.
    Later(Lost),
    /// At the newest place there is: the deltas that it had dealt with are lost to the journal, as
    /// after a broken disk. What was sent of them may be larger than what will be sent.
    Earlier,
}

/// What a reader finds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A delta, see [`Reader::delta()`]. The state includes it.
    Delta,
    /// Nothing more for now: all durable deltas are read.
    End,
    /// Some deltas are lost. The state is the next one that there is.
    Lost(Lost),
}
