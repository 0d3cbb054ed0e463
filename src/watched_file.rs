//! Files that are read again when they change.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What distinguishes two states of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    /// When anything of it was changed, in seconds and nanoseconds: nobody sets that time back.
    changed: (i64, i64),
    bytes: u64,
    /// Another file in its place may be as old and as large.
    file: (u64, u64),
}

impl Stamp {
    /// The state that a file is in.
    pub(crate) fn of(path: &Path) -> io::Result<Stamp> {
        Stamp::from_metadata(&fs::metadata(path)?)
    }

    fn from_metadata(metadata: &Metadata) -> io::Result<Stamp> {
        let file = (metadata.dev(), metadata.ino());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Stamp { modified: metadata.modified()?, changed, bytes: metadata.len(), file })
    }
}

/// A file, and its stamp from before it was read, so that concurrent writes are noticed next time.
/// Of one with more than `limit` bytes, a beginning that has more as well.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, Stamp)> {
    let file = File::open(path)?;
    let stamp = Stamp::from_metadata(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes, stamp))
}

/// Files, with the states that they were in when they were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noted(Vec<(PathBuf, Option<Stamp>)>);

impl Noted {
    /// Notes a file that is about to be read.
    pub fn note(&mut self, path: &Path) {
        self.0.push((path.to_owned(), Stamp::of(path).ok()));
    }

    /// The same files, in the states that they are in now.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Noted(self.0.iter().map(|(path, _)| (path.clone(), Stamp::of(path).ok())).collect())
    }

    /// Whether nobody has written, renamed or made any of them for this long, by the time that no program can
    /// set. One that is not there may be about to come.
    pub fn are_at_rest(&self, span: Duration) -> bool {
        self.0
            .iter()
            .all(|(path, _)| unchanged_for(path).is_some_and(|unchanged| unchanged >= span))
    }
}

/// How long ago the file changed; `None` if that is unknown, or ahead of the clock.
fn unchanged_for(path: &Path) -> Option<Duration> {
    let metadata = fs::metadata(path).ok()?;
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
    let nanoseconds = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).ok()?);
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + seconds + nanoseconds).ok()
}
