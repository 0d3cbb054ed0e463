//! The log in memory: the newest cuts, for readers, where nothing is to be kept on disk.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Error,
    cursor::Cursor,
    cut::Cut,
    log::Log,
    reader::{Lost, Placed, Start, Step, Usage, Why},
    state::State,
};

/// Cuts that some reader still needs take this much, in bytes, before the oldest are dropped.
pub const MEMORY_LIMIT_BYTES: usize = 64 << 20;

/// The cuts that some reader still needs, upon the state before them.
struct Ring {
    base: State,
    cuts: VecDeque<Arc<Cut>>,
    /// Bytes of `cuts`.
    bytes: usize,
    max_bytes: usize,
    appended_bytes: u64,
    /// The place after the newest cut.
    end: Cursor,
    /// Living series there.
    live: u64,
    cursors: BTreeMap<String, Cursor>,
}

impl Ring {
    /// Moves cuts into the base: those that all readers have dealt with, and as many more as the
    /// bound demands.
    fn shrink(&mut self) -> Result<(), Error> {
        let needed = self.cursors.values().map(|cursor| cursor.sequence).min();
        while let Some(oldest) = self.cuts.front() {
            let read = needed.is_none_or(|needed| oldest.sequence <= needed);
            if !read && self.bytes <= self.max_bytes {
                return Ok(());
            }
            self.base.apply(oldest).map_err(Error::Unfit)?;
            self.bytes -= bytes(oldest);
            self.cuts.pop_front();
        }
        Ok(())
    }
}

/// What a cut takes in memory, about.
fn bytes(cut: &Cut) -> usize {
    size_of::<Cut>()
        + cut.definitions.len()
        + cut.early_counts.len()
        + size_of_val(cut.ended.as_slice())
        + size_of_val(cut.started.as_slice())
        + size_of_val(cut.changed.as_slice())
        + size_of_val(cut.increments.as_slice())
        + size_of_val(cut.positions.as_slice())
}

/// A log in memory. Its one writer.
pub struct Memory {
    log: MemoryLog,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// A log without cuts, begun at `begun_ms` (milliseconds since the epoch), of series that have
    /// `width` counts each. Cuts that somebody still needs are kept up to `max_bytes`.
    pub fn new(width: usize, begun_ms: i64, max_bytes: usize) -> Self {
        let mut base = State::default();
        base.width = width;
        base.time_ms = begun_ms;
        let ring = Ring {
            base,
            cuts: VecDeque::new(),
            bytes: 0,
            max_bytes,
            appended_bytes: 0,
            end: Cursor::default(),
            live: 0,
            cursors: BTreeMap::new(),
        };
        Memory { log: MemoryLog(Arc::new(Mutex::new(ring))) }
    }

    /// The log, for readers and their cursors.
    pub fn log(&self) -> Log {
        self.log.clone().into()
    }

    /// Appends a cut, which is sorted.
    ///
    /// # Errors
    /// [`Error::Unfit`] where the cut, or one that was appended before, does not fit the state.
    pub fn append(&mut self, cut: &mut Cut) -> Result<(), Error> {
        let mut ring = self.log.lock();
        if !cut.sort() {
            return Err(Error::Unfit("one series ends, starts or counts twice"));
        }
        if cut.sequence <= ring.end.sequence {
            return Err(Error::Unfit("its sequence is not larger than the one before"));
        }
        let size = bytes(cut);
        ring.live = (ring.live + cut.started.len() as u64)
            .checked_sub(cut.ended.len() as u64)
            .ok_or(Error::Unfit("it ends a series that does not exist"))?;
        let totals = &mut ring.end.totals;
        if cut.is_sample {
            totals.cuts += 1;
        }
        ring.end.totals.samples += if cut.is_sample { ring.live } else { 0 };
        ring.end.sequence = cut.sequence;
        ring.bytes += size;
        ring.appended_bytes += size as u64;
        ring.cuts.push_back(Arc::new(cut.clone()));
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

    pub(super) fn end(&self) -> Cursor {
        self.lock().end
    }

    /// The oldest place from which it can still be read.
    pub(super) fn oldest(&self) -> Cursor {
        self.lock().base.cursor()
    }

    pub(super) fn cursors(&self) -> BTreeMap<String, Cursor> {
        self.lock().cursors.clone()
    }

    pub(super) fn save(&self, name: &str, cursor: Cursor) {
        self.lock().cursors.insert(name.to_owned(), cursor);
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().cursors.remove(name);
    }

    pub(super) fn usage(&self, from: Cursor) -> Usage {
        let ring = self.lock();
        let kept = ring.cuts.iter().rev().take_while(|cut| cut.sequence > from.sequence);
        Usage {
            bytes: kept.map(|cut| bytes(cut) as u64).sum(),
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
    cut: Arc<Cut>,
}

impl MemoryReader {
    pub(super) fn open(log: &MemoryLog, start: Start) -> Result<(Self, Placed), Error> {
        let (state, end) = {
            let ring = log.lock();
            (ring.base.clone(), ring.end)
        };
        let oldest = state.cursor();
        let (target, mut placed) = match start {
            Start::Oldest => (oldest.sequence, Placed::There),
            Start::Newest => (end.sequence, Placed::There),
            Start::After(cursor) if cursor.sequence > end.sequence => {
                (end.sequence, Placed::Earlier)
            }
            Start::After(cursor) if cursor.sequence < oldest.sequence => {
                let lost = Lost::between(cursor.totals, oldest.totals, Why::Dropped);
                (oldest.sequence, Placed::Later(lost))
            }
            Start::After(cursor) => (cursor.sequence, Placed::There),
        };
        let mut reader = MemoryReader { log: log.clone(), state, cut: Arc::default() };
        while reader.state.sequence < target {
            match reader.step()? {
                Step::Cut => {}
                Step::End => break,
                Step::Lost(lost) => {
                    placed = Placed::Later(lost);
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

    pub(super) fn cut(&self) -> &Cut {
        &self.cut
    }

    pub(super) fn step(&mut self) -> Result<Step, Error> {
        {
            let ring = self.log.lock();
            if self.state.sequence < ring.base.sequence {
                let lost = Lost::between(self.state.totals, ring.base.totals, Why::Dropped);
                self.state = ring.base.clone();
                return Ok(Step::Lost(lost));
            }
            let next = ring.cuts.partition_point(|cut| cut.sequence <= self.state.sequence);
            let Some(cut) = ring.cuts.get(next) else { return Ok(Step::End) };
            self.cut = Arc::clone(cut);
        }
        self.state.apply(&self.cut).map_err(Error::Unfit)?;
        Ok(Step::Cut)
    }
}
