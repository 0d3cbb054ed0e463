//! Original exporters: what proxies and mediators say of the routers whose flows they send.

use std::net::{Ipv4Addr, Ipv6Addr};

use flow_exporter::{
    flow::{
        Plan,
        datagram::{ExporterSettings, Settings},
    },
    schema::Field,
};
use testkit::{
    netflow::{Message, Template, V5, V5Flow, Value},
    sflow::{FlowSample, Sflow},
};

use super::{Decoding, Flow, sflow::segment_frame};

const V4: (u16, u16) = (130, 4);
const V6: (u16, u16) = (131, 16);

/// What options are of: v9's system, an exporting process, an observation domain.
const SYSTEM: (u16, u16) = (1, 4);
const PROCESS: (u16, u16) = (144, 4);
const DOMAIN: (u16, u16) = (149, 4);

/// The mediator is 203.0.113.1, which names exporters, as 203.0.113.2 does not.
fn settings() -> Settings {
    let named = |hostname: &str| ExporterSettings {
        hostname: Some(hostname.into()),
        ..ExporterSettings::default()
    };
    let mediator =
        ExporterSettings { netflow_names_exporters: Some(true), ..named("mediator.example.net") };
    Settings::new([
        ("203.0.113.1/32".parse().unwrap(), mediator),
        ("192.0.2.7/32".parse().unwrap(), named("edge7")),
        ("2001:db8::/32".parse().unwrap(), named("edges")),
    ])
}

fn plan() -> Plan {
    let originals = [Field::OriginalExporter, Field::OriginalHostname];
    Plan::new(Field::TYPED.into_iter().chain(originals))
}

fn decoding() -> Decoding {
    Decoding::with(plan(), settings())
}

/// The original exporter of a flow, and its host name.
fn original(flow: &Flow) -> [&str; 2] {
    [flow.get(&Field::OriginalExporter), flow.get(&Field::OriginalHostname)]
}

/// Those of all flows up to now.
fn originals(decoding: &mut Decoding) -> Vec<[String; 2]> {
    decoding.take().iter().map(|flow| original(flow).map(str::to_owned)).collect()
}

const SENDER: [&str; 2] = ["203.0.113.1", "mediator.example.net"];
const EDGE7: [&str; 2] = ["192.0.2.7", "edge7"];

fn v4(last: u8) -> Value {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(address: &str) -> Value {
    address.parse::<Ipv6Addr>().unwrap().into()
}

/// A flow that does not name its exporter.
fn plain() -> (Template, [Value; 1]) {
    (Template::new(256, [(1, 4)]), [Value::Number(600)])
}

/// Sends a plain flow and its template, and tells whose it is.
fn whose(decoding: &mut Decoding, message: Message) -> [String; 2] {
    let (template, flow) = plain();
    decoding.send(message.template(&template).data(&template, [flow]));
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    original(flow).map(str::to_owned)
}

/// Says an exporter in a record of options.
fn say(
    decoding: &mut Decoding,
    message: Message,
    scopes: &[(u16, u16)],
    fields: &[(u16, u16)],
    values: &[Value],
) {
    let options = Template::options(512, scopes.iter().copied(), fields.iter().copied());
    decoding.send(message.template(&options).data(&options, [values]));
}

#[test]
fn a_record_names_its_original_exporter_in_either_protocol() {
    let cases = [
        (v4(7), v6("::"), EDGE7),
        (v4(8), v6("::"), ["192.0.2.8", "192.0.2.8"]),
        (Ipv4Addr::UNSPECIFIED.into(), v6("2001:db8::1"), ["2001:db8::1", "edges"]),
        (Ipv4Addr::UNSPECIFIED.into(), v6("::ffff:192.0.2.7"), EDGE7),
        (Ipv4Addr::UNSPECIFIED.into(), v6("::ffff:0.0.0.0"), SENDER),
        (Ipv4Addr::UNSPECIFIED.into(), v6("::"), SENDER),
        (v4(7), v6("2001:db8::1"), EDGE7),
    ];
    for message in [Message::v9(), Message::ipfix()] {
        for fields in [[(1, 4), V4, V6], [(1, 4), V6, V4]] {
            let template = Template::new(256, fields);
            let records = cases.iter().map(|(v4, v6, _)| {
                let (first, second) = if fields[1] == V4 { (v4, v6) } else { (v6, v4) };
                [Value::Number(600), first.clone(), second.clone()]
            });
            let mut decoding = decoding();
            decoding.send(message.clone().template(&template).data(&template, records));
            let expected: Vec<_> = cases.iter().map(|(.., expected)| *expected).collect();
            assert_eq!(originals(&mut decoding), expected);
        }
    }
}

#[test]
fn the_exporter_that_sends_stays_known_beside_the_original_one() {
    let mut decoding = decoding();
    let template = Template::new(256, [(1, 4), V4]);
    let flow = [Value::Number(600), v4(7)];
    decoding.send(Message::ipfix().template(&template).data(&template, [flow]));
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    assert_eq!(original(flow), EDGE7);
    assert_eq!([flow.get(&Field::Exporter), flow.get(&Field::Hostname)], SENDER);
    assert_eq!(decoding.activity().flows, 1, "what it does counts as the sender's");
}

#[test]
fn flows_of_sflow_are_of_the_agent() {
    let mut decoding = decoding();
    let agent = Ipv4Addr::new(192, 0, 2, 7).into();
    let sample = FlowSample::new([segment_frame()]).bytes();
    decoding.decode(&Sflow { agent, ..Sflow::new([sample]) }.bytes());
    assert_eq!(originals(&mut decoding), [EDGE7]);
}

#[test]
fn both_flows_of_a_record_are_of_its_original_exporter() {
    let mut decoding = decoding();
    let template = Template::new(256, [(231, 4), (232, 4), V4]);
    let flow = [Value::Number(600), Value::Number(70), v4(7)];
    decoding.send(Message::ipfix().template(&template).data(&template, [flow]));
    assert_eq!(originals(&mut decoding), [EDGE7; 2]);
}

#[test]
fn addresses_of_other_lengths_name_no_exporter() {
    for field in [(130, 2), (130, 16), (131, 4), (130, u16::MAX)] {
        let mut decoding = decoding();
        let template = Template::new(256, [(1, 4), field]);
        let flow = [Value::Number(600), v4(7)];
        decoding.send(Message::ipfix().template(&template).data(&template, [flow]));
        assert_eq!(originals(&mut decoding), [SENDER], "{field:?}");
    }
}

#[test]
fn the_original_exporter_is_the_sender_unless_the_operator_says_that_records_name_it() {
    let template = Template::new(256, [(1, 4), V4]);
    let flow = [Value::Number(600), v4(7)];
    let options = Template::options(512, [SYSTEM], [V4]);
    let message = Message::v9().template(&options).data(&options, [[Value::Number(0), v4(9)]]);
    let message = message.template(&template).data(&template, [flow]).bytes();
    let mut decoding = decoding();
    decoding.from("203.0.113.2:2055", &message);
    assert_eq!(originals(&mut decoding), [["203.0.113.2"; 2]]);

    // For all senders, but for one.
    let own =
        ExporterSettings { netflow_names_exporters: Some(false), ..ExporterSettings::default() };
    let mut settings = Settings::new([("203.0.113.1/32".parse().unwrap(), own)]);
    settings.netflow_names_exporters = true;
    let mut decoding = Decoding::with(plan(), settings);
    for sender in ["203.0.113.1:2055", "203.0.113.2:2055"] {
        decoding.from(sender, &message);
    }
    assert_eq!(originals(&mut decoding), [["203.0.113.1"; 2], ["192.0.2.7"; 2]]);
}

#[test]
fn settings_apply_from_the_next_datagram_on() {
    let template = Template::new(256, [(1, 4), V4]);
    let data = || Message::v9().data(&template, [[Value::Number(600), v4(7)]]);
    let mut decoding = Decoding::with(plan(), Settings::default());
    say(&mut decoding, Message::v9(), &[SYSTEM], &[V4], &[Value::Number(0), v4(8)]);
    decoding.send(Message::v9().template(&template));
    decoding.send(data());
    decoding.datagrams.set_settings(settings());
    decoding.send(data());
    assert_eq!(originals(&mut decoding), [["203.0.113.1"; 2], EDGE7]);
    // What options said before is known.
    let edge8 = ["192.0.2.8"; 2];
    assert_eq!(whose(&mut decoding, Message::v9()), edge8);
    decoding.datagrams.set_settings(Settings::default());
    decoding.send(Message::v9().template(&template).data(&template, [[Value::Number(1), v4(7)]]));
    assert_eq!(originals(&mut decoding), [["203.0.113.1"; 2]]);
}

#[test]
fn options_name_the_exporter_of_a_domain_or_of_all() {
    let number = Value::Number;
    let domain = |domain| Message::ipfix().domain(domain);
    let mut decoding = decoding();
    say(&mut decoding, domain(5), &[PROCESS], &[V4, V6], &[number(1), v4(7), v6("::")]);
    assert_eq!(whose(&mut decoding, domain(5)), EDGE7);
    assert_eq!(whose(&mut decoding, Message::v9().domain(5)), EDGE7);
    assert_eq!(whose(&mut decoding, domain(6)), SENDER);
    // The record may name another domain than its datagram.
    say(&mut decoding, domain(5), &[DOMAIN], &[V6], &[number(6), v6("2001:db8::6")]);
    assert_eq!(whose(&mut decoding, domain(6)), ["2001:db8::6", "edges"]);
    assert_eq!(whose(&mut decoding, domain(5)), EDGE7);
    // Domain 0 is the whole exporter.
    say(&mut decoding, Message::v9(), &[SYSTEM], &[V4], &[number(0), v4(9)]);
    assert_eq!(whose(&mut decoding, domain(7)), ["192.0.2.9"; 2]);
    assert_eq!(whose(&mut decoding, domain(5)), EDGE7);
    // It changes; zeros say nothing.
    say(&mut decoding, domain(5), &[PROCESS], &[V4], &[number(1), v4(10)]);
    say(&mut decoding, domain(5), &[PROCESS], &[V4], &[number(1), number(0)]);
    assert_eq!(whose(&mut decoding, domain(5)), ["192.0.2.10"; 2]);
    // A record that names its exporter knows better, and v5 has no options.
    let template = Template::new(300, [(1, 4), V4]);
    let records = [[number(600), v4(7)], [number(600), number(0)]];
    decoding.send(domain(5).template(&template).data(&template, records));
    decoding.decode(&V5::new([V5Flow::default()]).bytes());
    assert_eq!(originals(&mut decoding), [EDGE7, ["192.0.2.10"; 2], SENDER]);
}

#[test]
fn options_of_something_else_do_not_name_the_exporter_of_a_domain() {
    let cases: [(Message, &[(u16, u16)]); 7] = [
        (Message::v9(), &[(2, 4)]),
        (Message::v9(), &[SYSTEM, (3, 4)]),
        (Message::v9(), &[SYSTEM, (5, 2)]),
        (Message::ipfix(), &[V4]),
        (Message::ipfix(), &[PROCESS, (10, 4)]),
        (Message::ipfix(), &[PROCESS, (145, 2)]),
        (Message::ipfix(), &[PROCESS, (302, 4)]),
    ];
    for (message, scopes) in cases {
        let mut decoding = decoding();
        let values: Vec<_> = scopes.iter().map(|_| Value::Number(1)).chain([v4(7)]).collect();
        say(&mut decoding, message.clone(), scopes, &[V4], &values);
        assert_eq!(whose(&mut decoding, message), SENDER, "{scopes:?}");
    }
}

#[test]
fn the_exporters_of_domains_outlive_a_process_and_go_to_other_decoders() {
    let mut before = decoding();
    let five = || Message::ipfix().domain(5);
    let revision = before.datagrams.revision();
    say(&mut before, five(), &[PROCESS], &[V4], &[Value::Number(1), v4(7)]);
    assert_ne!(before.datagrams.revision(), revision);
    let revision = before.datagrams.revision();
    say(&mut before, five(), &[PROCESS], &[V4], &[Value::Number(1), v4(7)]);
    assert_eq!(before.datagrams.revision(), revision, "nothing new");

    let definitions = before.datagrams.definitions();
    let mut after = decoding();
    after.datagrams.restore(&definitions).unwrap();
    assert_eq!(after.datagrams.definitions(), definitions);
    assert_eq!(whose(&mut after, five()), EDGE7);

    // Data may have come to the other one before.
    let (template, flow) = plain();
    let mut other = decoding();
    other.send(five().data(&template, [&flow]));
    other.send(Message::ipfix().domain(6).data(&template, [&flow]));
    before.send(five().template(&template));
    before.send(Message::ipfix().domain(6).template(&template));
    let news = before.datagrams.take_news();
    other.take_up(&news);
    let mut found = originals(&mut other);
    found.sort();
    assert_eq!(found, [EDGE7, SENDER], "each domain has its own");

    // What it is told itself after that is newer.
    say(&mut other, five(), &[PROCESS], &[V4], &[Value::Number(1), v4(8)]);
    other.take_up(&news);
    assert_eq!(whose(&mut other, five()), ["192.0.2.8"; 2]);
}

#[test]
fn exporters_of_made_up_domains_are_bounded() {
    let options = Template::options(512, [DOMAIN], [V4]);
    let mut decoding = decoding();
    let empty = decoding.datagrams.definitions().len();
    decoding.send(Message::ipfix().template(&options));
    for datagram in 0..100 {
        let records = (0..1000).map(|number| [Value::Number(datagram * 1000 + number), v4(7)]);
        decoding.send(Message::ipfix().data(&options, records));
    }
    let known = decoding.datagrams.definitions().len() - empty;
    let original_bytes = 12;
    assert!(known <= 4200 * original_bytes, "{known} bytes");
    assert_eq!(whose(&mut decoding, Message::ipfix().domain(1)), EDGE7);
    assert_eq!(whose(&mut decoding, Message::ipfix().domain(99_999)), EDGE7, "0 is of all");
    // What is known can change.
    let changed = [Value::Number(1), v4(8)];
    decoding.send(Message::ipfix().data(&options, [changed]));
    assert_eq!(whose(&mut decoding, Message::ipfix().domain(1)), ["192.0.2.8"; 2]);
}

#[test]
fn many_more_original_exporters_than_names_are_at_hand_have_each_its_own() {
    let template = Template::new(256, [(1, 4), V4]);
    let mut decoding = decoding();
    decoding.send(Message::ipfix().template(&template));
    for round in 0..2 {
        for block in 0..100_u32 {
            let address = |number: u32| Ipv4Addr::from(0x0a00_0000 + block * 100 + number);
            let records =
                (0..100).map(|number| [Value::Number(round), Value::from(address(number))]);
            decoding.send(Message::ipfix().data(&template, records));
            let expected =
                (0..100).map(|number| [address(number).to_string(), address(number).to_string()]);
            assert_eq!(originals(&mut decoding), expected.collect::<Vec<_>>());
        }
    }
}
