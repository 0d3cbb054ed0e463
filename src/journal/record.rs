//! What the records of a segment hold, and how a cut or a checkpoint is divided into records: each
//! has a bound, whatever the cut or the state is like.

use std::{io, ops::Range, sync::Arc};

use super::{
    codec::{Decoder, Encoder, Input, Malformed, put, put_bytes, put_signed},
    cut::{Cut, Position},
    segment::{FRAME_BYTES, HEADER_BYTES, Header, Kind, frame},
    state::{Head, Series, Source, State},
};

/// No record holds more than this before compression, in bytes. So what a reader sets aside for
/// one has a bound, whatever lengths it finds there.
pub const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// The bound of records in segments of format version 1, which had no other.
pub(super) const RECORD_LIMIT_BYTES_1: usize = 1 << 30;

/// Series in one record of a checkpoint.
const SERIES_IN_RECORD: usize = 1 << 16;

/// The most that a number takes, in bytes, if it is below 2^32, and any other.
const NUMBER_BYTES: usize = 5;
const LONG_NUMBER_BYTES: usize = 10;

/// The most that a count takes in a column, in bytes: its length, and its bits.
const COUNT_BYTES: usize = 9;

/// Buffers keep this much for the next cut.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// Why something can't be written: it has one part that is larger than a record may be.
pub(super) const TOO_LARGE: &str = "the definition of a series is larger than a record may be";

/// The records of a cut, in a row, each with room for its frame: what a frame says depends on where
/// in a segment it stands.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    /// Their kinds, and where they end.
    ends: Vec<(Kind, usize)>,
}

impl Records {
    /// What they take in a segment, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Makes them those that begin at `offset` of segment `number`.
    pub(super) fn place(&mut self, number: u64, offset: u64) -> &[u8] {
        let mut begin = 0;
        for &(kind, end) in &self.ends {
            frame(&mut self.bytes[begin..end], number, offset + begin as u64, kind);
            begin = end;
        }
        &self.bytes
    }

    /// Forgets them. Memory that an extraordinary cut took is given back.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BUFFER_BYTES);
        self.ends.clear();
    }

    fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.resize(self.bytes.len() + FRAME_BYTES, 0);
        &mut self.bytes
    }

    fn end(&mut self, kind: Kind) {
        self.ends.push((kind, self.bytes.len()));
    }
}

/// How much of a record is left for what is divided among several.
struct Room {
    left: usize,
    /// What is larger than a record by itself gets one of its own.
    is_empty: bool,
}

impl Room {
    fn new(limit: usize) -> Self {
        Room { left: limit, is_empty: true }
    }

    /// As many of the things `from..end` as there is room for, of these sizes.
    fn take(&mut self, from: usize, end: usize, size: impl Fn(usize) -> usize) -> Range<usize> {
        let mut to = from;
        while to < end {
            let size = size(to);
            if size > self.left && !self.is_empty {
                break;
            }
            self.left = self.left.saturating_sub(size);
            self.is_empty = false;
            to += 1;
        }
        from..to
    }

    /// Like [`Room::take`], of things that have all the same size, which is not 0.
    fn take_alike(&mut self, from: usize, end: usize, size: usize) -> Range<usize> {
        let fit = (self.left / size).max(usize::from(self.is_empty));
        let taken = fit.min(end - from);
        if taken > 0 {
            self.left = self.left.saturating_sub(taken * size);
            self.is_empty = false;
        }
        from..from + taken
    }
}

/// What of a cut goes into one record.
struct Part {
    positions: Range<usize>,
    tallies: Range<usize>,
    ended: Range<usize>,
    started: Range<usize>,
    changed: Range<usize>,
}

impl Part {
    /// The part that begins a cut.
    fn first(cut: &Cut, limit: usize) -> Self {
        let none =
            Part { positions: 0..0, tallies: 0..0, ended: 0..0, started: 0..0, changed: 0..0 };
        none.next(cut, limit)
    }

    fn next(&self, cut: &Cut, limit: usize) -> Self {
        let mut room = Room::new(limit);
        let changed_bytes = NUMBER_BYTES + cut.width * COUNT_BYTES;
        let positions = &cut.positions;
        Part {
            positions: room
                .take(self.positions.end, positions.len(), |at| position_bytes(&positions[at])),
            tallies: room.take_alike(self.tallies.end, cut.tallies.len(), 1),
            ended: room.take_alike(self.ended.end, cut.ended.len(), NUMBER_BYTES),
            started: room.take(self.started.end, cut.started.len(), |at| {
                started_bytes(cut.started[at].2.len())
            }),
            changed: room.take_alike(self.changed.end, cut.changed.len(), changed_bytes),
        }
    }

    fn is_last(&self, cut: &Cut) -> bool {
        self.positions.end == cut.positions.len()
            && self.tallies.end == cut.tallies.len()
            && self.ended.end == cut.ended.len()
            && self.started.end == cut.started.len()
            && self.changed.end == cut.changed.len()
    }
}

/// The most that a position takes, in bytes.
fn position_bytes(position: &Position) -> usize {
    position.topic.len() + 3 * LONG_NUMBER_BYTES
}

/// The most that the start of a series takes, in bytes.
fn started_bytes(definition: usize) -> usize {
    definition + NUMBER_BYTES + 2 * LONG_NUMBER_BYTES
}

/// The most that a series of a checkpoint takes, in bytes.
fn series_bytes(series: &Series<'_>) -> usize {
    series.definition.len()
        + NUMBER_BYTES
        + 3 * LONG_NUMBER_BYTES
        + series.counts.len() * COUNT_BYTES
}

/// Whether no part of a cut is larger by itself than a record may be.
pub(super) fn fits(cut: &Cut) -> bool {
    let is_small = |bytes| bytes <= RECORD_LIMIT_BYTES;
    cut.positions.iter().map(position_bytes).all(is_small)
        && cut.started.iter().map(|(.., range)| started_bytes(range.len())).all(is_small)
}

/// Encodes what records hold.
pub(super) struct RecordWriter {
    encoder: Encoder,
    raw: Vec<u8>,
    /// What a record holds before compression, in bytes, unless one thing alone is more.
    limit: usize,
}

impl RecordWriter {
    /// Divides what is to be written into records of about `limit` bytes, and of
    /// [`RECORD_LIMIT_BYTES`] at most.
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        let limit = limit.min(RECORD_LIMIT_BYTES);
        Ok(RecordWriter { encoder: Encoder::new()?, raw: Vec::new(), limit })
    }

    /// Writes a cut, which is sorted and of which each part [`fits`], into `out`, which is empty.
    pub(super) fn cut(&mut self, out: &mut Records, cut: &Cut) -> io::Result<()> {
        let mut part = Part::first(cut, self.limit);
        if part.is_last(cut) {
            self.part(out.begin(), cut, &part)?;
            out.end(Kind::Cut);
            return Ok(());
        }
        loop {
            let (begin, is_last) = (out.len(), part.is_last(cut));
            let payload = out.begin();
            put(payload, begin as u64);
            put(payload, u64::from(!is_last));
            self.part(payload, cut, &part)?;
            out.end(Kind::Part);
            if is_last {
                return Ok(());
            }
            part = part.next(cut, self.limit);
        }
    }

    /// Gives back memory that an extraordinary cut or a checkpoint took.
    pub(super) fn shrink(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(KEPT_BUFFER_BYTES);
        self.encoder.shrink(KEPT_BUFFER_BYTES);
    }

    fn part(&mut self, out: &mut Vec<u8>, cut: &Cut, part: &Part) -> io::Result<()> {
        put(out, cut.sequence);
        put_signed(out, cut.time_ms);
        put(out, u64::from(cut.is_sample));
        put(out, cut.width as u64);
        let raw = &mut self.raw;
        raw.clear();
        put_positions(raw, &cut.positions[part.positions.clone()]);
        put_bytes(raw, &cut.tallies[part.tallies.clone()]);
        let ended = &cut.ended[part.ended.clone()];
        put(raw, ended.len() as u64);
        put_ids(raw, ended.iter().copied());
        let started = &cut.started[part.started.clone()];
        put(raw, started.len() as u64);
        put_ids(raw, started.iter().map(|&(id, ..)| id));
        let mut before = cut.time_ms;
        for &(_, start_ms, _) in started {
            put_signed(raw, start_ms.wrapping_sub(before));
            before = start_ms;
        }
        for (.., definition) in started {
            put_bytes(raw, &cut.definitions[definition.clone()]);
        }
        self.encoder.section(out, raw)?;
        let Range { start, end } = part.changed;
        put(out, (end - start) as u64);
        raw.clear();
        put_ids(raw, cut.changed[start..end].iter().copied());
        self.encoder.section(out, raw)?;
        let increments = &cut.increments[start * cut.width..end * cut.width];
        for column in 0..cut.width {
            let increments = increments.iter().skip(column).step_by(cut.width);
            self.encoder.column(out, increments.copied())?;
        }
        Ok(())
    }

    /// Writes the records that a checkpoint begins with, one after the other through `emit`.
    fn head(
        &mut self,
        head: &Head<'_>,
        mut emit: impl FnMut(Kind, &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Head { identity, positions, tallies, .. } = *head;
        if identity.len() > RECORD_LIMIT_BYTES / 2 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, TOO_LARGE));
        }
        // What comes into the first record, then into each of those that follow.
        let mut parts: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        let (mut next_position, mut next_tally) = (0, 0);
        while parts.is_empty() || next_position < positions.len() || next_tally < tallies.len() {
            let used = if parts.is_empty() { identity.len() } else { 0 };
            let mut room = Room::new(self.limit.saturating_sub(used));
            let some_positions =
                room.take(next_position, positions.len(), |at| position_bytes(&positions[at]));
            let some_tallies = room.take_alike(next_tally, tallies.len(), 1);
            (next_position, next_tally) = (some_positions.end, some_tallies.end);
            parts.push((some_positions, some_tallies));
        }
        for (place, (some_positions, some_tallies)) in parts.iter().enumerate() {
            self.raw.clear();
            if place == 0 {
                put_bytes(&mut self.raw, identity);
            }
            put_positions(&mut self.raw, &positions[some_positions.clone()]);
            put_bytes(&mut self.raw, &tallies[some_tallies.clone()]);
            let (raw, encoder) = (&self.raw, &mut self.encoder);
            if place > 0 {
                emit(Kind::More, &mut |out| encoder.section(out, raw))?;
                continue;
            }
            emit(Kind::Head, &mut |out| {
                put_signed(out, head.time_ms);
                put(out, head.width as u64);
                put(out, u64::from(head.slots));
                put(out, u64::from(head.live));
                encoder.section(out, raw)?;
                put(out, parts.len() as u64 - 1);
                Ok(())
            })?;
        }
        Ok(())
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
        let mut record = Vec::new();
        let mut emit = |kind, fill: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>| {
            record.clear();
            record.resize(FRAME_BYTES, 0);
            fill(&mut record)?;
            frame(&mut record, header.number, at, kind);
            at += record.len() as u64;
            write(&record)
        };
        let mut result = Ok(());
        let mut width = 0;
        source.head(&mut |head| {
            width = head.width;
            result = self.head(&head, &mut emit);
        });
        result?;
        let mut rows = Rows::default();
        let mut result = Ok(());
        let limit = self.limit;
        let mut flush = |rows: &mut Rows| -> io::Result<()> {
            emit(Kind::Series, &mut |out| self.series(out, width, rows))?;
            rows.clear();
            Ok(())
        };
        let mut next = 0;
        source.visit(&mut |series| {
            let bytes = series_bytes(&series);
            if series.id < next || series.counts.len() != width {
                // It would not be readable; the caller's mistake.
                result = Err(io::ErrorKind::InvalidInput.into());
            } else if bytes > RECORD_LIMIT_BYTES {
                result = Err(io::Error::new(io::ErrorKind::InvalidInput, TOO_LARGE));
            }
            if result.is_err() {
                return;
            }
            next = series.id.saturating_add(1);
            visit(series.id);
            let full = rows.ids.len() == SERIES_IN_RECORD || rows.bytes + bytes > limit;
            if full && !rows.ids.is_empty() {
                result = flush(&mut rows);
            }
            rows.push(&series, bytes);
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
    /// The most that they take.
    bytes: usize,
}

impl Rows {
    fn push(&mut self, series: &Series<'_>, bytes: usize) {
        self.ids.push(series.id);
        self.starts.push(series.start_ms);
        self.changes.push(series.changed_ms);
        put_bytes(&mut self.definitions, series.definition);
        self.counts.extend_from_slice(series.counts);
        self.bytes += bytes;
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.starts.clear();
        self.changes.clear();
        self.definitions.clear();
        self.counts.clear();
        self.bytes = 0;
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

/// Reads rising numbers, which are larger than those in `out`.
fn ids(input: &mut Input<'_>, count: usize, out: &mut Vec<u32>) -> Result<(), Malformed> {
    let last = out.last().copied();
    let first = out.len();
    let mut next = 0_u64;
    for _ in 0..count {
        let id = next.checked_add(input.number()?).ok_or(Malformed)?;
        out.push(u32::try_from(id).map_err(|_| Malformed)?);
        next = id + 1;
    }
    if last.is_some() && out.get(first).is_some_and(|&id| Some(id) <= last) {
        return Err(Malformed);
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

/// What a record of kind [`Kind::Part`] says before its part of the cut.
pub(super) struct PartHead {
    /// How far behind the beginning of the cut's first record this one begins, in bytes.
    pub(super) distance: u64,
    /// Whether more parts follow.
    pub(super) more: bool,
}

impl PartHead {
    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let distance = input.number()?;
        match input.number()? {
            more @ 0..=1 => Ok(PartHead { distance, more: more == 1 }),
            _ => Err(Malformed),
        }
    }
}

/// Reads a part of a cut, or all of it, and adds it to what `cut` has of the parts before; `first`
/// says that it is the first.
pub(super) fn read_part(
    decoder: &mut Decoder,
    input: &mut Input<'_>,
    cut: &mut Cut,
    first: bool,
) -> Result<(), Malformed> {
    let (sequence, time_ms) = (input.number()?, input.signed()?);
    let is_sample = input.number()? == 1;
    let width = usize::from(u8::try_from(input.number()?).map_err(|_| Malformed)?);
    if first {
        (cut.sequence, cut.time_ms, cut.is_sample, cut.width) =
            (sequence, time_ms, is_sample, width);
    } else if (cut.sequence, cut.time_ms, cut.is_sample, cut.width)
        != (sequence, time_ms, is_sample, width)
    {
        return Err(Malformed);
    }
    let meta = decoder.section(input)?;
    let mut meta = Input(&meta);
    positions(&mut meta, |position| cut.positions.push(position))?;
    cut.tallies.extend_from_slice(meta.bytes()?);
    let ended = meta.count()?;
    ids(&mut meta, ended, &mut cut.ended)?;
    let started = meta.count()?;
    let mut starting: Vec<u32> = cut.started.last().map(|&(id, ..)| id).into_iter().collect();
    let before_these = starting.len();
    ids(&mut meta, started, &mut starting)?;
    let mut before = cut.time_ms;
    let mut starts = Vec::new();
    for _ in 0..started {
        before = before.wrapping_add(meta.signed()?);
        starts.push(before);
    }
    for (id, start_ms) in starting.into_iter().skip(before_these).zip(starts) {
        cut.start(id, start_ms, meta.bytes()?);
    }
    meta.end()?;
    let changed = usize::try_from(input.number()?).map_err(|_| Malformed)?;
    let gaps = decoder.section(input)?;
    let mut gaps = Input(&gaps);
    let done = cut.changed.len();
    ids(&mut gaps, changed, &mut cut.changed)?;
    gaps.end()?;
    // The ids were read, so `changed` is true; that there are counts is yet to be seen.
    if (changed * width).saturating_mul(size_of::<u64>()) > decoder.limit() {
        return Err(Malformed);
    }
    cut.increments.resize((done + changed) * width, 0);
    let increments = &mut cut.increments[done * width..];
    for column in 0..width {
        decoder.column(input, changed, |row, number| {
            increments[row * width + column] = number;
        })?;
    }
    input.end()
}

/// Reads the record that a checkpoint begins with. Returns how many series there are, and how many
/// records of kind [`Kind::More`] follow.
pub(super) fn read_head(
    decoder: &mut Decoder,
    payload: &[u8],
    state: &mut State,
) -> Result<(usize, u64), Malformed> {
    let mut input = Input(payload);
    state.time_ms = input.signed()?;
    state.width = usize::from(u8::try_from(input.number()?).map_err(|_| Malformed)?);
    let slots = u32::try_from(input.number()?).map_err(|_| Malformed)?;
    let live = input.number()?;
    if live > u64::from(slots) {
        return Err(Malformed);
    }
    let meta = decoder.section(&mut input)?;
    let mut meta = Input(&meta);
    state.identity.extend_from_slice(meta.bytes()?);
    add_positions_and_tallies(&mut meta, state)?;
    state.reserve(slots);
    // Version 1 ends here.
    let more = if input.end().is_ok() { 0 } else { input.number()? };
    Ok((live as usize, more))
}

/// Reads a record of kind [`Kind::More`].
pub(super) fn read_more(
    decoder: &mut Decoder,
    payload: &[u8],
    state: &mut State,
) -> Result<(), Malformed> {
    let mut input = Input(payload);
    let meta = decoder.section(&mut input)?;
    add_positions_and_tallies(&mut Input(&meta), state)?;
    input.end()
}

fn add_positions_and_tallies(meta: &mut Input<'_>, state: &mut State) -> Result<(), Malformed> {
    positions(meta, |position| {
        state.positions.insert((position.topic, position.partition), position.next_offset);
    })?;
    state.tallies.extend_from_slice(meta.bytes()?);
    meta.end()
}

/// Reads some series of a checkpoint. Returns how many.
pub(super) fn read_series(
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
