//! Two files that are written in turn, so that an interrupted write leaves the content before.
//!
//! Both are beside the log: each says to which place in it and to which delta its content belongs.

use std::io::{self, ErrorKind};

use crate::{clock::UnixMs, files::OpenFile};

use super::{
    active::ActiveSegment,
    error::{Error, io_error},
    fs::Directory,
    header::{Header, array},
};

/// Magic bytes, the segment's number and when it was made, the offset there, the delta's sequence number,
/// the content's length, and a checksum of all of that and of the content.
const HEADER_BYTES: usize = 52;

/// No content is longer than this.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// The memory for what is written is given back beyond this.
const KEPT_BYTES: usize = 1 << 20;

/// What two files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) names: [&'static str; 2],
    pub(super) magic: [u8; 8],
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's number.
    pub(super) number: u64,
    /// When the segment was made: another journal has one of the same number.
    pub(super) created: UnixMs,
    pub(super) offset: u64,
}

impl Place {
    /// Behind what a segment has.
    pub(super) fn end_of(active: &ActiveSegment) -> Self {
        let Header { number, created, .. } = active.header;
        Place { number, created, offset: active.end }
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) place: Place,
    /// The delta's.
    pub(super) sequence: u64,
    pub(super) bytes: Vec<u8>,
}

/// Two files, open.
#[derive(Debug)]
pub(super) struct Pair {
    kind: Kind,
    files: [Option<OpenFile>; 2],
    /// The one whose turn it is.
    next: usize,
    /// What is written, with its header.
    bytes: Vec<u8>,
}

impl Pair {
    /// Files of which `next` is to be written first.
    pub(super) fn new(kind: Kind, next: usize) -> Self {
        Pair { kind, files: [None, None], next, bytes: Vec::new() }
    }

    /// Makes a content of no more than [`MAX_BYTES`] durable, in the file whose turn it is. Returns the
    /// bytes that were written.
    ///
    /// # Errors
    /// The file is removed then.
    pub(super) fn write(
        &mut self,
        directory: &Directory,
        place: Place,
        sequence: u64,
        content: &[u8],
    ) -> Result<u64, Error> {
        self.bytes.clear();
        self.bytes.extend(self.kind.magic);
        let Place { number, created, offset } = place;
        for number in
            [number, created.get().cast_unsigned(), offset, sequence, content.len() as u64]
        {
            self.bytes.extend(number.to_le_bytes());
        }
        let sum = checksum(&self.bytes, content);
        self.bytes.extend(sum.to_le_bytes());
        self.bytes.extend(content);
        let name = self.kind.names[self.next];
        let is_in_place = |file: &OpenFile| directory.has(file, name).unwrap_or(false);
        let file = self.files[self.next].take().filter(is_in_place);
        let is_new = file.is_none();
        let write = || -> Result<OpenFile, io::Error> {
            let file = match file {
                Some(file) => file,
                None => directory.open_or_create(name)?,
            };
            file.write_all_at(&self.bytes, 0)?;
            file.set_len(self.bytes.len() as u64)?;
            file.sync_data()?;
            Ok(file)
        };
        let file = write().map_err(|error| {
            // It is unknown what of it is on disk, and a later sync proves nothing. The next try begins
            // with an empty file; the other one stays.
            drop(directory.remove(name));
            io_error("can't write", directory.path_of(name))(error)
        })?;
        if is_new {
            directory.sync("")?;
        }
        self.files[self.next] = Some(file);
        let written = self.bytes.len() as u64;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        Ok(written)
    }

    /// Leaves the file that was written last as it is: the next write is to the other one.
    pub(super) fn turn(&mut self) {
        self.next = 1 - self.next;
    }

    /// Empties the file whose turn it is: nobody is to take its content, should the other one be damaged.
    pub(super) fn empty_next(&mut self) {
        if let Some(file) = &self.files[self.next]
            && file.set_len(0).is_err()
        {
            // It is written from its beginning anyway.
            self.files[self.next] = None;
        }
    }
}

/// What a file beside the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// So many bytes, up to this delta: a start takes them up.
    TakenUp { bytes: usize, sequence: u64 },
    /// What the log has already, or what was never published.
    Void,
    /// It is not whole: its write was interrupted, or it was damaged later.
    Broken,
}

/// What a file holds.
pub(super) enum Read {
    Whole(Content),
    Broken,
}

/// A file, if it is there.
pub(super) fn read(
    directory: &Directory,
    magic: [u8; 8],
    name: &str,
) -> Result<Option<Read>, Error> {
    match read_one(directory, magic, name) {
        Ok(content) => Ok(Some(Read::Whole(content))),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(None),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Ok(Some(Read::Broken)),
            _ => Err(io_error("can't read", directory.path_of(name))(error)),
        },
    }
}

/// What a file holds.
///
/// # Errors
/// [`ErrorKind::InvalidData`] and [`ErrorKind::UnexpectedEof`] where it is not whole.
fn read_one(directory: &Directory, magic: [u8; 8], name: &str) -> io::Result<Content> {
    let file = directory.read(name)?;
    if file.length()? == 0 {
        return Err(ErrorKind::NotFound.into());
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let number = |at: usize| u64::from_le_bytes(array(&header[at..at + 8]));
    let created = UnixMs::new(number(16) as i64);
    let place = Place { number: number(8), created, offset: number(24) };
    let (sequence, length) = (number(32), number(40));
    if header[..8] != magic || length > MAX_BYTES as u64 {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, HEADER_BYTES as u64)?;
    let sum = checksum(&header[..HEADER_BYTES - 4], &bytes);
    if sum.to_le_bytes() != header[HEADER_BYTES - 4..] {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(Content { place, sequence, bytes })
}

fn checksum(header: &[u8], content: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(content);
    sum.finalize()
}
