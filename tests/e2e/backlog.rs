//! A backlog: flows that have been in Kafka for hours before they are counted.

use std::time::Duration;

use tempfile::TempDir;

use crate::history::History;
use testkit::{
    exporter::{Exporter, count, push},
    series::compare,
    servers::Database,
    servers::{Kafka, VictoriaMetrics, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 4;
const SPAN: Duration = Duration::from_secs(2 * 60 * 60);
const INTERVAL: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_backlog_of_two_hours_is_pushed_with_the_times_of_its_traffic() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let history = History::new(SPAN, INTERVAL, (3, 50), 3);
    let produced = history.produce(&kafka, TOPIC, PARTITIONS as usize);

    let victoria = VictoriaMetrics::start();
    let directory = TempDir::new().expect("a temporary directory");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--state-dir={}", directory.path().join("state").display()));
    arguments.extend(push(&[victoria.write_url()], "15s", directory.path()));
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&produced.totals, LIMIT);
    exporter.wait_for_sum("flow_exporter_messages_total", produced.records, LIMIT);
    wait_for("expected totals in VictoriaMetrics", LIMIT, || {
        compare(&produced.totals, &victoria.totals()?)
    });
    let samples = history.check(&victoria);
    eprintln!("{} records of {SPAN:?} are {samples} samples, each as produced", produced.records);
    exporter.wait_for_account(LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_remote_write_samples_dropped_total"), 0);
    assert!(exporter.stop().success());
}
