//! What is known of exporters, as bytes that a later process can read.
//!
//! A protobuf message: what a later version adds, an earlier one skips.

use std::net::IpAddr;

use prost::Message;

use crate::{
    clock::UnixMs,
    flow::{
        datagram::{
            names::Named,
            sequence,
            stream_key::{StreamKey, Version},
        },
        protobuf::{Fields, Wire, WireError},
    },
};

use super::{
    element::Element,
    originals::exporter_of,
    rates::{Sampler, SamplerKind, Scope},
    template,
    waiting::{self, Awaited},
};

/// The only version there is. Numbers of fields are never used again, so it changes only if all that
/// was written before is to be ignored.
const VERSION: u32 = 1;

/// No more messages, strings and lists are in a snapshot: somewhat more than [`Size::OF_ALL`] allows. Each
/// takes two bytes there, and a hundred and more once it is decoded.
const MAX_PARTS: usize = 1 << 18;

/// Bytes that are no snapshot, or one of an unknown version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// They are not what a snapshot consists of.
    #[error("what was known of exporters is damaged")]
    Damaged,
    /// No exporters can have said so much.
    #[error("what was known of exporters is damaged: it has more than {MAX_PARTS} parts")]
    TooManyParts,
    /// Another version of the program has written them.
    #[error(
        "what was known of exporters was written in version {0} of its format, which this program can't read"
    )]
    Version(u32),
}

/// What is known of exporters.
#[derive(Clone, PartialEq, Message)]
pub(in crate::flow::datagram) struct Snapshot {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    pub(in crate::flow::datagram) exporters: Vec<Exporter>,
    #[prost(message, repeated, tag = "3")]
    pub(in crate::flow::datagram) agents: Vec<SflowStream>,
    #[prost(message, repeated, tag = "4")]
    pub(in crate::flow::datagram) waiting: Vec<WaitingSet>,
}

/// Data whose template has not come yet.
#[derive(Clone, PartialEq, Message)]
pub(in crate::flow::datagram) struct WaitingSet {
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(uint32, tag = "2")]
    version: u32,
    #[prost(uint32, tag = "3")]
    domain: u32,
    #[prost(uint32, tag = "4")]
    template: u32,
    #[prost(uint32, tag = "5")]
    port: u32,
    /// In milliseconds since the epoch.
    #[prost(int64, tag = "6")]
    received: i64,
    /// What is behind the set's header.
    #[prost(bytes = "vec", tag = "7")]
    content: Vec<u8>,
}

/// A stream of an sFlow agent.
#[derive(Clone, PartialEq, Message)]
pub(in crate::flow::datagram) struct SflowStream {
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(uint32, tag = "2")]
    sub_agent: u32,
    /// Its port is not used.
    #[prost(message, optional, tag = "3")]
    place: Option<Place>,
}

/// What is known of an exporter.
#[derive(Clone, PartialEq, Message)]
pub(in crate::flow::datagram) struct Exporter {
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub(super) streams: Vec<Stream>,
    #[prost(message, repeated, tag = "3")]
    pub(super) rates: Vec<Rate>,
    #[prost(message, repeated, tag = "4")]
    pub(super) names: Vec<Name>,
    #[prost(message, repeated, tag = "5")]
    pub(super) originals: Vec<Original>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Stream {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    domain: u32,
    #[prost(message, repeated, tag = "3")]
    pub(super) templates: Vec<Template>,
    #[prost(message, repeated, tag = "4")]
    pub(super) places: Vec<Place>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Template {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(bool, tag = "2")]
    is_options: bool,
    /// Those that sent it, the last one last.
    #[prost(uint32, repeated, tag = "3")]
    ports: Vec<u32>,
    /// Each as enterprise, number and length: 32, 16 and 16 bits.
    #[prost(uint64, repeated, tag = "4")]
    fields: Vec<u64>,
}

/// A numbering of datagrams, by the port from which they come.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Place {
    #[prost(uint32, tag = "1")]
    port: u32,
    #[prost(uint32, tag = "2")]
    next: u32,
    #[prost(uint32, optional, tag = "3")]
    uptime: Option<u32>,
    #[prost(uint32, tag = "4")]
    awaited: u32,
    #[prost(bool, tag = "5")]
    is_mistaken: bool,
    /// When the newest datagram arrived, in milliseconds since the epoch.
    #[prost(int64, optional, tag = "6")]
    received: Option<i64>,
    /// Numbers per second.
    #[prost(uint32, tag = "7")]
    fastest: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Rate {
    #[prost(uint32, tag = "1")]
    domain: u32,
    #[prost(uint32, tag = "2")]
    one_of: u32,
    /// At most one of these is there.
    #[prost(uint64, optional, tag = "3")]
    sampler: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    selector: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    template: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Name {
    /// One of the numbers is there.
    #[prost(uint64, optional, tag = "1")]
    interface: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    vrf: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    application: Option<u64>,
    #[prost(string, tag = "4")]
    pub(super) text: String,
    #[prost(uint64, optional, tag = "5")]
    interface_description: Option<u64>,
}

/// The original exporter of an observation domain.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Original {
    #[prost(uint32, tag = "1")]
    domain: u32,
    #[prost(bytes = "vec", tag = "2")]
    address: Vec<u8>,
}

impl Snapshot {
    pub(in crate::flow::datagram) fn new(
        exporters: Vec<Exporter>,
        agents: Vec<SflowStream>,
    ) -> Self {
        Snapshot { version: VERSION, exporters, agents, ..Snapshot::default() }
    }

    pub(in crate::flow::datagram) fn of_waiting(sets: impl Iterator<Item = WaitingSet>) -> Self {
        Snapshot { version: VERSION, waiting: sets.collect(), ..Snapshot::default() }
    }

    pub(in crate::flow::datagram) fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    pub(in crate::flow::datagram) fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let parts = parts(Fields(bytes), 0).map_err(|_| SnapshotError::Damaged)?;
        if parts > MAX_PARTS {
            return Err(SnapshotError::TooManyParts);
        }
        let snapshot = Snapshot::decode(bytes).map_err(|_| SnapshotError::Damaged)?;
        match snapshot.version {
            VERSION => Ok(snapshot),
            // What a message of nothing has.
            0 => Err(SnapshotError::Damaged),
            version => Err(SnapshotError::Version(version)),
        }
    }
}

/// How many messages, strings and lists there are in a snapshot, an exporter of it, or a stream of that,
/// by how deep it is.
fn parts(mut fields: Fields<'_>, depth: usize) -> Result<usize, WireError> {
    /// The field with exporters, and that with their streams.
    const NESTED: u32 = 2;
    let mut parts = 0;
    while let Some((number, field)) = fields.next()? {
        let Wire::Bytes(part) = field else { continue };
        parts += 1;
        if number == NESTED && depth < 2 {
            parts += self::parts(Fields(part), depth + 1)?;
        }
    }
    Ok(parts)
}

impl Exporter {
    pub(in crate::flow::datagram) fn new(address: IpAddr) -> Self {
        Exporter { address: octets(address), ..Exporter::default() }
    }

    /// Whether nothing is known but its address.
    pub(in crate::flow::datagram) fn says_nothing(&self) -> bool {
        self.streams.is_empty()
            && self.rates.is_empty()
            && self.names.is_empty()
            && self.originals.is_empty()
    }

    /// Its address, if it is one.
    pub(in crate::flow::datagram) fn address(&self) -> Option<IpAddr> {
        address(&self.address)
    }
}

impl SflowStream {
    pub(in crate::flow::datagram) fn new(
        address: IpAddr,
        sub_agent: u32,
        place: sequence::Place,
    ) -> Self {
        SflowStream { address: octets(address), sub_agent, place: Some(Place::new((0, place))) }
    }

    /// Its address, its sub-agent and where it is; `None` if one is missing.
    pub(in crate::flow::datagram) fn read(&self) -> Option<(IpAddr, u32, sequence::Place)> {
        let (_, place) = self.place.as_ref()?.read();
        Some((address(&self.address)?, self.sub_agent, place))
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

impl Stream {
    pub(super) fn new(
        key: StreamKey,
        templates: impl IntoIterator<Item = Template>,
        places: impl IntoIterator<Item = Place>,
    ) -> Self {
        Stream {
            version: key.version as u32,
            domain: key.domain,
            templates: templates.into_iter().collect(),
            places: places.into_iter().collect(),
        }
    }

    pub(super) fn key(&self) -> Option<StreamKey> {
        stream_key(self.version, self.domain)
    }
}

fn stream_key(version: u32, domain: u32) -> Option<StreamKey> {
    let versions = [Version::NetFlow5, Version::NetFlow9, Version::Ipfix];
    let version = versions.into_iter().find(|each| *each as u32 == version)?;
    Some(StreamKey { version, domain })
}

impl WaitingSet {
    pub(in crate::flow::datagram) fn new(of: &Awaited, set: &waiting::WaitingSet) -> Self {
        WaitingSet {
            address: octets(of.exporter),
            version: of.stream.version as u32,
            domain: of.stream.domain,
            template: of.template.into(),
            port: set.port.into(),
            received: set.received.get(),
            content: set.content.to_vec(),
        }
    }

    /// For what it waits, and what it is; `None` if that makes no sense.
    pub(in crate::flow::datagram) fn read(self) -> Option<(Awaited, waiting::WaitingSet)> {
        let exporter = address(&self.address)?;
        let stream = stream_key(self.version, self.domain)?;
        let template = u16::try_from(self.template).ok()?;
        let (port, received) = (self.port as u16, UnixMs::new(self.received));
        let set = waiting::WaitingSet { port, received, content: self.content.into() };
        Some((Awaited { exporter, stream, template }, set))
    }
}

impl Template {
    pub(super) fn new(id: u16, template: &template::Template, ports: &[u16]) -> Self {
        let fields = template.fields.iter().map(|field| {
            let template::Field { element: Element { enterprise, number }, length } = *field;
            u64::from(enterprise) << 32 | u64::from(number) << 16 | u64::from(length)
        });
        Template {
            id: id.into(),
            is_options: template.is_options,
            ports: ports.iter().map(|port| u32::from(*port)).collect(),
            fields: fields.collect(),
        }
    }

    /// Its number, what it defines, and the ports that sent it; `None` if it is no valid one.
    pub(super) fn read(&self) -> Option<(u16, template::Template, impl Iterator<Item = u16>)> {
        let id = u16::try_from(self.id).ok().filter(|id| *id >= 256)?;
        if !(1..=template::MAX_FIELDS).contains(&self.fields.len()) {
            return None;
        }
        let fields = self.fields.iter().map(|field| template::Field {
            element: Element { enterprise: (field >> 32) as u32, number: (field >> 16) as u16 },
            length: *field as u16,
        });
        let template = template::Template { is_options: self.is_options, fields: fields.collect() };
        Some((id, template, self.ports.iter().map(|port| *port as u16)))
    }
}

impl Place {
    pub(super) fn new((port, place): (u16, sequence::Place)) -> Self {
        let sequence::Place { next, uptime, awaited, is_mistaken, received, fastest } = place;
        let received = received.map(UnixMs::get);
        Place { port: port.into(), next, uptime, awaited, is_mistaken, received, fastest }
    }

    pub(super) fn read(&self) -> (u16, sequence::Place) {
        let Place { port, next, uptime, awaited, is_mistaken, received, fastest } = *self;
        let received = received.map(UnixMs::new);
        let place = sequence::Place { next, uptime, awaited, is_mistaken, received, fastest };
        (port as u16, place)
    }
}

impl Rate {
    pub(super) fn new((scope, domain, rate): (Scope, u32, super::rates::Rate)) -> Self {
        let mut said = Rate { domain, one_of: rate.get(), ..Rate::default() };
        match scope {
            Scope::Sampler(Sampler { kind: SamplerKind::Sampler, id }) => said.sampler = Some(id),
            Scope::Sampler(Sampler { kind: SamplerKind::Selector, id }) => said.selector = Some(id),
            Scope::Template(template) => said.template = Some(template.into()),
            Scope::Domain => {}
        }
        said
    }

    pub(super) fn read(&self) -> (Scope, u32, Option<super::rates::Rate>) {
        let sampler = |kind| move |id| Scope::Sampler(Sampler { kind, id });
        let scope = self.sampler.map(sampler(SamplerKind::Sampler));
        let scope = scope.or_else(|| self.selector.map(sampler(SamplerKind::Selector)));
        let scope = scope.or_else(|| self.template.map(|id| Scope::Template(id as u16)));
        let rate = super::rates::rate(self.one_of.into());
        (scope.unwrap_or(Scope::Domain), self.domain, rate)
    }
}

impl Name {
    pub(super) fn new((named, name): (Named, &str)) -> Self {
        let mut said = Name { text: name.to_owned(), ..Name::default() };
        match named {
            Named::Interface(id) => said.interface = Some(id),
            Named::InterfaceDescription(id) => said.interface_description = Some(id),
            Named::Vrf(id) => said.vrf = Some(id),
            Named::Application(id) => said.application = Some(id),
        }
        said
    }

    pub(super) fn named(&self) -> Option<Named> {
        let interface = self.interface.map(Named::Interface);
        let described = self.interface_description.map(Named::InterfaceDescription);
        let vrf = self.vrf.map(Named::Vrf);
        interface.or(described).or(vrf).or(self.application.map(Named::Application))
    }
}

impl Original {
    pub(super) fn new((domain, exporter): (u32, IpAddr)) -> Self {
        Original { domain, address: octets(exporter) }
    }

    /// The domain and its original exporter, if it is one.
    pub(super) fn read(&self) -> Option<(u32, IpAddr)> {
        Some((self.domain, exporter_of(&self.address)?))
    }
}
