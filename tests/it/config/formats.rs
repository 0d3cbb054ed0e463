//! The operator's formats of messages.

use std::{fs, path::Path};

use flow_exporter::{
    flow::{Decoder, Format, Place, Plan, Rates, Record, Unit},
    schema::Field,
};

use super::{Files, count};

#[test]
fn formats_of_ones_own_are_read_and_what_is_wrong_with_them_is_said_with_the_line() {
    let count = |text: &str, more: &str| {
        let files = Files::new(text);
        count(&["--brokers=a", "--topic=b", more, &files.flag()])
    };
    let text = r#"formats:
  ours:
    records: [data.flows, flows]
    pairs: { key: [I, ID], value: V }
    fields:
      bytes: [{ path: kbit, unit: kilobits }, octets]
      protocol: { constant: tcp }
      exporter: { constant: "192.0.2.1" }
    reverse: { bytes: back }
    sampling: already
    ignore_case: yes
    recognised_by: kbit
  nprobe: { like: nprobe, sampling: multiply, fields: { bytes: BYTES } }
"#;
    let formats = count(text, "--format=auto").unwrap().formats.value;
    let Format::Mapped(ours) = formats.all().iter().find(|format| format.name() == "ours").unwrap()
    else {
        panic!("a map")
    };
    let kilobits = Place::Path { path: "kbit".into(), unit: Unit { factor: 125, divisor: 1 } };
    assert_eq!(ours.places(&Field::Bytes), [kilobits, Place::path("octets")]);
    assert_eq!(ours.places(&Field::Protocol), [Place::Constant("tcp".into())]);
    assert_eq!(ours.reverse, [(Field::Bytes, vec![Place::path("back")])]);
    assert_eq!(*ours.records, ["data.flows".into(), "flows".into()]);
    assert_eq!((ours.rates, ours.folds_keys), (Rates::Already, true));
    assert_eq!(*ours.marks, ["kbit".into()]);
    assert_eq!(ours.pairs.as_ref().unwrap().keys.len(), 2);
    // The operator's comes first, and has the other fields of the ready one.
    let named = |format: &&Format| format.name() == "nprobe";
    let Format::Mapped(nprobe) = formats.all().iter().find(named).unwrap() else { panic!("a map") };
    assert_eq!(nprobe.rates, Rates::Multiply);
    assert_eq!(nprobe.places(&Field::Bytes), [Place::path("BYTES")]);
    assert_eq!(nprobe.places(&Field::Packets)[0], Place::path("IN_PKTS"));
    assert_eq!(*nprobe.marks, []);
    assert!(count(text, "--format=ours").unwrap().formats.value.is_pinned());
    assert!(!formats.is_pinned());

    let many: Vec<_> = (0..33).map(|n| format!("f{n}: {{fields: {{bytes: b}}}}")).collect();
    let many = many.join("\n  ");
    let long = format!("a: {{fields: {{bytes: {}}}}}", "x".repeat(257));
    for (text, expected) in [
        (
            "a: {fields: {byte: b}}",
            "formats.a.fields.byte: there is no such field: did you mean bytes?",
        ),
        ("a: {fields: {packets: b}}", "formats.a: fields.bytes is missing"),
        ("a: {}", "formats.a: fields.bytes is missing"),
        ("a: {fields: {bytes: []}}", "bytes: give a path"),
        ("a: {fields: {bytes: ''}}", "bytes: give keys separated by dots"),
        ("a: {fields: {bytes: a.b.c.d.e.f.g.h.i}}", "more than 8 keys"),
        ("a: {fields: {bytes: {path: b, unit: kilobit}}}", "did you mean kilobits?"),
        ("a: {fields: {bytes: {path: b, constant: 1}}}", "give path (and unit), or constant"),
        ("a: {fields: {bytes: b, packets: {path: p, unit: bits}}}", "only bytes have a unit"),
        ("a: {fields: {bytes: {constant: many}}}", "the constant is no value of bytes"),
        ("a: {fields: {bytes: b, exporter: {constant: edge1}}}", "no value of exporter"),
        ("a: {fields: {bytes: b}, reverse: {source_as: s}}", "there is no such field"),
        ("a: {fields: {bytes: b}, sampling: yes}", "give multiply, already"),
        ("a: {fields: {bytes: b}, pairs: {key: I}}", "give key and value"),
        ("a: {fields: {bytes: b}, record: c}", "did you mean records? docs/formats.md"),
        ("a: {like: nprob}", "did you mean nprobe?"),
        ("a: {like: pmacct}", "there is no ready format pmacct"),
        ("pmacct: {fields: {bytes: b}}", "pmacct is always there"),
        ("auto: {fields: {bytes: b}}", "auto is always there"),
        ("a b: {fields: {bytes: b}}", "give a name of letters"),
        (&long, "256 bytes at most"),
        (&many, "there are more than 32 formats"),
    ] {
        let error = count(&format!("formats:\n  {text}\n"), "--format=auto").unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(", line "), "{text}: {error}");
    }
    let error = count(text, "--format=our").unwrap_err().to_string();
    assert!(error.contains("--format: there is no format our: did you mean ours?"), "{error}");
}

#[test]
fn the_format_that_the_documentation_shows_reads_the_message_that_it_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, example) = page.split_once("```yaml\n").unwrap();
    let files = Files::new(example.split_once("```").unwrap().0);
    let config = count(&["--brokers=a", "--topic=b", &files.flag()]).unwrap();
    let (_, message) = page.split_once("`{\"router\"").unwrap();
    let message = format!("{{\"router\"{}", message.split_once('`').unwrap().0);
    let formats = config.formats.value;
    let ours = &formats.all()[formats.of(message.as_bytes()).unwrap()];
    assert_eq!(ours.name(), "ours");
    let plan = Plan::new([Field::Hostname, Field::DestinationAs, Field::Protocol]);
    let slot = |field| plan.slot(&field).unwrap();
    let mut seen = Vec::new();
    Decoder::new(ours, &plan).decode(message.as_bytes(), &mut |record| match record {
        Record::Flow(row) => seen.push((
            row.bytes(),
            row.text(slot(Field::Hostname)).unwrap().to_owned(),
            row.number(slot(Field::DestinationAs)),
            row.number(slot(Field::Protocol)),
        )),
        other => panic!("{other:?}"),
    });
    assert_eq!(seen, [(1050, "edge1".to_owned(), Some(15169), Some(6))]);
}
