//! The classes of traffic.

/// The direction of a flow, as seen from the monitored networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// From elsewhere to a monitored network.
    Receive = 0,
    /// From a monitored network.
    Transmit = 1,
    /// From one monitored network to another. Views without this class count it as transmitted.
    Internal = 2,
    /// Neither from nor to a monitored network.
    Transit = 3,
}

/// A number that is not the code of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} isn't the number of a class of traffic")]
pub struct UnknownClass(pub u8);

impl Class {
    /// All classes, in the order in which their metrics are exposed.
    pub const ALL: [Class; 4] = [Class::Receive, Class::Transmit, Class::Internal, Class::Transit];

    /// The bit that stands for it in a set of classes.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// As it stands in metric names.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Receive => "receive",
            Class::Transmit => "transmit",
            Class::Internal => "internal",
            Class::Transit => "transit",
        }
    }
}

impl TryFrom<u8> for Class {
    type Error = UnknownClass;

    fn try_from(number: u8) -> Result<Self, UnknownClass> {
        Class::ALL.get(usize::from(number)).copied().ok_or(UnknownClass(number))
    }
}
