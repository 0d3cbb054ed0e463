//! The AS of an end by its address, where the record has none.

use crate::{
    flow::Plan,
    schema::Side,
    traffic::{AsSource, Counts},
};

use super::{
    ends::EndAddress,
    known::Known,
    values::{Facts, Values},
};

/// Finds the AS of ends of which records have none.
#[derive(Debug)]
pub(super) struct Resolver {
    source: EndAddress,
    destination: EndAddress,
    /// Whether the table is asked, after the operator's networks.
    uses_table: bool,
}

impl Resolver {
    /// Wants the fields that it needs from `plan`.
    pub(super) fn new(uses_table: bool, plan: &mut Plan) -> Self {
        Resolver {
            source: EndAddress::new(Side::Source, plan),
            destination: EndAddress::new(Side::Destination, plan),
            uses_table,
        }
    }

    /// The same with the AS of both ends, as far as they are known.
    pub(super) fn resolve<'t>(
        &self,
        facts: Facts<'t>,
        values: &impl Values,
        counts: &mut Counts,
    ) -> Facts<'t> {
        let mut find = |asn, end: EndAddress| {
            let (asn, found) = self.find(asn, end, facts.known, values);
            counts.as_found[found.index()] += 1;
            (asn, Some(found))
        };
        let (source_as, source_found) = find(facts.source_as, self.source);
        let (destination_as, destination_found) = find(facts.destination_as, self.destination);
        Facts { source_as, source_found, destination_as, destination_found, ..facts }
    }

    fn find(
        &self,
        asn: u32,
        end: EndAddress,
        known: Known<'_>,
        values: &impl Values,
    ) -> (u32, AsSource) {
        if !is_no_as(asn) {
            return (asn, AsSource::Record);
        }
        let Some(address) = end.get(values) else { return (asn, AsSource::NoAddress) };
        if let Some(network) = known.network(address)
            && network.asn != 0
        {
            return (network.asn, AsSource::Networks);
        }
        match if self.uses_table { known.asn(address) } else { 0 } {
            0 => (asn, AsSource::Unknown),
            found => (found, AsSource::Table),
        }
    }
}

/// Whether a number stands for an AS that is unknown: 0 (RFC 7607), `AS_TRANS` (RFC 6793), which
/// stands for any of four bytes, and the last ones of 16 and of 32 bits (RFC 7300).
fn is_no_as(asn: u32) -> bool {
    matches!(asn, 0 | 23456 | 65535 | u32::MAX)
}
