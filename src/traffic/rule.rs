//! The rule by which flows are classified.

use crate::schema::Class;

/// The original's rule, for one monitored AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The monitored AS number; 0 counts what has no AS number at either end, as the original does.
    pub asn: u32,
}

impl Rule {
    /// The class of a flow between these ASes.
    #[inline]
    pub const fn classify(self, source_as: u32, destination_as: u32) -> Class {
        match (source_as == self.asn, destination_as == self.asn) {
            (true, true) => Class::Internal,
            (true, false) => Class::Transmit,
            (false, true) => Class::Receive,
            (false, false) => Class::Transit,
        }
    }
}
