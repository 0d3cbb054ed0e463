//! The interim: what has changed since the newest delta, made durable beside the log.
//!
//! A source that can't give anything twice loses what is not durable when the process ends. Its counts
//! are therefore made durable every second, but as a delta each time they would fill the disk many
//! times faster than the ticks that push needs. So they are kept in a file apart, and each interim
//! takes the place of the one before, since it has all of that. The next delta has all of it as well.
//! There are two files, written in turn, so that an interrupted write leaves the interim before.
//!
//! An interim is a delta's records, as they would stand at the end of the log. A start appends those
//! that follow the log as it is; any other interim is void, since the log went on.

use std::io::{self, ErrorKind};

use crate::{clock::UnixMs, files::OpenFile};

use super::{
    active::ActiveSegment,
    error::{Error, io_error},
    fs::Directory,
    header::{Header, array},
};

const NAMES: [&str; 2] = ["interim.0", "interim.1"];

const MAGIC: [u8; 8] = *b"FLOWINTR";

/// Magic bytes, the segment's number and when it was made, the offset there, the delta's sequence number,
/// the records' length, and a checksum of all of that and of the records.
const HEADER_BYTES: usize = 52;

/// An interim is no longer than this: a larger delta is appended to the log.
pub(super) const MAX_BYTES: usize = 16 << 20;

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

/// The files, open.
#[derive(Debug, Default)]
pub(super) struct InterimFiles {
    files: [Option<OpenFile>; 2],
    /// The one whose turn it is.
    next: usize,
    /// What is written, with its header.
    bytes: Vec<u8>,
}

impl InterimFiles {
    /// Makes these records durable, which would stand at `place`, no more than [`MAX_BYTES`].
    pub(super) fn write(
        &mut self,
        directory: &Directory,
        place: Place,
        sequence: u64,
        records: &[u8],
    ) -> Result<u64, Error> {
        self.bytes.clear();
        self.bytes.extend(MAGIC);
        let Place { number, created, offset } = place;
        for number in
            [number, created.get().cast_unsigned(), offset, sequence, records.len() as u64]
        {
            self.bytes.extend(number.to_le_bytes());
        }
        let sum = checksum(&self.bytes, records);
        self.bytes.extend(sum.to_le_bytes());
        self.bytes.extend(records);
        let name = NAMES[self.next];
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
        self.next = 1 - self.next;
        Ok(self.bytes.len() as u64)
    }
}

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The records of the newest interim that follows the log.
    pub(super) records: Option<Vec<u8>>,
    /// How many files are not whole. A crash can interrupt a write; it is the only one that is lost then,
    /// and was never published. Damage later looks the same.
    pub(super) broken: usize,
}

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interim {
    /// So many bytes of records, which follow the log, up to this delta: a start takes them up.
    Follows { bytes: usize, sequence: u64 },
    /// What the log has already.
    Void,
    /// It is not whole: its write was interrupted, or it was damaged later.
    Broken,
}

/// Says what the files hold, by their names, where the log ends at `place`. Changes nothing.
pub(super) fn list(
    directory: &Directory,
    place: Option<Place>,
) -> Result<Vec<(&'static str, Interim)>, Error> {
    let mut all = Vec::new();
    for name in NAMES {
        all.extend(read_file(directory, name)?.map(|read| {
            let interim = match read {
                Read::Whole((of, sequence, records)) if Some(of) == place => {
                    Interim::Follows { bytes: records.len(), sequence }
                }
                Read::Whole(_) => Interim::Void,
                Read::Broken => Interim::Broken,
            };
            (name, interim)
        }));
    }
    Ok(all)
}

/// Reads the interims that follow this place in the log. What is not whole is removed: nothing would
/// ever be made of it.
pub(super) fn read(directory: &Directory, place: Place) -> Result<Found, Error> {
    let mut newest = None;
    let mut broken = 0;
    for name in NAMES {
        match read_file(directory, name)? {
            Some(Read::Whole((of, sequence, records))) if of == place => {
                newest = newest.max(Some((sequence, records)));
            }
            // None, or the log went on.
            None | Some(Read::Whole(_)) => {}
            Some(Read::Broken) => {
                broken += 1;
                directory.remove(name)?;
            }
        }
    }
    Ok(Found { records: newest.map(|(_, records)| records), broken })
}

/// A file's place, sequence number and records.
type File = (Place, u64, Vec<u8>);

enum Read {
    Whole(File),
    Broken,
}

/// A file, if it is there.
fn read_file(directory: &Directory, name: &str) -> Result<Option<Read>, Error> {
    match read_one(directory, name) {
        Ok(file) => Ok(Some(Read::Whole(file))),
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
fn read_one(directory: &Directory, name: &str) -> io::Result<File> {
    let file = directory.read(name)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let number = |at: usize| u64::from_le_bytes(array(&header[at..at + 8]));
    let created = UnixMs::new(number(16) as i64);
    let place = Place { number: number(8), created, offset: number(24) };
    let (sequence, length) = (number(32), number(40));
    if header[..8] != MAGIC || length > MAX_BYTES as u64 {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut records = vec![0; length as usize];
    file.read_exact_at(&mut records, HEADER_BYTES as u64)?;
    let sum = checksum(&header[..HEADER_BYTES - 4], &records);
    if sum.to_le_bytes() != header[HEADER_BYTES - 4..] {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok((place, sequence, records))
}

fn checksum(header: &[u8], records: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(records);
    sum.finalize()
}
