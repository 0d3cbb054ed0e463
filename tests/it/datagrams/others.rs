//! The same datagrams by `netflow_parser`, and datagrams that nobody sends.

use std::net::{Ipv4Addr, Ipv6Addr};

use flow_exporter::{
    flow::{Plan, datagram::Settings},
    schema::Field,
};
use netflow_parser::{
    NetflowPacket, NetflowParser,
    variable_versions::{
        field_value::{DataNumber, FieldValue},
        ipfix, v9,
    },
};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use testkit::netflow::{Message, Template, V5, V5Flow, VARIABLE, Value};

use super::Decoding;

/// Elements of which a template has some, by the field that has their value; of what lengths they
/// may be. (`netflow_parser` doesn't read numbers of 5 to 7 bytes as numbers.)
const ELEMENTS: [(Field, u16, &[u16]); 17] = [
    (Field::Bytes, 1, &[1, 2, 3, 4, 8]),
    (Field::Packets, 2, &[1, 2, 3, 4, 8]),
    (Field::Protocol, 4, &[1]),
    (Field::TrafficClass, 5, &[1]),
    (Field::TcpFlags, 6, &[1]),
    (Field::SourcePort, 7, &[2]),
    (Field::DestinationPort, 11, &[2]),
    (Field::SourceAddress, 8, &[4]),
    (Field::DestinationAddress, 28, &[16]),
    (Field::SourceMask, 9, &[1]),
    (Field::InputInterface, 10, &[2, 4]),
    (Field::OutputInterface, 14, &[2, 4]),
    (Field::SourceAs, 16, &[2, 4]),
    (Field::DestinationAs, 17, &[2, 4]),
    (Field::DestinationPeerAs, 128, &[4]),
    (Field::Vlan, 58, &[2]),
    (Field::FlowDirection, 61, &[1]),
];

/// A template of some of these, in any order, and records of it as one number for each field.
fn set() -> impl Strategy<Value = (Vec<(usize, u16)>, Vec<Vec<u64>>)> {
    let places = subsequence((1..ELEMENTS.len()).collect::<Vec<_>>(), 0..ELEMENTS.len());
    let places = places.prop_map(|mut places| {
        places.push(0);
        places
    });
    let fields = (places.prop_shuffle(), vec(any::<prop::sample::Index>(), ELEMENTS.len()));
    let fields = fields.prop_map(|(places, lengths)| {
        let length = |(place, length): (usize, &prop::sample::Index)| {
            let (_, _, lengths) = &ELEMENTS[place];
            (place, lengths[length.index(lengths.len())])
        };
        places.into_iter().zip(&lengths).map(length).collect::<Vec<_>>()
    });
    fields.prop_flat_map(|fields| {
        let record = vec(any::<u64>(), fields.len());
        (Just(fields), vec(record, 1..30))
    })
}

/// A value for an element, as text and as it is sent.
fn value(place: usize, length: u16, number: u64) -> (String, Value) {
    let number = match ELEMENTS[place].0 {
        Field::SourceMask => number % 33,
        Field::FlowDirection => number % 2,
        // Larger ones are refused.
        Field::Bytes | Field::Packets => number >> 1,
        _ => number,
    };
    match ELEMENTS[place].0 {
        Field::SourceAddress => {
            let address = Ipv4Addr::from(number as u32);
            (address.to_string(), address.into())
        }
        Field::DestinationAddress => {
            let address = Ipv6Addr::from(u128::from(number) << 64 | 1);
            (address.to_string(), address.into())
        }
        _ => {
            let kept = if length == 8 { number } else { number & ((1 << (8 * length)) - 1) };
            (kept.to_string(), Value::Number(kept))
        }
    }
}

/// A value of `netflow_parser`'s, as we show it.
fn shown(value: &FieldValue) -> String {
    match value {
        FieldValue::TcpControlBits(bits, _) => u16::from(*bits).to_string(),
        FieldValue::ProtocolType(protocol) => u8::from(*protocol).to_string(),
        FieldValue::Ip4Addr(address) => address.to_string(),
        FieldValue::Ip6Addr(address) => address.to_string(),
        FieldValue::DataNumber(DataNumber::U8(number)) => number.to_string(),
        FieldValue::DataNumber(DataNumber::U16(number)) => number.to_string(),
        FieldValue::DataNumber(DataNumber::U24(number) | DataNumber::U32(number)) => {
            number.to_string()
        }
        FieldValue::DataNumber(DataNumber::U64(number)) => number.to_string(),
        value => panic!("{value:?}"),
    }
}

/// The values of all records of data in a datagram, by `netflow_parser`.
fn by_netflow_parser(parser: &mut NetflowParser, payload: &[u8]) -> Vec<Vec<String>> {
    let parsed = parser.parse_bytes(payload);
    assert!(parsed.error.is_none(), "{:?}", parsed.error);
    let mut records = Vec::new();
    for packet in &parsed.packets {
        match packet {
            NetflowPacket::V9(v9) => {
                for set in &v9.flowsets {
                    if let v9::FlowSetBody::Data(data) = &set.body {
                        let values = |record: &Vec<(_, _)>| {
                            record.iter().map(|(_, value)| shown(value)).collect()
                        };
                        records.extend(data.fields.iter().map(values));
                    }
                }
            }
            NetflowPacket::IPFix(ipfix) => {
                for set in &ipfix.flowsets {
                    if let ipfix::FlowSetBody::Data(data) = &set.body {
                        let values = |record: &Vec<(_, _)>| {
                            record.iter().map(|(_, value)| shown(value)).collect()
                        };
                        records.extend(data.fields.iter().map(values));
                    }
                }
            }
            _ => {}
        }
    }
    records
}

proptest! {
    #[test]
    fn netflow_parser_reads_the_same((fields, records) in set()) {
        let template = Template::new(256, fields.iter().map(|(place, length)| {
            (ELEMENTS[*place].1, *length)
        }));
        let sent: Vec<Vec<_>> = records.iter().map(|record| {
            let fields = fields.iter().zip(record);
            fields.map(|((place, length), number)| value(*place, *length, *number)).collect()
        }).collect();
        for message in [Message::v9(), Message::ipfix()] {
            let message = message.template(&template);
            let values = sent.iter().map(|record| {
                record.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>()
            });
            let payload = message.data(&template, values).bytes();
            let mut decoding = Decoding::new();
            decoding.decode(&payload);
            let ours: Vec<Vec<_>> = decoding.take().iter().map(|flow| {
                fields.iter().map(|(place, _)| flow.get(&ELEMENTS[*place].0).to_owned()).collect()
            }).collect();
            let theirs = by_netflow_parser(&mut NetflowParser::default(), &payload);
            let expected: Vec<Vec<_>> = sent.iter().map(|record| {
                record.iter().map(|(text, _)| text.clone()).collect()
            }).collect();
            prop_assert_eq!(&ours, &expected);
            prop_assert_eq!(&ours, &theirs);
        }
    }

    #[test]
    fn any_bytes_are_taken(payloads in vec(any_datagram(), 1..8)) {
        let mut decoding = Decoding::new();
        for payload in &payloads {
            decoding.decode(payload);
        }
        let snapshot = decoding.datagrams.definitions();
        Decoding::new().datagrams.restore(&snapshot).unwrap();
    }

    #[test]
    fn any_bytes_are_taken_as_a_snapshot(bytes in vec(any::<u8>(), 0..400)) {
        let mut decoding = Decoding::new();
        // Most have no version, or another one.
        restore(&mut decoding, &bytes);
        restore(&mut decoding, &[&[8, 1], &bytes[..]].concat());
        decoding.decode(&everything(9).bytes());
    }

    #[test]
    fn changed_datagrams_are_taken(
        version in 5_u16..=10,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut payload = everything(version).bytes();
        if version == 5 {
            payload = V5::new([V5Flow::default(); 30]).bytes();
        }
        let mut decoding = Decoding::new();
        decoding.decode(&payload);
        for (place, byte) in &changes {
            let place = place.index(payload.len());
            payload[place] = *byte;
            decoding.decode(&payload);
        }
        decoding.decode(&payload[..cut.index(payload.len())]);
        // Each record has four bytes and more.
        let most = (changes.len() + 2) * payload.len() / 4;
        prop_assert!(decoding.take().len() <= most);
        let snapshot = decoding.datagrams.definitions();
        let mut changed = snapshot.clone();
        for (place, byte) in &changes {
            changed[place.index(snapshot.len())] = *byte;
        }
        let mut restored = Decoding::with(Plan::new(Field::TYPED), Settings::default());
        restored.datagrams.restore(&snapshot).unwrap();
        restore(&mut restored, &changed);
        restored.decode(&payload);
    }
}

/// Restores what may be no snapshot.
fn restore(decoding: &mut Decoding, bytes: &[u8]) {
    if let Err(error) = decoding.datagrams.restore(bytes) {
        assert!(error.to_string().starts_with("what was known of exporters"), "{error}");
    }
}

/// Bytes that begin like a datagram at times.
fn any_datagram() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![Just(5_u16), Just(9), Just(10), any::<u16>()];
    // Small numbers are often numbers of sets, lengths and counts.
    let byte = prop_oneof![3 => 0_u8..=4, 1 => any::<u8>()];
    (version, vec(byte, 0..600))
        .prop_map(|(version, bytes)| [&version.to_be_bytes()[..], &bytes].concat())
}

/// A message that has everything that messages can have.
fn everything(version: u16) -> Message {
    let flows = Template::new(
        256,
        [
            (0, 8, 4),
            (0, 28, 16),
            (0, 9, 1),
            (0, 82, VARIABLE),
            (0, 1, 4),
            (29305, 1, 4),
            (0, 48, 1),
            (0, 34, 4),
            (0, 21, 4),
            (0, 22, 4),
            (0, 61, 1),
        ],
    );
    let firewall =
        Template::new(257, [(233, 1), (33002, 2), (231, 4), (232, 4), (152, 8), (153, 8)]);
    let frame = Template::new(258, [(315, VARIABLE)]);
    let options = Template::options(512, [(1, 4)], [(48, 1), (50, 4), (10, 4), (82, VARIABLE)]);
    let values = [1, 2, 24, 4, 600, 700, 1, 0, 8, 9, 1].map(Value::Number);
    let message = if version == 9 { Message::v9() } else { Message::ipfix() };
    let message = message.template(&flows).template(&firewall).template(&frame).template(&options);
    message
        .data(&options, [[0, 1, 100, 7, 1].map(Value::Number)])
        .data(&flows, vec![values; 5])
        .data(&firewall, [[5, 0, 100, 200, 1, 2].map(Value::Number)])
        .data(&frame, [[Value::Bytes(vec![0; 60])]])
        .set(300, &[1; 20])
}
