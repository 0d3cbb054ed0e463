//! Who hears of what is counted, beside metrics.

use std::time::Instant;

use crate::traffic::Counts;

/// Hears what became of records, table by table. Called from the ledger's thread: must not block.
pub trait Witness: Send + 'static {
    /// A table is counted.
    fn counted(&mut self, counts: &Counts, now: Instant);

    /// Called after each cut, and each second where nothing happens.
    fn look(&mut self, now: Instant);

    /// All is counted; no other call follows.
    fn ended(&mut self, now: Instant);
}

/// Nobody.
#[derive(Debug)]
pub(super) struct Nobody;

impl Witness for Nobody {
    fn counted(&mut self, _: &Counts, _: Instant) {}

    fn look(&mut self, _: Instant) {}

    fn ended(&mut self, _: Instant) {}
}
