//! Bodies of remote-write requests, read back with the types generated from proto/.
//!
//! Tests of what a specification asks for begin with the name of its section.

mod snapshots;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use flow_exporter::{
    asn::AsNames,
    ledger::Snapshot,
    publish::remote_write::{
        BatchBounds, ExternalLabels, LabelError, OldEncoder, Request, proto::v1,
    },
    traffic::{Direction, Layout},
};
use proptest::prelude::*;
use prost::Message;
use snapshots::{ASN, Books, flow};

fn external(labels: &[(&str, &str)]) -> Result<ExternalLabels, LabelError> {
    let labels: Vec<_> =
        labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    ExternalLabels::new(&labels, &Layout::original())
}

fn encoder(labels: &[(&str, &str)]) -> OldEncoder {
    OldEncoder::new(external(labels).expect("valid labels"), BatchBounds::default())
}

fn decode(request: &Request) -> v1::WriteRequest {
    let raw = snap::raw::Decoder::new().decompress_vec(&request.body).expect("a snappy block");
    v1::WriteRequest::decode(raw.as_slice()).expect("a WriteRequest")
}

fn requests(encoder: &mut OldEncoder, snapshot: &Snapshot) -> Vec<Request> {
    let mut from = 0;
    let mut requests = Vec::new();
    while let Some((request, next)) = encoder.snapshot(snapshot, from) {
        requests.push(request);
        from = next;
    }
    requests
}

/// What a series of a snapshot is to look like, made in another way than the encoder does.
fn expected(snapshot: &Snapshot, external: &[(String, String)]) -> Vec<v1::TimeSeries> {
    snapshot
        .series()
        .map(|series| {
            let mut labels: BTreeMap<String, String> = external.iter().cloned().collect();
            labels.insert("__name__".to_owned(), series.direction.metric().to_owned());
            series.labels(|name, value| {
                labels.insert(name.to_owned(), value.to_owned());
            });
            v1::TimeSeries {
                labels: labels
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(name, value)| v1::Label { name, value })
                    .collect(),
                samples: vec![v1::Sample {
                    value: series.bytes as f64,
                    timestamp: snapshot.time_ms,
                }],
            }
        })
        .collect()
}

#[test]
fn protocol_a_request_is_a_snappy_block_of_a_write_request() {
    let mut books = Books::new(AsNames::parse(b"64500\tExample Networks\n").expect("a table"));
    books.count([flow(64500, ASN, 1000, "edge1"), flow(ASN, 64500, 7, "edge1")]);
    let snapshot = books.cut(1_000_000);
    let requests =
        requests(&mut encoder(&[("instance", "a"), ("job", "flow-exporter")]), &snapshot);
    let [request] = &requests[..] else { panic!("{} requests", requests.len()) };
    assert_eq!(request.samples, 2);
    let labels = |series: &v1::TimeSeries| -> Vec<String> {
        series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect()
    };
    let decoded = decode(request);
    assert_eq!(
        labels(&decoded.timeseries[0]),
        [
            "__name__=flow_receive_bytes_total",
            "destination_as=15169",
            "hostname=edge1",
            "instance=a",
            "job=flow-exporter",
            "source_as=64500",
            "source_as_name=Example Networks",
        ]
    );
    assert_eq!(
        labels(&decoded.timeseries[1]),
        [
            "__name__=flow_transmit_bytes_total",
            "destination_as=64500",
            "destination_as_name=Example Networks",
            "hostname=edge1",
            "instance=a",
            "job=flow-exporter",
            "source_as=15169",
        ]
    );
    let samples = decoded.timeseries.iter().flat_map(|series| &series.samples);
    let samples: Vec<_> = samples.map(|sample| (sample.value, sample.timestamp)).collect();
    assert_eq!(samples, [(1000.0, 1_000_000), (7.0, 1_000_000)]);
}

#[test]
fn labels_are_sorted_even_around_the_metric_name() {
    let mut books = Books::new(AsNames::default());
    books.count([flow(1, ASN, 1, "edge1")]);
    // Capitals come before the underscore.
    let mut encoder = encoder(&[("zone", "z"), ("DC", "fra"), ("__replica__", "a"), ("_", "b")]);
    let decoded = decode(&requests(&mut encoder, &books.cut(1))[0]);
    let names: Vec<_> = decoded.timeseries[0].labels.iter().map(|label| &label.name[..]).collect();
    assert_eq!(
        names,
        ["DC", "_", "__name__", "__replica__", "destination_as", "hostname", "source_as", "zone"]
    );
}

#[test]
fn labels_with_names_that_are_not_valid_or_not_unique_are_errors() {
    for name in ["", "1a", "a-b", "a b", "ä", "a:b"] {
        assert_eq!(external(&[(name, "x")]), Err(LabelError::Name(name.to_owned())));
    }
    let taken = [
        "__name__",
        "source_as",
        "source_as_name",
        "destination_as",
        "destination_as_name",
        "hostname",
    ];
    for name in taken {
        assert_eq!(external(&[(name, "x")]), Err(LabelError::Taken(name.to_owned())));
    }
    assert_eq!(external(&[("a", "x"), ("a", "y")]), Err(LabelError::Twice("a".to_owned())));
    assert_eq!(external(&[("a", "")]), external(&[]));
}

#[test]
fn the_label_names_of_a_layout_are_those_of_its_series() {
    let mut books = Books::new(AsNames::default());
    books.count([flow(1, ASN, 1, "edge1")]);
    let snapshot = books.cut(1);
    let mut names = Vec::new();
    snapshot.get(0).expect("a series").labels(|name, _| names.push(name));
    let layout = Layout::original();
    let declared = layout.dimensions().iter().flat_map(|dimension| dimension.label_names());
    assert_eq!(names, declared.copied().collect::<Vec<_>>());
}

#[test]
fn labels_follow_new_as_names_and_other_books() {
    let mut books = Books::new(AsNames::parse(b"1\tOld\n").expect("a table"));
    books.count([flow(1, ASN, 1, "edge1")]);
    let mut encoder = encoder(&[]);
    let before = books.cut(1);
    assert_eq!(decode(&requests(&mut encoder, &before)[0]).timeseries, expected(&before, &[]));
    books.book.rename(Arc::new(AsNames::parse(b"1\tNew\n").expect("a table")));
    books.count([flow(1, ASN, 1, "edge1")]);
    let after = books.cut(2);
    assert_ne!(expected(&before, &[])[0].labels, expected(&after, &[])[0].labels);
    assert_eq!(decode(&requests(&mut encoder, &after)[0]).timeseries, expected(&after, &[]));
    let mut others = Books::new(AsNames::default());
    others.count([flow(1, ASN, 1, "edge2")]);
    let other = others.cut(3);
    assert_eq!(decode(&requests(&mut encoder, &other)[0]).timeseries, expected(&other, &[]));
}

#[test]
fn a_series_carries_as_many_samples_as_it_is_given() {
    let mut books = Books::new(AsNames::default());
    books.count([flow(1, ASN, 1, "edge1")]);
    let snapshot = books.cut(1);
    let series = snapshot.get(0).expect("a series");
    let mut encoder = encoder(&[]);
    let samples = [(-1, f64::NAN), (0, 0.0), (i64::MAX, f64::MAX)];
    assert!(encoder.series(&snapshot, &series, samples));
    let request = encoder.finish().expect("a request");
    assert_eq!(request.samples, 3);
    let decoded = decode(&request);
    let decoded = decoded.timeseries[0].samples.iter();
    let decoded: Vec<_> =
        decoded.map(|sample| (sample.timestamp, sample.value.to_bits())).collect();
    assert_eq!(decoded, samples.map(|(time_ms, value)| (time_ms, value.to_bits())));
}

#[test]
fn metadata_names_each_family_once() {
    let mut encoder = encoder(&[]);
    encoder.metadata();
    let request = encoder.finish().expect("a request");
    assert_eq!(request.samples, 0);
    let metadata = Direction::ALL.map(|direction| v1::MetricMetadata {
        r#type: v1::metric_metadata::MetricType::Counter.into(),
        metric_family_name: direction.metric().to_owned(),
        help: direction.help().to_owned(),
        unit: "bytes".to_owned(),
    });
    let expected = v1::WriteRequest { timeseries: Vec::new(), metadata: metadata.into() };
    assert_eq!(decode(&request), expected);
    assert_eq!(encoder.finish(), None);
}

#[test]
fn a_request_ends_at_the_bound_on_series_and_at_the_bound_on_bytes() {
    let mut books = Books::new(AsNames::default());
    books.count((1..=25).map(|source| flow(source, ASN, 1, "edge1")));
    let snapshot = books.cut(1);
    let sizes = |bounds| -> Vec<usize> {
        let mut encoder = OldEncoder::new(ExternalLabels::default(), bounds);
        requests(&mut encoder, &snapshot).iter().map(|request| request.samples).collect()
    };
    assert_eq!(sizes(BatchBounds { series: 10, samples: 1000, bytes: 1 << 20 }), [10, 10, 5]);
    // A series that is larger by itself travels alone.
    assert_eq!(sizes(BatchBounds { series: 10, samples: 1000, bytes: 1 }), [1; 25]);
    let bounds = BatchBounds { series: 10, samples: 1000, bytes: 1000 };
    let mut encoder = OldEncoder::new(ExternalLabels::default(), bounds);
    let requests = requests(&mut encoder, &snapshot);
    assert_eq!(requests.iter().map(|request| request.samples).sum::<usize>(), 25);
    for request in &requests {
        let size = snap::raw::decompress_len(&request.body).expect("a snappy block");
        assert!(size <= 1000, "{size} bytes");
    }
    assert!(requests.len() < 25);
}

static NAMES: LazyLock<AsNames> = LazyLock::new(AsNames::embedded);

/// What hostnames, AS names and labels can hold, and what they had better not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.-]{0,20}",
        any::<String>(),
        Just("\u{0}\n\"\\".to_owned()),
        // Lengths of one, two and three bytes.
        (100..200_usize).prop_map(|length| "x".repeat(length)),
        (16_300..16_500_usize).prop_map(|length| "y".repeat(length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_goes_in_comes_out(
        flows in prop::collection::vec((any::<u32>(), any::<bool>(), any::<u64>(), text()), 0..20),
        labels in prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,8}x", text(), 0..5),
        series_bound in 1..8_usize,
        time_ms in 1..i64::MAX,
    ) {
        let mut books = Books::new(NAMES.clone());
        for (other, sent, bytes, hostname) in &flows {
            let (source, destination) = if *sent { (ASN, *other) } else { (*other, ASN) };
            books.count([flow(source, destination, *bytes, hostname)]);
        }
        let snapshot = books.cut(time_ms);
        let labels: Vec<_> = labels.into_iter().collect();
        let external = ExternalLabels::new(&labels, &Layout::original()).expect("valid labels");
        let mut encoder = OldEncoder::new(external, BatchBounds { series: series_bound, samples: 1000, bytes: 1 << 20 });
        let requests = requests(&mut encoder, &snapshot);
        let decoded: Vec<_> =
            requests.iter().flat_map(|request| decode(request).timeseries).collect();
        prop_assert_eq!(&decoded, &expected(&snapshot, &labels));
        for series in &decoded {
            prop_assert!(series.labels.is_sorted_by(|one, next| one.name < next.name));
            prop_assert!(series.labels.iter().all(|label| !label.value.is_empty()));
        }
    }
}
