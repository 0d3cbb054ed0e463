//! What views make of pmacct's records: every label, class, measure and filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    ledger::SeriesTable,
    metrics::Metrics,
    pipeline::Pipeline,
    schema::{Class, Dimension, Filter, Measure, Schema, View},
    traffic::{Counts, FilteredOut, Ignored, Missing, RecordTotals, Rule},
};

const ASN: u32 = 64512;

/// A record as pmacct 1.7.9 writes it with a wide `aggregate`.
const WIDE: &str = r#"{"event_type": "purge", "tag": 7000000001, "label": "edge1", "as_src": 15169,
    "as_dst": 64512, "comms": "64512:1 64512:2", "as_path": "3356 15169", "peer_as_src": 3356,
    "peer_as_dst": 0, "peer_ip_src": "203.0.113.1", "iface_in": 12, "iface_out": 4294967295,
    "ip_src": "198.51.100.77", "net_src": "198.51.100.0", "ip_dst": "2001:db8:1:2::9",
    "net_dst": "2001:db8:1::", "mask_src": 25, "mask_dst": 48, "port_src": 443,
    "port_dst": 51044, "tcp_flags": "26", "ip_proto": "tcp", "tos": 184, "vlan_in": 100,
    "sampling_direction": "i", "country_ip_src": "US", "country_ip_dst": "DE",
    "mpls_vpn_rd": "0:64512:1", "class": "TLS", "packets": 10, "flows": 2, "bytes": 9000}"#;

/// A view whose series show all these labels.
fn view(labels: &[&str]) -> View {
    let dimensions = View::dimensions_of(labels.iter().copied()).expect("labels");
    View::new("test", &dimensions, &[Class::Receive, Class::Transmit], &[Measure::Bytes])
}

/// What a worker counts of these messages.
fn counts(view: View, messages: &[&str]) -> Counts {
    let schema = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(&schema, &Rule::of_as(ASN));
    let mut counts = Counts::new(schema);
    for message in messages {
        pipeline.message(message.as_bytes(), &mut counts, |reason, text| {
            panic!("{reason:?}: {text}");
        });
    }
    counts
}

/// The series of these messages: labels without empty ones, and counts.
fn series(view: View, messages: &[&str]) -> Vec<(BTreeMap<String, String>, Vec<u64>)> {
    let counts = counts(view, messages);
    let names = AsNames::of([(15169, "Google"), (3356, "Lumen")]);
    let mut table = SeriesTable::new(Arc::clone(counts.schema()), Arc::new(names), None);
    table.merge(&counts, &[]);
    let snapshot = table.take_snapshot(Some(UnixMs::new(1)), Instant::now());
    let mut all: Vec<_> = snapshot
        .series()
        .map(|series| {
            let mut labels = BTreeMap::new();
            series.labels(|name, value| {
                let value = value.to_owned();
                assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
            });
            labels.retain(|_, value| !value.is_empty());
            (labels, series.counts.to_vec())
        })
        .collect();
    all.sort();
    all
}

/// The labels of the only series.
fn labels(labels: &[&str], message: &str) -> BTreeMap<String, String> {
    let [(labels, _)] = series(view(labels), &[message]).try_into().expect("one series");
    labels
}

#[test]
fn every_label_shows_what_the_record_has() {
    let expected = [
        ("application", "TLS"),
        ("as_path", "3356 15169"),
        ("communities", "64512:1 64512:2"),
        ("destination_address", "2001:db8:1:2::9"),
        ("destination_as", "64512"),
        ("destination_as_name", ""),
        ("destination_country", "DE"),
        ("destination_peer_as", "0"),
        ("destination_peer_as_name", ""),
        ("destination_port", "51044"),
        ("destination_prefix", "2001:db8:1::/48"),
        ("direction", "ingress"),
        ("dscp", "46"),
        ("exporter", "203.0.113.1"),
        ("hostname", "edge1"),
        ("input_interface", "12"),
        ("input_interface_description", ""),
        ("input_interface_name", ""),
        ("input_vrf", ""),
        ("ip_version", "4"),
        // The two largest numbers stand for no index.
        ("output_interface", "4294967293"),
        ("output_interface_description", ""),
        ("output_interface_name", ""),
        ("output_vrf", ""),
        ("protocol", "tcp"),
        ("remote_address", "198.51.100.77"),
        ("remote_as", "15169"),
        ("remote_as_name", "Google"),
        ("remote_country", "US"),
        ("remote_prefix", "198.51.100.0/25"),
        ("service_port", "443"),
        ("site", ""),
        ("source_address", "198.51.100.77"),
        ("source_as", "15169"),
        ("source_as_name", "Google"),
        ("source_country", "US"),
        ("source_peer_as", "3356"),
        ("source_peer_as_name", "Lumen"),
        ("source_port", "443"),
        ("source_prefix", "198.51.100.0/25"),
        ("tag", "7000000001"),
        ("tcp_flags", "SYN|PSH|ACK"),
        ("vlan", "100"),
    ];
    let names: BTreeSet<_> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, Dimension::label_names().collect());
    for (name, value) in expected {
        // A name tells ASes apart only beside the number.
        let number = name.strip_suffix("_name");
        let asked: Vec<_> = number.into_iter().chain([name]).collect();
        let found = labels(&asked, WIDE);
        assert_eq!(found.get(name).map_or("", String::as_str), value, "{name}");
    }
    assert_eq!(labels(&["field.mpls_vpn_rd"], WIDE), one("mpls_vpn_rd", "0:64512:1"));
    // A number alone can't be a label's name.
    let numbered = WIDE.replace("mpls_vpn_rd", "136");
    assert_eq!(labels(&["field.136"], &numbered), one("field_136", "0:64512:1"));
}

fn one(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

#[test]
fn what_a_record_lacks_is_an_empty_label_and_counted_by_label() {
    let asked: Vec<_> = Dimension::label_names().chain(["field.mpls_label"]).collect();
    let bare = r#"{"as_src": 1, "as_dst": 64512, "bytes": 5}"#;
    // All of them are more than one view can have.
    for some in asked.chunks(20) {
        let some: Vec<_> =
            some.iter().copied().filter(|name| !name.ends_with("_as_name")).collect();
        let counts = counts(view(&some), &[bare, bare]);
        for (place, dimension) in counts.schema().dimensions().iter().enumerate() {
            let has_it = ["source_as", "destination_as", "remote_as"].contains(&dimension.label());
            let missing = if has_it { 0 } else { 2 };
            let missing = Missing { values: missing, without_field: missing };
            assert_eq!(counts.values_missing[place], missing, "{}", dimension.label());
        }
        let [(labels, counted)] = series(view(&some), &[bare, bare]).try_into().expect("one");
        assert_eq!(counted, [10]);
        for (name, value) in labels {
            assert!(name.ends_with("_as"), "{name} is {value}");
        }
    }
}

#[test]
fn a_value_that_says_nothing_is_missing_though_the_record_has_its_field() {
    let message = r#"{"as_src": 0, "as_dst": 64512, "peer_as_src": 0, "label": "", "comms": "",
        "country_ip_src": "", "tcp_flags": "0", "iface_in": 0, "tag": 0, "bytes": 5}"#;
    let nothing = ["communities", "hostname", "source_as", "source_country", "source_peer_as"];
    let zeros = ["input_interface", "tag", "tcp_flags"];
    let counts = counts(view(&[&nothing[..], &zeros].concat()), &[message]);
    for (dimension, missing) in counts.schema().dimensions().iter().zip(&counts.values_missing) {
        let values = u64::from(nothing.contains(&dimension.label()));
        assert_eq!(*missing, Missing { values, without_field: 0 }, "{}", dimension.label());
    }
}

#[test]
fn flows_without_packets_are_counted_where_these_are_measured() {
    let bare = r#"{"label": "edge1", "as_src": 1, "as_dst": 64512, "bytes": 5}"#;
    let missing = |measures: &[Measure]| {
        let view = View::new("a", &[Dimension::Hostname], &[Class::Receive], measures);
        counts(view, &[bare, WIDE, bare]).packets_missing
    };
    assert_eq!(missing(&[Measure::Bytes, Measure::Packets]), 2);
    assert_eq!(missing(&[Measure::Bytes, Measure::Flows]), 0);
}

#[test]
fn the_remote_end_is_the_source_of_what_is_received_and_else_the_destination() {
    let sent = r#"{"as_src": 64512, "as_dst": 3356, "ip_src": "192.0.2.1", "ip_dst": "198.51.100.2",
        "net_dst": "198.51.100.0", "mask_dst": 24, "country_ip_dst": "FR", "bytes": 1}"#;
    let asked =
        ["remote_as", "remote_as_name", "remote_address", "remote_prefix", "remote_country"];
    let found: Vec<_> = labels(&asked, sent).into_values().collect();
    assert_eq!(found, ["198.51.100.2", "3356", "Lumen", "FR", "198.51.100.0/24"]);
}

#[test]
fn prefixes_are_cut_to_the_lengths_asked_for() {
    let message = r#"{"as_src": 1, "as_dst": 64512, "bytes": 1, "ip_src": "198.51.100.77",
        "ip_dst": "2001:db8:1:2::9"}"#;
    let cut = |asked: &[&str]| labels(asked, message).into_values().collect::<Vec<_>>();
    assert_eq!(
        cut(&["source_prefix/24", "destination_prefix/24"]),
        ["2001:db8:1::/48", "198.51.100.0/24"]
    );
    assert_eq!(cut(&["destination_prefix/20,32"]), ["2001:db8::/32"]);
    assert_eq!(cut(&["source_prefix/0,0"]), ["0.0.0.0/0"]);
    // Where the record has no address, the first one of its network is cut.
    let network = r#"{"as_src": 1, "as_dst": 64512, "bytes": 1, "net_src": "10.20.30.0"}"#;
    assert_eq!(labels(&["source_prefix/16"], network), one("source_prefix", "10.20.0.0/16"));
    assert_eq!(labels(&["source_prefix"], network), one("source_prefix", "10.20.30.0"));
}

#[test]
fn pmacct_spellings_of_one_value_are_one_label() {
    let of = |name: &str, fields: &str| {
        let message = format!(r#"{{"as_src": 1, "as_dst": 64512, "bytes": 1, {fields}}}"#);
        labels(&[name], &message).remove(name).unwrap_or_default()
    };
    for (name, fields, value) in [
        ("protocol", r#""ip_proto": "17""#, "udp"),
        ("protocol", r#""ip_proto": 17"#, "udp"),
        ("protocol", r#""ip_proto": "icmp6""#, "ipv6-icmp"),
        ("protocol", r#""ip_proto": 253"#, "253"),
        ("protocol", r#""ip_proto": "carrier-pigeon""#, ""),
        ("protocol", r#""ip_proto": null"#, ""),
        ("tcp_flags", r#""tcp_flags": 18"#, "SYN|ACK"),
        ("tcp_flags", r#""tcp_flags": ["SYN", "ACK"]"#, "SYN|ACK"),
        ("tcp_flags", r#""tcp_flags": []"#, ""),
        ("tcp_flags", r#""tcp_flags": 274"#, "SYN|ACK"),
        ("source_peer_as", r#""peer_as_src": 4294967294"#, "4294967294"),
        ("direction", r#""sampling_direction": 1"#, "egress"),
        ("direction", r#""sampling_direction": "e""#, "egress"),
        ("direction", r#""sampling_direction": "u""#, ""),
        ("vlan", r#""vlan": 7"#, "7"),
        ("as_path", r#""as_path": ["3356", "15169"]"#, "3356 15169"),
        ("communities", r#""comms": ["1:2", "3:4"]"#, "1:2 3:4"),
        ("source_address", r#""ip_src": "::ffff:192.0.2.1""#, "192.0.2.1"),
        ("source_address", r#""ip_src": """#, ""),
        ("exporter", r#""peer_ip_src": "2001:DB8:0:0::1""#, "2001:db8::1"),
        ("source_port", r#""port_src": "53""#, "53"),
        ("service_port", r#""port_src": 0, "port_dst": 0"#, "0"),
        ("service_port", r#""port_src": 1491, "port_dst": 11211"#, "11211"),
        ("service_port", r#""port_src": 3565, "port_dst": 1491, "ip_proto": "tcp""#, "3565"),
        ("service_port", r#""port_src": 3565, "port_dst": 1491, "ip_proto": 17"#, "1491"),
        ("service_port", r#""port_src": 0, "port_dst": 2048, "ip_proto": "icmp""#, "0"),
        ("service_port", r#""port_src": 443"#, ""),
    ] {
        assert_eq!(of(name, fields), value, "{fields}");
    }
}

#[test]
fn values_that_a_label_shows_alike_are_one_series() {
    for (name, key, values) in [
        ("tcp_flags", "tcp_flags", &["18", "274", r#"["SYN", "ACK"]"#][..]),
        ("tcp_flags", "tcp_flags", &["0", "null", "256", "[]"]),
        ("direction", "sampling_direction", &[r#""u""#, "2", "null"]),
        ("source_peer_as", "peer_as_src", &["0", "null"]),
        ("source_address", "ip_src", &[r#""""#, "null"]),
    ] {
        let message = |value: &&str| {
            format!(r#"{{"as_src": 1, "as_dst": 64512, "bytes": 1, "{key}": {value}}}"#)
        };
        let messages: Vec<_> = values.iter().map(message).collect();
        let messages: Vec<_> = messages.iter().map(String::as_str).collect();
        assert_eq!(series(view(&[name]), &messages).len(), 1, "{name} of {values:?}");
    }
}

#[test]
fn measures_are_what_the_record_says_and_a_record_is_one_flow_unless_it_says_more() {
    let view = View::new(
        "test",
        &[Dimension::Hostname],
        &[Class::Receive],
        &[Measure::Bytes, Measure::Packets, Measure::Flows],
    );
    let bare = r#"{"label": "edge1", "as_src": 1, "as_dst": 64512, "bytes": 5}"#;
    assert_eq!(series(view, &[WIDE, bare, bare]), [(one("hostname", "edge1"), vec![9010, 10, 4])]);
}

#[test]
fn a_view_counts_what_passes_all_of_its_filters() {
    let udp = &WIDE.replace(r#""ip_proto": "tcp""#, r#""ip_proto": "udp""#);
    let passes = |filters: &[(&str, &[&str])], message: &str| {
        let filters = filters
            .iter()
            .map(|(label, values)| Filter::new(label, values.iter().copied()).expect("a filter"));
        let counts = counts(view(&["hostname"]).filtered(filters.collect()), &[message]);
        let filtered = counts.ignored[Ignored::Filtered.index()];
        let ignored = RecordTotals { flows: 1, bytes: 9000 };
        assert_eq!(filtered, if counts.is_empty() { ignored } else { RecordTotals::default() });
        !counts.is_empty()
    };
    assert!(passes(&[("protocol", &["tcp", "udp"])], udp));
    assert!(!passes(&[("protocol", &["tcp"])], udp));
    assert!(passes(&[("service_port", &["1-1023"]), ("protocol", &["tcp"])], WIDE));
    assert!(!passes(&[("service_port", &["1-442"]), ("protocol", &["tcp"])], WIDE));
    assert!(passes(&[("remote_address", &["198.51.100.64/26"])], WIDE));
    assert!(!passes(&[("destination_prefix", &["2001:db8:2::/48"])], WIDE));
    assert!(passes(&[("destination_prefix/0,16", &["2001::/16"])], WIDE));
    assert!(passes(&[("remote_as", &["AS15169-20000"])], WIDE));
    assert!(passes(&[("field.mpls_vpn_rd", &["0:64512:1"])], WIDE));
    assert!(passes(&[("hostname", &["edge1"]), ("source_country", &["US", "CA"])], WIDE));
    assert!(!passes(&[("hostname", &["edge2"])], WIDE));
    // What the record lacks passes only where nothing is asked for.
    let bare = r#"{"as_src": 1, "as_dst": 64512, "bytes": 9000}"#;
    assert!(!passes(&[("service_port", &["0-65535"])], bare));
    assert!(!passes(&[("source_address", &["0.0.0.0/0", "::/0"])], bare));
    let labels = Dimension::label_names();
    for label in labels.filter(|label| !label.ends_with("_as_name") && *label != "destination_as") {
        let is_there = ["source_as", "remote_as"].contains(&label);
        assert_eq!(passes(&[(label, &[""])], bare), !is_there, "{label}");
        // The neighbour's AS is 0, and pmacct says no names.
        let is_unknown = ["site", "destination_peer_as", "input_vrf", "output_vrf"]
            .contains(&label)
            || label.contains("_interface_");
        assert_eq!(passes(&[(label, &[""])], WIDE), is_unknown, "{label}");
    }
    // As labels show it, a record without AS is one of AS 0.
    let unknown = r#"{"as_dst": 64512, "bytes": 9000}"#;
    assert!(passes(&[("source_as", &["0"]), ("source_peer_as", &["0"])], unknown));
    assert!(!passes(&[("source_as", &["4294967295"])], unknown));
}

#[test]
fn the_first_filter_that_a_flow_fails_is_counted_with_the_reason() {
    let flow = |fields: &str| format!(r#"{{"as_src": 1, "as_dst": 64512, "bytes": 1{fields}}}"#);
    let messages = [
        flow(r#", "ip_proto": "tcp", "label": "edge1""#),
        flow(r#", "ip_proto": "udp", "label": "edge2""#),
        flow(r#", "ip_proto": "tcp", "label": "edge2""#),
        flow(r#", "ip_proto": "tcp", "label": """#),
        flow(r#", "ip_proto": "tcp""#),
        flow(""),
        flow(""),
        // Of a class that the view does not count, so no filter is asked.
        r#"{"as_src": 64512, "as_dst": 1, "bytes": 1}"#.to_owned(),
    ];
    let filters = [("protocol", "tcp"), ("hostname", "edge1")]
        .map(|(label, value)| Filter::new(label, [value]).expect("a filter"));
    let view = View::new("a", &[], &[Class::Receive], &[Measure::Bytes]).filtered(filters.into());
    let counts = counts(view, &messages.each_ref().map(String::as_str));
    let out = |other_value, values, without_field| FilteredOut {
        other_value,
        missing: Missing { values, without_field },
    };
    assert_eq!(counts.filtered_out[0][..], [out(1, 2, 2), out(1, 2, 1)]);
    assert_eq!((counts.flows_by_view[0], counts.counted.flows), (1, 1));
    let of_view = |reason: Ignored| counts.ignored_by_view[0][reason.index()].flows;
    assert_eq!(Ignored::ALL.map(of_view), [0, 0, 1, 6, 0]);
    assert_eq!(counts.classes, [7, 1, 0, 0]);

    let metrics = Metrics::new();
    metrics.add_counts(&counts);
    let missing = |label: &str| metrics.label_missing.with_label_values(&[label]).get();
    assert_eq!((missing("protocol"), missing("hostname")), (2, 2));
}

#[test]
fn lists_of_labels_that_make_no_series_are_refused() {
    let error = |labels: &[&str]| {
        View::dimensions_of(labels.iter().copied()).expect_err("refused").to_string()
    };
    assert!(error(&["source_asn"]).contains("no label source_asn"));
    assert!(error(&["hostname", "hostname"]).contains("hostname is listed twice"));
    assert!(error(&["source_prefix/24", "source_prefix"]).contains("listed twice"));
    assert!(error(&["source_as_name"]).contains("list that as well"));
    assert!(error(&["source_prefix/33"]).contains("source_prefix/24,48"));
    assert!(error(&["source_prefix/24,129"]).contains("source_prefix/24,48"));
    assert!(error(&["field.a-b"]).contains("field."));
    let many: Vec<_> = (0..32).map(|number| format!("field.f{number}")).collect();
    assert!(View::dimensions_of(many.iter().map(String::as_str)).is_err());
}
