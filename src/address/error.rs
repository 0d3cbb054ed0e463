//! Why bytes aren't a table of addresses.

/// The largest file that is read as a table: the free ones are below 100 MB.
pub const MAX_TABLE_BYTES: u64 = 256 << 20;

/// The most ranges that a file may have. In a MaxMind database, neighbours with the same AS and
/// country count as one.
pub const MAX_RANGES: usize = 8 << 20;

/// Why bytes can't be read as a table of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A line of a CSV file.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1 on.
        line: usize,
        /// What is wrong with it, and what is expected.
        what: String,
    },
    /// A MaxMind database is damaged, or none that is understood.
    #[error("the MaxMind database can't be read: {0}")]
    Mmdb(String),
    /// A MaxMind database of another kind.
    #[error(
        "this MaxMind database, of type {0}, has neither AS numbers nor countries: use one of type \
         ASN or Country"
    )]
    OtherMmdb(String),
    /// There is no row.
    #[error("the table has no rows: was it cut short?")]
    Empty,
    /// It is an archive.
    #[error("the file is compressed: unpack it")]
    Compressed,
    /// It begins with the byte order mark of UTF-16.
    #[error("the file is UTF-16: save it as UTF-8")]
    Utf16,
    /// It has more than [`MAX_TABLE_BYTES`].
    #[error(
        "the file is larger than {} MiB: use a table of AS and countries alone",
        MAX_TABLE_BYTES >> 20
    )]
    TooLarge,
    /// It has more than [`MAX_RANGES`].
    #[error("the table has more than {MAX_RANGES} ranges: use one of AS and countries alone")]
    TooManyRanges,
}
