//! What a series is: a metric (the direction) and a short row of numbers, laid out by dimensions.

use crate::flow::Flow;

use super::{TextId, Texts};

/// The longest label value, in bytes. What flows name is content of messages, so it has a bound
/// before anything keeps it; a host name has 253 bytes at most, and receivers refuse values from
/// 2,048 on. Of a longer value, what exceeds this is cut off at the end of a character: values that
/// begin with the same so many bytes are one.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Which of the two counters a flow adds to, as seen from the monitored AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Direction {
    /// `flow_receive_bytes_total`: the monitored AS is the destination.
    Receive = 0,
    /// `flow_transmit_bytes_total`: the monitored AS is the source.
    Transmit = 1,
}

impl Direction {
    /// Both, in the order in which they are exposed.
    pub const ALL: [Direction; 2] = [Direction::Receive, Direction::Transmit];

    /// The metric's name, as in the original.
    pub const fn metric(self) -> &'static str {
        match self {
            Direction::Receive => "flow_receive_bytes_total",
            Direction::Transmit => "flow_transmit_bytes_total",
        }
    }

    /// The metric's help text, as in the original.
    pub const fn help(self) -> &'static str {
        match self {
            Direction::Receive => "Bytes received.",
            Direction::Transmit => "Bytes transferred.",
        }
    }

    /// The direction in the first column of a key.
    pub const fn from_column(column: u32) -> Self {
        if column & !IS_OTHER == Direction::Transmit as u32 {
            Direction::Transmit
        } else {
            Direction::Receive
        }
    }
}

/// The value of the labels of series that count what gets no series of its own, because there are
/// too many. No AS number looks like it.
pub const OTHER: &str = "other";

/// A bit of a key's first column: the series counts what gets no series of its own.
const IS_OTHER: u32 = 1 << 31;

/// A property of a flow by which series are told apart: one column of a key, one or two labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// `source_as` and `source_as_name`; the column holds the AS number.
    SourceAs,
    /// `destination_as` and `destination_as_name`; the column holds the AS number.
    DestinationAs,
    /// `hostname`; the column holds a [`TextId`].
    Hostname,
}

impl Dimension {
    /// Whether the column is the number of a text rather than a number of its own.
    pub const fn is_text(self) -> bool {
        matches!(self, Dimension::Hostname)
    }

    /// The names of its labels, sorted.
    pub const fn label_names(self) -> &'static [&'static str] {
        match self {
            Dimension::SourceAs => &["source_as", "source_as_name"],
            Dimension::DestinationAs => &["destination_as", "destination_as_name"],
            Dimension::Hostname => &["hostname"],
        }
    }
}

/// The columns of a series key after the direction, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dimensions: Vec<Dimension>,
}

impl Layout {
    /// Keys never have more columns than this, the direction included.
    pub const MAX_WIDTH: usize = 8;

    /// The dimensions behind the original's five labels, sorted by label name: what is written in
    /// this order needs no sorting, neither for exposition nor for remote write.
    pub fn original() -> Self {
        Layout {
            dimensions: vec![Dimension::DestinationAs, Dimension::Hostname, Dimension::SourceAs],
        }
    }

    /// The dimensions, in the order of the columns.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// Columns in a key: the direction and one for each dimension.
    pub fn width(&self) -> usize {
        1 + self.dimensions.len()
    }

    /// Makes a key that of the series of the same direction and the same texts that counts what
    /// gets no series of its own. Its other columns have no meaning: their labels are [`OTHER`].
    pub fn make_other(&self, key: &mut [u32]) {
        key[0] |= IS_OTHER;
        for (column, dimension) in key[1..].iter_mut().zip(&self.dimensions) {
            if !dimension.is_text() {
                *column = 0;
            }
        }
    }

    /// Whether a key is one of those that [`Layout::make_other`] makes.
    pub const fn is_other(key: &[u32]) -> bool {
        key[0] & IS_OTHER != 0
    }

    /// Writes the key of `flow` into `key` and returns the part of it that is used
    /// ([`Layout::width`] columns); texts are numbered by `texts`. Adds to `values_truncated`, in the
    /// places of the dimensions, the values of which something was cut off.
    pub(super) fn key<'k>(
        &self,
        direction: Direction,
        flow: &Flow<'_>,
        texts: &mut Texts,
        key: &'k mut [u32; Self::MAX_WIDTH],
        values_truncated: &mut ValuesTruncated,
    ) -> &'k [u32] {
        key[0] = direction as u32;
        let columns = key[1..].iter_mut().zip(values_truncated);
        for ((column, cut), dimension) in columns.zip(&self.dimensions) {
            *column = match dimension {
                Dimension::SourceAs => flow.source_as,
                Dimension::DestinationAs => flow.destination_as,
                Dimension::Hostname => {
                    let mut value = &*flow.hostname;
                    if value.len() > MAX_VALUE_BYTES {
                        value = truncate(value);
                        *cut += 1;
                    }
                    let TextId(id) = texts.intern(value);
                    id
                }
            };
        }
        &key[..self.width()]
    }
}

/// How many values were cut, by the dimension's place in its layout.
pub(super) type ValuesTruncated = [u64; Layout::MAX_WIDTH - 1];

/// A label value without what exceeds [`MAX_VALUE_BYTES`].
#[cold]
pub(super) fn truncate(value: &str) -> &str {
    let longest = value.len().min(MAX_VALUE_BYTES);
    let end = (0..=longest).rev().find(|&end| value.is_char_boundary(end));
    &value[..end.unwrap_or_default()]
}
