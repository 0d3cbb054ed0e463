//! Names from a local file, which is read again when it changes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    asn::{AsNames, MAX_TABLE_BYTES},
    watched_file::{self, Stamp},
};

use super::error::NamesError;

/// A file with names, and the state of it that is in use.
#[derive(Debug)]
pub(super) struct NamesFile {
    path: PathBuf,
    stamp: Stamp,
}

impl NamesFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf) -> Result<(AsNames, Self), NamesError> {
        let read = watched_file::read(&path, MAX_TABLE_BYTES as u64);
        let (table, stamp) =
            read.map_err(|source| NamesError::File { path: path.clone(), source })?;
        let names = AsNames::parse(&table)
            .map_err(|source| NamesError::Table { path: path.clone(), source })?;
        log_read(&path, &names);
        Ok((names, NamesFile { path, stamp }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names in the file, if both the file and the names have changed. Unlike a fetched table,
    /// the file may be much smaller than before, since that is the operator's choice.
    pub(super) async fn reread(
        &mut self,
        in_use: &Arc<AsNames>,
    ) -> anyhow::Result<Option<Arc<AsNames>>> {
        let (path, known, in_use) = (self.path.clone(), self.stamp, Arc::clone(in_use));
        let read = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            if Stamp::of(&path)? == known {
                return Ok(None);
            }
            let (table, stamp) = watched_file::read(&path, MAX_TABLE_BYTES as u64)?;
            let names = AsNames::parse(&table)?;
            log_read(&path, &names);
            Ok(Some((stamp, (names != *in_use).then(|| Arc::new(names)))))
        });
        Ok(match read.await?? {
            Some((stamp, names)) => {
                self.stamp = stamp;
                names
            }
            None => None,
        })
    }
}

fn log_read(path: &Path, names: &AsNames) {
    tracing::info!(
        file = %path.display(),
        names = names.len(),
        ignored_lines = names.ignored_lines(),
        cut_names = names.cut_names(),
        "AS names read"
    );
}
