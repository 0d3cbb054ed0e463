//! Flows of two directions in a record, and the events of firewalls.

use std::net::Ipv4Addr;

use flow_exporter::{flow::Skipped, schema::Field};
use testkit::netflow::{Field as TemplateField, Message, Template, Value};

use super::{Decoding, Flow};

/// Enterprise of the elements of the other direction (RFC 5103).
const REVERSE: u32 = 29305;

/// Both ends of a flow, each with everything that an end has.
const ENDS: [(u16, u16); 12] = [
    (8, 4),
    (12, 4),
    (7, 2),
    (11, 2),
    (16, 4),
    (17, 4),
    (128, 4),
    (129, 4),
    (9, 1),
    (13, 1),
    (10, 4),
    (14, 4),
];

fn ends() -> Vec<Value> {
    let addresses = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 2)];
    let numbers = [1000, 443, 64501, 64502, 64504, 64503, 24, 25, 3, 4].map(Value::Number);
    addresses.map(Value::from).into_iter().chain(numbers).collect()
}

/// The flows of a record with both ends and these fields.
fn flows(fields: &[(TemplateField, u64)]) -> Vec<Flow> {
    let ends_of = ENDS.iter().map(|field| TemplateField::from(*field));
    let template = Template::new(256, ends_of.chain(fields.iter().map(|(field, _)| *field)));
    let values = fields.iter().map(|(_, number)| Value::Number(*number));
    let values: Vec<_> = ends().into_iter().chain(values).collect();
    let mut decoding = Decoding::new();
    decoding.decode(&Message::ipfix().template(&template).data(&template, [values]).bytes());
    assert_eq!(decoding.skipped, []);
    decoding.take()
}

fn iana(number: u16) -> TemplateField {
    (number, 4).into()
}

fn reverse(number: u16) -> TemplateField {
    (REVERSE, number, 4).into()
}

/// Asserts that the first one is the flow of [`ends`], and that the second one goes the other way.
fn assert_opposite(flows: &[Flow]) {
    let pairs = [
        (Field::SourceAddress, Field::DestinationAddress, ["192.0.2.1", "198.51.100.2"]),
        (Field::SourcePort, Field::DestinationPort, ["1000", "443"]),
        (Field::SourceAs, Field::DestinationAs, ["64501", "64502"]),
        (Field::SourcePeerAs, Field::DestinationPeerAs, ["64503", "64504"]),
        (Field::SourceMask, Field::DestinationMask, ["24", "25"]),
        (Field::SourceNetwork, Field::DestinationNetwork, ["192.0.2.0", "198.51.100.0"]),
        (Field::InputInterface, Field::OutputInterface, ["3", "4"]),
    ];
    let [forward, backward] = flows else { panic!("two flows: {flows:?}") };
    for (from, to, [source, destination]) in pairs {
        assert_eq!([forward.get(&from), forward.get(&to)], [source, destination], "{from:?}");
        assert_eq!([backward.get(&from), backward.get(&to)], [destination, source], "{from:?}");
    }
}

fn all(flows: &[Flow], field: &Field) -> Vec<String> {
    flows.iter().map(|flow| flow.get(field).to_owned()).collect()
}

#[test]
fn a_flow_of_two_directions_is_two_flows() {
    let flows = flows(&[
        (iana(1), 600),
        (iana(2), 5),
        (iana(6), 2),
        (iana(61), 0),
        (iana(5), 0xb8),
        (reverse(1), 7000),
        (reverse(2), 8),
        (reverse(6), 18),
    ]);
    assert_opposite(&flows);
    assert_eq!(all(&flows, &Field::Bytes), ["600", "7000"]);
    assert_eq!(all(&flows, &Field::Packets), ["5", "8"]);
    assert_eq!(all(&flows, &Field::TcpFlags), ["2", "18"]);
    assert_eq!(all(&flows, &Field::TrafficClass), ["184", ""]);
    assert_eq!(all(&flows, &Field::FlowDirection), ["0", "0"]);
}

#[test]
fn a_direction_without_bytes_is_none() {
    let flows = flows(&[(iana(1), 600), (reverse(1), 0)]);
    assert_eq!(all(&flows, &Field::Bytes), ["600"]);
}

#[test]
fn initiator_and_responder_are_two_flows_and_count_instead_of_others() {
    for fields in [
        &[(iana(231), 525), (iana(232), 64234), (iana(298), 5), (iana(299), 70)][..],
        &[
            (iana(231), 525),
            (iana(232), 64234),
            (iana(1), 99),
            (iana(2), 9),
            (iana(298), 5),
            (iana(299), 70),
        ],
    ] {
        let flows = flows(fields);
        assert_opposite(&flows);
        assert_eq!(all(&flows, &Field::Bytes), ["525", "64234"]);
        assert_eq!(all(&flows, &Field::Packets), ["5", "70"]);
    }
    // Packets of another counter would be those of both.
    let flows = flows(&[(iana(231), 525), (iana(232), 64234), (iana(2), 9)]);
    assert_eq!(all(&flows, &Field::Packets), ["", ""]);
}

#[test]
fn a_responder_alone_is_no_direction() {
    // Huawei.
    let only = flows(&[(iana(1), 200), (iana(232), 0)]);
    assert_eq!(all(&only, &Field::Bytes), ["200"]);
    let zeros = flows(&[(iana(231), 0), (iana(232), 0), (iana(1), 200)]);
    assert_eq!(all(&zeros, &Field::Bytes), ["200"]);
    let backward = flows(&[(iana(231), 0), (iana(232), 77)]);
    assert_eq!(all(&backward, &Field::Bytes), ["0", "77"]);
}

/// The records of a firewall: event, bytes of initiator and responder.
fn events(decoding: &mut Decoding, template: &Template, records: &[[u64; 4]]) {
    let records = records.iter().map(|record| record.map(Value::Number));
    decoding.send(Message::v9().data(template, records));
}

#[test]
fn a_firewall_with_updates_counts_these_and_not_the_totals_at_the_end() {
    let template = Template::new(256, [(233, 1), (33002, 2), (231, 4), (232, 4)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&template));
    let records = [[1, 0, 0, 0], [5, 0, 100, 2000], [5, 0, 50, 0], [2, 0, 150, 2000], [3, 0, 0, 0]];
    events(&mut decoding, &template, &records);
    assert_eq!(all(&decoding.take(), &Field::Bytes), ["100", "2000", "50"]);
    assert_eq!(decoding.skipped, [Skipped::NoBytes; 3]);
}

#[test]
fn an_old_firewall_has_no_updates_so_the_end_counts() {
    let template = Template::new(256, [(40005, 1), (33002, 2), (85, 4)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&template));
    let records = [[1, 0, 0, 0], [2, 0, 2150, 0], [3, 0, 0, 0]]
        .map(|[event, code, bytes, _]| [event, code, bytes].map(Value::Number));
    decoding.send(Message::v9().data(&template, records));
    assert_eq!(all(&decoding.take(), &Field::Bytes), ["2150"]);
    // After an upgrade.
    let newer = Template::new(257, [(233, 1), (33002, 2), (231, 4), (232, 4)]);
    decoding.send(Message::v9().template(&newer));
    let records = [[2, 0, 150].map(Value::Number)];
    decoding.send(Message::v9().data(&template, records));
    assert_eq!(decoding.take(), []);
}

#[test]
fn a_firewall_is_not_sampled_whatever_its_options_say() {
    let rate = Template::options(512, [(1, 4)], [(34, 4)]);
    let template = Template::new(256, [(233, 1), (33002, 2), (231, 4), (232, 4)]);
    let mut decoding = Decoding::new();
    let message = Message::v9().template(&rate).template(&template);
    decoding.send(message.data(&rate, [[0, 100].map(Value::Number)]));
    events(&mut decoding, &template, &[[5, 0, 100, 0]]);
    assert_eq!(all(&decoding.take(), &Field::SamplingRate), ["1"]);
}

#[test]
fn events_of_others_are_ordinary_flows() {
    // Palo Alto, Barracuda.
    let template = Template::new(256, [(233, 1), (1, 4)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&template));
    let records = (1..=5).map(|event| [event, 100].map(Value::Number));
    decoding.send(Message::v9().data(&template, records));
    assert_eq!(all(&decoding.take(), &Field::Bytes), ["100"; 5]);
}
