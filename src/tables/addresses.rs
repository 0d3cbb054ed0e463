//! All that counting knows of addresses, and the files that it comes from.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use crate::address::{Shared, Tables};

use super::{
    error::TablesError,
    refresher::{self, LOOK_EVERY, Refresher},
    source::{NetworksFile, Source, TableSource, TableSources},
};

/// What is to be known of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSources {
    /// The operator's own networks.
    pub networks: Option<NetworksFile>,
    /// AS and countries; where it is not given, countries alone are those of the embedded ranges.
    pub table: Option<TableSources>,
}

/// Reads files again when they change.
#[derive(Debug)]
pub struct Watch {
    networks: Option<Watched<NetworksFile>>,
    table: Option<Watched<TableSources>>,
    asked: mpsc::Receiver<Asked>,
    handle: WatchHandle,
}

/// Where to say what files have changed and are in use, in lines for people.
type Asked = oneshot::Sender<Result<Vec<String>, TablesError>>;

/// Has files read again at once.
#[derive(Debug, Clone)]
pub struct WatchHandle(mpsc::Sender<Asked>);

/// What files say, as it is in use.
#[derive(Debug)]
struct Watched<S: Source> {
    refresher: Refresher<S>,
    shared: Shared<S::Value>,
}

impl AddressSources {
    /// Reads all files for the first time. There is nothing to watch without files.
    ///
    /// # Errors
    /// If one of them can't be used.
    pub fn load(&self) -> Result<(Tables, Option<Watch>), TablesError> {
        let networks = self.networks.clone().map(load).transpose()?;
        let table = self.table.clone().map(load).transpose()?;
        let tables = Tables {
            networks: networks.as_ref().map(|networks| networks.shared.clone()),
            table: table.as_ref().map(|table| table.shared.clone()),
            has_embedded_countries: self.table.is_none(),
        };
        let (ask, asked) = mpsc::channel(1);
        let watch = Watch { networks, table, asked, handle: WatchHandle(ask) };
        Ok((tables, self.has_files().then_some(watch)))
    }

    /// Whether there are files to be read again.
    fn has_files(&self) -> bool {
        let is_file = |source: &TableSource| matches!(source, TableSource::File(_));
        self.networks.is_some()
            || self.table.as_ref().is_some_and(|sources| sources.0.iter().any(is_file))
    }
}

impl WatchHandle {
    /// Has files that have changed, or that can't be used, read again. Says in lines for people which
    /// of them are in use from now on.
    ///
    /// # Errors
    /// If one can't be used. What was in use of it stays.
    pub async fn read(&self) -> Result<Vec<String>, TablesError> {
        let (answer, answered) = oneshot::channel();
        // Without an answer, the program is stopping.
        drop(self.0.send(answer).await);
        answered.await.unwrap_or_else(|_| Ok(Vec::new()))
    }
}

impl Watch {
    /// Has the files read again at once, while this runs.
    pub fn handle(&self) -> WatchHandle {
        self.handle.clone()
    }

    /// Looks at the files again and again, and replaces what has changed. Returns at `shutdown`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let looks = async {
            loop {
                tokio::select! {
                    () = time::sleep(LOOK_EVERY) => self.look().await,
                    Some(answer) = self.asked.recv() => {
                        // Who asked may have gone.
                        drop(answer.send(self.look_again().await));
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = looks => {}
        }
    }

    async fn look(&mut self) {
        if let Some(networks) = &mut self.networks {
            networks.look().await;
        }
        if let Some(table) = &mut self.table {
            table.look().await;
        }
    }

    async fn look_again(&mut self) -> Result<Vec<String>, TablesError> {
        let networks = match &mut self.networks {
            Some(networks) => networks.look_again().await?,
            None => None,
        };
        let table = match &mut self.table {
            Some(table) => table.look_again().await?,
            None => None,
        };
        Ok(networks.into_iter().chain(table).collect())
    }
}

impl<S: Source> Watched<S> {
    /// Replaces what has changed.
    async fn look(&mut self) {
        match self.refresher.look().await {
            Some(Ok(value)) => drop(self.replace(value)),
            Some(Err(error)) => tracing::warn!(
                "{} have changed, and can't be used; those in use stay. Correct this: {error}",
                S::WHAT
            ),
            None => {}
        }
    }

    /// Replaces what has changed, and says so.
    async fn look_again(&mut self) -> Result<Option<String>, TablesError> {
        let value = self.refresher.look_again().await.transpose()?;
        Ok(value.map(|value| self.replace(value)))
    }

    fn replace(&self, value: Arc<S::Value>) -> String {
        self.shared.replace(value);
        let said = format!("{} have changed, and are in use", S::WHAT);
        tracing::info!("{said}");
        said
    }
}

fn load<S: Source>(source: S) -> Result<Watched<S>, TablesError> {
    let (value, refresher) = refresher::load(source)?;
    Ok(Watched { refresher, shared: Shared::new(value) })
}
