//! The quantities that series count.

use super::field::Field;

/// A quantity that is added up. A view's series count one or several of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Bytes.
    Bytes,
    /// Packets.
    Packets,
    /// Flows.
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

    /// The field that a record adds.
    pub const fn field(self) -> Field {
        match self {
            Measure::Bytes => Field::Bytes,
            Measure::Packets => Field::Packets,
            Measure::Flows => Field::Flows,
        }
    }

    /// What a record adds that does not have the field.
    pub const fn default(self) -> u64 {
        match self {
            Measure::Bytes | Measure::Packets => 0,
            Measure::Flows => 1,
        }
    }
}
