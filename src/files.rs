//! Private files: only the user that the program runs as can read and write them, whatever the
//! umask. [`Files`] writes them whole or not at all; [`tighten`] removes the access that an earlier
//! version, or the operator, has given others to a state directory.

#[cfg(test)]
#[path = "../tests/testkit/src/faults.rs"]
#[allow(
    unreachable_pub,
    dead_code,
    missing_debug_implementations,
    clippy::print_stderr,
    reason = "a module of the test kit, which is given to tests of private parts as well"
)]
pub(crate) mod faults;
mod open_file;
mod system;

use std::{
    ffi::OsStr,
    fs::{self, Metadata, Permissions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

pub use open_file::OpenFile;
pub use system::{Disk, FileSystem};

use open_file::uninterrupted;

/// What a mode grants to others than the owner.
const OTHERS: u32 = 0o077;

/// Directories within a state directory lie this deep; nothing is looked for below.
const DEPTH: u32 = 3;

/// What the name of a file ends with that is being written.
const UNFINISHED: &str = ".new";

/// A file system makes this in its own root directory.
const LOST_AND_FOUND: &str = "lost+found";

/// Private files by their paths. A handle: clones use the same file system.
#[derive(Debug, Clone)]
pub struct Files(Arc<dyn FileSystem>);

/// Files on disk.
impl Default for Files {
    fn default() -> Self {
        Files(Arc::new(Disk))
    }
}

impl Files {
    /// Files of this file system.
    pub fn new(system: Arc<dyn FileSystem>) -> Self {
        Files(system)
    }

    pub(crate) fn system(&self) -> &Arc<dyn FileSystem> {
        &self.0
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OpenFile> {
        self.open_at(CWD, path, flags)
    }

    /// Opens what has this path from a directory on.
    pub(crate) fn open_at(
        &self,
        at: impl AsFd,
        path: &Path,
        flags: OFlags,
    ) -> io::Result<OpenFile> {
        let mode = Mode::RUSR | Mode::WUSR;
        let file = uninterrupted(|| self.0.open(at.as_fd(), path, flags, mode))?;
        Ok(OpenFile::new(file, Arc::clone(&self.0)))
    }

    /// Opens a file to read it.
    pub(crate) fn open_to_read(&self, path: &Path) -> io::Result<OpenFile> {
        self.open(path, OFlags::RDONLY)
    }

    /// Opens a directory.
    pub(crate) fn open_directory(&self, path: &Path) -> io::Result<OpenFile> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// What the path leads to; `None` where that is nothing.
    pub(crate) fn look_up(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.0.stat(CWD, path, AtFlags::empty()) {
            Ok(found) => Ok(Some(found)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a private directory, if it is not there. Its parent has to be.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mode = Mode::RWXU;
        match self.0.make_directory(CWD, path, mode) {
            // The umask can only have taken something away.
            Ok(()) => self.0.set_mode(CWD, path, mode),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a private directory, if it is not there, and those above it, which are the operator's
    /// and have the mode that the umask says.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent()
            && !parent.as_os_str().is_empty()
        {
            fs::create_dir_all(parent)?;
        }
        self.create_dir(path)
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// Also where it has more, or is something else.
    pub fn read_up_to(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // With this flag, opening a pipe does not wait; it is refused below.
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !FileType::from_raw_mode(file.stat()?.st_mode).is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it has more than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Opens a private file to append to it; makes it if it is not there.
    pub fn append(&self, path: &Path) -> io::Result<OpenFile> {
        let file = self.open(path, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        file.make_private()?;
        Ok(file)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(CWD, from, to)
    }

    /// Makes durable which files a directory has.
    pub(crate) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.open_directory(path)?.sync_all()
    }

    /// Writes a private file whole and durably: a crash leaves the old one or the new one.
    pub fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.write(path, content, true)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        self.sync_directory(folder.unwrap_or(Path::new(".")))
    }

    /// Writes a private file whole. A crash of the machine may leave none.
    pub fn replace_unsynced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.write(path, content, false)
    }

    fn write(&self, path: &Path, content: &[u8], is_synced: bool) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(UNFINISHED);
        let new = path.with_file_name(name);
        let write = || -> io::Result<()> {
            let mut file = self.open(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
            file.make_private()?;
            file.write_all(content)?;
            if is_synced {
                file.sync_all()?;
            }
            self.rename(&new, path)
        };
        write().inspect_err(|_| {
            // What there is of it takes room that the next try needs.
            drop(self.0.remove(CWD, &new));
        })
    }
}

/// Like [`Files::create_dir_all`], on disk.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    Files::default().create_dir_all(path)
}

/// Something that others may read, and that could not be made private.
#[derive(Debug)]
pub struct Exposed {
    /// The first file or directory.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Why it stays as it is.
    pub reason: String,
    /// How many there are in all.
    pub all: usize,
}

/// Takes all rights of others from a state directory, which an earlier version or the operator may
/// have made with them, and from what is in it under these `names`. Whatever else is there is not
/// ours; with something else in it, the directory itself is left as it is: it may be `/tmp`.
///
/// Symbolic links are not followed, but for the directory itself. Returns what could not be made
/// private, if anything.
pub fn tighten(directory: &Path, names: &[&str]) -> Option<Exposed> {
    let mut exposed = None;
    let own = rustix::process::geteuid().as_raw();
    let is_known = |name: &OsStr| {
        let name = name.to_string_lossy();
        let name = name.strip_suffix(UNFINISHED).unwrap_or(&name);
        names.contains(&name)
    };
    let mut is_ours_alone = true;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if is_known(&name) {
            tighten_tree(&entry.path(), own, DEPTH, &mut exposed);
        } else if name != LOST_AND_FOUND {
            is_ours_alone = false;
        }
    }
    if is_ours_alone && let Ok(metadata) = fs::metadata(directory) {
        tighten_one(directory, &metadata, own, &mut exposed);
    }
    exposed
}

fn tighten_tree(path: &Path, own: u32, depth: u32, exposed: &mut Option<Exposed>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if metadata.is_symlink() {
        return;
    }
    tighten_one(path, &metadata, own, exposed);
    if metadata.is_dir() && depth > 0 {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            tighten_tree(&entry.path(), own, depth - 1, exposed);
        }
    }
}

fn tighten_one(path: &Path, metadata: &Metadata, own: u32, exposed: &mut Option<Exposed>) {
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return;
    }
    let tightened = if metadata.uid() == own {
        fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))
            .and_then(|()| fs::metadata(path))
            .map_err(|error| error.to_string())
            .and_then(|metadata| match metadata.mode() & OTHERS {
                0 => Ok(()),
                _ => Err("the file system has no modes of its own".to_owned()),
            })
    } else {
        Err("it belongs to another user".to_owned())
    };
    if let Err(reason) = tightened {
        let first = || Exposed { path: path.to_owned(), mode, reason, all: 0 };
        exposed.get_or_insert_with(first).all += 1;
    }
}
