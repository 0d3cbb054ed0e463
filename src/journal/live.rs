//! The set of living series. This is all that the writer needs to know about series, and all that a
//! reader does that keeps them in a form of its own.

use crate::slots::Bits;

use super::delta::Delta;

/// Which numbers have a living series.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveSet {
    numbers: Bits,
    slots: usize,
    /// How many there are.
    pub(super) count: u32,
}

impl LiveSet {
    pub(super) fn new(slots: u32) -> Self {
        LiveSet { slots: slots as usize, ..LiveSet::default() }
    }

    /// Numbers are below this.
    pub(super) fn slots(&self) -> u32 {
        self.slots as u32
    }

    /// Lets numbers below this be taken.
    pub(super) fn reserve(&mut self, slots: u32) {
        self.slots = self.slots.max(slots as usize);
    }

    /// The number after the last living one.
    pub(super) fn end(&self) -> usize {
        self.numbers.end()
    }

    /// Whether the same series live.
    pub(super) fn is_same(&self, other: &LiveSet) -> bool {
        self.numbers.used() == other.numbers.used()
    }

    pub(super) fn get(&self, id: u32) -> bool {
        self.numbers.contains(id as usize)
    }

    pub(super) fn set(&mut self, id: u32) {
        let id = id as usize;
        self.slots = self.slots.max(id + 1);
        self.count += u32::from(self.numbers.insert(id));
    }

    /// The set after a delta, by the rules by which deltas are read, or why the delta does not fit.
    pub(super) fn after(mut self, delta: &Delta) -> Result<Self, &'static str> {
        for &id in &delta.ended {
            if !self.numbers.remove(id as usize) {
                return Err("the delta ends a series that does not exist");
            }
            self.count -= 1;
        }
        let slots = (self.slots + delta.started.len()).min(u32::MAX as usize);
        for &(id, ..) in &delta.started {
            if id as usize >= slots {
                return Err("the delta starts a series with a number out of turn");
            }
            if self.get(id) {
                return Err("the delta starts a series with a number that another one has");
            }
            self.set(id);
        }
        if !delta.changed.iter().all(|&id| self.get(id)) {
            return Err("the delta counts for a series that does not exist");
        }
        self.numbers.trim();
        Ok(self)
    }
}
