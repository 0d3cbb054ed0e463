//! The table that answers which AS and which country an address belongs to.

use std::{fmt, net::IpAddr};

use super::{
    csv, embedded,
    error::{MAX_RANGES, MAX_TABLE_BYTES, TableError},
    lookup::Lookup,
    mmdb,
    origin::Origin,
    steps::Steps,
};

/// What one source says of addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Layer(Steps<Origin>);

impl Layer {
    /// The embedded ranges. Unpacking them takes a moment and 30 MB.
    pub fn embedded() -> Layer {
        Layer(embedded::steps())
    }

    /// Reads a file of any of these formats, by its content:
    ///
    /// - a MaxMind database (mmdb), with the fields that MaxMind, DB-IP and IPinfo use;
    /// - CSV, or the same with tabs, in the forms that docs/as-table.md lists.
    ///
    /// # Errors
    /// A file with any row that is not understood is refused as a whole.
    pub fn parse(file: &[u8]) -> Result<Layer, TableError> {
        if file.len() as u64 > MAX_TABLE_BYTES {
            return Err(TableError::TooLarge);
        }
        let parse = if mmdb::is_mmdb(file) { mmdb::parse } else { csv::parse };
        let ranges = parse(file, MAX_RANGES)?;
        Ok(Layer(ranges.steps()))
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("v4", &self.0.v4.len())
            .field("v6", &self.0.v6.len())
            .finish_non_exhaustive()
    }
}

/// Which AS and which country an address belongs to.
///
/// With the embedded ranges, 680,000 with the gaps between them, it takes 8 MB.
pub struct Table(Lookup<Origin>);

impl Table {
    /// A table of layers: the first one that knows the AS of an address says it, and the first one
    /// that knows the country. Without layers, everything is unknown.
    pub fn of(layers: impl IntoIterator<Item = Layer>) -> Table {
        let unknown =
            Layer(Steps { v4: vec![(0, Origin::default())], v6: vec![(0, Origin::default())] });
        let both =
            |above: Layer, below: Layer| Layer(Steps::combine(&above.0, &below.0, Origin::or));
        Table(Lookup::new(&layers.into_iter().reduce(both).unwrap_or(unknown).0))
    }

    /// What is known of an address. An IPv4 address in the form of IPv6 (`::ffff:192.0.2.1`) is
    /// looked up as IPv4.
    pub fn lookup(&self, address: IpAddr) -> Origin {
        self.0.get(address)
    }

    /// How many ranges the table has, gaps included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known of any address.
    pub fn is_empty(&self) -> bool {
        self.0.len() <= 2
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("len", &self.len()).finish_non_exhaustive()
    }
}
