//! pmacct's Avro, written by the reference implementation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use apache_avro::{Schema as Reference, types::Value, writer::datum::GenericDatumWriter};
use flow_exporter::flow::{
    AvroFraming, AvroSchema, AvroSource, KnownSchema, SchemaError, Schemas, framed_id,
};

use super::*;

/// The fields that pmacct's `plugin_cmn_avro.c` writes for an `aggregate` with these primitives.
const PMACCT_SCHEMA: &str = r#"{"type": "record", "name": "acct_data", "fields": [
    {"name": "tag", "type": "long"},
    {"name": "label", "type": {"type": "map", "values": "string"}},
    {"name": "mac_src", "type": "string"},
    {"name": "vlan", "type": "long"},
    {"name": "as_src", "type": "long"},
    {"name": "as_dst", "type": "long"},
    {"name": "comms", "type": "string"},
    {"name": "as_path", "type": "string"},
    {"name": "peer_ip_src", "type": "string"},
    {"name": "iface_in", "type": "long"},
    {"name": "ip_src", "type": "string"},
    {"name": "net_dst", "type": "string"},
    {"name": "mask_dst", "type": "long"},
    {"name": "port_dst", "type": "long"},
    {"name": "lat_ip_src", "type": "double"},
    {"name": "tcp_flags", "type": {"type": "array", "items": "string"}},
    {"name": "ip_proto", "type": "string"},
    {"name": "tos", "type": "long"},
    {"name": "sampling_rate", "type": "long"},
    {"name": "sampling_direction", "type": "string"},
    {"name": "timestamp_min", "type": ["null", "string"]},
    {"name": "custom_primitives", "type": {"type": "map", "values": "string"}},
    {"name": "stamp_inserted", "type": ["null", "string"]},
    {"name": "packets", "type": ["null", "long"]},
    {"name": "flows", "type": ["null", "long"]},
    {"name": "bytes", "type": ["null", "long"]},
    {"name": "writer_id", "type": "string"}
]}"#;

/// One of its records, and the same as pmacct's JSON.
fn usual(bytes: i64) -> (Value, String) {
    let text = |text: &str| Value::String(text.to_owned());
    let map = |key: &str, value: &str| Value::Map(HashMap::from([(key.to_owned(), text(value))]));
    let optional = |of: Value| Value::Union(1, Box::new(of));
    let fields = [
        ("tag", Value::Long(7)),
        ("label", map("nkey", "100.1")),
        ("mac_src", text("00:00:5e:00:53:01")),
        ("vlan", Value::Long(12)),
        ("as_src", Value::Long(64512)),
        ("as_dst", Value::Long(4_200_000_000)),
        ("comms", text("64512:1_64512:2")),
        ("as_path", text("64512 15169")),
        ("peer_ip_src", text("192.0.2.1")),
        ("iface_in", Value::Long(100)),
        ("ip_src", text("::ffff:198.51.100.7")),
        ("net_dst", text("203.0.113.0")),
        ("mask_dst", Value::Long(24)),
        ("port_dst", Value::Long(443)),
        ("lat_ip_src", Value::Double(52.5)),
        ("tcp_flags", Value::Array(vec![text("SYN"), text("ACK")])),
        ("ip_proto", text("tcp")),
        ("tos", Value::Long(184)),
        ("sampling_rate", Value::Long(1000)),
        ("sampling_direction", text("e")),
        ("timestamp_min", Value::Union(0, Box::new(Value::Null))),
        ("custom_primitives", map("flowEndReason", "3")),
        ("stamp_inserted", optional(text("2026-11-22 15:50:00"))),
        ("packets", optional(Value::Long(50))),
        ("flows", Value::Union(0, Box::new(Value::Null))),
        ("bytes", optional(Value::Long(bytes))),
        ("writer_id", text("default_kafka/1")),
    ];
    let owned = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    let json = format!(
        r#"{{"event_type": "purge", "tag": 7, "label": {{"nkey": "100.1"}}, "vlan": 12,
        "as_src": 64512, "as_dst": 4200000000, "comms": "64512:1_64512:2",
        "as_path": "64512 15169", "peer_ip_src": "192.0.2.1", "iface_in": 100,
        "ip_src": "::ffff:198.51.100.7", "net_dst": "203.0.113.0", "mask_dst": 24, "port_dst": 443,
        "tcp_flags": ["SYN", "ACK"], "ip_proto": "tcp", "tos": 184, "sampling_rate": 1000,
        "sampling_direction": "e", "flowEndReason": "3", "packets": 50, "bytes": {bytes}}}"#
    );
    (Value::Record(owned.collect()), json)
}

/// The datum of a value.
fn datum(schema: &str, value: Value) -> Vec<u8> {
    let schema = Reference::parse_str(schema).expect("a schema");
    let writer = GenericDatumWriter::builder(&schema).build().expect("a schema");
    writer.write_value_to_vec(value).expect("a value of the schema")
}

/// The fields that a schema has.
fn schema(text: &str) -> Arc<AvroSchema> {
    Arc::new(AvroSchema::parse(text).expect("a schema that can be used"))
}

fn of_file(text: &str) -> AvroSource {
    AvroSource::File(schema(text))
}

/// Decodes a message for all fields, and these ones of the format's own.
fn decode_avro(source: &AvroSource, named: &[&str], message: &[u8]) -> Vec<Decoded> {
    let plan = plan(named);
    let mut decoder = Decoder::avro(source, &plan);
    let records = run(&mut decoder, &plan, message);
    assert_eq!(run(&mut decoder, &plan, message), records, "what came before makes no difference");
    records
}

/// Counting with this schema for all messages that are no JSON.
fn counting_avro(text: &str) -> Counting {
    let formats = Formats::default().with_avro(AvroFraming::Bare);
    Counting { formats, avro: of_file(text), ..counting() }
}

/// A message behind the id of its schema.
fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

#[test]
fn records_of_pmacct_are_decoded_as_its_json_is() {
    let named = ["flowEndReason"];
    let mut message = Vec::new();
    let mut expected = Vec::new();
    for bytes in [26_400, 0, i64::MAX] {
        let (value, json) = usual(bytes);
        message.extend(datum(PMACCT_SCHEMA, value));
        expected.extend(decode_with(&Format::Pmacct, &named, json.as_bytes()));
    }
    let Decoded::Flow(fields) = &expected[0] else { panic!("a flow") };
    assert_eq!((&*fields["hostname"], &*fields["flowEndReason"]), ("nkey%100.1", "3"));
    assert_eq!(decode_avro(&of_file(PMACCT_SCHEMA), &named, &message), expected);
}

/// A schema of a record with one field besides the bytes.
fn with_field(name: &str, kind: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "acct_data", "namespace": "net.pmacct", "fields": [
            {{"name": "{name}", "type": {kind}}}, {{"name": "bytes", "type": "long"}}]}}"#
    )
}

/// What becomes of a value of one field besides the bytes, for all fields and `a`.
fn one(name: &str, kind: &str, value: Value) -> Decoded {
    let text = with_field(name, kind);
    let fields = vec![(name.to_owned(), value), ("bytes".to_owned(), Value::Long(1))];
    let message = datum(&text, Value::Record(fields));
    decode_avro(&of_file(&text), &["a"], &message).remove(0)
}

#[test]
fn values_of_all_types_are_read_where_they_make_sense() {
    let text = |text: &str| Value::String(text.to_owned());
    let array = |items: &[&str]| Value::Array(items.iter().map(|item| text(item)).collect());
    let flags = r#"{"type": "enum", "name": "kind", "symbols": ["x", "udp"]}"#;
    let strings = r#"{"type": "array", "items": "string"}"#;
    let optional = r#"{"type": "array", "items": ["null", "long"]}"#;
    let four = r#"{"type": "fixed", "name": "four", "size": 4}"#;
    let null = || Value::Union(0, Box::new(Value::Null));
    let long = |number| Value::Union(1, Box::new(Value::Long(number)));
    for (name, kind, value, field, expected) in [
        ("packets", r#""int""#, Value::Int(7), "packets", "7"),
        ("packets", r#""double""#, Value::Double(3.0), "packets", "3"),
        ("packets", r#""float""#, Value::Float(3.0), "packets", "3"),
        ("packets", r#""string""#, text("12"), "packets", "12"),
        ("ip_src", r#""bytes""#, Value::Bytes(vec![192, 0, 2, 1]), "source_address", "192.0.2.1"),
        ("ip_src", four, Value::Fixed(4, vec![192, 0, 2, 1]), "source_address", "192.0.2.1"),
        ("ip_proto", flags, Value::Enum(1, "udp".to_owned()), "protocol", "17"),
        ("ip_proto", r#""long""#, Value::Long(6), "protocol", "6"),
        ("tcp_flags", r#""string""#, text("18"), "tcp_flags", "18"),
        ("tcp_flags", r#""long""#, Value::Long(2), "tcp_flags", "2"),
        ("sampling_direction", r#""long""#, Value::Long(1), "flow_direction", "1"),
        ("label", r#""string""#, text("edge1"), "hostname", "edge1"),
        ("as_path", strings, array(&["1", "2"]), "as_path", "1 2"),
        ("a", r#""boolean""#, Value::Boolean(true), "a", "true"),
        ("a", r#""double""#, Value::Double(0.5), "a", "0.5"),
        ("a", r#""bytes""#, Value::Bytes(b"x\xff".to_vec()), "a", "x\u{fffd}"),
        ("a", optional, Value::Array(vec![long(3), null(), long(-4)]), "a", "3 -4"),
    ] {
        let expected = flow(&[("bytes", "1"), (field, expected)]);
        assert_eq!(one(name, kind, value), expected, "{name} of {kind}");
    }
}

#[test]
fn values_that_make_no_sense_are_counted_by_reason_and_unused_ones_do_no_harm() {
    let text = |text: &str| Value::String(text.to_owned());
    let longs = r#"{"type": "array", "items": "long"}"#;
    let inner = r#"{"type": "record", "name": "inner", "fields": [{"name": "x", "type": "int"}]}"#;
    let record = || Value::Record(vec![("x".to_owned(), Value::Int(1))]);
    for (name, kind, value, expected) in [
        ("packets", r#""long""#, Value::Long(-1), Malformed::NumberOutOfRange),
        ("as_src", r#""long""#, Value::Long(1 << 32), Malformed::NumberOutOfRange),
        ("packets", r#""double""#, Value::Double(0.5), Malformed::NumberOutOfRange),
        ("packets", r#""double""#, Value::Double(f64::NAN), Malformed::NumberOutOfRange),
        ("packets", r#""boolean""#, Value::Boolean(true), Malformed::WrongType),
        ("packets", r#""string""#, text("many"), Malformed::WrongType),
        ("packets", longs, Value::Array(vec![Value::Long(1)]), Malformed::WrongType),
        ("ip_src", r#""string""#, text("nowhere"), Malformed::WrongType),
        ("ip_src", r#""bytes""#, Value::Bytes(vec![1; 5]), Malformed::WrongType),
        ("label", r#""long""#, Value::Long(1), Malformed::WrongType),
        ("label", inner, record(), Malformed::WrongType),
        ("a", inner, record(), Malformed::WrongType),
    ] {
        assert_eq!(one(name, kind, value), Decoded::Malformed(expected), "{name} of {kind}");
    }
    assert_eq!(one("unused", inner, record()), flow(&[("bytes", "1")]));
    let absent = one("packets", r#"["null", "long"]"#, Value::Union(0, Box::new(Value::Null)));
    assert_eq!(absent, flow(&[("bytes", "1")]));
    let unknown = one("ip_proto", r#""string""#, text("what"));
    assert_eq!(unknown, flow(&[("bytes", "1")]), "no reason to lose the record");
}

#[test]
fn a_message_counts_as_a_whole_or_not_at_all() {
    let (value, _) = usual(1000);
    let one = datum(PMACCT_SCHEMA, value);
    let message = [&*one, &one].concat();
    let (counts, malformed) = count(counting_avro(PMACCT_SCHEMA), &[&message]);
    assert_eq!((counts.counted.flows, malformed.len()), (2, 0));
    for length in one.len() + 1..message.len() {
        let (counts, malformed) = count(counting_avro(PMACCT_SCHEMA), &[&message[..length]]);
        assert_eq!(counts.counted.flows, 0, "cut after {length} bytes");
        assert_eq!(malformed.len(), 1);
        assert_eq!(malformed[0].0, Malformed::Syntax);
        assert!(malformed[0].1.starts_with("0e02"), "{}", malformed[0].1);
    }
}

#[test]
fn json_and_avro_of_one_topic_are_told_apart_by_message() {
    let (value, json) = usual(5);
    let avro = datum(PMACCT_SCHEMA, value);
    let formats = Formats::default().with_avro(AvroFraming::Bare);
    let name = |message: &[u8]| formats.all()[formats.of(message).unwrap()].name().to_owned();
    assert_eq!(name(&avro), "pmacct-avro");
    for text in PMACCT.iter().filter(|text| !text.starts_with("what")) {
        assert_eq!(name(text.as_bytes()), "pmacct", "{text}");
    }
    // White space may be the length of a text, which begins with a brace; and be in front of JSON.
    assert_eq!(name(b"\n{edge\x02\x04"), "pmacct-avro");
    assert_eq!(name(b"\n{\"as_src\": 1}\n"), "pmacct");
    let messages: [&[u8]; 3] = [json.as_bytes(), &avro, br#"{"IN_BYTES": 3, "SRC_AS": 64512}"#];
    let (counts, malformed) = count(counting_avro(PMACCT_SCHEMA), &messages);
    assert_eq!((counts.counted.flows, malformed), (3, vec![]));
    // Without a schema, no message is taken for Avro.
    let (counts, _) = count(counting(), &[&framed(1, &avro)]);
    assert_eq!(counts.malformed[Malformed::UnknownFormat.index()], 1);
}

#[test]
fn a_message_behind_an_id_waits_for_its_schema_and_markers_are_told_by_theirs() {
    let schemas = Schemas::default();
    let formats = Formats::default().with_avro(AvroFraming::Registry);
    let avro = AvroSource::Registry(schemas.clone());
    let view = View::new("test", &[], &[Class::Transmit], &[Measure::Bytes]);
    let table = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(&table, Counting { formats, avro, ..counting() });
    let mut counts = Counts::new(table);
    let mut take = |message: &[u8]| {
        let awaits = pipeline.awaits(message);
        if !awaits {
            pipeline.message(message, &mut counts, |_, _| {});
        }
        (awaits, counts.counted.flows, counts.skipped[Skipped::Marker.index()], counts.malformed)
    };
    let (value, json) = usual(5);
    let data = framed(100_001, &datum(PMACCT_SCHEMA, value));
    assert_eq!(framed_id(&data), Some(100_001));
    assert!(!take(json.as_bytes()).0, "JSON waits for nothing");
    for _ in 0..2 {
        assert!(take(&data).0);
        assert_eq!(schemas.wanted(), [100_001]);
    }
    schemas.learn(100_001, KnownSchema::Schema(schema(PMACCT_SCHEMA)));
    assert_eq!(schemas.wanted(), [0; 0]);
    assert_eq!(take(&data).1, 2);
    let init = r#"{"type": "record", "name": "acct_init", "fields": [
        {"name": "event_type", "type": "string"}, {"name": "writer_id", "type": "string"}]}"#;
    schemas.learn(7, KnownSchema::Schema(schema(init)));
    let marker = [&b"\x14purge_init"[..], b"\x02x"].concat();
    assert_eq!(take(&framed(7, &marker)).2, 1);
    // A record behind an id is alone.
    let more = take(&framed(7, &[&*marker, &marker].concat()));
    assert_eq!((more.2, more.3[Malformed::Syntax.index()]), (1, 1));
    for (id, reason) in [(8, Malformed::UnknownSchema), (9, Malformed::UnusableSchema)] {
        schemas.learn(id, KnownSchema::Refused(reason));
        let (awaits, .., malformed) = take(&framed(id, b"x"));
        assert_eq!((awaits, malformed[reason.index()]), (false, 1), "it does not block others");
    }
    schemas.forget(8);
    assert!(take(&framed(8, b"x")).0, "asked for again");
    assert_eq!(take(&data).1, 3);
}

#[test]
fn schemas_that_can_not_be_used_are_refused() {
    let record = |kind: &str| with_field("x", kind);
    let nested = |depth: usize, open: &str, close: &str| {
        record(&[&open.repeat(depth), r#""int""#, &close.repeat(depth)].concat())
    };
    let many: Vec<_> =
        (0..17_000).map(|n| format!(r#"{{"name": "f{n}", "type": "int"}}"#)).collect();
    let many = format!(r#"{{"type": "record", "name": "r", "fields": [{}]}}"#, many.join(","));
    let twice =
        r#"[{"type": "fixed", "name": "f", "size": 1}, {"type": "fixed", "name": "f", "size": 2}]"#;
    let symbol = format!(r#"{{"type": "enum", "name": "e", "symbols": ["{}"]}}"#, "x".repeat(257));
    let incomplete = |what| SchemaError::Incomplete(what);
    for (text, expected) in [
        (" ".repeat((8 << 20) + 1), SchemaError::TooLong),
        (many, SchemaError::TooManyTypes),
        (nested(65, r#"{"type": "array", "items": "#, "}"), SchemaError::TooDeep),
        (nested(65, "[", "]"), SchemaError::TooDeep),
        (record(r#""net.pmacct.other""#), SchemaError::UnknownType("net.pmacct.other".to_owned())),
        (record(twice), SchemaError::DefinedTwice("f".to_owned())),
        (record(r#""int"}, {"name": "x", "type": "int""#), SchemaError::FieldTwice("x".to_owned())),
        (record(&symbol), SchemaError::LongName),
        (r#""string""#.to_owned(), SchemaError::NoRecord),
        (r#"["null"]"#.to_owned(), SchemaError::NoRecord),
        ("{}".to_owned(), incomplete("a type says no \"type\"")),
        (record(r#"["null", ["int"]]"#), incomplete("a union is directly within a union")),
        (record("7"), incomplete("a type is neither a name, an object nor an array")),
        (record(r#"{"type": "array"}"#), incomplete("an array says no \"items\"")),
        (
            record(r#"{"type": "fixed", "name": "f", "size": -1}"#),
            incomplete("the size of a fixed is no size"),
        ),
    ] {
        let error = AvroSchema::parse(&text).err();
        assert_eq!(error, Some(expected), "{}", text.chars().take(200).collect::<String>());
    }
    for text in ["", "{", &"[".repeat(1_000_000)] {
        let error = AvroSchema::parse(text).expect_err("not JSON");
        assert!(matches!(error, SchemaError::NotJson(_)), "{error}");
    }
}

#[test]
fn what_costs_more_than_its_bytes_is_refused_within_bounds() {
    let began = Instant::now();
    // 2^62 items without bytes, and so on.
    let count = [&[0xfe; 1][..], &[0xff; 8], &[0x7f]].concat();
    let empty = r#"{"type": "fixed", "name": "none", "size": 0}"#;
    // 2^50 records without bytes.
    let step = |step: usize| {
        let fields = match step.checked_sub(1) {
            None => String::new(),
            Some(below) => format!(
                r#"{{"name": "x", "type": "r{below}"}}, {{"name": "y", "type": "r{below}"}}"#
            ),
        };
        let kind = format!(r#"{{"type": "record", "name": "r{step}", "fields": [{fields}]}}"#);
        format!(r#"{{"name": "f{step}", "type": {kind}}}"#)
    };
    let ladder = (0..51).map(step).collect::<Vec<_>>().join(", ");
    let ladder = format!(r#"{{"type": "record", "name": "top", "fields": [{ladder}]}}"#);
    let array = |items: &str| with_field("x", &format!(r#"{{"type": "array", "items": {items}}}"#));
    let tree = with_field(
        "x",
        r#"{"type": "record", "name": "tree", "fields": [
            {"name": "next", "type": ["null", "tree"]}]}"#,
    );
    let endless = with_field(
        "x",
        r#"{"type": "record", "name": "tree", "fields": [{"name": "next", "type": "tree"}]}"#,
    );
    let nothing =
        r#"{"type": "record", "name": "r", "fields": [{"name": "bytes", "type": "null"}]}"#;
    for (text, message) in [
        (array(r#""null""#), &count),
        (array(empty), &count),
        (array(r#"{"type": "record", "name": "r", "fields": []}"#), &count),
        (with_field("x", &ladder), &vec![2]),
        (tree, &vec![2; 1_000_000]),
        (endless, &vec![0; 100]),
        (nothing.to_owned(), &vec![0; 100]),
        // A length that no message has, and one below zero.
        (with_field("x", r#""string""#), &count),
        (with_field("x", r#""bytes""#), &vec![1, 0]),
        (with_field("x", r#"["null", "long"]"#), &vec![4, 0]),
        (with_field("x", r#""long""#), &vec![0xff; 30]),
    ] {
        let text = text.replace(r#""x""#, r#""a""#);
        let records = decode_avro(&of_file(&text), &["a"], message);
        assert_eq!(records, [Decoded::Malformed(Malformed::Syntax)], "{text}");
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// A type, as the schema has it, with a value of it, and what becomes of that as text; `None` if it is
/// no text.
type Typed = (String, Value, Result<Option<String>, ()>);

fn scalar() -> impl Strategy<Value = Typed> {
    let plain = |name: &str| format!("\"{name}\"");
    prop_oneof![
        Just((plain("null"), Value::Null, Ok(None))),
        any::<bool>().prop_map(move |value| {
            (plain("boolean"), Value::Boolean(value), Ok(Some(value.to_string())))
        }),
        any::<i32>().prop_map(move |value| (
            plain("int"),
            Value::Int(value),
            Ok(Some(value.to_string()))
        )),
        any::<i64>().prop_map(move |value| {
            (plain("long"), Value::Long(value), Ok(Some(value.to_string())))
        }),
        any::<f32>().prop_map(move |value| {
            (plain("float"), Value::Float(value), Ok(Some(format!("{value:?}"))))
        }),
        any::<f64>().prop_map(move |value| {
            (plain("double"), Value::Double(value), Ok(Some(format!("{value:?}"))))
        }),
        "\\PC{0,300}".prop_map(move |value| {
            (plain("string"), Value::String(value.clone()), Ok(Some(value)))
        }),
        "\\PC{0,9}".prop_map(move |value| {
            (plain("bytes"), Value::Bytes(value.clone().into_bytes()), Ok(Some(value)))
        }),
    ]
}

/// Values of any type. Named types get names of their own afterwards.
fn typed() -> impl Strategy<Value = Typed> {
    let named = prop_oneof![
        "[a-z]{0,9}".prop_map(|text| {
            let kind = format!(r#"{{"type": "fixed", "name": "NAME", "size": {}}}"#, text.len());
            (kind, Value::Fixed(text.len(), text.clone().into_bytes()), Ok(Some(text)))
        }),
        (0_u32..3).prop_map(|place| {
            let kind = r#"{"type": "enum", "name": "NAME", "symbols": ["A", "B", "C"]}"#.to_owned();
            let symbol = ["A", "B", "C"][place as usize].to_owned();
            (kind, Value::Enum(place, symbol.clone()), Ok(Some(symbol)))
        }),
    ];
    let leaf = prop_oneof![4 => scalar(), 1 => named];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0_usize..3).prop_map(|((kind, value, text), count)| {
                let kind = format!(r#"{{"type": "array", "items": {kind}}}"#);
                let is_scalar =
                    !matches!(value, Value::Array(_) | Value::Map(_) | Value::Record(_));
                let joined = match text {
                    _ if count == 0 => Ok(Some(String::new())),
                    Ok(text) if is_scalar => {
                        let text = text.unwrap_or_default();
                        let texts = vec![text; count];
                        Ok(Some(if texts[0].is_empty() { String::new() } else { texts.join(" ") }))
                    }
                    _ => Err(()),
                };
                (kind, Value::Array(vec![value; count]), joined)
            }),
            (inner.clone(), "[a-z]{0,5}").prop_map(|((kind, value, text), key)| {
                let kind = format!(r#"{{"type": "map", "values": {kind}}}"#);
                let is_scalar =
                    !matches!(value, Value::Array(_) | Value::Map(_) | Value::Record(_));
                let joined = match text {
                    Ok(text) if is_scalar => {
                        Ok(Some(format!("{key}%{}", text.unwrap_or_default())))
                    }
                    _ => Err(()),
                };
                (kind, Value::Map(HashMap::from([(key, value)])), joined)
            }),
            (scalar(), any::<bool>()).prop_filter_map(
                "null twice",
                |((kind, value, text), is_null)| {
                    let kind = if kind == "\"null\"" { return None } else { kind };
                    let (place, value, text) =
                        if is_null { (0, Value::Null, Ok(None)) } else { (1, value, text) };
                    Some((
                        format!(r#"["null", {kind}]"#),
                        Value::Union(place, Box::new(value)),
                        text,
                    ))
                }
            ),
            prop::collection::vec(inner, 0..3).prop_map(|inner| {
                let field = |(place, (kind, ..)): (usize, &Typed)| {
                    format!(r#"{{"name": "g{place}", "type": {kind}}}"#)
                };
                let fields: Vec<_> = inner.iter().enumerate().map(field).collect();
                let kind = format!(
                    r#"{{"type": "record", "name": "NAME", "fields": [{}]}}"#,
                    fields.join(",")
                );
                let values = inner.into_iter().enumerate();
                let values = values.map(|(place, (_, value, _))| (format!("g{place}"), value));
                (kind, Value::Record(values.collect()), Err(()))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn datums_of_any_schema_are_decoded_as_the_reference_wrote_them(
        mut fields in prop::collection::vec(typed(), 1..6),
        bytes in 0..i64::MAX,
        place in any::<prop::sample::Index>(),
        wanted in any::<prop::sample::Index>(),
        count in 1_usize..4,
    ) {
        let place = place.index(fields.len() + 1);
        let text = bytes.to_string();
        fields.insert(place, ("\"long\"".to_owned(), Value::Long(bytes), Ok(Some(text))));
        let name = |at: usize| if at == place { "bytes".to_owned() } else { format!("f{at}") };
        let described = fields.iter().enumerate().map(|(at, (kind, ..))| {
            format!(r#"{{"name": "{}", "type": {kind}}}"#, name(at))
        });
        let described = described.collect::<Vec<_>>().join(",");
        let mut schema =
            format!(r#"{{"type": "record", "name": "NAME", "fields": [{described}]}}"#);
        let mut names = 0;
        while schema.contains("NAME") {
            names += 1;
            schema = schema.replacen("NAME", &format!("n{names}"), 1);
        }
        let values = fields.iter().enumerate().map(|(at, (_, value, _))| (name(at), value.clone()));
        let message = datum(&schema, Value::Record(values.collect())).repeat(count);
        // One of the fields is taken, the others are skipped.
        let wanted = wanted.index(fields.len());
        let mut expected = BTreeMap::from([("bytes".to_owned(), bytes.to_string())]);
        let expected = match &fields[wanted].2 {
            Err(()) => Decoded::Malformed(Malformed::WrongType),
            Ok(text) => {
                expected.extend(text.clone().map(|text| (name(wanted), text)));
                Decoded::Flow(expected)
            }
        };
        let records = decode_avro(&of_file(&schema), &[&name(wanted)], &message);
        prop_assert_eq!(records, vec![expected; count], "{}", schema);
    }

    #[test]
    fn any_bytes_are_decoded_or_counted_once(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        let mut message = datum(PMACCT_SCHEMA, usual(5).0);
        let at = at.index(message.len());
        for message in [bytes.clone(), { message.splice(at..at, bytes); message }] {
            let formats = Formats::default().with_avro(AvroFraming::Bare);
            let formats = formats.pinned("pmacct-avro").expect("a format");
            let (counts, malformed) =
                count(Counting { formats, ..counting_avro(PMACCT_SCHEMA) }, &[&message]);
            let ignored: u64 = counts.ignored.iter().map(|total| total.flows).sum();
            let skipped: u64 = counts.skipped.iter().sum();
            let all = counts.counted.flows + ignored + skipped;
            prop_assert!(all > 0 || malformed.len() == 1);
        }
    }
}
