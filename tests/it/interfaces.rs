//! Labels with names of interfaces: the operator's, or else the exporter's.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    flow::datagram::Datagram,
    ledger::SeriesTable,
    pipeline::{Counting, Pipeline},
    schema::{Class, Filter, Measure, Schema, View},
    traffic::{Counts, Interface, Interfaces, Missing, Rule},
};
use testkit::netflow::{Message, Template, V5, V5Flow, Value};

const LABELS: [&str; 4] = [
    "input_interface_name",
    "output_interface_name",
    "input_interface_description",
    "output_interface_description",
];

fn view(labels: &[&str]) -> View {
    let dimensions = View::dimensions_of(labels.iter().copied()).unwrap();
    View::new("test", &dimensions, &[Class::Transmit], &[Measure::Bytes])
}

/// Interfaces by exporter: index, name and description.
fn given(interfaces: &[(&str, u32, &str, &str)]) -> Counting {
    let mut all = Interfaces::default();
    for &(exporter, index, name, description) in interfaces {
        let interface = Interface { name: name.into(), description: description.into() };
        all.insert(exporter.into(), BTreeMap::from([(index, interface)]));
    }
    Counting { interfaces: Arc::new(all), ..Counting::from(&Rule::of_as(64512)) }
}

/// By the values of `labels`, the bytes of the series.
fn series(labels: &[&str], counts: &[Counts]) -> Vec<(Vec<String>, u64)> {
    let schema = Arc::clone(counts[0].schema());
    let mut table = SeriesTable::new(schema, Arc::new(AsNames::default()), None);
    for counts in counts {
        table.merge(counts, &[]);
    }
    let snapshot = table.take_snapshot(Some(UnixMs::new(1)), Instant::now());
    let mut all: Vec<_> = snapshot
        .series()
        .map(|series| {
            let mut values = BTreeMap::new();
            series.labels(|name, value| {
                values.insert(name.to_owned(), value.to_owned());
            });
            let values = labels.iter().map(|label| values[*label].clone()).collect();
            (values, series.counts[0])
        })
        .collect();
    all.sort();
    all
}

fn row(values: &[&str], bytes: u64) -> (Vec<String>, u64) {
    (values.iter().map(ToString::to_string).collect(), bytes)
}

/// What pmacct's records of these exporters are counted by: of an address and a host name.
fn of_pmacct(counting: Counting, exporters: &[(&str, &str)]) -> (Counts, Vec<(Vec<String>, u64)>) {
    let schema = Arc::new(Schema::new(vec![view(&LABELS)]));
    let mut pipeline = Pipeline::new(&schema, counting);
    let mut counts = Counts::new(schema);
    for (address, hostname) in exporters {
        let message = format!(
            r#"{{"event_type": "purge", "as_src": 64512, "as_dst": 1, "bytes": 5, "iface_in": 3,
                "iface_out": 10, "peer_ip_src": "{address}", "label": "{hostname}"}}"#
        );
        pipeline.message(message.as_bytes(), &mut counts, |reason, text| {
            panic!("{reason:?}: {text}");
        });
    }
    let series = series(&LABELS, std::slice::from_ref(&counts));
    (counts, series)
}

#[test]
fn the_operators_names_count_for_every_format_by_address_prefix_or_host_name() {
    let counting = given(&[
        ("203.0.113.0/24", 3, "xe-0/0/0", ""),
        ("203.0.113.7", 10, "", "Transit: Example"),
        ("edge1", 10, "ae1", "Peering"),
    ]);
    let (_, found) = of_pmacct(
        counting,
        &[("203.0.113.1", ""), ("203.0.113.7", ""), ("203.0.113.7", "edge1"), ("192.0.2.1", "")],
    );
    let expected = [
        row(&["", "", "", ""], 5),
        row(&["", "", "", "Transit: Example"], 5),
        row(&["", "ae1", "", "Peering"], 5),
        row(&["xe-0/0/0", "", "", ""], 5),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_interface_that_nobody_names_is_missing_though_the_record_has_it() {
    let (counts, _) = of_pmacct(given(&[]), &[("203.0.113.1", "")]);
    assert_eq!(counts.values_missing[..], [Missing { values: 1, without_field: 0 }; 4]);
}

/// Takes datagrams of 203.0.113.1.
struct Exporter {
    pipeline: Pipeline,
    schema: Arc<Schema>,
    sent: u32,
}

impl Exporter {
    fn new(view: View, counting: Counting) -> Self {
        let schema = Arc::new(Schema::new(vec![view]));
        Exporter { pipeline: Pipeline::new(&schema, counting), schema, sent: 0 }
    }

    fn send(&mut self, payload: &[u8]) -> Counts {
        let sender = "203.0.113.1:2055".parse().unwrap();
        let datagram = Datagram::new(payload, sender, UnixMs::new(1_700_000_000_000));
        let mut counts = Counts::new(Arc::clone(&self.schema));
        self.pipeline.datagram(&datagram, &mut counts);
        counts
    }

    /// 600 bytes from interface 3 to 4.
    fn flow(&mut self) -> Counts {
        self.sent += 1;
        self.send(&V5 { sequence: self.sent - 1, ..V5::new([V5Flow::default()]) }.bytes())
    }

    fn name(&mut self, sequence: u32, interface: u64, name: &str) {
        let options = Template::options(512, [(10, 4)], [(82, 32), (83, 32)]);
        let record = [Value::Number(interface), name.into(), format!("to {name}").as_str().into()];
        let message = Message::v9().sequence(sequence).template(&options);
        self.send(&message.data(&options, [record]).bytes());
    }
}

#[test]
fn the_operators_names_count_before_the_exporters() {
    let counting = given(&[("203.0.113.1", 3, "mine", "")]);
    let mut exporter = Exporter::new(view(&LABELS), counting);
    exporter.name(0, 3, "Te0/3");
    exporter.name(1, 4, "Te0/4");
    let found = series(&LABELS, &[exporter.flow()]);
    assert_eq!(found, [row(&["mine", "Te0/4", "to Te0/3", "to Te0/4"], 600)]);
}

#[test]
fn a_name_that_comes_or_changes_begins_a_series_and_no_byte_counts_twice() {
    let labels = ["input_interface_name"];
    let mut exporter = Exporter::new(view(&labels), given(&[]));
    let mut counts = vec![exporter.flow()];
    exporter.name(0, 3, "Te0/3");
    counts.extend([exporter.flow(), exporter.flow()]);
    exporter.name(1, 3, "Te1/3");
    counts.push(exporter.flow());
    let expected = [row(&[""], 600), row(&["Te0/3"], 1200), row(&["Te1/3"], 600)];
    assert_eq!(series(&labels, &counts), expected);
}

#[test]
fn other_views_and_names_take_effect_and_what_the_exporter_said_stays() {
    let labels = ["input_interface_name", "output_interface_name"];
    let mut exporter = Exporter::new(view(&["hostname"]), given(&[]));
    exporter.name(0, 3, "Te0/3");
    exporter.flow();
    let schema = Arc::new(Schema::new(vec![view(&labels)]));
    exporter.pipeline.change(&schema, given(&[("203.0.113.1", 4, "mine", "")]));
    exporter.schema = schema;
    assert_eq!(series(&labels, &[exporter.flow()]), [row(&["Te0/3", "mine"], 600)]);
}

#[test]
fn flows_are_filtered_by_names() {
    let filter = |value| Filter::new("output_interface_name", [value]).unwrap();
    for (value, flows) in [("Te0/4", 1), ("Te0/3", 0), ("", 0)] {
        let view = view(&["hostname"]).filtered(vec![filter(value)]);
        let mut exporter = Exporter::new(view, given(&[]));
        exporter.name(0, 4, "Te0/4");
        assert_eq!(exporter.flow().counted.flows, flows, "{value}");
    }
}
