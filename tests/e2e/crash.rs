//! Killed again and again at random moments, while flows keep coming.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;

use crate::{
    exporter::{Exporter, count},
    produce::{Flows, Producer, unnamed},
    query,
    series::compare,
    servers::{Kafka, VictoriaMetrics, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 4;
const KILLS: u32 = 200;
/// The longest that the program lives after its page has answered.
const LONGEST_LIFE_MS: u64 = 400;
/// Records that are sent at once while the program lives and dies.
const RECORDS: u64 = 400;
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn killed_hundreds_of_times_it_counts_each_flow_once_on_the_page_and_in_a_database() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let victoria = VictoriaMetrics::start();
    let state = TempDir::new().expect("a temporary directory");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.path().display()));
    arguments.push(format!("--remote-write-url={}", victoria.write_url()));
    arguments.push("--remote-write-interval=500ms".to_owned());
    let address = unused_address();

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
            // Not to wait for anything: this is the moment at which it dies.
            thread::sleep(Duration::from_millis(random.random_range(0..LONGEST_LIFE_MS)));
            exporter.kill();
        }
        done.store(true, Ordering::Relaxed);
    });
    let expected = flows.totals(unnamed);
    let exporter = Exporter::start_at(address, &arguments);
    exporter.wait_for_totals(&expected, ARRIVAL_LIMIT);
    wait_for("expected totals in VictoriaMetrics", ARRIVAL_LIMIT, || {
        compare(&expected, &victoria.totals()?)
    });
    assert!(exporter.stop().success());

    let all = query::export(&victoria.url()).expect("VictoriaMetrics exports");
    assert_eq!(all.len(), expected.len());
    for query::Exported { series, samples } in all {
        let falls = samples.windows(2).find(|pair| pair[1].1 < pair[0].1);
        assert_eq!(falls, None, "{series:?} falls between these samples");
    }
    eprintln!("{KILLS} kills, {} records: difference 0", flows.records());
}
