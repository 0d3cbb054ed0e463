//! The dimensions by which series are told apart, and their labels.

use super::field::Field;

/// The longest label value, in bytes. Values come from messages, so they are bounded before
/// anything keeps them: a host name has 253 bytes at most, and receivers refuse values from 2,048
/// on. A longer value is truncated at the end of a character, so values that begin with the same
/// bytes become one.
pub const MAX_VALUE_BYTES: usize = 1024;

/// A label value without what exceeds [`MAX_VALUE_BYTES`].
pub fn truncated(value: &str) -> &str {
    let longest = value.len().min(MAX_VALUE_BYTES);
    let end = (0..=longest).rev().find(|&end| value.is_char_boundary(end));
    &value[..end.unwrap_or_default()]
}

/// The label value of series that count flows without a series of their own. It is not a valid AS
/// number.
pub const OTHER: &str = "other";

/// A property of a flow by which a view tells series apart: one column of a series' key, shown by
/// one or more labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dimension {
    /// The source's AS. Labels: `source_as`, `source_as_name`.
    SourceAs = 1,
    /// The destination's AS. Labels: `destination_as`, `destination_as_name`.
    DestinationAs = 2,
    /// The exporting device. Label: `hostname`.
    Hostname = 3,
}

/// How a label shows the value of its dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// As a decimal number.
    Number,
    /// As the name of the AS with that number; empty if it has none.
    AsName,
    /// As the text that it is.
    Text,
}

/// A label of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'n> {
    /// Its name.
    pub name: &'n str,
    /// What its value shows.
    pub shown: Shown,
}

impl Dimension {
    /// All dimensions.
    pub const ALL: [Dimension; 3] =
        [Dimension::SourceAs, Dimension::DestinationAs, Dimension::Hostname];

    /// The field from which its value is taken.
    pub const fn field(self) -> Field {
        match self {
            Dimension::SourceAs => Field::SourceAs,
            Dimension::DestinationAs => Field::DestinationAs,
            Dimension::Hostname => Field::Hostname,
        }
    }

    /// Whether its column holds the number of a text rather than the value.
    pub const fn is_text(self) -> bool {
        matches!(self, Dimension::Hostname)
    }

    /// The dimension's place in [`Dimension::ALL`].
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// Its labels, sorted by name.
    pub const fn labels(&self) -> &[Label<'_>] {
        const fn label(name: &'static str, shown: Shown) -> Label<'static> {
            Label { name, shown }
        }
        match self {
            Dimension::SourceAs => {
                &const { [label("source_as", Shown::Number), label("source_as_name", Shown::AsName)] }
            }
            Dimension::DestinationAs => {
                &const {
                    [
                        label("destination_as", Shown::Number),
                        label("destination_as_name", Shown::AsName),
                    ]
                }
            }
            Dimension::Hostname => &const { [label("hostname", Shown::Text)] },
        }
    }

    /// Whether one of its labels is the name of an AS.
    pub fn shows_name(self) -> bool {
        self.labels().iter().any(|label| label.shown == Shown::AsName)
    }

    /// The number that stands for it in the journal. Never 0.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The dimension with this [code](Dimension::code).
    pub fn from_code(code: u8) -> Option<Self> {
        Dimension::ALL.into_iter().find(|dimension| dimension.code() == code)
    }
}
