//! The lock that keeps other processes out of a journal's directory, and whether that is still at
//! its path.

use std::{
    fs::TryLockError,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

use crate::{
    files::OpenFile,
    journal::error::{Displacement, Error, io_error},
};

use super::directory::Directory;

/// The file that the running process holds locked.
pub(in crate::journal) const LOCK: &str = "lock";

/// How long a lock that another process holds is tried for, and how often.
const LOCK_LIMIT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory that this process has taken, as long as this lives.
#[derive(Debug)]
pub(in crate::journal) struct DirectoryLock {
    directory: Arc<Directory>,
    /// Held locked. Earlier versions know this lock alone.
    lock: OpenFile,
    /// The directory itself, locked as well, in case another process finds another lock file in it.
    /// Some network file systems don't lock directories: there it is `None`.
    whole: Option<OpenFile>,
}

impl DirectoryLock {
    /// Takes a directory for this process.
    ///
    /// # Errors
    /// [`Error::Locked`] where another one has it.
    pub(in crate::journal) fn take(directory: Directory) -> Result<Self, Error> {
        // Opened once more: readers that outlive the hold keep the directory open, not locked.
        let whole = directory
            .open_at(".", OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(io_error("can't open the directory", directory.path()))?;
        let whole = match try_lock(&whole) {
            Ok(()) => Some(whole),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked(directory.path().to_owned()));
            }
            Err(TryLockError::Error(_)) => None,
        };
        let lock = lock(&directory)?;
        let directory_lock = DirectoryLock { directory: Arc::new(directory), lock, whole };
        directory_lock.check_path()?;
        Ok(directory_lock)
    }

    pub(in crate::journal) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Checks that the path still leads to the directory, and that no other process has taken it.
    ///
    /// # Errors
    /// [`Error::Displaced`] otherwise.
    pub(in crate::journal) fn check(&mut self) -> Result<(), Error> {
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
        let path = self.directory.path();
        match self.directory.is_at_its_path().map_err(io_error("can't look at", path))? {
            Some(true) => Ok(()),
            Some(false) => Err(self.displaced(Displacement::Replaced)),
            None => Err(self.displaced(Displacement::Removed)),
        }
    }

    fn displaced(&self, what: Displacement) -> Error {
        Error::Displaced { path: self.directory.path().to_owned(), what }
    }
}

fn lock(directory: &Directory) -> Result<OpenFile, Error> {
    let path = directory.path_of(LOCK);
    let file = directory.open_or_create(LOCK).map_err(io_error("can't open", &path))?;
    match try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(directory.path().to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error("can't lock", path)(source)),
    }
}

/// Locks a file. Tries for a moment, since others hold it for an instant: `check` looks whether it
/// is locked, and a child of a process has its files until it runs another program.
fn try_lock(file: &OpenFile) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
}
