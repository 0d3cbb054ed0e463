//! What a sample costs on its way to remote write: encoded and compressed, on one thread.

use std::{sync::Arc, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::{
    asn::AsNames,
    flow::{Decoded, Flow},
    ledger::{Book, Snapshot},
    publish::remote_write::{BatchBounds, ExternalLabels, OldEncoder},
    traffic::{Counts, Layout, Rule},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// The monitored AS.
const ASN: u32 = 15169;

/// Routers that see the same far AS.
const ROUTERS: usize = 4;

fn snapshot(series: usize) -> Snapshot {
    let names = AsNames::embedded();
    let numbers: Vec<u32> = names.iter().map(|(number, _)| number).collect();
    let mut random = SmallRng::seed_from_u64(3);
    let mut counts = Counts::new(Layout::original(), Rule { asn: ASN });
    while counts.len() < series {
        let other = numbers[random.random_range(0..numbers.len())];
        for router in 0..ROUTERS {
            let hostname = format!("edge{router}.fra.example.net");
            let most = 1_u64 << random.random_range(10..34);
            let bytes = random.random_range(0..most);
            let (source_as, destination_as) =
                if random.random() { (ASN, other) } else { (other, ASN) };
            counts.record(&Decoded::Flow(Flow {
                source_as,
                destination_as,
                bytes,
                hostname: hostname.into(),
            }));
        }
    }
    let time_ms = 1_795_000_005_000;
    let mut book = Book::new(Layout::original(), Arc::new(names), time_ms - 15_000);
    book.merge(&counts, &[]);
    book.cut(time_ms, Instant::now())
}

fn encoder() -> OldEncoder {
    let labels = [("instance", "fra1.example.net"), ("job", "flow-exporter")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let labels = ExternalLabels::new(&labels, &Layout::original()).expect("valid labels");
    OldEncoder::new(labels, BatchBounds::default())
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("remote_write_v1");
    for series in [10_000, 100_000] {
        let snapshot = snapshot(series);
        let mut encoder = encoder();
        let mut pass = || {
            let (mut from, mut samples, mut bytes) = (0, 0, 0);
            while let Some((request, next)) = encoder.snapshot(&snapshot, from) {
                from = next;
                samples += request.samples;
                bytes += request.body.len();
            }
            (samples, bytes)
        };
        let (samples, bytes) = pass();
        assert_eq!(samples, snapshot.len());
        println!("{series} series: {:.1} bytes a sample", bytes as f64 / samples as f64);
        group.throughput(Throughput::Elements(samples as u64));
        group.bench_function(format!("encode_and_snappy/{series}"), |b| b.iter(&mut pass));
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
