//! sFlow v5.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow_exporter::{
    flow::{
        Plan, Skipped,
        datagram::{ExporterSettings, Refused, Settings, SflowActivity},
    },
    schema::Field,
};
use proptest::prelude::*;
use testkit::{
    packet::{self, IPV4, Ipv4, MPLS, SERVICE_VLAN, TCP, VLAN, tcp, vlan},
    sflow::{
        FlowSample, Gateway, IpRecord, Sflow, ethernet, frame, raw_header, router, sample, switch,
    },
};

use super::{Decoding, Flow};

/// A TCP segment in an IPv4 packet of 1,500 bytes.
fn segment() -> Vec<u8> {
    let mut payload = tcp((443, 50_000), 0x18);
    payload.resize(1480, 0);
    Ipv4 { protocol: TCP, ..Ipv4::default() }.bytes(&payload)
}

pub(super) fn segment_frame() -> (u32, Vec<u8>) {
    frame(&packet::ethernet(IPV4, &segment()))
}

fn flows(samples: impl IntoIterator<Item = FlowSample>) -> Vec<Flow> {
    let mut decoding = Decoding::new();
    let samples = samples.into_iter().map(|sample| sample.bytes());
    decoding.decode(&Sflow::new(samples).bytes());
    assert_eq!((decoding.skipped.len(), decoding.malformed), (0, 0));
    decoding.take()
}

/// The only flow of a sample with these records.
fn flow(records: impl IntoIterator<Item = (u32, Vec<u8>)>) -> Flow {
    let [flow] = &flows([FlowSample::new(records)])[..] else { panic!("one flow") };
    flow.clone()
}

#[test]
fn every_field_of_a_sample_goes_where_it_belongs() {
    let gateway = Gateway {
        own_as: 64500,
        source_as: 64512,
        source_peer_as: 3320,
        path: vec![(2, vec![3356, 1299]), (1, vec![7, 8]), (2, vec![15169])],
        communities: vec![64500 << 16 | 1, 64500 << 16 | 65535],
    };
    let records = [segment_frame(), switch(20, 30), router(24, 25), gateway.record()];
    let expected = [
        (Field::SourceAs, "64512"),
        (Field::DestinationAs, "15169"),
        (Field::Bytes, "1500"),
        (Field::Packets, "1"),
        (Field::Hostname, "203.0.113.1"),
        (Field::SourcePeerAs, "3320"),
        (Field::DestinationPeerAs, "3356"),
        (Field::SourceAddress, "192.0.2.1"),
        (Field::DestinationAddress, "198.51.100.2"),
        (Field::SourceNetwork, "192.0.2.0"),
        (Field::DestinationNetwork, "198.51.100.0"),
        (Field::SourceMask, "24"),
        (Field::DestinationMask, "25"),
        (Field::SourcePort, "443"),
        (Field::DestinationPort, "50000"),
        (Field::Protocol, "6"),
        (Field::TcpFlags, "24"),
        (Field::TrafficClass, "184"),
        (Field::InputInterface, "3"),
        (Field::OutputInterface, "4"),
        (Field::Vlan, "20"),
        (Field::FlowDirection, "0"),
        (Field::Exporter, "203.0.113.1"),
        (Field::Communities, "64500:1 64500:65535"),
        (Field::AsPath, "3356 1299 {7,8} 15169"),
        (Field::SamplingRate, "1000"),
    ];
    let sample = FlowSample::new(records);
    let expanded = FlowSample { is_expanded: true, ..sample.clone() };
    for flow in flows([sample, expanded]) {
        for field in Field::TYPED {
            let expected = expected.iter().find(|(each, _)| *each == field);
            assert_eq!(flow.get(&field), expected.map_or("", |(_, value)| value), "{field:?}");
        }
    }
}

#[test]
fn a_plan_of_nothing_else_takes_the_bytes() {
    let mut decoding = Decoding::with(Plan::new([]), Settings::default());
    let records = [segment_frame(), switch(20, 30), router(24, 25), Gateway::default().record()];
    decoding.decode(&Sflow::new([FlowSample::new(records).bytes()]).bytes());
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    assert_eq!(flow.0, [(Field::Bytes, "1500".to_owned())]);
}

/// What an agent says of the segment itself; with other ports, to tell it from the segment.
fn said() -> IpRecord {
    IpRecord {
        length: 1500,
        protocol: TCP.into(),
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        destination: Ipv4Addr::new(198, 51, 100, 2).into(),
        ports: (1443, 1500),
        tcp_flags: 2,
        traffic_class: 8,
    }
}

#[test]
fn a_sample_counts_once_whatever_describes_it() {
    let (raw, bridged, ip) = (segment_frame(), ethernet(1514, 0x0800), said().record());
    let six = IpRecord {
        source: Ipv6Addr::from(0x2001_0db8_u128 << 96 | 1).into(),
        destination: Ipv6Addr::from(0x2001_0db8_u128 << 96 | 2).into(),
        ..said()
    };
    let all = [raw.clone(), bridged.clone(), ip.clone(), six.record()];
    let mut reversed = all.clone();
    reversed.reverse();
    for records in [&all[..], &reversed] {
        let flow = flow(records.to_vec());
        assert_eq!(flow.get(&Field::SourcePort), "443", "the header knows more");
        assert_eq!(flow.get(&Field::Bytes), "1500");
    }
    // What the agent says counts where there is no header, or no IP in it.
    let arp = frame(&packet::ethernet(0x0806, &[0; 46]));
    for records in [vec![bridged.clone(), ip.clone()], vec![arp.clone(), ip.clone()], vec![ip, arp]]
    {
        let flow = flow(records);
        let fields = [Field::Bytes, Field::SourcePort, Field::TcpFlags, Field::TrafficClass];
        assert_eq!(fields.map(|field| flow.get(&field).to_owned()), ["1500", "1443", "2", "8"]);
    }
    let flow = flow([six.record()]);
    assert_eq!(flow.get(&Field::SourceAddress), "2001:db8::1");
    let icmp = IpRecord { protocol: 1, ..said() };
    let flow = self::flow([icmp.record()]);
    assert_eq!([flow.get(&Field::SourcePort), flow.get(&Field::TcpFlags)], ["", ""]);
}

#[test]
fn what_is_not_ip_is_skipped() {
    let mut decoding = Decoding::new();
    let arp = frame(&packet::ethernet(0x0806, &[0; 46]));
    let short = raw_header(1, 1514, &[2; 20]);
    let token_ring = raw_header(3, 1514, &segment());
    let samples = [vec![arp], vec![short], vec![token_ring], vec![ethernet(60, 0x0806)], vec![]];
    let samples = samples.map(|records| FlowSample::new(records).bytes());
    decoding.decode(&Sflow::new(samples).bytes());
    assert_eq!(decoding.skipped, [Skipped::NotIp; 5]);
    let activity = decoding.activity();
    assert_eq!((activity.datagrams, activity.flows, activity.truncated_parts), (1, 0, 0));
}

#[test]
fn headers_of_other_links_than_ethernet_are_read() {
    let packet = segment();
    let ppp = [&[0xff, 0x03, 0, 0x21][..], &packet].concat();
    let labelled = packet::mpls(&[16], &packet);
    for (protocol, bytes) in [(11, &packet), (12, &packet), (7, &ppp), (14, &ppp), (13, &labelled)]
    {
        let flow = flow([raw_header(protocol, 1514, &bytes[..64])]);
        assert_eq!(flow.get(&Field::SourcePort), "443", "{protocol}");
        assert_eq!(flow.get(&Field::Bytes), "1500", "{protocol}");
    }
}

#[test]
fn the_vlan_is_the_switchs_or_the_frames_outer_one() {
    let tagged = frame(&packet::ethernet(SERVICE_VLAN, &vlan(7, VLAN, &vlan(8, IPV4, &segment()))));
    let of = |sample: &FlowSample| flows([sample.clone()])[0].get(&Field::Vlan).to_owned();
    let ingress = FlowSample::new([tagged.clone()]);
    assert_eq!(of(&ingress), "7");
    let switched = FlowSample::new([tagged, switch(20, 30)]);
    assert_eq!(of(&switched), "20");
    assert_eq!(of(&FlowSample { source: (0, 4), ..switched.clone() }), "30");
    let unknown = FlowSample { records: vec![segment_frame(), switch(0, 0)], ..ingress };
    assert_eq!(of(&unknown), "");
    let routed = FlowSample { records: vec![segment_frame(), switch(4095, 9999)], ..switched };
    assert_eq!(of(&routed), "");
}

#[test]
fn mpls_and_pseudowires_are_opened() {
    let ip = packet::ethernet(MPLS, &packet::mpls(&[16, 17], &segment()));
    let inner = packet::ethernet(IPV4, &segment());
    let pseudowire = packet::ethernet(MPLS, &packet::mpls(&[16, 17], &inner));
    let with_word = [&[0, 0, 0, 1][..], &inner].concat();
    let with_word = packet::ethernet(MPLS, &packet::mpls(&[16, 17], &with_word));
    for bytes in [ip, pseudowire, with_word] {
        let flow = flow([frame(&bytes)]);
        assert_eq!(flow.get(&Field::DestinationPort), "50000");
        assert_eq!(flow.get(&Field::Bytes), "1500");
    }
}

#[test]
fn bytes_are_those_of_the_ip_packet_whatever_the_frame_is_said_to_be() {
    let bytes = packet::ethernet(IPV4, &segment());
    for frame_length in [0, 64, 1514, 1518, 9000] {
        let flow = flow([raw_header(1, frame_length, &bytes[..64])]);
        assert_eq!(flow.get(&Field::Bytes), "1500", "{frame_length}");
    }
}

#[test]
fn the_direction_is_that_of_the_interface_that_sampled() {
    let with = |source, input, output| {
        let sample = FlowSample { source, input, output, ..FlowSample::new([segment_frame()]) };
        let expanded = FlowSample { is_expanded: true, ..sample.clone() };
        let [one, other] = &flows([sample, expanded])[..] else { panic!("two flows") };
        assert_eq!(one, other);
        let fields = [Field::FlowDirection, Field::InputInterface, Field::OutputInterface];
        fields.map(|field| one.get(&field).to_owned())
    };
    assert_eq!(with((0, 3), (0, 3), (0, 4)), ["0", "3", "4"]);
    assert_eq!(with((0, 4), (0, 3), (0, 4)), ["1", "3", "4"]);
    assert_eq!(with((0, 5), (0, 3), (0, 4)), ["", "3", "4"]);
    assert_eq!(with((1, 3), (0, 3), (0, 4)), ["", "3", "4"], "it is a VLAN");
    assert_eq!(with((0, 0), (0, 0), (0, 4)), ["", "0", "4"], "it is unknown");
    // Discarded, to several, to the device itself.
    assert_eq!(with((0, 3), (0, 3), (1, 256)), ["0", "3", "0"]);
    assert_eq!(with((0, 3), (0, 3), (2, 7)), ["0", "3", "0"]);
    assert_eq!(with((0, 3), (0, 3), (0, 0x3fff_ffff)), ["0", "3", "0"]);
    assert_eq!(with((0, 4), (0, 0x3fff_ffff), (0, 4)), ["1", "0", "4"]);
}

#[test]
fn ases_are_those_of_the_path_or_else_the_routers_own() {
    let with = |gateway: Gateway| {
        let flow = flow([segment_frame(), gateway.record()]);
        let fields = [
            Field::SourceAs,
            Field::DestinationAs,
            Field::SourcePeerAs,
            Field::DestinationPeerAs,
            Field::AsPath,
            Field::Communities,
        ];
        fields.map(|field| flow.get(&field).to_owned())
    };
    let incoming =
        Gateway { own_as: 64500, source_as: 174, source_peer_as: 3356, ..Gateway::default() };
    assert_eq!(with(incoming.clone()), ["174", "64500", "3356", "0", "", ""]);
    let empty = Gateway { path: vec![(2, vec![])], ..incoming.clone() };
    assert_eq!(with(empty), ["174", "64500", "3356", "0", "", ""]);
    let outgoing = Gateway { own_as: 64500, path: vec![(2, vec![1299])], ..Gateway::default() };
    assert_eq!(with(outgoing), ["64500", "1299", "0", "1299", "1299", ""]);
    let four_bytes =
        Gateway { source_as: 4_200_000_001, path: vec![(1, vec![4_200_000_002])], ..incoming };
    let expected = ["4200000001", "4200000002", "3356", "4200000002", "{4200000002}", ""];
    assert_eq!(with(four_bytes), expected);
    // Without a gateway, nothing is known.
    let flow = flow([segment_frame(), router(200, 24)]);
    assert_eq!([flow.get(&Field::SourceAs), flow.get(&Field::DestinationAs)], ["", ""]);
    assert_eq!([flow.get(&Field::SourceMask), flow.get(&Field::DestinationMask)], ["", "24"]);
}

#[test]
fn counts_of_the_wire_are_not_believed() {
    let gateway = |at: usize, number: u32| {
        let (format, mut record) =
            Gateway { path: vec![(2, vec![1])], communities: vec![2], ..Gateway::default() }
                .record();
        record[at..at + 4].copy_from_slice(&number.to_be_bytes());
        (format, record)
    };
    // Segments, ASes of one, communities.
    for at in [20, 28, 36] {
        let mut decoding = Decoding::new();
        let sample = FlowSample::new([segment_frame(), gateway(at, u32::MAX)]);
        decoding.decode(&Sflow::new([sample.bytes()]).bytes());
        let [flow] = &decoding.take()[..] else { panic!("one flow") };
        assert_eq!((flow.get(&Field::SourceAs), flow.get(&Field::Bytes)), ("", "1500"));
        assert_eq!(decoding.activity().truncated_parts, 1);
    }
    let mut decoding = Decoding::new();
    let sample = FlowSample { missing_records: 1 << 30, ..FlowSample::new([segment_frame()]) };
    let mut bytes = Sflow::new([sample.bytes()]).bytes();
    bytes[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
    decoding.decode(&bytes);
    assert_eq!(decoding.take().len(), 1);
    assert_eq!(decoding.activity().truncated_parts, 2, "the records and the samples end early");
}

#[test]
fn lengths_that_are_off_by_four_cost_no_more_than_what_they_cover() {
    let two = || [segment_frame(), said().record()];
    let off = |length_errors| FlowSample { length_errors, ..FlowSample::new(two()) };
    for (sample, truncated_parts) in
        [(off((0, 0)), 0), (off((-4, 0)), 1), (off((0, 4)), 1), (off((0, -4)), 1)]
    {
        let mut decoding = Decoding::new();
        decoding.decode(&Sflow::new([sample.bytes()]).bytes());
        let [flow] = &decoding.take()[..] else { panic!("one flow of {sample:?}") };
        assert_eq!((flow.get(&Field::Bytes), flow.get(&Field::SourcePort)), ("1500", "443"));
        let activity = decoding.activity();
        assert_eq!(activity.truncated_parts, truncated_parts, "{:?}", sample.length_errors);
    }
    // The next sample is where the length of the one before says.
    let mut wrong_record =
        FlowSample { length_errors: (0, 4), ..FlowSample::new([segment_frame()]) };
    wrong_record.sequence = 2;
    let samples = [wrong_record.bytes(), FlowSample::new([segment_frame()]).bytes()];
    let mut decoding = Decoding::new();
    decoding.decode(&Sflow::new(samples).bytes());
    assert_eq!(decoding.take().len(), 2);
}

#[test]
fn what_is_no_sample_of_a_flow_is_counted_by_kind() {
    let mut decoding = Decoding::new();
    let samples = [
        sample(2, &[0; 100]),
        sample(4, &[0; 100]),
        sample(5, &[0; 44]),
        sample(4413 << 12 | 1, &[0; 8]),
        FlowSample::new([segment_frame()]).bytes(),
    ];
    decoding.decode(&Sflow::new(samples).bytes());
    assert_eq!(decoding.take().len(), 1);
    let activity = decoding.activity();
    let expected = SflowActivity {
        counter_samples: 2,
        discarded_packets: 1,
        foreign_samples: 1,
        ..SflowActivity::default()
    };
    assert_eq!(activity.sflow, expected);
    assert_eq!(activity.truncated_parts, 0);
}

#[test]
fn bytes_are_those_of_the_ip_packet_or_of_the_frame_if_these_are_wanted_and_stated() {
    let header = packet::ethernet(IPV4, &segment());
    let packet = IpRecord {
        length: 1500,
        protocol: 6,
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        destination: Ipv4Addr::new(198, 51, 100, 2).into(),
        ports: (443, 50_000),
        tcp_flags: 0,
        traffic_class: 0,
    };
    let raw = || raw_header(1, 1518, &header[..64]);
    let bytes = |by_default, own, records: &[(u32, Vec<u8>)]| {
        let own = ExporterSettings { sflow_counts_frames: own, ..ExporterSettings::default() };
        let mut settings = Settings::new([("203.0.113.1/32".parse().unwrap(), own)]);
        settings.sflow_counts_frames = by_default;
        let mut decoding = Decoding::with(Plan::new([]), settings);
        let sample = FlowSample::new(records.to_vec()).bytes();
        decoding.decode(&Sflow::new([sample]).bytes());
        decoding.take().remove(0).get(&Field::Bytes).to_owned()
    };
    assert_eq!(bytes(false, None, &[raw()]), "1500");
    assert_eq!(bytes(true, None, &[raw()]), "1518");
    assert_eq!(bytes(true, Some(false), &[raw()]), "1500");
    assert_eq!(bytes(false, Some(true), &[raw()]), "1518");
    let of_frames = |records: &[(u32, Vec<u8>)]| bytes(true, None, records);
    assert_eq!(of_frames(&[ethernet(1522, 0x800), packet.record()]), "1522");
    assert_eq!(of_frames(&[ethernet(9000, 0x800), raw()]), "1518", "the header knows more");
    assert_eq!(of_frames(&[packet.record()]), "1500", "nothing is said of the frame");
    assert_eq!(of_frames(&[raw_header(1, 0, &header[..64])]), "1500");
}

#[test]
fn the_exporter_is_the_agent_unless_it_names_none_or_the_sender_is_wanted() {
    let names = [("192.0.2.0/24", "by-agent"), ("203.0.113.0/24", "by-sender")];
    let names = names.map(|(prefix, name)| {
        let hostname = Some(name.into());
        (prefix.parse().unwrap(), ExporterSettings { hostname, ..ExporterSettings::default() })
    });
    let of = |agent: IpAddr, sflow_exporter_is_sender| {
        let mut settings = Settings::new(names.clone());
        settings.sflow_exporter_is_sender = sflow_exporter_is_sender;
        let mut decoding = Decoding::with(Plan::new(Field::TYPED), settings);
        let sample = FlowSample::new([segment_frame()]).bytes();
        decoding.from("203.0.113.9:6343", &Sflow { agent, ..Sflow::new([sample]) }.bytes());
        let flow = decoding.take().remove(0);
        [flow.get(&Field::Exporter).to_owned(), flow.get(&Field::Hostname).to_owned()]
    };
    let v4 = Ipv4Addr::new(192, 0, 2, 7);
    assert_eq!(of(v4.into(), false), ["192.0.2.7", "by-agent"]);
    assert_eq!(of(v4.to_ipv6_mapped().into(), false), ["192.0.2.7", "by-agent"]);
    assert_eq!(of(v4.into(), true), ["203.0.113.9", "by-sender"]);
    assert_eq!(of(Ipv4Addr::UNSPECIFIED.into(), false), ["203.0.113.9", "by-sender"]);
    let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
    assert_eq!(of(v6.into(), false), ["2001:db8::7", "2001:db8::7"]);
}

#[test]
fn the_rate_is_the_samples_unless_the_operator_says_otherwise() {
    let rate = |n| std::num::NonZero::new(n);
    for (setting, default, recorded, expected) in [
        (None, None, 512, "512"),
        (rate(7), rate(8), 512, "7"),
        (None, rate(8), 512, "512"),
        (None, rate(8), 0, "8"),
        (None, None, 0, ""),
    ] {
        let settings = ExporterSettings {
            sampling_rate: setting,
            default_sampling_rate: default,
            ..ExporterSettings::default()
        };
        let settings = Settings::new([("203.0.113.1/32".parse().unwrap(), settings)]);
        let mut decoding = Decoding::with(Plan::new(Field::TYPED), settings);
        let sample = FlowSample { rate: recorded, ..FlowSample::new([segment_frame()]) };
        decoding.decode(&Sflow::new([sample.bytes()]).bytes());
        assert_eq!(decoding.take()[0].get(&Field::SamplingRate), expected);
        assert_eq!(decoding.activity().unknown_rate_flows, u64::from(expected.is_empty()));
    }
}

/// A datagram with a sample of each source, all of this number.
fn numbered(sequence: u32, number: u32, sources: &[u32]) -> Sflow {
    let samples = sources.iter().map(|&source| {
        let sequence = number;
        let pool = 10_000 + number * 512;
        let drops = number / 10;
        let source = (0, source);
        let records = [segment_frame()];
        FlowSample { sequence, source, pool, drops, ..FlowSample::new(records) }.bytes()
    });
    let uptime = 100_000 + sequence * 10;
    Sflow { sequence, uptime, ..Sflow::new(samples.collect::<Vec<_>>()) }
}

#[test]
fn datagrams_and_samples_that_are_missing_are_counted_by_what_they_number() {
    let mut decoding = Decoding::new();
    for sequence in (1..200).filter(|sequence| sequence % 50 != 0) {
        decoding.decode(&numbered(sequence, sequence, &[3, 4]).bytes());
    }
    for sequence in 200..300 {
        decoding.decode(&numbered(sequence, sequence, &[3, 4]).bytes());
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_datagrams, activity.missing_flows), (3, 6));
    assert_eq!((activity.datagrams, activity.flows), (296, 592));
    assert_eq!((activity.late, activity.restarts), (0, 0));
    // Two sources, each of which has taken 298 more samples since the first one.
    let told = activity.sflow;
    assert_eq!((told.samples, told.pool, told.dropped_samples), (596, 596 * 512, 58));
}

#[test]
fn a_datagram_that_comes_twice_counts_once() {
    let mut decoding = Decoding::new();
    for sequence in [1, 2, 3, 2, 3, 4] {
        decoding.decode(&numbered(sequence, sequence, &[3]).bytes());
    }
    assert_eq!(decoding.take().len(), 4);
    let activity = decoding.activity();
    assert_eq!(activity.refused[Refused::Duplicate.index()], 2);
    assert_eq!((activity.datagrams, activity.missing_datagrams), (4, 0));
}

#[test]
fn sub_agents_number_for_themselves_and_agents_may_start_again() {
    let mut decoding = Decoding::new();
    for sequence in 1000..1100 {
        for sub_agent in [0, 1] {
            let number = sequence + sub_agent * 5000;
            decoding.decode(&Sflow { sub_agent, ..numbered(number, number, &[3]) }.bytes());
        }
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_datagrams, activity.missing_flows), (0, 0));
    for sequence in 1..100 {
        decoding.decode(&numbered(sequence, sequence, &[3]).bytes());
    }
    let activity = decoding.activity();
    assert_eq!((activity.restarts, activity.missing_datagrams, activity.missing_flows), (1, 0, 0));
}

#[test]
fn other_versions_and_short_headers_are_refused() {
    let whole = Sflow::new([]).bytes();
    let mut decoding = Decoding::new();
    for length in 4..whole.len() {
        decoding.decode(&whole[..length]);
    }
    let activity = decoding.activity();
    assert_eq!(activity.refused[Refused::Truncated.index()], 24);
    for version in [2, 4] {
        decoding.decode(&[&[0, 0, 0, version][..], &whole[4..]].concat());
    }
    let mut of_no_family = whole;
    of_no_family[7] = 3;
    decoding.decode(&of_no_family);
    let activity = decoding.activity();
    assert_eq!(activity.refused[Refused::Protocol.index()], 2);
    assert_eq!(activity.refused[Refused::Header.index()], 1);
    assert_eq!((decoding.take(), activity.datagrams), (Vec::new(), 0));
}

/// A datagram of everything.
fn everything() -> Vec<u8> {
    let gateway = Gateway {
        own_as: 1,
        path: vec![(2, vec![2, 3]), (1, vec![4])],
        communities: vec![5],
        ..Gateway::default()
    };
    let labelled = packet::ethernet(MPLS, &packet::mpls(&[16], &segment()));
    let records = [
        segment_frame(),
        ethernet(1514, 0x0800),
        said().record(),
        switch(1, 2),
        router(8, 24),
        gateway.record(),
        frame(&labelled),
    ];
    let one = FlowSample::new(records);
    let other = FlowSample { is_expanded: true, ..one.clone() };
    Sflow::new([one.bytes(), sample(2, &[0; 40]), other.bytes(), sample(5, &[0; 44])]).bytes()
}

proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoding = Decoding::new();
        decoding.decode(&bytes);
        decoding.decode(&[&[0, 0, 0, 5, 0, 0, 0, 1][..], &bytes].concat());
    }

    #[test]
    fn changed_datagrams_are_taken_and_give_no_more_flows_than_samples(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(255)]),
            0..8,
        ),
        length in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = everything();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(length.index(bytes.len()));
        }
        let mut decoding = Decoding::new();
        decoding.decode(&bytes);
        // Each sample takes 8 bytes at least.
        prop_assert!(decoding.take().len() <= bytes.len() / 8);
    }
}

#[test]
fn what_was_sent_while_the_process_was_down_is_missing() {
    let mut before = Decoding::new();
    for sub_agent in [0, 7] {
        before.decode(&Sflow { sub_agent, ..numbered(1, 1, &[3]) }.bytes());
    }
    let places = before.datagrams.places();
    let mut after = Decoding::new();
    after.datagrams.restore(&places).unwrap();
    let mut again = after.datagrams.places();
    // In any order.
    let mut places = places;
    places.sort_unstable();
    again.sort_unstable();
    assert_eq!(again, places);
    after.decode(&numbered(5, 5, &[3]).bytes());
    after.decode(&Sflow { sub_agent: 7, ..numbered(2, 2, &[3]) }.bytes());
    let activity = after.activity();
    assert_eq!((activity.datagrams_missed_before, activity.missing_datagrams), (3, 0));
    assert_eq!(activity.datagrams, 2);
}
