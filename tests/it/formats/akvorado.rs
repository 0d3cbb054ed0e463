//! Datagrams in the messages of akvorado's inlet.

use std::net::Ipv4Addr;

use flow_exporter::{
    flow::datagram::{ExporterSettings, Settings},
    schema::Dimension,
};
use testkit::netflow::{self, Template, Value};

use super::{protobuf::Message, *};

/// A datagram of NetFlow v5 with one flow to our AS, of packets of which one in 100 is sampled.
fn datagram(bytes: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    // Version, flows; uptime, seconds, nanoseconds, flows before; engine, rate with its mode.
    datagram.extend([0, 5, 0, 1]);
    datagram.extend([0; 16]);
    datagram.extend([0, 0, 0x40, 100]);
    datagram.extend([198, 51, 100, 77, 203, 0, 113, 9, 192, 0, 2, 254]);
    // Interfaces, packets, bytes, times.
    datagram.extend([0, 12, 0, 13, 0, 0, 0, 10]);
    datagram.extend(bytes.to_be_bytes());
    datagram.extend([0; 8]);
    // Ports, padding, flags, protocol, tos, ASes, masks, padding.
    datagram.extend([1, 187, 0xc7, 0x64, 0, 27, 6, 0]);
    datagram.extend([0x3b, 0x41, 0xfc, 0, 25, 24, 0, 0]);
    assert_eq!(datagram.len(), 72);
    datagram
}

/// As akvorado's inlet writes it.
pub(super) fn message(bytes: u32) -> Message {
    message_of(&datagram(bytes))
}

/// The message with a datagram of 192.0.2.1.
fn message_of(datagram: &[u8]) -> Message {
    let mut source = [0; 16];
    source[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    Message::default().number(1, 1_790_000_000).bytes(2, datagram).bytes(3, &source).number(5, 1)
}

#[test]
fn datagrams_are_decoded_and_multiplied_by_their_rate() {
    assert_eq!(counted(counting(), &message(1000).0), [100_000, 1000]);
}

#[test]
fn the_exporter_is_who_sent_the_datagram() {
    let view = View::new("test", &[Dimension::Exporter], &[Class::Receive], &[Measure::Bytes]);
    let schema = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(&schema, counting());
    let mut counts = Counts::new(schema);
    pipeline.message(&message(7).0, &mut counts, |_, _| panic!("it can be decoded"));
    // What exporters said outlives a change of the views.
    pipeline.change(counts.schema(), counting());
    pipeline.message(&message(8).0, &mut counts, |_, _| panic!("it can be decoded"));
    assert_eq!(counts.messages, 2);
    assert_eq!(counts.series().count(), 1, "one exporter");
    assert_eq!(counts.counted.bytes, 1500);
}

#[test]
fn the_exporter_is_whom_the_datagram_names_if_its_sender_is_a_mediator() {
    let template = Template::new(256, [(1, 4), (16, 4), (17, 4), (130, 4)]);
    let flows = [1, 2, 1].map(|router| {
        let numbers = [7, 15169, 64512].map(Value::Number);
        [&numbers[..], &[Ipv4Addr::new(198, 51, 100, router).into()]].concat()
    });
    let datagram = netflow::Message::ipfix().template(&template).data(&template, flows);
    let series = |names_exporters| {
        let mediator = ExporterSettings {
            netflow_names_exporters: Some(names_exporters),
            ..ExporterSettings::default()
        };
        let exporters = Settings::new([("192.0.2.1/32".parse().unwrap(), mediator)]);
        let view = View::new("test", &[Dimension::Exporter], &[Class::Receive], &[Measure::Bytes]);
        let schema = Arc::new(Schema::new(vec![view]));
        let mut pipeline = Pipeline::new(&schema, Counting { exporters, ..counting() });
        let mut counts = Counts::new(schema);
        let message = message_of(&datagram.bytes());
        pipeline.message(&message.0, &mut counts, |_, _| panic!("it can be decoded"));
        assert_eq!(counts.counted.bytes, 21);
        counts.series().count()
    };
    assert_eq!(series(true), 2);
    assert_eq!(series(false), 1);
}

#[test]
fn a_message_without_a_datagram_or_a_sender_is_counted_as_malformed() {
    let formats = Formats::default().pinned("akvorado").expect("a format");
    let pinned = Counting { formats, ..counting() };
    let whole = message(1000).0;
    for broken in [
        Message::default().number(1, 5).bytes(2, &datagram(5)),
        Message::default().number(1, 5).bytes(3, &[1; 16]),
        message(5).bytes(3, &[1; 5]),
        Message(whole[..50].to_vec()),
    ] {
        let (counts, malformed) = count(pinned.clone(), &[&broken.0]);
        assert_eq!(counts.malformed[Malformed::Syntax.index()], 1);
        assert_eq!(malformed.len(), 1);
    }
    // A datagram that can't be read is the exporter's matter.
    let unknown = Message::default().number(1, 5).bytes(2, b"\0\x07datagram").bytes(3, &[1; 16]);
    let (counts, malformed) = count(pinned, &[&unknown.0]);
    assert_eq!((counts.counted.flows, malformed.len()), (0, 0));
}
