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
}

/// Reads all files for the first time.
///
/// # Errors
/// If one of them can't be used.
pub fn load<S: Source>(source: S) -> Result<(Arc<S::Value>, Refresher<S>), TablesError> {
    let stamps = stamps(&source);
    let value = source.read()?;
    Ok((Arc::new(value), Refresher { source, stamps }))
}

impl<S: Source> Refresher<S> {
    /// Looks at the files again and again, and passes on each new value. Returns at `shutdown`; at
    /// once, if there are no files.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        mut replace: impl FnMut(Arc<S::Value>),
    ) {
        let look = async {
            while !self.stamps.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
                match self.look().await {
                    Some(Ok(value)) => {
                        tracing::info!("{} have changed, and are in use", S::WHAT);
                        replace(value);
                    }
                    Some(Err(error)) => tracing::warn!(
                        "{} have changed, and can't be used; those in use stay. Correct this: {error}",
                        S::WHAT
                    ),
                    None => {}
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = look => {}
        }
    }

    /// Reads all files, if one has changed since they were read, or comes or goes. A file that
    /// can't be used is not read again before it changes.
    pub async fn look(&mut self) -> Option<Result<Arc<S::Value>, TablesError>> {
        let (source, known) = (self.source.clone(), self.stamps.clone());
        let look = tokio::task::spawn_blocking(move || {
            let stamps = stamps(&source);
            (stamps != known).then(|| (stamps, source.read().map(Arc::new)))
        });
        // It fails only if the runtime is going down.
        let (stamps, read) = look.await.ok()??;
        self.stamps = stamps;
        Some(read)
    }
}

/// From before files are read, so that concurrent writes are noticed next time.
fn stamps(source: &impl Source) -> Vec<Option<Stamp>> {
    source.files().map(|path| Stamp::of(path).ok()).collect()
}
