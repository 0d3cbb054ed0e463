//! The published end: the newest delta whose snapshot anybody has seen.
//!
//! The log alone can't tell an interrupted write, which nobody has seen, from a delta that was
//! published and has been damaged since: both are a broken record at the end. This file can. It is
//! written once a delta is durable, in place and without a sync, so it may lag behind the log after
//! a crash of the machine, and then proves nothing. It is never ahead of what was durable.

use std::{io::ErrorKind, sync::Arc};

use crate::files::OpenFile;

use super::{
    error::{Broken, Damage, Error},
    fs::Directory,
    position::{CURSOR_BYTES, LogPosition},
};

/// The file, which has the form of a retention cursor.
pub(super) const PUBLISHED_END: &str = "acknowledged";

/// The file, open.
#[derive(Debug)]
pub(super) struct PublishedEnd {
    directory: Arc<Directory>,
    file: Option<OpenFile>,
}

impl PublishedEnd {
    pub(super) fn new(directory: &Arc<Directory>) -> Self {
        PublishedEnd { directory: Arc::clone(directory), file: None }
    }

    /// What it says; `None` if there is no file, or none that can be trusted.
    pub(super) fn read(directory: &Directory) -> Result<Option<LogPosition>, Error> {
        match LogPosition::read(directory, PUBLISHED_END) {
            Ok(cursor) => Ok(Some(cursor)),
            // It was written in part, or by a later version. It is evidence at most.
            Err(Error::Broken(_) | Error::Newer { .. }) => Ok(None),
            Err(Error::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the newest delta's position. If that fails, an earlier one stays, which proves less.
    pub(super) fn note(&mut self, newest: LogPosition) {
        let is_in_place =
            |file: &OpenFile| self.directory.has(file, PUBLISHED_END).unwrap_or(false);
        if !self.file.as_ref().is_some_and(is_in_place) {
            let opened = self.directory.open_or_create(PUBLISHED_END);
            self.file =
                opened.and_then(|file| file.set_len(CURSOR_BYTES as u64).map(|()| file)).ok();
        }
        if let Some(file) = &self.file
            && file.write_all_at(&newest.encode(), 0).is_err()
        {
            self.file = None;
        }
    }
}

/// What is wrong if the log ends with the delta `sequence`, at the offset `end` of the file `name`,
/// but later ones were published; `None` if none were.
pub(super) fn missing(
    directory: &Directory,
    acknowledged: Option<LogPosition>,
    sequence: u64,
    name: &str,
    end: u64,
) -> Option<Broken> {
    acknowledged.filter(|acknowledged| acknowledged.sequence > sequence).map(|_| Broken {
        path: directory.path_of(name),
        offset: end,
        damage: Damage::Meaning("deltas that were published are missing from there on"),
    })
}
