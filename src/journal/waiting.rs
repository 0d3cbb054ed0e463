//! What the caller has taken and not counted yet: it waits for something that is still to come, while
//! positions are past it.
//!
//! The log would grow with it at each delta, so it is kept in [two files](super::pair) beside the log.
//! Each is written before the delta it belongs to, and stays until a later delta with another content
//! is durable; then it is emptied, since some of it has been counted. A start takes the newest one that is
//! not beyond the log.

use crate::clock::UnixMs;

use super::{
    error::Error,
    fs::Directory,
    pair::{self, Beside, Content, Kind, Pair, Place, Read},
};

const KIND: Kind = Kind { names: ["waiting.0", "waiting.1"], magic: *b"FLOWWAIT" };

/// No more than this waits.
pub const WAITING_LIMIT_BYTES: usize = pair::MAX_BYTES;

/// The files belong to a delta, wherever it stands.
const ANYWHERE: Place = Place { number: 0, created: UnixMs::EPOCH, offset: 0 };

/// The files.
#[derive(Debug)]
pub(super) struct WaitingFiles {
    pair: Pair,
    /// Whether one was written whose delta is not durable yet.
    is_ahead: bool,
}

impl WaitingFiles {
    /// Makes what waits durable, before the delta with this number is.
    pub(super) fn write(
        &mut self,
        directory: &Directory,
        sequence: u64,
        waiting: &[u8],
    ) -> Result<u64, Error> {
        self.is_ahead = true;
        self.pair.write(directory, ANYWHERE, sequence, waiting)
    }

    /// The delta is durable.
    pub(super) fn confirm(&mut self) {
        if std::mem::take(&mut self.is_ahead) {
            self.pair.turn();
            self.pair.empty_next();
        }
    }
}

/// What the files hold.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) files: WaitingFiles,
    /// What waited when this delta, or one before it, was made durable.
    pub(super) waiting: Vec<u8>,
    /// Whether nothing whole is there, but something broken.
    pub(super) is_broken: bool,
}

/// Finds what waits at the end of a log, whose newest delta has this number: the place of its file and
/// what that holds. `others` gets the names of the other files, with what they hold.
fn find(
    directory: &Directory,
    sequence: u64,
    mut others: impl FnMut(&'static str, Read) -> Result<(), Error>,
) -> Result<Option<(usize, Content)>, Error> {
    let mut newest: Option<(usize, Content)> = None;
    for (place, name) in KIND.names.into_iter().enumerate() {
        match pair::read(directory, KIND.magic, name)? {
            None => {}
            Some(Read::Whole(content))
                if content.sequence <= sequence
                    && newest
                        .as_ref()
                        .is_none_or(|(_, newer)| newer.sequence < content.sequence) =>
            {
                if let Some((place, older)) = newest.replace((place, content)) {
                    others(KIND.names[place], Read::Whole(older))?;
                }
            }
            Some(read) => others(name, read)?,
        }
    }
    Ok(newest)
}

/// Says what the files hold, by their names, where the newest delta has this number. Changes nothing.
pub(super) fn list(
    directory: &Directory,
    sequence: u64,
) -> Result<Vec<(&'static str, Beside)>, Error> {
    let mut all = Vec::new();
    let newest = find(directory, sequence, |name, read| {
        let held = match read {
            Read::Whole(_) => Beside::Void,
            Read::Broken => Beside::Broken,
        };
        all.push((name, held));
        Ok(())
    })?;
    all.extend(newest.map(|(place, Content { sequence, bytes, .. })| {
        (KIND.names[place], Beside::TakenUp { bytes: bytes.len(), sequence })
    }));
    all.sort_unstable_by_key(|(name, _)| *name);
    Ok(all)
}

/// Reads what waits at the end of a log, whose newest delta has this number. Removes everything else:
/// what belongs to later deltas was never durable, and others will have their numbers.
pub(super) fn read(directory: &Directory, sequence: u64) -> Result<Found, Error> {
    let mut is_broken = false;
    let newest = find(directory, sequence, |name, read| {
        is_broken |= matches!(read, Read::Broken);
        directory.remove(name)
    })?;
    let (next, waiting) = match newest {
        Some((place, content)) => (1 - place, Some(content.bytes)),
        None => (0, None),
    };
    Ok(Found {
        files: WaitingFiles { pair: Pair::new(KIND, next), is_ahead: false },
        is_broken: is_broken && waiting.is_none(),
        waiting: waiting.unwrap_or_default(),
    })
}
