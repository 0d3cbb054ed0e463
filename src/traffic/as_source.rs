//! Where the AS of an end was found.

/// Where the AS of an end was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsSource {
    /// In the record.
    Record,
    /// In the operator's list of networks, by the address.
    Networks,
    /// In the table of addresses.
    Table,
    /// Nowhere, though the record has the address.
    Unknown,
    /// Nowhere, since the record has no address either.
    NoAddress,
}

impl AsSource {
    /// All of them, in the order of [`AsSource::index`].
    pub const ALL: [AsSource; 5] = [
        AsSource::Record,
        AsSource::Networks,
        AsSource::Table,
        AsSource::Unknown,
        AsSource::NoAddress,
    ];

    /// As a label value.
    pub const fn label(self) -> &'static str {
        match self {
            AsSource::Record => "record",
            AsSource::Networks => "networks",
            AsSource::Table => "table",
            AsSource::Unknown => "unknown",
            AsSource::NoAddress => "no_address",
        }
    }

    /// Its place in [`AsSource::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
