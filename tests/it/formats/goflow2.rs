//! goflow2's protobuf and JSON, of its versions 1 to 3.

use std::num::NonZero;

use super::{protobuf::Message, *};

/// As version 2 fills a message for an IPv4 flow.
fn message() -> Message {
    Message::default()
        .number(1, 4)
        .number(3, 100)
        .number(4, 4711)
        .bytes(6, &[198, 51, 100, 77])
        .bytes(7, &[203, 0, 113, 9])
        .number(9, 9000)
        .number(10, 10)
        .bytes(11, &[192, 0, 2, 1])
        .bytes(12, &[192, 0, 2, 254])
        .number(13, 3356)
        .number(14, 15169)
        .number(15, 64512)
        .number(16, 25)
        .number(18, 12)
        .number(19, 4_294_967_295)
        .number(20, 6)
        .number(21, 443)
        .number(22, 51044)
        .number(23, 184)
        .number(26, 27)
        .number(27, 0xaabb_ccdd_eeff)
        .number(29, 100)
        .number(30, 0x800)
        .packed(101, &[64512 << 16 | 1, 64512 << 16 | 2])
        .packed(102, &[3356, 15169])
        .number(110, 1_716_197_425_724_392_273)
}

/// What all versions make of the same flow, in all formats.
const FLOW: [(&str, &str); 23] = [
    ("as_path", "3356 15169"),
    ("bytes", "9000"),
    ("communities", "64512:1 64512:2"),
    ("destination_address", "203.0.113.9"),
    ("destination_as", "64512"),
    ("destination_peer_as", "3356"),
    ("destination_port", "51044"),
    ("exporter", "192.0.2.1"),
    ("flow_direction", "0"),
    ("hostname", "192.0.2.1"),
    ("input_interface", "12"),
    ("output_interface", "4294967295"),
    ("packets", "10"),
    ("protocol", "6"),
    ("sampling_rate", "100"),
    ("source_address", "198.51.100.77"),
    ("source_as", "15169"),
    ("source_mask", "25"),
    ("source_network", "198.51.100.0"),
    ("source_port", "443"),
    ("tcp_flags", "27"),
    ("traffic_class", "184"),
    ("vlan", "100"),
];

/// Version 2, with a mapping of all fields.
const JSON_2: &str = r#"{"type":"IPFIX","time_received_ns":1716197425724392273,"sequence_num":4711,
    "sampling_rate":100,"flow_direction":0,"sampler_address":"192.0.2.1","bytes":9000,"packets":10,
    "src_addr":"198.51.100.77","dst_addr":"203.0.113.9","etype":"IPv4","proto":"TCP",
    "src_port":443,"dst_port":51044,"in_if":12,"out_if":4294967295,"src_mac":"aa:bb:cc:dd:ee:ff",
    "vlan_id":100,"ip_tos":184,"tcp_flags":27,"src_as":15169,"dst_as":64512,"next_hop":"192.0.2.254",
    "next_hop_as":3356,"src_net":25,"dst_net":0,"bgp_communities":[4227858433,4227858434],
    "as_path":[3356,15169]}"#;

/// Version 1 with its own names.
const JSON_1: &str = r#"{"Type":"IPFIX","TimeReceived":1716197425,"SequenceNum":4711,
    "SamplingRate":100,"FlowDirection":0,"SamplerAddress":"192.0.2.1","Bytes":9000,"Packets":10,
    "SrcAddr":"198.51.100.77","DstAddr":"203.0.113.9","Etype":2048,"EtypeName":"IPv4","Proto":6,
    "ProtoName":"TCP","SrcPort":443,"DstPort":51044,"InIf":12,"OutIf":4294967295,"VlanId":100,
    "IPTos":184,"TCPFlags":27,"SrcAs":15169,"DstAs":64512,"NextHop":"192.0.2.254",
    "NextHopAS":3356,"SrcNet":25,"DstNet":0,"BgpCommunities":[4227858433,4227858434],
    "AsPath":[3356,15169]}"#;

/// Messages, with the names of their formats.
pub(super) fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let short = Message::default().bytes(6, &[10, 0, 0, 1]).bytes(7, &[10, 0, 0, 2]).number(9, 5);
    let mut all = vec![
        ("goflow2-protobuf", message().0),
        ("goflow2-protobuf", message().delimited()),
        ("goflow2-protobuf", short.delimited()),
        ("goflow2-protobuf", Message::default().number(1, 1).number(9, 5).0),
        ("goflow2-json", JSON_2.into()),
        ("goflow2-json", JSON_1.into()),
        // A mapping without `type`.
        (
            "goflow2-json",
            br#"{"bytes":5,"sampler_address":"192.0.2.1","src_as":1,"dst_as":64512}"#.to_vec(),
        ),
    ];
    // Lengths that are the first characters of JSON and white space, and those of two bytes.
    for length in [0x7b, 0x5b, 0x20, 0x0a, 0x0d, 0x09, 0x22, 0x31, 200, 300] {
        let mut message = Message::default().number(1, 4);
        if length > 30 {
            message = message.number(3, 1).bytes(6, &[192, 0, 2, 1]).number(9, 5);
        } else {
            message = message.number(9, 5);
        }
        let rest = length - message.0.len();
        // MPLS addresses, which are not used.
        let padding = if rest > 130 { rest - 4 } else { rest - 3 };
        message = message.bytes(82, &vec![7; padding]);
        assert_eq!(message.0.len(), length);
        all.push(("goflow2-protobuf", message.delimited()));
    }
    all
}

#[test]
fn versions_and_formats_agree_on_a_flow() {
    let formats = Formats::default();
    let (protobuf, json) = (format(&formats, "goflow2-protobuf"), format(&formats, "goflow2-json"));
    let with_direction = message().number(42, 0);
    for payload in [with_direction.0.clone(), with_direction.delimited(), message().0] {
        assert_eq!(decode(&protobuf, &payload), [flow(&FLOW)]);
    }
    for text in [JSON_2, JSON_1, &JSON_1.replace("SrcAs", "SrcAS").replace("DstAs", "DstAS")] {
        assert_eq!(decode(&json, text.as_bytes()), [flow(&FLOW)]);
    }
}

/// As version 2.2 does; where a flow has no address, it says so in words.
#[test]
fn the_length_of_a_prefix_may_be_written_behind_its_network() {
    let json = format(&Formats::default(), "goflow2-json");
    let with = |net: &str| decode(&json, JSON_2.replace("\"src_net\":25", net).as_bytes());
    assert_eq!(with(r#""src_net":"198.51.100.0/25""#), [flow(&FLOW)]);
    let rest = FLOW.iter().filter(|(field, _)| !["source_mask", "source_network"].contains(field));
    let rest = flow(&rest.copied().collect::<Vec<_>>());
    for unknown in [r#""src_net":"0.0.0.0/0""#, r#""src_net":"invalid Prefix""#] {
        assert_eq!(with(unknown), std::slice::from_ref(&rest), "{unknown}");
    }
}

#[test]
fn etypes_and_protocols_may_be_text_or_numbers() {
    let json = format(&Formats::default(), "goflow2-json");
    for (text, number) in
        [(r#""TCP""#, "6"), (r#""IPv6-ICMP""#, "58"), ("17", "17"), (r#""17""#, "17")]
    {
        let record = format!(r#"{{"bytes":1,"proto":{text},"etype":"IPv6"}}"#);
        let expected = flow(&[("bytes", "1"), ("protocol", number)]);
        assert_eq!(decode(&json, record.as_bytes()), [expected]);
    }
}

#[test]
fn a_zero_that_protobuf_leaves_out_is_a_zero_and_a_record_without_bytes_is_no_flow() {
    let protobuf = format(&Formats::default(), "goflow2-protobuf");
    let least = Message::default().number(1, 4).bytes(6, &[0x20; 16]).number(9, 5);
    let [Decoded::Flow(fields)] = &decode(&protobuf, &least.delimited())[..] else { panic!() };
    for (field, value) in [
        ("source_as", Some("0")),
        ("traffic_class", Some("0")),
        ("source_address", Some("2020:2020:2020:2020:2020:2020:2020:2020")),
        ("destination_address", None),
        ("source_mask", None),
        ("source_network", None),
        ("sampling_rate", None),
        ("hostname", None),
    ] {
        assert_eq!(fields.get(field).map(String::as_str), value, "{field}");
    }
    let empty = Message::default().number(1, 4).bytes(6, &[1; 4]).number(10, 5);
    assert_eq!(decode(&protobuf, &empty.0), [Decoded::Skipped(Skipped::NoBytes)]);
}

#[test]
fn what_does_not_fit_is_malformed_and_what_is_not_used_is_skipped() {
    let protobuf = format(&Formats::default(), "goflow2-protobuf");
    let with = |change: fn(Message) -> Message| decode(&protobuf, &change(message()).0);
    for (expected, change) in [
        (Malformed::NumberOutOfRange, (|all| all.number(14, 1 << 32)) as fn(Message) -> Message),
        (Malformed::NumberOutOfRange, |all| all.number(9, u64::MAX)),
        (Malformed::NumberOutOfRange, |all| all.number(21, 65_536)),
        (Malformed::WrongType, |all| all.bytes(14, b"AS")),
        (Malformed::WrongType, |all| all.number(6, 5)),
        (Malformed::WrongType, |all| all.bytes(6, &[1; 5])),
    ] {
        assert_eq!(with(change), [Decoded::Malformed(expected)]);
    }
    let mut truncated = message().0;
    truncated.truncate(40);
    assert_eq!(decode(&protobuf, &truncated), [Decoded::Malformed(Malformed::Syntax)]);
    // Fields of the operator's own, of all types: two bytes of tag, and four or eight of value.
    let mut others = message().number(5000, 7).bytes(6000, b"own").0;
    others.extend([0xc5, 0x3e, 1, 2, 3, 4]);
    others.extend([0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(decode(&protobuf, &others), [flow(&FLOW)]);
}

#[test]
fn bytes_are_multiplied_by_the_rate_whatever_is_asked_for_pmacct() {
    let mut sampling = Sampling::default();
    sampling.overrides.insert("192.0.2.1".into(), NonZero::new(7).expect("a rate"));
    for (message, unknown) in [
        (message().delimited(), message().number(3, 0).delimited()),
        (JSON_2.into(), JSON_2.replace("\"sampling_rate\":100", "\"sampling_rate\":0").into()),
        (JSON_1.into(), JSON_1.replace("\"SamplingRate\":100,", "").into()),
    ] {
        for multiplies in [false, true] {
            let sampling = Sampling { multiplies, ..Sampling::default() };
            let counting = Counting { sampling, ..counting() };
            assert_eq!(counted(counting.clone(), &message), [900_000, 1000]);
            assert_eq!(counted(counting.clone(), &unknown), [9000, 10]);
            assert_eq!(count(counting, &[&unknown]).0.unknown_rate, 1);
        }
        let overridden = Counting { sampling: sampling.clone(), ..counting() };
        assert_eq!(counted(overridden.clone(), &message), [63_000, 70]);
        assert_eq!(counted(overridden, &unknown), [63_000, 70]);
    }
}

#[test]
fn json_records_may_stand_on_lines() {
    let json = format(&Formats::default(), "goflow2-json");
    let line = JSON_2.replace('\n', "");
    let text = format!("{line}\n{{\"type\":\"IPFIX\"}}\n{line}\nwhat?\n");
    let expected = [
        flow(&FLOW),
        Decoded::Skipped(Skipped::NoBytes),
        flow(&FLOW),
        Decoded::Malformed(Malformed::Syntax),
    ];
    assert_eq!(decode(&json, text.as_bytes()), expected);
    let (counts, _) = count(counting(), &[text.as_bytes()]);
    assert_eq!((counts.counted.flows, counts.messages), (2, 1));
}

#[test]
fn fields_by_their_own_name_become_labels() {
    let json = format(&Formats::default(), "goflow2-json");
    let [Decoded::Flow(fields)] =
        &decode_with(&json, &["forwarding_status"], br#"{"Bytes":1,"ForwardingStatus":64}"#)[..]
    else {
        panic!()
    };
    assert_eq!(fields["forwarding_status"], "64");
    let protobuf = format(&Formats::default(), "goflow2-protobuf");
    assert_eq!(decode_with(&protobuf, &["forwarding_status"], &message().0), [flow(&FLOW)]);
}
