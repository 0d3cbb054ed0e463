//! The last hour: the pass over all series that each minute costs, its memory, and an answer.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    history::{Asked, History},
    ledger::SeriesTable,
    traffic::{Counts, Rule},
};
use testkit::{
    counting,
    snapshots::{ASN, flow},
};

/// Series that all grow each minute, by amounts from a few bytes to some gigabytes.
struct Kit {
    table: SeriesTable,
    counts: Counts,
    history: History,
    minute: i64,
}

impl Kit {
    fn new(series: u32) -> Self {
        let hosts: Vec<String> = (0..16).map(|host| format!("edge{host}.example.net")).collect();
        let flows = (0..series).map(|number| {
            // As many bytes as flows of a minute have that are sampled and multiplied.
            let bytes = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (32 + number % 24);
            let (other, host) = (1 + number / 32, &hosts[number as usize / 2 % 16]);
            let is_sent = number % 2 == 0;
            let (source, destination) = if is_sent { (ASN, other) } else { (other, ASN) };
            flow(source, destination, bytes.max(40), host)
        });
        let counts = counting::counts(&Rule::of_as(ASN), flows);
        let table = SeriesTable::new(counting::schema(), Arc::new(AsNames::embedded()), None);
        let mut kit = Kit { table, counts, history: History::new(1 << 30), minute: 0 };
        // All series begin before, and count as what was there.
        kit.minute(true);
        kit
    }

    /// Takes the snapshot of the next minute. Returns how long the history takes for it.
    fn minute(&mut self, grows: bool) -> Duration {
        if grows {
            self.table.merge(&self.counts, &[]);
        }
        self.minute += 1;
        let time = UnixMs::new(1_764_252_000_000 + self.minute * 60_000);
        let snapshot = Arc::new(self.table.take_snapshot(Some(time), Instant::now()));
        self.table.settled();
        let begun = Instant::now();
        self.history.take(&snapshot);
        begun.elapsed()
    }
}

fn passes(c: &mut Criterion) {
    let mut group = c.benchmark_group("history/minute");
    group.sample_size(10);
    for series in [100_000, 1_000_000] {
        group.throughput(Throughput::Elements(series.into()));
        for (name, grows) in [("all grow", true), ("none grows", false)] {
            let mut kit = Kit::new(series);
            let id = BenchmarkId::new(name, series);
            group.bench_function(id, |b| {
                b.iter_custom(|times| (0..times).map(|_| kit.minute(grows)).sum());
            });
        }
    }
}

fn answers(c: &mut Criterion) {
    let series = 100_000;
    let mut kit = Kit::new(series);
    for _ in 0..60 {
        kit.minute(true);
    }
    let bytes = kit.history.extent().bytes;
    println!("an hour of {series} series that grow each minute: {bytes} bytes");
    let mut group = c.benchmark_group("history/answer");
    group.sample_size(10);
    for (name, by) in
        [("total", &[][..]), ("by remote_as", &["remote_as"]), ("by hostname", &["hostname"])]
    {
        let by = by.iter().map(|&label| label.to_owned()).collect();
        let asked = Asked { by, ..Asked::default() };
        group.bench_function(name, |b| {
            b.iter(|| black_box(kit.history.answer(&asked).expect("an answer")));
        });
    }
}

criterion_group!(benches, passes, answers);
criterion_main!(benches);
