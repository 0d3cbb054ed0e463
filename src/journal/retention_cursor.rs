//! Retention cursors: a file for each endpoint, with the position from which it needs the log.

use std::io::ErrorKind;

use super::{
    error::{Broken, Error},
    fs::{Directory, in_directory},
    position::LogPosition,
};

/// Their directory within the journal's.
pub(super) const RETENTION_CURSORS: &str = "cursors";

const NAME_LIMIT: usize = 100;

/// The file of a retention cursor.
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

/// A name and its position, or what is wrong with the file.
pub(super) type Found = (String, Result<LogPosition, Broken>);

/// Reads all retention cursors of a journal.
pub(super) fn read_all(directory: &Directory) -> Result<Vec<Found>, Error> {
    let mut cursors = Vec::new();
    for name in directory.names(RETENTION_CURSORS)? {
        if name.starts_with('.') {
            continue;
        }
        let cursor = match LogPosition::read(directory, &in_directory(RETENTION_CURSORS, &name)) {
            Ok(cursor) => Ok(cursor),
            Err(Error::Broken(broken)) => Err(broken),
            // It was removed after it was listed.
            Err(Error::Io { error, .. }) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        cursors.push((name, cursor));
    }
    Ok(cursors)
}
