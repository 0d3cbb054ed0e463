//! The address of an end of a flow.

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
        let (address, network) = match side {
            Side::Source => (Field::SourceAddress, Field::SourceNetwork),
            Side::Destination => (Field::DestinationAddress, Field::DestinationNetwork),
        };
        EndAddress { address: plan.add(address), network: plan.add(network) }
    }

    /// The address; `None` if the record has neither.
    #[inline]
    pub(super) fn get(self, values: &impl Values) -> Option<IpAddr> {
        values.address(self.address).or_else(|| values.address(self.network))
    }
}
