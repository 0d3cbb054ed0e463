//! The quantities that series count.

use super::field::Field;

/// A quantity that is added up. A view's series count one or several of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Bytes.
    Bytes,
    /// Packets.
    Packets,
    /// Flow records.
    Flows,
}

impl Measure {
    /// All measures, in the order in which a view has them.
    pub const ALL: [Measure; 3] = [Measure::Bytes, Measure::Packets, Measure::Flows];

    /// The bit that stands for it in a set of measures.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// As it stands in metric names.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::Bytes => "bytes",
            Measure::Packets => "packets",
            Measure::Flows => "flows",
        }
    }

    /// The field that a record adds; `None` where it adds 1.
    pub const fn field(self) -> Option<Field> {
        match self {
            Measure::Bytes => Some(Field::Bytes),
            Measure::Packets => Some(Field::Packets),
            Measure::Flows => None,
        }
    }
}
