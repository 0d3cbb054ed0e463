//! A full disk.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count, program, push},
    produce::{Flows, Producer, unnamed},
    query,
    series::compare,
    servers::{Database, Kafka, VictoriaMetrics, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 2;
const RECORDS: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn on_a_full_disk_it_counts_without_publishing_and_loses_nothing() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let victoria = VictoriaMetrics::start();
    let disk = Disk::mount("16m");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--state-dir={}", disk.path().join("state").display()));
    let directory = TempDir::new().expect("a temporary directory");
    arguments.extend(push(&[victoria.write_url()], "1s", directory.path()));
    let address = unused_address();
    let mut exporter = Exporter::start_at(address, &arguments);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    let mut flows = Flows::new(8, 4, 500);
    producer.send_flows(&mut flows, RECORDS, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);

    disk.fill();
    // There may still be room for a small delta at the end of a file.
    wait_for("word that the disk is full", LIMIT, || {
        producer.send_flows(&mut flows, RECORDS, PARTITIONS);
        match exporter.ready() {
            Err(word) if word.contains("Make room") => Ok(()),
            ready => Err(format!("{ready:?}")),
        }
    });
    let output = Command::new(program())
        .arg("check")
        .args(&arguments)
        .arg(format!("--addr={}:9590", unused_address()))
        .output()
        .expect("flow-exporter runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains(" kB left, and nothing is published that can't be written"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    let published = exporter.page().totals();
    let unpublished = |exporter: &Exporter| {
        compare(&published, &exporter.page().totals()).expect("nothing changes on the page");
        let errors = exporter.page().sum("flow_exporter_journal_errors_total");
        exporter.wait_for_more("flow_exporter_journal_errors_total", errors, LIMIT);
    };
    unpublished(&exporter);
    producer.send_flows(&mut flows, RECORDS, PARTITIONS);
    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), LIMIT);
    unpublished(&exporter);

    // What was counted but not published is counted again, even while there is still no space.
    exporter.kill();
    exporter = Exporter::start_at(address, &arguments);
    unpublished(&exporter);

    disk.empty();
    wait_for("ready flow-exporter", LIMIT, || exporter.ready());
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);

    exporter.kill();
    exporter = Exporter::start_at(address, &arguments);
    let restored = exporter.page().totals();
    compare(&flows.totals(unnamed), &restored).expect("what was published is there at once");
    producer.send_flows(&mut flows, RECORDS, PARTITIONS);
    let expected = flows.totals(unnamed);
    exporter.wait_for_totals(&expected, LIMIT);
    wait_for("expected totals in VictoriaMetrics", LIMIT, || {
        compare(&expected, &victoria.totals()?)
    });
    query::assert_rising(&victoria.samples().expect("VictoriaMetrics answers"));
    exporter.wait_for_account(LIMIT);
    assert!(exporter.stop().success());
}

/// A file system in memory.
struct Disk(TempDir);

impl Disk {
    /// Mounts a file system of this size, such as `16m`.
    fn mount(size: &str) -> Self {
        let directory = TempDir::with_prefix("disk-").expect("a temporary directory");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(directory.path());
        let status = command.status().expect("mount starts");
        assert!(status.success(), "{command:?} needs root and the right to mount: {status}");
        Disk(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills it to the last block.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("an empty file has room");
        let refusal = loop {
            // Block by block, so that the last one is filled as well.
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(refusal.kind(), ErrorKind::StorageFull, "{refusal}");
    }

    /// Frees the space again.
    fn empty(&self) {
        fs::remove_file(self.ballast()).expect("the file is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a failed test may still have files open there.
        let status = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "unmounting {}",
            self.path().display()
        );
    }
}
