//! Looking at a journal and mending it, for the command line: `state verify`, `repair`, `show`.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Broken, Error,
    cut::Cut,
    io_error,
    reader::{CURSORS, Cursor, read_cursors},
    segment::{self, Header, SegmentReader},
    state::State,
    writer::{lock, sync_dir},
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
}

impl Report {
    /// All that is broken: where this is empty, the program starts.
    pub fn broken(&self) -> impl Iterator<Item = &Broken> {
        let segments = self.segments.iter().filter_map(|segment| segment.broken.as_ref());
        segments.chain(&self.broken_cursors)
    }
}

/// Reads a whole journal and says what it holds and what is broken. Changes nothing; may be used
/// while the program runs, where the end of a write in progress looks torn.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    examine(dir, &mut |_, _, _| Ok(()))
}

/// Whether a process is at work in the directory. Where none is, it is locked for an instant.
pub fn is_held(dir: &Path) -> Result<bool, Error> {
    let path = dir.join("lock");
    let file = match fs::File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(io_error("can't open", &path))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(source)) => Err(io_error("can't lock", &path)(source)),
    }
}

/// Like [`verify`]; `visit` sees each cut with its segment and offset.
fn examine(
    dir: &Path,
    visit: &mut dyn FnMut(u64, u64, &Cut) -> Result<(), Error>,
) -> Result<Report, Error> {
    let numbers = segment::list(dir)?;
    let (cursors, broken_cursors) = read_cursors(dir)?;
    let mut report = Report { segments: Vec::new(), cursors, broken_cursors, state: None };
    for (place, &number) in numbers.iter().enumerate() {
        let next = match numbers.get(place + 1) {
            Some(&next) => Next::of(dir, next)?,
            None => Next::None,
        };
        let (segment, state) = examine_segment(dir, number, next, visit)?;
        report.segments.push(segment);
        report.state = state;
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
    fn of(dir: &Path, number: u64) -> Result<Self, Error> {
        match SegmentReader::open(dir, number) {
            Ok(reader) => Ok(Next::Segment(reader.header)),
            Err(Error::Broken(_)) => Ok(Next::Unreadable),
            Err(error) => Err(error),
        }
    }
}

fn examine_segment(
    dir: &Path,
    number: u64,
    next: Next,
    visit: &mut dyn FnMut(u64, u64, &Cut) -> Result<(), Error>,
) -> Result<(SegmentReport, Option<State>), Error> {
    let path = dir.join(segment::file_name(number));
    let bytes = fs::metadata(&path).map_err(io_error("can't read", &path))?.len();
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
    let begun = SegmentReader::open(dir, number).and_then(|mut reader| {
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
                let torn = matches!(next, Next::None)
                    && broken.damage.may_be_torn()
                    && reader.is_torn_from(offset)?;
                if torn {
                    report.torn_bytes = bytes.saturating_sub(offset);
                } else {
                    report.broken = Some(broken);
                }
                // What a step that failed leaves behind is no state.
                state = state_at(dir, number, offset)?;
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
fn state_at(dir: &Path, number: u64, offset: u64) -> Result<State, Error> {
    let mut reader = SegmentReader::open(dir, number)?;
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
}

/// Keeps all up to the first broken record of each segment and sets the rest aside, beside the
/// segments, so that the program can start again. Takes the lock.
pub fn repair(dir: &Path) -> Result<Repaired, Error> {
    if !dir.is_dir() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return Err(io_error("can't open the state directory", dir)(missing));
    }
    let _lock = lock(dir)?;
    let mut repaired = Repaired { moved: Vec::new(), newest: None };
    let mut next = Next::None;
    for number in segment::list(dir)?.into_iter().rev() {
        let (report, state) = examine_segment(dir, number, next, &mut |_, _, _| Ok(()))?;
        if let Some(broken) = report.broken {
            repaired.moved.push(set_aside(dir, number, broken, state.is_none())?);
        }
        if let Some(state) = state {
            if matches!(next, Next::None) {
                repaired.newest = Some((state.sequence, state.time_ms));
            }
            next = Next::of(dir, number)?;
        }
    }
    for broken in read_cursors(dir)?.1 {
        let name = broken.path.file_name().unwrap_or_default().to_string_lossy();
        let to = dir.join(format!("cursor-{name}.broken"));
        let bytes = fs::metadata(&broken.path).map_or(0, |file| file.len());
        fs::rename(&broken.path, &to).map_err(io_error("can't rename", &broken.path))?;
        sync_dir(&dir.join(CURSORS))?;
        sync_dir(dir)?;
        repaired.moved.push(Moved { broken, to, bytes, cuts: 0, newest: None });
    }
    Ok(repaired)
}

/// Moves a segment from the broken record on, or `whole`, into a file of its own.
fn set_aside(dir: &Path, number: u64, broken: Broken, whole: bool) -> Result<Moved, Error> {
    let path = dir.join(segment::file_name(number));
    let from = if whole { 0 } else { broken.offset };
    let to = dir.join(format!("{}.broken-{from}", segment::file_name(number)));
    if to.exists() {
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(io_error("a former repair's file is in the way: move or delete", &to)(exists));
    }
    let (cuts, newest) = cuts_after(dir, number, broken.offset)?;
    let bytes = fs::metadata(&path).map_err(io_error("can't read", &path))?.len() - from;
    if whole {
        fs::rename(&path, &to).map_err(io_error("can't rename", &path))?;
        sync_dir(dir)?;
    } else {
        let copy = || -> io::Result<()> {
            let mut source = File::open(&path)?;
            source.seek(SeekFrom::Start(from))?;
            let mut target = File::create(&to)?;
            io::copy(&mut source, &mut target)?;
            target.sync_all()
        };
        copy().map_err(io_error("can't write", &to))?;
        sync_dir(dir)?;
        let cut_off = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(from)?;
            file.sync_all()
        };
        cut_off().map_err(io_error("can't shorten", &path))?;
    }
    Ok(Moved { broken, to, bytes, cuts, newest })
}

/// How many cuts can be read behind a broken record, and the newest one's number and time.
fn cuts_after(dir: &Path, number: u64, offset: u64) -> Result<(u64, Option<(u64, i64)>), Error> {
    let mut reader = match SegmentReader::open(dir, number) {
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
    let report = examine(dir, &mut |number, offset, cut| {
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
