//! The interim: what has changed since the newest delta, made durable beside the log.
//!
//! A source that can't give anything twice loses what is not durable when the process ends. Its counts
//! are therefore made durable every second, but as a delta each time they would fill the disk many
//! times faster than the ticks that push needs. So they are kept in a file apart, and each interim
//! takes the place of the one before, since it has all of that. The next delta has all of it as well.
//! There are [two files](super::pair), written in turn.
//!
//! An interim is a delta's records, as they would stand at the end of the log. A start appends those
//! that follow the log as it is. It needs no other whose delta the log is past; what another has beyond
//! the log is lost.

use std::fmt;

use super::{
    error::Error,
    fs::Directory,
    pair::{self, Content, Kind, Pair, Place, Read},
};

const KIND: Kind = Kind { names: ["interim.0", "interim.1"], magic: *b"FLOWINTR" };

/// An interim is no longer than this: a larger delta is appended to the log.
pub(super) const MAX_BYTES: usize = pair::MAX_BYTES;

/// The files.
#[derive(Debug)]
pub(super) struct InterimFiles(Pair);

impl Default for InterimFiles {
    fn default() -> Self {
        InterimFiles(Pair::new(KIND, 0))
    }
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
        let written = self.0.write(directory, place, sequence, records)?;
        self.0.turn();
        Ok(written)
    }
}

/// What one of the files is to a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interim {
    /// So many bytes of counts, up to this delta, which a start appends to the log.
    Follows { bytes: usize, sequence: u64 },
    /// The log, or the other file, has all of it.
    Superseded,
    /// So many bytes of counts, up to this delta, which the log does not have. It ends elsewhere than when
    /// they were written, so they can't be read any more: it was damaged and repaired, or is another one.
    Lost { bytes: usize, sequence: u64 },
    /// It is not whole. A crash can interrupt a write; it is the only one that is lost then, and was never
    /// published. Damage later looks the same.
    Broken,
}

/// What is said of a file that is not whole, as after any crash in the middle of a write.
pub(super) const NOT_WHOLE: &str = "not whole, its write was interrupted or it was damaged; a start removes \
                                    it and continues from what is whole";

impl fmt::Display for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interim::Follows { bytes, sequence } => write!(
                f,
                "{bytes} bytes of counts behind the log, up to delta {sequence}, which a start takes up"
            ),
            Interim::Superseded => f.write_str("superseded, what follows it has all of its counts"),
            Interim::Lost { bytes, sequence } => write!(
                f,
                "LOST: {bytes} bytes of counts, up to delta {sequence}, which do not follow the log any more: \
                 it ends elsewhere than when they were written. A start goes on without them: counters fall, \
                 and what exporters sent since then counts as missing"
            ),
            Interim::Broken => f.write_str(NOT_WHOLE),
        }
    }
}

/// A file that is there.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: &'static str,
    pub(super) interim: Interim,
    /// The records of the one that follows the log; of others none.
    pub(super) records: Vec<u8>,
}

/// Looks at the files, where the log ends at `place` with the delta `sequence`. Changes nothing.
pub(super) fn look(
    directory: &Directory,
    place: Option<Place>,
    sequence: u64,
) -> Result<Vec<Held>, Error> {
    let mut all: Vec<Held> = Vec::new();
    for name in KIND.names {
        let (interim, records) = match pair::read(directory, KIND.magic, name)? {
            None => continue,
            Some(Read::Broken) => (Interim::Broken, Vec::new()),
            Some(Read::Whole(Content { place: of, sequence, bytes })) if Some(of) == place => {
                (Interim::Follows { bytes: bytes.len(), sequence }, bytes)
            }
            Some(Read::Whole(Content { sequence: of, .. })) if of <= sequence => {
                (Interim::Superseded, Vec::new())
            }
            Some(Read::Whole(Content { sequence, bytes, .. })) => {
                (Interim::Lost { bytes: bytes.len(), sequence }, Vec::new())
            }
        };
        all.push(Held { name, interim, records });
    }
    // Each has all of the one before.
    let newest = |held: &Held| match held.interim {
        Interim::Follows { sequence, .. } => Some(sequence),
        _ => None,
    };
    let last = all.iter().filter_map(newest).max();
    for held in all.iter_mut().filter(|held| newest(held).is_some_and(|of| Some(of) < last)) {
        (held.interim, held.records) = (Interim::Superseded, Vec::new());
    }
    Ok(all)
}

/// What the files hold for a start.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The records of the newest interim that follows the log.
    pub(super) records: Option<Vec<u8>>,
    /// How many files are not whole.
    pub(super) broken: usize,
    /// The delta up to which counts are lost.
    pub(super) lost: Option<u64>,
}

/// Reads the interims that follow this place in the log. What is not whole or does not follow is removed:
/// nothing would ever be made of it, and later deltas will have its numbers.
pub(super) fn read(
    directory: &Directory,
    place: Option<Place>,
    sequence: u64,
) -> Result<Found, Error> {
    let mut found = Found::default();
    for Held { name, interim, records } in look(directory, place, sequence)? {
        match interim {
            Interim::Follows { .. } => found.records = Some(records),
            Interim::Superseded => {}
            Interim::Lost { sequence, .. } => {
                found.lost = found.lost.max(Some(sequence));
                directory.remove(name)?;
            }
            Interim::Broken => {
                found.broken += 1;
                directory.remove(name)?;
            }
        }
    }
    Ok(found)
}
