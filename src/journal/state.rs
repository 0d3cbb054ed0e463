//! The whole state at one cut: what a checkpoint holds and what replaying builds.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    codec::{Input, put_bytes},
    cut::{Cut, Position},
};

/// Start time of a number that no series has.
const VACANT: i64 = i64::MIN;

/// Definitions of ended series may take this much, in bytes, before those of the living are moved
/// together.
const LEAST_GARBAGE_BYTES: usize = 1 << 20;

/// How much was ever to be pushed: what was lost between two places is the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Cuts that are samples.
    pub cuts: u64,
    /// Samples: the living series of each such cut.
    pub samples: u64,
}

/// What a state is beside its series.
#[derive(Debug, Clone, Copy)]
pub struct Head<'s> {
    /// What the counts belong to, in the caller's own form.
    pub identity: &'s [u8],
    /// Number of the cut that this is the state of; 0 before the first.
    pub sequence: u64,
    /// Time of that cut, in milliseconds since the epoch.
    pub time_ms: i64,
    /// All positions, each once.
    pub positions: &'s [Position],
    /// The newest tallies.
    pub tallies: &'s [u8],
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
    /// Nothing of it was counted before, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Time of the cut that last changed it, in milliseconds since the epoch.
    pub changed_ms: i64,
    /// What it is, in the caller's own form.
    pub definition: &'s [u8],
    /// Its counts.
    pub counts: &'s [u64],
}

/// Gives the state for a checkpoint.
pub trait Source {
    /// What the state is beside its series, handed to `visit`.
    fn head(&self, visit: &mut dyn FnMut(Head<'_>));
    /// All living series, by rising number.
    fn visit(&self, visit: &mut dyn FnMut(Series<'_>));
}

/// The state at one cut, read from the log. Takes 32 bytes and its definition for each series.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What the counts belong to, in the caller's own form.
    pub identity: Vec<u8>,
    /// Number of the cut that this is the state of; 0 before the first.
    pub sequence: u64,
    /// Time of that cut, in milliseconds since the epoch.
    pub time_ms: i64,
    /// How far each partition of each topic has been counted.
    pub positions: BTreeMap<(Arc<str>, i32), i64>,
    /// Sums beside the series, in the caller's own form.
    pub tallies: Vec<u8>,
    /// How much was to be pushed up to here.
    pub totals: Totals,
    pub(super) width: usize,
    starts: Vec<i64>,
    changes: Vec<i64>,
    counts: Vec<u64>,
    /// Where the definitions lie.
    places: Vec<usize>,
    /// Each behind its length.
    definitions: Vec<u8>,
    live: u32,
    garbage: usize,
}

/// Two states are equal if they say the same, however they came to be.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (&self.identity, self.sequence, self.time_ms, &self.positions, &self.tallies, self.totals)
            == (
                &other.identity,
                other.sequence,
                other.time_ms,
                &other.positions,
                &other.tallies,
                other.totals,
            )
            && self.width == other.width
            && self.series().eq(other.series())
    }
}

impl State {
    /// How many series there are.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Numbers of series are below this.
    pub fn slots(&self) -> u32 {
        self.starts.len() as u32
    }

    /// Counts of each series.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The series with this number; `None` where there is none.
    pub fn get(&self, id: u32) -> Option<Series<'_>> {
        let slot = id as usize;
        let start_ms = *self.starts.get(slot)?;
        (start_ms != VACANT).then(|| Series {
            id,
            start_ms,
            changed_ms: self.changes[slot],
            definition: definition(&self.definitions, self.places[slot]),
            counts: &self.counts[slot * self.width..][..self.width],
        })
    }

    /// All series, by rising number.
    pub fn series(&self) -> impl Iterator<Item = Series<'_>> {
        (0..self.slots()).filter_map(|id| self.get(id))
    }

    /// Makes it the state after `cut`, or says why it can't be. After an error, the state is of no
    /// use any more.
    pub(super) fn apply(&mut self, cut: &Cut) -> Result<(), &'static str> {
        if cut.sequence <= self.sequence {
            return Err("the cut is not newer than the one before");
        }
        for &id in cut.ended() {
            self.end(id)?;
        }
        let slots = self.starts.len() + cut.started.len();
        for series in cut.started() {
            if series.id as usize >= slots {
                return Err("the cut starts a series with a number out of turn");
            }
            self.start(series.id, series.start_ms, cut.time_ms, series.definition)?;
        }
        if cut.width != self.width && !cut.changed.is_empty() {
            return Err("the cut has another number of counts for each series");
        }
        for (id, increments) in cut.changed() {
            let slot = id as usize;
            if self.starts.get(slot).is_none_or(|&start| start == VACANT) {
                return Err("the cut counts for a series that does not exist");
            }
            self.changes[slot] = cut.time_ms;
            for (count, increment) in self.counts[slot * self.width..].iter_mut().zip(increments) {
                *count = count.wrapping_add(*increment);
            }
        }
        for position in &cut.positions {
            self.positions
                .insert((Arc::clone(&position.topic), position.partition), position.next_offset);
        }
        if !cut.tallies.is_empty() {
            self.tallies.clone_from(&cut.tallies);
        }
        self.sequence = cut.sequence;
        self.time_ms = cut.time_ms;
        if cut.is_sample {
            self.totals.cuts += 1;
            self.totals.samples += u64::from(self.live);
        }
        Ok(())
    }

    /// Makes room for series numbered below `slots`, none of which exists yet.
    pub(super) fn reserve(&mut self, slots: u32) {
        let slots = slots as usize;
        self.starts.resize(slots, VACANT);
        self.changes.resize(slots, 0);
        self.counts.resize(slots * self.width, 0);
        self.places.resize(slots, 0);
    }

    /// Adds a series of which all counts are zero.
    pub(super) fn start(
        &mut self,
        id: u32,
        start_ms: i64,
        changed_ms: i64,
        definition: &[u8],
    ) -> Result<(), &'static str> {
        let slot = id as usize;
        if slot >= self.starts.len() {
            self.reserve(id.checked_add(1).ok_or("a series has a number out of bounds")?);
        }
        if self.starts[slot] != VACANT || start_ms == VACANT {
            return Err("a series starts with a number that another one has");
        }
        if self.garbage > LEAST_GARBAGE_BYTES.max(self.definitions.len() / 2) {
            self.move_together();
        }
        self.places[slot] = self.definitions.len();
        put_bytes(&mut self.definitions, definition);
        self.starts[slot] = start_ms;
        self.changes[slot] = changed_ms;
        self.counts[slot * self.width..][..self.width].fill(0);
        self.live += 1;
        Ok(())
    }

    /// The counts of a series, to be set.
    pub(super) fn counts_mut(&mut self, id: u32) -> &mut [u64] {
        &mut self.counts[id as usize * self.width..][..self.width]
    }

    fn end(&mut self, id: u32) -> Result<(), &'static str> {
        let start = self.starts.get_mut(id as usize).filter(|start| **start != VACANT);
        *start.ok_or("the cut ends a series that does not exist")? = VACANT;
        self.garbage += definition(&self.definitions, self.places[id as usize]).len();
        self.live -= 1;
        Ok(())
    }

    fn move_together(&mut self) {
        let mut together = Vec::with_capacity(self.definitions.len() - self.garbage);
        for (start, place) in self.starts.iter().zip(&mut self.places) {
            if *start != VACANT {
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

impl Source for State {
    fn head(&self, visit: &mut dyn FnMut(Head<'_>)) {
        let positions: Vec<Position> = self
            .positions
            .iter()
            .map(|((topic, partition), &next_offset)| Position {
                topic: Arc::clone(topic),
                partition: *partition,
                next_offset,
            })
            .collect();
        visit(Head {
            identity: &self.identity,
            sequence: self.sequence,
            time_ms: self.time_ms,
            positions: &positions,
            tallies: &self.tallies,
            width: self.width,
            slots: self.slots(),
            live: self.live,
        });
    }

    fn visit(&self, visit: &mut dyn FnMut(Series<'_>)) {
        self.series().for_each(visit);
    }
}
