//! Finds the state directory on disk: the one that is named, the default one of a topic, or that of
//! an earlier version.
//!
//! The default is named by the topic alone: at the start, the cluster is not known, and bootstrap
//! brokers change while the cluster stays the same. A journal knows its cluster, so counts of
//! another one's topic of the same name never mix with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    config::{StateDir, default_state_parent},
    journal,
    ledger::{Identity, Store, StoreError},
};

/// The one directory for all topics that earlier versions used by default.
const EARLIER_DEFAULT: &str = "flow-exporter-data";

/// A directory for state, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePlace {
    /// The directory.
    pub directory: PathBuf,
    /// Whether it was named: then it must work.
    pub is_named: bool,
    /// Whether it is the default of earlier versions.
    pub is_earlier_default: bool,
}

/// The directory to use; `None` to keep nothing. That of an earlier version stays in use if it holds
/// what is to be counted and there is no newer one.
pub fn choose(choice: &StateDir, identity: &Identity) -> Option<StatePlace> {
    let place = match choice {
        StateDir::None => return None,
        StateDir::Named(directory) => {
            StatePlace { directory: directory.clone(), is_named: true, is_earlier_default: false }
        }
        StateDir::Default(directory) => {
            let earlier = Path::new(EARLIER_DEFAULT);
            let is_earlier_default = !directory.exists() && holds(earlier, identity);
            let directory = if is_earlier_default { earlier.to_owned() } else { directory.clone() };
            StatePlace { directory, is_named: false, is_earlier_default }
        }
    };
    Some(place)
}

/// Whether there are counts of `identity` in a state directory. A journal that can't be read counts
/// as one, so that it is not passed over in silence.
fn holds(directory: &Path, identity: &Identity) -> bool {
    let journal = directory.join(journal::DIRECTORY);
    journal.is_dir()
        && !matches!(Store::examine(&journal, identity), Err(StoreError::Origin { .. }))
}

/// The directory for a command about state: the one that is named, or else the only default one in
/// the working directory.
///
/// # Errors
/// A sentence that says what to do, if there is no such directory, or more than one.
pub fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(directory) = named {
        return if directory.is_dir() {
            Ok(directory.to_owned())
        } else {
            Err(format!(
                "there is no directory {}: give the --state-dir that is given for counting",
                directory.display()
            ))
        };
    }
    let parent = default_state_parent();
    let mut found = match subdirectories(&parent) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(format!("{}: {error}", parent.display())),
    };
    found.extend(Some(PathBuf::from(EARLIER_DEFAULT)).filter(|earlier| earlier.is_dir()));
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!(
            "there is no directory {} here: give the --state-dir that is given for \
             counting",
            parent.display()
        )),
        several => {
            let shown: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            Err(format!(
                "there are several state directories: give --state-dir with one of {}",
                shown.join(", ")
            ))
        }
    }
}

/// The directories in this one, sorted.
fn subdirectories(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}
