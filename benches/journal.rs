//! The cost of the journal: bytes on disk for each changed series, time of a delta, recovery.
//!
//! Series share a total by Zipf's law with an exponent of 1.1, in random order, and each varies
//! from delta to delta by a log-normal factor (sigma 1). A delta covers 15 seconds. 1 and 10 Gbit/s
//! count every byte; "100 Gbit/s, 1:1000" counts 1,000 bytes for each byte of sampled packets.
//! Definitions hold a number, one of four routers and the real name of an AS.

use std::{path::Path, time::Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    journal::{CheckpointHead, CheckpointSource, Delta, Journal, JournalConfig, Series, State},
};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};

const INTERVAL_SECONDS: f64 = 15.0;
const EXPONENT: f64 = 1.1;

/// What series count.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    bits_per_second: f64,
    sampling: u64,
}

const SLOW: Traffic = Traffic { bits_per_second: 1e9, sampling: 1 };
const PLAIN: Traffic = Traffic { bits_per_second: 10e9, sampling: 1 };
const SAMPLED: Traffic = Traffic { bits_per_second: 100e9, sampling: 1000 };

/// Increments of one delta for `series` series.
fn increments(series: usize, traffic: Traffic, random: &mut SmallRng) -> Vec<u64> {
    let weight = |rank: usize| (rank as f64 + 1.0).powf(-EXPONENT);
    let all: f64 = (0..series).map(weight).sum();
    let total = traffic.bits_per_second / 8.0 * INTERVAL_SECONDS;
    let mut order: Vec<usize> = (0..series).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(1));
    order
        .into_iter()
        .map(|rank| {
            // A normal deviate, by Box and Muller.
            let (u, v): (f64, f64) = (random.random(), random.random());
            let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            let bytes = total * weight(rank) / all * (normal - 0.5).exp();
            // At least the smallest packet.
            #[expect(clippy::cast_sign_loss, reason = "at least 40")]
            let sampled = (bytes / traffic.sampling as f64).max(40.0) as u64;
            sampled * traffic.sampling
        })
        .collect()
}

/// The state before the first delta: `series` series, each with some counts.
fn initial(dir: &Path, series: u32) -> (Journal, State) {
    let (mut journal, _) = Journal::open(dir, JournalConfig::default()).expect("opens");
    let mut delta = Delta::new(1);
    delta.sequence = 1;
    let mut random = SmallRng::seed_from_u64(7);
    let names = AsNames::embedded();
    let names: Vec<(u32, &str)> = names.iter().collect();
    for id in 0..series {
        let (number, name) = names[random.random_range(0..names.len())];
        let router = random.random_range(0..4);
        let definition = format!("{number}\0edge{router}.fra.example.net\0{name}");
        delta.start(
            id,
            UnixMs::new(1_795_000_000_000 + i64::from(id / 100)),
            definition.as_bytes(),
        );
    }
    for (id, increment) in increments(series as usize, PLAIN, &mut random).iter().enumerate() {
        delta.add(id as u32, &[increment * random.random_range(4000..6000)]);
    }
    journal.append(&mut delta, &Empty, UnixMs::EPOCH).expect("appended");
    drop(journal);
    let (journal, recovered) = Journal::open(dir, JournalConfig::default()).expect("opens");
    (journal, recovered.state.expect("a state"))
}

struct Empty;

impl CheckpointSource for Empty {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        visit(CheckpointHead {
            identity: b"",
            sequence: 0,
            time: UnixMs::EPOCH,
            positions: &[],
            early_counts: b"",
            width: 1,
            slots: 0,
            live: 0,
        });
    }

    fn visit(&self, _: &mut dyn FnMut(Series<'_>)) {}
}

/// Appends deltas to the same state repeatedly, each with its own increments.
struct Appender {
    journal: Journal,
    deltas: Vec<Delta>,
    sequence: u64,
}

impl Appender {
    /// One of `every` series changes in each delta, `changed` in all.
    fn new(dir: &Path, changed: usize, every: usize, traffic: Traffic) -> Self {
        let (journal, state) = initial(dir, (changed * every) as u32);
        let mut random = SmallRng::seed_from_u64(11);
        let deltas = (0..4)
            .map(|_| {
                let mut delta = Delta::new(1);
                let mut ids: Vec<u32> = (0..state.slots()).collect();
                ids.shuffle(&mut random);
                ids.truncate(changed);
                ids.sort_unstable();
                for (id, increment) in ids.iter().zip(increments(changed, traffic, &mut random)) {
                    delta.add(*id, &[increment]);
                }
                delta
            })
            .collect();
        Appender { journal, deltas, sequence: 1 }
    }

    /// Appends one and says how many bytes it takes. No checkpoint is written: there is room in
    /// the segment, or the caller asks for few.
    fn append(&mut self) -> u64 {
        self.sequence += 1;
        let which = self.sequence as usize % self.deltas.len();
        let delta = &mut self.deltas[which];
        delta.sequence = self.sequence;
        delta.is_tick = true;
        self.journal.append(delta, &Empty, UnixMs::EPOCH).expect("appended").bytes
    }
}

/// Where the journal is: in memory, where a sync costs nothing, or on the disk of the build.
fn dir(in_memory: bool) -> tempfile::TempDir {
    let base =
        if in_memory { Path::new("/dev/shm") } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    tempfile::tempdir_in(base).expect("a directory")
}

fn bytes(_: &mut Criterion) {
    for (name, traffic) in
        [("1 Gbit/s", SLOW), ("10 Gbit/s", PLAIN), ("100 Gbit/s, 1:1000", SAMPLED)]
    {
        for changed in [10_000, 100_000] {
            for every in [1, 3] {
                let dir = dir(true);
                let mut appender = Appender::new(dir.path(), changed, every, traffic);
                let record: u64 = (0..8).map(|_| appender.append()).sum();
                // What can't be compressed: the bits below each count's highest one.
                let noise: u64 = appender
                    .deltas
                    .iter()
                    .flat_map(Delta::changed)
                    .map(|(_, row)| u64::from((row[0] / traffic.sampling).ilog2()))
                    .sum();
                println!(
                    "{name}, {changed} of {} series change: {:.2} bytes for each, {:.2} of them noise",
                    changed * every,
                    record as f64 / (8 * changed) as f64,
                    noise as f64 / 8.0 / (appender.deltas.len() * changed) as f64,
                );
            }
        }
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal/append");
    group.sample_size(10);
    for changed in [10_000, 100_000] {
        for (name, in_memory) in [("memory", true), ("disk", false)] {
            group.throughput(Throughput::Elements(changed as u64));
            group.bench_function(BenchmarkId::new(name, changed), |b| {
                b.iter_custom(|iterations| {
                    let mut took = std::time::Duration::ZERO;
                    let mut left = iterations;
                    while left > 0 {
                        let dir = dir(in_memory);
                        let mut appender = Appender::new(dir.path(), changed, 1, PLAIN);
                        // Few enough to fit into one segment.
                        let now = left.min(20);
                        let begun = Instant::now();
                        for _ in 0..now {
                            appender.append();
                        }
                        took += begun.elapsed();
                        left -= now;
                    }
                    took
                });
            });
        }
    }
    group.finish();
}

fn recovery(c: &mut Criterion) {
    const SERIES: u32 = 1_000_000;
    let dir = dir(false);
    let (mut journal, state) = initial(dir.path(), SERIES);
    // A full segment: a checkpoint, and deltas of 4 times its size.
    journal.begin_segment();
    let mut delta = Delta::new(1);
    delta.sequence = 2;
    let begun = Instant::now();
    let appended = journal.append(&mut delta, &state, UnixMs::EPOCH).expect("appended");
    println!(
        "checkpoint of {SERIES} series: {:.1} bytes for each, {:.0} ms with its sync",
        appended.checkpoint_bytes as f64 / f64::from(SERIES),
        begun.elapsed().as_secs_f64() * 1e3,
    );
    drop(state);
    let mut random = SmallRng::seed_from_u64(5);
    let (mut bytes, mut changes) = (0, 0);
    let values = increments(SERIES as usize / 10, PLAIN, &mut random);
    while bytes < 3 * appended.checkpoint_bytes {
        delta.clear();
        delta.sequence = journal.log().end().sequence + 1;
        let offset = random.random_range(0..10);
        for (place, &increment) in values.iter().enumerate() {
            delta.add(place as u32 * 10 + offset, &[increment]);
        }
        bytes += journal.append(&mut delta, &Empty, UnixMs::EPOCH).expect("appended").bytes;
        changes += values.len();
    }
    drop(journal);
    println!("deltas after it: {bytes} bytes, {changes} changes");
    let mut group = c.benchmark_group("journal/recovery");
    group.sample_size(10);
    group.bench_function("1000000", |b| {
        b.iter(|| {
            let (_, recovered) =
                Journal::open(dir.path(), JournalConfig::default()).expect("opens");
            assert_eq!(recovered.state.expect("a state").len(), SERIES as usize);
        });
    });
    group.finish();
}

criterion_group!(benches, bytes, append, recovery);
criterion_main!(benches);
