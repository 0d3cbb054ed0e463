//! The interface by which `diagnosis` sees each table that the ledger merges.

use std::time::Instant;

use crate::traffic::{Counts, Rule};

/// Sees what became of records, table by table. Called from the ledger's thread: must not block.
pub trait Observer: Send + 'static {
    /// A worker's table was merged.
    fn counted(&mut self, counts: &Counts, now: Instant);

    /// Called with each snapshot, and each second while nothing happens.
    fn look(&mut self, now: Instant);

    /// Whether samples wait until the clock, which was set back, has passed the newest one.
    fn clock_looked_at(&mut self, is_behind: bool);

    /// Flows are classified by this rule from now on.
    fn reclassified(&mut self, rule: &Rule);

    /// Everything is counted; no other call follows.
    fn ended(&mut self, now: Instant);
}

/// Ignores everything.
#[derive(Debug)]
pub(super) struct NoObserver;

impl Observer for NoObserver {
    fn counted(&mut self, _: &Counts, _: Instant) {}

    fn look(&mut self, _: Instant) {}

    fn clock_looked_at(&mut self, _: bool) {}

    fn reclassified(&mut self, _: &Rule) {}

    fn ended(&mut self, _: Instant) {}
}
