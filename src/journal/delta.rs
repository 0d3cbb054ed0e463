//! A delta: what changed from one snapshot to the next.

use std::{ops::Range, sync::Arc};

use crate::clock::UnixMs;

/// How far a partition of a topic has been counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// Exactly the messages below this offset are counted.
    pub next_offset: i64,
}

/// A series that begins with a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started<'c> {
    /// Its number, as long as it lives.
    pub id: u32,
    /// When counting it began.
    pub start: UnixMs,
    /// What it is, in the caller's own form.
    pub definition: &'c [u8],
}

/// What changed since the previous delta. It is applied in this order: series end, series start,
/// counts grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The delta's number, larger than that of the delta before.
    pub sequence: u64,
    /// The delta's time.
    pub time: UnixMs,
    /// Whether it is a tick: at a multiple of the interval, so that its samples are pushed.
    pub is_tick: bool,
    /// How many samples a tick has beyond one for each living series: those that count several things
    /// have one for each.
    pub extra_samples: u64,
    /// The positions that changed.
    pub positions: Vec<Position>,
    /// Sums beside the series, in the caller's own form; empty where they did not change.
    pub early_counts: Vec<u8>,
    pub(super) width: usize,
    pub(super) ended: Vec<u32>,
    pub(super) started: Vec<(u32, UnixMs, Range<usize>)>,
    pub(super) definitions: Vec<u8>,
    pub(super) changed: Vec<u32>,
    /// `width` numbers for each of `changed`.
    pub(super) increments: Vec<u64>,
}

/// Columns keep this much memory for the next delta.
const KEPT_BYTES: usize = 1 << 20;

/// Empties a column. Its memory is freed if hardly any of it was used.
fn clear<T>(column: &mut Vec<T>) {
    let is_rare = column.capacity() / 8 > column.len();
    if is_rare && column.capacity() * size_of::<T>() > KEPT_BYTES {
        *column = Vec::new();
    }
    column.clear();
}

impl Delta {
    /// A delta without changes, of series that have `width` counts each.
    pub fn new(width: usize) -> Self {
        Delta { width, ..Delta::default() }
    }

    /// Removes all changes. The memory is kept, except for what an exceptionally large delta took and
    /// the one after it did not need.
    pub fn clear(&mut self) {
        (self.sequence, self.time) = (0, UnixMs::EPOCH);
        (self.is_tick, self.extra_samples) = (false, 0);
        self.positions.clear();
        clear(&mut self.early_counts);
        clear(&mut self.ended);
        clear(&mut self.started);
        clear(&mut self.definitions);
        clear(&mut self.changed);
        clear(&mut self.increments);
    }

    /// Counts in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Ends a series, whose number can be used again from this delta on.
    pub fn end(&mut self, id: u32) {
        self.ended.push(id);
    }

    /// Starts a series with counts of zero. Numbers are slots: the smallest that was never used,
    /// or any whose series has ended.
    pub fn start(&mut self, id: u32, start: UnixMs, definition: &[u8]) {
        let begin = self.definitions.len();
        self.definitions.extend_from_slice(definition);
        self.started.push((id, start, begin..self.definitions.len()));
    }

    /// Adds to the counts of a series, once in a delta.
    ///
    /// # Panics
    /// If the row has another number of counts than [`Delta::width`].
    pub fn add(&mut self, id: u32, increments: &[u64]) {
        assert_eq!(increments.len(), self.width, "a row has a fixed number of counts");
        self.changed.push(id);
        self.increments.extend_from_slice(increments);
    }

    /// The series that end.
    pub fn ended(&self) -> &[u32] {
        &self.ended
    }

    /// The series that start.
    pub fn started(&self) -> impl ExactSizeIterator<Item = Started<'_>> {
        self.started.iter().map(|(id, start, definition)| Started {
            id: *id,
            start: *start,
            definition: &self.definitions[definition.clone()],
        })
    }

    /// The series whose counts grow, with the increments.
    pub fn changed(&self) -> impl ExactSizeIterator<Item = (u32, &[u64])> {
        self.changed.iter().copied().zip(self.increments.chunks_exact(self.width.max(1)))
    }

    /// How many samples it has, with so many living series after it.
    pub(super) fn samples(&self, living: u64) -> u64 {
        if self.is_tick { living.saturating_add(self.extra_samples) } else { 0 }
    }

    /// Sorts ends, starts and increments by the series' numbers. Returns false if a number occurs
    /// twice.
    pub(super) fn sort(&mut self) -> bool {
        self.ended.sort_unstable();
        self.started.sort_unstable_by_key(|&(id, ..)| id);
        if !self.changed.is_sorted() {
            let mut order: Vec<usize> = (0..self.changed.len()).collect();
            order.sort_unstable_by_key(|&row| self.changed[row]);
            let width = self.width;
            self.increments = order
                .iter()
                .flat_map(|&row| &self.increments[row * width..(row + 1) * width])
                .copied()
                .collect();
            self.changed.sort_unstable();
        }
        self.ended.is_sorted_by(|id, next| id < next)
            && self.started.is_sorted_by(|(id, ..), (next, ..)| id < next)
            && self.changed.is_sorted_by(|id, next| id < next)
    }
}
