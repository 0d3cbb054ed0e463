//! Flows produced, counted, and found again in Prometheus and VictoriaMetrics.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    exporter::{Exporter, count},
    produce::{Flows, Producer, unnamed},
    series::{Totals, compare, sum},
    servers::{Kafka, Prometheus, VictoriaMetrics, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";

/// How long everything may take to reach a database after it was produced.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

/// Longer than this a page of some thousand series must not take, whatever receivers do.
const SCRAPE_LIMIT: Duration = Duration::from_secs(2);

/// A name for every other AS, with all that has to be escaped somewhere.
fn name(asn: u32) -> String {
    if asn.is_multiple_of(2) {
        format!("EXAMPLE-{asn} - \"Example\\Net\" {asn}, Inc. \u{e9}")
    } else {
        String::new()
    }
}

#[test]
fn a_million_records_are_the_same_totals_everywhere() {
    // Each partition is compressed in another way.
    const CODECS: [(i32, &str); 4] = [(0, "gzip"), (1, "snappy"), (2, "lz4"), (3, "zstd")];
    const RECORDS: u64 = 1_000_000;
    const HOSTS: usize = 5;
    const PEERS: usize = 1000;

    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 4);
    let victoria = VictoriaMetrics::start();
    let scraped = unused_address();
    let prometheus = Prometheus::start(&[format!("{scraped}:9590")]);

    let directory = TempDir::new().expect("a temporary directory");
    let names = directory.path().join("names");
    let any = Flows::new(0, HOSTS, PEERS);
    let lines = any.numbers().filter(|&asn| !name(asn).is_empty());
    let lines: Vec<_> = lines.map(|asn| format!("{asn} {}, US\n", name(asn))).collect();
    fs::write(&names, lines.concat()).expect("the names are written");
    let names = format!("--as-names={}", names.display());

    let pushing_to = |url: String| {
        let mut arguments = count(&kafka.brokers(), TOPIC);
        arguments.retain(|argument| !argument.starts_with("--as-names="));
        arguments.extend([names.clone(), format!("--remote-write-url={url}")]);
        arguments.push("--remote-write-interval=1s".to_owned());
        arguments
    };
    let to_prometheus = Exporter::start_at(scraped, &pushing_to(prometheus.write_url()));
    let to_victoria = Exporter::start(&pushing_to(victoria.write_url()));

    let produce = |(partition, codec): (i32, &str)| {
        let mut flows = Flows::new(partition.unsigned_abs(), HOSTS, PEERS);
        let mut producer = Producer::new(kafka.client().set("compression.codec", codec), TOPIC);
        let mut record = String::new();
        for _ in 0..RECORDS / CODECS.len() as u64 {
            record.clear();
            flows.write_next(&mut record);
            producer.send(partition, &record);
        }
        producer.flush();
        flows
    };
    let produced: Vec<Flows> = thread::scope(|scope| {
        let threads = CODECS.map(|each| scope.spawn(move || produce(each)));
        threads.into_iter().map(|thread| thread.join().expect("all is produced")).collect()
    });
    let expected = sum(produced.iter().map(|flows| flows.totals(name)));
    let foreign_bytes: u64 = produced.iter().map(|flows| flows.foreign_bytes).sum();
    let counted: u64 = produced.iter().map(|flows| flows.counted).sum();

    for exporter in [&to_prometheus, &to_victoria] {
        exporter.wait_for_totals(&expected, ARRIVAL_LIMIT);
        let page = exporter.page();
        assert_eq!(page.sum("flow_exporter_messages_total"), RECORDS);
        assert_eq!(page.sum("flow_exporter_flows_total"), counted);
        assert_eq!(page.sum("flow_exporter_flows_ignored_total"), RECORDS - counted);
        let ignored = page.sum_with("flow_exporter_flow_bytes_ignored_total", "reason", "other_as");
        assert_eq!(ignored, foreign_bytes);
        assert_eq!(page.sum("flow_exporter_decode_errors_total"), 0);
    }
    for (door, totals) in [
        ("scraped by Prometheus", &(|| prometheus.totals("scrape")) as &dyn Fn() -> _),
        ("pushed to Prometheus", &|| prometheus.totals("flow-exporter")),
        ("pushed to VictoriaMetrics", &|| victoria.totals()),
    ] {
        wait_for(&format!("expected totals {door}"), ARRIVAL_LIMIT, || {
            totals().and_then(|found: Totals| compare(&expected, &found))
        });
    }
    for exporter in [to_prometheus, to_victoria] {
        let page = exporter.page();
        assert_eq!(page.sum("flow_exporter_remote_write_samples_dropped_total"), 0);
        assert!(exporter.stop().success());
    }
}

#[test]
fn a_receiver_that_is_away_delays_neither_counting_nor_scrapes_and_gets_all_in_the_end() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2);
    let mut victoria = VictoriaMetrics::stopped();
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--remote-write-url={}", victoria.write_url()));
    arguments.push("--remote-write-interval=1s".to_owned());
    let exporter = Exporter::start(&arguments);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    let mut flows = Flows::new(7, 4, 500);

    let mut count_while_away = |flows: &mut Flows| {
        producer.send_flows(flows, 50_000, 2);
        exporter.wait_for_totals(&flows.totals(unnamed), ARRIVAL_LIMIT);
        let asked = Instant::now();
        exporter.page();
        assert!(asked.elapsed() < SCRAPE_LIMIT, "a scrape took {:?}", asked.elapsed());
    };
    let arrives = |victoria: &VictoriaMetrics, flows: &Flows| {
        wait_for("expected totals in VictoriaMetrics", ARRIVAL_LIMIT, || {
            compare(&flows.totals(unnamed), &victoria.totals()?)
        });
    };
    count_while_away(&mut flows);
    // A push has failed by now, or does so soon.
    exporter.wait_for_more("flow_exporter_remote_write_requests_total", 0, ARRIVAL_LIMIT);
    victoria.up();
    arrives(&victoria, &flows);
    victoria.stop();
    count_while_away(&mut flows);
    victoria.up();
    arrives(&victoria, &flows);
    assert!(exporter.stop().success());
}
