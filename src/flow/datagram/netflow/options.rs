//! Records of options: what exporters say of samplers, interfaces and other things, beside flows.

use std::net::IpAddr;

use crate::flow::datagram::names::Named;

use super::{
    element as ie,
    layout::{Layout, Places, application_of, number_of},
    originals::exporter_of,
    rates::{Said, Sampler, SamplerKind},
    template::Template,
};

/// What a record of options says, as far as it is used.
#[derive(Debug, Default)]
pub(super) struct Options<'r> {
    /// Of rates.
    pub(super) said: Said,
    interface: Option<u64>,
    interface_name: &'r [u8],
    interface_description: &'r [u8],
    vrf: Option<u64>,
    vrf_name: &'r [u8],
    application: Option<u64>,
    application_name: &'r [u8],
    exporter: Exporter,
}

/// What a record of options says of the exporter.
#[derive(Debug, Clone, Copy, Default)]
struct Exporter {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
    /// Whether the record is of the whole exporter or a domain of it, and of which one.
    is_of_all: bool,
    domain: Option<u64>,
    /// Whether it is of a part of a device, which has no number that is used.
    is_of_part: bool,
}

impl<'r> Options<'r> {
    /// Reads a record of this template.
    pub(super) fn read(template: &Template, record: &'r impl Places) -> Self {
        let mut options = Options::default();
        let exporter = &mut options.exporter;
        let said = &mut options.said;
        for (field, place) in template.fields.iter().zip(Layout::places(template)) {
            let bytes = record.bytes(place);
            let number = number_of(bytes);
            match field.element {
                ie::INGRESS_INTERFACE
                | ie::INGRESS_PHYSICAL_INTERFACE
                | ie::EGRESS_INTERFACE
                | ie::EGRESS_PHYSICAL_INTERFACE
                | ie::SCOPE_INTERFACE => options.interface = options.interface.or(number),
                ie::INTERFACE_NAME => options.interface_name = bytes,
                ie::INTERFACE_DESCRIPTION => options.interface_description = bytes,
                ie::INGRESS_VRF_ID | ie::EGRESS_VRF_ID => options.vrf = options.vrf.or(number),
                ie::VRF_NAME => options.vrf_name = bytes,
                ie::APPLICATION_ID => options.application = application_of(bytes),
                ie::APPLICATION_NAME => options.application_name = bytes,
                ie::TEMPLATE_ID | ie::SCOPE_TEMPLATE => {
                    said.template = number.and_then(|number| u16::try_from(number).ok());
                }
                ie::SELECTOR_ID => {
                    let kind = SamplerKind::Selector;
                    said.sampler = number.map(|id| Sampler { kind, id });
                }
                // Of both, the selector's parameters are more.
                ie::SAMPLER_ID if said.sampler.is_none() => {
                    let kind = SamplerKind::Sampler;
                    said.sampler = number.map(|id| Sampler { kind, id });
                }
                ie::SAMPLING_INTERVAL => said.interval = number,
                ie::SAMPLER_RANDOM_INTERVAL => said.random_interval = number,
                ie::SELECTOR_ALGORITHM => said.algorithm = number,
                ie::SAMPLING_PACKET_INTERVAL => said.chosen = number,
                ie::SAMPLING_PACKET_SPACE => said.skipped = number,
                ie::SAMPLING_SIZE => said.size = number,
                ie::SAMPLING_POPULATION => said.population = number,
                ie::SAMPLING_PROBABILITY => said.probability = float_of(bytes),
                ie::EXPORTER_IPV4_ADDRESS => exporter.v4 = exporter_of(bytes),
                ie::EXPORTER_IPV6_ADDRESS => exporter.v6 = exporter_of(bytes),
                ie::SCOPE_SYSTEM | ie::EXPORTING_PROCESS_ID => exporter.is_of_all = true,
                ie::OBSERVATION_DOMAIN_ID => {
                    (exporter.is_of_all, exporter.domain) = (true, number);
                }
                ie::SCOPE_LINE_CARD | ie::SCOPE_CACHE => exporter.is_of_part = true,
                _ => {}
            }
        }
        // Interface 0 is no interface: softflowd says so the rate of all that it sees.
        said.is_of_interface = options.interface.is_some_and(|number| number > 0);
        options
    }

    /// Of which original exporter the flows of a domain are, and which domain that is: the one that the
    /// record names, or else the datagram's. `None` if it says nothing of exporters, or of a part of one
    /// alone.
    pub(super) fn original(&self, domain: u32) -> Option<(u32, IpAddr)> {
        let Exporter { v4, v6, is_of_all, domain: named, is_of_part } = self.exporter;
        let is_of_part = is_of_part
            || self.said.sampler.is_some()
            || self.said.template.is_some()
            || self.said.is_of_interface
            || self.vrf.is_some()
            || self.application.is_some();
        if !is_of_all || is_of_part {
            return None;
        }
        let named = named.map_or(Some(domain), |named| u32::try_from(named).ok());
        named.zip(v4.or(v6))
    }

    /// What is named, and its name.
    pub(super) fn names(&self) -> impl Iterator<Item = (Named, &'r [u8])> {
        let names = [
            (self.interface.map(Named::Interface), self.interface_name),
            (self.interface.map(Named::InterfaceDescription), self.interface_description),
            (self.vrf.map(Named::Vrf), self.vrf_name),
            (self.application.map(Named::Application), self.application_name),
        ];
        names.into_iter().filter_map(|(named, name)| Some((named?, name)))
    }
}

/// The number that these bytes are; `None` unless there are 4 or 8.
fn float_of(bytes: &[u8]) -> Option<f64> {
    let single = bytes.try_into().map(|bytes| f64::from(f32::from_be_bytes(bytes)));
    single.or_else(|_| bytes.try_into().map(f64::from_be_bytes)).ok()
}
