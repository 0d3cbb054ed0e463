//! The direction rule: whose traffic it is, and which way it goes.

use crate::flow::Flow;

use super::Direction;

/// Why a valid flow adds to no series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Neither its source nor its destination is the monitored AS.
    OtherAs,
    /// Its bytes would take a sum that is not handed over yet past 2^64.
    Overflow,
}

impl Ignored {
    /// All reasons, in the order of [`Ignored::index`].
    pub const ALL: [Ignored; 2] = [Ignored::OtherAs, Ignored::Overflow];

    /// The reason as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Ignored::OtherAs => "other_as",
            Ignored::Overflow => "overflow",
        }
    }

    /// The reason's place in [`Ignored::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The original's rule for one monitored AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The monitored AS number; 0 counts what has no AS number at either end, as the original does.
    pub asn: u32,
}

impl Rule {
    /// A flow from the monitored AS is transmitted, even if it also goes to it; else a flow to it
    /// is received.
    pub fn direction(self, flow: &Flow<'_>) -> Result<Direction, Ignored> {
        if flow.source_as == self.asn {
            Ok(Direction::Transmit)
        } else if flow.destination_as == self.asn {
            Ok(Direction::Receive)
        } else {
            Err(Ignored::OtherAs)
        }
    }
}
