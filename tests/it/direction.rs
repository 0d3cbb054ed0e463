//! Which way traffic goes: what makes an end of a flow local, and what follows from it.

use std::{collections::BTreeMap, sync::Arc};

use flow_exporter::{
    clock::UnixMs,
    diagnosis::ExporterTally,
    flow::datagram::{Activity, Datagram},
    metrics::Metrics,
    pipeline::{Counting, Pipeline},
    schema::{Class, Dimension, KeyHead, Measure, Schema, View},
    traffic::{
        AddressSet, ByExporter, CountDirection, Counts, Directions, Ignored, RangeSet,
        RecordTotals, Rule,
    },
};
use testkit::netflow::{Message, Template, Value};

/// A rule for these local networks and no AS.
fn of_networks(networks: &[&str]) -> Rule {
    let networks = networks.iter().map(|text| text.parse().expect("a prefix"));
    Rule { networks: AddressSet::new(networks), ..Rule::default() }
}

/// What a worker counts of these messages, in a view of these classes.
fn counts(counting: impl Into<Counting>, classes: &[Class], messages: &[&str]) -> Counts {
    let view = View::new("all", &[Dimension::Hostname], classes, &[Measure::Bytes]);
    let schema = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(&schema, counting);
    let mut counts = Counts::new(schema);
    for message in messages {
        pipeline.message(message.as_bytes(), &mut counts, |reason, text| {
            panic!("{reason:?}: {text}");
        });
    }
    counts
}

/// Bytes by class.
fn by_class(counts: &Counts) -> BTreeMap<Class, u64> {
    let of = |key: &[u32]| KeyHead::try_from(key[0]).expect("a class").class;
    counts.series().map(|(key, counts)| (of(key), counts.iter().sum())).collect()
}

/// The class of a message.
fn class(rule: &Rule, message: &str) -> Class {
    let counts = by_class(&counts(rule, &Class::ALL, &[message]));
    let [class] = counts.into_keys().collect::<Vec<_>>().try_into().expect("one class");
    class
}

fn between(source: &str, destination: &str) -> String {
    format!(
        r#"{{"as_src": 0, "as_dst": 0, "ip_src": "{source}", "ip_dst": "{destination}", "bytes": 1}}"#
    )
}

#[test]
fn an_end_is_local_if_its_address_is_in_a_local_network() {
    let rule = of_networks(&["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32", "10.1.2.3/32"]);
    let class = |source, destination| class(&rule, &between(source, destination));
    for ours in ["192.0.2.0", "192.0.2.255", "10.1.2.3", "2001:db8:ffff::1", "::ffff:192.0.2.7"] {
        assert_eq!(class(ours, "198.51.100.1"), Class::Transmit, "{ours}");
        assert_eq!(class("2001:db9::1", ours), Class::Receive, "{ours}");
        assert_eq!(class("192.0.2.1", ours), Class::Internal, "{ours}");
    }
    for foreign in ["192.0.1.255", "192.0.3.0", "10.1.2.2", "10.1.2.4", "2001:db9::", "::"] {
        assert_eq!(class(foreign, "198.51.100.1"), Class::Transit, "{foreign}");
    }
    // Without an address, the first one of the network counts; without either, nothing does.
    let network = r#"{"as_src": 0, "as_dst": 0, "net_dst": "192.0.2.128", "bytes": 1}"#;
    assert_eq!(self::class(&rule, network), Class::Receive);
    assert_eq!(self::class(&rule, r#"{"as_src": 0, "as_dst": 0, "bytes": 1}"#), Class::Transit);
}

#[test]
fn an_end_is_local_by_its_as_or_its_address() {
    let rule = Rule { ases: RangeSet::new([64512..=64512]), ..of_networks(&["192.0.2.0/24"]) };
    let message = r#"{"as_src": 64512, "as_dst": 65010, "ip_dst": "192.0.2.1", "bytes": 1}"#;
    assert_eq!(class(&rule, message), Class::Internal);
    assert_eq!(class(&rule, &message.replace("192.0.2.1", "192.0.3.1")), Class::Transmit);
    assert_eq!(class(&rule, &message.replace("64512", "64513")), Class::Receive);
}

#[test]
fn views_count_the_classes_that_they_name_and_what_none_counts_is_ignored() {
    let rule = of_networks(&["192.0.2.0/24"]);
    let messages = [
        ("192.0.2.1", "198.51.100.1", 1),
        ("198.51.100.1", "192.0.2.1", 20),
        ("192.0.2.1", "192.0.2.2", 300),
        ("198.51.100.1", "198.51.100.2", 4000),
    ];
    let messages = messages.map(|(source, destination, bytes)| {
        between(source, destination).replace(r#""bytes": 1"#, &format!(r#""bytes": {bytes}"#))
    });
    let messages = messages.each_ref().map(String::as_str);
    let (receive, transmit) = (Class::Receive, Class::Transmit);
    for (classes, expected) in [
        (&[receive, transmit][..], &[(receive, 20), (transmit, 301)][..]),
        (
            &[receive, transmit, Class::Internal],
            &[(receive, 20), (transmit, 1), (Class::Internal, 300)],
        ),
        (&[Class::Internal], &[(Class::Internal, 300)]),
        (&[receive, Class::Transit], &[(receive, 20), (Class::Transit, 4000)]),
    ] {
        let counts = counts(&rule, classes, &messages);
        assert_eq!(by_class(&counts), expected.iter().copied().collect());
        let sum = expected.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let bytes = |reason: Ignored| counts.ignored[reason.index()].bytes;
        let passing = if classes.contains(&Class::Transit) { 0 } else { 4000_u64 };
        let ignored = (bytes(Ignored::OtherAs), bytes(Ignored::OtherClass));
        assert_eq!(ignored, (passing.into(), (4321 - sum - passing).into()));
        assert_eq!((counts.counted.bytes, counts.classes), (sum.into(), [1; 4]));
    }
}

#[test]
fn interfaces_decide_for_the_exporters_that_have_external_ones() {
    let mut external_interfaces = ByExporter::default();
    for (exporter, interfaces) in [("203.0.113.1", 7), ("203.0.113.0/24", 8), ("edge 1", 9)] {
        external_interfaces.insert(exporter.into(), RangeSet::new([interfaces..=interfaces]));
    }
    let rule = Rule { external_interfaces, ..Rule::of_as(64512) };
    let class = |exporter: &str, input: &str, output: &str| {
        let message =
            format!(r#"{{"as_src": 64512, "as_dst": 1, "bytes": 1{exporter}{input}{output}}}"#);
        class(&rule, &message)
    };
    let (router, other) =
        (r#", "peer_ip_src": "203.0.113.1""#, r#", "peer_ip_src": "203.0.113.2""#);
    let named = r#", "label": "edge 1", "peer_ip_src": "203.0.113.1""#;
    let (input, output) =
        (|index| format!(r#", "iface_in": {index}"#), |index| format!(r#", "iface_out": {index}"#));
    for (exporter, external) in [(router, 7), (other, 8), (named, 9)] {
        let (inside, outside) = (1, external);
        let class = |from, to| class(exporter, &input(from), &output(to));
        assert_eq!(class(outside, inside), Class::Receive, "{exporter}");
        assert_eq!(class(inside, outside), Class::Transmit, "{exporter}");
        assert_eq!(class(outside, outside), Class::Transit, "{exporter}");
        assert_eq!(class(inside, inside), Class::Internal, "{exporter}");
    }
    assert_eq!(class(router, "", &output(7)), Class::Transmit);
    // Without interfaces, and for other exporters, the AS decides.
    assert_eq!(class(router, "", ""), Class::Transmit);
    let foreign = r#", "label": "edge 2", "peer_ip_src": "198.51.100.1""#;
    assert_eq!(class(foreign, &input(7), &output(1)), Class::Transmit);
}

#[test]
fn flows_that_an_exporter_saw_in_the_other_direction_are_ignored_in_each_view_and_unknown_ones_count()
 {
    let seen = |exporter: &str, direction: &str, bytes| {
        format!(
            r#"{{"as_src": 1, "as_dst": 64512, "bytes": {bytes}, "peer_ip_src": "{exporter}"{direction}}}"#
        )
    };
    let messages = |exporter: &str| {
        let directions = ["ingress", "egress"]
            .map(|direction| format!(r#", "sampling_direction": "{direction}""#));
        let [ingress, egress] = directions;
        [seen(exporter, &ingress, 1), seen(exporter, &egress, 20), seen(exporter, "", 300)]
    };
    let own = [
        ("203.0.113.0/24", CountDirection::Egress),
        ("203.0.113.7", CountDirection::Both),
        ("203.0.113.8", CountDirection::Ingress),
    ];
    let mut exporters = ByExporter::default();
    for (exporter, direction) in own {
        exporters.insert(exporter.into(), direction);
    }
    for (default, exporter, counted) in [
        (CountDirection::Both, "198.51.100.1", 321),
        (CountDirection::Ingress, "198.51.100.1", 301),
        (CountDirection::Egress, "198.51.100.1", 320),
        (CountDirection::Ingress, "203.0.113.1", 320),
        (CountDirection::Ingress, "203.0.113.7", 321),
        (CountDirection::Both, "203.0.113.8", 301),
    ] {
        let directions = Directions { default, exporters: exporters.clone() };
        let counting = Counting { directions, ..Counting::from(&Rule::of_as(64512)) };
        let messages = messages(exporter);
        let counts = counts(counting, &Class::ALL, &messages.each_ref().map(String::as_str));
        assert_eq!(counts.counted.bytes, counted, "{default:?}: {exporter}");
        let of_series: u64 =
            counts.series().flat_map(|(_, row)| row.iter().collect::<Vec<_>>()).sum();
        assert_eq!(u128::from(of_series), counted);
        let bytes = 321 - counted;
        let ignored = RecordTotals { flows: u64::from(bytes > 0), bytes };
        for found in [counts.ignored, counts.ignored_by_view[0]] {
            assert_eq!(found[Ignored::OtherDirection.index()], ignored);
            assert_eq!(found.iter().map(|each| each.flows).sum::<u64>(), ignored.flows);
        }
    }
}

/// What an exporter did that reported flows with these bytes and directions.
fn activity(counting: &Counting, flows: &[(u64, u64)]) -> Activity {
    let template = Template::new(256, [(1, 4), (61, 1)]);
    let records: Vec<_> =
        flows.iter().map(|&(bytes, direction)| [bytes, direction].map(Value::Number)).collect();
    let payload = Message::ipfix().template(&template).data(&template, &records).bytes();
    let view = View::new("all", &[], &Class::ALL, &[Measure::Bytes]);
    let schema = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(&schema, counting.clone());
    let sender = "203.0.113.1:2055".parse().expect("an address");
    let datagram = Datagram::new(&payload, sender, UnixMs::EPOCH);
    pipeline.datagram(&datagram, &mut Counts::new(schema));
    let mut found = Vec::new();
    pipeline.take_activity(|_, activity| found.push(activity));
    let [activity] = found.try_into().expect("one exporter");
    activity
}

#[test]
fn exporters_that_report_both_directions_are_told_what_to_do_unless_a_direction_is_given() {
    let exporter = "203.0.113.1".parse().expect("an address");
    let doubts = |counting: &Counting, flows: &[(u64, u64)]| {
        let mut tally = ExporterTally::default();
        tally.add(Some(exporter), &activity(counting, flows));
        tally.doubts()
    };
    let all = Counting::default();
    let both = [(40, 0), (60, 1), (1000, 255)];
    let [text] = doubts(&all, &both).try_into().expect("one");
    assert!(
        text.starts_with("exporter 203.0.113.1 exports flows where they come in (40 %"),
        "{text}"
    );
    assert_eq!(doubts(&all, &[(95, 0), (5, 1)]), [""; 0]);
    assert_eq!(doubts(&all, &[(94, 0), (6, 1)]).len(), 1);
    assert_eq!(doubts(&all, &[(6, 0), (94, 1)]).len(), 1);
    assert_eq!(doubts(&all, &[(100, 0), (100, 255)]), [""; 0]);
    let default = Directions { default: CountDirection::Ingress, ..Directions::default() };
    let mut own = Directions::default();
    own.exporters.insert("203.0.113.0/24".into(), CountDirection::Both);
    for directions in [default, own] {
        assert_eq!(doubts(&Counting { directions, ..Counting::default() }, &both), [""; 0]);
    }
}

#[test]
fn bytes_by_direction_are_shown_for_each_exporter_as_they_are_reported() {
    let schema = Arc::new(Schema::new(vec![View::new("all", &[], &Class::ALL, &[Measure::Bytes])]));
    let (mut counts, metrics) = (Counts::new(schema), Metrics::new());
    let exporter = "203.0.113.1".parse().expect("an address");
    let flows = [(40, 0), (60, 1), (7, 1), (1000, 255)];
    counts.exporters.push((Some(exporter), activity(&Counting::default(), &flows)));
    metrics.add_counts(&counts);
    let name = "flow_exporter_collector_direction_bytes_total";
    let counted = metrics.counted();
    let family = counted.iter().find(|family| family.name == name).expect("the metric");
    let shown = family.samples.iter().map(|sample| {
        let of = |name| {
            sample.labels.iter().find(|(label, _)| label == name).expect("a label").1.as_str()
        };
        assert_eq!(of("exporter"), "203.0.113.1");
        (of("direction"), sample.value)
    });
    assert_eq!(
        shown.collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>(),
        [("egress", 67.0), ("ingress", 40.0)]
    );
}
