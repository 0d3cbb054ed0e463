//! A thread of the program dies. No input can cause that, so its clock breaks: the standard library
//! panics if a clock can't be read.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

use testkit::{
    child::{Child, LIMIT},
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count},
    produce::ASN,
};

/// The system's clocks, by their numbers (`clock_gettime(2)`). librdkafka reads the monotonic one
/// on our threads, and ignores errors.
#[derive(Debug, Clone, Copy)]
enum WhichClock {
    Realtime = 0,
    Monotonic = 1,
}

/// Clocks that are preloaded into the program (`death.c`), and its log.
struct Clock {
    directory: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Clock { directory: TempDir::new().unwrap() };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/program/death.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.path("death.so"))
            .arg(source)
            .status();
        assert!(compiled.unwrap().success());
        fs::create_dir(clock.path("broken")).unwrap();
        clock
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a program read these clocks.
    fn set(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.path("death.so"))
            .env("BROKEN_CLOCKS", self.path("broken"))
            .stderr(File::create(self.path("log")).unwrap());
    }

    /// Makes a thread panic when it next reads this clock.
    fn kill(&self, thread: &str, clock: WhichClock) {
        File::create(self.path("broken").join(format!("{thread}.{}", clock as i32))).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

fn flow(bytes: u64) -> String {
    format!(r#"{{"as_src": 1, "as_dst": {ASN}, "bytes": {bytes}}}"#)
}

#[test]
fn when_a_thread_dies_the_process_ends_with_1_and_the_next_one_counts_on() {
    let cluster = cluster(4);
    let mut producer = producer(&cluster);
    let state = TempDir::new().unwrap();
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.path().display()));
    arguments.push("--workers=2".to_owned());
    let mut sent = 0;
    for (thread, which, who) in [
        ("kafka-1", WhichClock::Realtime, "source"),
        ("kafka-control", WhichClock::Realtime, "source"),
        ("ledger", WhichClock::Monotonic, "ledger"),
    ] {
        let clock = Clock::new();
        let child = Child::start(&arguments, |command| clock.set(command));
        for partition in 0..4 {
            producer.send(partition, &flow(1));
            sent += 1;
        }
        producer.flush();
        child.wait_for_sum("flow_receive_bytes_total", sent);
        // What is sent now may or may not be counted before the end.
        clock.kill(thread, which);
        for partition in 0..4 {
            producer.send(partition, &flow(1));
            sent += 1;
        }
        producer.flush();
        assert_eq!(child.end().code(), Some(1), "{thread}: {}", clock.log());
        let log = clock.log();
        let said = log.lines().find(|line| line.contains("has died: stopping"));
        assert!(said.is_some_and(|line| line.contains(who)), "{thread}: {log}");
    }
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_sum("flow_receive_bytes_total", sent, LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn when_a_thread_of_an_input_dies_the_process_ends_with_1() {
    for thread in ["input", "ledger"] {
        let clock = Clock::new();
        let pipe = clock.path("flows");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let arguments = [
            format!("--input={}", pipe.display()),
            format!("--asn={ASN}"),
            "--as-names=none".to_owned(),
        ];
        let child = Child::start(&arguments, |command| clock.set(command));
        clock.kill(thread, WhichClock::Monotonic);
        assert_eq!(child.end().code(), Some(1), "{thread}: {}", clock.log());
    }
}
