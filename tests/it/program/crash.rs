//! Every flow is counted once, and no counter ever falls, however the program ends.

use std::{path::Path, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, KeptOnPanic, count, program},
    produce,
    produce::{Flows, Producer, unnamed},
    series::Totals,
    servers::unused_address,
};

const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(60);
const KILLS: u32 = 25;

fn cluster_and_producer() -> (Cluster, Producer) {
    let cluster = cluster(PARTITIONS);
    let producer = producer(&cluster);
    (cluster, producer)
}

fn arguments(cluster: &Cluster, state: &Path) -> Vec<String> {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    // Snapshots at ticks as well as for scrapes.
    arguments.push("--remote-write-interval=200ms".to_owned());
    arguments
}

/// Asserts that no series of `before` is gone or lower in `after`.
fn assert_none_fell(before: &Totals, after: &Totals) {
    for (series, bytes) in before {
        let now = after.get(series);
        assert!(now.is_some_and(|now| now >= bytes), "{series:?} was {bytes} and is {now:?}");
    }
}

#[test]
fn killed_at_any_moment_it_counts_each_flow_once_and_nothing_published_falls() {
    let (cluster, mut producer) = cluster_and_producer();
    let directory = KeptOnPanic::new("flow-exporter-crash-");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let arguments = arguments(&cluster, &state);
    let mut random = SmallRng::seed_from_u64(4);
    let mut flows = Flows::new(11, 3, 50);
    let mut seen = Totals::new();
    for _ in 0..KILLS {
        let exporter = Exporter::start(&arguments);
        assert_none_fell(&seen, &exporter.page().totals());
        producer.send_flows(&mut flows, random.random_range(100..2000), PARTITIONS);
        // Killed at some point between the first of these records and the last.
        for _ in 0..random.random_range(0..6) {
            let now = exporter.page().totals();
            assert_none_fell(&seen, &now);
            seen = now;
        }
        exporter.kill_keeping_log(&log);
    }
    let exporter = Exporter::start(&arguments);
    assert_none_fell(&seen, &exporter.page().totals());
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_journal_errors_total"), 0);
    assert!(page.sum("flow_exporter_journal_written_bytes_total") > 0);
}

#[test]
fn a_restart_serves_what_was_published_before_any_broker_answers() {
    let (cluster, mut producer) = cluster_and_producer();
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let mut flows = Flows::new(12, 2, 20);
    let exporter = Exporter::start(&arguments);
    producer.send_flows(&mut flows, 1000, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());

    // Nothing listens there.
    let mut without_broker = arguments.clone();
    without_broker.push(format!("--brokers={}:9092", unused_address()));
    without_broker.retain(|argument| !argument.contains(&cluster.bootstrap_servers()));
    let exporter = Exporter::start(&without_broker);
    assert_eq!(exporter.page().totals(), flows.totals(unnamed));
    exporter.kill();

    let exporter = Exporter::start(&arguments);
    producer.send_flows(&mut flows, 1000, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
}

#[test]
fn another_as_ends_the_series_and_reading_continues_where_it_stopped() {
    let (cluster, mut producer) = cluster_and_producer();
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let mut flows = Flows::new(13, 1, 5);
    let exporter = Exporter::start(&arguments);
    producer.send_flows(&mut flows, 100, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());

    // No flow has this AS at either end.
    let mut another = arguments.clone();
    another.retain(|argument| *argument != format!("--asn={}", produce::ASN));
    another.push("--asn=1".to_owned());
    let exporter = Exporter::start(&another);
    exporter.wait_for_log("--asn has changed since the last run", LIMIT);
    assert_eq!(exporter.page().totals(), Totals::new());
    producer.send_flows(&mut flows, 50, PARTITIONS);
    exporter.wait_for_sum("flow_exporter_flows_ignored_total", 50, LIMIT);
    assert_eq!(exporter.page().totals(), Totals::new());
    assert!(exporter.stop().success());

    // What was counted before is not counted again, and the series begin from zero.
    let mut flows = Flows::new(14, 1, 5);
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.page().totals(), Totals::new());
    producer.send_flows(&mut flows, 100, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let (cluster, _producer) = cluster_and_producer();
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let _first = Exporter::start(&arguments);
    let second = std::process::Command::new(program())
        .args(&arguments)
        .arg("--addr=127.0.0.1:0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "a supervisor is to try again: {said}");
    assert!(said.contains("in use by another process"), "{said}");
}
