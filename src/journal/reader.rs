//! The log on disk as its readers see it: each follows it from a cursor of its own while it is
//! being written.

use std::{
    collections::BTreeMap,
    fmt,
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Broken, Damage, Error, ExternalChange,
    ack_position::AckPosition,
    cursor::{self, CURSORS, LogPosition},
    delta::Delta,
    directory::{Directory, Stamp},
    segment::{self, Header, SegmentReader},
    state::{State, Totals},
    writer::JournalConfig,
};

/// A segment as it is known without reading all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) bytes: u64,
    /// Its file was found to have gone, and that was told.
    pub(super) is_missing: bool,
}

/// A cursor and its file.
#[derive(Debug, Clone, Copy)]
struct Kept {
    cursor: LogPosition,
    /// The file as it was written; `None` where it could not be.
    stamp: Option<Stamp>,
}

/// What is durable.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Number of the newest durable delta.
    pub(super) sequence: u64,
    pub(super) totals: Totals,
    /// Where it ends in the newest segment.
    pub(super) end: u64,
}

impl Place {
    fn position(&self) -> LogPosition {
        LogPosition { sequence: self.sequence, totals: self.totals }
    }
}

/// What the writer tells the readers, and they it. Held locked for moments only, never across
/// reading or writing.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) place: Place,
    cursors: BTreeMap<String, Kept>,
    /// The caps.
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    /// Bytes of deltas appended since the journal was opened.
    pub(super) appended_bytes: u64,
}

impl Shared {
    /// The durable cursor that is the furthest behind.
    pub(super) fn slowest(&self) -> Option<LogPosition> {
        self.cursors.values().map(|kept| kept.cursor).min_by_key(|cursor| cursor.sequence)
    }

    /// Where all that was published can be read from: the segments below `number` and it.
    fn after(&self, number: u64) -> Option<Header> {
        self.segments.range(number + 1..).next().map(|(_, segment)| segment.header)
    }
}

/// A journal on disk as its readers see it. A handle: clones are the same log.
#[derive(Clone)]
pub(super) struct DiskLog {
    directory: Arc<Directory>,
    published: Arc<Mutex<Shared>>,
    /// Held while a cursor's file is written: one at a time.
    cursor_files: Arc<Mutex<()>>,
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl DiskLog {
    pub(super) fn new(
        directory: &Arc<Directory>,
        config: JournalConfig,
        segments: BTreeMap<u64, Segment>,
        place: Place,
    ) -> Result<Self, Error> {
        let mut cursors = BTreeMap::new();
        for (name, cursor) in cursor::read_all(directory)? {
            let stamp = directory.stamp(&cursor::file_name(&name)?);
            cursors.insert(name, Kept { cursor: cursor?, stamp });
        }
        let published = Arc::new(Mutex::new(Shared {
            segments,
            place,
            cursors,
            max_bytes: config.max_bytes,
            max_age: config.max_age,
            appended_bytes: 0,
        }));
        let (directory, cursor_files) = (Arc::clone(directory), Arc::default());
        Ok(DiskLog { directory, published, cursor_files })
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        // Whoever held it only copied numbers: they are whole, whatever became of it.
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> LogPosition {
        self.lock().place.position()
    }

    /// The oldest place from which it can still be read.
    pub(super) fn oldest(&self) -> LogPosition {
        let published = self.lock();
        let oldest = published.segments.first_key_value();
        oldest.map_or_else(LogPosition::default, |(_, oldest)| oldest.header.position())
    }

    pub(super) fn retention_cursors(&self) -> BTreeMap<String, LogPosition> {
        let published = self.lock();
        published.cursors.iter().map(|(name, kept)| (name.clone(), kept.cursor)).collect()
    }

    pub(super) fn save(&self, name: &str, cursor: LogPosition) -> Result<(), Error> {
        let file = cursor::file_name(name)?;
        let writing = self.cursor_files.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_cursor(&writing, name, &file, cursor)
    }

    fn write_cursor(
        &self,
        _writing: &MutexGuard<'_, ()>,
        name: &str,
        file: &str,
        cursor: LogPosition,
    ) -> Result<(), Error> {
        let written = self.directory.write_whole(file, &cursor.encode());
        let stamp = self.directory.stamp(file).filter(|_| written.is_ok());
        // Even where the disk is too full for it: letting go of what was dealt with is what makes
        // room. A reader that begins at the older place is told of a loss that is none.
        self.lock().cursors.insert(name.to_owned(), Kept { cursor, stamp });
        written
    }

    /// Writes those cursors again whose files were removed or replaced, or could not be written.
    /// Where one is being written at the moment, another time will do.
    pub(super) fn mend_cursors(&self, external_changes: &mut Vec<ExternalChange>) {
        let Ok(writing) = self.cursor_files.try_lock() else { return };
        let kept = self.lock().cursors.clone();
        for (name, Kept { cursor, stamp }) in kept {
            let Ok(file) = cursor::file_name(&name) else { continue };
            if stamp.is_some() && self.directory.stamp(&file) == stamp {
                continue;
            }
            // Where the disk refuses, it is tried again after the next delta.
            let is_written = self.write_cursor(&writing, &name, &file, cursor).is_ok();
            if is_written && stamp.is_some() {
                external_changes
                    .push(ExternalChange::RetentionCursor(self.directory.path_of(&file)));
            }
        }
    }

    pub(super) fn forget(&self, name: &str) -> Result<(), Error> {
        let file = cursor::file_name(name)?;
        let _writing = self.cursor_files.lock().unwrap_or_else(PoisonError::into_inner);
        self.directory.remove(&file)?;
        self.directory.sync(CURSORS)?;
        AckPosition::remove(&self.directory, name)?;
        self.lock().cursors.remove(name);
        Ok(())
    }

    /// What is kept from a place on, in whole segments.
    pub(super) fn usage(&self, from: LogPosition) -> Usage {
        let published = self.lock();
        let after = published.segments.values().filter(|segment| {
            // A segment that ends before `from` is followed by one that begins at or before it.
            published.after(segment.header.number).is_none_or(|next| next.sequence > from.sequence)
        });
        Usage {
            bytes: after.map(|segment| segment.bytes).sum(),
            appended_bytes: published.appended_bytes,
            max_bytes: published.max_bytes,
            max_age: published.max_age,
        }
    }

    /// Whether a segment is there, as far as this process knows.
    fn has(&self, number: u64) -> bool {
        self.lock().segments.contains_key(&number)
    }

    /// What is wrong with a segment that can't be read: broken, or removed by somebody else.
    fn broken(&self, number: u64, error: Error) -> Result<Broken, Error> {
        match error {
            Error::Broken(broken) => Ok(broken),
            Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                let path = self.directory.path_of(&segment::file_name(number));
                Ok(Broken { path, offset: 0, damage: Damage::Incomplete })
            }
            error => Err(error),
        }
    }

    pub(super) fn ack_position(&self, name: &str) -> Result<(AckPosition, Option<Vec<u8>>), Error> {
        cursor::file_name(name)?;
        AckPosition::open(&self.directory, name)
    }
}

/// How much of a log is kept, and how much may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Kept from the place that was asked about on, in bytes; up to a segment more than that.
    pub bytes: u64,
    /// Bytes of all deltas appended since the log was opened.
    pub appended_bytes: u64,
    /// The oldest is dropped rather than keeping more than this.
    pub max_bytes: u64,
    /// What is older is dropped.
    pub max_age: Duration,
}

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest state that there is.
    Oldest,
    /// After the newest durable delta.
    Newest,
    /// After the deltas that were dealt with.
    After(LogPosition),
}

/// What a reader can't have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Cuts that were samples.
    pub ticks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Why.
    pub cause: Cause,
}

impl Lost {
    /// What lies between two places.
    pub(super) fn between(from: Totals, to: Totals, cause: Cause) -> Self {
        Lost {
            ticks: to.ticks.saturating_sub(from.ticks),
            samples: to.samples.saturating_sub(from.samples),
            cause,
        }
    }
}

/// Why something is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It went beyond the caps.
    Dropped,
    /// It can't be read.
    Broken(Broken),
}

/// Where a reader was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Where it wanted to be.
    Exact,
    /// At the oldest place there is, because what it wanted is lost.
    Later(Lost),
    /// At the newest place there is: the deltas that it had dealt with are lost to the journal, as
    /// after a broken disk. What was sent of them may be larger than what will be sent.
    Earlier,
}

/// What a reader finds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A delta, see [`Reader::delta()`]. The state includes it.
    Delta,
    /// Nothing more for now: all durable deltas are read.
    End,
    /// Some deltas are lost. The state is the next one that there is.
    Lost(Lost),
}

/// Follows the log on disk.
pub(super) struct DiskReader {
    log: DiskLog,
    segment: SegmentReader,
    state: State,
    delta: Delta,
    /// The next segments up to this one can't be read, and why.
    skipped: Option<(u64, Broken)>,
}

impl DiskReader {
    pub(super) fn open(log: &DiskLog, start: Start) -> Result<Option<(Self, Placement)>, Error> {
        let (wanted, mut target, mut placed) = {
            let published = log.lock();
            let Some((_, oldest)) = published.segments.first_key_value() else {
                return Ok(None);
            };
            let (oldest, newest) = (oldest.header.position(), published.place.position());
            match start {
                Start::Oldest => (oldest.totals, oldest, Placement::Exact),
                Start::Newest => (newest.totals, newest, Placement::Exact),
                Start::After(cursor) => {
                    let wanted = cursor.totals;
                    if cursor.sequence > newest.sequence {
                        (wanted, newest, Placement::Earlier)
                    } else if cursor.sequence < oldest.sequence {
                        let lost = Lost::between(wanted, oldest.totals, Cause::Dropped);
                        (wanted, oldest, Placement::Later(lost))
                    } else {
                        (wanted, cursor, Placement::Exact)
                    }
                }
            }
        };
        loop {
            // Of several segments that begin with this state, the last: the deltas of the others
            // are void.
            let number = {
                let published = log.lock();
                let fits = |segment: &&Segment| segment.header.sequence <= target.sequence;
                if let Some(segment) = published.segments.values().rev().find(fits) {
                    segment.header.number
                } else {
                    // Deleted just now.
                    drop(published);
                    return DiskReader::open(log, Start::After(target));
                }
            };
            let load = || {
                let mut segment = SegmentReader::open(&log.directory, number)?;
                let state = segment.checkpoint()?;
                Ok((segment, state))
            };
            let (segment, state) = match load() {
                Ok(loaded) => loaded,
                Err(Error::Io { source, .. })
                    if source.kind() == ErrorKind::NotFound && !log.has(number) =>
                {
                    continue;
                }
                Err(error) => {
                    let broken = log.broken(number, error)?;
                    // All but the newest can be done without.
                    let Some(next) = log.lock().after(number) else { return Err(broken.into()) };
                    let lost = Lost::between(wanted, next.totals, Cause::Broken(broken));
                    placed = Placement::Later(lost);
                    target = next.position();
                    continue;
                }
            };
            let mut reader = DiskReader {
                log: log.clone(),
                segment,
                state,
                delta: Delta::default(),
                skipped: None,
            };
            while reader.state.sequence < target.sequence {
                match reader.step()? {
                    Step::Delta => {}
                    Step::End => break,
                    Step::Lost(lost) => {
                        let lost = Lost::between(wanted, reader.state.totals, lost.cause);
                        return Ok(Some((reader, Placement::Later(lost))));
                    }
                }
            }
            return Ok(Some((reader, placed)));
        }
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
        loop {
            let (place, next, newest, is_kept) = {
                let number = self.skipped.as_ref().map_or(self.segment.header.number, |s| s.0);
                let published = self.log.lock();
                let newest = published.segments.last_key_value().map(|(&number, _)| number);
                let is_kept = published.segments.contains_key(&self.segment.header.number);
                (published.place, published.after(number), newest, is_kept)
            };
            let Some(next) = next else {
                if self.state.sequence >= place.sequence {
                    return Ok(Step::End);
                }
                self.segment.end = place.end;
                if self.segment.step(&mut self.delta, &mut self.state)? {
                    return Ok(Step::Delta);
                }
                return Err(self.segment.broken(self.segment.at, Damage::Incomplete));
            };
            let mut cause = Cause::Dropped;
            // What was deleted takes room until it is closed, so what is left of it is lost as well:
            // then it is lost from the moment on at which it was deleted.
            if is_kept && self.state.sequence < next.sequence {
                self.segment.include_all()?;
                match self.segment.step(&mut self.delta, &mut self.state) {
                    Ok(true) => return Ok(Step::Delta),
                    Ok(false) => {}
                    Err(Error::Broken(broken)) => cause = Cause::Broken(broken),
                    Err(error) => return Err(error),
                }
            }
            match self.enter(&next) {
                Ok(None) => {}
                Ok(Some(from)) => {
                    if let Some((_, broken)) = self.skipped.take() {
                        cause = Cause::Broken(broken);
                    }
                    return Ok(Step::Lost(Lost::between(from, self.state.totals, cause)));
                }
                // Deleted since it was looked up: look again.
                Err(Error::Io { source, .. })
                    if source.kind() == ErrorKind::NotFound && !self.log.has(next.number) => {}
                Err(error) if newest > Some(next.number) => {
                    self.skipped = Some((next.number, self.log.broken(next.number, error)?));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes to the next segment. Where deltas are missing in between, the state becomes that of its
    /// checkpoint; returns how far it was before.
    fn enter(&mut self, next: &Header) -> Result<Option<Totals>, Error> {
        let before = self.state.totals;
        let mut segment = SegmentReader::open(&self.log.directory, next.number)?;
        if self.state.sequence == next.sequence {
            segment.skip_checkpoint()?;
            self.segment = segment;
            return Ok(None);
        }
        self.state = segment.checkpoint()?;
        self.segment = segment;
        Ok(Some(before))
    }
}
