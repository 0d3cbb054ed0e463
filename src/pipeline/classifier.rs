//! Which class a flow is of.

use crate::{
    flow::Plan,
    schema::{Class, Side},
    traffic::{AddressSet, RangeSet, Rule, class_of},
};

use super::{ends::EndAddress, values::Values};

/// Classifies flows by a rule.
#[derive(Debug)]
pub(super) struct Classifier {
    ases: RangeSet<u32>,
    /// What makes an end local whatever its AS is; `None` where nothing does, so that addresses need
    /// not be read.
    networks: Option<LocalNetworks>,
}

#[derive(Debug)]
struct LocalNetworks {
    addresses: AddressSet,
    source: EndAddress,
    destination: EndAddress,
}

impl Classifier {
    /// A classifier by this rule. Wants the fields that it needs from `plan`, besides AS numbers.
    pub(super) fn new(rule: &Rule, plan: &mut Plan) -> Self {
        let networks = (!rule.networks.is_empty()).then(|| LocalNetworks {
            addresses: rule.networks.clone(),
            source: EndAddress::new(Side::Source, plan),
            destination: EndAddress::new(Side::Destination, plan),
        });
        Classifier { ases: rule.ases.clone(), networks }
    }

    /// The class of a flow between these ASes.
    #[inline]
    pub(super) fn classify(
        &self,
        source_as: u32,
        destination_as: u32,
        values: &impl Values,
    ) -> Class {
        let (mut source, mut destination) =
            (self.ases.contains(source_as), self.ases.contains(destination_as));
        if let Some(networks) = &self.networks {
            source = source || networks.have(networks.source, values);
            destination = destination || networks.have(networks.destination, values);
        }
        class_of(source, destination)
    }
}

impl LocalNetworks {
    /// Whether an end is in one of them.
    fn have(&self, end: EndAddress, values: &impl Values) -> bool {
        end.get(values).is_some_and(|address| self.addresses.contains(address))
    }
}
