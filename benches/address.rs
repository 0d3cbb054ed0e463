//! Look-ups of AS and country by address: nanoseconds for each, and what loading takes.

use std::{fs, hint::black_box, net::IpAddr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::address::{Layer, Table};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Addresses that are looked up in turn: more than the processor's caches have ranges for.
const ADDRESSES: usize = 1 << 20;

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize =
        pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// Addresses that the table knows, at random; those of IPv6 are in use at registries.
fn addresses(table: &Table, is_v4: bool, count: usize) -> Vec<IpAddr> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut known = Vec::with_capacity(count);
    while known.len() < count {
        let address = if is_v4 {
            IpAddr::V4(random.random::<u32>().into())
        } else {
            // Registries give out these; at random, almost none is in use.
            let registries = [0x2001_u128, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c0f];
            let top =
                registries[random.random_range(0..registries.len())] + random.random_range(0..16);
            IpAddr::V6((top << 112 | random.random::<u128>() >> 16).into())
        };
        if table.lookup(address).asn != 0 {
            known.push(address);
        }
    }
    known
}

fn address(c: &mut Criterion) {
    let before = resident();
    let table = Table::of([Layer::embedded()]);
    let with_scratch = resident() - before;
    println!("{} ranges; resident with what loading leaves: {with_scratch} bytes", table.len());

    let mut group = c.benchmark_group("address");
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    for (name, is_v4, count) in [
        ("ipv4", true, ADDRESSES),
        ("ipv6", false, ADDRESSES),
        // As many as a network talks to at a time.
        ("ipv4, 10,000 addresses", true, 10_000),
        ("ipv6, 10,000 addresses", false, 10_000),
    ] {
        let some = addresses(&table, is_v4, count);
        let addresses: Vec<IpAddr> = some.iter().copied().cycle().take(ADDRESSES).collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                addresses
                    .iter()
                    .map(|&address| u64::from(black_box(table.lookup(address)).asn))
                    .sum::<u64>()
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.sample_size(10);
    group.bench_function("load", |b| {
        b.iter_batched(|| (), |()| Table::of([Layer::embedded()]), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, address);
criterion_main!(benches);
