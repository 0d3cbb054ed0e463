//! An open file whose calls all go through a [`FileSystem`].

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use rustix::fs::{Mode, Stat};

use super::system::FileSystem;

/// What files may have of a mode: for their owner alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open file. Interrupted calls and short writes are continued.
///
/// Reads and writes sequentially from its beginning, or from where [`OpenFile::seek_to`]
/// set it.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    system: Arc<dyn FileSystem>,
    offset: u64,
}

/// Makes a call again as long as it is interrupted.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl OpenFile {
    pub(crate) fn new(file: File, system: Arc<dyn FileSystem>) -> Self {
        OpenFile { file, system, offset: 0 }
    }

    /// The file itself, for calls that name a directory.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Reads and writes continue from there.
    pub(crate) fn seek_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Where the next read or write is.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        self.system.stat_file(&self.file)
    }

    /// How long it is, in bytes.
    pub(crate) fn length(&self) -> io::Result<u64> {
        Ok(self.stat()?.st_size.cast_unsigned())
    }

    /// Reads until the buffer is full or the file ends.
    pub(crate) fn read_up_to(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.read_at(&mut buffer[read..], offset + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        Ok(read)
    }

    /// Fills the buffer.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_up_to(buffer, offset)? < buffer.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| self.system.read_at(&self.file, buffer, offset))
    }

    /// Writes all of it.
    pub(crate) fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write_at(bytes, offset)?;
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| self.system.write_at(&self.file, bytes, offset))
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        uninterrupted(|| self.system.set_len(&self.file, length))
    }

    /// Makes it durable.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        uninterrupted(|| self.system.sync(&self.file))
    }

    /// Makes durable what it holds.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        uninterrupted(|| self.system.sync_data(&self.file))
    }

    pub(crate) fn try_lock(&self) -> Result<(), TryLockError> {
        self.system.try_lock(&self.file)
    }

    /// Lets its owner alone read and write it. That a file system knows no modes, or that the file
    /// is another user's in a shared directory, is no error: [`tighten`](super::tighten) tells of
    /// it at the start.
    pub(crate) fn make_private(&self) -> io::Result<()> {
        let mode = Mode::from_raw_mode(self.stat()?.st_mode) & Mode::from_raw_mode(0o777);
        if mode != FILE_MODE
            && let Err(error) = self.system.set_file_mode(&self.file, FILE_MODE)
            && !is_refusal(&error)
        {
            return Err(error);
        }
        Ok(())
    }
}

/// Whether it is the operator's or the file system's choice, and not a fault.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::Unsupported
    )
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_at(bytes, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
