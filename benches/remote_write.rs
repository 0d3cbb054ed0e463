//! The cost of a sample in remote write: bytes on the wire, and time on one thread.
//!
//! Series have the default labels, and counts from a kilobyte to ten gigabytes. Four routers see
//! the same AS, in both directions. The baseline makes the same requests with prost's types and
//! snap.

use std::{collections::HashMap, sync::Arc};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    publish::remote_write::{
        Batch, BatchBounds, Compression, Encoder, Families, FamilyId, Group, LabelPool, LabelSet,
        Protocol, Sample, StartTimestamps, compare,
        proto::{v1, v2},
    },
    schema::{Class, Measure, Schema, View},
};
use prost::Message;
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// The monitored AS.
const ASN: u32 = 15169;

/// Routers that see the same remote AS.
const ROUTERS: usize = 4;

/// Between two samples.
const INTERVAL_MS: i64 = 15_000;

/// This many series of real AS, in the order in which the program sends them.
fn series(pool: &mut LabelPool, count: usize) -> Vec<(LabelSet, FamilyId)> {
    let names = AsNames::embedded();
    let numbers: Vec<u32> = names.iter().map(|(number, _)| number).collect();
    let mut random = SmallRng::seed_from_u64(3);
    let own = ASN.to_string();
    let mut grouped = Vec::with_capacity(count);
    while grouped.len() < count {
        let number = numbers[random.random_range(0..numbers.len())];
        let far = number.to_string();
        for router in 0..ROUTERS {
            let hostname = format!("edge{router}.fra.example.net");
            for direction in [Class::Receive, Class::Transmit] {
                let (mut from, mut to) = ((&*far, names.get(number)), (&*own, names.get(ASN)));
                if direction == Class::Transmit {
                    (from, to) = (to, from);
                }
                let labels = pool.add([
                    ("__name__", &*View::original().metric_name(direction, Measure::Bytes)),
                    ("destination_as", to.0),
                    ("destination_as_name", to.1),
                    ("hostname", &hostname),
                    ("instance", "fra1.example.net"),
                    ("job", "flow-exporter"),
                    ("source_as", from.0),
                    ("source_as_name", from.1),
                ]);
                let group = Group::default().with(number).with(ASN);
                grouped.push((group, labels, FamilyId::new(direction as u16)));
            }
        }
    }
    grouped.sort_by(|one, other| compare(pool, (one.0, one.1), (other.0, other.1)));
    grouped.into_iter().map(|(_, labels, family)| (labels, family)).collect()
}

/// These series with some samples each, in requests of the default size.
fn batches(series: &[(LabelSet, FamilyId)], samples: usize) -> Vec<Batch> {
    let mut random = SmallRng::seed_from_u64(4);
    let mut batches = Vec::new();
    for chunk in series.chunks(BatchBounds::default().series) {
        let mut batch = Batch::default();
        for &(labels, family) in chunk {
            let most = 1_u64 << random.random_range(10..34);
            let mut bytes = random.random_range(0..most);
            // The counts so far took from ten to a thousand intervals.
            let each = bytes / random.random_range(10..1000);
            let samples: Vec<_> = (0..samples as i64)
                .map(|number| {
                    bytes += random.random_range(0..=2 * each);
                    let time = UnixMs::new(1_795_000_005_000 + INTERVAL_MS * number);
                    let start = Some(UnixMs::new(1_794_900_000_000));
                    Sample { time, value: bytes as f64, start }
                })
                .collect();
            batch.push(labels, family, &samples);
        }
        batches.push(batch);
    }
    batches
}

/// The request by prost and snap.
fn baseline(batch: &Batch, pool: &LabelPool, families: &Families, protocol: Protocol) -> Vec<u8> {
    let raw = match protocol {
        Protocol::V1 => {
            let timeseries = batch.series().map(|series| v1::TimeSeries {
                labels: pool
                    .labels(series.labels)
                    .map(|(name, value)| v1::Label { name: name.into(), value: value.into() })
                    .collect(),
                samples: series
                    .samples
                    .iter()
                    .map(|sample| v1::Sample { value: sample.value, timestamp: sample.time.get() })
                    .collect(),
            });
            v1::WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() }
                .encode_to_vec()
        }
        Protocol::V2 => {
            let mut symbols = vec![String::new()];
            let mut places = HashMap::from([(String::new(), 0)]);
            let mut symbol = |text: &str| {
                places.get(text).copied().unwrap_or_else(|| {
                    symbols.push(text.into());
                    places.insert(text.into(), symbols.len() as u32 - 1);
                    symbols.len() as u32 - 1
                })
            };
            let mut timeseries = Vec::with_capacity(batch.len());
            for series in batch.series() {
                let family = families.get(series.family);
                let labels = pool.labels(series.labels);
                let samples = series.samples.iter().map(|sample| v2::Sample {
                    value: sample.value,
                    timestamp: sample.time.get(),
                    start_timestamp: sample.start.map_or(0, UnixMs::get),
                });
                timeseries.push(v2::TimeSeries {
                    labels_refs: labels
                        .flat_map(|(name, value)| [name, value])
                        .map(&mut symbol)
                        .collect(),
                    samples: samples.collect(),
                    metadata: Some(v2::Metadata {
                        r#type: v2::metadata::MetricType::Counter.into(),
                        help_ref: symbol(&family.help),
                        unit_ref: symbol(family.unit),
                    }),
                });
            }
            v2::Request { symbols, timeseries }.encode_to_vec()
        }
    };
    snap::raw::Encoder::new().compress_vec(&raw).expect("far below 4 GiB")
}

fn measure(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    batches: &[Batch],
    mut encode: impl FnMut(&Batch) -> usize,
) {
    let samples: usize = batches.iter().map(Batch::samples).sum();
    let bytes: usize = batches.iter().map(&mut encode).sum();
    println!("{name}: {:.2} bytes a sample", bytes as f64 / samples as f64);
    group.throughput(Throughput::Elements(samples as u64));
    group.bench_function(name, |b| b.iter(|| batches.iter().map(&mut encode).sum::<usize>()));
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("remote_write");
    let families = Arc::new(Families::flow(&Schema::original()));
    for count in [10_000, 100_000] {
        let mut pool = LabelPool::new();
        let series = series(&mut pool, count);
        for (load, samples) in [("live", 1), ("drain", 24)] {
            if count > 10_000 && samples > 1 {
                continue;
            }
            let batches = batches(&series, samples);
            for (version, protocol) in [("v1", Protocol::V1), ("v2", Protocol::V2)] {
                let name = |what: &str| format!("{load}/{version}/{what}/{count}");
                let mut encoder = Encoder::new(Arc::clone(&families), StartTimestamps::Sample);
                for (what, compression) in
                    [("snappy", Compression::Snappy), ("zstd", Compression::Zstd)]
                {
                    measure(&mut group, &name(what), &batches, |batch| {
                        encoder.encode(batch, &pool, protocol, compression).len()
                    });
                }
                measure(&mut group, &name("baseline"), &batches, |batch| {
                    baseline(batch, &pool, &families, protocol).len()
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
