//! Records per second of the decoder of datagrams, beside `netflow_parser` over the same datagrams.
//! Divide the time by the number of records, which criterion shows as elements.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_exporter::{
    clock::UnixMs,
    flow::{
        Plan, Record,
        datagram::{Datagram, Datagrams, Settings},
    },
    schema::Field,
};
use netflow_parser::NetflowParser;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use testkit::netflow::{EDGE, Field as TemplateField, Message, Template, V5, V5Flow, Value};

const DATAGRAMS: usize = 1000;

/// What an edge router says of a flow, with a name in the middle, which has a length of its own.
const NAMED: [(u16, u16); 21] = {
    let mut fields = [(96, u16::MAX); 21];
    let mut place = 0;
    while place < 20 {
        fields[if place < 10 { place } else { place + 1 }] = EDGE[place];
        place += 1;
    }
    fields
};

/// Datagrams of one exporter, of which the first one has the templates, and how many records there
/// are.
struct Sent {
    datagrams: Vec<Vec<u8>>,
    records: u64,
    /// Where the sequence number is.
    sequence_at: usize,
    /// By how much it grows with each datagram.
    step: u32,
}

fn messages(message: &Message, fields: &[(u16, u16)], records: usize) -> Sent {
    let mut random = SmallRng::seed_from_u64(1);
    let template = Template::new(256, fields.iter().map(|field| TemplateField::from(*field)));
    let sampler = Template::options(512, [(1, 4)], [(48, 1), (50, 4)]);
    let mut record = || {
        let value = |(number, length): &(u16, u16)| match number {
            8 | 12 => Ipv4Addr::from(random.random::<u32>()).into(),
            48 => Value::Number(1),
            96 => "a name".into(),
            1 => Value::Number(random.random_range(40..1_000_000)),
            16 | 17 => Value::Number(random.random_range(1000..70_000)),
            13 | 9 => Value::Number(24),
            61 => Value::Number(0),
            _ => Value::Number(random.random::<u64>() >> (64 - 8 * length)),
        };
        fields.iter().map(value).collect::<Vec<_>>()
    };
    let first = message.clone().template(&template).template(&sampler);
    let first = first.data(&sampler, [[0, 1, 100].map(Value::Number)]);
    let mut datagrams = vec![first.bytes()];
    datagrams.extend((0..DATAGRAMS).map(|_| {
        let records: Vec<_> = (0..records).map(|_| record()).collect();
        message.clone().data(&template, records).bytes()
    }));
    let is_v9 = message.version == 9;
    Sent {
        datagrams,
        records: (DATAGRAMS * records) as u64,
        sequence_at: if is_v9 { 12 } else { 8 },
        step: if is_v9 { 1 } else { records as u32 },
    }
}

fn v5() -> Sent {
    let payload = V5 { sampling: 100, ..V5::new([V5Flow::default(); 29]) }.bytes();
    Sent {
        datagrams: vec![payload; DATAGRAMS + 1],
        records: (DATAGRAMS * 29) as u64,
        sequence_at: 16,
        step: 29,
    }
}

fn plans() -> [(&'static str, Plan); 2] {
    let default = [Field::SourceAs, Field::DestinationAs, Field::Hostname];
    let sampling = [Field::Exporter, Field::SamplingRate];
    let more = [
        Field::Packets,
        Field::SourceAddress,
        Field::DestinationAddress,
        Field::Protocol,
        Field::SourcePort,
        Field::DestinationPort,
        Field::TrafficClass,
        Field::TcpFlags,
        Field::InputInterface,
        Field::OutputInterface,
    ];
    let all = default.clone().into_iter().chain(sampling.clone());
    [("the default view", Plan::new(all.clone())), ("ten labels more", Plan::new(all.chain(more)))]
}

fn decode(criterion: &mut Criterion) {
    let sent = [
        ("v5", v5()),
        ("v9", messages(&Message::v9(), &EDGE, 23)),
        ("IPFIX", messages(&Message::ipfix(), &EDGE, 23)),
        ("IPFIX with a name", messages(&Message::ipfix(), &NAMED, 20)),
    ];
    let mut group = criterion.benchmark_group("datagrams");
    group.sample_size(20);
    for (name, mut sent) in sent {
        group.throughput(Throughput::Elements(sent.records));
        for (plan_name, plan) in plans() {
            let mut datagrams = Datagrams::new(&plan, Settings::default());
            let sender = "203.0.113.1:2055".parse().expect("an address");
            let received = UnixMs::new(1_700_000_000_000);
            let mut flows = 0;
            let mut decode = |payload: &[u8]| {
                let datagram = Datagram::new(payload, sender, received);
                datagrams.decode(&datagram, &mut |record| {
                    flows += u64::from(matches!(black_box(record), Record::Flow(_)));
                });
            };
            decode(&sent.datagrams[0]);
            let mut sequence = 1_u32;
            group.bench_function(BenchmarkId::new(name, plan_name), |bench| {
                bench.iter(|| {
                    for payload in &mut sent.datagrams[1..] {
                        let at = sent.sequence_at;
                        payload[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
                        sequence = sequence.wrapping_add(sent.step);
                        decode(payload);
                    }
                });
            });
            assert!(flows >= sent.records, "{name}: {flows} flows");
        }
        let mut parser = NetflowParser::default();
        assert!(parser.parse_bytes(&sent.datagrams[0]).error.is_none(), "{name}: the templates");
        group.bench_function(BenchmarkId::new(name, "netflow_parser"), |bench| {
            bench.iter(|| {
                for payload in &sent.datagrams[1..] {
                    let parsed = parser.parse_bytes(payload);
                    assert!(black_box(&parsed).error.is_none());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
