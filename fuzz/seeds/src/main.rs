//! Writes what each target begins with, made by the test kit's encoders, into `DIRECTORY/TARGET/`.

use std::{
    env, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use netflow::{Message, Template, V5, V5Flow, VARIABLE, Value};
use prost::encoding::encode_varint;
use sflow::{FlowSample, Sflow};

#[allow(dead_code)]
#[path = "../../../tests/testkit/src/capture.rs"]
mod capture;
// The test kit's file takes the program's encoder from where it is in the program's crate.
extern crate self as flow_exporter;
mod demo {
    pub(crate) use crate::encoder as netflow;
}
#[allow(dead_code)]
#[path = "../../../src/demo/netflow.rs"]
mod encoder;
#[allow(dead_code)]
#[path = "../../../tests/testkit/src/netflow.rs"]
mod netflow;
#[allow(dead_code)]
#[path = "../../../tests/testkit/src/packet.rs"]
mod packet;
#[allow(dead_code)]
#[path = "../../../tests/testkit/src/registry.rs"]
mod registry;
#[allow(dead_code)]
#[path = "../../../tests/testkit/src/sflow.rs"]
mod sflow;

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map_or_else(|| "corpus".into(), PathBuf::from);
    write(&directory, "netflow", netflow_exchanges())?;
    write(&directory, "sflow", sflow_exchanges())?;
    write(&directory, "restore", snapshots())?;
    write(
        &directory,
        "packet",
        packets()
            .iter()
            .flat_map(|packet| (0..5).map(move |what| [&[what, 0, 40], &packet[..]].concat())),
    )?;
    write(&directory, "capture", captures())?;
    write(&directory, "pmacct", PMACCT.map(|text| text.as_bytes().to_vec()))?;
    let json =
        JSON.iter().flat_map(|text| (0..8).map(move |which| [&[which], text.as_bytes()].concat()));
    write(&directory, "json", json)?;
    write(&directory, "goflow2", [goflow2(false), goflow2(true)])?;
    write(&directory, "avro", avro())?;
    write(&directory, "akvorado", [akvorado()])
}

fn write(
    directory: &Path,
    target: &str,
    seeds: impl IntoIterator<Item = Vec<u8>>,
) -> io::Result<()> {
    let directory = directory.join(target);
    fs::create_dir_all(&directory)?;
    for (place, seed) in seeds.into_iter().enumerate() {
        fs::write(directory.join(format!("seed-{place:02}")), seed)?;
    }
    Ok(())
}

/// Schemas with messages: pmacct's, and all types.
fn avro() -> [Vec<u8>; 2] {
    let all = r#"{"type": "record", "name": "n.all", "fields": [
        {"name": "a", "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]}},
        {"name": "b", "type": {"type": "fixed", "name": "f", "size": 2}},
        {"name": "label", "type": {"type": "map", "values": "string"}},
        {"name": "tcp_flags", "type": {"type": "array", "items": "string"}},
        {"name": "c", "type": {"type": "record", "name": "r", "fields": [
            {"name": "r", "type": ["null", "r", "e"]}, {"name": "d", "type": "double"}]}},
        {"name": "ip_src", "type": "bytes"}, {"name": "f", "type": "float"},
        {"name": "t", "type": "boolean"}, {"name": "bytes", "type": ["null", "int"]}]}"#;
    let mut datum = vec![2, b'x', b'y', 2, 2, b'k', 2, b'v', 0, 3, 8, 6];
    datum.extend(b"SYN\0\0");
    datum.extend([0; 8]);
    datum.extend([8, 192, 0, 2, 1, 0, 0, 0x80, 0x3f, 1, 2, 20]);
    let flow = registry::datum("edge1", 64512, 15169, 1500);
    [(registry::FLOWS, flow.repeat(2)), (all, datum)].map(|(schema, message)| {
        [&(schema.len() as u16).to_be_bytes()[..], schema.as_bytes(), &message].concat()
    })
}

/// A step of an exchange.
fn step(what: u8, who: u8, content: &[u8]) -> Vec<u8> {
    [&[what, who], &(content.len() as u16).to_be_bytes()[..], content].concat()
}

/// A message without the version, which the target puts in front: v9, IPFIX and v5 in this order.
fn message(who: u8, bytes: &[u8]) -> Vec<u8> {
    let what = match bytes[1] {
        9 => 0,
        10 => 1,
        _ => 2,
    };
    step(what, who, &bytes[2..])
}

const RESTART: u8 = 0xf0;
const OTHER_PLAN: u8 = 0xf8;

fn netflow_exchanges() -> Vec<Vec<u8>> {
    let flows =
        Template::new(256, [(8, 4), (12, 4), (1, 4), (2, 4), (7, 2), (11, 2), (4, 1), (48, 1)]);
    let more = Template::new(
        300,
        [(27, 16), (28, 16), (1, 8), (2, 8), (16, 4), (17, 4), (10, 4), (14, 4), (61, 1), (56, 6)],
    );
    let texts = Template::new(301, [(85, 8), (82, VARIABLE), (96, VARIABLE), (8, 4), (12, 4)]);
    let firewall =
        Template::new(302, [(0, 8, 4), (0, 12, 4), (0, 231, 4), (0, 232, 4), (0, 233, 1)]);
    let enterprise = Template::new(303, [(29305, 1, 8), (0, 1, 8), (9, 12235, VARIABLE)]);
    let samplers = Template::options(512, [(1, 4)], [(48, 1), (49, 1), (50, 4)]);
    let selectors = Template::options(515, [(302, 8)], [(304, 2), (305, 4), (306, 4)]);
    let of_template = Template::options(513, [(5, 2)], [(34, 4)]);
    let names = Template::options(514, [(2, 4)], [(82, 16), (83, 16)]);
    let record = [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv4Addr::new(198, 51, 100, 2).into(),
        Value::Number(1500),
        Value::Number(3),
        Value::Number(443),
        Value::Number(50_000),
        Value::Number(6),
        Value::Number(1),
    ];
    let numbers: Vec<_> = (1..20).map(Value::Number).collect();
    let strings = [7.into(), "eth0".into(), Value::LongBytes(b"some text".to_vec())];
    let mut exchanges = Vec::new();
    for new in [Message::v9, Message::ipfix] {
        let templates = || new().template(&flows).template(&more).template(&texts);
        let data = |sequence| {
            let message = new().sequence(sequence).data(&flows, [&record[..], &record]);
            message.data(&more, [&numbers]).data(&texts, [&strings])
        };
        let options = || {
            let message =
                new().template(&samplers).data(&samplers, [[0, 1, 1, 100].map(Value::Number)]);
            let message = message.template(&names).data(&names, [[1.into(), "ge-0/0/1".into()]]);
            message.template(&of_template).data(&of_template, [[256, 30].map(Value::Number)])
        };
        let mut others = new().template(&firewall).template(&selectors);
        if others.version == 10 {
            others = others.template(&enterprise);
        }
        let others = others
            .data(&firewall, [&numbers])
            .data(&selectors, [&numbers])
            .data(&enterprise, [&numbers]);
        let swap = step(OTHER_PLAN, 0, &[]);
        let restart = step(RESTART, 0, &[]);
        exchanges.push([message(0, &templates().bytes()), message(0, &data(1).bytes())].concat());
        exchanges.push(
            [message(1, &data(0).bytes()), message(1, &templates().sequence(1).bytes())].concat(),
        );
        exchanges.push(
            [
                message(2, &templates().bytes()),
                message(2, &options().sequence(1).bytes()),
                message(2, &data(2).bytes()),
                restart.clone(),
                message(2, &data(3).bytes()),
                swap,
                message(2, &data(4).bytes()),
                message(2, &data(4).bytes()),
            ]
            .concat(),
        );
        exchanges.push(
            [message(4, &others.bytes()), restart, message(4, &others.sequence(1).bytes())]
                .concat(),
        );
    }
    let withdrawn = Message::ipfix().template(&flows).set(2, &[1, 0, 0, 0]).set(2, &[0, 2, 0, 0]);
    exchanges.push(message(0, &withdrawn.bytes()));
    let v5 = V5::new([V5Flow::default(), V5Flow::default()]);
    let next = V5 { sequence: 2, sampling: 1 << 14 | 100, ..v5.clone() };
    exchanges.push([message(1, &v5.bytes()), message(2, &next.bytes())].concat());
    exchanges
}

fn packets() -> Vec<Vec<u8>> {
    let segment = packet::tcp((443, 50_000), 0x12);
    let tcp = packet::Ipv4 { protocol: packet::TCP, ..packet::Ipv4::default() }.bytes(&segment);
    let udp = packet::ipv6(packet::UDP, &packet::udp((53, 4000), b"content"));
    let hop =
        packet::ipv6(0, &[&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9][..], &udp].concat());
    vec![
        packet::ethernet(packet::IPV4, &tcp),
        packet::ethernet(packet::IPV6, &udp),
        packet::ethernet(
            packet::VLAN,
            &packet::vlan(7, packet::MPLS, &packet::mpls(&[16, 17], &tcp)),
        ),
        packet::ethernet(packet::PPPOE, &packet::pppoe(0x21, &tcp)),
        packet::mpls(&[18], &packet::ethernet(packet::IPV4, &tcp)),
        [&[0xff, 0x03, 0x00, 0x21][..], &tcp].concat(),
        packet::vlan(9, packet::IPV6, &hop),
        tcp,
        udp,
        hop,
    ]
}

fn sflow_exchanges() -> Vec<Vec<u8>> {
    let datagram = |datagram: &Sflow| step(0, 0, &datagram.bytes()[4..]);
    let mut exchanges: Vec<_> = packets()
        .iter()
        .map(|packet| {
            let sample = FlowSample::new([sflow::frame(packet)]);
            let expanded = FlowSample { is_expanded: true, sequence: 2, ..sample.clone() };
            let first = Sflow::new([sample.bytes(), expanded.bytes()]);
            let next = Sflow { sequence: 2, ..first.clone() };
            [datagram(&first), step(OTHER_PLAN, 0, &[]), datagram(&next)].concat()
        })
        .collect();
    let ip = sflow::IpRecord {
        length: 1500,
        protocol: 6,
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        destination: Ipv4Addr::new(198, 51, 100, 2).into(),
        ports: (443, 50_000),
        tcp_flags: 0x12,
        traffic_class: 0xb8,
    };
    let records = [ip.record(), sflow::ethernet(1500, 0x0800)];
    let sample = FlowSample::new(records.clone()).bytes();
    let counters = sflow::sample(2, &[0; 16]);
    exchanges.push(datagram(&Sflow::new([sample, counters])));
    exchanges
}

/// A snapshot, with its length in front, and datagrams.
fn snapshots() -> Vec<Vec<u8>> {
    let number = |out: &mut Vec<u8>, field: u64, value: u64| {
        encode_varint(field << 3, out);
        encode_varint(value, out);
    };
    let bytes = |out: &mut Vec<u8>, field: u64, value: &[u8]| {
        encode_varint(field << 3 | 2, out);
        encode_varint(value.len() as u64, out);
        out.extend(value);
    };
    let (mut fields, mut ports) = (Vec::new(), Vec::new());
    for field in [8_u64 << 16 | 4, 12 << 16 | 4, 1 << 16 | 4] {
        encode_varint(field, &mut fields);
    }
    encode_varint(2055, &mut ports);
    let (mut template, mut place, mut stream) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut template, 1, 256);
    bytes(&mut template, 3, &ports);
    bytes(&mut template, 4, &fields);
    number(&mut place, 1, 2055);
    number(&mut place, 2, 5);
    number(&mut stream, 1, 9);
    number(&mut stream, 2, 0);
    bytes(&mut stream, 3, &template);
    bytes(&mut stream, 4, &place);
    let (mut rate, mut name, mut exporter) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut rate, 2, 100);
    number(&mut rate, 3, 1);
    number(&mut name, 1, 1);
    bytes(&mut name, 4, b"ge-0/0/1");
    bytes(&mut exporter, 1, &[203, 0, 113, 0]);
    bytes(&mut exporter, 2, &stream);
    bytes(&mut exporter, 3, &rate);
    bytes(&mut exporter, 4, &name);
    let mut snapshot = Vec::new();
    number(&mut snapshot, 1, 1);
    bytes(&mut snapshot, 2, &exporter);
    let known = Template::new(256, [(8, 4), (12, 4), (1, 4)]);
    let data = Message::v9().sequence(5).data(&known, [[1, 2, 3].map(Value::Number)]);
    let length = (snapshot.len() as u16).to_be_bytes();
    vec![[&length[..], &snapshot, &message(0, &data.bytes())].concat()]
}

fn captures() -> Vec<Vec<u8>> {
    let datagram = packet::udp((4000, 2055), &V5::new([V5Flow::default()]).bytes());
    let whole = packet::ethernet(packet::IPV4, &packet::Ipv4::default().bytes(&datagram));
    let (first, second) = datagram.split_at(40);
    let fragment = |fragment, bytes: &[u8]| {
        let header = packet::Ipv4 { fragment, ..packet::Ipv4::default() };
        packet::ethernet(packet::IPV4, &header.bytes(bytes))
    };
    let packets = [whole, fragment(0x2000, first), fragment(5, second)];
    let pcap = capture::Pcap::default();
    let big = capture::Pcap { is_big_endian: true, has_nanoseconds: true, ..pcap };
    let little = capture::Pcapng { is_big_endian: false, interfaces: vec![(1, 6), (1, 9)] };
    let other = capture::Pcapng { is_big_endian: true, ..little.clone() };
    let captures =
        [pcap.bytes(&packets), big.bytes(&packets), little.bytes(&packets), other.bytes(&packets)];
    captures.map(|capture| [&[30], &capture[..]].concat()).into()
}

const PMACCT: [&str; 6] = [
    r#"{"event_type": "purge", "label": "edge-1", "as_src": 64512, "as_dst": 15169, "packets": 3, "bytes": 1500}"#,
    r#"{"event_type": "purge", "label": {"a": "b", "c": "d"}, "as_src": "64512", "bytes": "15"}
{"event_type": "purge_close", "writer_id": "x/1", "total_entries": 2}"#,
    r#"[{"ip_src": "192.0.2.1", "mask_src": 24, "port_src": 443, "ip_proto": "tcp", "bytes": 1},
{"net_dst": "2001:db8::/32", "tcp_flags": "18", "tos": 184, "sampling_direction": "i", "bytes": 2}]"#,
    r#"{"comms": "64512:1_64512:2", "as_path": "64512_15169", "vlan": 7, "iface_in": 4294967295, "bytes": 1e3}"#,
    r#"{"a": [1, -2.5e-3, null, true, {"b": "\u00e4\ud83d\ude00\n"}], "timestamp_start": "2026-01-01", "bytes": 9}"#,
    "{}\n\n[]",
];

const JSON: [&str; 5] = [
    r#"{"type":"IPFIX","sampling_rate":100,"flow_direction":0,"sampler_address":"192.0.2.1","bytes":9000,
"packets":10,"src_addr":"198.51.100.77","dst_addr":"203.0.113.9","proto":"TCP","src_port":443,"in_if":12,
"src_net":25,"bgp_communities":[4227858433],"as_path":[3356,15169],"ip_tos":184,"tcp_flags":27}"#,
    r#"{"Type":"SFLOW_5","SamplingRate":100,"SamplerAddress":"192.0.2.1","Bytes":9000,"SrcAs":64512,"VlanId":7}"#,
    r#"{"d": 5, "flows": [{"n": {"b": 7, "as": {"s": 64512}}, "s": "192.0.2.1"}, {"n.b": 9, "n.as": {"s": 1}}]}"#,
    r#"{"a": {"b": [[{"k": "b", "v": 3}, {"k": "n.as.s", "v": "64512"}], [{"v": 1, "k": "c"}]]}, "m": 24}"#,
    r#"[{"b": 1.5, "t": "SA", "p": 17, "r": 0}, {"b": "9", "c": ["1:2", 7]}]"#,
];

/// A message, bare or behind its length.
fn goflow2(is_delimited: bool) -> Vec<u8> {
    let mut message = Vec::new();
    let numbers =
        [(1, 4), (3, 100), (9, 9000), (10, 10), (13, 3356), (14, 15169), (16, 25), (20, 6)];
    for (field, number) in numbers {
        encode_varint(field << 3, &mut message);
        encode_varint(number, &mut message);
    }
    let lists: [(u64, &[u8]); 4] =
        [(6, &[198, 51, 100, 77]), (7, &[0; 16]), (11, &[192, 0, 2, 1]), (102, &[0x9c, 0x1a, 7])];
    for (field, bytes) in lists {
        encode_varint(field << 3 | 2, &mut message);
        encode_varint(bytes.len() as u64, &mut message);
        message.extend(bytes);
    }
    let mut out = Vec::new();
    if is_delimited {
        encode_varint(message.len() as u64, &mut out);
    }
    out.extend(message);
    out
}

/// A message with a datagram of NetFlow v5.
fn akvorado() -> Vec<u8> {
    let datagram = V5::new([V5Flow::default()]).bytes();
    let mut message = Vec::new();
    encode_varint(1 << 3, &mut message);
    encode_varint(1_700_000_000, &mut message);
    for (field, bytes) in [(2, &datagram[..]), (3, &[203, 0, 113, 1])] {
        encode_varint(field << 3 | 2, &mut message);
        encode_varint(bytes.len() as u64, &mut message);
        message.extend(bytes);
    }
    message
}
