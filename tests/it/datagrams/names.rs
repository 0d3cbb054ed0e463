//! What exporters call their interfaces, routing tables and applications: fields of flows.

use flow_exporter::schema::Field;
use testkit::{
    netflow::{Message, Template, VARIABLE, Value},
    sflow::{FlowSample, Sflow, named_counters},
};

use super::{Decoding, Flow, sflow::segment_frame};

const NAMES: [Field; 4] = [
    Field::InputInterfaceName,
    Field::OutputInterfaceName,
    Field::InputInterfaceDescription,
    Field::OutputInterfaceDescription,
];

/// Flows with both interfaces.
fn flows() -> Template {
    Template::new(256, [(10, 4), (14, 4), (1, 4)])
}

/// A flow from one interface to another.
fn from_to(input: u64, output: u64) -> [Value; 3] {
    [input, output, 100].map(Value::Number)
}

/// Both names and both descriptions.
fn names(flow: &Flow) -> [&str; 4] {
    NAMES.each_ref().map(|field| flow.get(field))
}

/// What the interfaces of a flow from 3 to 10 are called.
fn called(decoding: &mut Decoding) -> [String; 4] {
    decoding.send(Message::ipfix().template(&flows()).data(&flows(), [from_to(3, 10)]));
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    names(flow).map(str::to_owned)
}

#[test]
fn interfaces_have_the_names_and_descriptions_that_options_say() {
    let both = Template::options(512, [(10, 4)], [(82, VARIABLE), (83, VARIABLE)]);
    let mut decoding = Decoding::new();
    let records = [(3, "xe-0/0/0", "Transit: Example"), (10, "ae1", "")]
        .map(|(index, name, about)| [Value::Number(index), name.into(), about.into()]);
    decoding.send(Message::ipfix().template(&both).data(&both, records));
    decoding
        .send(Message::ipfix().template(&flows()).data(&flows(), [from_to(3, 10), from_to(10, 4)]));
    let found = decoding.take();
    let found: Vec<_> = found.iter().map(names).collect();
    assert_eq!(
        found,
        [["xe-0/0/0", "ae1", "Transit: Example", ""], ["ae1", "", "", ""]],
        "what is not named is empty"
    );
}

#[test]
fn names_count_from_the_next_flow_on_and_so_do_others_that_replace_them() {
    let options = Template::options(512, [(10, 4)], [(82, 16)]);
    let say = |decoding: &mut Decoding, name: &str| {
        let record = [Value::Number(3), name.into()];
        decoding.send(Message::ipfix().template(&options).data(&options, [record]));
    };
    let mut decoding = Decoding::new();
    assert_eq!(called(&mut decoding), [""; 4]);
    say(&mut decoding, "Gi0/3");
    assert_eq!(called(&mut decoding)[0], "Gi0/3");
    say(&mut decoding, "Te0/3");
    assert_eq!(called(&mut decoding)[0], "Te0/3");
    say(&mut decoding, "");
    assert_eq!(called(&mut decoding)[0], "Te0/3", "an empty name says nothing");
}

#[test]
fn the_other_direction_of_a_flow_has_the_names_of_the_other_interfaces() {
    let options = Template::options(512, [(10, 4)], [(82, 16)]);
    let records = [(3, "in"), (10, "out")].map(|(index, name)| [Value::Number(index), name.into()]);
    // RFC 5103: bytes in the other direction.
    let flows = Template::new(256, [(0_u32, 10_u16, 4_u16), (0, 14, 4), (0, 1, 4), (29305, 1, 4)]);
    let mut decoding = Decoding::new();
    let flow = [3, 10, 100, 50].map(Value::Number);
    let message = Message::ipfix().template(&options).data(&options, records);
    decoding.send(message.template(&flows).data(&flows, [flow]));
    let found = decoding.take();
    let found: Vec<_> = found.iter().map(|flow| names(flow)[..2].to_vec()).collect();
    assert_eq!(found, [["in", "out"], ["out", "in"]]);
}

/// What an exporter's name is shown as.
fn shown(name: &[u8]) -> String {
    let options = Template::options(512, [(10, 4)], [(82, VARIABLE)]);
    let mut decoding = Decoding::new();
    let record = [Value::Number(3), Value::LongBytes(name.to_vec())];
    decoding.send(Message::ipfix().template(&options).data(&options, [record]));
    called(&mut decoding)[0].clone()
}

#[test]
fn names_are_bounded_and_without_what_no_label_should_have() {
    assert_eq!(shown(b"  Gi0/1 \0\0garbage"), "Gi0/1", "zeros end it");
    assert_eq!(shown(b"a\nb\x1b[31m\x7f"), "a\u{fffd}b\u{fffd}[31m\u{fffd}");
    assert_eq!(shown(b"caf\xe9 \xff\xfe!"), "caf\u{fffd} \u{fffd}\u{fffd}!");
    assert_eq!(shown("Köln".as_bytes()), "Köln");
    assert_eq!(shown(&vec![b'x'; 60_000]), "x".repeat(255));
    let cut_within = [&[b'x'; 254][..], "é and more".as_bytes()].concat();
    assert_eq!(shown(&cut_within), "x".repeat(254), "half a character is none");
    assert_eq!(shown(b" \0"), "");
}

/// What is replaced takes more bytes than it had: a name is cut once, and not again by a restart.
#[test]
fn hostile_names_are_the_same_after_a_restart() {
    let options = Template::options(512, [(10, 4)], [(82, VARIABLE)]);
    let spaces = [&[b'x'; 250][..], b"     \xff\xff"].concat();
    for name in [vec![0xff; 60_000], vec![0x1b; 255], spaces, vec![b' '; 300]] {
        let mut before = Decoding::new();
        let record = [Value::Number(3), Value::LongBytes(name)];
        before.send(Message::ipfix().template(&options).data(&options, [record]));
        let shown = called(&mut before);
        assert!(shown[0].len() <= 255, "{} bytes", shown[0].len());
        let mut after = Decoding::new();
        after.datagrams.restore(&before.datagrams.definitions()).unwrap();
        assert_eq!(called(&mut after), shown);
    }
}

#[test]
fn an_exporter_has_a_bounded_number_of_names_and_may_change_those_that_it_has() {
    let options = Template::options(512, [(10, 4)], [(82, 8)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::ipfix().template(&options));
    let say = |decoding: &mut Decoding, indexes: std::ops::Range<u64>, name: &str| {
        let records: Vec<_> = indexes.map(|index| [Value::Number(index), name.into()]).collect();
        for records in records.chunks(1000) {
            decoding.send(Message::ipfix().data(&options, records));
        }
    };
    say(&mut decoding, 0..65_536, "first");
    say(&mut decoding, 0..65_536, "second");
    let flows = flows();
    decoding.send(
        Message::ipfix()
            .template(&flows)
            .data(&flows, [from_to(16_383, 16_384), from_to(65_535, 0)]),
    );
    let found = decoding.take();
    let found: Vec<_> = found.iter().map(|flow| names(flow)[..2].to_vec()).collect();
    assert_eq!(found, [["second", ""], ["", "second"]]);
}

#[test]
fn agents_of_sflow_say_names_beside_counters() {
    for is_expanded in [false, true] {
        let mut decoding = Decoding::new();
        let samples = [
            named_counters(is_expanded, 3, "swp3"),
            named_counters(is_expanded, 5, "swp5"),
            FlowSample::new([segment_frame()]).bytes(),
        ];
        decoding.decode(&Sflow::new(samples).bytes());
        let [flow] = &decoding.take()[..] else { panic!("one flow") };
        assert_eq!(names(flow), ["swp3", "", "", ""]);
    }
}

/// Says a name in options, and a flow.
fn one_flow(options: &Template, name: &[Value], flows: &Template, flow: &[Value]) -> Flow {
    let found = [Message::v9(), Message::ipfix()].map(|message| {
        let mut decoding = Decoding::new();
        let message = message.template(options).data(options, [name]);
        decoding.send(message.template(flows).data(flows, [flow]));
        let [flow] = &decoding.take()[..] else { panic!("one flow") };
        flow.clone()
    });
    assert_eq!(found[0], found[1]);
    found[0].clone()
}

#[test]
fn routing_tables_have_their_names_or_else_their_numbers() {
    let options = Template::options(512, [(234, 4)], [(236, 16)]);
    let flows = Template::new(256, [(234, 4), (235, 4), (1, 4)]);
    let flow = [7, 4_294_967_295, 100].map(Value::Number);
    let flow = one_flow(&options, &[Value::Number(7), "customers".into()], &flows, &flow);
    assert_eq!(flow.get(&Field::InputVrf), "customers");
    assert_eq!(flow.get(&Field::OutputVrf), "4294967295");
    assert_eq!(flow.get(&Field::InputInterface), "", "it is no interface");
}

#[test]
fn applications_have_their_names_or_else_engine_and_number_however_long_they_are() {
    let shown = |app: Value, length: u16| {
        let options = Template::options(512, [(95, 4)], [(96, 24)]);
        let http = [id(&[3, 0, 0, 80]), "http".into()];
        let flows = Template::new(256, [(95, length), (1, 4)]);
        let flow = one_flow(&options, &http, &flows, &[app, Value::Number(100)]);
        flow.get(&Field::Application).to_owned()
    };
    assert_eq!(shown(id(&[3, 0, 0, 80]), 4), "http");
    assert_eq!(shown(id(&[3, 80]), 2), "http", "leading zeros change nothing");
    assert_eq!(shown(id(&[13, 0, 1, 197]), 4), "13:453");
    assert_eq!(shown(id(&[20, 0, 0, 0, 9, 1, 2, 3]), 8), "20:151060995");
    // As Palo Alto's SD-WAN numbers them.
    let nine = [6, 0, 0x33, 0xd1, 0xce, 0x85, 0x82, 0xbf, 0x7f];
    assert_eq!(shown(id(&nine), 9), "6:14585908745650047");
    for bytes in [&[3][..], &[6, 1, 0, 0, 0, 0, 0, 0, 0], &[0; 10]] {
        let shown = shown(id(bytes), bytes.len() as u16);
        assert_eq!(shown, "", "{bytes:?} are no application");
    }
}

fn id(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

#[test]
fn a_record_may_name_its_application_itself() {
    let flows = Template::new(256, [(95, 4), (96, 16), (1, 4)]);
    let shown = |name: &str| {
        let options = Template::options(512, [(234, 4)], [(236, 16)]);
        let name_of_vrf = [Value::Number(7), "customers".into()];
        let flow = [id(&[3, 0, 0, 80]), name.into(), Value::Number(100)];
        let flow = one_flow(&options, &name_of_vrf, &flows, &flow);
        flow.get(&Field::Application).to_owned()
    };
    assert_eq!(shown("web\n"), "web");
    assert_eq!(shown("we\tb"), "we\u{fffd}b");
    assert_eq!(shown(""), "3:80");
}
