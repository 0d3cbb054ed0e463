//! What is known of exporters: names, what outlives a process, and how much there may be.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use flow_exporter::{
    flow::{
        Plan, Record,
        datagram::{Activity, Named, Settings, SnapshotError, WaitingBound},
    },
    schema::Field,
};
use testkit::{
    netflow::{Message, Template, V5, V5Flow, VARIABLE, Value},
    sflow::Sflow,
};

use super::{Decoding, Flow};

fn exporter() -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 1).into()
}

/// Says names in records of options: numbers and names.
fn say_names(decoding: &mut Decoding, message: Message, options: &Template, names: &[(u64, &str)]) {
    let records = names.iter().map(|(number, name)| [Value::Number(*number), (*name).into()]);
    decoding.send(message.template(options).data(options, records));
}

#[test]
fn options_name_interfaces_routing_tables_and_applications() {
    let mut decoding = Decoding::new();
    let cases = [
        (Message::v9(), (2, 4), (82, 16), Named::Interface(7)),
        (Message::v9(), (10, 4), (83, 16), Named::InterfaceDescription(7)),
        (Message::ipfix(), (10, 4), (82, VARIABLE), Named::Interface(7)),
        (Message::ipfix(), (252, 4), (82, VARIABLE), Named::Interface(7)),
        (Message::ipfix(), (253, 4), (83, VARIABLE), Named::InterfaceDescription(7)),
        (Message::ipfix(), (234, 4), (236, VARIABLE), Named::Vrf(7)),
        (Message::v9(), (95, 4), (96, 24), Named::Application(7)),
    ];
    for (place, (message, scope, name, named)) in cases.into_iter().enumerate() {
        let said = format!("name {place}");
        let options = Template::options(512 + place as u16, [scope], [name]);
        say_names(&mut decoding, message, &options, &[(7, &said), (8, "other")]);
        assert_eq!(decoding.datagrams.name(exporter(), named), Some(&said[..]));
    }
    let others = Ipv4Addr::new(203, 0, 113, 2).into();
    assert_eq!(decoding.datagrams.name(others, Named::Interface(7)), None);
    assert_eq!(decoding.datagrams.name(exporter(), Named::Interface(9)), None);
}

#[test]
fn what_exporters_said_outlives_a_process() {
    let flows = Template::new(256, [(1, 4), (48, 1), (7, VARIABLE)]);
    let of_template = Template::options(513, [(5, 2)], [(34, 4)]);
    let samplers = Template::options(512, [(1, 4)], [(48, 1), (50, 4)]);
    let names = Template::options(514, [(2, 4)], [(82, 16)]);
    let descriptions = Template::options(515, [(2, 4)], [(83, 16)]);
    let mut before = Decoding::new();
    before.send(
        Message::v9()
            .template(&flows)
            .template(&samplers)
            .data(&samplers, [[0, 1, 100].map(Value::Number)])
            .template(&of_template)
            .data(&of_template, [[256, 30].map(Value::Number)]),
    );
    say_names(&mut before, Message::v9(), &names, &[(7, "Te0/0/7")]);
    say_names(&mut before, Message::v9(), &descriptions, &[(7, "Transit")]);
    let (definitions, places) = (before.datagrams.definitions(), before.datagrams.places());

    let mut after = Decoding::new();
    after.datagrams.restore(&definitions).unwrap();
    after.datagrams.restore(&places).unwrap();
    assert_eq!(after.datagrams.definitions(), definitions);
    assert_eq!(after.datagrams.places(), places);
    // Datagrams 3 to 5 were sent meanwhile.
    let records = [[600, 1, 443], [700, 2, 443]].map(|record| record.map(Value::Number));
    after.decode(&Message::v9().sequence(6).data(&flows, records).bytes());
    let flows = after.take();
    let found = flows.iter().map(|flow| {
        [Field::Bytes, Field::SamplingRate, Field::SourcePort].map(|field| flow.get(&field))
    });
    assert_eq!(found.collect::<Vec<_>>(), [["600", "100", "443"], ["700", "30", "443"]]);
    assert_eq!(after.datagrams.name(exporter(), Named::Interface(7)), Some("Te0/0/7"));
    let description = Named::InterfaceDescription(7);
    assert_eq!(after.datagrams.name(exporter(), description), Some("Transit"));
    let activity = after.activity();
    assert_eq!((activity.datagrams_missed_before, activity.missing_datagrams), (3, 0));
    assert_eq!(activity.sets_without_template, 0);
}

#[test]
fn a_firewall_that_reports_updates_is_known_as_one_after_a_restart() {
    let template = Template::new(256, [(233, 1), (33002, 2), (231, 4), (232, 4)]);
    let mut before = Decoding::new();
    before.send(Message::v9().template(&template));
    let mut after = Decoding::new();
    after.datagrams.restore(&before.datagrams.definitions()).unwrap();
    let records = [[5, 0, 100, 0], [2, 0, 100, 0]].map(|record| record.map(Value::Number));
    after.send(Message::v9().data(&template, records));
    assert_eq!(after.take().len(), 1);
}

#[test]
fn the_revision_changes_with_what_exporters_say_and_not_with_data() {
    let flows = Template::new(256, [(1, 4), (7, 2)]);
    let options = Template::options(512, [(1, 4)], [(34, 4)]);
    let mut decoding = Decoding::new();
    let mut changes = |message: Message| {
        let before = decoding.datagrams.revision();
        decoding.send(message);
        decoding.datagrams.revision() != before
    };
    let data = || Message::v9().data(&flows, [[600, 1].map(Value::Number)]);
    let rate = |rate| Message::v9().data(&options, [[0, rate].map(Value::Number)]);
    assert!(changes(Message::v9().template(&flows)));
    assert!(!changes(Message::v9().template(&flows)), "nothing new");
    assert!(!changes(data()));
    assert!(changes(Message::v9().template(&options)));
    assert!(changes(rate(100)));
    assert!(!changes(rate(100)));
    assert!(changes(rate(200)));
    for (sequence, port, is_new) in [(20, 2056, true), (21, 2056, false), (22, 2055, false)] {
        let before = decoding.datagrams.revision();
        let template = Message::v9().sequence(sequence).template(&flows).bytes();
        decoding.from(&format!("203.0.113.1:{port}"), &template);
        let has_changed = decoding.datagrams.revision() != before;
        assert_eq!(has_changed, is_new, "which ports send it is known as well");
    }
}

#[test]
fn definitions_have_only_exporters_that_said_something() {
    let mut decoding = Decoding::new();
    let nothing = decoding.datagrams.definitions();
    decoding.from("203.0.113.1:2055", &V5::new([V5Flow::default()]).bytes());
    decoding.from("203.0.113.2:2055", &Message::ipfix().bytes());
    decoding.from("203.0.113.3:6343", &Sflow::new([]).bytes());
    assert_eq!(decoding.datagrams.definitions(), nothing);
    decoding.decode(&Message::v9().template(&Template::new(256, [(1, 4)])).bytes());
    assert_ne!(decoding.datagrams.definitions(), nothing);
}

#[test]
fn other_bytes_are_no_snapshot() {
    let mut decoding = Decoding::new();
    let restore = |decoding: &mut Decoding, bytes: &[u8]| decoding.datagrams.restore(bytes);
    assert_eq!(restore(&mut decoding, b""), Err(SnapshotError::Damaged));
    assert_eq!(restore(&mut decoding, &[0xff; 50]), Err(SnapshotError::Damaged));
    assert_eq!(restore(&mut decoding, &[8, 2]), Err(SnapshotError::Version(2)));
    let whole = decoding.datagrams.definitions();
    assert_eq!(restore(&mut decoding, &whole), Ok(()));
}

/// The address with this number.
fn sender(number: u32) -> String {
    format!("{}:2055", Ipv4Addr::from(0x0a00_0000 + number))
}

#[test]
fn spoofed_senders_have_the_quietest_forgotten_and_not_one_that_sends() {
    let template = Template::new(256, [(1, 4), (7, 2)]);
    let records = [[600, 1].map(Value::Number)];
    let mut decoding = Decoding::new();
    let setup = Message::v9().template(&template);
    decoding.from(&sender(0), &setup.clone().data(&template, &records).bytes());
    let payload = setup.bytes();
    for number in 1..=100_000 {
        decoding.from(&sender(number), &payload);
        if number % 1000 == 0 {
            let message = Message::v9().sequence(number / 1000);
            decoding.from(&sender(0), &message.data(&template, &records).bytes());
        }
    }
    assert_eq!(decoding.take().len(), 101, "the exporter's template is still known");
    let known = decoding.datagrams.places();
    let exporter_bytes = 50;
    assert!(known.len() <= 4096 * exporter_bytes, "{} bytes", known.len());
    let (mut datagrams, mut exporters) = (0, 0);
    decoding.datagrams.take_activity(|exporter, activity| {
        datagrams += activity.datagrams;
        exporters += u64::from(exporter.is_some());
    });
    assert_eq!(datagrams, 100_101, "what the forgotten did still counts");
    assert!(exporters <= 4096, "{exporters}");
}

#[test]
fn exporters_that_are_configured_are_not_forgotten_for_spoofed_senders() {
    let template = Template::new(256, [(1, 4), (7, 2)]);
    let setup = Message::v9().template(&template);
    let records = [[600, 1].map(Value::Number)];
    let data = Message::v9().sequence(1).data(&template, &records).bytes();
    let kept = || HashSet::from(["10.0.0.0".parse().unwrap()]);
    let known_after_a_flood = |settings: Settings| {
        let mut decoding = Decoding::with(Plan::new([]), settings);
        for number in 0..10_000 {
            decoding.from(&sender(number), &setup.clone().bytes());
        }
        decoding.from(&sender(0), &data);
        decoding.take().len()
    };
    assert_eq!(known_after_a_flood(Settings::default()), 0, "it was forgotten");
    assert_eq!(known_after_a_flood(Settings::default().keeping(kept())), 1);

    // So it is by a reload.
    let mut decoding = Decoding::new();
    decoding.datagrams.set_settings(Settings::default().keeping(kept()));
    for number in 0..10_000 {
        decoding.from(&sender(number), &setup.clone().bytes());
    }
    decoding.from(&sender(0), &data);
    assert_eq!(decoding.take().len(), 1);

    // If all of them are configured, the quietest are forgotten.
    let kept = (0..10_000).map(|number| Ipv4Addr::from(0x0a00_0000 + number).into());
    assert_eq!(known_after_a_flood(Settings::default().keeping(kept.collect())), 0);
}

#[test]
fn spoofed_domains_are_forgotten_as_well() {
    let mut decoding = Decoding::new();
    for exporter in 0..40 {
        for domain in 0..1500 {
            decoding.from(&sender(exporter), &Message::ipfix().domain(domain).bytes());
        }
    }
    // Of each exporter, there are at most 1,024, and of all 16,384; each takes some 20 bytes.
    let known = decoding.datagrams.places();
    assert!(known.len() <= 16_384 * 20, "{} bytes", known.len());
    decoding.from(&sender(39), &Message::ipfix().domain(1499).sequence(7).bytes());
    decoding.from(&sender(39), &Message::ipfix().domain(1499).sequence(8).bytes());
    let activity = decoding.activity_of(Some("10.0.0.39".parse().unwrap()));
    assert_eq!(activity.datagrams, 1502, "it was not forgotten");
}

#[test]
fn an_exporter_may_define_many_templates_and_not_without_end() {
    let mut decoding = Decoding::new();
    // Some 350 templates of one field to a datagram.
    for domain in 0..16 {
        for ids in (256..=u16::MAX).collect::<Vec<_>>().chunks(350).take(20) {
            let content =
                ids.iter().flat_map(|id| [&id.to_be_bytes()[..], &[0, 1, 0, 1, 0, 4]].concat());
            let content: Vec<_> = content.collect();
            decoding.send(Message::v9().domain(domain).set(0, &content));
        }
    }
    let activity = decoding.activity();
    let sent = 16 * 20 * 350;
    // A quarter of 65,536, and what was in the last datagram.
    let taken = sent - activity.refused_templates;
    assert!((16_384..=16_384 + 350).contains(&taken), "{taken}");
}

#[test]
fn a_stream_has_no_more_than_4096_templates_of_1024_fields() {
    let mut decoding = Decoding::new();
    let fields = |count: u16| Template::new(300, (1..=count).map(|number| (number, 1)));
    decoding.send(Message::v9().template(&fields(1024)));
    assert_eq!(decoding.activity().refused_templates, 0);
    decoding.send(Message::v9().template(&fields(1025)));
    assert_eq!(decoding.activity().refused_templates, 1);
    for id in 1000..6000 {
        decoding.send(Message::v9().template(&Template::new(id, [(1, 4)])));
    }
    assert_eq!(decoding.activity().refused_templates, 5000 - 4095);
}

#[test]
fn data_that_waits_is_forgotten_from_the_oldest_when_there_is_too_much() {
    let mut decoding = Decoding::new();
    let template = Template::new(256, [(1, 4), (96, 1396)]);
    let count = 8000;
    for number in 0..count {
        decoding.send(Message::v9().data(&template, [[Value::Number(number)]]));
    }
    decoding.send(Message::v9().template(&template));
    let flows = decoding.take();
    let kept = flows.len();
    // 8 MiB of 1,400 bytes each, and some for each.
    assert!((5000..6000).contains(&kept), "{kept}");
    let bytes = |at: usize| flows[at].get(&Field::Bytes).parse::<usize>().unwrap();
    assert_eq!((bytes(0), bytes(kept - 1)), (count as usize - kept, count as usize - 1));
}

/// Two bytes of a file become a hundred in memory.
#[test]
fn a_snapshot_of_more_than_exporters_can_have_said_is_refused() {
    const MANY: usize = (1 << 18) + 1;
    let mut before = Decoding::new();
    before.send(Message::v9().template(&Template::new(256, [(1, 4)])));
    let definitions = before.datagrams.definitions();
    let message = |field: u8, content: &[u8]| {
        let mut message = vec![field << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        [&message[..], content].concat()
    };
    let exporters = message(2, &[]).repeat(MANY);
    let streams = message(2, &exporters);
    let names = message(2, &message(4, &[]).repeat(MANY));
    let templates = message(2, &message(2, &message(3, &[]).repeat(MANY)));
    for many in [exporters, streams, names, templates, message(3, &[]).repeat(MANY)] {
        let refused = Decoding::new().datagrams.restore(&[&definitions[..], &many].concat());
        assert_eq!(refused, Err(SnapshotError::TooManyParts));
    }
}

fn flow_of(bytes: u64) -> (Template, Message) {
    let template = Template::new(256, [(1, 4)]);
    let message = Message::v9().data(&template, [[Value::Number(bytes)]]);
    (template, message)
}

fn bytes(decoding: &mut Decoding) -> Vec<String> {
    decoding.take().iter().map(|flow| flow.get(&Field::Bytes).to_owned()).collect()
}

#[test]
fn data_that_waits_for_its_template_outlives_a_process() {
    let (template, message) = flow_of(5);
    let mut before = Decoding::new();
    assert_eq!(before.datagrams.take_waiting(), None, "nothing waits");
    before.send(message);
    let waiting = before.datagrams.take_waiting().expect("data waits");
    assert_eq!(before.datagrams.take_waiting(), None, "the same data waits");

    let mut after = Decoding::new();
    after.datagrams.restore(&waiting).unwrap();
    assert_eq!(after.datagrams.take_waiting(), None, "that is known");
    after.send(Message::v9().template(&template));
    assert_eq!(bytes(&mut after), ["5"]);
    let waiting = after.datagrams.take_waiting().expect("no data waits any more");
    let mut last = Decoding::new();
    last.datagrams.restore(&waiting).unwrap();
    last.send(Message::v9().template(&template));
    assert_eq!(bytes(&mut last), [""; 0]);
}

#[test]
fn data_that_waited_counts_by_what_an_earlier_process_knew_later() {
    let (template, message) = flow_of(5);
    let options = Template::options(300, [(1, 4)], [(34, 4)]);
    let mut before = Decoding::new();
    before.send(message);
    before.send(Message::v9().data(&options, [[1, 100].map(Value::Number)]));
    let waiting = before.datagrams.take_waiting().expect("data waits");
    before.send(Message::v9().template(&template).template(&options));

    let mut after = Decoding::new();
    after.datagrams.restore(&before.datagrams.definitions()).unwrap();
    after.datagrams.restore(&waiting).unwrap();
    let (plan, mut rates) = (after.plan.clone(), Vec::new());
    after.datagrams.replay(&mut |record| match record {
        Record::Flow(row) => {
            rates.push(Flow::of(&plan, &row).get(&Field::SamplingRate).to_owned());
        }
        _ => panic!("a flow waited"),
    });
    assert_eq!(rates, ["100"], "options that waited come first");
    assert_eq!(after.activity().replayed_sets, 2);
}

#[test]
fn what_exporters_say_to_one_decoder_another_takes_up() {
    let (template, message) = flow_of(5);
    let names = Template::options(514, [(2, 4)], [(82, 16)]);
    let (mut one, mut other) = (Decoding::new(), Decoding::new());
    other.send(message);
    assert!(other.datagrams.has_news() && other.datagrams.take_news().is_empty());
    one.send(Message::v9().template(&template));
    say_names(&mut one, Message::v9(), &names, &[(7, "Te0/0/7")]);
    let news = one.datagrams.take_news();
    assert_eq!(news.iter().map(|(exporter, _)| *exporter).collect::<Vec<_>>(), [exporter()]);
    assert!(!one.datagrams.has_news() && one.datagrams.take_news().is_empty());
    other.take_up(&news);
    assert_eq!(bytes(&mut other), ["5"]);
    assert_eq!(other.datagrams.name(exporter(), Named::Interface(7)), Some("Te0/0/7"));
    assert!(!other.datagrams.has_news(), "nobody is told what others were told");

    // What it is told itself after that is newer.
    say_names(&mut other, Message::v9(), &names, &[(7, "Hu0/1")]);
    let wider = Template::new(256, [(1, 8)]);
    other.send(Message::v9().template(&wider));
    other.take_up(&news);
    assert_eq!(other.datagrams.name(exporter(), Named::Interface(7)), Some("Hu0/1"));
    other.send(Message::v9().data(&wider, [[Value::Number(9)]]));
    assert_eq!(bytes(&mut other), ["9"]);
}

#[test]
fn what_waits_does_not_depend_on_others_or_on_how_many_templates_are_awaited() {
    let (template, message) = flow_of(5);
    let mut decoding = Decoding::new();
    decoding.send(message);
    // Streams beyond the bound, and an exporter whose clock is an hour ahead.
    for domain in 1..1_200 {
        decoding.send(Message::v9().domain(domain).template(&template));
    }
    let ahead = 1_700_000_000_000 + 3_600_000;
    decoding.at(ahead, "203.0.113.9:2055", &flow_of(1).1.bytes());
    decoding.send(Message::v9().template(&template));
    assert_eq!(bytes(&mut decoding), ["5"]);

    let templates: Vec<_> = (256..376).map(|id| Template::new(id, [(1, 4)])).collect();
    for template in &templates {
        decoding.send(Message::v9().data(template, [[Value::Number(1)]]));
    }
    for template in &templates {
        decoding.send(Message::v9().template(template));
    }
    assert_eq!(decoding.take().len(), templates.len());
}

#[test]
fn decoders_that_share_a_bound_keep_no_more_together() {
    let bound = WaitingBound::new(64 << 10);
    let (mut one, mut other) = (Decoding::new(), Decoding::new());
    for decoding in [&mut one, &mut other] {
        decoding.datagrams.bound_waiting(bound.clone());
    }
    // One may take all of it.
    let (template, message) = flow_of(5);
    let message = message.bytes();
    for _ in 0..300 {
        one.decode_in_any_order(&message);
    }
    one.send(Message::v9().template(&template));
    assert_eq!(one.take().len(), 300);
    for _ in 0..1_000 {
        one.decode_in_any_order(&flow_of(5).1.domain(7).bytes());
        other.decode_in_any_order(&flow_of(5).1.domain(7).bytes());
    }
    for decoding in [&mut one, &mut other] {
        decoding.send(Message::v9().domain(7).template(&template));
    }
    let kept = one.take().len() + other.take().len();
    assert!((300..400).contains(&kept), "{kept}");
}

#[test]
fn numbers_say_nothing_of_datagrams_that_come_in_any_order() {
    let sflow = |number| Sflow { sequence: number, ..Sflow::new([]) }.bytes();
    let v9 = |number| Message::v9().template(&flow_of(0).0).sequence(number).bytes();
    let mut decoding = Decoding::new();
    for payload in
        [900, 3, 500, 3, 40_000].into_iter().flat_map(|number| [sflow(number), v9(number)])
    {
        decoding.decode_in_any_order(&payload);
    }
    assert_eq!(decoding.take(), []);
    let found = decoding.activity();
    let expected = Activity {
        datagrams: 10,
        last_received: found.last_received,
        clock_skew: found.clock_skew,
        ..Activity::default()
    };
    assert_eq!(found, expected);
}
