//! Bodies of remote-write requests, read back with the types generated from proto/.
//!
//! Tests of what a specification asks for begin with its version and the name of its section.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    metrics::{Kind, Metrics},
    publish::remote_write::{
        Batch, Compression, Encoder, ExternalLabels, Families, FamilyId, Group, LabelError,
        LabelPool, LabelSet, METADATA_MAX_BYTES, Protocol, SAMPLE_MAX_BYTES, STALE, Sample,
        StartTimestamps, compare,
        proto::{v1, v2},
    },
    schema::{Class, Dimension, Measure, Schema, View},
};
use proptest::prelude::*;
use prost::Message;
use testkit::counting::schema;
use testkit::snapshots::{ASN, Tables, flow};

const RECEIVE: FamilyId = FamilyId::new(0);
const TRANSMIT: FamilyId = FamilyId::new(1);

fn encoder() -> Encoder {
    Encoder::new(Arc::new(Families::flow(&schema())), StartTimestamps::Sample)
}

fn sample(time_ms: i64, value: f64) -> Sample {
    counted(time_ms, value, 0)
}

/// A sample of a counter and the time at which the counter was zero; 0 if unknown.
fn counted(time_ms: i64, value: f64, start_ms: i64) -> Sample {
    let start = (start_ms != 0).then_some(UnixMs::new(start_ms));
    Sample { time: UnixMs::new(time_ms), value, start }
}

fn decompressed(body: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Snappy => {
            snap::raw::Decoder::new().decompress_vec(body).expect("a snappy block")
        }
        Compression::Zstd => zstd::decode_all(body).expect("a zstd frame"),
    }
}

fn raw(batch: &Batch, pool: &LabelPool, protocol: Protocol) -> Vec<u8> {
    let body = encoder().encode(batch, pool, protocol, Compression::Snappy);
    decompressed(&body, Compression::Snappy)
}

fn request_v1(batch: &Batch, pool: &LabelPool) -> v1::WriteRequest {
    v1::WriteRequest::decode(&*raw(batch, pool, Protocol::V1)).expect("a WriteRequest")
}

fn request_v2(batch: &Batch, pool: &LabelPool) -> v2::Request {
    v2::Request::decode(&*raw(batch, pool, Protocol::V2)).expect("a Request")
}

/// A series as a receiver sees it; values by their bits, since NaN is not equal to itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Received {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, u64, i64)>,
    /// Type, help and unit.
    metadata: Option<(i32, String, String)>,
}

/// What must arrive, in the order of labels: the order of series in a request does not matter.
fn expected(batch: &Batch, pool: &LabelPool, protocol: Protocol) -> Vec<Received> {
    let families = Families::flow(&schema());
    let series = batch.series().map(|series| Received {
        labels: pool.labels(series.labels).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        samples: series
            .samples
            .iter()
            .map(|sample| {
                let start = sample.start.filter(|_| protocol == Protocol::V2);
                (sample.time.get(), sample.value.to_bits(), start.map_or(0, UnixMs::get))
            })
            .collect(),
        metadata: (protocol == Protocol::V2).then(|| {
            let family = families.get(series.family);
            (v2::metadata::MetricType::Counter.into(), family.help.to_string(), "bytes".to_owned())
        }),
    });
    let mut series: Vec<_> = series.collect();
    series.sort();
    series
}

fn received_v1(raw: &[u8]) -> Vec<Received> {
    let request = v1::WriteRequest::decode(raw).expect("a WriteRequest");
    let series = request.timeseries.into_iter().map(|series| Received {
        labels: series.labels.into_iter().map(|label| (label.name, label.value)).collect(),
        samples: series
            .samples
            .iter()
            .map(|sample| (sample.timestamp, sample.value.to_bits(), 0))
            .collect(),
        metadata: None,
    });
    let mut series: Vec<_> = series.collect();
    series.sort();
    series
}

fn received_v2(raw: &[u8]) -> Vec<Received> {
    let request = v2::Request::decode(raw).expect("a Request");
    let symbol = |place: u32| request.symbols[place as usize].clone();
    let series = request.timeseries.iter().map(|series| Received {
        labels: series
            .labels_refs
            .chunks(2)
            .map(|label| (symbol(label[0]), symbol(label[1])))
            .collect(),
        samples: series
            .samples
            .iter()
            .map(|sample| (sample.timestamp, sample.value.to_bits(), sample.start_timestamp))
            .collect(),
        metadata: series.metadata.as_ref().map(|metadata| {
            (metadata.r#type, symbol(metadata.help_ref), symbol(metadata.unit_ref))
        }),
    });
    let mut series: Vec<_> = series.collect();
    series.sort();
    series
}

fn received(body: &[u8], protocol: Protocol, compression: Compression) -> Vec<Received> {
    let raw = decompressed(body, compression);
    match protocol {
        Protocol::V1 => received_v1(&raw),
        Protocol::V2 => received_v2(&raw),
    }
}

/// How far the copies of a snappy block go back at most, in bytes.
fn furthest_copy(block: &[u8]) -> usize {
    let mut at = block.iter().position(|byte| byte & 0x80 == 0).expect("a length") + 1;
    let number = |at: usize, bytes: usize| {
        block[at..at + bytes].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
    };
    let mut furthest = 0;
    while at < block.len() {
        let tag = usize::from(block[at]);
        at += 1;
        let (bytes, distance) = match tag & 3 {
            0 => match tag >> 2 {
                long @ 60.. => (long - 59 + number(at, long - 59) + 1, 0),
                short => (short + 1, 0),
            },
            1 => (1, tag >> 5 << 8 | number(at, 1)),
            2 => (2, number(at, 2)),
            _ => (4, number(at, 4)),
        };
        at += bytes;
        furthest = furthest.max(distance);
    }
    furthest
}

/// Flow series with the default labels, of this many AS at four routers.
fn flows(pool: &mut LabelPool, systems: usize) -> Vec<(LabelSet, FamilyId)> {
    let names = AsNames::embedded();
    let mut series = Vec::new();
    for (number, name) in names.iter().step_by(names.len() / systems).take(systems) {
        let (own, own_name, other) = (ASN.to_string(), names.get(ASN), number.to_string());
        for router in 1..=4 {
            let hostname = format!("edge{router}.fra.example.net");
            for (direction, [to, to_name, from, from_name]) in [Class::Receive, Class::Transmit]
                .into_iter()
                .zip([[&own, own_name, &other, name], [&other, name, &own, own_name]])
            {
                let labels = pool.add([
                    ("__name__", &*View::original().metric_name(direction, Measure::Bytes)),
                    ("destination_as", to),
                    ("destination_as_name", to_name),
                    ("hostname", &hostname),
                    ("instance", "fra1.example.net"),
                    ("job", "flow-exporter"),
                    ("source_as", from),
                    ("source_as_name", from_name),
                ]);
                series.push((labels, FamilyId::new(direction as u16)));
            }
        }
    }
    series
}

/// A batch of these series with some samples each, every 15 seconds.
fn batch(series: &[(LabelSet, FamilyId)], samples: usize) -> Batch {
    let mut batch = Batch::default();
    for (place, &(labels, family)) in series.iter().enumerate() {
        // From a few hundred bytes to several gigabytes, a thousandth more each time.
        let count = (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (30 + place % 24);
        let samples: Vec<_> = (1..=samples as u64)
            .map(|number| {
                counted(
                    1_795_000_005_000 + 15_000 * number as i64,
                    (count + count * number / 1000) as f64,
                    1_794_990_000_000,
                )
            })
            .collect();
        batch.push(labels, family, &samples);
    }
    batch
}

#[test]
fn v1_protocol_a_request_is_a_snappy_block_of_a_write_request() {
    let mut pool = LabelPool::new();
    let one = pool.add([("__name__", "flow_receive_bytes_total"), ("hostname", "edge1")]);
    let two = pool.add([("__name__", "flow_transmit_bytes_total"), ("hostname", "edge1")]);
    let mut batch = Batch::default();
    batch.push(one, RECEIVE, &[sample(1_000, 5.0), sample(16_000, 7.0)]);
    batch.push(two, TRANSMIT, &[sample(1_000, 1.5)]);
    let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
    let series = |metric, samples: &[(i64, f64)]| v1::TimeSeries {
        labels: vec![label("__name__", metric), label("hostname", "edge1")],
        samples: samples
            .iter()
            .map(|&(timestamp, value)| v1::Sample { timestamp, value })
            .collect(),
    };
    let expected = v1::WriteRequest {
        timeseries: vec![
            series("flow_receive_bytes_total", &[(1_000, 5.0), (16_000, 7.0)]),
            series("flow_transmit_bytes_total", &[(1_000, 1.5)]),
        ],
        metadata: Vec::new(),
    };
    assert_eq!(request_v1(&batch, &pool), expected);
    assert_eq!(raw(&batch, &pool, Protocol::V1), expected.encode_to_vec());
}

#[test]
fn v2_protocol_a_request_is_a_snappy_block_of_a_request() {
    let mut pool = LabelPool::new();
    let one = pool.add([("__name__", "flow_receive_bytes_total"), ("hostname", "edge1")]);
    let mut batch = Batch::default();
    batch.push(one, RECEIVE, &[counted(16_000, 7.0, 900)]);
    let symbols = ["", "__name__", "flow_receive_bytes_total", "hostname", "edge1"];
    let symbols = symbols.into_iter().chain(["Bytes received.", "bytes"]);
    let expected = v2::Request {
        symbols: symbols.map(str::to_owned).collect(),
        timeseries: vec![v2::TimeSeries {
            labels_refs: vec![1, 2, 3, 4],
            samples: vec![v2::Sample { value: 7.0, timestamp: 16_000, start_timestamp: 900 }],
            metadata: Some(v2::Metadata {
                r#type: v2::metadata::MetricType::Counter.into(),
                help_ref: 5,
                unit_ref: 6,
            }),
        }],
    };
    assert_eq!(request_v2(&batch, &pool), expected);
    assert_eq!(raw(&batch, &pool, Protocol::V2), expected.encode_to_vec());
}

#[test]
fn v1_labels_are_sorted_unique_and_not_empty() {
    // Capitals come before the underscore.
    let external = [("zone", "z"), ("DC", "fra"), ("__replica__", "a"), ("_", "b"), ("gone", "")];
    let external = external_labels(&external).expect("valid labels");
    let own =
        [("__name__", "m"), ("hostname", "edge1"), ("source_as", "1"), ("source_as_name", "")];
    let labels = external.merge(own);
    let expected = [
        ("DC", "fra"),
        ("_", "b"),
        ("__name__", "m"),
        ("__replica__", "a"),
        ("hostname", "edge1"),
        ("source_as", "1"),
        ("zone", "z"),
    ];
    assert_eq!(labels, expected);
    let mut pool = LabelPool::new();
    let mut batch = Batch::default();
    batch.push(pool.add(labels), RECEIVE, &[sample(1, 1.0)]);
    for protocol in [Protocol::V1, Protocol::V2] {
        let body = encoder().encode(&batch, &pool, protocol, Compression::Snappy);
        let series = received(&body, protocol, Compression::Snappy);
        let labels: Vec<_> = series[0].labels.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(labels, expected);
    }
}

#[test]
fn external_labels_give_way_to_those_of_the_series() {
    let external = external_labels(&[("a", "external"), ("job", "external")]).expect("valid");
    assert_eq!(external.merge([("job", "own")]), [("a", "external"), ("job", "own")]);
    // To Prometheus, a label without a value is no label, but a request can contain one.
    assert_eq!(external.merge([("job", "")]), [("a", "external")]);
    assert_eq!(external.merge([]), [("a", "external"), ("job", "external")]);
}

fn external_labels(labels: &[(&str, &str)]) -> Result<ExternalLabels, LabelError> {
    let labels: Vec<_> =
        labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    ExternalLabels::new(&labels, &Schema::original())
}

#[test]
fn v1_labels_with_names_that_are_not_valid_or_not_unique_are_errors() {
    for name in ["", "1a", "a-b", "a b", "ä", "a:b"] {
        assert_eq!(external_labels(&[(name, "x")]), Err(LabelError::Name(name.to_owned())));
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
        assert_eq!(external_labels(&[(name, "x")]), Err(LabelError::Taken(name.to_owned())));
    }
    assert_eq!(external_labels(&[("a", "x"), ("a", "y")]), Err(LabelError::Twice("a".to_owned())));
    assert_eq!(external_labels(&[("a", "")]), external_labels(&[]));
}

#[test]
fn external_labels_have_bounds_of_which_the_error_speaks() {
    let (most, more) = ("v".repeat(1024), "v".repeat(1025));
    assert!(external_labels(&[("a", &most)]).is_ok());
    let error = external_labels(&[("a", &more)]).expect_err("refused").to_string();
    assert!(error.contains("\"a\": its value has 1025 bytes"), "{error}");
    let error = external_labels(&[(&more, "v")]).expect_err("refused").to_string();
    assert!(error.contains("its name has 1025 bytes") && error.len() < 200, "{error}");
    let names: Vec<String> = (0..40).map(|number| format!("l{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), most.as_str())).collect();
    assert!(external_labels(&many[..30]).is_ok());
    let error = external_labels(&many).expect_err("refused").to_string();
    assert!(error.contains("together they have 41070 bytes"), "{error}");
}

#[test]
fn the_label_names_of_a_view_are_those_of_its_series() {
    let mut tables = Tables::new(AsNames::default());
    tables.count([flow(1, ASN, 1, "edge1")]);
    let snapshot = tables.take_snapshot(1);
    let mut names = Vec::new();
    snapshot.get(0).expect("a series").labels(|name, _| names.push(name.to_owned()));
    let view = View::original();
    assert_eq!(names, view.labels().iter().map(|label| &*label.name).collect::<Vec<_>>());
}

#[test]
fn v1_samples_and_v2_samples_carry_any_value_at_any_time_in_order() {
    let mut pool = LabelPool::new();
    let labels = pool.add([("__name__", "m")]);
    let mut batch = Batch::default();
    let samples = [
        counted(i64::MIN, f64::NAN, i64::MIN),
        counted(-1, -0.0, -2),
        counted(0, 0.0, 0),
        counted(1, f64::NEG_INFINITY, 1),
        counted(1 << 35, f64::MIN_POSITIVE, 0),
        counted(i64::MAX, f64::MAX, i64::MAX),
    ];
    batch.push(labels, RECEIVE, &samples);
    for protocol in [Protocol::V1, Protocol::V2] {
        let body = encoder().encode(&batch, &pool, protocol, Compression::Snappy);
        let series = received(&body, protocol, Compression::Snappy);
        assert_eq!(series, expected(&batch, &pool, protocol));
        assert!(series[0].samples.is_sorted_by(|one, next| one.0 < next.0));
    }
}

#[test]
fn v1_stale_markers_and_v2_stale_markers_keep_their_bits() {
    assert_eq!(STALE.to_bits(), 0x7ff0_0000_0000_0002);
    let mut pool = LabelPool::new();
    let labels = pool.add([("__name__", "m")]);
    let mut batch = Batch::default();
    batch.push(labels, RECEIVE, &[sample(1, 5.0), sample(2, STALE)]);
    for protocol in [Protocol::V1, Protocol::V2] {
        for compression in [Compression::Snappy, Compression::Zstd] {
            let body = encoder().encode(&batch, &pool, protocol, compression);
            let series = received(&body, protocol, compression);
            assert_eq!(series[0].samples[1].1, 0x7ff0_0000_0000_0002);
        }
    }
}

#[test]
fn v1_metadata_names_each_family_once_when_asked_for() {
    let families = Arc::new(Families::all(&schema()));
    let mut encoder = Encoder::new(Arc::clone(&families), StartTimestamps::Sample);
    let pool = LabelPool::new();
    let mut batch = Batch::default();
    batch.metadata = true;
    let body = encoder.encode(&batch, &pool, Protocol::V1, Compression::Snappy);
    let raw = decompressed(&body, Compression::Snappy);
    let request = v1::WriteRequest::decode(&*raw).expect("a WriteRequest");
    assert_eq!(request.encode_to_vec(), raw);
    assert_eq!(request.timeseries, []);
    let of = |metadata: &v1::MetricMetadata| {
        (metadata.r#type(), metadata.metric_family_name.clone(), metadata.help.clone())
    };
    let flow = [Class::Receive, Class::Transmit].map(|direction| {
        let kind = v1::metric_metadata::MetricType::Counter;
        let view = View::original();
        let bytes = Measure::Bytes;
        (kind, view.metric_name(direction, bytes), view.help(direction, bytes))
    });
    let own = Metrics::DECLARED.iter().chain(Metrics::PROCESS).map(|own| {
        let kind = match own.kind {
            Kind::Counter => v1::metric_metadata::MetricType::Counter,
            Kind::Gauge => v1::metric_metadata::MetricType::Gauge,
            Kind::Histogram => v1::metric_metadata::MetricType::Histogram,
        };
        (kind, own.name.to_owned(), own.help.trim().to_owned())
    });
    let expected: Vec<_> = flow.into_iter().chain(own).collect();
    assert_eq!(request.metadata.iter().map(of).collect::<Vec<_>>(), expected);
    let names: BTreeSet<_> = expected.iter().map(|(_, name, _)| name).collect();
    assert_eq!(names.len(), expected.len());

    let unit = |name: &str| {
        let metadata = request.metadata.iter().find(|one| one.metric_family_name == name);
        metadata.expect("a family").unit.as_str()
    };
    assert_eq!(unit("flow_receive_bytes_total"), "bytes");
    assert_eq!(unit("flow_exporter_journal_bytes"), "bytes");
    assert_eq!(unit("flow_exporter_scrape_duration_seconds"), "seconds");
    assert_eq!(unit("flow_exporter_series"), "");

    let batch = Batch::default();
    let body = encoder.encode(&batch, &pool, Protocol::V1, Compression::Snappy);
    assert_eq!(decompressed(&body, Compression::Snappy), b"");
}

#[test]
fn families_are_found_by_name() {
    let families = Families::all(&schema());
    for direction in [Class::Receive, Class::Transmit] {
        let view = View::original();
        let id = families.find(&view.metric_name(direction, Measure::Bytes)).expect("a family");
        assert_eq!(id, FamilyId::new(direction as u16));
        assert_eq!(families.get(id).help, view.help(direction, Measure::Bytes));
    }
    for family in Metrics::new().gather() {
        let id = families.find(&family.name).unwrap_or_else(|| panic!("{}", family.name));
        assert_eq!(families.get(id).kind, family.kind, "{}", family.name);
    }
    for own in Metrics::DECLARED {
        let id = families.find(own.name).expect("a family");
        assert_eq!((&*families.get(id).name, families.get(id).kind), (own.name, own.kind));
    }
    assert_eq!(families.find("flow_exporter_series_"), None);
    assert_eq!(Families::flow(&schema()).find("flow_exporter_series"), None);
}

#[test]
fn v2_metadata_comes_with_each_series() {
    let families = Arc::new(Families::all(&schema()));
    let id = |name| families.find(name).expect("a family");
    let mut pool = LabelPool::new();
    let mut batch = Batch::default();
    // A label that has the text of a unit shares its symbol, whichever comes first.
    let named = [
        ("flow_receive_bytes_total", "bytes", RECEIVE),
        (
            "flow_exporter_scrape_duration_seconds_sum",
            "x",
            id("flow_exporter_scrape_duration_seconds"),
        ),
        ("flow_exporter_series", "seconds", id("flow_exporter_series")),
        ("flow_receive_bytes_total", "y", RECEIVE),
    ];
    for (name, label, family) in named {
        let labels = pool.add([("__name__", name), ("label", label)]);
        batch.push(labels, family, &[sample(1, 1.0)]);
    }
    let mut encoder = Encoder::new(Arc::clone(&families), StartTimestamps::Sample);
    let body = encoder.encode(&batch, &pool, Protocol::V2, Compression::Snappy);
    let raw = decompressed(&body, Compression::Snappy);
    let request = v2::Request::decode(&*raw).expect("a Request");
    assert_eq!(request.symbols.iter().collect::<BTreeSet<_>>().len(), request.symbols.len());
    let series = received_v2(&raw);
    assert_eq!(series.len(), named.len());
    for (name, label, family) in named {
        let one = series.iter().find(|one| one.labels[0].1 == name && one.labels[1].1 == label);
        let family = families.get(family);
        let kind = match family.kind {
            Kind::Counter => v2::metadata::MetricType::Counter,
            Kind::Gauge => v2::metadata::MetricType::Gauge,
            Kind::Histogram => v2::metadata::MetricType::Histogram,
        };
        let expected = (kind.into(), family.help.to_string(), family.unit.to_owned());
        assert_eq!(one.expect("the series").metadata, Some(expected));
    }
}

#[test]
fn v2_symbols_begin_with_the_empty_string_and_hold_each_text_once() {
    let mut pool = LabelPool::new();
    let series = flows(&mut pool, 50);
    let request = request_v2(&batch(&series, 1), &pool);
    assert_eq!(request.symbols[0], "");
    let distinct: BTreeSet<_> = request.symbols.iter().collect();
    assert_eq!(distinct.len(), request.symbols.len());
    let mut used = BTreeSet::from([0]);
    for series in &request.timeseries {
        assert_eq!(series.labels_refs.len() % 2, 0);
        used.extend(series.labels_refs.iter().copied());
        let metadata = series.metadata.as_ref().expect("metadata");
        used.extend([metadata.help_ref, metadata.unit_ref]);
    }
    // All in range, and none for nothing.
    assert_eq!(used, (0..request.symbols.len() as u32).collect());
}

/// The parts of a series in which drafts up to 2.0-rc.3 are different.
#[derive(Clone, PartialEq, prost::Message)]
struct DraftSeries {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<v2::Sample>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DraftRequest {
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<DraftSeries>,
}

#[test]
fn v2_start_timestamps_are_with_the_samples_or_as_in_drafts_with_the_series() {
    let mut pool = LabelPool::new();
    let mut batch = Batch::default();
    let at = |time_ms, start_ms| counted(time_ms, 1.0, start_ms);
    batch.push(pool.add([("__name__", "a")]), RECEIVE, &[at(10, 1), at(20, 15)]);
    batch.push(pool.add([("__name__", "b")]), RECEIVE, &[at(10, 0)]);
    let starts = |start_timestamps| -> Vec<(i64, Vec<i64>)> {
        let mut encoder = Encoder::new(Arc::new(Families::flow(&schema())), start_timestamps);
        let body = encoder.encode(&batch, &pool, Protocol::V2, Compression::Snappy);
        let raw = decompressed(&body, Compression::Snappy);
        let request = DraftRequest::decode(&*raw).expect("a request");
        let series = request.timeseries.iter().map(|series| {
            let starts = series.samples.iter().map(|sample| sample.start_timestamp).collect();
            (series.created_timestamp, starts)
        });
        series.collect()
    };
    assert_eq!(starts(StartTimestamps::Sample), [(0, vec![1, 15]), (0, vec![0])]);
    assert_eq!(starts(StartTimestamps::Series), [(1, vec![0, 0]), (0, vec![0])]);
}

#[test]
fn a_series_without_samples_is_left_out() {
    let mut pool = LabelPool::new();
    let labels = pool.add([("__name__", "m")]);
    let mut batch = Batch::default();
    batch.push(labels, RECEIVE, &[]);
    assert_eq!((batch.len(), batch.samples(), batch.is_empty()), (0, 0, true));
    assert_eq!(request_v1(&batch, &pool).timeseries, []);
    assert_eq!(request_v2(&batch, &pool).timeseries, []);
}

#[test]
fn requests_are_no_larger_than_those_of_a_general_compressor() {
    let mut pool = LabelPool::new();
    let series = flows(&mut pool, 250);
    for samples in [1, 24] {
        let batch = batch(&series, samples);
        for protocol in [Protocol::V1, Protocol::V2] {
            let body = encoder().encode(&batch, &pool, protocol, Compression::Snappy);
            let raw = decompressed(&body, Compression::Snappy);
            let plain = snap::raw::Encoder::new().compress_vec(&raw).expect("compressible").len();
            let size = body.len();
            // Except for chance.
            assert!(
                size <= plain + plain / 100,
                "{protocol:?}, {samples} samples: {size} and {plain} bytes"
            );
            assert_eq!(
                received(&body, protocol, Compression::Snappy),
                expected(&batch, &pool, protocol)
            );
        }
    }
}

#[test]
fn the_size_of_a_request_is_bounded_beforehand() {
    let mut pool = LabelPool::new();
    let series = flows(&mut pool, 250);
    for samples in [1, 24] {
        let batch = batch(&series, samples);
        let labels: usize = series.iter().map(|&(labels, _)| pool.request_len(labels)).sum();
        let bound = labels + batch.samples() * SAMPLE_MAX_BYTES;
        for protocol in [Protocol::V1, Protocol::V2] {
            assert!(raw(&batch, &pool, protocol).len() <= bound);
        }
    }
    let extreme = counted(-1, STALE, -1);
    let mut batch = Batch::default();
    batch.push(series[0].0, RECEIVE, &[extreme]);
    let mut twice = Batch::default();
    twice.push(series[0].0, RECEIVE, &[Sample { time: UnixMs::new(-2), ..extreme }, extreme]);
    let sample = raw(&twice, &pool, Protocol::V2).len() - raw(&batch, &pool, Protocol::V2).len();
    assert_eq!(sample, SAMPLE_MAX_BYTES);
}

#[test]
fn copies_go_back_less_than_64_kib() {
    let mut pool = LabelPool::new();
    let mut batch = Batch::default();
    let texts: Vec<_> = (0..40).map(|number| format!("{number}").repeat(1500)).collect();
    // Each label comes again after all the others.
    for round in ["1", "2", "3"] {
        for text in &texts {
            let labels = pool.add([("__name__", "m"), ("a", text.as_str()), ("round", round)]);
            batch.push(labels, RECEIVE, &[sample(1, 1.0)]);
        }
    }
    for protocol in [Protocol::V1, Protocol::V2] {
        let body = encoder().encode(&batch, &pool, protocol, Compression::Snappy);
        assert_eq!(
            received(&body, protocol, Compression::Snappy),
            expected(&batch, &pool, protocol)
        );
        let furthest = furthest_copy(&body);
        assert!((1..1 << 16).contains(&furthest), "{furthest}");
    }
}

#[test]
fn labels_and_names_may_be_many_and_long() {
    let mut pool = LabelPool::new();
    let mut batch = Batch::default();
    for number in 0..3 {
        let labels: BTreeMap<_, _> = (0..200)
            .map(|label| {
                (
                    format!("label_{label}_{}", "x".repeat(label * 20)),
                    "v".repeat(label + number + 1),
                )
            })
            .collect();
        let labels = pool.add(labels.iter().map(|(name, value)| (&**name, &**value)));
        assert_eq!(pool.labels(labels).len(), 200);
        batch.push(labels, RECEIVE, &[sample(1, 1.0)]);
    }
    for protocol in [Protocol::V1, Protocol::V2] {
        let body = encoder().encode(&batch, &pool, protocol, Compression::Snappy);
        assert_eq!(
            received(&body, protocol, Compression::Snappy),
            expected(&batch, &pool, protocol)
        );
    }
}

#[test]
fn a_pool_puts_new_series_where_others_were() {
    let mut pool = LabelPool::new();
    let add = |pool: &mut LabelPool, round: usize| -> BTreeSet<LabelSet> {
        let add = |number: usize| {
            pool.add([("__name__", "m"), ("a", &*format!("{round}.{number}")), ("b", "same")])
        };
        (0..100).map(add).collect()
    };
    let mut sets = add(&mut pool, 0);
    let first = sets.clone();
    assert_eq!(first.len(), 100);
    for round in 1..50 {
        for set in sets {
            pool.remove(set);
        }
        sets = add(&mut pool, round);
        assert_eq!(sets, first);
    }
}

#[test]
fn the_order_of_requests_puts_series_of_an_as_side_by_side() {
    let mut pool = LabelPool::new();
    let mut series = flows(&mut pool, 30);
    // As far apart as can be.
    series.sort_by_key(|&(labels, _)| {
        pool.labels(labels).map(|(name, value)| (name.to_owned(), value.to_owned())).nth(3)
    });
    let group = |labels: LabelSet| {
        let systems = pool.labels(labels).filter(|(name, _)| name.ends_with("_as"));
        let numbers = systems.map(|(_, value)| value.parse().unwrap());
        (numbers.fold(Group::default(), Group::with), labels)
    };
    series.sort_by(|one, other| compare(&pool, group(one.0), group(other.0)));
    let far = |&(labels, _): &(LabelSet, FamilyId)| -> BTreeSet<String> {
        let systems = pool.labels(labels).filter(|(name, _)| name.ends_with("_as"));
        systems.map(|(_, value)| value.to_owned()).collect()
    };
    let mut systems: Vec<_> = series.iter().map(far).collect();
    systems.dedup();
    assert_eq!(systems.len(), 30);
}

#[test]
fn a_batch_splits_down_to_single_samples() {
    let mut pool = LabelPool::new();
    let series: Vec<_> = flows(&mut pool, 1).into_iter().take(3).collect();
    let mut whole = batch(&series, 3);
    whole.metadata = true;
    let (mut parts, mut done) = (vec![whole.clone()], Vec::new());
    while let Some(part) = parts.pop() {
        match part.split() {
            Ok((first, second)) => parts.extend([second, first]),
            Err(part) => done.push(part),
        }
    }
    assert!(done.iter().all(|part| part.samples() == 1));
    let metadata: Vec<_> = done.iter().map(|part| part.metadata).collect();
    assert_eq!(metadata, [true, false, false, false, false, false, false, false, false]);
    let all = |parts: &[Batch]| -> Vec<(LabelSet, FamilyId, Sample)> {
        let series = parts.iter().flat_map(Batch::series);
        series
            .flat_map(|one| one.samples.iter().map(move |&sample| (one.labels, one.family, sample)))
            .collect()
    };
    assert_eq!(all(&done), all(&[whole]));
    assert!(Batch::default().split().is_err());
}

/// What names and values can hold, including what they should not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-c]{1,3}",
        3 => "[a-z0-9.-]{1,20}",
        2 => ".{1,9}",
        1 => Just("\u{0}\n\"\\".to_owned()),
        // Lengths of one, two and three bytes, and more than a copy reaches back.
        2 => (100..200_usize).prop_map(|length| "x".repeat(length)),
        1 => (16_300..16_500_usize).prop_map(|length| "yz".repeat(length)),
    ]
}

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..9)
}

/// Samples whose times rise, many of them at the same times as those of other series.
fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        (0..1_u64 << 40).prop_map(|count| count as f64),
        any::<u64>().prop_map(f64::from_bits),
        Just(STALE)
    ];
    let time = prop_oneof![4 => (1..20_i64).prop_map(|step| 15_000 * step), 1 => any::<i64>()];
    let start = prop_oneof![Just(0), Just(1_795_000_000_000), any::<i64>()];
    prop::collection::btree_map(time, (value, start), 1..30).prop_map(|samples| {
        let samples = samples.into_iter();
        samples.map(|(time_ms, (value, start_ms))| counted(time_ms, value, start_ms)).collect()
    })
}

type AnySeries = (BTreeMap<String, String>, bool, Vec<Sample>);

fn add(pool: &mut LabelPool, labels: &BTreeMap<String, String>) -> LabelSet {
    pool.add(labels.iter().map(|(name, value)| (&**name, &**value)))
}

#[test]
fn metadata_keeps_within_its_bound_with_as_many_views_as_can_be() {
    let views = (0..32).map(|number| {
        let name = format!("{number:v>64}");
        View::new(&name, &[Dimension::Hostname], &Class::ALL, &Measure::ALL)
    });
    let families = Arc::new(Families::all(&Schema::new(views.collect())));
    let mut encoder = Encoder::new(families, StartTimestamps::Sample);
    let mut batch = Batch::default();
    batch.metadata = true;
    let body = encoder.encode(&batch, &LabelPool::new(), Protocol::V1, Compression::Snappy);
    let size = decompressed(&body, Compression::Snappy).len();
    assert!((METADATA_MAX_BYTES / 4..=METADATA_MAX_BYTES).contains(&size), "{size} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One encoder after the other batch, in all forms, while series come and go.
    #[test]
    fn whatever_goes_in_comes_out(
        rounds in prop::collection::vec(
            prop::collection::vec((any_labels(), any::<bool>(), any_samples()), 0..20),
            1..5,
        ),
    ) {
        let mut pool = LabelPool::new();
        let mut encoder = encoder();
        let mut sets = Vec::new();
        for round in rounds {
            // Every other series of the round before stays.
            let mut place = 0;
            sets.retain(|&set| {
                place += 1;
                if place % 2 == 0 {
                    pool.remove(set);
                }
                place % 2 == 1
            });
            let mut batch = Batch::default();
            for (labels, sent, samples) in &round as &[AnySeries] {
                let set = add(&mut pool, labels);
                sets.push(set);
                batch.push(set, if *sent { TRANSMIT } else { RECEIVE }, samples);
            }
            for protocol in [Protocol::V1, Protocol::V2] {
                for compression in [Compression::Snappy, Compression::Zstd] {
                    let body = encoder.encode(&batch, &pool, protocol, compression);
                    let series = received(&body, protocol, compression);
                    prop_assert_eq!(series, expected(&batch, &pool, protocol));
                }
            }
        }
    }

    #[test]
    fn no_request_is_larger_than_its_series_and_metadata_may_make_it(
        lengths in prop::collection::vec((0_usize..12, 1_usize..1_100, any_samples()), 1..40),
        starts in prop_oneof![Just(StartTimestamps::Sample), Just(StartTimestamps::Series)],
    ) {
        let mut encoder = Encoder::new(Arc::new(Families::all(&schema())), starts);
        let mut pool = LabelPool::new();
        let mut batch = Batch::default();
        batch.metadata = true;
        let mut bound = METADATA_MAX_BYTES;
        for (place, (labels, length, samples)) in lengths.iter().enumerate() {
            // No text comes twice, so that nothing is shared.
            let labels: Vec<(String, String)> = (0..*labels)
                .map(|label| (format!("l{label:02}_{place}"), format!("{label}_{place}_{}", "v".repeat(*length))))
                .collect();
            let set = pool.add(labels.iter().map(|(name, value)| (&**name, &**value)));
            bound += pool.request_len(set) + samples.len() * SAMPLE_MAX_BYTES;
            batch.push(set, if place % 2 == 0 { TRANSMIT } else { RECEIVE }, samples);
        }
        for protocol in [Protocol::V1, Protocol::V2] {
            let body = encoder.encode(&batch, &pool, protocol, Compression::Snappy);
            let size = decompressed(&body, Compression::Snappy).len();
            prop_assert!(size <= bound, "{:?}: {} bytes, and {} are the bound", protocol, size, bound);
        }
    }

    #[test]
    fn a_pool_keeps_the_labels_of_those_that_stay(
        steps in prop::collection::vec((any_labels(), any::<prop::sample::Index>(), any::<bool>()), 0..60),
    ) {
        let mut pool = LabelPool::new();
        let mut model: Vec<(LabelSet, BTreeMap<String, String>)> = Vec::new();
        for (labels, index, remove) in steps {
            if remove && !model.is_empty() {
                let (set, _) = model.swap_remove(index.index(model.len()));
                pool.remove(set);
            } else {
                model.push((add(&mut pool, &labels), labels));
            }
            for (set, labels) in &model {
                let held = pool.labels(*set).map(|(name, value)| (name.to_owned(), value.to_owned()));
                prop_assert_eq!(&held.collect::<BTreeMap<_, _>>(), labels);
                let labels = labels.iter().map(|(name, value)| v1::Label {
                    name: name.clone(),
                    value: value.clone(),
                });
                let series = v1::TimeSeries { labels: labels.collect(), samples: Vec::new() };
                prop_assert_eq!(pool.encoded_len(*set), series.encoded_len());
            }
        }
        let sets: BTreeSet<_> = model.iter().map(|(set, _)| *set).collect();
        prop_assert_eq!(sets.len(), model.len());
    }

    #[test]
    fn the_halves_of_a_batch_are_the_batch(
        series in prop::collection::vec((any_labels(), any_samples()), 1..8),
    ) {
        let mut pool = LabelPool::new();
        let mut batch = Batch::default();
        for (labels, samples) in &series {
            batch.push(add(&mut pool, labels), RECEIVE, samples);
        }
        let (samples, count) = (batch.samples(), batch.len());
        if let Ok((first, second)) = batch.clone().split() {
            prop_assert_eq!(first.samples() + second.samples(), samples);
            let all: Vec<_> = first.series().chain(second.series()).collect();
            if count > 1 {
                prop_assert_eq!(format!("{all:?}"), format!("{:?}", batch.series().collect::<Vec<_>>()));
            } else {
                prop_assert_eq!(all[0].labels, all[1].labels);
                let times = all.iter().flat_map(|one| one.samples).map(|sample| sample.time);
                let whole = series[0].1.iter().map(|sample| sample.time);
                prop_assert_eq!(times.collect::<Vec<_>>(), whole.collect::<Vec<_>>());
            }
        } else {
            prop_assert_eq!(samples, 1);
        }
    }
}
