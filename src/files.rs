//! Files that are only for the user the program runs as: it alone may read and write what is kept,
//! whatever the umask says.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The mode of directories.
const DIRECTORY_MODE: u32 = 0o700;

/// The mode of files.
const FILE_MODE: u32 = 0o600;

/// What a mode grants to others than the owner.
const OTHERS: u32 = 0o077;

/// Directories within a state directory lie this deep; nothing is looked for below.
const DEPTH: u32 = 3;

/// What the name of a file ends with that is being written.
const UNFINISHED: &str = ".new";

/// A file system makes this in its own root directory.
const LOST_AND_FOUND: &str = "lost+found";

/// Makes a private directory, if it is not there. Its parent has to be.
pub fn create_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        // The umask can only have taken something away.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a private directory, if it is not there, and those above it, which are the operator's and
/// have the mode that the umask says.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        fs::create_dir_all(parent)?;
    }
    create_dir(path)
}

/// Reads a file of at most so many bytes.
///
/// # Errors
/// Also where it has more.
pub fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Opens a private file to append to it; makes it if it is not there.
pub fn append(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).append(true).create(true).mode(FILE_MODE).open(path)?;
    make_private(&file)?;
    Ok(file)
}

/// Writes a private file whole and durably: a crash leaves the old one or the new one.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, true)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a private file whole. A crash of the machine may leave none.
pub fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, false)
}

fn write(path: &Path, content: &[u8], is_synced: bool) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(UNFINISHED);
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let mut file = options.open(&new)?;
    make_private(&file)?;
    file.write_all(content)?;
    if is_synced {
        file.sync_all()?;
    }
    fs::rename(&new, path)
}

/// Makes a file that is open private. A file system that knows no modes, or a file of another user
/// in a shared directory, is no reason to stop: [`tighten`] tells of it at the start.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.mode() & 0o777;
    if mode != FILE_MODE
        && let Err(error) = file.set_permissions(Permissions::from_mode(FILE_MODE))
        && !is_refusal(&error)
    {
        return Err(error);
    }
    Ok(())
}

/// Whether it is the operator's or the file system's choice, and not a fault.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::Unsupported
    )
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
