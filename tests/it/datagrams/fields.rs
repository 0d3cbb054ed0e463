//! NetFlow v9 and IPFIX: from the fields of templates to the fields of flows.

use std::net::{Ipv4Addr, Ipv6Addr};

use flow_exporter::{
    flow::{Plan, Skipped, datagram::Settings},
    schema::Field,
};
use testkit::{
    netflow::{Field as TemplateField, Message, Template, VARIABLE, Value},
    packet::{Ipv4, ethernet, tcp, vlan},
};

use super::{Decoding, Flow};

/// The only flow of a template and a record, by v9 and by IPFIX, which must agree.
fn flow<F: Into<TemplateField>>(fields: impl IntoIterator<Item = F>, values: &[Value]) -> Flow {
    let template = Template::new(256, fields);
    let flows = [Message::v9(), Message::ipfix()].map(|message| {
        let mut decoding = Decoding::new();
        decoding.decode(&message.template(&template).data(&template, [values]).bytes());
        let [flow] = &decoding.take()[..] else { panic!("one flow") };
        flow.clone()
    });
    assert_eq!(flows[0], flows[1]);
    flows[0].clone()
}

/// The value of a field, where the template has these elements with these values, and IE 1.
fn value(field: &Field, elements: &[(u16, Value)]) -> String {
    let fields = elements.iter().map(|(number, value)| {
        let length = match value {
            Value::Bytes(bytes) => bytes.len() as u16,
            _ => 4,
        };
        TemplateField::from((*number, length))
    });
    let fields = fields.chain([(1, 4).into()]);
    let values = elements.iter().map(|(_, value)| value.clone()).chain([Value::Number(1)]);
    flow(fields, &values.collect::<Vec<_>>()).get(field).to_owned()
}

fn v4(last: u8) -> Value {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(last: u16) -> Value {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

#[test]
fn every_element_goes_where_it_belongs() {
    let cases = [
        (1, Field::Bytes),
        (2, Field::Packets),
        (3, Field::Flows),
        (5, Field::TrafficClass),
        (7, Field::SourcePort),
        (10, Field::InputInterface),
        (11, Field::DestinationPort),
        (14, Field::OutputInterface),
        (16, Field::SourceAs),
        (17, Field::DestinationAs),
        (23, Field::Bytes),
        (24, Field::Packets),
        (58, Field::Vlan),
        (86, Field::Packets),
        (128, Field::DestinationPeerAs),
        (129, Field::SourcePeerAs),
        (180, Field::SourcePort),
        (181, Field::DestinationPort),
        (182, Field::SourcePort),
        (183, Field::DestinationPort),
        (243, Field::Vlan),
        (252, Field::InputInterface),
        (253, Field::OutputInterface),
        (4, Field::Protocol),
        (6, Field::TcpFlags),
        (9, Field::SourceMask),
        (13, Field::DestinationMask),
        (29, Field::SourceMask),
        (30, Field::DestinationMask),
    ];
    for (number, field) in cases {
        let flow = flow([(number, 4), (1, 4)], &[Value::Number(77)]);
        let numbers: Vec<_> = flow.0.iter().filter(|(_, value)| value == "77").collect();
        assert_eq!(numbers, [&(field, "77".to_owned())], "{number}");
    }
    let addresses = [
        (8, Field::SourceAddress),
        (12, Field::DestinationAddress),
        (44, Field::SourceNetwork),
        (45, Field::DestinationNetwork),
    ];
    for (number, field) in addresses {
        assert_eq!(value(&field, &[(number, v4(1))]), "192.0.2.1", "{number}");
    }
    let addresses = [
        (27, Field::SourceAddress),
        (28, Field::DestinationAddress),
        (170, Field::SourceNetwork),
        (169, Field::DestinationNetwork),
    ];
    for (number, field) in addresses {
        assert_eq!(value(&field, &[(number, v6(1))]), "2001:db8::1", "{number}");
    }
}

#[test]
fn integers_may_have_any_length_from_one_to_eight_bytes() {
    let numbers = [1, 2, 7, 10, 16];
    let fields =
        [Field::Bytes, Field::Packets, Field::SourcePort, Field::InputInterface, Field::SourceAs];
    for length in 1..=8 {
        let values = [0xf1, 0xf2, 0xf3, 0xf4, 0xf5].map(Value::Number);
        let flow = flow(numbers.map(|number| (number, length)), &values);
        for (field, expected) in fields.iter().zip(0xf1..) {
            assert_eq!(flow.get(field), expected.to_string(), "{field:?} in {length} bytes");
        }
    }
    let bytes = 0x0102_0304_0506_0708_u64;
    for length in 1..=8 {
        let expected = if length == 8 { bytes } else { bytes & ((1 << (length * 8)) - 1) };
        let flow = flow([(1, length)], &[Value::Number(bytes)]);
        assert_eq!(flow.get(&Field::Bytes), expected.to_string(), "{length} bytes");
    }
}

#[test]
fn a_number_that_is_too_large_for_its_field_makes_the_record_malformed() {
    for (number, length) in [(1, 8), (16, 8), (7, 4), (9, 1)] {
        let template = Template::new(256, [(number, length), (1, 4)]);
        let mut decoding = Decoding::new();
        let values = [Value::Number(u64::MAX)];
        decoding.decode(&Message::v9().template(&template).data(&template, [values]).bytes());
        assert_eq!(decoding.malformed, 1, "{number}");
        assert_eq!(decoding.take(), []);
    }
}

#[test]
fn fields_may_have_lengths_of_their_own() {
    let long = "x".repeat(300);
    for name in ["", "a", &long] {
        for name in [Value::Bytes(name.into()), Value::LongBytes(name.into())] {
            // Behind it, between, and as an integer.
            let fields = [(96, VARIABLE), (1, 4), (82, VARIABLE), (7, 2), (16, VARIABLE), (4, 1)];
            let values = [
                name.clone(),
                Value::Number(600),
                name,
                Value::Number(443),
                Value::Number(64512),
                Value::Number(6),
            ];
            let flow = flow(fields, &values);
            let found = [Field::Bytes, Field::SourcePort, Field::SourceAs, Field::Protocol]
                .map(|field| flow.get(&field).to_owned());
            assert_eq!(found, ["600", "443", "64512", "6"]);
        }
    }
}

#[test]
fn one_counter_of_bytes_counts_and_never_two() {
    let cases: [(&[(u16, u64)], &str); 10] = [
        (&[(1, 700), (23, 700)], "700"),
        (&[(23, 700), (1, 600)], "600"),
        // What goes out is counted apart.
        (&[(1, 0), (23, 700)], "700"),
        (&[(1, 700), (23, 0)], "700"),
        (&[(23, 700)], "700"),
        (&[(352, 800), (23, 700)], "700"),
        (&[(352, 800), (85, 9000)], "800"),
        (&[(85, 9000)], "9000"),
        (&[(85, 9000), (1, 700)], "700"),
        // A flow in which nothing was seen since the last record.
        (&[(1, 0), (85, 9000)], "0"),
    ];
    for (counters, expected) in cases {
        let counters: Vec<_> =
            counters.iter().map(|(number, value)| (*number, Value::Number(*value))).collect();
        assert_eq!(value(&Field::Bytes, &[]), "1");
        let fields: Vec<_> = counters.iter().map(|(number, _)| (*number, 4)).collect();
        let values: Vec<_> = counters.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(flow(fields, &values).get(&Field::Bytes), expected, "{counters:?}");
    }
}

#[test]
fn a_field_of_no_bytes_is_not_there() {
    let flow = flow([(1, 0), (23, 4), (16, 0), (0, 0)], &[Value::Number(0), Value::Number(700)]);
    assert_eq!((flow.get(&Field::Bytes), flow.get(&Field::SourceAs)), ("700", ""));
}

#[test]
fn of_equal_elements_the_innermost_counts_for_addresses_ports_and_protocol() {
    let twice = |number, field, expected: &str| {
        assert_eq!(
            value(&field, &[(number, Value::Number(1)), (number, Value::Number(2))]),
            expected,
            "{field:?}"
        );
    };
    twice(7, Field::SourcePort, "2");
    twice(11, Field::DestinationPort, "2");
    twice(4, Field::Protocol, "2");
    twice(16, Field::SourceAs, "1");
    twice(10, Field::InputInterface, "1");
    assert_eq!(value(&Field::SourceAddress, &[(8, v4(1)), (8, v4(2))]), "192.0.2.2");
    assert_eq!(value(&Field::DestinationAddress, &[(28, v6(1)), (28, v6(2))]), "2001:db8::2");
}

#[test]
fn a_template_with_both_families_gives_the_address_that_is_there() {
    let any: (Value, Value) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    assert_eq!(value(&Field::SourceAddress, &[(8, v4(1)), (27, any.1.clone())]), "192.0.2.1");
    assert_eq!(value(&Field::SourceAddress, &[(27, any.1), (8, v4(1))]), "192.0.2.1");
    assert_eq!(value(&Field::SourceAddress, &[(8, any.0.clone()), (27, v6(1))]), "2001:db8::1");
    assert_eq!(
        value(
            &Field::SourceMask,
            &[(8, any.0), (9, Value::Number(0)), (27, v6(1)), (29, Value::Number(48))]
        ),
        "48"
    );
}

#[test]
fn networks_are_made_of_an_address_and_a_length_where_records_have_no_prefix() {
    let of = |elements: &[(u16, Value)]| value(&Field::SourceNetwork, elements);
    assert_eq!(of(&[(8, v4(99)), (9, Value::Number(27))]), "192.0.2.96");
    assert_eq!(of(&[(8, v4(99)), (9, Value::Number(0))]), "0.0.0.0");
    assert_eq!(of(&[(8, v4(99))]), "", "without a length there is no network");
    assert_eq!(of(&[(27, v6(99)), (29, Value::Number(32))]), "2001:db8::");
    assert_eq!(of(&[(44, v4(0)), (8, v4(99)), (9, Value::Number(32))]), "192.0.2.0");
    assert_eq!(
        value(&Field::DestinationNetwork, &[(12, v4(99)), (13, Value::Number(31))]),
        "192.0.2.98"
    );
}

#[test]
fn flags_classes_and_directions_are_those_of_other_formats() {
    let number = |number| Value::Number(number);
    assert_eq!(value(&Field::TcpFlags, &[(6, number(0x0112))]), "18");
    assert_eq!(value(&Field::TrafficClass, &[(195, number(46))]), "184");
    assert_eq!(value(&Field::FlowDirection, &[(61, number(0))]), "0");
    assert_eq!(value(&Field::FlowDirection, &[(61, number(1))]), "1");
    assert_eq!(value(&Field::FlowDirection, &[(61, number(255))]), "");
}

#[test]
fn elements_of_enterprises_are_not_those_of_iana() {
    let template =
        Template::new(256, [(9, 1, 4), (0, 1, 4), (35632, 16, 4), (0, 16, 4), (9, 17, VARIABLE)]);
    let values = [1, 600, 2, 64512].map(Value::Number);
    let mut decoding = Decoding::new();
    decoding.decode(&Message::ipfix().template(&template).data(&template, [values]).bytes());
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    let found = [Field::Bytes, Field::SourceAs, Field::DestinationAs];
    assert_eq!(found.map(|field| flow.get(&field).to_owned()), ["600", "64512", ""]);
}

#[test]
fn a_record_may_have_a_packet_in_the_place_of_a_flow() {
    let ip = Ipv4 { protocol: 6, ..Ipv4::default() }.bytes(&tcp((1000, 443), 0x12));
    let frame = ethernet(0x8100, &vlan(7, 0x0800, &ip));
    let length = ip.len() as u64;
    let cases = [
        (Message::v9(), [(103, 2), (104, 128)], frame.clone()),
        (Message::ipfix(), [(312, 2), (315, VARIABLE)], frame),
        (Message::ipfix(), [(224, 2), (313, VARIABLE)], ip),
    ];
    for (message, [size, content], bytes) in cases {
        let template = Template::new(256, [(10, 4), size, content, (34, 4)]);
        let values =
            [Value::Number(3), Value::Number(length + 18), Value::Bytes(bytes), Value::Number(100)];
        let mut decoding = Decoding::new();
        decoding.send(message.template(&template).data(&template, [values]));
        let [flow] = &decoding.take()[..] else { panic!("one flow") };
        let found = [
            Field::Bytes,
            Field::Packets,
            Field::SourceAddress,
            Field::DestinationPort,
            Field::TcpFlags,
            Field::InputInterface,
            Field::SamplingRate,
        ];
        let length = length.to_string();
        let expected = [&length, "1", "192.0.2.1", "443", "18", "3", "100"];
        assert_eq!(found.map(|field| flow.get(&field).to_owned()), expected, "{content:?}");
    }
    let template = Template::new(256, [(315, VARIABLE)]);
    let mut decoding = Decoding::new();
    let arp = ethernet(0x0806, &[0; 28]);
    decoding.send(Message::ipfix().template(&template).data(&template, [[Value::Bytes(arp)]]));
    assert_eq!(decoding.skipped, [Skipped::NotIp]);
}

#[test]
fn a_record_without_bytes_is_no_flow() {
    // An event of NAT.
    let template = Template::new(256, [(8, 4), (225, 4), (230, 1), (283, 4)]);
    let mut decoding = Decoding::new();
    let message = Message::ipfix().template(&template);
    decoding.decode(&message.data(&template, vec![[v4(1), v4(2), Value::Number(1)]; 3]).bytes());
    assert_eq!(decoding.skipped, [Skipped::NoBytes; 3]);
    let activity = decoding.activity();
    assert_eq!((decoding.take(), activity.flows, activity.unknown_rate_flows), (vec![], 0, 0));
}

#[test]
fn what_is_not_wanted_is_not_read_and_a_new_plan_keeps_what_exporters_said() {
    let template = Template::new(256, [(1, 4), (16, 8), (7, 2)]);
    // The AS number would be malformed, if anybody asked for it.
    let values = [600, u64::MAX, 443].map(Value::Number);
    let plan = Plan::new([Field::SourcePort]);
    let mut decoding = Decoding::with(plan, Settings::default());
    decoding.decode(&Message::v9().template(&template).data(&template, [&values]).bytes());
    let expected = |fields: &[(Field, &str)]| {
        vec![Flow(fields.iter().map(|(field, value)| (field.clone(), (*value).into())).collect())]
    };
    assert_eq!(decoding.take(), expected(&[(Field::Bytes, "600"), (Field::SourcePort, "443")]));

    decoding.plan = Plan::new([Field::Hostname]);
    decoding.datagrams.set_plan(&decoding.plan);
    decoding.decode(&Message::v9().sequence(1).data(&template, [&values]).bytes());
    let known = [(Field::Bytes, "600"), (Field::Hostname, "203.0.113.1")];
    assert_eq!(decoding.take(), expected(&known));
}
