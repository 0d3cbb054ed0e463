//! The whole state after a delta, as a checkpoint holds it and as replaying deltas builds it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{clock::UnixMs, slots::give_back};

use super::{
    codec::{Input, put_bytes},
    delta::{Delta, Position},
    live::LiveSet,
    position::{LogPosition, Totals},
};

/// Definitions of ended series may take this much, in bytes, before those of the living are moved
/// together.
const LEAST_GARBAGE_BYTES: usize = 1 << 20;

/// Everything in a state but its series.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointHead<'s> {
    /// What the counts belong to, in the caller's own form.
    pub identity: &'s [u8],
    /// Number of the delta that this is the state of; 0 before the first.
    pub sequence: u64,
    /// Time of that delta.
    pub time: UnixMs,
    /// All positions, each once.
    pub positions: &'s [Position],
    /// The newest early counts.
    pub early_counts: &'s [u8],
    /// Counts of each series.
    pub width: usize,
    /// Numbers of series are below this.
    pub slots: u32,
    /// Living series: as many as [`Source::visit`] gives.
    pub live: u32,
}

/// A living series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series<'s> {
    /// Its number.
    pub id: u32,
    /// Nothing of it was counted before.
    pub start: UnixMs,
    /// Time of the delta that last changed it.
    pub changed: UnixMs,
    /// What it is, in the caller's own form.
    pub definition: &'s [u8],
    /// Its counts.
    pub counts: &'s [u64],
}

/// Provides the state for a checkpoint.
pub trait CheckpointSource {
    /// What the state is beside its series, handed to `visit`.
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>));
    /// All living series, by rising number.
    fn visit(&self, visit: &mut dyn FnMut(Series<'_>));
}

/// The state at one delta, read from the log. Takes 32 bytes and its definition for each series, and
/// nothing for numbers above all that live.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What the counts belong to, in the caller's own form.
    pub identity: Vec<u8>,
    /// Number of the delta that this is the state of; 0 before the first.
    pub sequence: u64,
    /// Time of that delta.
    pub time: UnixMs,
    /// How far each partition of each topic has been counted.
    pub positions: BTreeMap<(Arc<str>, i32), i64>,
    /// Sums beside the series, in the caller's own form.
    pub early_counts: Vec<u8>,
    /// How much was to be pushed up to here.
    pub totals: Totals,
    pub(super) width: usize,
    /// Which series live. The columns may end before the numbers that it knows.
    live: LiveSet,
    /// Whether nothing else is kept of the series.
    is_lean: bool,
    starts: Vec<UnixMs>,
    changes: Vec<UnixMs>,
    counts: Vec<u64>,
    /// Where the definitions lie.
    places: Vec<usize>,
    /// Each behind its length.
    definitions: Vec<u8>,
    /// Bytes of definitions of ended series.
    garbage: usize,
}

/// States are equal if they say the same, whatever their history.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (&self.identity, self.sequence, self.time, &self.positions, &self.early_counts, self.totals)
            == (
                &other.identity,
                other.sequence,
                other.time,
                &other.positions,
                &other.early_counts,
                other.totals,
            )
            && self.width == other.width
            && self.series().eq(other.series())
    }
}

impl State {
    /// Its place in the log.
    pub fn position(&self) -> LogPosition {
        LogPosition { sequence: self.sequence, totals: self.totals }
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.live.count as usize
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.live.count == 0
    }

    /// Numbers of series are below this.
    pub fn slots(&self) -> u32 {
        self.live.slots()
    }

    /// Counts of each series.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The series with this number, if there is one.
    pub fn get(&self, id: u32) -> Option<Series<'_>> {
        let slot = id as usize;
        (self.live.get(id) && !self.is_lean).then(|| Series {
            id,
            start: self.starts[slot],
            changed: self.changes[slot],
            definition: definition(&self.definitions, self.places[slot]),
            counts: &self.counts[slot * self.width..][..self.width],
        })
    }

    /// All series, by rising number.
    pub fn series(&self) -> impl Iterator<Item = Series<'_>> {
        (0..self.starts.len() as u32).filter_map(|id| self.get(id))
    }

    /// Which series live.
    pub(super) fn live_set(&self) -> LiveSet {
        self.live.clone()
    }

    /// Makes it the state after `delta`. After an error, which says why that is impossible, the state
    /// is unusable.
    pub(super) fn apply(&mut self, delta: &Delta) -> Result<(), &'static str> {
        if delta.sequence <= self.sequence {
            return Err("the delta is not newer than the one before");
        }
        if delta.width != self.width && !delta.changed.is_empty() {
            return Err("the delta has another number of counts for each series");
        }
        self.live = std::mem::take(&mut self.live).after(delta)?;
        if !self.is_lean {
            self.apply_to_series(delta);
        }
        for position in &delta.positions {
            self.positions
                .insert((Arc::clone(&position.topic), position.partition), position.next_offset);
        }
        if !delta.early_counts.is_empty() {
            self.early_counts.clone_from(&delta.early_counts);
        }
        self.sequence = delta.sequence;
        self.time = delta.time;
        self.totals.ticks += u64::from(delta.is_tick);
        let samples = delta.samples(self.live.count.into());
        self.totals.samples = self.totals.samples.saturating_add(samples);
        Ok(())
    }

    /// Adds what a delta says of series, which fits.
    fn apply_to_series(&mut self, delta: &Delta) {
        for &id in delta.ended() {
            self.garbage += definition(&self.definitions, self.places[id as usize]).len();
        }
        for series in delta.started() {
            self.put(series.id, series.start, delta.time, series.definition);
        }
        for (id, increments) in delta.changed() {
            let slot = id as usize;
            self.changes[slot] = delta.time;
            for (count, increment) in self.counts[slot * self.width..].iter_mut().zip(increments) {
                *count = count.wrapping_add(*increment);
            }
        }
        if !delta.ended.is_empty() {
            self.give_back();
        }
    }

    /// Frees everything it knows of series except which ones are alive, and keeps no more than that
    /// from now on. It then has no series to show, but still says how many there are.
    pub(super) fn forget_series(&mut self) {
        self.is_lean = true;
        self.starts = Vec::new();
        self.changes = Vec::new();
        self.counts = Vec::new();
        self.places = Vec::new();
        self.definitions = Vec::new();
        self.garbage = 0;
    }

    /// Gives each series so many counts: zeros are added, or the last ones removed.
    pub(super) fn set_width(&mut self, width: usize) {
        if width == self.width {
            return;
        }
        let kept = width.min(self.width);
        let mut counts = vec![0; self.starts.len() * width];
        if kept > 0 {
            let before = self.counts.chunks_exact(self.width);
            for (row, before) in counts.chunks_exact_mut(width).zip(before) {
                row[..kept].copy_from_slice(&before[..kept]);
            }
        }
        (self.width, self.counts) = (width, counts);
    }

    /// Lets series be numbered below `slots`.
    pub(super) fn reserve(&mut self, slots: u32) {
        self.live.reserve(slots);
    }

    /// Makes the columns this long.
    fn resize(&mut self, slots: usize) {
        self.starts.resize(slots, UnixMs::EPOCH);
        self.changes.resize(slots, UnixMs::EPOCH);
        self.counts.resize(slots * self.width, 0);
        self.places.resize(slots, 0);
    }

    /// Adds a series of which all counts are zero, as a checkpoint has it.
    pub(super) fn start(
        &mut self,
        id: u32,
        start: UnixMs,
        changed: UnixMs,
        definition: &[u8],
    ) -> Result<(), &'static str> {
        if self.live.get(id) {
            return Err("a series starts with a number that another one has");
        }
        self.live.set(id);
        self.put(id, start, changed, definition);
        Ok(())
    }

    /// Writes into the columns what is known of a series that begins.
    fn put(&mut self, id: u32, start: UnixMs, changed: UnixMs, definition: &[u8]) {
        let slot = id as usize;
        if slot >= self.starts.len() {
            self.resize(slot + 1);
        }
        self.places[slot] = self.definitions.len();
        put_bytes(&mut self.definitions, definition);
        self.starts[slot] = start;
        self.changes[slot] = changed;
        self.counts[slot * self.width..][..self.width].fill(0);
    }

    /// The counts of a series, to be set.
    pub(super) fn counts_mut(&mut self, id: u32) -> &mut [u64] {
        &mut self.counts[id as usize * self.width..][..self.width]
    }

    /// Frees memory that no living series takes, if it is a good part.
    fn give_back(&mut self) {
        self.resize(self.live.end());
        give_back(&mut self.starts);
        give_back(&mut self.changes);
        give_back(&mut self.counts);
        give_back(&mut self.places);
        if self.garbage > LEAST_GARBAGE_BYTES.max(self.definitions.len() / 2) {
            self.move_together();
        }
    }

    fn move_together(&mut self) {
        let mut together = Vec::with_capacity(self.definitions.len() - self.garbage);
        for (id, place) in self.places.iter_mut().enumerate() {
            if self.live.get(id as u32) {
                let definition = definition(&self.definitions, *place);
                *place = together.len();
                put_bytes(&mut together, definition);
            }
        }
        self.definitions = together;
        self.garbage = 0;
    }
}

/// The definition that lies there, behind its length.
fn definition(definitions: &[u8], place: usize) -> &[u8] {
    Input(&definitions[place..]).bytes().unwrap_or_default()
}

impl CheckpointSource for State {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        let positions: Vec<Position> = self
            .positions
            .iter()
            .map(|((topic, partition), &next_offset)| Position {
                topic: Arc::clone(topic),
                partition: *partition,
                next_offset,
            })
            .collect();
        visit(CheckpointHead {
            identity: &self.identity,
            sequence: self.sequence,
            time: self.time,
            positions: &positions,
            early_counts: &self.early_counts,
            width: self.width,
            slots: self.slots(),
            live: self.live.count,
        });
    }

    fn visit(&self, visit: &mut dyn FnMut(Series<'_>)) {
        self.series().for_each(visit);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    fn delta(sequence: u64, ended: impl IntoIterator<Item = u32>, started: &[u32]) -> Delta {
        let mut delta = Delta::new(1);
        delta.sequence = sequence;
        for id in ended {
            delta.end(id);
        }
        for &id in started {
            delta.start(id, UnixMs::new(1), &[b'x'; 100]);
        }
        delta
    }

    #[test]
    fn series_that_ended_leave_no_memory_and_their_numbers_can_be_used_again() {
        let mut state = State { width: 1, ..State::default() };
        let ids: Vec<u32> = (0..100_000).collect();
        state.apply(&delta(1, [], &ids)).unwrap();
        state.apply(&delta(2, (0..100_000).filter(|&id| id != 7), &[])).unwrap();
        assert_eq!(state.series().map(|series| series.id).collect::<Vec<_>>(), [7]);
        assert_eq!(state.get(7).unwrap().definition, [b'x'; 100]);
        assert!(state.starts.capacity() + state.counts.capacity() <= 4096);
        assert!(state.definitions.capacity() <= 2 * LEAST_GARBAGE_BYTES);
        // A writer that has not given them back yet may use any of them.
        state.apply(&delta(3, [], &[99_999])).unwrap();
        assert_eq!(state.series().map(|series| series.id).collect::<Vec<_>>(), [7, 99_999]);
        assert!(state.apply(&delta(4, [], &[100_001])).is_err(), "that is out of turn");
    }

    #[test]
    fn a_state_that_has_forgotten_its_series_counts_samples_and_judges_deltas_as_before() {
        let mut state = State { width: 1, ..State::default() };
        state.apply(&delta(1, [], &[0, 1])).unwrap();
        state.forget_series();
        let mut next = delta(2, [0], &[2, 3]);
        next.add(1, &[5]);
        next.is_tick = true;
        state.apply(&next).unwrap();
        assert_eq!((state.len(), state.slots(), state.series().count()), (3, 4, 0));
        assert_eq!(state.totals, Totals { ticks: 1, samples: 3 });
        for misfit in [delta(3, [0], &[]), delta(3, [], &[1]), delta(3, [], &[5])] {
            assert!(state.clone().apply(&misfit).is_err(), "{misfit:?}");
        }
    }
}
