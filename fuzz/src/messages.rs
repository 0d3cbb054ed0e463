//! Messages of Kafka.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use serde::{
    Deserializer as _,
    de::{Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    flow::{
        AvroSchema, AvroSource, Decoder, FieldMap, Format, Formats, Pairs, Place, Plan, Rates, Unit,
    },
    memory,
    rows::Records,
    schema::Field,
};

/// What a message may take besides the decoder, and for each byte.
const LEAST_BYTES: usize = 1 << 18;
const BYTES_PER_BYTE: usize = 16;

/// Messages of pmacct.
pub fn pmacct(input: &[u8]) {
    let named = ["timestamp_start", "a"].map(|name| Field::Named(name.into()));
    let plan = Plan::new(Field::TYPED.into_iter().chain(named));
    json_as(&Format::Pmacct, &plan, input);
}

/// Which format, and a message of it: 1 byte and the rest.
pub fn json(input: &[u8]) {
    let [which, message @ ..] = input else { return };
    static FORMATS: LazyLock<Formats> = LazyLock::new(|| Formats::new([own()]));
    let mapped = FORMATS.all().iter().filter(|format| matches!(format, Format::Mapped(_)));
    let mapped: Vec<_> = mapped.collect();
    let format = mapped[usize::from(*which) % mapped.len()];
    json_as(format, &Plan::new(Field::TYPED), message);
}

/// Messages of goflow2's protobuf.
pub fn goflow2(input: &[u8]) {
    let records = decode(&Format::Goflow2Protobuf, &Plan::new(Field::TYPED), input);
    assert_eq!(records.all(), 1, "a message is a record");
}

/// The schema of messages of pmacct's Avro, and a message: 2 bytes with the length of the former, and the
/// rest.
pub fn avro(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk() else { return };
    let Some((schema, message)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else {
        return;
    };
    let Ok(schema) = AvroSchema::parse(&String::from_utf8_lossy(schema)) else { return };
    let named = ["a", "b"].map(|name| Field::Named(name.into()));
    let plan = Plan::new(Field::TYPED.into_iter().chain(named));
    let source = AvroSource::File(Arc::new(schema));
    let records = decode_with(&mut Decoder::avro(&source, &plan), &plan, message);
    // Without any field that is used, the message is read over in the same way.
    let plan = Plan::new([]);
    let unused = decode_with(&mut Decoder::avro(&source, &plan), &plan, message);
    assert_eq!(records.all(), unused.all(), "what is used decides nothing about the rest");
}

/// A format with everything that a map can say.
fn own() -> FieldMap {
    let path = |path: &str| vec![Place::path(path)];
    let kilobytes = Unit { factor: 1000, divisor: 3 };
    FieldMap {
        name: "own".into(),
        records: vec!["flows".into(), "a.b".into()],
        pairs: Some(Pairs { keys: vec!["k".into()], values: vec!["v".into()] }),
        fields: vec![
            (
                Field::Bytes,
                vec![Place::Path { path: "n.b".into(), unit: kilobytes }, Place::path("b")],
            ),
            (Field::SourceAs, path("n.as.s")),
            (Field::DestinationAs, path("d")),
            (Field::SourceAddress, path("s")),
            (Field::SourceMask, path("m")),
            (Field::Hostname, vec![Place::Constant("x".into())]),
            (Field::Protocol, path("p")),
            (Field::TcpFlags, path("t")),
            (Field::Communities, path("c")),
            (Field::SamplingRate, path("r")),
        ],
        reverse: vec![(Field::Bytes, path("back"))],
        rates: Rates::Already,
        folds_keys: false,
        marks: vec!["k".into()],
    }
}

/// Decodes JSON, and compares with what another parser says of it.
fn json_as(format: &Format, plan: &Plan, message: &[u8]) {
    let records = decode(format, plan, message);
    if records.malformed > 0 {
        return;
    }
    let text = String::from_utf8_lossy(message);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut other = serde_json::Deserializer::from_str(text);
    let mut count = 0;
    while other.end().is_err() {
        match other.deserialize_any(Counted) {
            Ok(Counts(records)) => count += records,
            // Half of a surrogate pair in a name that nobody asks for is read over.
            Err(error) if error.to_string().contains("hex escape") => return,
            Err(error) => panic!("what is decoded is JSON: {error}"),
        }
    }
    if matches!(format, Format::Pmacct) {
        assert_eq!(records.all(), count.max(1), "each record is handed over");
    }
}

/// How many records are in a value.
struct Counts(u64);

struct Counted;

impl<'de> Visitor<'de> for Counted {
    type Value = Counts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Counts(1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Counts, A::Error> {
        let mut count = 0;
        while let Some(Counts(1)) = seq.next_element::<Counts>()? {
            count += 1;
        }
        Ok(Counts(count))
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Counted)
    }
}

/// What a message is decoded to.
fn decode(format: &Format, plan: &Plan, message: &[u8]) -> Records {
    let formats = Formats::default();
    if formats.is_plainly_pmacct(message) {
        let format = formats.of(message).map(|number| &formats.all()[number]);
        assert_eq!(format, Some(&Format::Pmacct), "both ways to tell say the same");
    }
    decode_with(&mut Decoder::new(format, plan), plan, message)
}

/// What a decoder makes of a message.
fn decode_with(decoder: &mut Decoder, plan: &Plan, message: &[u8]) -> Records {
    let mut decode = || {
        let mut records = Records::default();
        decoder.decode(message, &mut |record| records.add(plan, &record));
        records
    };
    let records = memory::within(LEAST_BYTES + BYTES_PER_BYTE * message.len(), &mut decode);
    assert!(records.all() > 0, "a message never vanishes without a trace");
    assert_eq!(decode(), records, "what came before makes no difference");
    records
}
