//! Flows that are counted must have the same totals in databases.

use std::{fs, net::Ipv4Addr, thread, time::Duration};

use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count, push},
    produce::{Flows, Producer, unnamed},
    query,
    series::{Totals, compare, sum},
    servers::{
        Database, Kafka, Mimir, PrometheusSettings, VictoriaMetrics, unused_address, wait_for,
    },
};

const TOPIC: &str = "pmacct.acct";

/// How long flows may take to reach a database.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

/// A name for every second AS, with all characters that some format escapes.
fn name(asn: u32) -> String {
    if asn.is_multiple_of(2) {
        format!("EXAMPLE-{asn} - \"Example\\Net\" {asn}, Inc. \u{e9}")
    } else {
        String::new()
    }
}

#[test]
fn a_million_records_are_the_same_totals_everywhere() {
    same_totals(PrometheusSettings::debian(), &[&VictoriaMetrics::start()]);
}

#[test]
#[ignore = "needs servers that take minutes to build: scripts/e2e all"]
fn a_million_records_are_the_same_totals_in_newer_servers_and_mimir() {
    same_totals(PrometheusSettings::newer(), &[&VictoriaMetrics::start_newer(), &Mimir::start()]);
}

/// Counts known flows with a process for each database; one of them is also scraped.
fn same_totals(prometheus: PrometheusSettings, others: &[&dyn Database]) {
    // Each partition has another compression.
    const CODECS: [(i32, &str); 4] = [(0, "gzip"), (1, "snappy"), (2, "lz4"), (3, "zstd")];
    const RECORDS: u64 = 1_000_000;
    const HOSTS: usize = 5;
    const PEERS: usize = 1000;

    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 4);
    let scraped = unused_address();
    let prometheus = prometheus.start(&[format!("{scraped}:9590")]);

    let directory = TempDir::new().expect("a temporary directory");
    let names = directory.path().join("names");
    let any = Flows::new(0, HOSTS, PEERS);
    let lines = any.numbers().filter(|&asn| !name(asn).is_empty());
    let lines: Vec<_> = lines.map(|asn| format!("{asn} {}, US\n", name(asn))).collect();
    fs::write(&names, lines.concat()).expect("the names are written");
    let names = format!("--as-names={}", names.display());

    let pushing_to = |address: Ipv4Addr, database: &dyn Database| {
        let mut arguments = count(&kafka.brokers(), TOPIC);
        arguments.retain(|argument| !argument.starts_with("--as-names="));
        arguments.push(names.clone());
        arguments.extend(push(&[database.write_url()], "1s", directory.path()));
        Exporter::start_at(address, &arguments)
    };
    let mut exporters = vec![pushing_to(scraped, &prometheus)];
    exporters.extend(others.iter().map(|database| pushing_to(unused_address(), *database)));

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

    for exporter in &exporters {
        exporter.wait_for_totals(&expected, ARRIVAL_LIMIT);
        // The last messages may belong to no series.
        exporter.wait_for_sum("flow_exporter_messages_total", RECORDS, ARRIVAL_LIMIT);
        let page = exporter.page();
        assert_eq!(page.sum("flow_exporter_flows_total"), counted);
        assert_eq!(page.sum("flow_exporter_flows_ignored_total"), RECORDS - counted);
        let ignored = page.sum_with("flow_exporter_flow_bytes_ignored_total", "reason", "other_as");
        assert_eq!(ignored, foreign_bytes);
        assert_eq!(page.sum("flow_exporter_decode_errors_total"), 0);
    }
    let arrived = |place: String, totals: &dyn Fn() -> Result<Totals, String>| {
        wait_for(&format!("expected totals {place}"), ARRIVAL_LIMIT, || {
            totals().and_then(|found| compare(&expected, &found))
        });
    };
    arrived(format!("scraped by {}", prometheus.name()), &|| prometheus.scraped_totals());
    for database in [&prometheus as &dyn Database].iter().chain(others) {
        arrived(format!("pushed to {}", database.name()), &|| database.totals());
        let samples = database.samples().expect("the database answers");
        compare(&expected, &query::newest(&samples)).expect("samples end with the totals");
        query::assert_rising(&samples);
    }
    for exporter in exporters {
        // Without a state directory, samples for a busy receiver may be dropped; newer ones include
        // their bytes.
        exporter.wait_for_account(ARRIVAL_LIMIT);
        assert!(exporter.stop().success());
    }
}

#[test]
fn an_unreachable_receiver_delays_neither_counting_nor_scrapes_and_later_gets_all() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2);
    let mut victoria = VictoriaMetrics::stopped();
    let mut arguments = count(&kafka.brokers(), TOPIC);
    let directory = TempDir::new().expect("a temporary directory");
    arguments.extend(push(&[victoria.write_url()], "1s", directory.path()));
    let exporter = Exporter::start(&arguments);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    let mut flows = Flows::new(7, 4, 500);

    let mut count_while_away = |flows: &mut Flows| {
        producer.send_flows(flows, 50_000, 2);
        // Each look is a scrape, which has to be answered before a push times out.
        exporter.wait_for_totals(&flows.totals(unnamed), ARRIVAL_LIMIT);
    };
    let arrives = |victoria: &VictoriaMetrics, flows: &Flows| {
        wait_for("expected totals in VictoriaMetrics", ARRIVAL_LIMIT, || {
            compare(&flows.totals(unnamed), &victoria.totals()?)
        });
    };
    count_while_away(&mut flows);
    // A push fails.
    exporter.wait_for_more("flow_exporter_remote_write_requests_total", 0, ARRIVAL_LIMIT);
    victoria.up();
    arrives(&victoria, &flows);
    victoria.stop();
    count_while_away(&mut flows);
    victoria.up();
    arrives(&victoria, &flows);
    exporter.wait_for_account(ARRIVAL_LIMIT);
    assert!(exporter.stop().success());
}
