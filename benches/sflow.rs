//! Samples of sFlow per second, beside sflow-parser over the same datagrams, which reads what is
//! around packets and not the packets. Divide the time by the number of samples, which criterion
//! shows as elements.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::{
    clock::UnixMs,
    flow::{
        Plan, Record,
        datagram::{Datagram, Datagrams, Settings},
    },
    pipeline::Pipeline,
    schema::{Field, Schema},
    traffic::{Counts, Rule},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use testkit::{
    packet::{self, IPV4, Ipv4, TCP, VLAN, tcp, vlan},
    sflow::{FlowSample, Gateway, Sflow, frame, router, switch},
};

const ASN: u32 = 64512;
const DATAGRAMS: u32 = 1000;
/// As many as fit into a datagram of 1,500 bytes with `has_routes`.
const SAMPLES: u32 = 5;

/// Datagrams of a switch, or of a router that says what it knows of routes.
fn datagrams(has_routes: bool) -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut sample = |sequence: u32| {
        let mut payload = tcp((443, random.random()), 0x10);
        payload.resize(random.random_range(20..1460), 0);
        let ip = Ipv4 {
            source: Ipv4Addr::from(random.random::<u32>()),
            destination: Ipv4Addr::from(random.random::<u32>()),
            protocol: TCP,
            ..Ipv4::default()
        };
        let packet = packet::ethernet(VLAN, &vlan(7, IPV4, &ip.bytes(&payload)));
        let mut records = vec![frame(&packet), switch(7, 8)];
        if has_routes {
            let path = vec![3356, 1299, random.random_range(1..70_000)];
            records.extend([
                router(20, 24),
                Gateway {
                    own_as: ASN,
                    path: vec![(2, path)],
                    communities: vec![ASN << 16; 4],
                    ..Gateway::default()
                }
                .record(),
            ]);
        }
        FlowSample { sequence, ..FlowSample::new(records) }.bytes()
    };
    let datagrams = (0..DATAGRAMS).map(|sequence| {
        let samples: Vec<_> =
            (0..SAMPLES).map(|place| sample(sequence * SAMPLES + place)).collect();
        Sflow { sequence, ..Sflow::new(samples) }.bytes()
    });
    datagrams.collect()
}

/// The datagram as it would be sent in another round, so that it is no duplicate.
fn number(datagram: &mut [u8], round: u32) {
    let at = |place: usize| place..place + 4;
    let number = u32::from_be_bytes(datagram[at(16)].try_into().expect("four bytes"));
    datagram[at(16)].copy_from_slice(&(number % DATAGRAMS + round * DATAGRAMS).to_be_bytes());
}

fn sflow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sflow");
    group.throughput(Throughput::Elements((DATAGRAMS * SAMPLES).into()));
    group.sample_size(20);
    let sender = "192.0.2.1:6343".parse().expect("an address");
    for (name, has_routes) in [("switch", false), ("router", true)] {
        let mut datagrams = datagrams(has_routes);
        group.bench_function(format!("{name}, sflow-parser"), |bench| {
            bench.iter(|| {
                for datagram in &datagrams {
                    black_box(sflow_parser::parse_datagram(datagram)).expect("it is well formed");
                }
            });
        });

        let few = [Field::SourceAs, Field::DestinationAs, Field::Hostname, Field::SamplingRate];
        for (fields, plan) in
            [("four fields", Plan::new(few)), ("all fields", Plan::new(Field::TYPED))]
        {
            let mut decoder = Datagrams::new(&plan, Settings::default());
            let mut round = 0;
            group.bench_function(format!("{name}, {fields}"), |bench| {
                bench.iter(|| {
                    let mut flows = 0;
                    round += 1;
                    for payload in &mut datagrams {
                        number(payload, round);
                        let datagram = Datagram::new(payload, sender, UnixMs::EPOCH);
                        decoder.decode(&datagram, &mut |record| {
                            flows += u32::from(matches!(black_box(record), Record::Flow(_)));
                        });
                    }
                    assert_eq!(flows, DATAGRAMS * SAMPLES);
                });
            });
        }

        let schema = std::sync::Arc::new(Schema::original());
        let mut pipeline = Pipeline::new(&schema, &Rule::of_as(ASN));
        let mut counts = Counts::new(schema);
        let mut round = 0;
        group.bench_function(format!("{name}, decode and count"), |bench| {
            bench.iter(|| {
                round += 1;
                for payload in &mut datagrams {
                    number(payload, round);
                    let datagram = Datagram::new(payload, sender, UnixMs::EPOCH);
                    pipeline.datagram(&datagram, &mut counts);
                }
            });
        });
        counts.clear();
    }
    group.finish();
}

criterion_group!(benches, sflow);
criterion_main!(benches);
