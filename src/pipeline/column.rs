//! Where the value in a column of a key comes from.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::{
    address::{Country, Tables},
    flow::{Plan, Slot},
    schema::{
        AsOf, Class, Dimension, EGRESS, End, Field, INGRESS, LARGEST_NUMBER, PrefixLengths, Side,
    },
    traffic::{AsSource, Interfaces},
};

use super::{
    ends::{EndAddress, address, mask, network},
    interface::InterfaceText,
    service_port::service_port,
    text::AddressText,
    values::{Facts, Values},
};

/// What is known besides records.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub(super) tables: Tables,
    pub(super) interfaces: Arc<Interfaces>,
    /// Whether exporters are shown as the original ones, where records name them.
    pub(super) shows_originals: bool,
}

/// Where the value of a dimension comes from, for flows of one class.
#[derive(Debug)]
pub(super) enum Column {
    /// The column holds the value.
    Number(Number),
    /// The column holds the number of the text.
    Text(Text),
}

/// Where a number comes from.
#[derive(Debug)]
pub(super) enum Number {
    /// The source's AS, of which this slot is what the record says.
    SourceAs(Slot),
    /// The destination's AS, of which this slot is what the record says.
    DestinationAs(Slot),
    /// The AS of a neighbour.
    PeerAs(Slot),
    /// A number as it is.
    Field(Slot),
    /// TCP flags: what a label shows of them.
    TcpFlags(Slot),
    /// The direction in which the flow passed the exporter, if it is one.
    FlowDirection(Slot),
    /// The upper six bits of the traffic class.
    Dscp(Slot),
    /// The version of the first address that the record has.
    IpVersion([Slot; 4]),
    /// The port of the end that offers the service: ports of source and destination, and the
    /// protocol.
    ServicePort([Slot; 3]),
}

/// Where a text comes from.
#[derive(Debug)]
pub(super) enum Text {
    /// A text as it is.
    Field(Slot),
    /// An address.
    Address(Slot),
    /// The country in the slot, or else that of the address.
    Country(Slot, EndAddress),
    /// The site of the operator's network that the address is in.
    Site(EndAddress),
    /// What is said of an interface.
    Interface(InterfaceText),
    /// A network and its length.
    Network(Slot, Slot),
    /// An address, or else the first one of its network, cut to a length.
    Cut(EndAddress, PrefixLengths),
}

impl Column {
    /// Where a dimension's value comes from for flows of a class. Wants the fields from `plan`.
    pub(super) fn new(dimension: &Dimension, class: Class, given: &Given, plan: &mut Plan) -> Self {
        // What is received comes from the remote end, everything else goes there.
        let remote = if class == Class::Receive { Side::Source } else { Side::Destination };
        let local = if class == Class::Receive { Side::Destination } else { Side::Source };
        let side = |end: End| match end {
            End::Source => Side::Source,
            End::Destination => Side::Destination,
            End::Remote => remote,
        };
        match dimension {
            Dimension::As { of, .. } => Column::Number(Number::of_as(*of, remote, plan)),
            Dimension::Address(end) => Column::Text(Text::Address(address(side(*end), plan))),
            Dimension::Prefix(end, lengths) => {
                let side = side(*end);
                Column::Text(match lengths {
                    None => Text::Network(network(side, plan), mask(side, plan)),
                    Some(lengths) => Text::Cut(EndAddress::new(side, plan), *lengths),
                })
            }
            Dimension::Port(Side::Source) => Number::field(Field::SourcePort, plan),
            Dimension::Port(Side::Destination) => Number::field(Field::DestinationPort, plan),
            Dimension::ServicePort => Column::Number(Number::ServicePort(
                [Field::SourcePort, Field::DestinationPort, Field::Protocol]
                    .map(|field| plan.add(field)),
            )),
            Dimension::Protocol => Number::field(Field::Protocol, plan),
            Dimension::IpVersion => {
                let sides = [Side::Source, Side::Destination];
                let [source, destination] = sides.map(|side| address(side, plan));
                let [from, to] = sides.map(|side| network(side, plan));
                Column::Number(Number::IpVersion([source, destination, from, to]))
            }
            Dimension::Dscp => Column::Number(Number::Dscp(plan.add(Field::TrafficClass))),
            Dimension::TcpFlags => Column::Number(Number::TcpFlags(plan.add(Field::TcpFlags))),
            Dimension::Interface(Side::Source) => Number::field(Field::InputInterface, plan),
            Dimension::Interface(Side::Destination) => Number::field(Field::OutputInterface, plan),
            Dimension::InterfaceName(side) => {
                Column::Text(Text::Interface(InterfaceText::name(*side, &given.interfaces, plan)))
            }
            Dimension::InterfaceDescription(side) => Column::Text(Text::Interface(
                InterfaceText::description(*side, &given.interfaces, plan),
            )),
            Dimension::Vrf(Side::Source) => Text::field(Field::InputVrf, plan),
            Dimension::Vrf(Side::Destination) => Text::field(Field::OutputVrf, plan),
            Dimension::Application => Text::field(Field::Application, plan),
            Dimension::Vlan => Number::field(Field::Vlan, plan),
            Dimension::FlowDirection => {
                Column::Number(Number::FlowDirection(plan.add(Field::FlowDirection)))
            }
            Dimension::Exporter => {
                let shown =
                    if given.shows_originals { Field::OriginalExporter } else { Field::Exporter };
                Column::Text(Text::Address(plan.add(shown)))
            }
            Dimension::Hostname if given.shows_originals => {
                Text::field(Field::OriginalHostname, plan)
            }
            Dimension::Hostname => Text::field(Field::Hostname, plan),
            Dimension::Tag => Text::field(Field::Tag, plan),
            Dimension::Communities => Text::field(Field::Communities, plan),
            Dimension::AsPath => Text::field(Field::AsPath, plan),
            Dimension::Country(end) => {
                let side = side(*end);
                let country = plan.add(match side {
                    Side::Source => Field::SourceCountry,
                    Side::Destination => Field::DestinationCountry,
                });
                Column::Text(if given.tables.table.is_some() {
                    Text::Country(country, EndAddress::new(side, plan))
                } else {
                    Text::Field(country)
                })
            }
            Dimension::Site => Column::Text(Text::Site(EndAddress::new(local, plan))),
            Dimension::Named(name) => Text::field(Field::Named(name.clone()), plan),
            Dimension::Numbered(_) => {
                let name = dimension.field_name().unwrap_or_default();
                Text::field(Field::Named(name.into()), plan)
            }
        }
    }
}

impl Number {
    fn field(field: Field, plan: &mut Plan) -> Column {
        Column::Number(Number::Field(plan.add(field)))
    }

    fn of_as(of: AsOf, remote: Side, plan: &mut Plan) -> Self {
        match (of, remote) {
            (AsOf::Source, _) | (AsOf::Remote, Side::Source) => {
                Number::SourceAs(plan.add(Field::SourceAs))
            }
            (AsOf::Destination, _) | (AsOf::Remote, Side::Destination) => {
                Number::DestinationAs(plan.add(Field::DestinationAs))
            }
            (AsOf::SourcePeer, _) => Number::PeerAs(plan.add(Field::SourcePeerAs)),
            (AsOf::DestinationPeer, _) => Number::PeerAs(plan.add(Field::DestinationPeerAs)),
        }
    }

    /// The number; `None` if it is not known. There is no AS 0 (RFC 7607).
    #[inline]
    pub(super) fn get(&self, facts: Facts<'_>, values: &impl Values) -> Option<u32> {
        let known = |asn: u32| (asn != 0).then_some(asn);
        match *self {
            Number::SourceAs(_) => known(facts.source_as),
            Number::DestinationAs(_) => known(facts.destination_as),
            Number::PeerAs(slot) => values.number(slot).and_then(|asn| known(asn as u32)),
            Number::Field(slot) => {
                values.number(slot).map(|number| number.min(LARGEST_NUMBER.into()) as u32)
            }
            // Records may have 16 bits (RFC 9565).
            Number::TcpFlags(slot) => values.number(slot).map(|set| set as u32 & 0xff),
            Number::FlowDirection(slot) => {
                let direction = values.number(slot).map(|number| number as u32);
                direction.filter(|direction| [INGRESS, EGRESS].contains(direction))
            }
            Number::Dscp(slot) => values.number(slot).map(|class| class as u32 >> 2),
            Number::IpVersion(slots) => {
                let address = slots.iter().find_map(|&slot| values.address(slot));
                address.map(|address| if address.is_ipv4() { 4 } else { 6 })
            }
            Number::ServicePort([source, destination, protocol]) => {
                let (source, destination) = (values.number(source)?, values.number(destination)?);
                Some(service_port(source, destination, values.number(protocol)))
            }
        }
    }

    /// Whether the record has what the number comes from, though no number was found.
    #[cold]
    pub(super) fn has_field(&self, facts: Facts<'_>, values: &impl Values) -> bool {
        let has = |found: Option<AsSource>, slot| match found {
            Some(found) => found != AsSource::NoAddress,
            None => values.number(slot).is_some(),
        };
        match *self {
            Number::SourceAs(slot) => has(facts.source_found, slot),
            Number::DestinationAs(slot) => has(facts.destination_found, slot),
            Number::PeerAs(slot) | Number::FlowDirection(slot) => values.number(slot).is_some(),
            // Whatever number there is is known.
            Number::Field(_)
            | Number::TcpFlags(_)
            | Number::Dscp(_)
            | Number::IpVersion(_)
            | Number::ServicePort(_) => false,
        }
    }
}

impl Text {
    fn field(field: Field, plan: &mut Plan) -> Column {
        Column::Text(Text::Field(plan.add(field)))
    }

    /// The text, which is not empty; `None` if it is not known.
    #[inline]
    pub(super) fn get<'v>(
        &'v self,
        facts: Facts<'v>,
        values: &'v impl Values,
        buffer: &'v mut AddressText,
    ) -> Option<&'v str> {
        match *self {
            Text::Field(slot) => values.text(slot).filter(|text| !text.is_empty()),
            Text::Interface(ref interface) => interface.get(values),
            Text::Address(slot) => Some(buffer.set(values.address(slot)?).as_str()),
            Text::Country(slot, end) => {
                values.text(slot).filter(|country| !country.is_empty()).or_else(|| {
                    let country = facts.known.country(end.get(values)?);
                    (country != Country::UNKNOWN)
                        .then(|| buffer.set_text(country.as_str()).as_str())
                })
            }
            Text::Site(end) => {
                let network = facts.known.network(end.get(values)?)?;
                let site = if network.site.is_empty() { &network.name } else { &network.site };
                (!site.is_empty()).then_some(site)
            }
            Text::Network(network, mask) => {
                let text = buffer.set(values.address(network)?);
                if let Some(mask) = values.number(mask) {
                    text.push_length(mask as u8);
                }
                Some(text.as_str())
            }
            Text::Cut(address, lengths) => {
                let address = address.get(values)?;
                let length = match address {
                    IpAddr::V4(_) => lengths.v4,
                    IpAddr::V6(_) => lengths.v6,
                };
                // Lengths are checked when the dimension is made.
                let network = IpNet::new(address, length).ok()?.network();
                Some(buffer.set(network).push_length(length).as_str())
            }
        }
    }

    /// Whether the record has what the text comes from, though no text was found.
    #[cold]
    pub(super) fn has_field(&self, values: &impl Values) -> bool {
        match *self {
            Text::Field(slot) => values.text(slot).is_some(),
            Text::Interface(ref interface) => interface.has_index(values),
            Text::Country(_, end) | Text::Site(end) => end.get(values).is_some(),
            // Whatever address there is is known.
            Text::Address(_) | Text::Network(..) | Text::Cut(..) => false,
        }
    }

    /// The address of which it is a text; `None` if it is of none, or the record has none.
    pub(super) fn address(&self, values: &impl Values) -> Option<IpAddr> {
        match *self {
            Text::Field(_) | Text::Interface(_) | Text::Country(..) | Text::Site(_) => None,
            Text::Address(slot) | Text::Network(slot, _) => values.address(slot),
            Text::Cut(address, _) => address.get(values),
        }
    }
}
