//! The directory that a journal is in, held open.
//!
//! A running journal reaches all of its files through the open directory, never by its path. Nothing
//! is written to another directory that takes its name, and one that is moved away stays complete.
//! Whether the path still leads here is checked before anything is published
//! ([`DirectoryLock::check`](super::DirectoryLock::check)).

use std::{
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use crate::{
    files::{Files, OpenFile},
    journal::error::{Error, io_error},
};

/// A directory, open. Names are relative to it, and may be of files in a directory within it.
#[derive(Debug)]
pub(in crate::journal) struct Directory {
    files: Files,
    path: PathBuf,
    handle: OpenFile,
}

impl Directory {
    /// Opens a directory.
    pub(in crate::journal) fn open(files: &Files, path: &Path) -> Result<Self, Error> {
        let handle =
            files.open_directory(path).map_err(io_error("can't open the directory", path))?;
        Ok(Directory { files: files.clone(), path: path.to_owned(), handle })
    }

    /// Opens a directory, and creates it if it does not exist.
    pub(in crate::journal) fn make(files: &Files, path: &Path) -> Result<Self, Error> {
        // Where a whole path was made, its upper parts are the operator's: one sync is what the
        // journal's own files need.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let found = files.look_up(path).map_err(io_error("can't look at", path))?;
        if found.is_none() {
            files.create_dir_all(path).map_err(io_error("can't make the directory", path))?;
            files.sync_directory(parent).map_err(io_error("can't sync the directory", parent))?;
        } else {
            // An earlier try may have failed to. Where the operator made it, we may not be allowed.
            drop(files.sync_directory(parent));
        }
        Directory::open(files, path)
    }

    /// Its path, as it was when it was opened.
    pub(in crate::journal) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(in crate::journal) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn open_at(&self, name: &str, flags: OFlags) -> io::Result<OpenFile> {
        // No file of ours is a link to one of others, and opening a pipe must not wait for its writer.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        self.files.open_at(self.handle.file(), name.as_ref(), flags)
    }

    /// Opens a file to read it.
    pub(in crate::journal) fn read(&self, name: &str) -> io::Result<OpenFile> {
        self.open_at(name, OFlags::RDONLY)
    }

    /// Opens a file to read and to write it.
    pub(in crate::journal) fn write(&self, name: &str) -> io::Result<OpenFile> {
        self.open_at(name, OFlags::RDWR)
    }

    /// Makes an empty file, in place of what has the name.
    pub(in crate::journal) fn create(&self, name: &str) -> io::Result<OpenFile> {
        self.make_file(name, OFlags::TRUNC)
    }

    /// Opens a file to read and to write it; makes it if it is not there.
    pub(in crate::journal) fn open_or_create(&self, name: &str) -> io::Result<OpenFile> {
        self.make_file(name, OFlags::empty())
    }

    /// The directory that the file is in is made if it has gone.
    fn make_file(&self, name: &str, flags: OFlags) -> io::Result<OpenFile> {
        let open = || self.open_at(name, OFlags::RDWR | OFlags::CREATE | flags);
        let file = match (open(), name.rsplit_once('/')) {
            (Err(error), Some((within, _))) if error.kind() == ErrorKind::NotFound => {
                self.make_within(within)?;
                open()?
            }
            (opened, _) => opened?,
        };
        file.make_private()?;
        Ok(file)
    }

    /// Makes a directory in this one, if it is not there.
    pub(in crate::journal) fn make_within(&self, name: &str) -> io::Result<()> {
        let (system, at, mode) = (self.files.system(), self.handle.file(), Mode::RWXU);
        match system.make_directory(at.as_fd(), name.as_ref(), mode) {
            // The umask can only have taken something away.
            Ok(()) => system.set_mode(at.as_fd(), name.as_ref(), mode),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => return Err(error),
        }?;
        // Also where it was there: that it was made may not be durable yet.
        self.handle.sync_all()
    }

    /// Gives a file another name, in place of what has that.
    pub(in crate::journal) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.system().rename(self.handle.file().as_fd(), from.as_ref(), to.as_ref())
    }

    /// Removes a file, if it is there.
    pub(in crate::journal) fn remove(&self, name: &str) -> Result<(), Error> {
        match self.files.system().remove(self.handle.file().as_fd(), name.as_ref()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error("can't remove", self.path_of(name))(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file whole or not at all, and durably.
    pub(in crate::journal) fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let unfinished = unfinished(name);
        let write = || -> io::Result<()> {
            let mut file = self.create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            self.rename(&unfinished, name)
        };
        if let Err(error) = write() {
            // What there is of it takes room that the next try needs.
            drop(self.remove(&unfinished));
            return Err(io_error("can't write", self.path_of(name))(error));
        }
        self.sync(name.rsplit_once('/').map_or("", |(within, _)| within))
    }

    /// Makes durable which files the directory, or one `within` it, has.
    pub(in crate::journal) fn sync(&self, within: &str) -> Result<(), Error> {
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
    pub(in crate::journal) fn names(&self, within: &str) -> Result<Vec<String>, Error> {
        let list = || -> io::Result<Vec<String>> {
            let within = if within.is_empty() { "." } else { within };
            let directory = match self.open_at(within, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(directory) => directory,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let listed = self.files.system().list(directory.into_file())?;
            // No name of ours has other bytes.
            let mut names: Vec<String> =
                listed.into_iter().filter_map(|name| name.into_string().ok()).collect();
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(io_error("can't list", self.path_of(within)))
    }

    /// What has a name; `None` where nothing has it.
    pub(in crate::journal) fn look_up(&self, name: &str) -> io::Result<Option<Stat>> {
        let at = self.handle.file().as_fd();
        match self.files.system().stat(at, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a file that is open is the one that has this name.
    pub(in crate::journal) fn has(&self, file: &OpenFile, name: &str) -> io::Result<bool> {
        let open = file.stat()?;
        Ok(self.look_up(name)?.is_some_and(|found| is_same(&found, &open)))
    }

    /// What the directory's path leads to now: whether that is still this one, or `None` where it
    /// is nothing.
    pub(super) fn is_at_its_path(&self) -> io::Result<Option<bool>> {
        let open = self.handle.stat()?;
        Ok(self.files.look_up(&self.path)?.map(|found| is_same(&found, &open)))
    }

    /// By what a file is known again; `None` where nothing has the name.
    #[allow(clippy::useless_conversion, reason = "the nanoseconds are u32 on 32 bits")]
    pub(in crate::journal) fn stamp(&self, name: &str) -> Option<Stamp> {
        let found = self.look_up(name).ok()??;
        Some(Stamp {
            length: found.st_size,
            modified: (found.st_mtime, found.st_mtime_nsec.into()),
        })
    }

    /// Removes what an interrupted process had not finished.
    pub(in crate::journal) fn remove_unfinished(&self, within: &[&str]) -> Result<(), Error> {
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
pub(in crate::journal) struct Stamp {
    length: i64,
    /// In seconds since the epoch, and nanoseconds.
    modified: (i64, u64),
}

/// The name of a file in a directory that is in another one.
pub(in crate::journal) fn in_directory(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}/{name}") }
}

/// The name of a file that is being written and will get the name `name`. No other file of the
/// journal begins with a dot.
pub(in crate::journal) fn unfinished(name: &str) -> String {
    let (within, name) = name.rsplit_once('/').unwrap_or(("", name));
    in_directory(within, &format!(".{name}.new"))
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
