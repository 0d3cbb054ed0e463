//! Records per second on the hot path: decoding alone, and decoding and counting into 80,000
//! series. Two baselines run over the same payloads, so that results can be compared as ratios: a
//! scan for one byte (the least that reading a payload costs) and a full parse into a tree.

use std::{
    hint::black_box,
    sync::{Arc, LazyLock},
};

use apache_avro::{types::Value, writer::datum::GenericDatumWriter};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use flow_exporter::{
    flow::{AvroSchema, AvroSource, Decoder, Plan, Record},
    pipeline::Pipeline,
    schema::{Class, Field, Measure, Schema, View},
    traffic::{Counts, Rule},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// The monitored AS, as in the recorded input.
const ASN: u32 = 64512;
const RECORDS: u32 = 100_000;
/// Peer AS numbers, each with both directions and 4 routers: 80,000 series.
const PEERS: u32 = 10_000;
const ROUTERS: u32 = 4;

/// One payload for each record, made from the recorded one with other values.
fn payloads() -> Vec<String> {
    let recorded = include_str!("../tests/fixtures/pmacct/purge.json").trim_end();
    let mut random = SmallRng::seed_from_u64(1);
    (0..RECORDS)
        .map(|_| {
            let peer = 1000 + random.random_range(0..PEERS);
            let (source, destination) = if random.random() { (ASN, peer) } else { (peer, ASN) };
            let mut replace = {
                let mut record = recorded.to_owned();
                move |from: &str, to: String| {
                    assert!(record.contains(from), "{from} is in the recorded input");
                    record = record.replacen(from, &to, 1);
                    record.clone()
                }
            };
            let router = random.random_range(0..ROUTERS);
            replace("\"label\": \"\"", format!("\"label\": \"edge{router}.fra.example.net\""));
            replace("\"as_src\": 64512", format!("\"as_src\": {source}"));
            replace("\"as_dst\": 15169", format!("\"as_dst\": {destination}"));
            replace("127.0.0.1", format!("192.0.2.{}", random.random::<u8>()));
            replace("127.200.0.1", format!("198.51.100.{}", random.random::<u8>()));
            replace("53554", random.random_range(1024..u16::MAX).to_string());
            replace("\"packets\": 50", format!("\"packets\": {}", random.random_range(1..2000)));
            let bytes = 1_u64 << random.random_range(6..34);
            replace("\"bytes\": 26400", format!("\"bytes\": {}", random.random_range(40..bytes)))
        })
        .collect()
}

/// The schema that pmacct writes for these records.
const AVRO_SCHEMA: &str = r#"{"type": "record", "name": "acct_data", "fields": [
    {"name": "label", "type": "string"},
    {"name": "as_src", "type": "long"},
    {"name": "as_dst", "type": "long"},
    {"name": "peer_ip_src", "type": "string"},
    {"name": "ip_src", "type": "string"},
    {"name": "ip_dst", "type": "string"},
    {"name": "port_src", "type": "long"},
    {"name": "port_dst", "type": "long"},
    {"name": "tcp_flags", "type": "string"},
    {"name": "ip_proto", "type": "string"},
    {"name": "stamp_inserted", "type": ["null", "string"]},
    {"name": "stamp_updated", "type": ["null", "string"]},
    {"name": "packets", "type": ["null", "long"]},
    {"name": "bytes", "type": ["null", "long"]}]}"#;

/// The same record as Avro.
fn avro(record: &str) -> Vec<u8> {
    static SCHEMA: LazyLock<apache_avro::Schema> =
        LazyLock::new(|| apache_avro::Schema::parse_str(AVRO_SCHEMA).expect("a schema"));
    let record: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(record).expect("payloads are JSON");
    let fields =
        record.into_iter().filter(|(name, _)| name != "event_type").map(|(name, value)| {
            let plain = match value {
                serde_json::Value::String(text) => Value::String(text),
                number => Value::Long(number.as_i64().expect("a number")),
            };
            let is_optional = name.starts_with("stamp_") || matches!(&*name, "packets" | "bytes");
            (name, if is_optional { Value::Union(1, Box::new(plain)) } else { plain })
        });
    let writer = GenericDatumWriter::builder(&SCHEMA).build().expect("a schema");
    writer.write_value_to_vec(Value::Record(fields.collect())).expect("a value of the schema")
}

/// Lists of views whose rates are compared with the first one's.
fn views() -> [(&'static str, Vec<View>); 3] {
    let view = |name: &str, labels: &[&str], measures: &[Measure]| {
        let dimensions = View::dimensions_of(labels.iter().copied()).expect("labels");
        View::new(name, &dimensions, &[Class::Receive, Class::Transmit], measures)
    };
    let original = ["source_as", "source_as_name", "destination_as", "destination_as_name"];
    let more = ["hostname", "protocol", "service_port", "exporter", "tcp_flags"];
    let service = ["remote_as", "protocol", "service_port", "hostname"];
    [
        ("views: the original's", vec![View::original()]),
        (
            "views: the original's with four more labels",
            vec![view("flow", &[&original[..], &more[..]].concat(), &[Measure::Bytes])],
        ),
        (
            "views: three",
            vec![
                View::original(),
                view("service", &service, &Measure::ALL),
                view("prefix", &["destination_prefix/24", "hostname"], &[Measure::Bytes]),
            ],
        ),
    ]
}

fn decode_avro(group: &mut BenchmarkGroup<'_, WallTime>, payloads: &[String], plan: &Plan) {
    let avro: Vec<Vec<u8>> = payloads.iter().map(|record| avro(record)).collect();
    let together: Vec<Vec<u8>> = avro.chunks(50).map(<[Vec<u8>]>::concat).collect();
    let schema = AvroSchema::parse(AVRO_SCHEMA).expect("a schema");
    let mut decoder = Decoder::avro(&AvroSource::File(Arc::new(schema)), plan);
    for (name, messages) in
        [("decode Avro", &avro), ("decode Avro, 50 records to a message", &together)]
    {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut flows = 0;
                for message in messages {
                    decoder.decode(message, &mut |record| {
                        flows += u32::from(matches!(black_box(record), Record::Flow(_)));
                    });
                }
                assert_eq!(flows, RECORDS);
            });
        });
    }
}

fn decode(criterion: &mut Criterion) {
    let payloads = payloads();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(payloads.len() as u64));
    group.sample_size(20);

    group.bench_function("baseline: scan for a byte", |bench| {
        bench.iter(|| {
            payloads
                .iter()
                .map(|payload| memchr::memchr_iter(b'}', payload.as_bytes()).count())
                .sum::<usize>()
        });
    });

    group.bench_function("baseline: parse into a tree", |bench| {
        bench.iter(|| {
            for payload in &payloads {
                black_box(sonic_rs::from_slice::<sonic_rs::Value>(payload.as_bytes()))
                    .expect("payloads are JSON");
            }
        });
    });

    let plan = Plan::new([Field::SourceAs, Field::DestinationAs, Field::Hostname]);
    let mut decoder = Decoder::pmacct(&plan);
    group.bench_function("decode", |bench| {
        bench.iter(|| {
            let mut flows = 0;
            for payload in &payloads {
                decoder.decode(payload.as_bytes(), &mut |record| {
                    flows += u32::from(matches!(black_box(record), Record::Flow(_)));
                });
            }
            assert_eq!(flows, RECORDS);
        });
    });

    let messages: Vec<String> = payloads.chunks(50).map(|records| records.join("\n")).collect();
    group.bench_function("decode, 50 records to a message", |bench| {
        bench.iter(|| {
            let mut flows = 0;
            for message in &messages {
                decoder.decode(message.as_bytes(), &mut |record| {
                    flows += u32::from(matches!(black_box(record), Record::Flow(_)));
                });
            }
            assert_eq!(flows, RECORDS);
        });
    });

    decode_avro(&mut group, &payloads, &plan);

    let schema = Arc::new(Schema::original());
    let mut pipeline = Pipeline::new(&schema, &Rule::of_as(ASN));
    let mut counts = Counts::new(schema);
    // Every series exists before the first record is timed.
    for router in 0..ROUTERS {
        for peer in 1000..1000 + PEERS {
            for (source_as, destination_as) in [(ASN, peer), (peer, ASN)] {
                let record = format!(
                    r#"{{"as_src": {source_as}, "as_dst": {destination_as}, "bytes": 0, "label": "edge{router}.fra.example.net"}}"#
                );
                pipeline.message(record.as_bytes(), &mut counts, |_, _| {});
            }
        }
    }
    assert_eq!(counts.len(), 80_000);
    group.bench_function("decode and count into 80,000 series", |bench| {
        bench.iter(|| {
            for payload in &payloads {
                pipeline.message(payload.as_bytes(), &mut counts, |_, _| {});
            }
        });
    });
    assert_eq!(counts.len(), 80_000);

    // Views, each run after a first one that makes all series.
    for (name, views) in views() {
        let schema = Arc::new(Schema::new(views));
        let mut pipeline = Pipeline::new(&schema, &Rule::of_as(ASN));
        let mut counts = Counts::new(schema);
        let mut count = || {
            for payload in &payloads {
                pipeline.message(payload.as_bytes(), &mut counts, |_, _| {});
            }
            counts.len()
        };
        let series = count();
        group.bench_function(name, |bench| bench.iter(|| assert_eq!(count(), series)));
    }

    // Nearly all fields of the records.
    let names = ["event_type", "label", "as_src", "as_dst", "peer_ip_src", "ip_src", "ip_dst"];
    let more = ["port_src", "port_dst", "tcp_flags", "ip_proto", "stamp_inserted", "packets"];
    let wanted = names.iter().chain(&more).map(|&name| Field::Named(name.into()));
    let mut decoder = Decoder::pmacct(&Plan::new(wanted));
    group.bench_function("decode, all fields", |bench| {
        bench.iter(|| {
            let mut flows = 0;
            for payload in &payloads {
                decoder.decode(payload.as_bytes(), &mut |record| {
                    flows += u32::from(matches!(black_box(record), Record::Flow(_)));
                });
            }
            assert_eq!(flows, RECORDS);
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
