//! The log as its readers see it, whether it is kept on disk or in memory.

use std::{collections::BTreeMap, fmt};

use super::{
    ack_position::AckPosition,
    delta::Delta,
    disk_log::DiskLog,
    disk_reader::DiskReader,
    error::Error,
    memory::{MemoryJournal, MemoryLog, MemoryReader},
    position::LogPosition,
    reading::{Placement, Start, Step, Usage},
    state::State,
    writer::Journal,
};

/// A log and the retention cursors of its readers. A handle: clones are the same log.
#[derive(Debug, Clone)]
pub struct Log(Backend);

#[derive(Debug, Clone)]
enum Backend {
    /// A [`Journal`](super::Journal)'s: retention cursors are durable.
    Disk(DiskLog),
    /// A [`MemoryJournal`](super::MemoryJournal)'s: everything ends with the process.
    Memory(MemoryLog),
}

impl Journal {
    /// The log, for readers.
    pub fn log(&self) -> Log {
        Log(Backend::Disk(self.disk_log().clone()))
    }
}

impl MemoryJournal {
    /// The log, for readers.
    pub fn log(&self) -> Log {
        Log(Backend::Memory(self.memory_log().clone()))
    }
}

impl Log {
    /// Whether deltas and retention cursors outlive the process.
    pub fn is_durable(&self) -> bool {
        matches!(self.0, Backend::Disk(_))
    }

    /// The position after the newest delta.
    pub fn end(&self) -> LogPosition {
        match &self.0 {
            Backend::Disk(log) => log.end(),
            Backend::Memory(log) => log.end(),
        }
    }

    /// The oldest position from which it can still be read. Whatever a reader had not read before it
    /// is lost.
    pub fn oldest(&self) -> LogPosition {
        match &self.0 {
            Backend::Disk(log) => log.oldest(),
            Backend::Memory(log) => log.oldest(),
        }
    }

    /// The retention cursors, by name.
    pub fn retention_cursors(&self) -> BTreeMap<String, LogPosition> {
        match &self.0 {
            Backend::Disk(log) => log.retention_cursors(),
            Backend::Memory(log) => log.retention_cursors(),
        }
    }

    /// Sets a retention cursor; durably, if the log is durable. The log is kept from the slowest
    /// retention cursor on, within its caps.
    ///
    /// # Errors
    /// If the disk refuses, the log is still released up to the position; but the next process finds
    /// the previous one.
    pub fn save(&self, name: &str, cursor: LogPosition) -> Result<(), Error> {
        match &self.0 {
            Backend::Disk(log) => log.save(name, cursor),
            Backend::Memory(log) => {
                log.save(name, cursor);
                Ok(())
            }
        }
    }

    /// Removes a retention cursor and the acknowledged position of the same name, so that the log is
    /// no longer kept for them.
    pub fn forget(&self, name: &str) -> Result<(), Error> {
        match &self.0 {
            Backend::Disk(log) => log.forget(name),
            Backend::Memory(log) => {
                log.forget(name);
                Ok(())
            }
        }
    }

    /// The acknowledged position that goes with a retention cursor, and its last note, if there is
    /// one. A log in memory has none.
    pub fn ack_position(
        &self,
        name: &str,
    ) -> Result<(Option<AckPosition>, Option<Vec<u8>>), Error> {
        match &self.0 {
            Backend::Disk(log) => {
                let (ack_position, note) = log.ack_position(name)?;
                Ok((Some(ack_position), note))
            }
            Backend::Memory(_) => Ok((None, None)),
        }
    }

    /// How much is kept from a position on, and how much may be.
    pub fn usage(&self, from: LogPosition) -> Usage {
        match &self.0 {
            Backend::Disk(log) => log.usage(from),
            Backend::Memory(log) => log.usage(from),
        }
    }
}

/// Reads a log, delta by delta. Holds the whole state at its position in memory.
pub struct Reader(Inner);

enum Inner {
    Disk(Box<DiskReader>),
    Memory(Box<MemoryReader>),
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a reader; `None` as long as a log on disk has no delta.
    pub fn open(log: &Log, start: Start) -> Result<Option<(Reader, Placement)>, Error> {
        Ok(match &log.0 {
            Backend::Disk(log) => DiskReader::open(log, start)?
                .map(|(reader, placed)| (Reader(Inner::Disk(Box::new(reader))), placed)),
            Backend::Memory(log) => {
                let (reader, placed) = MemoryReader::open(log, start)?;
                Some((Reader(Inner::Memory(Box::new(reader))), placed))
            }
        })
    }

    /// The state at its position.
    pub fn state(&self) -> &State {
        match &self.0 {
            Inner::Disk(reader) => reader.state(),
            Inner::Memory(reader) => reader.state(),
        }
    }

    /// Frees what the state knows about series, which is nearly all of it, for callers that keep
    /// them in a form of their own. It still knows which ones are alive. A state that replaces it
    /// because deltas were lost has them again.
    pub fn forget_series(&mut self) {
        match &mut self.0 {
            Inner::Disk(reader) => reader.state_mut().forget_series(),
            Inner::Memory(reader) => reader.state_mut().forget_series(),
        }
    }

    /// The delta that was read last.
    pub fn delta(&self) -> &Delta {
        match &self.0 {
            Inner::Disk(reader) => reader.delta(),
            Inner::Memory(reader) => reader.delta(),
        }
    }

    /// Its position, from which reading can continue later.
    pub fn position(&self) -> LogPosition {
        self.state().position()
    }

    /// Reads the next delta.
    ///
    /// # Errors
    /// Only the newest segment has to be readable: what is broken in older ones is reported as lost,
    /// not as an error.
    pub fn step(&mut self) -> Result<Step, Error> {
        match &mut self.0 {
            Inner::Disk(reader) => reader.step(),
            Inner::Memory(reader) => reader.step(),
        }
    }
}
