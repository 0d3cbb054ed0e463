//! sFlow v5, by the specification of sflow.org: packets that switches and routers sampled, and what
//! they know of them.
//!
//! A sample counts once, whatever records describe it: with the length of its IP packet, so that
//! sFlow and NetFlow agree, unless that of the frame is asked for, and with the sampling rate that it states. Counters of interfaces and
//! packets that were discarded are no flows.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZero,
};

use crate::{
    clock::UnixMs,
    flow::{plan::Slot, reason::Skipped, record::Record},
    schema::{EGRESS, INGRESS},
};

use super::{
    activity::{self, Activity, Refused},
    context::Context,
    packet::{self, NoPacket, Packet},
    recent::Recent,
    rows::Rows,
    sequence::{Numbered, Place, Sequence},
    sflow_names,
    wire::Input,
};

/// How many streams of datagrams are followed at once: an agent has one for each of its sub-agents.
const MAX_STREAMS: usize = 8192;
/// How many sources of samples are followed at once: an agent has one for each of its interfaces.
const MAX_SOURCES: usize = 16_384;

/// A larger step of a source's numbers is a new beginning.
const LARGEST_STEP: u32 = 1 << 16;
/// A smaller step back is of a sample that arrives late.
const LARGEST_DELAY: u32 = 64;

const FLOW_SAMPLE: u32 = 1;
const COUNTERS_SAMPLE: u32 = 2;
const EXPANDED_FLOW_SAMPLE: u32 = 3;
const EXPANDED_COUNTERS_SAMPLE: u32 = 4;
const DISCARDED_PACKET: u32 = 5;

const RAW_HEADER: u32 = 1;
const ETHERNET: u32 = 2;
const IPV4: u32 = 3;
const IPV6: u32 = 4;
const EXTENDED_SWITCH: u32 = 1001;
const EXTENDED_ROUTER: u32 = 1002;
const EXTENDED_GATEWAY: u32 = 1003;

/// A number of an interface that stands for the device itself.
const DEVICE_ITSELF: u32 = 0x3fff_ffff;

/// Agents, by what they number.
#[derive(Debug)]
pub(super) struct Agents {
    streams: Recent<StreamKey, Sequence>,
    sources: Recent<SourceKey, Source>,
}

/// Who numbers datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StreamKey {
    pub(super) agent: IpAddr,
    pub(super) sub_agent: u32,
}

/// Who numbers samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SourceKey {
    stream: StreamKey,
    source: SourceId,
}

/// What a sample was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SourceId {
    /// 0: an interface.
    class: u32,
    index: u32,
}

/// A source of samples.
#[derive(Debug, Default)]
struct Source {
    sequence: Sequence,
    /// The last one.
    sample: Option<SampleHeader>,
}

/// A datagram's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    stream: StreamKey,
    number: u32,
    /// In milliseconds.
    uptime: u32,
    samples: u32,
}

/// What a sample of a flow begins with.
#[derive(Debug, Clone, Copy)]
struct SampleHeader {
    number: u32,
    source: SourceId,
    /// 0 if unknown.
    rate: u32,
    /// Packets that could have been sampled.
    pool: u32,
    drops: u32,
    /// 0 if unknown, as for `output`.
    input: u32,
    /// 0 if it goes to the device itself, to none or to several.
    output: u32,
    records: u32,
}

/// The agent that a datagram names; `None` if it names none, or is no datagram of sFlow v5.
pub(super) fn agent(datagram: &[u8]) -> Option<IpAddr> {
    let agent = Header::read(&mut Input(datagram)).ok()?.stream.agent;
    (!agent.is_unspecified()).then_some(agent)
}

impl Agents {
    /// None yet.
    pub(super) fn new() -> Self {
        Agents { streams: Recent::new(MAX_STREAMS), sources: Recent::new(MAX_SOURCES) }
    }

    /// Where each stream is.
    pub(super) fn places(&self) -> impl Iterator<Item = (StreamKey, Place)> {
        self.streams.iter().filter_map(|(key, sequence)| Some((key, sequence.place()?)))
    }

    /// Continues a stream where an earlier process was.
    pub(super) fn resume(&mut self, stream: StreamKey, place: Place) {
        self.streams.get_or_insert_with(stream, || Sequence::resume(place), |_, _| {});
    }

    /// Decodes a datagram.
    pub(super) fn decode(
        &mut self,
        datagram: &[u8],
        context: &mut Context<'_>,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), Refused> {
        let mut input = Input(datagram);
        let header = Header::read(&mut input)?;
        if context.is_in_order {
            let stream =
                self.streams.get_or_insert_with(header.stream, Sequence::default, |_, _| {});
            if stream.is_duplicate(header.number, datagram) {
                return Err(Refused::Duplicate);
            }
            stream.follow(numbered(header.number, header.uptime, context.received));
            context.activity.note(stream.take(), activity::Numbered::Datagrams);
        }
        for _ in 0..header.samples {
            let (Some(format), Some(length)) = (input.u32(), input.u32()) else {
                context.activity.truncated_parts += 1;
                break;
            };
            let (sample, is_whole) = input.take_up_to(length);
            match format {
                FLOW_SAMPLE | EXPANDED_FLOW_SAMPLE => {
                    self.flow_sample(format, sample, &header, context, sink);
                }
                COUNTERS_SAMPLE | EXPANDED_COUNTERS_SAMPLE => {
                    context.activity.sflow.counter_samples += 1;
                    let named = sflow_names::name(sample, format == EXPANDED_COUNTERS_SAMPLE);
                    if let Some((named, name)) = named {
                        context.names.learn(named, name);
                    }
                }
                DISCARDED_PACKET => context.activity.sflow.discarded_packets += 1,
                _ => context.activity.sflow.foreign_samples += 1,
            }
            if !is_whole {
                context.activity.truncated_parts += 1;
                break;
            }
        }
        Ok(())
    }

    fn flow_sample(
        &mut self,
        format: u32,
        sample: &[u8],
        header: &Header,
        context: &mut Context<'_>,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        let mut input = Input(sample);
        let Some(sample) = SampleHeader::read(&mut input, format) else {
            context.activity.truncated_parts += 1;
            return;
        };
        if context.is_in_order {
            let key = SourceKey { stream: header.stream, source: sample.source };
            let source = self.sources.get_or_insert_with(key, Source::default, |_, _| {});
            source.follow(sample, header.uptime, context.received, context.activity);
        }
        let records = Records::read(&mut input, sample.records, context.activity);
        let Some(packet) = records.packet else {
            sink(Record::Skipped(Skipped::NotIp));
            return;
        };
        let settings = &context.known.settings;
        let rate = settings.sampling_rate.or(NonZero::new(sample.rate));
        let rate = rate.or(settings.default_sampling_rate);
        let rows = &mut *context.rows;
        rows.begin();
        sample.write(rows);
        rows.packet(&packet);
        if settings.sflow_counts_frames == Some(true)
            && let Some(length) = records.frame_length.filter(|&length| length > 0)
        {
            rows.number(Some(Slot::BYTES), length);
        }
        let direction = sample.direction();
        if let Some(direction) = direction {
            rows.number(rows.slots.flow_direction, direction);
        }
        records.write(&packet, direction, rows);
        rows.emit(rate, context.names, context.activity, sink);
    }
}

impl Header {
    fn read(input: &mut Input<'_>) -> Result<Self, Refused> {
        let version = input.u32().ok_or(Refused::Truncated)?;
        if version != 5 {
            return Err(Refused::Protocol);
        }
        let agent = address(input)?;
        let mut next = || input.u32().ok_or(Refused::Truncated);
        let (sub_agent, number, uptime, samples) = (next()?, next()?, next()?, next()?);
        Ok(Header { stream: StreamKey { agent, sub_agent }, number, uptime, samples })
    }
}

/// An address with its type.
fn address(input: &mut Input<'_>) -> Result<IpAddr, Refused> {
    let octets = match input.u32() {
        // Unknown.
        Some(0) => return Ok(Ipv4Addr::UNSPECIFIED.into()),
        Some(1) => input.array().map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
        Some(2) => input.array().map(|octets: [u8; 16]| Ipv6Addr::from(octets).to_canonical()),
        Some(_) => return Err(Refused::Header),
        None => None,
    };
    octets.ok_or(Refused::Truncated)
}

fn numbered(number: u32, uptime: u32, received: UnixMs) -> Numbered {
    let (uptime, received) = (Some(uptime), Some(received));
    Numbered { number, span: Some(1), uptime, received, ..Numbered::default() }
}

impl SampleHeader {
    fn read(input: &mut Input<'_>, format: u32) -> Option<Self> {
        let is_expanded = format == EXPANDED_FLOW_SAMPLE;
        let number = input.u32()?;
        let source = input.u32()?;
        let source = if is_expanded {
            SourceId { class: source, index: input.u32()? }
        } else {
            SourceId { class: source >> 24, index: source & 0x00ff_ffff }
        };
        let (rate, pool, drops) = (input.u32()?, input.u32()?, input.u32()?);
        let mut interface = || {
            let first = input.u32()?;
            Some(if is_expanded {
                interface(first, input.u32()?)
            } else {
                interface(first >> 30, first & 0x3fff_ffff)
            })
        };
        let (input_interface, output) = (interface()?, interface()?);
        let records = input.u32()?;
        Some(SampleHeader {
            number,
            source,
            rate,
            pool,
            drops,
            input: input_interface,
            output,
            records,
        })
    }

    /// Whether the packet was sampled as it came in or as it went out; `None` if that is unknown.
    fn direction(&self) -> Option<u32> {
        match self.source {
            SourceId { class: 0, index: 1.. } if self.source.index == self.input => Some(INGRESS),
            SourceId { class: 0, index: 1.. } if self.source.index == self.output => Some(EGRESS),
            _ => None,
        }
    }

    fn write(&self, rows: &mut Rows) {
        rows.number(rows.slots.packets, 1_u32);
        rows.number(rows.slots.input_interface, self.input);
        rows.number(rows.slots.output_interface, self.output);
        for (slot, index) in [
            (rows.slots.input_interface_name, self.input),
            (rows.slots.output_interface_name, self.output),
            (rows.slots.input_interface_description, self.input),
            (rows.slots.output_interface_description, self.output),
        ] {
            rows.number(slot, index);
        }
    }
}

/// The SNMP index of an interface; 0 for what is not a single one.
fn interface(format: u32, value: u32) -> u32 {
    if format == 0 && value != DEVICE_ITSELF { value } else { 0 }
}

impl Source {
    /// Takes the next sample.
    fn follow(
        &mut self,
        sample: SampleHeader,
        uptime: u32,
        received: UnixMs,
        activity: &mut Activity,
    ) {
        self.sequence.follow(numbered(sample.number, uptime, received));
        let found = self.sequence.take();
        activity.missing_flows += found.missing;
        if let Some(last) = self.sample {
            let step = sample.number.wrapping_sub(last.number);
            if step.wrapping_neg() <= LARGEST_DELAY {
                return;
            }
            if step <= LARGEST_STEP {
                let told = &mut activity.sflow;
                told.samples += u64::from(step);
                told.pool += u64::from(sample.pool.wrapping_sub(last.pool));
                told.dropped_samples += u64::from(sample.drops.saturating_sub(last.drops));
            }
        }
        self.sample = Some(sample);
    }
}

/// What describes a sample.
#[derive(Debug, Default)]
struct Records<'d> {
    packet: Option<Packet>,
    /// Of the whole frame, in bytes.
    frame_length: Option<u32>,
    switch: Option<Switch>,
    router: Option<Router>,
    gateway: Option<Gateway<'d>>,
}

/// What a switch knows.
#[derive(Debug)]
struct Switch {
    source_vlan: u32,
    destination_vlan: u32,
}

/// What a router knows, of which prefixes' lengths are used.
#[derive(Debug)]
struct Router {
    source_mask: u32,
    destination_mask: u32,
}

/// What a BGP router knows.
#[derive(Debug)]
struct Gateway<'d> {
    own_as: u32,
    source_as: u32,
    source_peer_as: u32,
    /// The segments of the AS path.
    path: Segments<'d>,
    /// Numbers of four bytes.
    communities: &'d [u8],
}

/// Segments of an AS path, which have been found to be whole.
#[derive(Debug, Clone, Copy)]
struct Segments<'d>(&'d [u8]);

impl<'d> Records<'d> {
    /// Reads as many of these records as there are.
    fn read(input: &mut Input<'d>, count: u32, activity: &mut Activity) -> Self {
        let mut records = Records::default();
        for _ in 0..count {
            let (Some(format), Some(length)) = (input.u32(), input.u32()) else {
                activity.truncated_parts += 1;
                return records;
            };
            let (bytes, is_whole) = input.take_up_to(length);
            let is_read = records.record(format, Input(bytes));
            if !is_whole || is_read.is_none() {
                activity.truncated_parts += 1;
            }
            if !is_whole {
                return records;
            }
        }
        if !input.0.is_empty() {
            activity.truncated_parts += 1;
        }
        records
    }

    /// Reads a record; `None` if it ends early.
    fn record(&mut self, format: u32, mut input: Input<'d>) -> Option<()> {
        match format {
            RAW_HEADER => {
                let (frame_length, packet) = raw_header(&mut input)?;
                self.frame_length = Some(frame_length);
                if let Ok(packet) = packet {
                    // Of a header and what the agent says of it, the header knows more.
                    self.packet = Some(packet);
                }
            }
            ETHERNET => {
                let length = input.u32()?;
                self.frame_length.get_or_insert(length);
            }
            IPV4 | IPV6 => {
                let packet = ip_record(&mut input, format)?;
                self.packet.get_or_insert(packet);
            }
            EXTENDED_SWITCH => {
                let (source_vlan, _priority) = (input.u32()?, input.u32()?);
                self.switch = Some(Switch { source_vlan, destination_vlan: input.u32()? });
            }
            EXTENDED_ROUTER => {
                let _next_hop = address(&mut input).ok()?;
                let source_mask = input.u32()?;
                self.router = Some(Router { source_mask, destination_mask: input.u32()? });
            }
            EXTENDED_GATEWAY => self.gateway = Some(Gateway::read(&mut input)?),
            _ => {}
        }
        Some(())
    }

    fn write(&self, packet: &Packet, direction: Option<u32>, rows: &mut Rows) {
        let slots = rows.slots;
        // The switch knows the VLAN of an access port as well, where the frame has no tag.
        let switch = self.switch.as_ref().map(|switch| match direction {
            Some(EGRESS) => switch.destination_vlan,
            _ => switch.source_vlan,
        });
        let vlan = switch.filter(|vlan| (1..4095).contains(vlan)).or(packet.vlan.map(u32::from));
        if let Some(vlan) = vlan {
            rows.number(slots.vlan, vlan);
        }
        if let Some(router) = &self.router {
            rows.network(
                (slots.source_network, slots.source_mask),
                packet.source,
                router.source_mask,
            );
            let destination = (slots.destination_network, slots.destination_mask);
            rows.network(destination, packet.destination, router.destination_mask);
        }
        if let Some(gateway) = &self.gateway {
            gateway.write(rows);
        }
    }
}

/// The length of a frame, and the packet with which it begins.
fn raw_header(input: &mut Input<'_>) -> Option<(u32, Result<Packet, NoPacket>)> {
    let (protocol, frame_length) = (input.u32()?, input.u32()?);
    let (_stripped, length) = (input.u32()?, input.u32()?);
    // Some agents state more than there is.
    let (bytes, _) = input.take_up_to(length);
    let packet = match protocol {
        1 => packet::ethernet(bytes, frame_length),
        // PPP, and packet over SONET.
        7 | 14 => packet::ppp(bytes, frame_length),
        11 | 12 => packet::ip(bytes, frame_length),
        13 => packet::mpls(bytes, frame_length),
        _ => Err(NoPacket::NotIp),
    };
    Some((frame_length, packet))
}

/// What an agent says of an IP packet itself.
fn ip_record(input: &mut Input<'_>, format: u32) -> Option<Packet> {
    let (length, protocol) = (input.u32()?, input.u32()? as u8);
    let mut address = || -> Option<IpAddr> {
        Some(match format {
            IPV4 => Ipv4Addr::from(input.array::<4>()?).into(),
            _ => Ipv6Addr::from(input.array::<16>()?).into(),
        })
    };
    let (source, destination) = (address()?, address()?);
    let ports = (input.u32()? as u16, input.u32()? as u16);
    let (tcp_flags, traffic_class) = (input.u32()? as u8, input.u32()? as u8);
    Some(Packet {
        source,
        destination,
        protocol: Some(protocol),
        ports: packet::has_ports(protocol).then_some(ports),
        tcp_flags: (protocol == packet::TCP).then_some(tcp_flags),
        traffic_class,
        length,
        vlan: None,
        fragment: None,
        start: 0,
        payload: 0,
    })
}

impl<'d> Gateway<'d> {
    fn read(input: &mut Input<'d>) -> Option<Self> {
        let _next_hop = address(input).ok()?;
        let (own_as, source_as, source_peer_as) = (input.u32()?, input.u32()?, input.u32()?);
        let segments = input.u32()?;
        let path = input.0;
        for _ in 0..segments {
            let _type = input.u32()?;
            numbers(input)?;
        }
        let path = Segments(&path[..path.len() - input.0.len()]);
        Some(Gateway { own_as, source_as, source_peer_as, path, communities: numbers(input)? })
    }

    /// An AS that is the router's own is left out by it.
    fn write(&self, rows: &mut Rows) {
        let slots = rows.slots;
        let own_if_none = |asn: u32| if asn == 0 { self.own_as } else { asn };
        rows.number(slots.source_as, own_if_none(self.source_as));
        rows.number(slots.source_peer_as, self.source_peer_as);
        if slots.destination_as.or(slots.destination_peer_as).is_some() {
            let (first, last) = self.path.ends().unwrap_or_default();
            rows.number(slots.destination_as, own_if_none(last));
            rows.number(slots.destination_peer_as, first);
        }
        rows.text(slots.as_path, |text| self.path.write(text));
        rows.text(slots.communities, |text| {
            u32s(self.communities).enumerate().try_for_each(|(place, community)| {
                let separator = if place == 0 { "" } else { " " };
                write!(text, "{separator}{}:{}", community >> 16, community & 0xffff)
            })
        });
    }
}

impl<'d> Segments<'d> {
    /// Each with whether its ASes are a set, in no order.
    fn each(self) -> impl Iterator<Item = (bool, &'d [u8])> {
        let mut input = Input(self.0);
        std::iter::from_fn(move || Some((input.u32()? == 1, numbers(&mut input)?)))
    }

    /// The first and the last AS.
    fn ends(self) -> Option<(u32, u32)> {
        let mut ases = self.each().flat_map(|(_, ases)| u32s(ases));
        let first = ases.next()?;
        Some((first, ases.last().unwrap_or(first)))
    }

    fn write(self, text: &mut String) -> fmt::Result {
        let mut separator = "";
        for (is_set, ases) in self.each().filter(|(_, ases)| !ases.is_empty()) {
            let (open, between, close) = if is_set { ("{", ",", "}") } else { ("", " ", "") };
            write!(text, "{separator}{open}")?;
            u32s(ases).enumerate().try_for_each(|(place, asn)| {
                let between = if place == 0 { "" } else { between };
                write!(text, "{between}{asn}")
            })?;
            text.push_str(close);
            separator = " ";
        }
        Ok(())
    }
}

/// Numbers of four bytes, with their count in front.
fn numbers<'d>(input: &mut Input<'d>) -> Option<&'d [u8]> {
    let count = input.u32()?;
    input.take(usize::try_from(count).ok()?.checked_mul(4)?)
}

fn u32s(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
