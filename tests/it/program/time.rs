//! Which sample counts a flow.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flow_exporter::journal::{Journal, JournalConfig, Reader, Start, Step};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;

use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, count},
    produce::{ASN, Producer},
    servers::wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
const INTERVAL_MS: i64 = 15_000;

struct Bench {
    cluster: Cluster,
    producer: Producer,
    state: TempDir,
}

impl Bench {
    fn new(partitions: i32) -> Self {
        let cluster = cluster(partitions);
        let producer = producer(&cluster);
        Bench { cluster, producer, state: TempDir::new().unwrap() }
    }

    fn send(&mut self, partition: i32, time_ms: i64, bytes: u64) {
        let record = format!(r#"{{"as_src": 1, "as_dst": {ASN}, "bytes": {bytes}}}"#);
        self.producer.send_at(partition, &record, Some(time_ms));
    }

    fn start(&self, more: &[&str]) -> Exporter {
        let mut arguments = count(&self.cluster.bootstrap_servers(), TOPIC);
        arguments.push(format!("--state-dir={}", self.state.path().display()));
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        Exporter::start(&arguments)
    }

    /// All bytes in the samples, by the samples' time.
    fn samples(&self) -> BTreeMap<i64, u64> {
        read_samples(&self.state.path().join("journal"))
    }
}

fn read_samples(directory: &Path) -> BTreeMap<i64, u64> {
    let (journal, _) = Journal::open(directory, JournalConfig::default()).unwrap();
    let (mut reader, _) = Reader::open(&journal.log(), Start::Oldest).unwrap().unwrap();
    let mut samples = BTreeMap::new();
    while reader.step().unwrap() == Step::Delta {
        let state = reader.state();
        if reader.delta().is_tick {
            let bytes = state.series().map(|series| series.counts[0]).sum();
            assert_eq!(samples.insert(state.time.get(), bytes), None, "two samples of one moment");
        }
    }
    samples
}

/// Waits until all samples before this time are taken.
fn wait_for_sample(exporter: &Exporter, time_ms: i64) {
    wait_for("sample", LIMIT, || {
        match exporter.page().sum("flow_exporter_last_tick_timestamp_seconds") {
            seconds if seconds as i64 * 1000 >= time_ms => Ok(()),
            seconds => Err(format!("the newest is of {seconds}, not {}", time_ms / 1000)),
        }
    });
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The bytes of messages with timestamps before each of the samples.
fn expected(messages: &[(i64, u64)], samples: &BTreeMap<i64, u64>) -> BTreeMap<i64, u64> {
    let before = |time_ms| messages.iter().filter(move |(at, _)| *at < time_ms);
    samples.keys().map(|&at| (at, before(at).map(|(_, bytes)| bytes).sum())).collect()
}

#[test]
fn a_backlog_is_in_the_samples_of_its_own_time_whatever_partition_comes_first() {
    let mut bench = Bench::new(3);
    let mut random = SmallRng::seed_from_u64(7);
    let begin = now_ms() / INTERVAL_MS * INTERVAL_MS - 40 * 60_000;
    let mut messages = Vec::new();
    for (partition, minutes) in [(0, 40), (1, 40), (2, 20)] {
        for at in (0..minutes * 60_000).step_by(1000) {
            // Collectors whose clocks differ by less than --max-lateness.
            let time_ms = begin + at + random.random_range(0..1400);
            let bytes = random.random_range(1..1_000_000);
            bench.send(partition, time_ms, bytes);
            messages.push((time_ms, bytes));
        }
        bench.producer.flush();
    }
    let exporter = bench.start(&[]);
    // Up to half a minute ago: there are no messages after now.
    let end = begin + 40 * 60_000 - 2 * INTERVAL_MS;
    wait_for_sample(&exporter, end);
    assert_eq!(exporter.page().sum("flow_exporter_late_messages_total"), 0);
    assert!(exporter.stop().success());

    let samples = bench.samples();
    assert_eq!(samples, expected(&messages, &samples));
    let moments: Vec<i64> = samples.keys().copied().take_while(|&at| at <= end).collect();
    let every: Vec<i64> =
        (1..=(end - begin) / INTERVAL_MS).map(|number| begin + number * INTERVAL_MS).collect();
    assert_eq!(moments, every, "a sample of each interval");
}

#[test]
fn after_a_restart_the_samples_go_on_where_they_were_in_the_backlog() {
    let mut bench = Bench::new(2);
    let begin = now_ms() / INTERVAL_MS * INTERVAL_MS - 30 * 60_000;
    let mut messages = Vec::new();
    let mut exporter = bench.start(&["--timestamps=event"]);
    for part in 0..3 {
        if part > 0 {
            exporter.kill();
            exporter = bench.start(&["--timestamps=event"]);
        }
        for at in (part * 600_000..(part + 1) * 600_000).step_by(500) {
            let partition = (at / 500 % 2) as i32;
            bench.send(partition, begin + at, 1);
            messages.push((begin + at, 1));
        }
        bench.producer.flush();
        if part == 0 {
            // After the first start, any of the messages may be read first.
            exporter.wait_for_sum("flow_exporter_kafka_partitions", 2, LIMIT);
        }
    }
    wait_for_sample(&exporter, begin + 1_800_000 - 2 * INTERVAL_MS);
    assert!(exporter.stop().success());
    let samples = bench.samples();
    let late = samples.range(..begin + 1_800_000).next_back().map(|(_, &bytes)| bytes);
    assert!(late.is_some());
    assert_eq!(samples, expected(&messages, &samples));
}

#[test]
fn what_comes_too_late_is_in_the_next_sample_and_what_has_no_time_is_of_now() {
    let mut bench = Bench::new(1);
    let begin = now_ms() / INTERVAL_MS * INTERVAL_MS - 10 * 60_000;
    let at = |interval: i64| begin + interval * INTERVAL_MS;
    bench.send(0, at(0), 1);
    bench.send(0, at(1) + 700, 10);
    // After one that is younger by more than --max-lateness.
    bench.send(0, at(0) + 2_000, 100);
    // At the same position, but within --max-lateness.
    bench.send(0, at(2) + 400, 1_000);
    bench.send(0, at(2) - 1, 10_000);
    // Seconds instead of milliseconds, and a clock that is an hour ahead.
    bench.send(0, at(2) / 1000, 100_000);
    bench.send(0, now_ms() + 3_600_000, 1_000_000);
    bench.send(0, at(3) + 1_000, 10_000_000);
    bench.producer.flush();
    let exporter = bench.start(&[]);
    wait_for_sample(&exporter, at(4));
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_late_messages_total"), 1);
    let untimed = |reason| page.sum_with("flow_exporter_untimed_messages_total", "reason", reason);
    assert_eq!([untimed("past"), untimed("future"), untimed("absent")], [1, 1, 0]);
    assert!(exporter.stop().success());
    let samples: Vec<_> = bench.samples().into_iter().take(4).collect();
    assert_eq!(samples, [(at(1), 1), (at(2), 1_110_111), (at(3), 1_111_111), (at(4), 11_111_111)]);
}

#[test]
fn by_arrival_a_backlog_is_of_now() {
    let mut bench = Bench::new(1);
    bench.send(0, now_ms() - 3_600_000, 7);
    bench.producer.flush();
    let started = now_ms();
    let exporter = bench.start(&["--timestamps=arrival", "--remote-write-interval=1s"]);
    exporter.wait_for_sum("flow_receive_bytes_total", 7, LIMIT);
    wait_for_sample(&exporter, now_ms());
    assert!(exporter.stop().success());
    let samples = bench.samples();
    assert!(samples.keys().all(|&at| at >= started - 1000), "{samples:?} since {started}");
    assert_eq!(samples.values().next_back(), Some(&7));
}

#[test]
fn a_year_of_sparse_messages_is_counted_at_once() {
    let mut bench = Bench::new(1);
    let end = now_ms() / INTERVAL_MS * INTERVAL_MS;
    let begin = end - 365 * 86_400_000;
    // A sample for each interval of the year would be two million.
    let times: Vec<i64> = (begin..end).step_by(50 * 60_000).collect();
    for &time_ms in &times {
        bench.send(0, time_ms, 1);
    }
    bench.producer.flush();
    let exporter = bench.start(&[]);
    exporter.wait_for_sum("flow_receive_bytes_total", times.len() as u64, LIMIT);
    assert!(exporter.stop().success());
    let samples = bench.samples();
    let messages: Vec<_> = times.iter().map(|&at| (at, 1)).collect();
    assert_eq!(samples, expected(&messages, &samples));
    // Each message is in a sample of its own interval, behind one without it.
    let counts: BTreeSet<_> = samples.values().copied().collect();
    assert_eq!(counts.len(), times.len(), "no two messages come with the same sample");
    for &at in &times[1..times.len() - 1] {
        let moment = (at / INTERVAL_MS + 1) * INTERVAL_MS;
        assert!(samples.contains_key(&(moment - INTERVAL_MS)) && samples.contains_key(&moment));
    }
}
