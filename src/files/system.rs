//! The system calls for files. All code that keeps state on disk makes them through a
//! [`FileSystem`], so that tests can make each of them fail.

use std::{
    ffi::OsString,
    fmt,
    fs::{File, TryLockError},
    io,
    os::{
        fd::BorrowedFd,
        unix::{ffi::OsStringExt, fs::FileExt},
    },
    path::Path,
};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};

/// One method for each system call, with the kernel's meaning and errors. Paths are relative to the
/// directory `at`. The provided methods ask the kernel.
///
/// Writes may be short, and any call that can wait may be interrupted: [`OpenFile`] retries.
///
/// [`OpenFile`]: super::OpenFile
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Opens a file or a directory.
    fn open(&self, at: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(at, path, flags | OFlags::CLOEXEC, mode)?))
    }

    /// Makes a directory.
    fn make_directory(&self, at: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(at, path, mode)?)
    }

    /// Changes the mode of a file or a directory.
    fn set_mode(&self, at: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::chmodat(at, path, mode, AtFlags::empty())?)
    }

    /// Changes the mode of an open file.
    fn set_file_mode(&self, file: &File, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::fchmod(file, mode)?)
    }

    /// What the path leads to.
    fn stat(&self, at: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Stat> {
        Ok(rustix::fs::statat(at, path, flags)?)
    }

    /// What an open file is.
    fn stat_file(&self, file: &File) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(file)?)
    }

    /// Reads some bytes; none at the end of the file.
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buffer, offset)
    }

    /// Writes some bytes.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    /// Makes a file this long.
    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Makes durable what a file holds, or which files a directory has.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Makes durable what a file holds, and of its properties only what reading it takes.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Gives a file another name, in place of what has that.
    fn rename(&self, at: BorrowedFd<'_>, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(at, from, at, to)?)
    }

    /// Removes a file.
    fn remove(&self, at: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(at, path, AtFlags::empty())?)
    }

    /// The names of all that an open directory has.
    fn list(&self, directory: File) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(directory)? {
            let name = entry?.file_name().to_bytes().to_owned();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Locks a file, unless another process has it locked.
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }
}

/// The kernel's file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl FileSystem for Disk {}
