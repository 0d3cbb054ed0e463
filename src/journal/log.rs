//! The log as its readers see it, wherever it is kept.

use std::{collections::BTreeMap, fmt};

use super::{
    Error,
    bookmark::Bookmark,
    cursor::Cursor,
    cut::Cut,
    memory::{MemoryLog, MemoryReader},
    reader::{DiskLog, DiskReader, Placed, Start, Step, Usage},
    state::State,
};

/// A log, and the cursors of its readers. A handle: clones are the same log.
#[derive(Debug, Clone)]
pub struct Log(Kept);

#[derive(Debug, Clone)]
enum Kept {
    /// A [`Journal`](super::Journal)'s: cursors are durable.
    Disk(DiskLog),
    /// A [`Memory`](super::Memory)'s: all ends with the process.
    Memory(MemoryLog),
}

impl From<DiskLog> for Log {
    fn from(log: DiskLog) -> Self {
        Log(Kept::Disk(log))
    }
}

impl From<MemoryLog> for Log {
    fn from(log: MemoryLog) -> Self {
        Log(Kept::Memory(log))
    }
}

impl Log {
    /// Whether cuts and cursors outlive the process.
    pub fn is_durable(&self) -> bool {
        matches!(self.0, Kept::Disk(_))
    }

    /// The place after the newest cut.
    pub fn end(&self) -> Cursor {
        match &self.0 {
            Kept::Disk(log) => log.end(),
            Kept::Memory(log) => log.end(),
        }
    }

    /// The oldest place from which it can still be read: what a reader has not read before it is
    /// lost to it.
    pub fn oldest(&self) -> Cursor {
        match &self.0 {
            Kept::Disk(log) => log.oldest(),
            Kept::Memory(log) => log.oldest(),
        }
    }

    /// The cursors, by name.
    pub fn cursors(&self) -> BTreeMap<String, Cursor> {
        match &self.0 {
            Kept::Disk(log) => log.cursors(),
            Kept::Memory(log) => log.cursors(),
        }
    }

    /// Sets a cursor, durably where the log is. The log is kept from the slowest cursor on, within
    /// its caps.
    ///
    /// # Errors
    /// Where the disk refuses, the log is let go up to the cursor all the same; but the next process
    /// finds the one before.
    pub fn save(&self, name: &str, cursor: Cursor) -> Result<(), Error> {
        match &self.0 {
            Kept::Disk(log) => log.save(name, cursor),
            Kept::Memory(log) => {
                log.save(name, cursor);
                Ok(())
            }
        }
    }

    /// Forgets a cursor and its bookmark, so that the log is not kept for it any more.
    pub fn forget(&self, name: &str) -> Result<(), Error> {
        match &self.0 {
            Kept::Disk(log) => log.forget(name),
            Kept::Memory(log) => {
                log.forget(name);
                Ok(())
            }
        }
    }

    /// The bookmark that goes with a cursor, and what was noted there last, if anything was. A log
    /// in memory has none.
    pub fn bookmark(&self, name: &str) -> Result<(Option<Bookmark>, Option<Vec<u8>>), Error> {
        match &self.0 {
            Kept::Disk(log) => {
                let (bookmark, note) = log.bookmark(name)?;
                Ok((Some(bookmark), note))
            }
            Kept::Memory(_) => Ok((None, None)),
        }
    }

    /// How much is kept from a place on, and how much may be.
    pub fn usage(&self, from: Cursor) -> Usage {
        match &self.0 {
            Kept::Disk(log) => log.usage(from),
            Kept::Memory(log) => log.usage(from),
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
        f.debug_struct("Reader").field("cursor", &self.cursor()).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read; `None` while a log on disk has no cut.
    pub fn open(log: &Log, start: Start) -> Result<Option<(Reader, Placed)>, Error> {
        Ok(match &log.0 {
            Kept::Disk(log) => DiskReader::open(log, start)?
                .map(|(reader, placed)| (Reader(Inner::Disk(Box::new(reader))), placed)),
            Kept::Memory(log) => {
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

    /// The cut read last.
    pub fn cut(&self) -> &Cut {
        match &self.0 {
            Inner::Disk(reader) => reader.cut(),
            Inner::Memory(reader) => reader.cut(),
        }
    }

    /// This place, to go on from later.
    pub fn cursor(&self) -> Cursor {
        self.state().cursor()
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
