//! A receiver that is unreachable for a week, and then reachable over a slow link.

use std::{
    fs,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{history::History, link::Link};
use testkit::{
    exporter::{Exporter, count, push},
    series::compare,
    servers::{Database, Kafka, VictoriaMetrics, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 4;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Devices and remote AS, which make 10,000 series.
const SIZES: (usize, usize) = (5, 1000);

/// 8 Mbit/s.
const BYTES_PER_SECOND: u64 = 1_000_000;

/// How long counting a million records may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A sample every 15 minutes, 6.7 million in all; a series changes in every fourth.
#[test]
fn after_a_week_away_a_receiver_gets_every_sample_over_a_slow_link() {
    outage(WEEK, Duration::from_secs(15 * 60), 4, 0);
}

/// A sample every 15 seconds, 403 million in all, which take an hour; a series changes in every
/// twentieth.
#[test]
#[ignore = "takes an hour or two: scripts/e2e all"]
fn after_a_week_away_a_receiver_gets_every_sample_of_every_15_seconds_over_a_slow_link() {
    outage(WEEK, Duration::from_secs(15), 20, 0);
}

#[test]
fn a_receiver_gets_every_sample_of_a_backlog_though_the_program_is_killed() {
    outage(Duration::from_secs(24 * 60 * 60), Duration::from_secs(5 * 60), 4, 3);
}

/// A receiver is unreachable for `span`. While the backlog is sent, the program is killed `kills`
/// times.
fn outage(span: Duration, interval: Duration, one_in: u32, kills: u64) {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let history = History::new(span, interval, SIZES, one_in);
    let produced = history.produce(&kafka, TOPIC, PARTITIONS as usize);

    let victoria = VictoriaMetrics::start();
    let url = victoria.url();
    let server = url.trim_start_matches("http://").parse().expect("an address and a port");
    let mut link = Link::down(server, BYTES_PER_SECOND);
    let directory = TempDir::new().expect("a temporary directory");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--state-dir={}", directory.path().join("state").display()));
    let url = format!("http://{}/api/v1/write", link.address());
    arguments.extend(push(&[url], &format!("{}s", interval.as_secs()), directory.path()));
    let address = unused_address();
    let mut exporter = Exporter::start_at(address, &arguments);
    let millions = u32::try_from(produced.records / 1_000_000).expect("fewer than 2^32") + 1;
    let limit = LIMIT * millions;
    exporter.wait_for_sum("flow_exporter_messages_total", produced.records, limit);
    exporter.wait_for_totals(&produced.totals, limit);
    let pending = "flow_exporter_remote_write_samples_pending";
    // The zeros before first samples are counted only when these are read.
    let known = history.samples() - 2 * (SIZES.0 * SIZES.1) as u64;
    let backlog = exporter.wait_for_more(pending, known - 1, limit);
    let resident = resident_mib(&exporter);
    let journal = exporter.page().sum("flow_exporter_journal_bytes");

    link.up();
    let began = Instant::now();
    // Four times what samples of 8 bytes take on the link.
    let limit = LIMIT + Duration::from_secs(4 * 8 * backlog / BYTES_PER_SECOND);
    for kill in 0..kills {
        // Spread evenly over the backlog.
        let less_than = backlog * (kills - kill) / (kills + 1);
        wait_for("shorter backlog", limit, || match exporter.page().sum(pending) {
            left if (1..less_than).contains(&left) => Ok(()),
            left => Err(format!("it is {left}")),
        });
        exporter.kill();
        exporter = Exporter::start_at(address, &arguments);
    }
    exporter.wait_for_sum(pending, 0, limit);
    let (seconds, carried) = (began.elapsed().as_secs_f64(), link.carried());
    wait_for("expected totals in VictoriaMetrics", LIMIT, || {
        compare(&produced.totals, &victoria.totals()?)
    });
    let samples = history.check(&victoria);
    eprintln!(
        "{backlog} samples of {span:?} in {seconds:.0} s, {:.2} bytes each on the link and {:.2} \
         on disk; {resident} MiB before, {} MiB after; {samples} found, each as produced",
        carried as f64 / backlog as f64,
        journal as f64 / backlog as f64,
        resident_mib(&exporter),
    );
    exporter.wait_for_account(LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_remote_write_samples_dropped_total"), 0);
    assert!(exporter.stop().success());
}

/// Resident memory of the process.
fn resident_mib(exporter: &Exporter) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.id()));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a size in KiB") >> 10
}
