//! The log on disk as its readers see it: each follows it from a cursor of its own while it is
//! being written.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Broken, Damage, Error,
    bookmark::Bookmark,
    cut::Cut,
    io_error,
    segment::{self, Header, SegmentReader},
    state::{State, Totals},
    writer::{JournalConfig, sync_dir, write_whole},
};

/// The directory of the cursors, in the journal's.
pub(super) const CURSORS: &str = "cursors";

const CURSOR_MAGIC: [u8; 8] = *b"FLOWCRSR";
/// The version of the form of cursors, which has not changed with that of segments.
const CURSOR_VERSION: u32 = 1;
const CURSOR_BYTES: usize = 40;
const CURSOR_NAME_LIMIT: usize = 100;

/// How far a reader has come: it has dealt with all cuts up to `sequence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Number of the last cut that it has dealt with.
    pub sequence: u64,
    /// How much was to be pushed up to there.
    pub totals: Totals,
}

/// A segment as it is known without reading all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) bytes: u64,
}

/// What is durable.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Number of the newest durable cut.
    pub(super) sequence: u64,
    pub(super) totals: Totals,
    /// Where it ends in the newest segment.
    pub(super) end: u64,
}

/// What the writer tells the readers, and they it. Held locked for moments only, never across
/// reading or writing.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) place: Place,
    cursors: BTreeMap<String, Cursor>,
    /// The caps.
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    /// Bytes of cuts appended since the journal was opened.
    pub(super) appended_bytes: u64,
}

impl Published {
    /// The durable cursor that is the furthest behind.
    pub(super) fn slowest(&self) -> Option<Cursor> {
        self.cursors.values().copied().min_by_key(|cursor| cursor.sequence)
    }

    /// Where all that was published can be read from: the segments below `number` and it.
    fn after(&self, number: u64) -> Option<Header> {
        self.segments.range(number + 1..).next().map(|(_, segment)| segment.header)
    }
}

/// A journal on disk as its readers see it. A handle: clones are the same log.
#[derive(Clone)]
pub(super) struct DiskLog {
    dir: Arc<Path>,
    published: Arc<Mutex<Published>>,
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl DiskLog {
    pub(super) fn new(
        dir: &Path,
        config: JournalConfig,
        segments: BTreeMap<u64, Segment>,
        place: Place,
    ) -> Result<Self, Error> {
        let (cursors, broken) = read_cursors(dir)?;
        if let Some(broken) = broken.into_iter().next() {
            return Err(broken.into());
        }
        let published = Arc::new(Mutex::new(Published {
            segments,
            place,
            cursors,
            max_bytes: config.max_bytes,
            max_age: config.max_age,
            appended_bytes: 0,
        }));
        Ok(DiskLog { dir: Arc::from(dir), published })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Published> {
        // Whoever held it only copied numbers: they are whole, whatever became of it.
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> Cursor {
        let place = self.lock().place;
        Cursor { sequence: place.sequence, totals: place.totals }
    }

    /// The oldest place from which it can still be read.
    pub(super) fn oldest(&self) -> Cursor {
        let published = self.lock();
        published.segments.first_key_value().map_or_else(Cursor::default, |(_, oldest)| Cursor {
            sequence: oldest.header.sequence,
            totals: oldest.header.totals,
        })
    }

    pub(super) fn cursors(&self) -> BTreeMap<String, Cursor> {
        self.lock().cursors.clone()
    }

    pub(super) fn save(&self, name: &str, cursor: Cursor) -> Result<(), Error> {
        let path = self.cursor_path(name)?;
        let mut bytes = [0; CURSOR_BYTES];
        bytes[..8].copy_from_slice(&CURSOR_MAGIC);
        bytes[8..12].copy_from_slice(&CURSOR_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&cursor.sequence.to_le_bytes());
        bytes[20..28].copy_from_slice(&cursor.totals.cuts.to_le_bytes());
        bytes[28..36].copy_from_slice(&cursor.totals.samples.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum.to_le_bytes());
        let written = write_whole(&path, &bytes);
        // Even where the disk is too full for it: letting go of what was dealt with is what makes
        // room. A reader that begins at the older place is told of a loss that is none.
        self.lock().cursors.insert(name.to_owned(), cursor);
        written
    }

    pub(super) fn forget(&self, name: &str) -> Result<(), Error> {
        let path = self.cursor_path(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_error("can't remove", &path)(error));
            }
            _ => sync_dir(&self.dir.join(CURSORS))?,
        }
        Bookmark::remove(&self.dir, name)?;
        self.lock().cursors.remove(name);
        Ok(())
    }

    /// What is kept from a place on, in whole segments.
    pub(super) fn usage(&self, from: Cursor) -> Usage {
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
                let path = self.dir.join(segment::file_name(number));
                Ok(Broken { path, offset: 0, damage: Damage::Incomplete })
            }
            error => Err(error),
        }
    }

    pub(super) fn bookmark(&self, name: &str) -> Result<(Bookmark, Option<Vec<u8>>), Error> {
        self.cursor_path(name)?;
        Bookmark::open(&self.dir, name)
    }

    fn cursor_path(&self, name: &str) -> Result<PathBuf, Error> {
        let fits = (1..=CURSOR_NAME_LIMIT).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits {
            Ok(self.dir.join(CURSORS).join(name))
        } else {
            Err(Error::CursorName(name.to_owned()))
        }
    }
}

/// The cursors that a directory holds, and those that can't be read.
pub(super) fn read_cursors(dir: &Path) -> Result<(BTreeMap<String, Cursor>, Vec<Broken>), Error> {
    let dir = dir.join(CURSORS);
    let (mut cursors, mut broken) = (BTreeMap::new(), Vec::new());
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((cursors, broken)),
        Err(error) => return Err(io_error("can't list", &dir)(error)),
    };
    for entry in entries {
        let path = entry.map_err(io_error("can't list", &dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let bytes = fs::read(&path).map_err(io_error("can't read", &path))?;
        match read_cursor(&path, &bytes) {
            Ok(cursor) => drop(cursors.insert(name.into_owned(), cursor)),
            Err(Error::Broken(damaged)) => broken.push(damaged),
            Err(error) => return Err(error),
        }
    }
    Ok((cursors, broken))
}

fn read_cursor(path: &Path, bytes: &[u8]) -> Result<Cursor, Error> {
    let broken = |damage| Broken { path: path.to_owned(), offset: 0, damage };
    let word =
        |at: usize| bytes[at..at + 8].iter().rfold(0, |word, &byte| word << 8 | u64::from(byte));
    if bytes.len() != CURSOR_BYTES {
        return Err(broken(Damage::Incomplete).into());
    }
    if bytes[..8] != CURSOR_MAGIC {
        return Err(broken(Damage::NoRecord).into());
    }
    if crc32fast::hash(&bytes[..36]).to_le_bytes() != bytes[36..] {
        return Err(broken(Damage::Checksum).into());
    }
    // Believed only now, as in a segment's header.
    let version = word(8) as u32;
    if version > CURSOR_VERSION {
        return Err(Error::Newer { path: path.to_owned(), version });
    }
    Ok(Cursor { sequence: word(12), totals: Totals { cuts: word(20), samples: word(28) } })
}

/// How much of a log is kept, and how much may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Kept from the place that was asked about on, in bytes; up to a segment more than that.
    pub bytes: u64,
    /// Bytes of all cuts appended since the log was opened.
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
    /// After the newest durable cut.
    Newest,
    /// After the cuts that were dealt with.
    After(Cursor),
}

/// What a reader can't have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Cuts that were samples.
    pub cuts: u64,
    /// Samples in them.
    pub samples: u64,
    /// Why.
    pub why: Why,
}

impl Lost {
    /// What lies between two places.
    pub(super) fn between(from: Totals, to: Totals, why: Why) -> Self {
        Lost {
            cuts: to.cuts.saturating_sub(from.cuts),
            samples: to.samples.saturating_sub(from.samples),
            why,
        }
    }
}

/// Why something is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It went beyond the caps.
    Dropped,
    /// It can't be read.
    Broken(Broken),
}

/// Where a reader was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// Where it wanted to be.
    There,
    /// At the oldest place there is, because what it wanted is lost.
    Later(Lost),
    /// At the newest place there is: the cuts that it had dealt with are lost to the journal, as
    /// after a broken disk. What was sent of them may be larger than what will be sent.
    Earlier,
}

/// What a reader finds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A cut, see [`Reader::cut()`]. The state includes it.
    Cut,
    /// Nothing more for now: all durable cuts are read.
    End,
    /// Some cuts are lost. The state is the next one that there is.
    Lost(Lost),
}

/// Follows the log on disk.
pub(super) struct DiskReader {
    log: DiskLog,
    segment: SegmentReader,
    state: State,
    cut: Cut,
    /// The next segments up to this one can't be read, and why.
    skipped: Option<(u64, Broken)>,
}

impl DiskReader {
    pub(super) fn open(log: &DiskLog, start: Start) -> Result<Option<(Self, Placed)>, Error> {
        let (wanted, mut target, mut placed) = {
            let published = log.lock();
            let Some((_, oldest)) = published.segments.first_key_value() else {
                return Ok(None);
            };
            let oldest = Cursor { sequence: oldest.header.sequence, totals: oldest.header.totals };
            let place = published.place;
            let newest = Cursor { sequence: place.sequence, totals: place.totals };
            match start {
                Start::Oldest => (oldest.totals, oldest, Placed::There),
                Start::Newest => (newest.totals, newest, Placed::There),
                Start::After(cursor) => {
                    let wanted = cursor.totals;
                    if cursor.sequence > newest.sequence {
                        (wanted, newest, Placed::Earlier)
                    } else if cursor.sequence < oldest.sequence {
                        let lost = Lost::between(wanted, oldest.totals, Why::Dropped);
                        (wanted, oldest, Placed::Later(lost))
                    } else {
                        (wanted, cursor, Placed::There)
                    }
                }
            }
        };
        loop {
            // Of several segments that begin with this state, the last: the cuts of the others
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
                let mut segment = SegmentReader::open(&log.dir, number)?;
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
                    let lost = Lost::between(wanted, next.totals, Why::Broken(broken));
                    placed = Placed::Later(lost);
                    target = Cursor { sequence: next.sequence, totals: next.totals };
                    continue;
                }
            };
            let mut reader =
                DiskReader { log: log.clone(), segment, state, cut: Cut::default(), skipped: None };
            while reader.state.sequence < target.sequence {
                match reader.step()? {
                    Step::Cut => {}
                    Step::End => break,
                    Step::Lost(lost) => {
                        let lost = Lost::between(wanted, reader.state.totals, lost.why);
                        return Ok(Some((reader, Placed::Later(lost))));
                    }
                }
            }
            return Ok(Some((reader, placed)));
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn cut(&self) -> &Cut {
        &self.cut
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
                if self.segment.step(&mut self.cut, &mut self.state)? {
                    return Ok(Step::Cut);
                }
                return Err(self.segment.broken(self.segment.at, Damage::Incomplete));
            };
            let mut why = Why::Dropped;
            // What was deleted takes room until it is closed, so what is left of it is lost as well:
            // then it is lost from the moment on at which it was deleted.
            if is_kept && self.state.sequence < next.sequence {
                self.segment.include_all()?;
                match self.segment.step(&mut self.cut, &mut self.state) {
                    Ok(true) => return Ok(Step::Cut),
                    Ok(false) => {}
                    Err(Error::Broken(broken)) => why = Why::Broken(broken),
                    Err(error) => return Err(error),
                }
            }
            match self.enter(&next) {
                Ok(None) => {}
                Ok(Some(from)) => {
                    if let Some((_, broken)) = self.skipped.take() {
                        why = Why::Broken(broken);
                    }
                    return Ok(Step::Lost(Lost::between(from, self.state.totals, why)));
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

    /// Goes to the next segment. Where cuts are missing in between, the state becomes that of its
    /// checkpoint; returns how far it was before.
    fn enter(&mut self, next: &Header) -> Result<Option<Totals>, Error> {
        let before = self.state.totals;
        let mut segment = SegmentReader::open(&self.log.dir, next.number)?;
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
