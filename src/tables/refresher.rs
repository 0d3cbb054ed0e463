//! Reads a table again when one of its files changes.

use std::{sync::Arc, time::Duration};

use crate::watched_file::Stamp;

use super::{error::TablesError, source::Source};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Watches the files of a value.
#[derive(Debug)]
pub struct Refresher<S> {
    source: S,
    /// The state of each file when it was last read, whether or not it could be; `None` if there
    /// was none.
    stamps: Vec<Option<Stamp>>,
    /// Whether it could not be used then.
    is_refused: bool,
}

/// Reads all files for the first time.
///
/// # Errors
/// If one of them can't be used.
pub fn load<S: Source>(source: S) -> Result<(Arc<S::Value>, Refresher<S>), TablesError> {
    let stamps = stamps(&source);
    let value = source.read()?;
    Ok((Arc::new(value), Refresher { source, stamps, is_refused: false }))
}

impl<S: Source> Refresher<S> {
    /// Reads all files, if one has changed since they were read, or comes or goes. A file that
    /// can't be used is not read again before it changes.
    pub async fn look(&mut self) -> Option<Result<Arc<S::Value>, TablesError>> {
        self.read(false).await
    }

    /// The same for somebody who waits for the result: what can't be used is read again.
    pub async fn look_again(&mut self) -> Option<Result<Arc<S::Value>, TablesError>> {
        self.read(self.is_refused).await
    }

    async fn read(&mut self, at_any_rate: bool) -> Option<Result<Arc<S::Value>, TablesError>> {
        let (source, known) = (self.source.clone(), self.stamps.clone());
        let look = tokio::task::spawn_blocking(move || {
            let stamps = stamps(&source);
            (at_any_rate || stamps != known).then(|| (stamps, source.read().map(Arc::new)))
        });
        // It fails only if the runtime is going down.
        let (stamps, read) = look.await.ok()??;
        self.stamps = stamps;
        self.is_refused = read.is_err();
        Some(read)
    }
}

/// From before files are read, so that concurrent writes are noticed next time.
fn stamps(source: &impl Source) -> Vec<Option<Stamp>> {
    source.files().map(|path| Stamp::of(path).ok()).collect()
}
