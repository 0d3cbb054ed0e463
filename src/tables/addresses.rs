//! All that counting knows of addresses, and the files that it comes from.

use crate::address::{Networks, Shared, Table, Tables};

use super::{
    error::TablesError,
    refresher::{self, Refresher},
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
    networks: Option<(Refresher<NetworksFile>, Shared<Networks>)>,
    table: Option<(Refresher<TableSources>, Shared<Table>)>,
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
            networks: networks.as_ref().map(|(_, networks)| networks.clone()),
            table: table.as_ref().map(|(_, table)| table.clone()),
            has_embedded_countries: self.table.is_none(),
        };
        Ok((tables, self.has_files().then_some(Watch { networks, table })))
    }

    /// Whether there are files to be read again.
    fn has_files(&self) -> bool {
        let is_file = |source: &TableSource| matches!(source, TableSource::File(_));
        self.networks.is_some()
            || self.table.as_ref().is_some_and(|sources| sources.0.iter().any(is_file))
    }
}

impl Watch {
    /// Looks at the files again and again, and replaces what has changed. Returns at `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let looks = async {
            tokio::join!(look(self.networks), look(self.table));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = shutdown => {}
            () = looks => {}
        }
    }
}

fn load<S: Source>(source: S) -> Result<(Refresher<S>, Shared<S::Value>), TablesError> {
    let (value, refresher) = refresher::load(source)?;
    Ok((refresher, Shared::new(value)))
}

async fn look<S: Source>(watched: Option<(Refresher<S>, Shared<S::Value>)>) {
    if let Some((refresher, shared)) = watched {
        refresher.run(std::future::pending(), |value| shared.replace(value)).await;
    }
}
