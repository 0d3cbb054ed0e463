//! Reads a whole journal and reports on it, without changing it: `state verify` and `state show`.

use std::{
    collections::BTreeMap,
    fmt,
    fs::TryLockError,
    io::{self, Write},
    path::Path,
};

use crate::{
    clock::{Date, UnixMs},
    files::Files,
};

use super::{
    delta::Delta,
    error::{Broken, Error, io_error},
    fs::{Directory, LOCK},
    header::{self, Header},
    interim::{self, Held, Interim},
    pair::{Beside, Place},
    position::LogPosition,
    published_end::{self, PUBLISHED_END, PublishedEnd},
    retention_cursor,
    segment::{SegmentReader, read_header},
    state::State,
    waiting,
};

/// What one segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number, which its file is named after.
    pub number: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was begun, `None` if the header can't be read.
    pub created: Option<UnixMs>,
    /// Size of header and checkpoint in bytes; 0 where the checkpoint can't be read.
    pub checkpoint_bytes: u64,
    /// Series in the checkpoint.
    pub checkpoint_series: usize,
    /// Number of the delta that the checkpoint is the state of.
    pub first_sequence: u64,
    /// Number of the newest delta.
    pub last_sequence: u64,
    /// Time of the newest delta.
    pub last_time: UnixMs,
    /// Deltas that can be read.
    pub deltas: u64,
    /// Ticks among them.
    pub samples: u64,
    /// Bytes at the end that an interrupted write left behind. They do no harm: the next start
    /// truncates them.
    pub torn_bytes: u64,
    /// The first record that can't be read, if that does harm.
    pub broken: Option<Broken>,
    /// Whether deltas are missing between its end and the next segment. Counting does not need them,
    /// but a reader that is that far behind has lost them.
    pub gap: bool,
}

impl SegmentReport {
    /// The place up to which it can be read: where a repair would cut it off, and a start what is torn;
    /// `None` where the header can't be read.
    pub(super) fn end(&self) -> Option<Place> {
        let whole = self.bytes - self.torn_bytes;
        let offset = self.broken.as_ref().map_or(whole, |broken| broken.offset);
        Some(Place { number: self.number, created: self.created?, offset })
    }
}

/// What a journal holds.
#[derive(Debug, Clone)]
pub struct Report {
    /// All segments, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// The retention cursors by name.
    pub cursors: BTreeMap<String, LogPosition>,
    /// Retention cursors that can't be read.
    pub broken_cursors: Vec<Broken>,
    /// The state after the newest delta that can be read in the newest segment, and after the interim that
    /// follows it: what a start would find.
    pub state: Option<State>,
    /// Where published deltas are missing.
    pub missing: Option<Broken>,
    /// The interims, by the names of their files.
    pub interims: Vec<(&'static str, Interim)>,
    /// What was taken and not counted yet, by the names of its files.
    pub waiting: Vec<(&'static str, Beside)>,
}

impl Report {
    /// Everything that is broken.
    pub fn broken(&self) -> impl Iterator<Item = &Broken> {
        let segments = self.segments.iter().filter_map(|segment| segment.broken.as_ref());
        segments.chain(&self.missing).chain(&self.broken_cursors)
    }

    /// What prevents the program from starting. It does not need the records of older segments;
    /// readers that are that far behind have lost what is broken there.
    pub fn in_the_way(&self) -> impl Iterator<Item = &Broken> {
        let (newest, older) = match self.segments.split_last() {
            Some((newest, older)) => (newest.broken.as_ref(), older),
            None => (None, &[][..]),
        };
        let headers = older.iter().filter_map(|segment| segment.broken.as_ref());
        let headers = headers.filter(|broken| broken.offset == 0);
        headers.chain(newest).chain(&self.missing).chain(&self.broken_cursors)
    }
}

/// Reads a whole journal and says what it holds and what is broken. It changes nothing, and may be
/// used while the program runs; a write in progress then looks interrupted.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    examine(&Directory::open(&Files::default(), dir)?, &mut |_, _, _| Ok(()))
}

/// Whether a process uses the directory. If none does, it is locked for an instant.
pub fn is_held(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(LOCK);
    let file = match Files::default().open_to_read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(io_error("can't open", &path))?,
    };
    match file.into_file().try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(io_error("can't lock", &path)(source)),
    }
}

/// Like [`verify`]; `visit` sees each delta with its segment and offset.
fn examine(
    directory: &Directory,
    visit: &mut dyn FnMut(u64, u64, &Delta) -> Result<(), Error>,
) -> Result<Report, Error> {
    // Read first: a running process may write more of the log in the meantime, but not less.
    let acknowledged = PublishedEnd::read(directory)?;
    let numbers = header::list(directory)?;
    let mut report = Report {
        segments: Vec::new(),
        cursors: BTreeMap::new(),
        broken_cursors: Vec::new(),
        state: None,
        missing: None,
        interims: Vec::new(),
        waiting: Vec::new(),
    };
    for (name, cursor) in retention_cursor::read_all(directory)? {
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
    let last = report.state.as_ref().map_or(0, |state| state.sequence);
    let (name, end) = newest.map_or((PUBLISHED_END.to_owned(), 0), |newest| {
        (header::file_name(newest.number), newest.bytes)
    });
    // Where its end is broken, that says it all.
    if newest.is_none_or(|newest| newest.broken.is_none()) {
        report.missing = published_end::missing(directory, acknowledged, last, &name, end);
    }
    examine_beside(directory, &mut report)?;
    Ok(report)
}

/// Says what is beside the log that `report` tells.
fn examine_beside(directory: &Directory, report: &mut Report) -> Result<(), Error> {
    let place = report.segments.last().and_then(SegmentReport::end);
    let last = report.state.as_ref().map_or(0, |state| state.sequence);
    for Held { name, interim, records } in interim::look(directory, place, last)? {
        if let (Interim::Follows { .. }, Some(place)) = (&interim, place) {
            report.state = Some(state_at(directory, place.number, place.offset, records)?);
        }
        report.interims.push((name, interim));
    }
    let last = report.state.as_ref().map_or(0, |state| state.sequence);
    report.waiting = waiting::list(directory, last)?;
    Ok(())
}

pub(super) fn length(directory: &Directory, name: &str) -> Result<u64, Error> {
    let length = directory.read(name).and_then(|file| file.length());
    length.map_err(io_error("can't read", directory.path_of(name)))
}

/// What follows a segment.
#[derive(Clone, Copy)]
pub(super) enum Next {
    None,
    /// A segment whose header can't be read.
    Unreadable,
    Segment(Header),
}

impl Next {
    pub(super) fn of(directory: &Directory, number: u64) -> Result<Self, Error> {
        match read_header(directory, number) {
            Ok((header, _)) => Ok(Next::Segment(header)),
            Err(Error::Broken(_)) => Ok(Next::Unreadable),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn examine_segment(
    directory: &Directory,
    number: u64,
    next: Next,
    acknowledged: Option<LogPosition>,
    visit: &mut dyn FnMut(u64, u64, &Delta) -> Result<(), Error>,
) -> Result<(SegmentReport, Option<State>), Error> {
    let bytes = length(directory, &header::file_name(number))?;
    let mut report = SegmentReport {
        number,
        bytes,
        created: None,
        checkpoint_bytes: 0,
        checkpoint_series: 0,
        first_sequence: 0,
        last_sequence: 0,
        last_time: UnixMs::default(),
        deltas: 0,
        samples: 0,
        torn_bytes: 0,
        broken: None,
        gap: false,
    };
    let begun = SegmentReader::open(directory, number).and_then(|mut reader| {
        report.created = Some(reader.header.created);
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
    let mut delta = Delta::default();
    // A delta beyond the bound is void.
    while state.sequence < bound {
        let offset = reader.at;
        match reader.step(&mut delta, &mut state) {
            Ok(true) => {
                report.deltas += 1;
                report.samples += u64::from(delta.is_tick);
                visit(number, offset, &delta)?;
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
                state = state_at(directory, number, offset, Vec::new())?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    report.gap = matches!(next, Next::Segment(_)) && state.sequence < bound;
    report.last_sequence = state.sequence;
    report.last_time = state.time;
    Ok((report, Some(state)))
}

/// The state at an offset that was read up to before, with these records behind it.
fn state_at(
    directory: &Directory,
    number: u64,
    offset: u64,
    behind: Vec<u8>,
) -> Result<State, Error> {
    let mut reader = SegmentReader::open(directory, number)?;
    reader.end = offset;
    let mut state = reader.checkpoint()?;
    let mut delta = Delta::default();
    while reader.step(&mut delta, &mut state)? {}
    reader.append(behind);
    while reader.step(&mut delta, &mut state)? {}
    Ok(state)
}

/// Writes what a journal holds for people to read; with `records`, each delta too. `described` says in
/// words what its counts are of.
pub fn show(
    dir: &Path,
    records: bool,
    described: impl Fn(&str) -> String,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let write = || io_error("can't write what was read in", dir);
    let mut deltas = Vec::new();
    let report =
        examine(&Directory::open(&Files::default(), dir)?, &mut |number, offset, delta| {
            if records {
                describe(&mut deltas, number, offset, delta).map_err(write())?;
            }
            out.write_all(&deltas).map_err(write())?;
            deltas.clear();
            Ok(())
        })?;
    summarize(dir, &report, &described, out).map_err(write())
}

fn describe(out: &mut dyn Write, number: u64, offset: u64, delta: &Delta) -> io::Result<()> {
    writeln!(
        out,
        "segment {number} offset {offset}: delta {} of {}{}, {} series changed, {} started, {} ended, {} positions",
        delta.sequence,
        Time(delta.time),
        if delta.is_tick { " (tick)" } else { "" },
        delta.changed.len(),
        delta.started.len(),
        delta.ended.len(),
        delta.positions.len(),
    )
}

fn summarize(
    dir: &Path,
    report: &Report,
    described: &dyn Fn(&str) -> String,
    out: &mut dyn Write,
) -> io::Result<()> {
    let bytes: u64 = report.segments.iter().map(|segment| segment.bytes).sum();
    writeln!(out, "{}: {} segments, {bytes} bytes", dir.display(), report.segments.len())?;
    for segment in &report.segments {
        write!(out, "segment {}: {} bytes", segment.number, segment.bytes)?;
        if let Some(created) = segment.created {
            write!(
                out,
                ", begun {}, checkpoint of delta {} with {} series in {} bytes, {} deltas up to {} of {}, {} of them ticks",
                Time(created),
                segment.first_sequence,
                segment.checkpoint_series,
                segment.checkpoint_bytes,
                segment.deltas,
                segment.last_sequence,
                Time(segment.last_time),
                segment.samples,
            )?;
        }
        writeln!(out)?;
        if segment.torn_bytes > 0 {
            let torn = segment.torn_bytes;
            writeln!(out, "  the last {torn} bytes are of an interrupted write")?;
        }
        if segment.gap {
            writeln!(out, "  deltas are missing between this segment and the next")?;
        }
    }
    if let Some(state) = &report.state {
        writeln!(
            out,
            "state: delta {} of {}, {} series of {} counts",
            state.sequence,
            Time(state.time),
            state.len(),
            state.width(),
        )?;
        let identity = String::from_utf8_lossy(&state.identity);
        writeln!(out, "counts: {}", described(&identity).escape_debug())?;
        for ((topic, partition), next_offset) in &state.positions {
            writeln!(
                out,
                "position: topic {topic} partition {partition} next offset {next_offset}"
            )?;
        }
    }
    for (name, interim) in &report.interims {
        writeln!(out, "{name}: {interim}")?;
    }
    for (name, waiting) in &report.waiting {
        writeln!(out, "{name}: {}", Waiting(waiting))?;
    }
    for (name, cursor) in &report.cursors {
        writeln!(out, "retention cursor: {name} after delta {}", cursor.sequence)?;
    }
    for broken in report.broken() {
        writeln!(out, "BROKEN: {broken}")?;
    }
    Ok(())
}

/// What waits, for people.
#[derive(Debug)]
pub struct Waiting<'b>(pub &'b Beside);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Beside::TakenUp { bytes, sequence } => write!(
                f,
                "{bytes} bytes of flows that wait for their template, up to delta {sequence}, which a start \
                 takes up"
            ),
            Beside::Void => f.write_str("void, a start does not need it"),
            Beside::Broken => f.write_str(interim::NOT_WHOLE),
        }
    }
}

/// A time as a date for people.
struct Time(UnixMs);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As long as the time of the first data is not known.
        if self.0 == UnixMs::EPOCH {
            return f.write_str("an unknown time");
        }
        Date(self.0).fmt(f)
    }
}
