//! What addresses say where records don't: AS, country and site.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use flow_exporter::{
    address::{Layer, Networks, Shared, Table, Tables},
    asn::AsNames,
    ledger::SeriesTable,
    pipeline::{Counting, Pipeline},
    schema::{Class, Filter, Measure, Schema, View},
    traffic::{AsSource, Counts, Missing, Rule},
};

const TABLE: &str = "network,asn,country_code
192.0.2.0/24,64512,DE
198.51.100.0/24,15169,US
";
const NETWORKS: &str = "prefix,as,name,site
192.0.2.0/25,64513,Customer,Berlin
192.0.2.128/25,,Office,
203.0.113.0/24,,,
";

fn table() -> Shared<Table> {
    Shared::new(Arc::new(Table::of([Layer::parse(TABLE.as_bytes()).expect("a table")])))
}

fn networks(text: &str) -> Shared<Networks> {
    Shared::new(Arc::new(Networks::parse(text).expect("networks")))
}

/// A view of all classes whose series show these labels.
fn view(labels: &[&str]) -> View {
    let dimensions = View::dimensions_of(labels.iter().copied()).expect("labels");
    View::new("test", &dimensions, &Class::ALL, &[Measure::Bytes])
}

/// The labels that are not empty of the only series, and what else was counted.
fn counted(
    counting: &Counting,
    labels: &[&str],
    message: &str,
) -> (BTreeMap<String, String>, Class, Counts) {
    let schema = Arc::new(Schema::new(vec![view(labels)]));
    let mut counts = Counts::new(Arc::clone(&schema));
    let mut pipeline = Pipeline::new(&schema, counting.clone());
    pipeline.message(message.as_bytes(), &mut counts, |reason, text| {
        panic!("{reason:?}: {text}");
    });
    let mut table = SeriesTable::new(schema, Arc::new(AsNames::none()), None);
    table.merge(&counts, &[]);
    let snapshot = table.take_snapshot(None, Instant::now());
    let series = snapshot.series().next().expect("a series");
    let mut labels = BTreeMap::new();
    series.labels(|name, value| {
        labels.insert(name.to_owned(), value.to_owned());
    });
    labels.retain(|_, value| !value.is_empty());
    (labels, series.head.class, counts)
}

fn between(source: &str, destination: &str, fields: &str) -> String {
    format!(r#"{{"ip_src": "{source}", "ip_dst": "{destination}", "bytes": 1{fields}}}"#)
}

/// Both AS of a flow, by what is known.
fn ases(counting: &Counting, message: &str) -> (String, String) {
    let (mut labels, ..) = counted(counting, &["source_as", "destination_as"], message);
    let mut take = |name: &str| labels.remove(name).unwrap_or_default();
    (take("source_as"), take("destination_as"))
}

#[test]
fn an_as_that_the_record_lacks_is_that_of_the_network_or_else_of_the_table() {
    let tables =
        Tables { networks: Some(networks(NETWORKS)), table: Some(table()), ..Tables::default() };
    let all = Counting { tables, table_says_as: true, ..Counting::from(&Rule::of_as(64512)) };
    for no_as in [0, 23456, 65535, u32::MAX] {
        let fields = format!(r#", "as_src": {no_as}, "as_dst": {no_as}"#);
        let ases = |source, destination| ases(&all, &between(source, destination, &fields));
        assert_eq!(ases("192.0.2.1", "198.51.100.1"), ("64513".into(), "15169".into()));
        // A network without an AS says nothing of it.
        assert_eq!(ases("192.0.2.200", "198.51.100.1").0, "64512");
        assert_eq!(ases("203.0.113.1", "198.51.100.1").0, no_as.to_string(), "nobody knows it");
    }
    let fields = r#", "as_src": 1, "as_dst": 0"#;
    let message = between("192.0.2.1", "203.0.113.1", fields);
    assert_eq!(ases(&all, &message), ("1".into(), "0".into()), "the record's counts first");

    let (.., counts) = counted(&all, &["source_as"], &between("192.0.2.1", "203.0.113.1", ""));
    let found = |counts: &Counts| AsSource::ALL.map(|found| counts.as_found[found.index()]);
    assert_eq!(found(&counts), [0, 1, 0, 1, 0]);
    let (.., counts) = counted(&all, &["source_as"], &between("192.0.2.200", "1.1.1.1", fields));
    assert_eq!(found(&counts), [1, 0, 0, 1, 0]);
    let (.., counts) = counted(&all, &["source_as"], &between("192.0.2.200", "198.51.100.1", ""));
    assert_eq!(found(&counts), [0, 0, 2, 0, 0]);
    let (.., counts) = counted(&all, &["source_as"], r#"{"as_src": 1, "bytes": 1}"#);
    assert_eq!(found(&counts), [1, 0, 0, 0, 1]);

    // A table for countries alone leaves the AS to the record.
    let countries = Counting { table_says_as: false, ..all.clone() };
    let message = between("192.0.2.200", "198.51.100.1", "");
    assert_eq!(ases(&countries, &message), ("0".into(), "0".into()));
}

#[test]
fn an_as_that_comes_with_a_default_route_is_that_of_the_table_if_it_knows_the_address() {
    let tables = Tables { table: Some(table()), ..Tables::default() };
    let by_table = Counting { tables, table_says_as: true, ..Counting::from(&Rule::of_as(64512)) };
    let message = |address: &str, asn: u32, masks: &str| {
        between(address, address, &format!(r#", "as_src": {asn}, "as_dst": {asn}{masks}"#))
    };
    let said = |source: &str, destination: &str| (source.to_owned(), destination.to_owned());
    let known = "198.51.100.1";
    for (address, asn, masks, expected) in [
        (known, 3356, r#", "mask_src": 0, "mask_dst": 24"#, said("15169", "3356")),
        (known, 3356, r#", "mask_src": 8, "mask_dst": 0"#, said("3356", "15169")),
        // Nothing is said of the route.
        (known, 3356, "", said("3356", "3356")),
        ("203.0.113.1", 3356, r#", "mask_src": 0, "mask_dst": 0"#, said("3356", "3356")),
        // The world does not see private ones.
        (known, 64513, r#", "mask_src": 0, "mask_dst": 0"#, said("64513", "64513")),
    ] {
        assert_eq!(ases(&by_table, &message(address, asn, masks)), expected, "{address}: {masks}");
    }
    let both = message(known, 3356, r#", "mask_src": 0, "mask_dst": 24"#);
    let (.., counts) = counted(&by_table, &["source_as"], &both);
    assert_eq!(AsSource::ALL.map(|found| counts.as_found[found.index()]), [1, 0, 1, 0, 0]);
    let unknown = message("203.0.113.1", 3356, r#", "mask_src": 0, "mask_dst": 24"#);
    let (.., counts) = counted(&by_table, &["source_as"], &unknown);
    assert_eq!(AsSource::ALL.map(|found| counts.as_found[found.index()]), [2, 0, 0, 0, 0]);

    let without = Counting { table_says_as: false, ..by_table.clone() };
    assert_eq!(ases(&without, &both), said("3356", "3356"));
    let networks = Tables {
        networks: Some(networks("prefix,as\n198.51.100.0/24,64513")),
        ..Tables::default()
    };
    let by_list = Counting { tables: networks, ..Counting::from(&Rule::of_as(64512)) };
    assert_eq!(ases(&by_list, &both), said("3356", "3356"));
}

#[test]
fn flows_are_classified_by_the_as_of_their_addresses() {
    let tables = Tables { table: Some(table()), ..Tables::default() };
    let counting = Counting { tables, table_says_as: true, ..Counting::from(&Rule::of_as(64512)) };
    let class = |source, destination| {
        let message = between(source, destination, r#", "as_src": 0, "as_dst": 0"#);
        counted(&counting, &["hostname"], &message).1
    };
    assert_eq!(class("192.0.2.1", "198.51.100.1"), Class::Transmit);
    assert_eq!(class("198.51.100.1", "192.0.2.1"), Class::Receive);
    assert_eq!(class("198.51.100.1", "198.51.100.2"), Class::Transit);
}

#[test]
fn networks_of_the_list_are_local_and_give_the_site_of_the_local_end() {
    let networks = networks(NETWORKS);
    let tables = Tables { networks: Some(networks.clone()), ..Tables::default() };
    let rule = Rule { has_list: true, ..Rule::default() };
    let counting = Counting { tables, ..Counting::from(&rule) };
    let site = |source: &str, destination: &str| {
        let (labels, class, counts) =
            counted(&counting, &["site"], &between(source, destination, ""));
        let site = labels.get("site").cloned().unwrap_or_default();
        let missing = Missing { values: u64::from(site.is_empty()), without_field: 0 };
        assert_eq!(counts.values_missing[0], missing);
        (class, site)
    };
    let (berlin, office) = ("192.0.2.1", "192.0.2.200");
    assert_eq!(site(berlin, "1.1.1.1"), (Class::Transmit, "Berlin".into()));
    assert_eq!(site("1.1.1.1", berlin), (Class::Receive, "Berlin".into()));
    assert_eq!(site(office, berlin), (Class::Internal, "Office".into()), "a name without a site");
    assert_eq!(site("203.0.113.1", "1.1.1.1"), (Class::Transmit, String::new()));
    assert_eq!(site("1.1.1.1", "1.1.1.2"), (Class::Transit, String::new()));

    // What replaces the list counts from the next message on.
    let schema = Arc::new(Schema::new(vec![view(&["site"])]));
    let mut pipeline = Pipeline::new(&schema, counting);
    let mut counts = Counts::new(schema);
    let mut message = |counts: &mut Counts| {
        pipeline.message(between(berlin, "1.1.1.1", "").as_bytes(), counts, |_, _| {});
        counts.texts().iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(message(&mut counts), ["Berlin"]);
    let moved = NETWORKS.replace("Berlin", "Hamburg");
    networks.replace(Arc::new(Networks::parse(&moved).expect("networks")));
    assert_eq!(message(&mut counts), ["Berlin", "Hamburg"]);
}

#[test]
fn a_country_that_the_record_lacks_is_that_of_the_address() {
    let tables = Tables { table: Some(table()), ..Tables::default() };
    let counting = Counting { tables, ..Counting::from(&Rule::of_as(0)) };
    let labels = ["source_country", "destination_country"];
    let countries = |message: &str| counted(&counting, &labels, message).0.into_values();
    let message = between("192.0.2.1", "198.51.100.1", "");
    assert_eq!(countries(&message).collect::<Vec<_>>(), ["US", "DE"]);
    let message = between("192.0.2.1", "198.51.100.1", r#", "country_ip_dst": "FR""#);
    assert_eq!(countries(&message).collect::<Vec<_>>(), ["FR", "DE"]);
    let message = between("1.1.1.1", "198.51.100.1", r#", "country_ip_src": """#);
    assert_eq!(countries(&message).collect::<Vec<_>>(), ["US"]);

    // The embedded ranges know countries, and say no AS.
    let tables = Tables { has_embedded_countries: true, ..Tables::default() };
    let embedded = Counting { tables, ..Counting::from(&Rule::of_as(0)) };
    let message = between("8.8.8.8", "127.0.0.1", "");
    let (labels, ..) = counted(&embedded, &["source_country", "source_as"], &message);
    assert_eq!((&*labels["source_country"], &*labels["source_as"]), ("US", "0"));

    // Filters see it as well.
    let passes = |country| {
        let filter = Filter::new("source_country", [country]).expect("a filter");
        let schema = Arc::new(Schema::new(vec![view(&["hostname"]).filtered(vec![filter])]));
        let mut counts = Counts::new(Arc::clone(&schema));
        let message = between("192.0.2.1", "198.51.100.1", "");
        let mut pipeline = Pipeline::new(&schema, counting.clone());
        pipeline.message(message.as_bytes(), &mut counts, |_, _| {});
        !counts.is_empty()
    };
    assert!(passes("DE") && !passes("US"));
}
