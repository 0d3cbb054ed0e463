//! The log as its readers see it, wherever it is kept.

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

/// A log, and the cursors of its readers. A handle: clones are the same log.
#[derive(Debug, Clone)]
pub struct Log(Backend);

#[derive(Debug, Clone)]
enum Backend {
    /// A [`Journal`](super::Journal)'s: cursors are durable.
    Disk(DiskLog),
    /// A [`MemoryJournal`](super::MemoryJournal)'s: all ends with the process.
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
    /// Whether deltas and cursors outlive the process.
    pub fn is_durable(&self) -> bool {
        matches!(self.0, Backend::Disk(_))
    }

    /// The place after the newest delta.
    pub fn end(&self) -> LogPosition {
        match &self.0 {
            Backend::Disk(log) => log.end(),
            Backend::Memory(log) => log.end(),
        }
    }

    /// The oldest place from which it can still be read: what a reader has not read before it is
    /// lost to it.
    pub fn oldest(&self) -> LogPosition {
        match &self.0 {
            Backend::Disk(log) => log.oldest(),
            Backend::Memory(log) => log.oldest(),
        }
    }

    /// The cursors, by name.
    pub fn retention_cursors(&self) -> BTreeMap<String, LogPosition> {
        match &self.0 {
            Backend::Disk(log) => log.retention_cursors(),
            Backend::Memory(log) => log.retention_cursors(),
        }
    }

    /// Sets a cursor, durably where the log is. The log is kept from the slowest cursor on, within
    /// its caps.
    ///
    /// # Errors
    /// Where the disk refuses, the log is let go up to the cursor all the same; but the next process
    /// finds the one before.
    pub fn save(&self, name: &str, cursor: LogPosition) -> Result<(), Error> {
        match &self.0 {
            Backend::Disk(log) => log.save(name, cursor),
            Backend::Memory(log) => {
                log.save(name, cursor);
                Ok(())
            }
        }
    }

    /// Forgets a cursor and its bookmark, so that the log is not kept for it any more.
    pub fn forget(&self, name: &str) -> Result<(), Error> {
        match &self.0 {
            Backend::Disk(log) => log.forget(name),
            Backend::Memory(log) => {
                log.forget(name);
                Ok(())
            }
        }
    }

    /// The bookmark that goes with a cursor, and what was noted there last, if anything was. A log
    /// in memory has none.
    pub fn ack_position(
        &self,
        name: &str,
    ) -> Result<(Option<AckPosition>, Option<Vec<u8>>), Error> {
        match &self.0 {
            Backend::Disk(log) => {
                let (bookmark, note) = log.ack_position(name)?;
                Ok((Some(bookmark), note))
            }
            Backend::Memory(_) => Ok((None, None)),
        }
    }

    /// How much is kept from a place on, and how much may be.
    pub fn usage(&self, from: LogPosition) -> Usage {
        match &self.0 {
            Backend::Disk(log) => log.usage(from),
            Backend::Memory(log) => log.usage(from),
        }
    }
}

/// Follows a log. Holds the whole state at its place in memory.
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
    /// Begins to read; `None` while a log on disk has no delta.
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

    /// The state at this place.
    pub fn state(&self) -> &State {
        match &self.0 {
            Inner::Disk(reader) => reader.state(),
            Inner::Memory(reader) => reader.state(),
        }
    }

    /// Lets the state forget what it knows of series, for who keeps that in a form of its own: they
    /// are nearly all of it. It still says how many live. A state that takes its place because
    /// something was lost has them again.
    pub fn forget_series(&mut self) {
        match &mut self.0 {
            Inner::Disk(reader) => reader.state_mut().forget_series(),
            Inner::Memory(reader) => reader.state_mut().forget_series(),
        }
    }

    /// The delta read last.
    pub fn delta(&self) -> &Delta {
        match &self.0 {
            Inner::Disk(reader) => reader.delta(),
            Inner::Memory(reader) => reader.delta(),
        }
    }

    /// This place, to go on from later.
    pub fn position(&self) -> LogPosition {
        self.state().position()
    }

    /// Reads on.
    ///
    /// # Errors
    /// What is broken in older segments is lost, which is no error: only the newest one must be
    /// readable.
    pub fn step(&mut self) -> Result<Step, Error> {
        match &mut self.0 {
            Inner::Disk(reader) => reader.step(),
            Inner::Memory(reader) => reader.step(),
        }
    }
}
