//! The directory that a journal is in, held open.
//!
//! All files of a running journal are reached through the open directory and never by its path. So
//! nothing is written to another directory that has taken its name, and what is moved away stays
//! whole. Whether the name still leads here is asked before anything is published
//! ([`DirectoryLock::check`]).

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, Stat},
    io::{Errno, retry_on_intr},
};

use crate::files;

use super::{Displacement, Error, io_error};

/// The file that the running process holds locked.
pub(super) const LOCK: &str = "lock";

/// How long a lock that another process holds is tried for, and how often.
const LOCK_LIMIT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory, open. Names are relative to it, and may be of files in a directory within it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Opens a directory.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let handle = File::open(path).map_err(io_error("can't open the directory", path))?;
        Ok(Directory { path: path.to_owned(), handle })
    }

    /// Opens a directory, which is made if it is not there.
    pub(super) fn make(path: &Path) -> Result<Self, Error> {
        if !path.is_dir() {
            files::create_dir_all(path).map_err(io_error("can't make the directory", path))?;
            // Where a whole path was made, its upper parts are the operator's: one sync is what the
            // journal's own files need.
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            Directory::open(parent)?.sync("")?;
        }
        Directory::open(path)
    }

    /// Its path, as it was when it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn open_at(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = retry_on_intr(|| rustix::fs::openat(&self.handle, name, flags, mode))?;
        Ok(File::from(file))
    }

    /// Opens a file to read it.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        self.open_at(name, OFlags::RDONLY)
    }

    /// Opens a file to read and to write it.
    pub(super) fn write(&self, name: &str) -> io::Result<File> {
        self.open_at(name, OFlags::RDWR)
    }

    /// Makes an empty file, in place of what has the name.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        self.make_file(name, OFlags::TRUNC)
    }

    /// Opens a file to read and to write it; makes it if it is not there.
    pub(super) fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.make_file(name, OFlags::empty())
    }

    /// The directory that the file is in is made if it has gone.
    fn make_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let open = || self.open_at(name, OFlags::RDWR | OFlags::CREATE | flags);
        let file = match (open(), name.rsplit_once('/')) {
            (Err(error), Some((within, _))) if error.kind() == ErrorKind::NotFound => {
                self.make_within(within)?;
                open()?
            }
            (opened, _) => opened?,
        };
        files::make_private(&file)?;
        Ok(file)
    }

    /// Makes a directory in this one, if it is not there.
    pub(super) fn make_within(&self, name: &str) -> io::Result<()> {
        let mode = Mode::RWXU;
        match rustix::fs::mkdirat(&self.handle, name, mode) {
            // The umask can only have taken something away.
            Ok(()) => {
                rustix::fs::chmodat(&self.handle, name, mode, AtFlags::empty())?;
                Ok(self.handle.sync_all()?)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file another name, in place of what has that.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io_error("can't remove", self.path_of(name))(error.into())),
        }
    }

    /// Writes a file whole or not at all, and durably.
    pub(super) fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let unfinished = unfinished(name);
        let write = || -> io::Result<()> {
            let mut file = self.create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            self.rename(&unfinished, name)
        };
        write().map_err(io_error("can't write", self.path_of(name)))?;
        self.sync(name.rsplit_once('/').map_or("", |(within, _)| within))
    }

    /// Makes durable which files the directory, or one `within` it, has.
    pub(super) fn sync(&self, within: &str) -> Result<(), Error> {
        let sync = || -> io::Result<()> {
            if within.is_empty() {
                return self.handle.sync_all();
            }
            self.open_at(within, OFlags::RDONLY | OFlags::DIRECTORY)?.sync_all()
        };
        sync().map_err(io_error("can't sync the directory", self.path_of(within)))
    }

    /// The names of all files in the directory, or in one `within` it; none where that is not
    /// there.
    pub(super) fn names(&self, within: &str) -> Result<Vec<String>, Error> {
        let list = || -> io::Result<Vec<String>> {
            let within = if within.is_empty() { "." } else { within };
            let directory = match self.open_at(within, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(directory) => directory,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut names = Vec::new();
            for entry in Dir::new(directory)? {
                // No name of ours has other bytes.
                if let Ok(name) = entry?.file_name().to_str()
                    && !matches!(name, "." | "..")
                {
                    names.push(name.to_owned());
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(io_error("can't list", self.path_of(within)))
    }

    /// What has a name; `None` where nothing has it.
    pub(super) fn look_up(&self, name: &str) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a file that is open is the one that has this name.
    pub(super) fn has(&self, file: &File, name: &str) -> io::Result<bool> {
        let open = rustix::fs::fstat(file)?;
        Ok(self.look_up(name)?.is_some_and(|found| is_same(&found, &open)))
    }

    /// By what a file is known again; `None` where nothing has the name.
    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        let found = self.look_up(name).ok()??;
        Some(Stamp { length: found.st_size, modified: (found.st_mtime, found.st_mtime_nsec) })
    }

    /// Removes what an interrupted process had not finished.
    pub(super) fn remove_unfinished(&self, within: &[&str]) -> Result<(), Error> {
        for within in within {
            for name in self.names(within)? {
                if name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")).is_some() {
                    self.remove(&in_directory(within, &name))?;
                }
            }
        }
        Ok(())
    }
}

/// By what a file is known again that is not kept open. Its number is no part of it: network file
/// systems may give it another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    length: i64,
    /// In seconds since the epoch, and nanoseconds.
    modified: (i64, u64),
}

/// The name of a file in a directory that is in another one.
pub(super) fn in_directory(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}/{name}") }
}

/// The name of a file that is being written and will get the name `name`. No other file of the
/// journal begins with a dot.
pub(super) fn unfinished(name: &str) -> String {
    let (within, name) = name.rsplit_once('/').unwrap_or(("", name));
    in_directory(within, &format!(".{name}.new"))
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// A directory that this process has taken, as long as this lives.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    directory: Arc<Directory>,
    /// Held locked. Earlier versions know this lock alone.
    lock: File,
    /// The directory itself, locked as well, so that nobody takes it who finds another lock file.
    /// Some network file systems don't lock directories: there it is `None`.
    whole: Option<File>,
}

impl DirectoryLock {
    /// Takes a directory for this process.
    ///
    /// # Errors
    /// [`Error::Locked`] where another one has it.
    pub(super) fn take(directory: Directory) -> Result<Self, Error> {
        // Opened once more: readers that outlive the hold keep the directory open, not locked.
        let whole = directory
            .open_at(".", OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(io_error("can't open the directory", directory.path()))?;
        let whole = match try_lock(&whole) {
            Ok(()) => Some(whole),
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(directory.path)),
            Err(TryLockError::Error(_)) => None,
        };
        let lock = lock(&directory)?;
        let directory_lock = DirectoryLock { directory: Arc::new(directory), lock, whole };
        directory_lock.check_path()?;
        Ok(directory_lock)
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Whether the path still leads to the directory, and nobody else has taken it.
    ///
    /// # Errors
    /// [`Error::Displaced`] where it does not, or somebody has.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.check_path()?;
        let has_lock = self.directory.has(&self.lock, LOCK);
        if has_lock.map_err(io_error("can't look at", self.directory.path_of(LOCK)))? {
            return Ok(());
        }
        // The directory is ours by the other lock: only the file has to be put back.
        if self.whole.is_some()
            && let Ok(lock) = lock(&self.directory)
        {
            self.lock = lock;
            return Ok(());
        }
        Err(self.displaced(Displacement::Lock))
    }

    fn check_path(&self) -> Result<(), Error> {
        let path = &self.directory.path;
        let open = rustix::fs::fstat(&self.directory.handle)
            .map_err(|error| io_error("can't look at", path)(error.into()))?;
        match rustix::fs::stat(path) {
            Ok(found) if is_same(&found, &open) => Ok(()),
            Ok(_) => Err(self.displaced(Displacement::Replaced)),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(self.displaced(Displacement::Removed)),
            Err(error) => Err(io_error("can't look at", path)(error.into())),
        }
    }

    fn displaced(&self, what: Displacement) -> Error {
        Error::Displaced { path: self.directory.path.clone(), what }
    }
}

fn lock(directory: &Directory) -> Result<File, Error> {
    let path = directory.path_of(LOCK);
    let file = directory.open_or_create(LOCK).map_err(io_error("can't open", &path))?;
    match try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(directory.path.clone())),
        Err(TryLockError::Error(source)) => Err(io_error("can't lock", path)(source)),
    }
}

/// Locks a file. Tries for a moment, since others hold it for an instant: `check` looks whether it
/// is locked, and a child of a process has its files until it runs another program.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
}
