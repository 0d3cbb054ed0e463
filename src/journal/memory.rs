//! The log in memory, for `--state-dir none`: the newest deltas, as long as readers need them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::UnixMs;

use super::{
    delta::Delta,
    error::Error,
    position::LogPosition,
    reading::{Cause, Lost, Placement, Start, Step, Usage},
    state::State,
};

/// Deltas that readers still need may take this much, in bytes, before the oldest are dropped.
pub const MEMORY_LIMIT_BYTES: usize = 64 << 20;

/// The deltas that some reader still needs, and the state before them.
struct Ring {
    base: State,
    /// Counts of each series in the next delta.
    width: usize,
    deltas: VecDeque<Arc<Delta>>,
    /// Bytes of `deltas`.
    bytes: usize,
    max_bytes: usize,
    appended_bytes: u64,
    /// The place after the newest delta.
    end: LogPosition,
    /// Living series at that position.
    live: u64,
    cursors: BTreeMap<String, LogPosition>,
}

impl Ring {
    /// Applies the oldest deltas to the base: those that all readers are done with, and as many more
    /// as the bound requires.
    fn shrink(&mut self) -> Result<(), Error> {
        let needed = self.cursors.values().map(|cursor| cursor.sequence).min();
        while let Some(oldest) = self.deltas.front() {
            let read = needed.is_none_or(|needed| oldest.sequence <= needed);
            if !read && self.bytes <= self.max_bytes {
                return Ok(());
            }
            self.base.set_width(oldest.width);
            self.base.apply(oldest).map_err(Error::Unfit)?;
            self.bytes -= bytes(oldest);
            self.deltas.pop_front();
        }
        Ok(())
    }
}

/// About how much memory a delta takes.
fn bytes(delta: &Delta) -> usize {
    size_of::<Delta>()
        + delta.definitions.len()
        + delta.early_counts.len()
        + size_of_val(delta.ended.as_slice())
        + size_of_val(delta.started.as_slice())
        + size_of_val(delta.changed.as_slice())
        + size_of_val(delta.increments.as_slice())
        + size_of_val(delta.positions.as_slice())
}

/// A log in memory, and its only writer.
pub struct MemoryJournal {
    log: MemoryLog,
}

impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJournal").finish_non_exhaustive()
    }
}

impl MemoryJournal {
    /// A log without deltas, begun at `begun`, of series that have `width` counts each. Deltas that readers still need are kept up to `max_bytes`.
    pub fn new(width: usize, begun: UnixMs, max_bytes: usize) -> Self {
        let mut base = State::default();
        base.width = width;
        base.time = begun;
        let ring = Ring {
            base,
            width,
            deltas: VecDeque::new(),
            bytes: 0,
            max_bytes,
            appended_bytes: 0,
            end: LogPosition::default(),
            live: 0,
            cursors: BTreeMap::new(),
        };
        MemoryJournal { log: MemoryLog(Arc::new(Mutex::new(ring))) }
    }

    /// The log, to be shared with readers.
    pub(super) fn memory_log(&self) -> &MemoryLog {
        &self.log
    }

    /// Has the next deltas be of series that have `width` counts each.
    pub fn set_width(&mut self, width: usize) {
        self.log.lock().width = width;
    }

    /// Appends a delta, which is sorted.
    ///
    /// # Errors
    /// [`Error::Unfit`] where the delta, or one that was appended before, does not fit the state.
    pub fn append(&mut self, delta: &mut Delta) -> Result<(), Error> {
        let mut ring = self.log.lock();
        if !delta.sort() {
            return Err(Error::Unfit("one series ends, starts or counts twice"));
        }
        if delta.sequence <= ring.end.sequence {
            return Err(Error::Unfit("its sequence is not larger than the one before"));
        }
        if delta.width != ring.width {
            return Err(Error::Unfit("it has another number of counts for each series"));
        }
        let size = bytes(delta);
        ring.live = (ring.live + delta.started.len() as u64)
            .checked_sub(delta.ended.len() as u64)
            .ok_or(Error::Unfit("the delta ends a series that does not exist"))?;
        ring.end.totals.ticks += u64::from(delta.is_tick);
        ring.end.totals.samples += delta.samples(ring.live);
        ring.end.sequence = delta.sequence;
        ring.bytes += size;
        ring.appended_bytes += size as u64;
        ring.deltas.push_back(Arc::new(delta.clone()));
        ring.shrink()
    }
}

/// The log as its readers see it.
#[derive(Clone)]
pub(super) struct MemoryLog(Arc<Mutex<Ring>>);

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLog")
    }
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> LogPosition {
        self.lock().end
    }

    /// The oldest place from which it can still be read.
    pub(super) fn oldest(&self) -> LogPosition {
        self.lock().base.position()
    }

    pub(super) fn retention_cursors(&self) -> BTreeMap<String, LogPosition> {
        self.lock().cursors.clone()
    }

    pub(super) fn save(&self, name: &str, cursor: LogPosition) {
        self.lock().cursors.insert(name.to_owned(), cursor);
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().cursors.remove(name);
    }

    pub(super) fn usage(&self, from: LogPosition) -> Usage {
        let ring = self.lock();
        let kept = ring.deltas.iter().rev().take_while(|delta| delta.sequence > from.sequence);
        Usage {
            bytes: kept.map(|delta| bytes(delta) as u64).sum(),
            appended_bytes: ring.appended_bytes,
            max_bytes: ring.max_bytes as u64,
            max_age: Duration::MAX,
        }
    }
}

/// Follows the log in memory.
pub(super) struct MemoryReader {
    log: MemoryLog,
    state: State,
    delta: Arc<Delta>,
}

impl MemoryReader {
    pub(super) fn open(log: &MemoryLog, start: Start) -> Result<(Self, Placement), Error> {
        let (state, end) = {
            let ring = log.lock();
            (ring.base.clone(), ring.end)
        };
        let oldest = state.position();
        let (target, mut placed) = match start {
            Start::Oldest => (oldest.sequence, Placement::Exact),
            Start::Newest => (end.sequence, Placement::Exact),
            Start::After(cursor) if cursor.sequence > end.sequence => {
                (end.sequence, Placement::Earlier)
            }
            Start::After(cursor) if cursor.sequence < oldest.sequence => {
                let lost = Lost::between(cursor.totals, oldest.totals, Cause::Dropped);
                (oldest.sequence, Placement::Later(lost))
            }
            Start::After(cursor) => (cursor.sequence, Placement::Exact),
        };
        let mut reader = MemoryReader { log: log.clone(), state, delta: Arc::default() };
        while reader.state.sequence < target {
            match reader.step()? {
                Step::Delta => {}
                Step::End => break,
                Step::Lost(lost) => {
                    placed = Placement::Later(lost);
                    break;
                }
            }
        }
        Ok((reader, placed))
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    pub(super) fn delta(&self) -> &Delta {
        &self.delta
    }

    pub(super) fn step(&mut self) -> Result<Step, Error> {
        {
            let ring = self.log.lock();
            if self.state.sequence < ring.base.sequence {
                let lost = Lost::between(self.state.totals, ring.base.totals, Cause::Dropped);
                self.state = ring.base.clone();
                return Ok(Step::Lost(lost));
            }
            let next = ring.deltas.partition_point(|delta| delta.sequence <= self.state.sequence);
            let Some(delta) = ring.deltas.get(next) else { return Ok(Step::End) };
            self.delta = Arc::clone(delta);
        }
        self.state.set_width(self.delta.width);
        self.state.apply(&self.delta).map_err(Error::Unfit)?;
        Ok(Step::Delta)
    }
}
