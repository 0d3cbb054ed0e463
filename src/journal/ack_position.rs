//! The acknowledged position of an endpoint: how far exactly it has come, as its pusher notes it
//! between two retention cursors, in the pusher's own form.

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use crate::files::OpenFile;

use super::{
    error::{Error, io_error},
    fs::{Directory, in_directory, unfinished},
};

/// The directory of the acknowledged positions, in the journal's.
pub(super) const ACK_POSITIONS: &str = "bookmarks";

/// A file has two slots for notes, written in turn, so that one of them is always whole.
const SLOT_BYTES: usize = 4096;
/// Number, length, checksum.
const HEAD_BYTES: usize = 16;

/// A note may have this many bytes.
pub const ACK_POSITION_LIMIT_BYTES: usize = SLOT_BYTES - HEAD_BYTES;

/// The newest note of an endpoint's pusher.
///
/// Writing one costs a few system calls and no wait: from then on the note survives the end of the
/// process, however it comes. To survive that of the machine as well, it has to be synced.
pub struct AckPosition {
    directory: Arc<Directory>,
    /// The file's name in the journal's directory.
    name: String,
    file: OpenFile,
    /// Number of the newest note.
    number: u64,
    /// What the file holds: both slots.
    content: Vec<u8>,
    /// Whether all that the file holds may be made durable by a sync. Not after a sync has failed:
    /// the kernel may have dropped what was to be written, and says so only once. And not where an
    /// earlier process wrote it, which may have had that failure.
    can_be_synced: bool,
    /// Whether the file has got its name since that was last made durable.
    is_renamed: bool,
}

impl fmt::Debug for AckPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckPosition").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AckPosition {
    /// Opens the file, which is made if need be, and returns the newest note that is whole.
    pub(super) fn open(
        directory: &Arc<Directory>,
        name: &str,
    ) -> Result<(Self, Option<Vec<u8>>), Error> {
        let name = in_directory(ACK_POSITIONS, name);
        let path = directory.path_of(&name);
        let mut file = directory.open_or_create(&name).map_err(io_error("can't open", &path))?;
        directory.sync(ACK_POSITIONS)?;
        let mut content = Vec::new();
        let limit = 2 * SLOT_BYTES as u64;
        (&mut file).take(limit).read_to_end(&mut content).map_err(io_error("can't read", &path))?;
        let newest = content.chunks(SLOT_BYTES).filter_map(read).max_by_key(|&(number, _)| number);
        let number = newest.map_or(0, |(number, _)| number);
        let note = newest.map(|(_, note)| note.to_vec());
        let can_be_synced = content.is_empty();
        content.resize(2 * SLOT_BYTES, 0);
        let directory = Arc::clone(directory);
        let is_renamed = false;
        let position =
            AckPosition { directory, name, file, number, content, can_be_synced, is_renamed };
        Ok((position, note))
    }

    pub(super) fn remove(directory: &Directory, name: &str) -> Result<(), Error> {
        directory.remove(&in_directory(ACK_POSITIONS, name))
    }

    /// Whether the file was removed or replaced since it was opened. The next note makes it again.
    pub fn is_displaced(&self) -> bool {
        !self.directory.has(&self.file, &self.name).unwrap_or(true)
    }

    /// Replaces the note.
    ///
    /// # Panics
    /// If it is longer than [`ACK_POSITION_LIMIT_BYTES`].
    pub fn write(&mut self, note: &[u8]) -> Result<(), Error> {
        assert!(note.len() <= ACK_POSITION_LIMIT_BYTES, "a note has a bound");
        let number = self.number + 1;
        let at = slot(number);
        let length = HEAD_BYTES + note.len();
        let head = &mut self.content[at..at + HEAD_BYTES];
        head[..8].copy_from_slice(&number.to_le_bytes());
        head[8..12].copy_from_slice(&(note.len() as u32).to_le_bytes());
        head[12..].copy_from_slice(&checksum(number, note).to_le_bytes());
        self.content[at + HEAD_BYTES..at + length].copy_from_slice(note);
        let written = if !self.can_be_synced || self.is_displaced() {
            self.write_new_file()
        } else {
            self.file.write_all_at(&self.content[at..at + length], at as u64)
        };
        written.map_err(io_error("can't write", self.directory.path_of(&self.name)))?;
        self.number = number;
        Ok(())
    }

    /// Writes both slots to a new file in place of what has the name now.
    fn write_new_file(&mut self) -> io::Result<()> {
        let new = unfinished(&self.name);
        let file = self.directory.create(&new)?;
        let written = file
            .write_all_at(&self.content, 0)
            .and_then(|()| self.directory.rename(&new, &self.name));
        if written.is_err() {
            // What there is of it takes room that the next try needs.
            drop(self.directory.remove(&new));
            return written;
        }
        (self.file, self.can_be_synced, self.is_renamed) = (file, true, true);
        Ok(())
    }

    /// Makes the newest note durable. Waits for the disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        let mut sync = || -> io::Result<()> {
            if !self.can_be_synced {
                self.write_new_file()?;
            }
            self.file.sync_data().inspect_err(|_| self.can_be_synced = false)
        };
        sync().map_err(io_error("can't sync", self.directory.path_of(&self.name)))?;
        if self.is_renamed {
            self.directory.sync(ACK_POSITIONS)?;
            self.is_renamed = false;
        }
        Ok(())
    }
}

/// Where the note with this number stands in the file.
fn slot(number: u64) -> usize {
    (number % 2) as usize * SLOT_BYTES
}

fn checksum(number: u64, note: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&(note.len() as u32).to_le_bytes());
    sum.update(note);
    sum.finalize()
}

/// Number and note in a slot; `None` if it is not whole.
fn read(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = slot.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let note = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (number > 0 && checksum(number, note) == u32::from_le_bytes(*sum)).then_some((number, note))
}
