//! The interim: what has changed since the newest delta, made durable beside the log.
//!
//! A source that can't give anything twice loses what is not durable when the process ends. Its counts
//! are therefore made durable every second, but as a delta each time they would fill the disk many
//! times faster than the ticks that push needs. So they are kept in a file apart, and each interim
//! takes the place of the one before, since it has all of that. The next delta has all of it as well.
//! There are [two files](super::pair), written in turn.
//!
//! An interim is a delta's records, as they would stand at the end of the log. A start appends those
//! that follow the log as it is; any other interim is void, since the log went on.

use super::{
    error::Error,
    fs::Directory,
    pair::{self, Beside, Content, Kind, Pair, Place, Read},
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

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The records of the newest interim that follows the log.
    pub(super) records: Option<Vec<u8>>,
    /// How many files are not whole. A crash can interrupt a write; it is the only one that is lost then,
    /// and was never published. Damage later looks the same.
    pub(super) broken: usize,
}

/// Says what the files hold, by their names, where the log ends at `place`. Changes nothing.
pub(super) fn list(
    directory: &Directory,
    place: Option<Place>,
) -> Result<Vec<(&'static str, Beside)>, Error> {
    let mut all = Vec::new();
    for name in KIND.names {
        all.extend(pair::read(directory, KIND.magic, name)?.map(|read| {
            let held = match read {
                Read::Whole(Content { place: of, sequence, bytes }) if Some(of) == place => {
                    Beside::TakenUp { bytes: bytes.len(), sequence }
                }
                Read::Whole(_) => Beside::Void,
                Read::Broken => Beside::Broken,
            };
            (name, held)
        }));
    }
    Ok(all)
}

/// Reads the interims that follow this place in the log. What is not whole is removed: nothing would
/// ever be made of it.
pub(super) fn read(directory: &Directory, place: Place) -> Result<Found, Error> {
    let mut newest = None;
    let mut broken = 0;
    for name in KIND.names {
        match pair::read(directory, KIND.magic, name)? {
            Some(Read::Whole(Content { place: of, sequence, bytes })) if of == place => {
                newest = newest.max(Some((sequence, bytes)));
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
