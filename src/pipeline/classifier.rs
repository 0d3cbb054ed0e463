//! Which class a flow is of.

use crate::{
    flow::{Plan, Slot},
    schema::{Class, Field, Side},
    traffic::{AddressSet, ByExporter, ForeignFlow, InterfaceUse, RangeSet, Rule, class_of},
};

use super::{
    ends::EndAddress,
    exporter::Exporter,
    known::Known,
    values::{Facts, Values},
};

/// Classifies flows by a rule.
#[derive(Debug)]
pub(super) struct Classifier {
    ases: RangeSet<u32>,
    /// What makes an end local whatever its AS is; `None` where nothing does, so that addresses need
    /// not be read.
    networks: Option<LocalNetworks>,
    /// What decides instead for some exporters.
    interfaces: Option<ExternalInterfaces>,
}

#[derive(Debug)]
struct ExternalInterfaces {
    external: ByExporter<RangeSet<u32>>,
    exporter: Exporter,
    input: Slot,
    output: Slot,
}

#[derive(Debug)]
struct LocalNetworks {
    addresses: AddressSet,
    /// Whether those of the operator's list are local as well.
    has_list: bool,
    source: EndAddress,
    destination: EndAddress,
}

impl Classifier {
    /// A classifier by this rule. Wants the fields that it needs from `plan`, besides AS numbers.
    pub(super) fn new(rule: &Rule, plan: &mut Plan) -> Self {
        let networks = (!rule.networks.is_empty() || rule.has_list).then(|| LocalNetworks {
            addresses: rule.networks.clone(),
            has_list: rule.has_list,
            source: EndAddress::new(Side::Source, plan),
            destination: EndAddress::new(Side::Destination, plan),
        });
        let external = &rule.external_interfaces;
        let interfaces = (!external.is_empty()).then(|| ExternalInterfaces {
            external: external.clone(),
            exporter: Exporter::new(plan),
            input: plan.add(Field::InputInterface),
            output: plan.add(Field::OutputInterface),
        });
        Classifier { ases: rule.ases.clone(), networks, interfaces }
    }

    /// The class of a flow.
    #[inline]
    pub(super) fn classify(&self, facts: Facts<'_>, values: &impl Values) -> Class {
        if let Some(interfaces) = &self.interfaces
            && let Some(class) = interfaces.classify(values)
        {
            return class;
        }
        let (mut source, mut destination) =
            (self.ases.contains(facts.source_as), self.ases.contains(facts.destination_as));
        if let Some(networks) = &self.networks {
            source = source || networks.have(networks.source, facts.known, values);
            destination = destination || networks.have(networks.destination, facts.known, values);
        }
        class_of(source, destination)
    }

    /// What is known of a flow of which no end is local.
    pub(super) fn foreign_flow(&self, facts: Facts<'_>, values: &impl Values) -> ForeignFlow {
        let lacks_addresses = self.networks.as_ref().is_some_and(|networks| {
            networks.source.get(values).is_none() && networks.destination.get(values).is_none()
        });
        ForeignFlow {
            source_as: facts.source_as,
            destination_as: facts.destination_as,
            lacks_addresses,
            interfaces: self.interfaces.as_ref().map(|interfaces| interfaces.used(values)),
        }
    }
}

impl ExternalInterfaces {
    /// Whether they say which way a flow goes.
    fn used(&self, values: &impl Values) -> InterfaceUse {
        let (hostname, address) = (self.exporter.hostname(values), self.exporter.address(values));
        if hostname.is_none() && address.is_none() {
            InterfaceUse::NoExporter
        } else if self.external.get(hostname, address).is_none() {
            InterfaceUse::OtherExporter
        } else if self.classify(values).is_none() {
            InterfaceUse::NoInterfaces
        } else {
            InterfaceUse::Decides
        }
    }

    /// The class of a flow by the interfaces that it passed; `None` if its exporter has no external
    /// ones, or if the record has neither interface.
    fn classify(&self, values: &impl Values) -> Option<Class> {
        let exporter = self.exporter;
        let external = self.external.get(exporter.hostname(values), exporter.address(values))?;
        let passed = [self.input, self.output].map(|slot| values.number(slot));
        if passed == [None; 2] {
            return None;
        }
        // Interfaces are numbers of 32 bits.
        let [from_outside, to_outside] =
            passed.map(|index| index.is_some_and(|index| external.contains(index as u32)));
        Some(class_of(!from_outside, !to_outside))
    }
}

impl LocalNetworks {
    /// Whether an end is in one of them.
    fn have(&self, end: EndAddress, known: Known<'_>, values: &impl Values) -> bool {
        end.get(values).is_some_and(|address| {
            self.addresses.contains(address) || self.has_list && known.network(address).is_some()
        })
    }
}
