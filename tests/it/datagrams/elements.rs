//! Fields by the names and numbers of information elements.

use flow_exporter::{
    flow::{
        Plan,
        datagram::{Settings, element_names, is_element},
    },
    schema::Field,
};
use netflow_parser::variable_versions::ipfix::lookup::IANAIPFixField;
use testkit::netflow::{Field as TemplateField, Message, Template, V5, V5Flow, VARIABLE, Value};

use super::Decoding;

fn decoding(name: &str) -> Decoding {
    Decoding::with(Plan::new([Field::Named(name.into())]), Settings::default())
}

/// What a field by name is in the flows of a template with these fields, and bytes.
fn shown<F: Into<TemplateField>>(
    name: &str,
    version: Message,
    fields: impl IntoIterator<Item = F>,
    values: &[Value],
) -> Vec<String> {
    let fields = fields.into_iter().map(Into::into).chain([(1, 4).into()]);
    let template = Template::new(256, fields.collect::<Vec<TemplateField>>());
    let values: Vec<_> = values.iter().cloned().chain([Value::Number(100)]).collect();
    let mut decoding = decoding(name);
    decoding.send(version.template(&template).data(&template, [values]));
    let field = Field::Named(name.into());
    decoding.take().iter().map(|flow| flow.get(&field).to_owned()).collect()
}

/// What an element with these bytes is, in v9 and IPFIX, with a length of its own or not.
fn value(name: &str, number: u16, bytes: &[u8]) -> String {
    let of = |version: Message, length: u16| {
        let [value] =
            &shown(name, version, [(number, length)], &[Value::Bytes(bytes.to_vec())])[..]
        else {
            panic!("one flow");
        };
        value.clone()
    };
    let length = bytes.len() as u16;
    let value = of(Message::ipfix(), length);
    assert_eq!(of(Message::v9(), length), value);
    assert_eq!(of(Message::ipfix(), VARIABLE), value);
    value
}

#[test]
fn values_are_written_as_their_types_say() {
    for (name, number, bytes, expected) in [
        ("flowEndReason", 136, &[3][..], "3"),
        ("icmpTypeCodeIPv4", 32, &[8, 0], "2048"),
        ("flowLabelIPv6", 31, &[0; 4], "0"),
        ("octetTotalCount", 85, &[0xff; 8], "18446744073709551615"),
        ("octetTotalCount", 85, &[1, 0, 0], "65536"),
        ("mibObjectValueInteger", 434, &[0xff, 0xff, 0xff, 0xfe], "-2"),
        ("mibObjectValueInteger", 434, &[0xfe], "-2"),
        ("samplingProbability", 311, &0.25_f64.to_be_bytes(), "0.25"),
        ("samplingProbability", 311, &0.5_f32.to_be_bytes(), "0.5"),
        ("dataRecordsReliability", 276, &[1], "true"),
        ("dataRecordsReliability", 276, &[2], "false"),
        ("dataRecordsReliability", 276, &[7], "7"),
        ("sourceMacAddress", 56, &[2, 0, 0x5e, 0, 0xab, 1], "02:00:5e:00:ab:01"),
        ("ipNextHopIPv4Address", 15, &[192, 0, 2, 1], "192.0.2.1"),
        (
            "bgpNextHopIPv6Address",
            63,
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            "2001:db8::1",
        ),
        ("wlanSSID", 147, "guests\0\0".as_bytes(), "guests"),
        ("userName", 371, b"a\nb\xff", "a\u{fffd}b\u{fffd}"),
        ("flowStartSeconds", 150, &1_700_000_000_u32.to_be_bytes(), "2023-11-14T22:13:20Z"),
        (
            "flowStartMilliseconds",
            152,
            &1_700_000_000_250_u64.to_be_bytes(),
            "2023-11-14T22:13:20.25Z",
        ),
        (
            "flowStartMicroseconds",
            154,
            &((1_700_000_000 + 2_208_988_800_u64) << 32 | 1 << 31).to_be_bytes(),
            "2023-11-14T22:13:20.5Z",
        ),
        ("mplsTopLabelStackSection", 70, &[0, 0x1f, 0xa0], "001fa0"),
        // Of another length than the type's.
        ("sourceMacAddress", 56, &[1, 2], "0102"),
        ("ipNextHopIPv4Address", 15, &[1, 2, 3], "010203"),
        ("octetTotalCount", 85, &[0xaa; 17], &"aa".repeat(17)),
        // A time that no calendar has.
        ("flowStartMilliseconds", 152, &[0x7f; 8], ""),
    ] {
        assert_eq!(value(name, number, bytes), expected, "{name} {bytes:?}");
        assert_eq!(value(&number.to_string(), number, bytes), expected, "{number} {bytes:?}");
    }
}

#[test]
fn elements_of_enterprises_are_numbers_texts_or_bytes_as_they_look() {
    let of = |name: &str, field: (u32, u16, u16), bytes: &[u8]| {
        let field = TemplateField::from(field);
        shown(name, Message::ipfix(), [field], &[Value::Bytes(bytes.to_vec())]).concat()
    };
    assert_eq!(of("9_12235", (9, 12235, 4), &[0, 0, 1, 0]), "256");
    assert_eq!(of("2636_137", (2636, 137, 16), b"a text"), "a text");
    assert_eq!(of("2636_137", (2636, 137, 10), &[1; 10]), "01010101010101010101");
    assert_eq!(of("2636_137", (2636, 137, VARIABLE), b"text"), "text");
    assert_eq!(of("2636_137", (2636, 137, VARIABLE), &[0, 1]), "0001");
    assert_eq!(of("2636_137", (2636, 137, VARIABLE), &[]), "");
    assert_eq!(of("137", (2636, 137, 4), &[1; 4]), "", "IANA's is another one");
    assert_eq!(of("9_12235", (0, 12235, 4), &[1; 4]), "");
}

/// v9 has numbers that IPFIX leaves to it, and above 32,767, where IPFIX has enterprises.
#[test]
fn numbers_of_v9_without_a_name_are_known_by_number() {
    let of = |number: u16, bytes: &[u8]| {
        let fields = [(number, bytes.len() as u16)];
        shown(&number.to_string(), Message::v9(), fields, &[Value::Bytes(bytes.to_vec())]).concat()
    };
    assert_eq!(of(97, &[7]), "7");
    assert_eq!(of(40_001, &[0, 7]), "7");
}

#[test]
fn long_values_are_bounded() {
    for (name, bytes, longest) in [
        ("userName", vec![b'x'; 60_000], 1028),
        ("mplsTopLabelStackSection", vec![1; 60_000], 1028),
    ] {
        let number = if name == "userName" { 371 } else { 70 };
        let fields = [(number, VARIABLE)];
        let shown = shown(name, Message::ipfix(), fields, &[Value::LongBytes(bytes)]).concat();
        assert_eq!(shown.len(), longest, "more than a label has, so that the cut is counted");
    }
}

#[test]
fn the_other_direction_of_a_flow_has_what_belongs_to_its_ends() {
    // RFC 5103: bytes and reasons in the other direction.
    let fields: [(u32, u16, u16); 4] = [(0, 56, 6), (0, 80, 6), (29305, 1, 4), (0, 52, 1)];
    let mac = |last| Value::Bytes(vec![2, 0, 0, 0, 0, last]);
    let values = [mac(1), mac(2), Value::Number(50), Value::Number(64)];
    let of = |name| shown(name, Message::ipfix(), fields, &values);
    assert_eq!(of("sourceMacAddress"), ["02:00:00:00:00:01", "02:00:00:00:00:02"]);
    assert_eq!(of("destinationMacAddress"), ["02:00:00:00:00:02", "02:00:00:00:00:01"]);
    assert_eq!(of("minimumTTL"), ["64", "64"], "one value for both");
    let reasons: [(u32, u16, u16); 3] = [(0, 136, 1), (29305, 136, 1), (29305, 1, 4)];
    let values = [1, 2, 50].map(Value::Number);
    assert_eq!(shown("flowEndReason", Message::ipfix(), reasons, &values), ["1", "2"]);
}

#[test]
fn v5_has_the_elements_of_its_records() {
    let mut decoding = decoding("tcpControlBits");
    decoding.decode(&V5::new([V5Flow::default()]).bytes());
    assert_eq!(decoding.take()[0].get(&Field::Named("tcpControlBits".into())), "27");
}

#[test]
fn the_table_is_that_of_iana() {
    let names: Vec<_> = element_names().collect();
    assert_eq!((names.len(), names[0]), (502, "octetDeltaCount"));
    for name in &names {
        assert!(is_element(name));
    }
    for unknown in ["", "OctetDeltaCount", "65536", "9_", "_9", "9_1_2", "9_65536", "4294967295_1"]
    {
        assert!(!is_element(unknown), "{unknown}");
    }
    // As another program knows it, which writes names in another case.
    let mut names = names.iter().map(|name| name.to_lowercase()).peekable();
    for number in 1..=502 {
        let theirs = format!("{:?}", IANAIPFixField::from(number)).to_lowercase();
        if !theirs.starts_with("assignedfor") && !theirs.starts_with("unknown") {
            assert_eq!(names.next(), Some(theirs), "{number}");
        }
    }
}
