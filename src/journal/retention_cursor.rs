//! Retention cursors: files that say from where on a reader needs the log.

use std::io::ErrorKind;

use super::{
    error::{Broken, Error},
    fs::{Directory, in_directory},
    position::LogPosition,
};

/// The directory of the retention cursors, in the journal's.
pub(super) const RETENTION_CURSORS: &str = "cursors";

const NAME_LIMIT: usize = 100;

/// The file of a cursor.
pub(super) fn file_name(name: &str) -> Result<String, Error> {
    let fits = (1..=NAME_LIMIT).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits {
        Ok(in_directory(RETENTION_CURSORS, name))
    } else {
        Err(Error::CursorName(name.to_owned()))
    }
}

/// A cursor by its name, or what is wrong with it.
pub(super) type Found = (String, Result<LogPosition, Broken>);

/// The cursors that a directory holds.
pub(super) fn read_all(directory: &Directory) -> Result<Vec<Found>, Error> {
    let mut cursors = Vec::new();
    for name in directory.names(RETENTION_CURSORS)? {
        if name.starts_with('.') {
            continue;
        }
        let cursor = match LogPosition::read(directory, &in_directory(RETENTION_CURSORS, &name)) {
            Ok(cursor) => Ok(cursor),
            Err(Error::Broken(broken)) => Err(broken),
            // Gone since it was listed.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        cursors.push((name, cursor));
    }
    Ok(cursors)
}
