//! The bounds of a journal.

use std::time::Duration;

/// The bounds of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalConfig {
    /// A segment that has grown to this is followed by a new one; but not before it has grown to 4
    /// times its checkpoint.
    pub segment_bytes: u64,
    /// A segment of this age is followed by a new one. What is kept for its age is kept by segments.
    pub segment_age: Duration,
    /// All segments together. The oldest are deleted rather than going beyond, read or not, but
    /// never the newest: below 8 times the size of a checkpoint, the cap can't be kept.
    pub max_bytes: u64,
    /// A segment of which the newest delta is older than this is deleted, read or not.
    pub max_age: Duration,
    /// What a record holds, in bytes before compression: a larger delta or checkpoint becomes several
    /// records that count as one. What can't be divided and is larger, such as a definition, has a
    /// record of its own, of at most [`RECORD_LIMIT_BYTES`](super::RECORD_LIMIT_BYTES).
    pub record_bytes: usize,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            segment_bytes: 32 << 20,
            segment_age: Duration::from_secs(3600),
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(14 * 24 * 3600),
            record_bytes: 16 << 20,
        }
    }
}
