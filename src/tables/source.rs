//! What tables of addresses are made of.

use std::{
    convert::Infallible,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    address::{Layer, MAX_TABLE_BYTES, Networks, Table},
    text_file, watched_file,
};

use super::error::TablesError;

/// What a value is made of that depends on files.
pub trait Source: fmt::Debug + Clone + Send + 'static {
    /// What is made.
    type Value: Send + Sync + 'static;

    /// What that is, for the log.
    const WHAT: &'static str;

    /// The files.
    fn files(&self) -> impl Iterator<Item = &Path>;

    /// Reads all files.
    ///
    /// # Errors
    /// If one of them can't be used.
    fn read(&self) -> Result<Self::Value, TablesError>;
}

/// One source of AS and country by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableSource {
    /// The ranges embedded in the program.
    Embedded,
    /// Another table in the program, in a format that [`Layer::parse`] reads: its name, its content.
    BuiltIn(&'static str, &'static str),
    /// A local file, in any format that [`Layer::parse`] reads.
    File(PathBuf),
    /// Nothing.
    None,
}

impl FromStr for TableSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "embedded" => TableSource::Embedded,
            "none" => TableSource::None,
            path => TableSource::File(path.into()),
        })
    }
}

/// As it is given.
impl fmt::Display for TableSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableSource::Embedded => f.write_str("embedded"),
            TableSource::BuiltIn(name, _) => f.write_str(name),
            TableSource::File(path) => path.display().fmt(f),
            TableSource::None => f.write_str("none"),
        }
    }
}

/// The sources of AS and country by address: the first one that knows the AS of an address says it,
/// and the first one that knows the country. So a file with AS and one with countries make one
/// table, and `embedded` after them knows what they don't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSources(pub Vec<TableSource>);

impl Source for TableSources {
    type Value = Table;

    const WHAT: &'static str = "AS and countries by address";

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|source| match source {
            TableSource::File(path) => Some(path.as_path()),
            TableSource::Embedded | TableSource::BuiltIn(..) | TableSource::None => None,
        })
    }

    fn read(&self) -> Result<Table, TablesError> {
        let mut layers = Vec::new();
        for source in &self.0 {
            match source {
                TableSource::Embedded => layers.push(Layer::embedded()),
                TableSource::BuiltIn(name, content) => {
                    let parsed = Layer::parse(content.as_bytes());
                    let refused = |source| TablesError::Table { path: name.into(), source };
                    layers.push(parsed.map_err(refused)?);
                }
                TableSource::File(path) => layers.push(layer(path)?),
                TableSource::None => {}
            }
        }
        Ok(Table::of(layers))
    }
}

fn layer(path: &Path) -> Result<Layer, TablesError> {
    let read = || {
        // Opening a pipe may wait forever.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is a pipe, a device or a directory"));
        }
        watched_file::read(path, MAX_TABLE_BYTES)
    };
    let (file, _) = read().map_err(|source| TablesError::File { path: path.into(), source })?;
    Layer::parse(&file).map_err(|source| TablesError::Table { path: path.into(), source })
}

/// The file with the operator's own networks, see [`Networks::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworksFile(pub PathBuf);

impl Source for NetworksFile {
    type Value = Networks;

    const WHAT: &'static str = "networks";

    fn files(&self) -> impl Iterator<Item = &Path> {
        [self.0.as_path()].into_iter()
    }

    fn read(&self) -> Result<Networks, TablesError> {
        let path = || self.0.clone();
        let text = text_file::read_regular(&self.0)
            .map_err(|what| TablesError::Text { path: path(), what })?;
        Networks::parse(&text).map_err(|source| TablesError::Networks { path: path(), source })
    }
}
