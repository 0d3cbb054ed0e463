//! What a series is: a metric (the direction) and a short row of numbers, laid out by dimensions.

use crate::flow::Flow;

use super::{TextId, Texts};

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

    /// The direction that [`Layout::key`] wrote into the first column of a key.
    pub const fn from_column(column: u32) -> Self {
        if column == Direction::Transmit as u32 { Direction::Transmit } else { Direction::Receive }
    }
}

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

    /// Writes the key of `flow` into `key` and returns the part of it that is used
    /// ([`Layout::width`] columns); texts are numbered by `texts`.
    pub(super) fn key<'k>(
        &self,
        direction: Direction,
        flow: &Flow<'_>,
        texts: &mut Texts,
        key: &'k mut [u32; Self::MAX_WIDTH],
    ) -> &'k [u32] {
        key[0] = direction as u32;
        for (column, dimension) in key[1..].iter_mut().zip(&self.dimensions) {
            *column = match dimension {
                Dimension::SourceAs => flow.source_as,
                Dimension::DestinationAs => flow.destination_as,
                Dimension::Hostname => {
                    let TextId(id) = texts.intern(&flow.hostname);
                    id
                }
            };
        }
        &key[..self.width()]
    }
}
