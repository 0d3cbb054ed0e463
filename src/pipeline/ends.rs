//! Where records say which address an end of a flow has, and which network.

use std::net::IpAddr;

use crate::{
    flow::{Plan, Slot},
    schema::{Field, Side},
};

use super::values::Values;

/// Where the address of an end is: in the record as such, or else as the first one of its network.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndAddress {
    address: Slot,
    network: Slot,
}

impl EndAddress {
    /// That of this end. Wants the fields from `plan`.
    pub(super) fn new(side: Side, plan: &mut Plan) -> Self {
        EndAddress { address: address(side, plan), network: network(side, plan) }
    }

    /// The address; `None` if the record has neither.
    #[inline]
    pub(super) fn get(self, values: &impl Values) -> Option<IpAddr> {
        values.address(self.address).or_else(|| values.address(self.network))
    }
}

/// The slot of an address.
pub(super) fn address(side: Side, plan: &mut Plan) -> Slot {
    plan.add(match side {
        Side::Source => Field::SourceAddress,
        Side::Destination => Field::DestinationAddress,
    })
}

/// The slot of a network's first address.
pub(super) fn network(side: Side, plan: &mut Plan) -> Slot {
    plan.add(match side {
        Side::Source => Field::SourceNetwork,
        Side::Destination => Field::DestinationNetwork,
    })
}

/// The slot of a network's length.
pub(super) fn mask(side: Side, plan: &mut Plan) -> Slot {
    plan.add(match side {
        Side::Source => Field::SourceMask,
        Side::Destination => Field::DestinationMask,
    })
}
