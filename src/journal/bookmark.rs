//! Bookmarks: what a reader notes about its work between two cursors, in its own form.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Error, io_error, writer::sync_dir};

/// The directory of the bookmarks, in the journal's.
const BOOKMARKS: &str = "bookmarks";

/// A file has two places for notes, written in turn, so that one of them is always whole.
const PLACE_BYTES: usize = 4096;
/// Number, length, checksum.
const HEAD_BYTES: usize = 16;

/// A note may have this many bytes.
pub const BOOKMARK_LIMIT_BYTES: usize = PLACE_BYTES - HEAD_BYTES;

/// The newest note of a reader.
///
/// Writing one costs no more than a system call: from then on the note survives the end of the
/// process, however it comes. To survive that of the machine as well, it has to be synced.
pub struct Bookmark {
    path: PathBuf,
    file: File,
    /// Number of the newest note.
    number: u64,
    place: Vec<u8>,
}

impl fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bookmark").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Bookmark {
    /// Opens the file, which is made if need be, and returns the newest note that is whole.
    pub(super) fn open(dir: &Path, name: &str) -> Result<(Self, Option<Vec<u8>>), Error> {
        let dir = dir.join(BOOKMARKS);
        if !dir.is_dir() {
            fs::create_dir_all(&dir).map_err(io_error("can't make the directory", &dir))?;
        }
        let path = dir.join(name);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("can't open", &path))?;
        sync_dir(&dir)?;
        let mut bytes = Vec::new();
        let limit = 2 * PLACE_BYTES as u64;
        (&mut file).take(limit).read_to_end(&mut bytes).map_err(io_error("can't read", &path))?;
        let newest = bytes.chunks(PLACE_BYTES).filter_map(read).max_by_key(|&(number, _)| number);
        let number = newest.map_or(0, |(number, _)| number);
        let note = newest.map(|(_, note)| note.to_vec());
        Ok((Bookmark { path, file, number, place: Vec::new() }, note))
    }

    pub(super) fn remove(dir: &Path, name: &str) -> Result<(), Error> {
        let path = dir.join(BOOKMARKS).join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error("can't remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Replaces the note.
    ///
    /// # Panics
    /// If it is longer than [`BOOKMARK_LIMIT_BYTES`].
    pub fn write(&mut self, note: &[u8]) -> Result<(), Error> {
        assert!(note.len() <= BOOKMARK_LIMIT_BYTES, "a note has a bound");
        let number = self.number + 1;
        self.place.clear();
        self.place.extend_from_slice(&number.to_le_bytes());
        self.place.extend_from_slice(&(note.len() as u32).to_le_bytes());
        self.place.extend_from_slice(&checksum(number, note).to_le_bytes());
        self.place.extend_from_slice(note);
        let at = number % 2 * PLACE_BYTES as u64;
        self.file
            .write_all_at(&self.place, at)
            .map_err(io_error("can't write", self.path.clone()))?;
        self.number = number;
        Ok(())
    }

    /// Makes the newest note durable. Waits for the disk.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(io_error("can't sync", &self.path))
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
