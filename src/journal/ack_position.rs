//! Bookmarks: what a reader notes about its work between two cursors, in its own form.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use super::{
    Error,
    directory::{Directory, in_directory, unfinished},
    io_error,
};

/// The directory of the bookmarks, in the journal's.
pub(super) const ACK_POSITIONS: &str = "bookmarks";

/// A file has two places for notes, written in turn, so that one of them is always whole.
const PLACE_BYTES: usize = 4096;
/// Number, length, checksum.
const HEAD_BYTES: usize = 16;

/// A note may have this many bytes.
pub const ACK_POSITION_LIMIT_BYTES: usize = PLACE_BYTES - HEAD_BYTES;

/// The newest note of a reader.
///
/// Writing one costs a few system calls and no wait: from then on the note survives the end of the
/// process, however it comes. To survive that of the machine as well, it has to be synced.
pub struct AckPosition {
    directory: Arc<Directory>,
    /// The file's name in the journal's directory.
    name: String,
    file: File,
    /// Number of the newest note.
    number: u64,
    place: Vec<u8>,
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
        let mut bytes = Vec::new();
        let limit = 2 * PLACE_BYTES as u64;
        (&mut file).take(limit).read_to_end(&mut bytes).map_err(io_error("can't read", &path))?;
        let newest = bytes.chunks(PLACE_BYTES).filter_map(read).max_by_key(|&(number, _)| number);
        let number = newest.map_or(0, |(number, _)| number);
        let note = newest.map(|(_, note)| note.to_vec());
        let directory = Arc::clone(directory);
        Ok((AckPosition { directory, name, file, number, place: Vec::new() }, note))
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
    /// If it is longer than [`BOOKMARK_LIMIT_BYTES`].
    pub fn write(&mut self, note: &[u8]) -> Result<(), Error> {
        assert!(note.len() <= ACK_POSITION_LIMIT_BYTES, "a note has a bound");
        let number = self.number + 1;
        self.place.clear();
        self.place.extend_from_slice(&number.to_le_bytes());
        self.place.extend_from_slice(&(note.len() as u32).to_le_bytes());
        self.place.extend_from_slice(&checksum(number, note).to_le_bytes());
        self.place.extend_from_slice(note);
        let at = number % 2 * PLACE_BYTES as u64;
        let written = if self.is_displaced() {
            self.make_again(at)
        } else {
            self.file.write_all_at(&self.place, at)
        };
        written.map_err(io_error("can't write", self.directory.path_of(&self.name)))?;
        self.number = number;
        Ok(())
    }

    /// Writes the note to a new file in place of what has the name now.
    fn make_again(&mut self, at: u64) -> io::Result<()> {
        let new = unfinished(&self.name);
        let file = self.directory.create(&new)?;
        file.write_all_at(&self.place, at)?;
        self.directory.rename(&new, &self.name)?;
        self.file = file;
        Ok(())
    }

    /// Makes the newest note durable. Waits for the disk.
    pub fn sync(&self) -> Result<(), Error> {
        let sync = self.file.sync_data();
        sync.map_err(io_error("can't sync", self.directory.path_of(&self.name)))
    }
}

fn checksum(number: u64, note: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&(note.len() as u32).to_le_bytes());
    sum.update(note);
    sum.finalize()
}

/// Number and note in a place; `None` if it is not whole.
fn read(place: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = place.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let note = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (number > 0 && checksum(number, note) == u32::from_le_bytes(*sum)).then_some((number, note))
}
