//! Why a record is not a flow.

/// Why a valid record is not a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// `purge_init` or `purge_close`, written around a purge with pmacct's `kafka_markers`.
    Marker,
    /// A record without bytes: a NAT event, an option record.
    NoBytes,
    /// A message without any record.
    Empty,
    /// A sampled packet that is not IP, or of which there is too little to tell.
    NotIp,
}

impl Skipped {
    /// All reasons, in the order of [`Skipped::index`].
    pub const ALL: [Skipped; 4] =
        [Skipped::Marker, Skipped::NoBytes, Skipped::Empty, Skipped::NotIp];

    /// The reason as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Skipped::Marker => "marker",
            Skipped::NoBytes => "no_bytes",
            Skipped::Empty => "empty",
            Skipped::NotIp => "not_ip",
        }
    }

    /// The reason's place in [`Skipped::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a record can't be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is not JSON, or not of its format otherwise, is truncated, or nests too deep.
    Syntax,
    /// It is JSON, but neither an object nor an array of objects.
    NotARecord,
    /// A field that is used has a value of the wrong type.
    WrongType,
    /// A number that is used is negative, has a fraction, or is too large.
    NumberOutOfRange,
    /// The whole message is in no format that is known.
    UnknownFormat,
    /// The schema registry does not know the schema of the whole message.
    UnknownSchema,
    /// The schema of the whole message is none of records, or too large.
    UnusableSchema,
}

impl Malformed {
    /// All reasons, in the order of [`Malformed::index`].
    pub const ALL: [Malformed; 7] = [
        Malformed::Syntax,
        Malformed::NotARecord,
        Malformed::WrongType,
        Malformed::NumberOutOfRange,
        Malformed::UnknownFormat,
        Malformed::UnknownSchema,
        Malformed::UnusableSchema,
    ];

    /// The reason as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Malformed::Syntax => "syntax",
            Malformed::NotARecord => "not_a_record",
            Malformed::WrongType => "wrong_type",
            Malformed::NumberOutOfRange => "number_out_of_range",
            Malformed::UnknownFormat => "unknown_format",
            Malformed::UnknownSchema => "unknown_schema",
            Malformed::UnusableSchema => "unusable_schema",
        }
    }

    /// The reason's place in [`Malformed::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
