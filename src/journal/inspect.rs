//! Looking at a journal and mending it, for the command line: `state verify`, `repair`, `show`.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Broken, Error,
    acknowledged::{self, ACKNOWLEDGED, Acknowledged},
    bookmark::BOOKMARKS,
    cursor::{self, CURSORS, Cursor},
    cut::Cut,
    directory::{Directory, Hold, in_directory, unfinished},
    io_error,
    segment::{self, Header, SegmentReader},
    state::State,
};

/// What one segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number, which its file is named after.
    pub number: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was begun, in milliseconds since the epoch; `None` where the header can't be read.
    pub created_ms: Option<i64>,
    /// Size of header and checkpoint in bytes; 0 where the checkpoint can't be read.
    pub checkpoint_bytes: u64,
    /// Series in the checkpoint.
    pub checkpoint_series: usize,
    /// Number of the cut that the checkpoint is the state of.
    pub first_sequence: u64,
    /// Number of the newest cut.
    pub last_sequence: u64,
    /// Time of the newest cut, in milliseconds since the epoch.
    pub last_time_ms: i64,
    /// Cuts that can be read.
    pub cuts: u64,
    /// Cuts among them that are samples.
    pub samples: u64,
    /// Bytes at the end that an interrupted write left behind: no harm, the next start cuts them
    /// off.
    pub torn_bytes: u64,
    /// The first record that can't be read, where that does harm.
    pub broken: Option<Broken>,
    /// Whether cuts are missing between its end and the next segment. Counting does not need them;
    /// a reader that is that far behind has lost them.
    pub gap: bool,
}

/// What a journal holds.
#[derive(Debug, Clone)]
pub struct Report {
    /// All segments, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// The cursors by name.
    pub cursors: BTreeMap<String, Cursor>,
    /// Cursors that can't be read.
    pub broken_cursors: Vec<Broken>,
    /// The state after the newest cut that can be read in the newest segment.
    pub state: Option<State>,
    /// Where cuts that were published should be and are not.
    pub missing: Option<Broken>,
}

impl Report {
    /// All that is broken: where this is empty, the program starts.
    pub fn broken(&self) -> impl Iterator<Item = &Broken> {
        let segments = self.segments.iter().filter_map(|segment| segment.broken.as_ref());
        segments.chain(&self.missing).chain(&self.broken_cursors)
    }
}

/// Reads a whole journal and says what it holds and what is broken. Changes nothing; may be used
/// while the program runs, where the end of a write in progress looks torn.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    examine(&Directory::open(dir)?, &mut |_, _, _| Ok(()))
}

/// Whether a process is at work in the directory. Where none is, it is locked for an instant.
pub fn is_held(dir: &Path) -> Result<bool, Error> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(io_error("can't open", &path))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(io_error("can't lock", &path)(source)),
    }
}

/// Like [`verify`]; `visit` sees each cut with its segment and offset.
fn examine(
    directory: &Directory,
    visit: &mut dyn FnMut(u64, u64, &Cut) -> Result<(), Error>,
) -> Result<Report, Error> {
    // Read first: a process that runs may write more of the log meanwhile, but not less.
    let acknowledged = Acknowledged::read(directory)?;
    let numbers = segment::list(directory)?;
    let mut report = Report {
        segments: Vec::new(),
        cursors: BTreeMap::new(),
        broken_cursors: Vec::new(),
        state: None,
        missing: None,
    };
    for (name, cursor) in cursor::read_all(directory)? {
        match cursor {
            Ok(cursor) => drop(report.cursors.insert(name, cursor)),
            Err(broken) => report.broken_cursors.push(broken),
        }
    }
    for (place, &number) in numbers.iter().enumerate() {
        let next = match numbers.get(place + 1) {
            Some(&next) => Next::of(directory, next)?,
            None => Next::None,
        };
        let (segment, state) = examine_segment(directory, number, next, acknowledged, visit)?;
        report.segments.push(segment);
        report.state = state;
    }
    let newest = report.segments.last();
    let (name, end) = newest.map_or((ACKNOWLEDGED.to_owned(), 0), |newest| {
        (segment::file_name(newest.number), newest.bytes)
    });
    // Where its end is broken, that says it all.
    if newest.is_none_or(|newest| newest.broken.is_none()) {
        let sequence = report.state.as_ref().map_or(0, |state| state.sequence);
        report.missing = acknowledged::missing(directory, acknowledged, sequence, &name, end);
    }
    Ok(report)
}

/// What follows a segment.
#[derive(Clone, Copy)]
enum Next {
    None,
    /// A segment whose header can't be read.
    Unreadable,
    Segment(Header),
}

impl Next {
    fn of(directory: &Directory, number: u64) -> Result<Self, Error> {
        match SegmentReader::open(directory, number) {
            Ok(reader) => Ok(Next::Segment(reader.header)),
            Err(Error::Broken(_)) => Ok(Next::Unreadable),
            Err(error) => Err(error),
        }
    }
}

fn examine_segment(
    directory: &Directory,
    number: u64,
    next: Next,
    acknowledged: Option<Cursor>,
    visit: &mut dyn FnMut(u64, u64, &Cut) -> Result<(), Error>,
) -> Result<(SegmentReport, Option<State>), Error> {
    let bytes = length(directory, &segment::file_name(number))?;
    let mut report = SegmentReport {
        number,
        bytes,
        created_ms: None,
        checkpoint_bytes: 0,
        checkpoint_series: 0,
        first_sequence: 0,
        last_sequence: 0,
        last_time_ms: 0,
        cuts: 0,
        samples: 0,
        torn_bytes: 0,
        broken: None,
        gap: false,
    };
    let begun = SegmentReader::open(directory, number).and_then(|mut reader| {
        report.created_ms = Some(reader.header.created_ms);
        let state = reader.checkpoint()?;
        Ok((reader, state))
    });
    let (mut reader, mut state) = match begun {
        Ok(begun) => begun,
        Err(Error::Broken(broken)) => {
            report.broken = Some(broken);
            return Ok((report, None));
        }
        Err(error) => return Err(error),
    };
    report.checkpoint_bytes = reader.at;
    report.checkpoint_series = state.len();
    report.first_sequence = state.sequence;
    let bound = match next {
        Next::Segment(header) => header.sequence,
        Next::None | Next::Unreadable => u64::MAX,
    };
    let mut cut = Cut::default();
    // A cut beyond the bound is void.
    while state.sequence < bound {
        let offset = reader.at;
        match reader.step(&mut cut, &mut state) {
            Ok(true) => {
                report.cuts += 1;
                report.samples += u64::from(cut.is_sample);
                visit(number, offset, &cut)?;
            }
            Ok(false) => break,
            Err(Error::Broken(broken)) => {
                let is_seen = acknowledged.is_some_and(|newest| newest.sequence > state.sequence);
                let torn = matches!(next, Next::None)
                    && broken.damage.may_be_torn()
                    && !is_seen
                    && reader.is_torn_from(offset)?;
                if torn {
                    report.torn_bytes = bytes.saturating_sub(offset);
                } else {
                    report.broken = Some(broken);
                }
                // What a step that failed leaves behind is no state.
                state = state_at(directory, number, offset)?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    report.gap = matches!(next, Next::Segment(_)) && state.sequence < bound;
    report.last_sequence = state.sequence;
    report.last_time_ms = state.time_ms;
    Ok((report, Some(state)))
}

/// The state at an offset that was read up to before.
fn state_at(directory: &Directory, number: u64, offset: u64) -> Result<State, Error> {
    let mut reader = SegmentReader::open(directory, number)?;
    reader.end = offset;
    let mut state = reader.checkpoint()?;
    let mut cut = Cut::default();
    while reader.step(&mut cut, &mut state)? {}
    Ok(state)
}

/// Something that was broken and has been set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What was broken where.
    pub broken: Broken,
    /// The file that has it now.
    pub to: PathBuf,
    /// How much it is, in bytes.
    pub bytes: u64,
    /// Cuts in it that can still be read, and are part of the state no more.
    pub cuts: u64,
    /// Number and time (in milliseconds since the epoch) of the newest of these.
    pub newest: Option<(u64, i64)>,
}

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// What was set aside.
    pub moved: Vec<Moved>,
    /// Number and time (in milliseconds since the epoch) of the newest cut that the program goes
    /// on from; `None` where no state is left.
    pub newest: Option<(u64, i64)>,
    /// Number of the newest cut that was published, where the state is older: counters fall back,
    /// and what they had counted since is counted again.
    pub published: Option<u64>,
    /// Endpoints whose cursors are now at the beginning of the log.
    pub rewound: Vec<String>,
}

/// Keeps all up to the first broken record of each segment and sets the rest aside, beside the
/// segments, so that the program can start again. Takes the lock.
///
/// Each step leaves something that another repair goes on from, so it may be interrupted.
pub fn repair(dir: &Path) -> Result<Repaired, Error> {
    let hold = Hold::take(Directory::open(dir)?)?;
    let directory = hold.directory();
    directory.remove_unfinished(&["", CURSORS, BOOKMARKS])?;
    let acknowledged = Acknowledged::read(directory)?;
    let mut repaired =
        Repaired { moved: Vec::new(), newest: None, published: None, rewound: Vec::new() };
    let mut newest = Cursor::default();
    let mut next = Next::None;
    for number in segment::list(directory)?.into_iter().rev() {
        let (report, state) =
            examine_segment(directory, number, next, acknowledged, &mut |_, _, _| Ok(()))?;
        if let Some(broken) = report.broken {
            repaired.moved.push(set_aside(directory, number, broken, state.is_none())?);
        }
        if let Some(state) = state {
            if matches!(next, Next::None) {
                repaired.newest = Some((state.sequence, state.time_ms));
                newest = Cursor { sequence: state.sequence, totals: state.totals };
            }
            next = Next::of(directory, number)?;
        }
    }
    // The last one that was read is the oldest.
    let oldest = match next {
        Next::Segment(header) => Cursor { sequence: header.sequence, totals: header.totals },
        Next::None | Next::Unreadable => Cursor::default(),
    };
    for (name, cursor) in cursor::read_all(directory)? {
        let Err(broken) = cursor else { continue };
        let file = in_directory(CURSORS, &name);
        let bytes = length(directory, &file)?;
        let to = copy(directory, &file, 0, &format!("cursor-{name}.broken"))?;
        if cursor::file_name(&name).is_ok() {
            // The whole log is kept for it until the endpoint has found its bookmark, which says
            // how far it is.
            directory.write_whole(&file, &oldest.encode())?;
            repaired.rewound.push(name);
        } else {
            directory.remove(&file)?;
        }
        repaired.moved.push(Moved { broken, to, bytes, cuts: 0, newest: None });
    }
    if let Some(acknowledged) = acknowledged
        && acknowledged.sequence > newest.sequence
    {
        directory.write_whole(ACKNOWLEDGED, &newest.encode())?;
        repaired.published = Some(acknowledged.sequence);
    }
    Ok(repaired)
}

fn length(directory: &Directory, name: &str) -> Result<u64, Error> {
    let length = directory.read(name).and_then(|file| Ok(file.metadata()?.len()));
    length.map_err(io_error("can't read", directory.path_of(name)))
}

/// Moves a segment from the broken record on, or `whole`, into a file of its own.
fn set_aside(
    directory: &Directory,
    number: u64,
    broken: Broken,
    whole: bool,
) -> Result<Moved, Error> {
    let name = segment::file_name(number);
    let from = if whole { 0 } else { broken.offset };
    let (cuts, newest) = cuts_after(directory, number, broken.offset)?;
    let bytes = length(directory, &name)?.saturating_sub(from);
    let to = format!("{name}.broken-{from}");
    let to = if whole {
        let to = free_name(directory, &to)?;
        directory.rename(&name, &to).map_err(io_error("can't rename", directory.path_of(&name)))?;
        directory.sync("")?;
        directory.path_of(&to)
    } else {
        let to = copy(directory, &name, from, &to)?;
        let cut_off = || -> io::Result<()> {
            let file = directory.write(&name)?;
            file.set_len(from)?;
            file.sync_all()
        };
        cut_off().map_err(io_error("can't shorten", directory.path_of(&name)))?;
        to
    };
    Ok(Moved { broken, to, bytes, cuts, newest })
}

/// A name and, where former repairs have left files of that name, a number.
fn names(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((2_u64..).map(move |number| format!("{name}-{number}")))
}

/// The first of these names that no file has.
fn free_name(directory: &Directory, name: &str) -> Result<String, Error> {
    for name in names(name) {
        let found = directory.look_up(&name);
        if found.map_err(io_error("can't look at", directory.path_of(&name)))?.is_none() {
            return Ok(name);
        }
    }
    unreachable!("a directory does not have so many files")
}

/// Copies a file from an offset on, durably, to a file of this name, or of this name and a number
/// where a former repair has left others. What is there already, because a repair was interrupted,
/// is not copied again.
fn copy(directory: &Directory, from: &str, offset: u64, to: &str) -> Result<PathBuf, Error> {
    let source = || -> io::Result<File> {
        let mut source = directory.read(from)?;
        source.seek(SeekFrom::Start(offset))?;
        Ok(source)
    };
    let free = free_name(directory, to)?;
    for former in names(to).take_while(|name| *name != free) {
        let path = directory.path_of(&former);
        let is_same =
            source().and_then(|source| have_same_content(source, directory.read(&former)?));
        if is_same.map_err(io_error("can't read", &path))? {
            return Ok(path);
        }
    }
    let unfinished = unfinished(&free);
    let write = || -> io::Result<()> {
        let mut copy = directory.create(&unfinished)?;
        io::copy(&mut source()?, &mut copy)?;
        copy.sync_all()?;
        directory.rename(&unfinished, &free)
    };
    write().map_err(io_error("can't write", directory.path_of(&free)))?;
    directory.sync("")?;
    Ok(directory.path_of(&free))
}

fn have_same_content(one: File, other: File) -> io::Result<bool> {
    let (one_length, other_length) = (one.metadata()?.len(), other.metadata()?.len());
    let (mut one, mut other) = (io::BufReader::new(one), io::BufReader::new(other));
    let from = one.stream_position()?;
    if one_length.saturating_sub(from) != other_length {
        return Ok(false);
    }
    let (mut left, mut right) = ([0; 4096], [0; 4096]);
    let mut rest = other_length;
    while rest > 0 {
        let length = rest.min(left.len() as u64) as usize;
        one.read_exact(&mut left[..length])?;
        other.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        rest -= length as u64;
    }
    Ok(true)
}

/// How many cuts can be read behind a broken record, and the newest one's number and time.
fn cuts_after(
    directory: &Directory,
    number: u64,
    offset: u64,
) -> Result<(u64, Option<(u64, i64)>), Error> {
    let mut reader = match SegmentReader::open(directory, number) {
        Ok(reader) => reader,
        // Records can't be told apart from anything else without a header.
        Err(Error::Broken(_)) => return Ok((0, None)),
        Err(error) => return Err(error),
    };
    let (mut cuts, mut newest) = (0, None);
    let mut cut = Cut::default();
    let mut from = offset;
    while reader.find_record(from)? {
        loop {
            from = reader.at;
            match reader.cut(&mut cut) {
                Ok(true) => {
                    cuts += 1;
                    newest = Some((cut.sequence, cut.time_ms));
                }
                Ok(false) | Err(Error::Broken(_)) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok((cuts, newest))
}

/// Writes what a journal holds for people to read; with `records`, each cut too.
pub fn show(dir: &Path, records: bool, out: &mut dyn Write) -> Result<(), Error> {
    let write = || io_error("can't write what was read in", dir);
    let mut cuts = Vec::new();
    let report = examine(&Directory::open(dir)?, &mut |number, offset, cut| {
        if records {
            describe(&mut cuts, number, offset, cut).map_err(write())?;
        }
        out.write_all(&cuts).map_err(write())?;
        cuts.clear();
        Ok(())
    })?;
    summarize(dir, &report, out).map_err(write())
}

fn describe(out: &mut dyn Write, number: u64, offset: u64, cut: &Cut) -> io::Result<()> {
    writeln!(
        out,
        "segment {number} offset {offset}: cut {} of {}{}, {} series changed, {} started, {} ended, {} positions",
        cut.sequence,
        Time(cut.time_ms),
        if cut.is_sample { " (sample)" } else { "" },
        cut.changed.len(),
        cut.started.len(),
        cut.ended.len(),
        cut.positions.len(),
    )
}

fn summarize(dir: &Path, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let bytes: u64 = report.segments.iter().map(|segment| segment.bytes).sum();
    writeln!(out, "{}: {} segments, {bytes} bytes", dir.display(), report.segments.len())?;
    for segment in &report.segments {
        write!(out, "segment {}: {} bytes", segment.number, segment.bytes)?;
        if let Some(created_ms) = segment.created_ms {
            write!(
                out,
                ", begun {}, checkpoint of cut {} with {} series in {} bytes, {} cuts up to {} of {}, {} of them samples",
                Time(created_ms),
                segment.first_sequence,
                segment.checkpoint_series,
                segment.checkpoint_bytes,
                segment.cuts,
                segment.last_sequence,
                Time(segment.last_time_ms),
                segment.samples,
            )?;
        }
        writeln!(out)?;
        if segment.torn_bytes > 0 {
            let torn = segment.torn_bytes;
            writeln!(out, "  the last {torn} bytes are of an interrupted write")?;
        }
        if segment.gap {
            writeln!(out, "  cuts are missing between this segment and the next")?;
        }
    }
    if let Some(state) = &report.state {
        writeln!(
            out,
            "state: cut {} of {}, {} series of {} counts",
            state.sequence,
            Time(state.time_ms),
            state.len(),
            state.width(),
        )?;
        for ((topic, partition), next_offset) in &state.positions {
            writeln!(
                out,
                "position: topic {topic} partition {partition} next offset {next_offset}"
            )?;
        }
    }
    for (name, cursor) in &report.cursors {
        writeln!(out, "cursor: {name} after cut {}", cursor.sequence)?;
    }
    for broken in report.broken() {
        writeln!(out, "BROKEN: {broken}")?;
    }
    Ok(())
}

/// Milliseconds since the epoch, as a date for people.
struct Time(i64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}
