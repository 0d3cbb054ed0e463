//! A segment: a file that begins with a header, goes on with a checkpoint, then one delta after the
//! other. Header, frames and checksums; what the records hold is in `record.rs`.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    Broken, Damage, Error,
    codec::{Decoder, Input, Malformed},
    cursor::LogPosition,
    delta::Delta,
    directory::Directory,
    io_error,
    record::{
        PartHead, RECORD_LIMIT_BYTES, RECORD_LIMIT_BYTES_1, read_head, read_more, read_part,
        read_series,
    },
    state::{State, Totals},
};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"FLOWJRNL";
/// Begins each frame, so that records can be found behind a broken one.
const FRAME_MAGIC: [u8; 4] = *b"\xf1REC";
pub(super) const HEADER_BYTES: usize = 56;
/// Mark, length, kind, checksum.
pub(super) const FRAME_BYTES: usize = 13;
/// What a record's payload takes beyond what it holds, in bytes: numbers and lengths.
const PAYLOAD_EXTRA_BYTES: usize = 1 << 16;
/// How much is read at once to find records behind a broken one.
const SEARCH_BYTES: usize = 1 << 20;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The beginning of a checkpoint.
    CheckpointHead = 1,
    /// Some series of a checkpoint.
    Series = 2,
    /// A delta.
    Delta = 3,
    /// A part of a delta that is too large for one record.
    Part = 4,
    /// More of what the beginning of a checkpoint holds.
    More = 5,
}

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) number: u64,
    pub(super) created_ms: i64,
    /// The delta that the checkpoint is the state of.
    pub(super) sequence: u64,
    pub(super) totals: Totals,
}

impl Header {
    /// The place of the checkpoint.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { sequence: self.sequence, totals: self.totals }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.totals.ticks.to_le_bytes());
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
            version,
            number: word(12),
            created_ms: word(20).cast_signed(),
            sequence: word(28),
            totals: Totals { ticks: word(36), samples: word(44) },
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
pub(super) fn list(directory: &Directory) -> Result<Vec<u64>, Error> {
    let number = |name: String| {
        let number = name.strip_suffix(".log")?.parse().ok()?;
        (file_name(number) == name).then_some(number)
    };
    let mut numbers: Vec<u64> = directory.names("")?.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes the frame of a record that is to stand at `offset` of segment `number`: the first
/// [`FRAME_BYTES`] of `record`, in front of its payload.
pub(super) fn frame(record: &mut [u8], number: u64, offset: u64, kind: Kind) {
    let (frame, payload) = record.split_at_mut(FRAME_BYTES);
    // Far below 4 GiB: records have a bound.
    let length = payload.len() as u32;
    let sum = checksum(number, offset, length, kind as u8, payload);
    frame[..4].copy_from_slice(&FRAME_MAGIC);
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8] = kind as u8;
    frame[9..].copy_from_slice(&sum.to_le_bytes());
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

/// A segment of which the header has been read.
struct OpenSegment {
    path: PathBuf,
    file: File,
    header: Header,
    bytes: u64,
}

fn begin(directory: &Directory, number: u64) -> Result<OpenSegment, Error> {
    let name = file_name(number);
    let path = directory.path_of(&name);
    let file = directory.read(&name).map_err(io_error("can't open", &path))?;
    let bytes = file.metadata().map_err(io_error("can't read", &path))?.len();
    let header = Header::read(&file, &path, number)?;
    Ok(OpenSegment { path, file, header, bytes })
}

/// The header of a segment, and how many bytes its file has.
pub(super) fn read_header(directory: &Directory, number: u64) -> Result<(Header, u64), Error> {
    begin(directory, number).map(|OpenSegment { header, bytes, .. }| (header, bytes))
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
    pub(super) fn open(directory: &Directory, number: u64) -> Result<Self, Error> {
        let OpenSegment { path, file, header, bytes: end } = begin(directory, number)?;
        let limit = if header.version == 1 { RECORD_LIMIT_BYTES_1 } else { RECORD_LIMIT_BYTES };
        let decoder = Decoder::new(limit).map_err(io_error("can't decompress", &path))?;
        let at = HEADER_BYTES as u64;
        Ok(SegmentReader { path, file, header, at, end, payload: Vec::new(), decoder })
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
        let marked = framed.min(FRAME_MAGIC.len());
        if frame[..marked] != FRAME_MAGIC[..marked] {
            return Err(self.broken(offset, Damage::NoRecord));
        }
        let length = u32::from_le_bytes(array(&frame[4..8]));
        if length as usize > self.decoder.limit() + PAYLOAD_EXTRA_BYTES {
            return Err(self.broken(offset, Damage::NoRecord));
        }
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
        let (payload, offset) = self.checkpoint_record(Kind::CheckpointHead)?;
        let (live, more) = read_head(&mut self.decoder, &payload, &mut state)
            .map_err(|malformed| self.broken(offset, Damage::Meaning(malformed.into())))?;
        self.payload = payload;
        for _ in 0..more {
            let (payload, offset) = self.checkpoint_record(Kind::More)?;
            read_more(&mut self.decoder, &payload, &mut state)
                .map_err(|malformed| self.broken(offset, Damage::Meaning(malformed.into())))?;
            self.payload = payload;
        }
        while state.len() < live {
            let (payload, offset) = self.checkpoint_record(Kind::Series)?;
            match read_series(&mut self.decoder, &payload, &mut state) {
                Ok(1..) => {}
                Ok(0) => return Err(self.broken(offset, Damage::Meaning(Malformed.into()))),
                Err(what) => return Err(self.broken(offset, Damage::Meaning(what))),
            }
            self.payload = payload;
        }
        Ok(state)
    }

    /// Reads a record of a checkpoint, which is of this kind: its payload, which is to be given
    /// back, and where it begins.
    fn checkpoint_record(&mut self, kind: Kind) -> Result<(Vec<u8>, u64), Error> {
        match self.record()? {
            Some((found, offset)) if found == kind as u8 => {
                Ok((std::mem::take(&mut self.payload), offset))
            }
            Some((_, offset)) => {
                let what = match kind {
                    Kind::CheckpointHead => "the segment does not begin with a checkpoint",
                    _ => "the checkpoint is not complete",
                };
                Err(self.broken(offset, Damage::Meaning(what)))
            }
            None => Err(self.broken(self.at, Damage::Incomplete)),
        }
    }

    /// Goes behind the checkpoint without decoding it.
    pub(super) fn skip_checkpoint(&mut self) -> Result<(), Error> {
        loop {
            match self.record()? {
                Some((kind, offset)) if kind == Kind::Delta as u8 || kind == Kind::Part as u8 => {
                    self.at = offset;
                    return Ok(());
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// Reads the next delta; false at the end. A delta of several records is whole or broken as one:
    /// the error is at its beginning, and so is what is read next.
    pub(super) fn delta(&mut self, delta: &mut Delta) -> Result<bool, Error> {
        let begin = self.at;
        let read = self.delta_from(begin, delta);
        read.map_err(|error| {
            self.at = begin;
            match error {
                Error::Broken(broken) => Broken { offset: begin, ..broken }.into(),
                error => error,
            }
        })
    }

    fn delta_from(&mut self, begin: u64, delta: &mut Delta) -> Result<bool, Error> {
        delta.clear();
        let mut first = true;
        loop {
            let Some((kind, offset)) = self.record()? else {
                return if first { Ok(false) } else { Err(self.broken(begin, Damage::Incomplete)) };
            };
            let mut input = Input(&self.payload);
            let mut part = || -> Result<bool, &'static str> {
                let mut more = false;
                if kind == Kind::Part as u8 {
                    let head = PartHead::read(&mut input)?;
                    if begin + head.distance != offset {
                        return Err("the beginning of the delta is missing");
                    }
                    more = head.more;
                } else if kind != Kind::Delta as u8 || !first {
                    return Err("a record of another kind stands between the deltas");
                }
                read_part(&mut self.decoder, &mut input, delta, first)?;
                Ok(more)
            };
            match part() {
                Ok(true) => first = false,
                Ok(false) => return Ok(true),
                Err(what) => return Err(self.broken(offset, Damage::Meaning(what))),
            }
        }
    }

    /// Reads the next delta and applies it to the state; false at the end.
    pub(super) fn step(&mut self, delta: &mut Delta, state: &mut State) -> Result<bool, Error> {
        let offset = self.at;
        if !self.delta(delta)? {
            return Ok(false);
        }
        state.apply(delta).map_err(|what| self.broken(offset, Damage::Meaning(what)))?;
        Ok(true)
    }

    /// Whether what begins at `offset`, and is not a whole delta, may be what an interrupted write
    /// left behind: nothing whole is behind it but other parts of the same delta, since a disk may
    /// have kept any of what was written before a crash.
    pub(super) fn is_torn_from(&mut self, offset: u64) -> Result<bool, Error> {
        let mut from = offset;
        while self.find_record(from)? {
            let Some((kind, found)) = self.record()? else { break };
            let head = PartHead::read(&mut Input(&self.payload));
            let is_of_it = kind == Kind::Part as u8
                && head.is_ok_and(|head| found.checked_sub(head.distance) == Some(offset));
            if !is_of_it {
                return Ok(false);
            }
            from = self.at - 1;
        }
        Ok(true)
    }

    /// Looks for a whole record after `offset`, and goes there if there is one.
    pub(super) fn find_record(&mut self, offset: u64) -> Result<bool, Error> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut from = offset + 1;
        while from < self.end {
            let read = read_up_to(&self.file, &mut window, from)
                .map_err(io_error("can't read", &self.path))?;
            for found in memchr::memmem::find_iter(&window[..read], &FRAME_MAGIC) {
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
            from += (read - (FRAME_MAGIC.len() - 1)) as u64;
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
