//! The program is killed at random moments while flows keep coming.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use testkit::{
    exporter::{Exporter, KeptOnPanic, count, push},
    produce::{Flows, Producer, unnamed},
    query,
    series::{Totals, compare},
    servers::{Database, Kafka, PrometheusSettings, VictoriaMetrics, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 4;
const KILLS: u32 = 300;
/// The longest the program runs after its page has answered.
const LONGEST_LIFE_MS: u64 = 300;
/// Records that are sent at a time.
const RECORDS: u64 = 400;
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn killed_hundreds_of_times_it_counts_each_flow_once_on_the_page_and_in_databases() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let address = unused_address();
    let (victoria, prometheus) = (
        VictoriaMetrics::start(),
        PrometheusSettings::debian().start(&[format!("{address}:9590")]),
    );
    let pushed: &[&dyn Database] = &[&victoria, &prometheus];
    let state = KeptOnPanic::new("flow-exporter-crash-");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.path().join("state").display()));
    let urls: Vec<_> = pushed.iter().map(|database| database.write_url()).collect();
    arguments.extend(push(&urls, "1s", state.path()));

    let done = AtomicBool::new(false);
    let mut flows = Flows::new(17, 3, 100);
    thread::scope(|scope| {
        let (flows, done) = (&mut flows, &done);
        let client = kafka.client();
        scope.spawn(move || {
            let mut producer = Producer::new(&client, TOPIC);
            while !done.load(Ordering::Relaxed) {
                producer.send_flows(flows, RECORDS, PARTITIONS);
            }
        });
        let mut random = SmallRng::seed_from_u64(5);
        for _ in 0..KILLS {
            let exporter = Exporter::start_at(address, &arguments);
            // Waits for nothing: this chooses the moment at which it is killed.
            thread::sleep(Duration::from_millis(random.random_range(0..LONGEST_LIFE_MS)));
            exporter.kill_keeping_log(&state.path().join("log"));
        }
        done.store(true, Ordering::Relaxed);
    });
    let expected = flows.totals(unnamed);
    let exporter = Exporter::start_at(address, &arguments);
    exporter.wait_for_totals(&expected, ARRIVAL_LIMIT);
    let arrived = |place: &str, totals: &dyn Fn() -> Result<Totals, String>| {
        wait_for(&format!("expected totals {place}"), ARRIVAL_LIMIT, || {
            compare(&expected, &totals()?)
        });
    };
    arrived("scraped by Prometheus", &|| prometheus.scraped_totals());
    query::assert_rising(&prometheus.scraped_samples().expect("Prometheus answers"));
    for database in pushed {
        arrived(database.name(), &|| database.totals());
        let samples = database.samples().expect("the database answers");
        assert_eq!(samples.len(), expected.len());
        query::assert_rising(&samples);
        query::assert_zero_first(&samples);
    }
    exporter.wait_for_account(ARRIVAL_LIMIT);
    assert!(exporter.stop().success());
    eprintln!("difference 0 after {KILLS} kills, {} records", flows.records());
}
