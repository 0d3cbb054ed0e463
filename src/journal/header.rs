//! The header of a segment's file, and the file's name.

use std::path::Path;

use crate::{clock::UnixMs, files::OpenFile};

use super::{
    error::{Broken, Damage, Error, io_error},
    frame::{FORMAT_VERSION, HEADER_BYTES, SEGMENT_MAGIC},
    fs::Directory,
    position::{LogPosition, Totals},
};

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) number: u64,
    pub(super) created: UnixMs,
    /// Sequence number of the delta after which the checkpoint was taken.
    pub(super) sequence: u64,
    pub(super) totals: Totals,
}

impl Header {
    /// The position of the checkpoint.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { sequence: self.sequence, totals: self.totals }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.created.get().to_le_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.totals.ticks.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.totals.samples.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..52]);
        bytes[52..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn read(file: &OpenFile, path: &Path, number: u64) -> Result<Self, Error> {
        let broken = |damage| Broken { path: path.to_owned(), offset: 0, damage }.into();
        let mut bytes = [0; HEADER_BYTES];
        let read = file.read_up_to(&mut bytes, 0).map_err(io_error("can't read", path))?;
        if read < HEADER_BYTES {
            return Err(broken(Damage::Incomplete));
        }
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(broken(Damage::NoRecord));
        }
        if crc32fast::hash(&bytes[..52]).to_le_bytes() != bytes[52..] {
            return Err(broken(Damage::Checksum));
        }
        // Trusted only now: a flipped bit must not pass for a later version. Later versions keep
        // magic, version and checksum in their places for that reason.
        let version = u32::from_le_bytes(array(&bytes[8..12]));
        if version > FORMAT_VERSION {
            return Err(Error::Newer { path: path.to_owned(), version });
        }
        let word = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
        let header = Header {
            version,
            number: word(12),
            created: UnixMs::new(word(20).cast_signed()),
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

/// The first bytes of a slice that is known to be long enough.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
