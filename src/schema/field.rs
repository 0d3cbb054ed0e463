//! The fields of a flow record.

/// A field of a flow record, whatever formats call it. Only decoders know their names for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// AS number of the source; 0 if unknown.
    SourceAs,
    /// AS number of the destination; 0 if unknown.
    DestinationAs,
    /// Bytes since the previous record of the flow.
    Bytes,
    /// Packets since the previous record of the flow.
    Packets,
    /// Host name of the device that exported the flow; empty if unknown.
    Hostname,
    /// What the format calls by this name, as text.
    Named(Box<str>),
}

/// What the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Integers from 0 up to a largest one.
    Number {
        /// The largest valid value.
        max: u64,
    },
    /// Texts.
    Text,
}

impl Field {
    /// What its values are.
    pub const fn value_type(&self) -> FieldType {
        match self {
            Field::SourceAs | Field::DestinationAs => FieldType::Number { max: u32::MAX as u64 },
            // The original can't count more than this either.
            Field::Bytes | Field::Packets => FieldType::Number { max: i64::MAX as u64 },
            Field::Hostname | Field::Named(_) => FieldType::Text,
        }
    }

    /// Whether its values are texts.
    pub const fn is_text(&self) -> bool {
        matches!(self.value_type(), FieldType::Text)
    }
}
