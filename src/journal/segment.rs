//! Reads a segment: a file with a header, a checkpoint, and the deltas after it.

use std::{io, path::PathBuf};

use crate::files::OpenFile;

use super::{
    codec::{Decoder, Input, Malformed},
    delta::Delta,
    error::{Broken, Damage, Error, io_error},
    frame::{
        FRAME_BYTES, FRAME_MAGIC, HEADER_BYTES, Kind, PAYLOAD_EXTRA_BYTES, RECORD_LIMIT_BYTES,
        RECORD_LIMIT_BYTES_1, checksum,
    },
    fs::Directory,
    header::{Header, array, file_name},
    record::{PartHead, read_head, read_more, read_part, read_series, read_width},
    state::State,
};

/// How much is read at once to find records behind a broken one.
const SEARCH_BYTES: usize = 1 << 20;

/// A segment of which the header has been read.
struct OpenSegment {
    path: PathBuf,
    file: OpenFile,
    header: Header,
    bytes: u64,
}

fn begin(directory: &Directory, number: u64) -> Result<OpenSegment, Error> {
    let name = file_name(number);
    let path = directory.path_of(&name);
    let file = directory.read(&name).map_err(io_error("can't open", &path))?;
    let bytes = file.length().map_err(io_error("can't read", &path))?;
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
    file: OpenFile,
    pub(super) header: Header,
    /// Where the next record begins.
    pub(super) at: u64,
    /// Nothing is read beyond.
    pub(super) end: u64,
    /// Records that are read as if they stood at this offset, in place of what the file has there.
    behind: Option<(u64, Vec<u8>)>,
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
        Ok(SegmentReader {
            path,
            file,
            header,
            at,
            end,
            behind: None,
            payload: Vec::new(),
            decoder,
        })
    }

    pub(super) fn broken(&self, offset: u64, damage: Damage) -> Error {
        Broken { path: self.path.clone(), offset, damage }.into()
    }

    /// Reads up to the end of the file from now on.
    pub(super) fn include_all(&mut self) -> Result<(), Error> {
        self.end = self.file.length().map_err(io_error("can't read", &self.path))?;
        Ok(())
    }

    /// Reads these records from now on, as if the file ended with them where it is read up to.
    pub(super) fn append(&mut self, records: Vec<u8>) {
        let at = self.at;
        self.end = at + records.len() as u64;
        self.behind = Some((at, records));
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let Some((begin, records)) = self.behind.as_ref().filter(|(begin, _)| offset >= *begin)
        else {
            return self.file.read_exact_at(bytes, offset);
        };
        let from = (offset - begin) as usize;
        let records = records.get(from..from + bytes.len());
        bytes.copy_from_slice(records.ok_or(io::ErrorKind::UnexpectedEof)?);
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
        match self.read_exact_at(&mut frame[..framed], offset) {
            Ok(()) => {}
            // It was truncated by others since its length was read.
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
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(length as usize, 0);
        let was_read = self.read_exact_at(&mut payload, offset + FRAME_BYTES as u64);
        self.payload = payload;
        match was_read {
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

    /// Skips the checkpoint, for a reader that has the state. Returns how many counts each series has
    /// from here on, which is all that may differ.
    pub(super) fn skip_checkpoint(&mut self) -> Result<usize, Error> {
        let (payload, offset) = self.checkpoint_record(Kind::CheckpointHead)?;
        let width = read_width(&payload)
            .map_err(|malformed| self.broken(offset, Damage::Meaning(malformed.into())))?;
        self.payload = payload;
        loop {
            match self.record()? {
                Some((kind, offset)) if kind == Kind::Delta as u8 || kind == Kind::Part as u8 => {
                    self.at = offset;
                    return Ok(width);
                }
                Some(_) => {}
                None => return Ok(width),
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
            let read = self
                .file
                .read_up_to(&mut window, from)
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
