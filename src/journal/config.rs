//! The bounds of a journal.

use std::time::Duration;

/// The bounds of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalConfig {
    /// A new segment follows one that has grown to this size, but not before it is 4 times the size
    /// of its checkpoint.
    pub segment_bytes: u64,
    /// A new segment follows one of this age. Segments are deleted whole, so `max_age` is kept to
    /// within this.
    pub segment_age: Duration,
    /// The cap on the size of all segments. The oldest are deleted to keep it, read or not, but never
    /// the newest: the cap can't be kept if it is less than 8 times the size of a checkpoint.
    pub max_bytes: u64,
    /// A segment whose newest delta is older than this is deleted, read or not.
    pub max_age: Duration,
    /// The size of a record, in bytes before compression: a larger delta or checkpoint is divided into
    /// several records that count as one. A single item that is larger, such as a definition, gets a
    /// record to itself, of at most [`RECORD_LIMIT_BYTES`](super::RECORD_LIMIT_BYTES).
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
