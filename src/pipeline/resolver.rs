//! The AS of an end by its address, where the record has none.

use crate::{
    flow::{Plan, Slot},
    schema::Side,
    traffic::{AsSource, Counts},
};

use super::{
    ends::{self, EndAddress},
    known::Known,
    values::{Facts, Values},
};

/// Finds the AS of ends of which records have none, or only that of a default route.
#[derive(Debug)]
pub(super) struct Resolver {
    source: End,
    destination: End,
    /// Whether the table is asked, after the operator's networks.
    uses_table: bool,
}

/// Where records say what is known of an end besides its AS.
#[derive(Debug, Clone, Copy)]
struct End {
    address: EndAddress,
    /// The length of its prefix; `None` where that does not matter.
    mask: Option<Slot>,
}

impl Resolver {
    /// Wants the fields that it needs from `plan`.
    pub(super) fn new(uses_table: bool, plan: &mut Plan) -> Self {
        let mut end = |side| End {
            address: EndAddress::new(side, plan),
            mask: uses_table.then(|| ends::mask(side, plan)),
        };
        Resolver { source: end(Side::Source), destination: end(Side::Destination), uses_table }
    }

    /// The same with the AS of both ends, as far as they are known.
    pub(super) fn resolve<'t>(
        &self,
        facts: Facts<'t>,
        values: &impl Values,
        counts: &mut Counts,
    ) -> Facts<'t> {
        let mut find = |asn, end: End| {
            let (asn, found) = self.find(asn, end, facts.known, values);
            counts.as_found[found.index()] += 1;
            (asn, Some(found))
        };
        let (source_as, source_found) = find(facts.source_as, self.source);
        let (destination_as, destination_found) = find(facts.destination_as, self.destination);
        Facts { source_as, source_found, destination_as, destination_found, ..facts }
    }

    fn find(&self, asn: u32, end: End, known: Known<'_>, values: &impl Values) -> (u32, AsSource) {
        let has_as = !is_no_as(asn);
        if has_as && (is_private(asn) || !end.is_by_default_route(values)) {
            return (asn, AsSource::Record);
        }
        let unknown = |otherwise| if has_as { AsSource::Record } else { otherwise };
        let Some(address) = end.address.get(values) else {
            return (asn, unknown(AsSource::NoAddress));
        };
        if let Some(network) = known.network(address)
            && network.asn != 0
        {
            return (network.asn, AsSource::Networks);
        }
        match if self.uses_table { known.asn(address) } else { 0 } {
            0 => (asn, unknown(AsSource::Unknown)),
            found => (found, AsSource::Table),
        }
    }
}

impl End {
    /// Whether the exporter knows the end by a default route alone: then the AS that it says is that of
    /// its neighbour, whatever the address is.
    fn is_by_default_route(self, values: &impl Values) -> bool {
        self.mask.is_some_and(|mask| values.number(mask) == Some(0))
    }
}

/// Whether an AS is private (RFC 6996): what announces an address to the world is another one, and no
/// table knows better.
fn is_private(asn: u32) -> bool {
    matches!(asn, 64512..=65534 | 4_200_000_000..=4_294_967_294)
}

/// Whether a number stands for an AS that is unknown: 0 (RFC 7607), `AS_TRANS` (RFC 6793), which
/// stands for any of four bytes, and the last ones of 16 and of 32 bits (RFC 7300).
fn is_no_as(asn: u32) -> bool {
    matches!(asn, 0 | 23456 | 65535 | u32::MAX)
}
