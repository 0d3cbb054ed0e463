//! Formats of Kafka messages other than pmacct's JSON, and how they are told apart.

mod akvorado;
mod avro;
mod goflow2;
mod maps;
pub(crate) mod protobuf;

use std::{collections::BTreeMap, sync::Arc};

use flow_exporter::{
    flow::{Decoder, Format, Formats, Malformed, Plan, Record, Row, Skipped, Slot},
    pipeline::{Counting, Pipeline},
    schema::{Class, Field, FieldType, Measure, Schema, View},
    traffic::{Counts, Rule, Sampling},
};
use proptest::prelude::*;

const ASN: u32 = 64512;

/// What a decoder makes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decoded {
    /// The fields that it has, by name, as text.
    Flow(BTreeMap<String, String>),
    Skipped(Skipped),
    Malformed(Malformed),
}

/// The format with this name.
fn format(formats: &Formats, name: &str) -> Format {
    formats.all().iter().find(|format| format.name() == name).expect("a format").clone()
}

/// All fields, and these ones of the format's own.
fn plan(named: &[&str]) -> Plan {
    let named = named.iter().map(|&name| Field::Named(name.into()));
    Plan::new(Field::TYPED.into_iter().chain(named))
}

/// What a decoder makes of a message.
fn run(decoder: &mut Decoder, plan: &Plan, payload: &[u8]) -> Vec<Decoded> {
    let mut records = Vec::new();
    decoder.decode(payload, &mut |record| {
        records.push(match record {
            Record::Flow(row) => Decoded::Flow(fields(plan, &row)),
            Record::Skipped(reason) => Decoded::Skipped(reason),
            Record::Malformed(reason, _) => Decoded::Malformed(reason),
        });
    });
    assert!(!records.is_empty(), "a message never vanishes without a trace");
    records
}

/// Decodes a message for all fields, and these ones of the format's own.
fn decode_with(format: &Format, named: &[&str], payload: &[u8]) -> Vec<Decoded> {
    let plan = plan(named);
    let mut decoder = Decoder::new(format, &plan);
    let records = run(&mut decoder, &plan, payload);
    assert_eq!(run(&mut decoder, &plan, payload), records, "what came before makes no difference");
    records
}

fn decode(format: &Format, payload: &[u8]) -> Vec<Decoded> {
    decode_with(format, &[], payload)
}

/// The fields that a row has.
fn fields(plan: &Plan, row: &Row<'_>) -> BTreeMap<String, String> {
    let text = |slot: Slot, field: &Field| match field.value_type() {
        FieldType::Address => row.address(slot).map(|address| address.to_string()),
        FieldType::Text => row.text(slot).map(str::to_owned),
        _ => row.number(slot).map(|number| number.to_string()),
    };
    let all = plan
        .fields()
        .filter_map(|(slot, field)| Some((field.name().to_owned(), text(slot, field)?)));
    all.collect()
}

/// A flow with these fields.
fn flow(fields: &[(&str, &str)]) -> Decoded {
    let owned = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Decoded::Flow(owned.collect())
}

/// What a pipeline counts of messages, and why not.
fn count(counting: Counting, messages: &[&[u8]]) -> (Counts, Vec<(Malformed, String)>) {
    let measures = [Measure::Bytes, Measure::Packets];
    let view = View::new("test", &[], &[Class::Receive, Class::Transmit], &measures);
    let schema = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(&schema, counting);
    let mut counts = Counts::new(schema);
    let mut malformed = Vec::new();
    for message in messages {
        pipeline.message(message, &mut counts, |reason, text| {
            malformed.push((reason, text.to_owned()));
        });
    }
    (counts, malformed)
}

/// Bytes and packets that are counted of one message.
fn counted(counting: Counting, message: &[u8]) -> Vec<u64> {
    let (counts, malformed) = count(counting, &[message]);
    assert_eq!(malformed, []);
    let mut all = counts.series();
    let (_, row) = all.next().expect("a series");
    assert!(all.next().is_none(), "one series");
    row.iter().collect()
}

/// Counting for the AS of these tests.
fn counting() -> Counting {
    Counting { rule: Rule::of_as(ASN), ..Counting::default() }
}

/// The format that a message is recognised as.
fn recognised(payload: &[u8]) -> Option<String> {
    let formats = Formats::default();
    formats.of(payload).map(|number| formats.all()[number].name().to_owned())
}

/// Messages of all formats but pmacct's, with the names of these.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = goflow2::messages();
    all.push(("akvorado", akvorado::message(1000).0));
    all.extend(maps::messages().map(|(name, text)| (name, text.into())));
    all
}

#[test]
fn formats_are_recognised_by_message() {
    for (name, message) in messages() {
        assert_eq!(recognised(&message).as_deref(), Some(name), "{}", message.escape_ascii());
    }
}

/// Messages that pmacct, or what imitates it, may write.
const PMACCT: [&str; 14] = [
    r#"{"event_type": "purge", "label": "", "as_src": 64512, "as_dst": 15169, "bytes": 26400}"#,
    r#"[{"as_src": 1, "as_dst": 2, "bytes": 3}]"#,
    "\u{feff}\n {\n\t\"label\": \"a\", \"as_src\": 1}",
    r#"{"label": "a", "bytes": 3}"#,
    r#"{"bytes": 3}"#,
    // Primitives that the operator has named as others name theirs.
    r#"{"event_type": "purge", "type": "IPFIX", "sampler_address": "192.0.2.1", "bytes": 3}"#,
    r#"{"sampler_address": "192.0.2.1", "src_as": 5, "bytes": 3, "as_dst": 2}"#,
    r#"{"sampling_rate": 3, "type": 7, "bytes": 3, "ip_src": "192.0.2.1"}"#,
    r#"{"event_type": "purge_init"}"#,
    // Neither is of a format; pmacct's decoder says so.
    "[1, 2]",
    "what?",
    "",
    " \n",
    "{}",
];

#[test]
fn a_record_of_pmacct_is_never_taken_for_another_ones() {
    for message in PMACCT {
        assert_eq!(recognised(message.as_bytes()).as_deref(), Some("pmacct"), "{message}");
    }
}

#[test]
fn a_pinned_format_is_that_of_all_messages() {
    let json = br#"{"type":"IPFIX","bytes":7,"as_src":64512,"src_as":64512}"#;
    for (name, flows) in [("pmacct", 1), ("goflow2-json", 1), ("goflow2-protobuf", 0)] {
        let formats = Formats::default().pinned(name).expect("a format");
        let (counts, malformed) = count(Counting { formats, ..counting() }, &[json]);
        assert_eq!(counts.counted.flows, flows, "{name}: {malformed:?}");
        assert_eq!(malformed.len(), 1 - flows as usize, "{name}");
    }
    assert_eq!(Formats::default().pinned("netflow"), None);
}

#[test]
fn what_is_not_recognised_is_counted_and_shown_in_hexadecimal_digits() {
    let messages: [&[u8]; 3] = [&[0x80, 0x81, 0xff, 0xfe], b"\x1f\x8b\x08\0\0", &[0; 400]];
    let (counts, malformed) = count(counting(), &messages);
    assert_eq!(counts.malformed[Malformed::UnknownFormat.index()], 3);
    assert_eq!(malformed[0], (Malformed::UnknownFormat, "8081fffe".to_owned()));
    assert_eq!(malformed[2].1, "00".repeat(64), "as much as the log shows");
}

proptest! {
    #[test]
    fn any_bytes_are_counted_as_something(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (counts, malformed) = count(counting(), &[&bytes]);
        let errors: u64 = counts.malformed.iter().sum();
        let skipped: u64 = counts.skipped.iter().sum();
        let ignored: u64 = counts.ignored.iter().map(|total| total.flows).sum();
        prop_assert_eq!(errors, malformed.len() as u64);
        prop_assert!(errors + skipped + ignored + counts.counted.flows > 0);
    }

    #[test]
    fn messages_with_any_byte_changed_are_decoded_or_counted(
        place in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let messages = messages();
        let (name, mut message) = messages[place.index(messages.len())].clone();
        let at = at.index(message.len());
        message[at] = byte;
        // As what it is recognised, and as what it was.
        let (counts, _) = count(counting(), &[&message, &message[..cut.index(message.len())]]);
        prop_assert_eq!(counts.messages, 2);
        let formats = Formats::default().pinned(name).expect("a format");
        count(Counting { formats, ..counting() }, &[&message]);
    }
}
