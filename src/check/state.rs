//! Checks that the state directory can be used.

use std::path::Path;

use rustix::fs::Access;

use crate::{
    journal,
    ledger::{Identity, Store, StoreError},
    state_dir::StatePlace,
};

use super::found::Found;

/// Looks at the directory without changing anything in it. With an `identity`, counts of it would be
/// kept there.
pub(super) fn look_at(
    StatePlace { directory, is_named, is_earlier_default }: &StatePlace,
    identity: Option<&Identity>,
) -> Found {
    let title = format!("state in {}", directory.display());
    let result = may_write(directory).and_then(|finding| match identity {
        Some(identity) if directory.is_dir() => journal_in(directory, identity),
        _ => Ok(finding),
    });
    let (works, finding) = match result {
        Ok(finding) => (true, finding),
        // The program does without a default directory that can't be created.
        Err(error) if !is_named && !directory.exists() => {
            (true, format!("{error}; counts would be lost at the end: give --state-dir"))
        }
        Err(error) => (false, error),
    };
    let mut findings = vec![finding];
    if *is_earlier_default {
        findings.push("it is the default of earlier versions, and stays in use".to_owned());
    }
    Found { title, works: Some(works), findings }
}

/// Whether this user may write to the directory, or create it.
fn may_write(directory: &Path) -> Result<String, String> {
    let mut place = directory;
    // If it does not exist, the nearest existing directory above it counts.
    while !place.exists() {
        place = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    if !place.is_dir() {
        return Err(format!("{} is not a directory: give another --state-dir", place.display()));
    }
    rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        format!(
            "this user can't write to {}: {error}; give a directory that can be written to, or \
             check as the user that counts",
            place.display()
        )
    })?;
    let finding = if directory.exists() { "it can be written to" } else { "it can be created" };
    Ok(finding.to_owned())
}

/// What the journal holds, if the program could start with it.
fn journal_in(directory: &Path, identity: &Identity) -> Result<String, String> {
    let journal = directory.join(journal::DIRECTORY);
    if !journal.is_dir() {
        return Ok("it can be written to, and holds no counts yet".to_owned());
    }
    let is_held = journal::is_held(&journal).map_err(|error| error.to_string())?;
    let held = match Store::examine(&journal, identity) {
        Ok(Some(series)) => format!("it holds the counts of {series} series"),
        Ok(None) => "it holds no counts yet".to_owned(),
        // A running process deletes files while they are read here; it has found them sound.
        Err(StoreError::Journal(journal::Error::Io { .. })) if is_held => {
            "it holds counts".to_owned()
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(if is_held {
        format!("{held}, and a running flow-exporter uses it: stop that before starting another")
    } else {
        format!("{held}, from which counting continues")
    })
}
