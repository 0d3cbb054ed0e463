//! The machine's clock is set back while the program runs.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;

use testkit::{
    cluster::{TOPIC, client, cluster, producer},
    exporter::{Exporter, count, program},
    http,
    produce::{Flows, Producer, unnamed},
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);
/// After this time without a heartbeat, a member is removed from its group.
const SESSION: Duration = Duration::from_secs(6);

/// A wall clock for one program, from a preloaded library.
struct WallClock {
    directory: TempDir,
}

impl WallClock {
    fn new() -> Self {
        let clock = WallClock { directory: TempDir::new().unwrap() };
        fs::write(clock.offset(), 0_i64.to_ne_bytes()).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/program/clock/wall.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-o"])
            .arg(clock.library())
            .status()
            .expect("the C compiler that Rust links with");
        assert!(compiled.success(), "{compiled}");
        clock
    }

    fn offset(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("wall.so")
    }

    /// Starts the program with this clock.
    fn start(&self, arguments: &[String]) -> Exporter {
        let address = unused_address();
        let environment = [
            format!("LD_PRELOAD={}", self.library().display()),
            format!("WALL_CLOCK_OFFSET_FILE={}", self.offset().display()),
            program().to_owned(),
            format!("--addr={address}:9590"),
        ];
        // It executes the program.
        Exporter::start_program(Path::new("env"), address, &[&environment, arguments].concat())
    }

    /// Sets the clock back by this, once.
    fn set_back(&self, by: Duration) {
        self.set_off(-by.as_secs().cast_signed());
    }

    /// Sets the clock to this many seconds since the epoch.
    fn set_to(&self, seconds: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.set_off(seconds - now.cast_signed());
    }

    /// Sets the clock off by this many seconds.
    fn set_off(&self, by: i64) {
        let file = fs::OpenOptions::new().write(true).open(self.offset()).unwrap();
        file.write_all_at(&by.to_ne_bytes(), 0).unwrap();
    }
}

/// A clock that is set back by an hour makes waits that follow it an hour longer.
#[test]
fn a_clock_that_is_set_back_stops_neither_counting_nor_the_group_nor_a_stop() {
    let cluster = cluster(1);
    let mut client = client(&cluster);
    let clock = WallClock::new();
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push("--group=flows".to_owned());
    arguments.push(format!("--kafka-config=session.timeout.ms={}", SESSION.as_millis()));
    arguments.push("--kafka-config=heartbeat.interval.ms=500".to_owned());
    let exporter = clock.start(&arguments);
    let mut producer = Producer::new(&client, TOPIC);
    let mut flows = Flows::new(71, 2, 20);
    let group: BaseConsumer = client.set("group.id", "flows").create().unwrap();
    let mut partition = TopicPartitionList::new();
    partition.add_partition(TOPIC, 0);
    let mut send_and_wait = || {
        producer.send_flows(&mut flows, 100, 1);
        exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
        wait_for("committed offset", LIMIT, || {
            let committed = group.committed_offsets(partition.clone(), LIMIT).unwrap();
            match committed.elements()[0].offset() {
                Offset::Offset(has) if has.unsigned_abs() == flows.records() => Ok(()),
                other => Err(format!("{other:?} of {}", flows.records())),
            }
        });
    };
    send_and_wait();
    clock.set_back(Duration::from_secs(3600));
    // Nothing happens that would end librdkafka's waits until after the session timeout.
    let set = Instant::now();
    wait_for("end of the session", LIMIT, || match set.elapsed() {
        elapsed if elapsed > SESSION + SESSION / 4 => Ok(()),
        elapsed => Err(format!("{elapsed:?} have passed")),
    });
    send_and_wait();
    let page = exporter.page();
    let revoked = page.sum_with("flow_exporter_kafka_rebalances_total", "event", "revoked");
    assert_eq!(revoked, 0, "{}", exporter.log());
    assert_eq!(page.sum("flow_exporter_kafka_errors_total"), 0, "{}", exporter.log());
    assert!(exporter.stop().success());
}

#[test]
fn a_clock_that_is_not_set_is_said_and_flows_are_counted_all_the_same() {
    const YEAR: i64 = 31_556_952;
    // Linux accepts no time before the epoch. Nanoseconds since it need more than 63 bits from 2262
    // on.
    for (seconds, is_set) in [(0, false), (30 * YEAR, false), (300 * YEAR, true)] {
        let cluster = cluster(1);
        let mut producer = producer(&cluster);
        let clock = WallClock::new();
        clock.set_to(seconds);
        let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
        arguments.push("--remote-write-interval=1s".to_owned());
        // By the clock, they are decades old when it is set.
        arguments.push("--series-ttl=0s".to_owned());
        // Nothing listens there: the samples wait.
        arguments.push(format!("--remote-write-url=http://{}:1/write", unused_address()));
        let exporter = clock.start(&arguments);
        let mut flows = Flows::new(72, 2, 20);
        let mut send_and_wait = || {
            producer.send_flows(&mut flows, 100, 1);
            exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
        };
        send_and_wait();
        send_and_wait();
        let log = exporter.log();
        assert_eq!(log.contains("the system clock is not set"), !is_set, "{seconds}: {log}");
        assert!(!log.contains("a bug in flow-exporter"), "{seconds}: {log}");
        // The clock is set.
        clock.set_off(0);
        send_and_wait();
        assert!(exporter.stop().success(), "{seconds}");
    }
}

#[test]
fn a_clock_that_is_set_back_is_named_as_the_reason_for_samples_that_wait() {
    let cluster = cluster(1);
    let mut producer = producer(&cluster);
    let clock = WallClock::new();
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push("--remote-write-interval=1s".to_owned());
    arguments.push(format!("--remote-write-url=http://{}:1/write", unused_address()));
    let exporter = clock.start(&arguments);
    let mut flows = Flows::new(73, 2, 20);
    producer.send_flows(&mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_for_more("flow_exporter_last_tick_timestamp_seconds", 0, LIMIT);
    let ready = exporter.page_url().replace("/metrics", "/-/ready");
    let wait_for_answer = |words: &str, expected: bool| {
        wait_for(words, LIMIT, || match http::get(&ready)? {
            answer if answer.contains(words) == expected => Ok(answer),
            answer => Err(answer),
        })
    };
    clock.set_back(Duration::from_secs(3600));
    let said = wait_for_answer("the clock was set back: the newest sample is of ", true);
    assert!(!said.contains("--max-lateness"), "{said}");
    clock.set_off(0);
    wait_for_answer("the clock was set back", false);
    assert!(exporter.stop().success());
}
