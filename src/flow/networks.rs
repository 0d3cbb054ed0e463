//! Networks of formats that have addresses and lengths of prefixes.

use ipnet::IpNet;

use crate::schema::Field;

use super::{
    plan::{Plan, Slot},
    row::{RowBuffer, Value},
};

/// Slots of networks in which decoders put addresses, with those of the lengths.
#[derive(Debug)]
pub(super) struct Networks(Vec<(Slot, Option<Slot>)>);

impl Networks {
    /// Those of a plan.
    pub(super) fn of_addresses(plan: &Plan) -> Self {
        Networks::of(plan, |_| true)
    }

    /// Those of a plan that are made of addresses.
    pub(super) fn of(plan: &Plan, is_of_address: impl Fn(&Field) -> bool) -> Self {
        let networks = [
            (Field::SourceNetwork, Field::SourceMask),
            (Field::DestinationNetwork, Field::DestinationMask),
        ];
        let wanted = networks.iter().filter(|(network, _)| is_of_address(network));
        let slots =
            wanted.filter_map(|(network, mask)| Some((plan.slot(network)?, plan.slot(mask))));
        Networks(slots.collect())
    }

    /// Makes networks of the addresses; absent where the length is not known.
    #[inline]
    pub(super) fn cut(&self, values: &mut RowBuffer) {
        for &(network, length) in &self.0 {
            let value = match (values.value(network), length.map(|slot| values.value(slot))) {
                (Value::Address(address), Some(Value::Number(length))) => {
                    // Lengths of fields fit.
                    IpNet::new(address, length as u8)
                        .map_or(Value::Absent, |network| Value::Address(network.network()))
                }
                (Value::Malformed(_), _) => continue,
                _ => Value::Absent,
            };
            values.set(network, value);
        }
    }
}
