//! Checks that the state directory can be used.

use std::path::Path;

use rustix::fs::Access;

use crate::{
    journal,
    ledger::{Examined, Identity, Store, StoreError},
    state_dir::StatePlace,
};

use super::found::Found;

/// With less than this on the disk, a process soon has no room for what it counts.
const LEAST_FREE_BYTES: u64 = 4 << 20;

/// Looks at the directory without changing anything in it. With an `identity`, counts of it would be
/// kept there; brokers say that they are of this `cluster`.
pub(super) fn look_at(
    StatePlace { directory, is_named, is_earlier_default }: &StatePlace,
    identity: Option<&Identity>,
    cluster: Option<&str>,
) -> Found {
    let title = format!("state in {}", directory.display());
    let result = may_write(directory).and_then(|finding| match identity {
        Some(identity) if directory.is_dir() => journal_in(directory, identity, cluster),
        _ => Ok(vec![finding]),
    });
    let (works, mut findings) = match result {
        Ok(findings) => (true, findings),
        // The program does without a default directory that can't be created.
        Err(error) if !is_named && !directory.exists() => {
            (true, vec![format!("{error}; counts would be lost at the end: give --state-dir")])
        }
        Err(error) => (false, vec![error]),
    };
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
    // Not every file system says how much there is.
    if let Ok(disk) = rustix::fs::statvfs(place)
        && disk.f_blocks > 0
        && let free = disk.f_bavail.saturating_mul(disk.f_frsize)
        && free < LEAST_FREE_BYTES
    {
        return Err(format!(
            "the disk of {} has {} kB left, and nothing is published that can't be written: make room, or \
             give another --state-dir",
            place.display(),
            free / 1000
        ));
    }
    let finding = if directory.exists() { "it can be written to" } else { "it can be created" };
    Ok(finding.to_owned())
}

/// What the journal holds, if the program could start with it.
fn journal_in(
    directory: &Path,
    identity: &Identity,
    cluster: Option<&str>,
) -> Result<Vec<String>, String> {
    let journal = directory.join(journal::DIRECTORY);
    if !journal.is_dir() {
        return Ok(vec!["it can be written to, and holds no counts yet".to_owned()]);
    }
    let is_held = journal::is_held(&journal).map_err(|error| error.to_string())?;
    let mut notes = Vec::new();
    let held = match Store::examine(&journal, identity) {
        Ok(Some(Examined { series, rule, cluster: counted })) => {
            if let (Some(counted), Some(found)) = (counted, cluster)
                && counted != found
            {
                return Err(format!(
                    "it holds counts from cluster {counted:?}, and the brokers are those of \
                     cluster {found:?}: check --brokers, give another --state-dir, or, if the \
                     topic was moved with its offsets, run 'flow-exporter state forget-cluster'"
                ));
            }
            if rule != format!("{:#}", identity.rule) {
                notes.push(format!(
                    "they are of {rule}: for {}, all series end and others begin from zero; positions \
                     stay",
                    identity.rule
                ));
            }
            format!("it holds the counts of {series} series")
        }
        Ok(None) => "it holds no counts yet".to_owned(),
        // A running process deletes files while they are read here; it has found them sound.
        Err(StoreError::Journal(journal::Error::Io { .. })) if is_held => {
            "it holds counts".to_owned()
        }
        Err(error) => return Err(error.to_string()),
    };
    let held = if is_held {
        format!("{held}, and a running flow-exporter uses it: stop that before starting another")
    } else {
        format!("{held}, from which counting continues")
    };
    notes.insert(0, held);
    Ok(notes)
}
