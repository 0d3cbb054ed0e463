//! Positions in the log, and the files that hold one.

use std::io::Read;

use super::{
    error::{Broken, Damage, Error, io_error},
    fs::Directory,
};

/// The version of the form of these files, which has not changed with that of segments.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"FLOWCRSR";
pub(super) const CURSOR_BYTES: usize = 40;

/// How much was ever to be pushed. The difference between two positions is what lies between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ticks.
    pub ticks: u64,
    /// Samples: one for each count of the living series at each tick.
    pub samples: u64,
}

/// A position in the log: after the delta `sequence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Sequence number of the last delta before it.
    pub sequence: u64,
    /// How much was to be pushed up to there.
    pub totals: Totals,
}

impl LogPosition {
    pub(super) fn encode(self) -> [u8; CURSOR_BYTES] {
        let mut bytes = [0; CURSOR_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.totals.ticks.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.totals.samples.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the file of this name.
    pub(super) fn read(directory: &Directory, name: &str) -> Result<Self, Error> {
        let path = directory.path_of(name);
        let broken = |damage| Broken { path: path.clone(), offset: 0, damage };
        let mut bytes = Vec::with_capacity(CURSOR_BYTES + 1);
        directory
            .read(name)
            .and_then(|file| file.take(CURSOR_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(io_error("can't read", &path))?;
        let word = |at: usize| {
            bytes[at..at + 8].iter().rfold(0, |word, &byte| word << 8 | u64::from(byte))
        };
        if bytes.len() != CURSOR_BYTES {
            return Err(broken(Damage::Incomplete).into());
        }
        if bytes[..8] != MAGIC {
            return Err(broken(Damage::NoRecord).into());
        }
        if crc32fast::hash(&bytes[..36]).to_le_bytes() != bytes[36..] {
            return Err(broken(Damage::Checksum).into());
        }
        // Trusted only now, as in a segment's header.
        let version = word(8) as u32;
        if version > VERSION {
            return Err(Error::Newer { path, version });
        }
        Ok(LogPosition {
            sequence: word(12),
            totals: Totals { ticks: word(20), samples: word(28) },
        })
    }
}
