//! Rendering a page: bytes and series a second, on one core.

use std::{hint::black_box, io::Write, sync::Arc, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compression, write::GzEncoder};
use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    ledger::{SeriesTable, Snapshot},
    pipeline::Pipeline,
    publish::text::{Format, Page},
    schema::Schema,
    traffic::{Counts, Rule},
};

const SERIES: u32 = 1_000_000;

/// This many series: 16 hosts, both directions, and 31,250 named AS in no order.
fn snapshot(series: u32) -> Arc<Snapshot> {
    let asn = 64500;
    let names = AsNames::embedded();
    let numbers: Vec<u32> = names.iter().map(|(number, _)| number).collect();
    let hosts: Vec<String> = (0..16).map(|host| format!("edge{host}.example.net")).collect();
    let schema = Arc::new(Schema::original());
    let mut pipeline = Pipeline::new(&schema, &Rule::of_as(asn));
    let mut counts = Counts::new(Arc::clone(&schema));
    for number in 0..series {
        // A prime, so that no AS comes twice before all have come.
        let other = numbers[(number / 32) as usize * 50_021 % numbers.len()];
        let (source_as, destination_as) =
            if number.is_multiple_of(2) { (asn, other) } else { (other, asn) };
        let hostname = &hosts[number as usize / 2 % 16];
        // From a few bytes to a few terabytes.
        let bytes = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (22 + number % 40);
        let record = format!(
            r#"{{"as_src": {source_as}, "as_dst": {destination_as}, "bytes": {bytes}, "label": "{hostname}"}}"#
        );
        pipeline.message(record.as_bytes(), &mut counts, |_, _| {});
    }
    let mut table = SeriesTable::new(schema, Arc::new(names), None);
    table.merge(&counts, &[]);
    let snapshot = Arc::new(table.take_snapshot(Some(UnixMs::new(1)), Instant::now()));
    assert_eq!(snapshot.len(), series as usize);
    snapshot
}

fn text(c: &mut Criterion) {
    let schema = Arc::new(Schema::original());
    let snapshot = snapshot(SERIES);
    let whole = |sink: &mut dyn FnMut(&[u8])| {
        let mut page = Page::new(
            Format::OpenMetrics,
            Arc::clone(&schema),
            Some(Arc::clone(&snapshot)),
            Vec::new(),
        );
        let mut step = Vec::new();
        let mut more = true;
        while more {
            step.clear();
            more = page.step(&mut step);
            sink(&step);
        }
    };
    let mut bytes = 0;
    whole(&mut |step| bytes += step.len() as u64);

    let mut group = c.benchmark_group("text");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(SERIES)));
    group.bench_function("series", |b| b.iter(|| whole(&mut |step| _ = black_box(step))));
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("bytes", |b| b.iter(|| whole(&mut |step| _ = black_box(step))));
    group.bench_function("gzip", |b| {
        b.iter(|| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            whole(&mut |step| {
                gzip.write_all(step).expect("a vector takes all bytes");
                gzip.get_mut().clear();
            });
        });
    });
    group.finish();
}

criterion_group!(benches, text);
criterion_main!(benches);
