//! Cursors: how far a reader has come, and the files that keep it.

use std::io::{ErrorKind, Read};

use super::{
    Broken, Damage, Error,
    directory::{Directory, in_directory},
    io_error,
    state::Totals,
};

/// The directory of the cursors, in the journal's.
pub(super) const CURSORS: &str = "cursors";

/// The version of the form of cursors, which has not changed with that of segments.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"FLOWCRSR";
pub(super) const CURSOR_BYTES: usize = 40;
const NAME_LIMIT: usize = 100;

/// How far a reader has come: it has dealt with all deltas up to `sequence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Number of the last delta that it has dealt with.
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
        // Believed only now, as in a segment's header.
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

/// The file of a cursor.
pub(super) fn file_name(name: &str) -> Result<String, Error> {
    let fits = (1..=NAME_LIMIT).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits { Ok(in_directory(CURSORS, name)) } else { Err(Error::CursorName(name.to_owned())) }
}

/// A cursor by its name, or what is wrong with it.
pub(super) type Found = (String, Result<LogPosition, Broken>);

/// The cursors that a directory holds.
pub(super) fn read_all(directory: &Directory) -> Result<Vec<Found>, Error> {
    let mut cursors = Vec::new();
    for name in directory.names(CURSORS)? {
        if name.starts_with('.') {
            continue;
        }
        let cursor = match LogPosition::read(directory, &in_directory(CURSORS, &name)) {
            Ok(cursor) => Ok(cursor),
            Err(Error::Broken(broken)) => Err(broken),
            // Gone since it was listed.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        cursors.push((name, cursor));
    }
    Ok(cursors)
}
