//! A segment: a file that begins with a header, goes on with a checkpoint, then one cut after the
//! other. Frames, checksums, and what the records hold.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Broken, Damage, Error,
    codec::{Decoder, Encoder, Input, Malformed, put, put_bytes, put_signed},
    cut::{Cut, Position},
    io_error,
    state::{Head, Series, Source, State, Totals},
};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"FLOWJRNL";
/// Begins each frame, so that records can be found behind a broken one.
const MARK: [u8; 4] = *b"\xf1REC";
pub(super) const HEADER_BYTES: usize = 56;
/// Mark, length, kind, checksum.
pub(super) const FRAME_BYTES: usize = 13;
/// Series in one record of a checkpoint, and bytes of their definitions: bounds what is encoded at
/// once.
const SERIES_IN_RECORD: usize = 1 << 16;
const DEFINITIONS_IN_RECORD_BYTES: usize = 16 << 20;
/// How much is read at once to find records behind a broken one.
const SEARCH_BYTES: usize = 1 << 20;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The beginning of a checkpoint.
    Head = 1,
    /// Some series of a checkpoint.
    Series = 2,
    /// A cut.
    Cut = 3,
}

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) created_ms: i64,
    /// The cut that the checkpoint is the state of.
    pub(super) sequence: u64,
    pub(super) totals: Totals,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.totals.cuts.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.totals.samples.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..52]);
        bytes[52..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn read(file: &File, path: &Path, number: u64) -> Result<Self, Error> {
        let broken = |damage| Broken { path: path.to_owned(), offset: 0, damage }.into();
        let mut bytes = [0; HEADER_BYTES];
        let read = read_up_to(file, &mut bytes, 0).map_err(io_error("can't read", path))?;
        if read < HEADER_BYTES {
            return Err(broken(Damage::Incomplete));
        }
        if bytes[..8] != MAGIC {
            return Err(broken(Damage::NoRecord));
        }
        if crc32fast::hash(&bytes[..52]).to_le_bytes() != bytes[52..] {
            return Err(broken(Damage::Checksum));
        }
        // Believed only now: a flipped bit must not read as a later version. So later versions
        // keep magic, version and checksum where they are.
        let version = u32::from_le_bytes(array(&bytes[8..12]));
        if version > FORMAT_VERSION {
            return Err(Error::Newer { path: path.to_owned(), version });
        }
        let word = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
        let header = Header {
            number: word(12),
            created_ms: word(20).cast_signed(),
            sequence: word(28),
            totals: Totals { cuts: word(36), samples: word(44) },
        };
        if header.number != number {
            return Err(broken(Damage::Meaning("the file has another segment's name")));
        }
        Ok(header)
    }
}

/// The name of a segment's file.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:010}.log")
}

/// The numbers of all segments in a directory, rising.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    for entry in dir.read_dir().map_err(io_error("can't list", dir))? {
        let name = entry.map_err(io_error("can't list", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        numbers.extend(number.filter(|&number| *file_name(number) == *name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Appends a frame around `payload`, to stand at `offset` of segment `number`.
pub(super) fn frame(out: &mut Vec<u8>, number: u64, offset: u64, kind: Kind, payload: &[u8]) {
    out.extend_from_slice(&MARK);
    let length = u32::try_from(payload.len()).expect("records are far smaller than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&checksum(number, offset, length, kind as u8, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Covers where the record stands too, so that old bytes of another place are no record.
fn checksum(number: u64, offset: u64, length: u32, kind: u8, payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&offset.to_le_bytes());
    sum.update(&length.to_le_bytes());
    sum.update(&[kind]);
    sum.update(payload);
    sum.finalize()
}

/// Encodes what records hold.
pub(super) struct RecordWriter {
    encoder: Encoder,
    raw: Vec<u8>,
}

impl RecordWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(RecordWriter { encoder: Encoder::new()?, raw: Vec::new() })
    }

    /// The cut, which is sorted.
    pub(super) fn cut(&mut self, out: &mut Vec<u8>, cut: &Cut) -> io::Result<()> {
        put(out, cut.sequence);
        put_signed(out, cut.time_ms);
        put(out, u64::from(cut.is_sample));
        put(out, cut.width as u64);
        let raw = &mut self.raw;
        raw.clear();
        put_positions(raw, &cut.positions);
        put_bytes(raw, &cut.tallies);
        put(raw, cut.ended.len() as u64);
        put_ids(raw, cut.ended.iter().copied());
        put(raw, cut.started.len() as u64);
        put_ids(raw, cut.started.iter().map(|&(id, ..)| id));
        let mut before = cut.time_ms;
        for series in cut.started() {
            put_signed(raw, series.start_ms.wrapping_sub(before));
            before = series.start_ms;
        }
        for series in cut.started() {
            put_bytes(raw, series.definition);
        }
        self.encoder.section(out, raw)?;
        put(out, cut.changed.len() as u64);
        raw.clear();
        put_ids(raw, cut.changed.iter().copied());
        self.encoder.section(out, raw)?;
        for column in 0..cut.width {
            let increments = cut.increments.iter().skip(column).step_by(cut.width);
            self.encoder.column(out, increments.copied())?;
        }
        Ok(())
    }

    fn head(&mut self, out: &mut Vec<u8>, head: Head<'_>) -> io::Result<()> {
        put_signed(out, head.time_ms);
        put(out, head.width as u64);
        put(out, u64::from(head.slots));
        put(out, u64::from(head.live));
        self.raw.clear();
        put_bytes(&mut self.raw, head.identity);
        put_positions(&mut self.raw, head.positions);
        put_bytes(&mut self.raw, head.tallies);
        self.encoder.section(out, &self.raw)
    }

    fn series(&mut self, out: &mut Vec<u8>, width: usize, rows: &Rows) -> io::Result<()> {
        put(out, rows.ids.len() as u64);
        self.raw.clear();
        put_ids(&mut self.raw, rows.ids.iter().copied());
        self.encoder.section(out, &self.raw)?;
        for times in [&rows.starts, &rows.changes] {
            self.raw.clear();
            let mut before = 0;
            for &time in times {
                put_signed(&mut self.raw, time.wrapping_sub(before));
                before = time;
            }
            self.encoder.section(out, &self.raw)?;
        }
        self.encoder.section(out, &rows.definitions)?;
        for column in 0..width {
            self.encoder.column(out, rows.counts.iter().skip(column).step_by(width).copied())?;
        }
        Ok(())
    }

    /// Writes header and checkpoint through `write`, which is given one piece after the other.
    /// `visit` sees each series' number. Returns how many bytes there are.
    pub(super) fn checkpoint(
        &mut self,
        header: &Header,
        source: &dyn Source,
        mut visit: impl FnMut(u32),
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<u64> {
        write(&header.encode())?;
        let mut at = HEADER_BYTES as u64;
        let mut payload = Vec::new();
        let mut record = Vec::new();
        let mut emit = |kind, payload: &[u8]| {
            record.clear();
            frame(&mut record, header.number, at, kind, payload);
            at += record.len() as u64;
            write(&record)
        };
        let mut result = Ok(());
        let mut width = 0;
        source.head(&mut |head| {
            width = head.width;
            payload.clear();
            result = self.head(&mut payload, head);
        });
        result?;
        emit(Kind::Head, &payload)?;
        let mut rows = Rows::default();
        let mut result = Ok(());
        let mut flush = |rows: &mut Rows| -> io::Result<()> {
            payload.clear();
            self.series(&mut payload, width, rows)?;
            rows.clear();
            emit(Kind::Series, &payload)
        };
        let mut next = 0;
        source.visit(&mut |series| {
            if series.id < next || series.counts.len() != width {
                // It would not be readable; the caller's mistake.
                result = Err(io::ErrorKind::InvalidInput.into());
            }
            if result.is_err() {
                return;
            }
            next = series.id.saturating_add(1);
            visit(series.id);
            rows.push(&series);
            let full = rows.ids.len() == SERIES_IN_RECORD
                || rows.definitions.len() >= DEFINITIONS_IN_RECORD_BYTES;
            if full {
                result = flush(&mut rows);
            }
        });
        result?;
        if !rows.ids.is_empty() {
            flush(&mut rows)?;
        }
        Ok(at)
    }
}

/// Some series of a checkpoint, column by column.
#[derive(Default)]
struct Rows {
    ids: Vec<u32>,
    starts: Vec<i64>,
    changes: Vec<i64>,
    definitions: Vec<u8>,
    counts: Vec<u64>,
}

impl Rows {
    fn push(&mut self, series: &Series<'_>) {
        self.ids.push(series.id);
        self.starts.push(series.start_ms);
        self.changes.push(series.changed_ms);
        put_bytes(&mut self.definitions, series.definition);
        self.counts.extend_from_slice(series.counts);
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.starts.clear();
        self.changes.clear();
        self.definitions.clear();
        self.counts.clear();
    }
}

/// Rising numbers, as what lies between each two.
fn put_ids(out: &mut Vec<u8>, ids: impl Iterator<Item = u32>) {
    let mut next = 0;
    for id in ids {
        put(out, u64::from(id - next));
        // The last number that there is has no next one, and none follows it.
        next = id.saturating_add(1);
    }
}

fn ids(input: &mut Input<'_>, count: usize, out: &mut Vec<u32>) -> Result<(), Malformed> {
    let mut next = 0_u64;
    for _ in 0..count {
        let id = next.checked_add(input.number()?).ok_or(Malformed)?;
        out.push(u32::try_from(id).map_err(|_| Malformed)?);
        next = id + 1;
    }
    Ok(())
}

fn put_positions(out: &mut Vec<u8>, positions: &[Position]) {
    put(out, positions.len() as u64);
    let mut topic = None;
    for position in positions {
        if topic == Some(&position.topic) {
            put(out, 0);
        } else {
            put(out, position.topic.len() as u64 + 1);
            out.extend_from_slice(position.topic.as_bytes());
        }
        put_signed(out, i64::from(position.partition));
        put_signed(out, position.next_offset);
        topic = Some(&position.topic);
    }
}

fn positions(input: &mut Input<'_>, mut visit: impl FnMut(Position)) -> Result<(), Malformed> {
    let mut topic: Arc<str> = Arc::from("");
    for _ in 0..input.count()? {
        if let Some(length) = input.number()?.checked_sub(1) {
            let name = input.take(usize::try_from(length).map_err(|_| Malformed)?)?;
            topic = Arc::from(str::from_utf8(name).map_err(|_| Malformed)?);
        }
        visit(Position {
            topic: Arc::clone(&topic),
            partition: i32::try_from(input.signed()?).map_err(|_| Malformed)?,
            next_offset: input.signed()?,
        });
    }
    Ok(())
}

fn decode_cut(decoder: &mut Decoder, payload: &[u8], cut: &mut Cut) -> Result<(), Malformed> {
    cut.clear();
    let mut input = Input(payload);
    cut.sequence = input.number()?;
    cut.time_ms = input.signed()?;
    cut.is_sample = input.number()? == 1;
    cut.width = usize::try_from(input.number()?).map_err(|_| Malformed)?;
    let meta = decoder.section(&mut input)?;
    let mut meta = Input(&meta);
    positions(&mut meta, |position| cut.positions.push(position))?;
    cut.tallies.extend_from_slice(meta.bytes()?);
    let ended = meta.count()?;
    ids(&mut meta, ended, &mut cut.ended)?;
    let started = meta.count()?;
    let mut starting = Vec::new();
    ids(&mut meta, started, &mut starting)?;
    let mut before = cut.time_ms;
    let mut starts = Vec::new();
    for _ in 0..started {
        before = before.wrapping_add(meta.signed()?);
        starts.push(before);
    }
    for (id, start_ms) in starting.into_iter().zip(starts) {
        cut.start(id, start_ms, meta.bytes()?);
    }
    meta.end()?;
    let changed = usize::try_from(input.number()?).map_err(|_| Malformed)?;
    let gaps = decoder.section(&mut input)?;
    let mut gaps = Input(&gaps);
    ids(&mut gaps, changed, &mut cut.changed)?;
    gaps.end()?;
    // The ids were read: `changed` is true, and only the width has to be held against the bytes.
    if cut.width > payload.len() {
        return Err(Malformed);
    }
    cut.increments.resize(changed * cut.width, 0);
    for column in 0..cut.width {
        let width = cut.width;
        let increments = &mut cut.increments;
        decoder.column(&mut input, changed, |row, number| {
            increments[row * width + column] = number;
        })?;
    }
    input.end()
}

fn decode_series(
    decoder: &mut Decoder,
    payload: &[u8],
    state: &mut State,
) -> Result<usize, &'static str> {
    let malformed = <&'static str>::from;
    let mut input = Input(payload);
    let count = usize::try_from(input.number().map_err(malformed)?).map_err(|_| Malformed)?;
    let gaps = decoder.section(&mut input)?;
    let starts = decoder.section(&mut input)?;
    let changes = decoder.section(&mut input)?;
    let definitions = decoder.section(&mut input)?;
    let mut numbers = Vec::new();
    ids(&mut Input(&gaps), count, &mut numbers)?;
    let (mut starts, mut changes) = (Input(&starts), Input(&changes));
    let mut definitions = Input(&definitions);
    let (mut start_ms, mut changed_ms) = (0_i64, 0_i64);
    for &id in &numbers {
        if id >= state.slots() {
            return Err("a series of the checkpoint has a number out of bounds");
        }
        start_ms = start_ms.wrapping_add(starts.signed()?);
        changed_ms = changed_ms.wrapping_add(changes.signed()?);
        state.start(id, start_ms, changed_ms, definitions.bytes()?)?;
    }
    for column in 0..state.width {
        decoder.column(&mut input, count, |row, number| {
            state.counts_mut(numbers[row])[column] = number;
        })?;
    }
    input.end()?;
    Ok(count)
}

/// Reads one segment from its beginning on, up to an end that can be moved.
pub(super) struct SegmentReader {
    path: PathBuf,
    file: File,
    pub(super) header: Header,
    /// Where the next record begins.
    pub(super) at: u64,
    /// Nothing is read beyond.
    pub(super) end: u64,
    payload: Vec<u8>,
    decoder: Decoder,
}

impl SegmentReader {
    /// Opens a segment and reads its header.
    pub(super) fn open(dir: &Path, number: u64) -> Result<Self, Error> {
        let path = dir.join(file_name(number));
        let file = File::open(&path).map_err(io_error("can't open", &path))?;
        let end = file.metadata().map_err(io_error("can't read", &path))?.len();
        let header = Header::read(&file, &path, number)?;
        let decoder = Decoder::new().map_err(io_error("can't decompress", &path))?;
        let at = HEADER_BYTES as u64;
        Ok(SegmentReader { path, file, header, at, end, payload: Vec::new(), decoder })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn broken(&self, offset: u64, damage: Damage) -> Error {
        Broken { path: self.path.clone(), offset, damage }.into()
    }

    /// Moves the end to that of the file.
    pub(super) fn include_all(&mut self) -> Result<(), Error> {
        self.end = self.file.metadata().map_err(io_error("can't read", &self.path))?.len();
        Ok(())
    }

    /// Reads the next record into `payload`: its kind and where it begins; `None` at the end.
    fn record(&mut self) -> Result<Option<(u8, u64)>, Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        let read = io_error("can't read", &self.path);
        let offset = self.at;
        let left = self.end - offset;
        let mut frame = [0; FRAME_BYTES];
        let framed = (FRAME_BYTES as u64).min(left) as usize;
        match self.file.read_exact_at(&mut frame[..framed], offset) {
            Ok(()) => {}
            // Cut off by somebody else since its length was asked for.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.broken(offset, Damage::Incomplete));
            }
            Err(error) => return Err(read(error)),
        }
        let marked = framed.min(MARK.len());
        if frame[..marked] != MARK[..marked] {
            return Err(self.broken(offset, Damage::NoRecord));
        }
        let length = u32::from_le_bytes(array(&frame[4..8]));
        if left < FRAME_BYTES as u64 + u64::from(length) {
            return Err(self.broken(offset, Damage::Incomplete));
        }
        self.payload.resize(length as usize, 0);
        match self.file.read_exact_at(&mut self.payload, offset + FRAME_BYTES as u64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.broken(offset, Damage::Incomplete));
            }
            Err(error) => return Err(read(error)),
        }
        let kind = frame[8];
        let sum = checksum(self.header.number, offset, length, kind, &self.payload);
        if sum.to_le_bytes() != frame[9..] {
            return Err(self.broken(offset, Damage::Checksum));
        }
        self.at += FRAME_BYTES as u64 + u64::from(length);
        Ok(Some((kind, offset)))
    }

    /// Reads the checkpoint that a segment begins with.
    pub(super) fn checkpoint(&mut self) -> Result<State, Error> {
        let mut state = State::default();
        state.sequence = self.header.sequence;
        state.totals = self.header.totals;
        let live = self.head(&mut state)?;
        while state.len() < live {
            let Some((kind, offset)) = self.record()? else {
                return Err(self.broken(self.at, Damage::Incomplete));
            };
            if kind != Kind::Series as u8 {
                return Err(self.broken(offset, Damage::Meaning("the checkpoint lacks series")));
            }
            match decode_series(&mut self.decoder, &self.payload, &mut state) {
                Ok(1..) => {}
                Ok(0) => return Err(self.broken(offset, Damage::Meaning(Malformed.into()))),
                Err(what) => return Err(self.broken(offset, Damage::Meaning(what))),
            }
        }
        Ok(state)
    }

    fn head(&mut self, state: &mut State) -> Result<usize, Error> {
        let (kind, offset) =
            self.record()?.ok_or_else(|| self.broken(self.at, Damage::Incomplete))?;
        if kind != Kind::Head as u8 {
            let what = "the segment does not begin with a checkpoint";
            return Err(self.broken(offset, Damage::Meaning(what)));
        }
        let mut read = || -> Result<u64, Malformed> {
            let mut input = Input(&self.payload);
            state.time_ms = input.signed()?;
            state.width = usize::from(u8::try_from(input.number()?).map_err(|_| Malformed)?);
            let slots = u32::try_from(input.number()?).map_err(|_| Malformed)?;
            let live = input.number()?;
            if live > u64::from(slots) {
                return Err(Malformed);
            }
            let meta = self.decoder.section(&mut input)?;
            let mut meta = Input(&meta);
            state.identity.extend_from_slice(meta.bytes()?);
            positions(&mut meta, |position| {
                state.positions.insert((position.topic, position.partition), position.next_offset);
            })?;
            state.tallies.extend_from_slice(meta.bytes()?);
            state.reserve(slots);
            Ok(live)
        };
        match read() {
            Ok(live) => Ok(live as usize),
            Err(malformed) => Err(self.broken(offset, Damage::Meaning(malformed.into()))),
        }
    }

    /// Goes behind the checkpoint without decoding it.
    pub(super) fn skip_checkpoint(&mut self) -> Result<(), Error> {
        loop {
            match self.record()? {
                Some((kind, offset)) if kind == Kind::Cut as u8 => {
                    self.at = offset;
                    return Ok(());
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// Reads the next cut; false at the end.
    pub(super) fn cut(&mut self, cut: &mut Cut) -> Result<bool, Error> {
        let Some((kind, offset)) = self.record()? else { return Ok(false) };
        if kind != Kind::Cut as u8 {
            let what = "a record of another kind stands between the cuts";
            return Err(self.broken(offset, Damage::Meaning(what)));
        }
        match decode_cut(&mut self.decoder, &self.payload, cut) {
            Ok(()) => Ok(true),
            Err(malformed) => Err(self.broken(offset, Damage::Meaning(malformed.into()))),
        }
    }

    /// Reads the next cut and applies it to the state; false at the end.
    pub(super) fn step(&mut self, cut: &mut Cut, state: &mut State) -> Result<bool, Error> {
        let offset = self.at;
        if !self.cut(cut)? {
            return Ok(false);
        }
        state.apply(cut).map_err(|what| self.broken(offset, Damage::Meaning(what)))?;
        Ok(true)
    }

    /// Looks for a whole record after `offset`, and goes there if there is one.
    pub(super) fn find_record(&mut self, offset: u64) -> Result<bool, Error> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut from = offset + 1;
        while from < self.end {
            let read = read_up_to(&self.file, &mut window, from)
                .map_err(io_error("can't read", &self.path))?;
            for found in memchr::memmem::find_iter(&window[..read], &MARK) {
                self.at = from + found as u64;
                match self.record() {
                    Ok(Some((_, offset))) => {
                        self.at = offset;
                        return Ok(true);
                    }
                    Ok(None) | Err(Error::Broken(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if read < window.len() {
                break;
            }
            // A mark may lie across the windows' bound.
            from += (read - (MARK.len() - 1)) as u64;
        }
        self.at = self.end;
        Ok(false)
    }
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// The first bytes of a slice that is known to be long enough.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
