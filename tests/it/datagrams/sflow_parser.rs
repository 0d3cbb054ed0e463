//! Another decoder of sFlow finds the same in any datagram that is well formed.

use flow_exporter::schema::{EGRESS, Field, INGRESS};
use proptest::prelude::*;
use sflow_parser::{
    SampleData,
    models::{core::FlowRecord, record_flows::ExtendedGateway},
};
use testkit::sflow::{FlowSample, Gateway, IpRecord, Sflow, ethernet, router, sample, switch};

use super::{Decoding, Flow};

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0_u32..200]
}

fn record() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let addresses = prop_oneof![
        any::<[std::net::Ipv4Addr; 2]>().prop_map(|pair| pair.map(std::net::IpAddr::from)),
        any::<[std::net::Ipv6Addr; 2]>().prop_map(|pair| pair.map(std::net::IpAddr::from)),
    ];
    let ip = (number(), 0_u32..256, addresses, any::<(u16, u16)>(), any::<(u8, u8)>());
    let ip = ip.prop_map(|(length, protocol, [source, destination], ports, bytes)| {
        let ports = (ports.0.into(), ports.1.into());
        let (tcp_flags, traffic_class) = (bytes.0.into(), bytes.1.into());
        IpRecord { length, protocol, source, destination, ports, tcp_flags, traffic_class }.record()
    });
    let segment = (1_u32..3, prop::collection::vec(number(), 0..4));
    let gateway = (
        [number(), number(), number()],
        prop::collection::vec(segment, 0..4),
        prop::collection::vec(number(), 0..4),
    );
    let gateway = gateway.prop_map(|([own_as, source_as, source_peer_as], path, communities)| {
        Gateway { own_as, source_as, source_peer_as, path, communities }.record()
    });
    prop_oneof![
        3 => ip,
        2 => gateway,
        1 => (number(), number()).prop_map(|(source, destination)| router(source, destination)),
        1 => (0_u32..5000, 0_u32..5000).prop_map(|(from, to)| switch(from, to)),
        1 => Just(ethernet(100, 0x0800)),
        1 => prop::collection::vec(any::<u8>(), 8..9).prop_map(|unknown| (1020, unknown)),
    ]
}

fn flow_sample() -> impl Strategy<Value = FlowSample> {
    let interface = || (0_u32..3, prop_oneof![0_u32..4, Just(0x3fff_ffff)]);
    (
        any::<bool>(),
        [number(), number(), number(), number()],
        (0_u32..2, 0_u32..4),
        (interface(), interface()),
        prop::collection::vec(record(), 0..6),
    )
        .prop_map(
            |(is_expanded, [sequence, rate, pool, drops], source, (input, output), records)| {
                FlowSample {
                    is_expanded,
                    sequence,
                    source,
                    rate,
                    pool,
                    drops,
                    input,
                    output,
                    ..FlowSample::new(records)
                }
            },
        )
}

/// What the other decoder says of a sample, in our fields.
struct Expected {
    rate: u32,
    /// Class and index.
    source: (u32, u32),
    /// Format and value.
    input: (u32, u32),
    output: (u32, u32),
    records: Vec<FlowRecord>,
}

impl Expected {
    fn of(sample: SampleData) -> Option<Self> {
        let interface = |of: sflow_parser::models::Interface| (of.format().into(), of.value());
        match sample {
            SampleData::FlowSample(sample) => Some(Expected {
                rate: sample.sampling_rate,
                source: (sample.source_id.source_type().into(), sample.source_id.index()),
                input: interface(sample.input),
                output: interface(sample.output),
                records: sample.flow_records,
            }),
            SampleData::FlowSampleExpanded(sample) => Some(Expected {
                rate: sample.sampling_rate,
                source: (sample.source_id.source_id_type, sample.source_id.source_id_index),
                input: (sample.input.format, sample.input.value),
                output: (sample.output.format, sample.output.value),
                records: sample.flow_records,
            }),
            _ => None,
        }
    }

    /// The fields of the flow, as text; `None` if it is none.
    fn fields(&self) -> Option<Vec<(Field, String)>> {
        use sflow_parser::models::core::FlowData;
        let interface = |(format, value): (u32, u32)| match (format, value) {
            (0, value) if value != 0x3fff_ffff => value,
            _ => 0,
        };
        let (input, output) = (interface(self.input), interface(self.output));
        let direction = match self.source {
            (0, index) if index != 0 && index == input => Some(INGRESS),
            (0, index) if index != 0 && index == output => Some(EGRESS),
            _ => None,
        };
        let mut fields = vec![
            (Field::InputInterface, input.to_string()),
            (Field::OutputInterface, output.to_string()),
            (
                Field::SamplingRate,
                Some(self.rate)
                    .filter(|&rate| rate != 0)
                    .map_or_else(String::new, |rate| rate.to_string()),
            ),
            (Field::FlowDirection, direction.map_or_else(String::new, |at| at.to_string())),
        ];
        let mut has_packet = false;
        for record in &self.records {
            let packet = match &record.flow_data {
                FlowData::SampledIpv4(ip) => {
                    let (from, to) = (ip.src_ip.to_string(), ip.dst_ip.to_string());
                    (ip.length, ip.protocol, from, to, ip.src_port, ip.dst_port, ip.tos)
                }
                FlowData::SampledIpv6(ip) => {
                    let (from, to) = (ip.src_ip.to_string(), ip.dst_ip.to_string());
                    (ip.length, ip.protocol, from, to, ip.src_port, ip.dst_port, ip.priority)
                }
                _ => continue,
            };
            if has_packet {
                continue;
            }
            has_packet = true;
            let (length, protocol, from, to, source_port, destination_port, class) = packet;
            fields.push((Field::Bytes, length.to_string()));
            fields.push((Field::Protocol, protocol.to_string()));
            fields.push((Field::SourceAddress, from));
            fields.push((Field::DestinationAddress, to));
            fields.push((Field::TrafficClass, class.to_string()));
            if matches!(protocol, 6 | 17 | 33 | 132 | 136) {
                fields.push((Field::SourcePort, source_port.to_string()));
                fields.push((Field::DestinationPort, destination_port.to_string()));
            }
        }
        let gateway = self.records.iter().rev().find_map(|record| match &record.flow_data {
            FlowData::ExtendedGateway(gateway) => Some(gateway),
            _ => None,
        });
        fields.extend(gateway.into_iter().flat_map(of_gateway));
        has_packet.then_some(fields)
    }
}

fn of_gateway(gateway: &ExtendedGateway) -> [(Field, String); 5] {
    let own = |asn: u32| if asn == 0 { gateway.as_number } else { asn };
    let path: Vec<u32> = gateway.dst_as_path.iter().flat_map(|part| part.path.clone()).collect();
    let communities = gateway.communities.iter();
    let communities = communities.map(|each| format!("{}:{}", each >> 16, each & 0xffff));
    [
        (Field::SourceAs, own(gateway.src_as).to_string()),
        (Field::SourcePeerAs, gateway.src_peer_as.to_string()),
        (Field::DestinationAs, own(path.last().copied().unwrap_or_default()).to_string()),
        (Field::DestinationPeerAs, path.first().copied().unwrap_or_default().to_string()),
        (Field::Communities, communities.collect::<Vec<_>>().join(" ")),
    ]
}

proptest! {
    #[test]
    fn sflow_parser_finds_the_same(
        samples in prop::collection::vec((flow_sample(), any::<bool>()), 0..6),
        agent: std::net::IpAddr,
    ) {
        let samples = samples.into_iter().flat_map(|(flow, has_counters)| {
            let counters = has_counters.then(|| sample(2, &[0; 12]));
            [Some(flow.bytes()), counters].into_iter().flatten()
        });
        let bytes = Sflow { agent, ..Sflow::new(samples) }.bytes();
        let theirs = sflow_parser::parse_datagram(&bytes).expect("it is well formed");
        let theirs = theirs.samples.into_iter().filter_map(|each| Expected::of(each.sample_data));
        let theirs: Vec<_> = theirs.map(|expected| expected.fields()).collect();

        let mut decoding = Decoding::new();
        decoding.decode(&bytes);
        let ours: Vec<Flow> = decoding.take();
        let flows = theirs.iter().flatten().collect::<Vec<_>>();
        prop_assert_eq!(ours.len(), flows.len());
        prop_assert_eq!(decoding.skipped.len(), theirs.len() - flows.len());
        for (ours, theirs) in ours.iter().zip(flows) {
            for (field, value) in theirs {
                prop_assert_eq!(ours.get(field), value, "{:?}", field);
            }
        }
    }
}
