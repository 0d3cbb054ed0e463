//! The payloads of a segment's records: how a delta or a checkpoint is divided into records of
//! bounded size, and how they are encoded.

mod read;

use std::{io, ops::Range};

use crate::clock::UnixMs;

use super::{
    codec::{Encoder, put, put_bytes, put_signed},
    delta::{Delta, Position},
    frame::{FRAME_BYTES, HEADER_BYTES, Kind, RECORD_LIMIT_BYTES, frame},
    header::Header,
    state::{CheckpointHead, CheckpointSource, Series},
};

pub(super) use read::{PartHead, read_head, read_more, read_part, read_series, read_width};

/// Series in one record of a checkpoint.
const SERIES_IN_RECORD: usize = 1 << 16;

/// The most that a number takes, in bytes, if it is below 2^32, and any other.
const NUMBER_BYTES: usize = 5;
const LONG_NUMBER_BYTES: usize = 10;

/// The most that a count takes in a column, in bytes: its length, and its bits.
const COUNT_BYTES: usize = 9;

/// Buffers keep this much memory for the next delta.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// Why something can't be written: it has one part that is larger than a record may be.
pub(super) const TOO_LARGE: &str = "the definition of a series is larger than a record may be";

/// The records of a delta in a row, each with space for its frame: a frame depends on the record's
/// place in the segment.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    /// Their kinds, and where they end.
    ends: Vec<(Kind, usize)>,
}

impl Records {
    /// Their size, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes their frames, for the place at `offset` of segment `number`.
    pub(super) fn place(&mut self, number: u64, offset: u64) -> &[u8] {
        let mut begin = 0;
        for &(kind, end) in &self.ends {
            frame(&mut self.bytes[begin..end], number, offset + begin as u64, kind);
            begin = end;
        }
        &self.bytes
    }

    /// Removes them, and frees the memory that an exceptionally large delta took.
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

/// The space that is left in a record.
struct Space {
    left: usize,
    /// An item that is larger than a record gets one to itself.
    is_empty: bool,
}

impl Space {
    fn new(limit: usize) -> Self {
        Space { left: limit, is_empty: true }
    }

    /// As many of the items `from..end`, which have these sizes, as there is space for.
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

    /// Like [`Space::take`], for items that all have the same size, which is not 0.
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

/// The part of a delta that goes into one record.
struct Part {
    positions: Range<usize>,
    early_counts: Range<usize>,
    ended: Range<usize>,
    started: Range<usize>,
    changed: Range<usize>,
}

impl Part {
    /// The part that begins a delta.
    fn first(delta: &Delta, limit: usize) -> Self {
        let none =
            Part { positions: 0..0, early_counts: 0..0, ended: 0..0, started: 0..0, changed: 0..0 };
        none.next(delta, limit)
    }

    fn next(&self, delta: &Delta, limit: usize) -> Self {
        let mut room = Space::new(limit);
        let changed_bytes = NUMBER_BYTES + delta.width * COUNT_BYTES;
        let positions = &delta.positions;
        Part {
            positions: room
                .take(self.positions.end, positions.len(), |at| position_bytes(&positions[at])),
            early_counts: room.take_alike(self.early_counts.end, delta.early_counts.len(), 1),
            ended: room.take_alike(self.ended.end, delta.ended.len(), NUMBER_BYTES),
            started: room.take(self.started.end, delta.started.len(), |at| {
                started_bytes(delta.started[at].2.len())
            }),
            changed: room.take_alike(self.changed.end, delta.changed.len(), changed_bytes),
        }
    }

    fn is_last(&self, delta: &Delta) -> bool {
        self.positions.end == delta.positions.len()
            && self.early_counts.end == delta.early_counts.len()
            && self.ended.end == delta.ended.len()
            && self.started.end == delta.started.len()
            && self.changed.end == delta.changed.len()
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

/// Whether no single item of a delta is larger than a record may be.
pub(super) fn fits(delta: &Delta) -> bool {
    let is_small = |bytes| bytes <= RECORD_LIMIT_BYTES;
    delta.positions.iter().map(position_bytes).all(is_small)
        && delta.started.iter().map(|(.., range)| started_bytes(range.len())).all(is_small)
}

/// Encodes what records hold.
pub(super) struct RecordWriter {
    encoder: Encoder,
    raw: Vec<u8>,
    /// What a record holds before compression, in bytes, unless one thing alone is more.
    limit: usize,
}

impl RecordWriter {
    /// Divides deltas and checkpoints into records of about `limit` bytes, and of
    /// [`RECORD_LIMIT_BYTES`] at most.
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        let limit = limit.min(RECORD_LIMIT_BYTES);
        Ok(RecordWriter { encoder: Encoder::new()?, raw: Vec::new(), limit })
    }

    /// Writes a delta, which is sorted and of which each part [`fits`], into `out`, which is empty.
    pub(super) fn delta(&mut self, out: &mut Records, delta: &Delta) -> io::Result<()> {
        let mut part = Part::first(delta, self.limit);
        if part.is_last(delta) {
            self.part(out.begin(), delta, &part)?;
            out.end(Kind::Delta);
            return Ok(());
        }
        loop {
            let (begin, is_last) = (out.len(), part.is_last(delta));
            let payload = out.begin();
            put(payload, begin as u64);
            put(payload, u64::from(!is_last));
            self.part(payload, delta, &part)?;
            out.end(Kind::Part);
            if is_last {
                return Ok(());
            }
            part = part.next(delta, self.limit);
        }
    }

    /// Frees the memory that a checkpoint or an exceptionally large delta took.
    pub(super) fn shrink(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(KEPT_BUFFER_BYTES);
        self.encoder.shrink(KEPT_BUFFER_BYTES);
    }

    fn part(&mut self, out: &mut Vec<u8>, delta: &Delta, part: &Part) -> io::Result<()> {
        put(out, delta.sequence);
        put_signed(out, delta.time.get());
        put(out, if delta.is_tick { delta.extra_samples.saturating_add(1) } else { 0 });
        put(out, delta.width as u64);
        let raw = &mut self.raw;
        raw.clear();
        put_positions(raw, &delta.positions[part.positions.clone()]);
        put_bytes(raw, &delta.early_counts[part.early_counts.clone()]);
        let ended = &delta.ended[part.ended.clone()];
        put(raw, ended.len() as u64);
        put_ids(raw, ended.iter().copied());
        let started = &delta.started[part.started.clone()];
        put(raw, started.len() as u64);
        put_ids(raw, started.iter().map(|&(id, ..)| id));
        let mut before = delta.time.get();
        for &(_, start, _) in started {
            put_signed(raw, start.get().wrapping_sub(before));
            before = start.get();
        }
        for (.., definition) in started {
            put_bytes(raw, &delta.definitions[definition.clone()]);
        }
        self.encoder.section(out, raw)?;
        let Range { start, end } = part.changed;
        put(out, (end - start) as u64);
        raw.clear();
        put_ids(raw, delta.changed[start..end].iter().copied());
        self.encoder.section(out, raw)?;
        let increments = &delta.increments[start * delta.width..end * delta.width];
        for column in 0..delta.width {
            let increments = increments.iter().skip(column).step_by(delta.width);
            self.encoder.column(out, increments.copied())?;
        }
        Ok(())
    }

    /// Writes the first records of a checkpoint, one by one, through `emit`.
    fn head(
        &mut self,
        head: &CheckpointHead<'_>,
        mut emit: impl FnMut(Kind, &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        let CheckpointHead { identity, positions, early_counts, .. } = *head;
        if identity.len() > RECORD_LIMIT_BYTES / 2 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, TOO_LARGE));
        }
        // What goes into the first record, then into each of the following ones.
        let mut parts: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        let (mut next_position, mut next_early_count) = (0, 0);
        while parts.is_empty()
            || next_position < positions.len()
            || next_early_count < early_counts.len()
        {
            let used = if parts.is_empty() { identity.len() } else { 0 };
            let mut room = Space::new(self.limit.saturating_sub(used));
            let some_positions =
                room.take(next_position, positions.len(), |at| position_bytes(&positions[at]));
            let some_early_counts = room.take_alike(next_early_count, early_counts.len(), 1);
            (next_position, next_early_count) = (some_positions.end, some_early_counts.end);
            parts.push((some_positions, some_early_counts));
        }
        for (place, (some_positions, some_early_counts)) in parts.iter().enumerate() {
            self.raw.clear();
            if place == 0 {
                put_bytes(&mut self.raw, identity);
            }
            put_positions(&mut self.raw, &positions[some_positions.clone()]);
            put_bytes(&mut self.raw, &early_counts[some_early_counts.clone()]);
            let (raw, encoder) = (&self.raw, &mut self.encoder);
            if place > 0 {
                emit(Kind::More, &mut |out| encoder.section(out, raw))?;
                continue;
            }
            emit(Kind::CheckpointHead, &mut |out| {
                put_signed(out, head.time.get());
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
                put_signed(&mut self.raw, time.get().wrapping_sub(before));
                before = time.get();
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
        source: &dyn CheckpointSource,
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
                // It would be unreadable: a mistake of the caller.
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
    starts: Vec<UnixMs>,
    changes: Vec<UnixMs>,
    definitions: Vec<u8>,
    counts: Vec<u64>,
    /// The most that they take.
    bytes: usize,
}

impl Rows {
    fn push(&mut self, series: &Series<'_>, bytes: usize) {
        self.ids.push(series.id);
        self.starts.push(series.start);
        self.changes.push(series.changed);
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
