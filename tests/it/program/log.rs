//! The program must not depend on a reader of its log.

use std::{
    fs::OpenOptions,
    io::{PipeReader, pipe},
    process::{Command, Stdio},
};

use testkit::{
    child::{Child, LIMIT},
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    produce::ASN,
    servers::wait_for,
};

/// Outputs that take nothing.
#[derive(Debug, Clone, Copy)]
enum Nowhere {
    FullDisk,
    GoneReader,
    /// There is a reader, which does not read.
    DeafReader,
}

impl Nowhere {
    const ALL: [Nowhere; 3] = [Nowhere::FullDisk, Nowhere::GoneReader, Nowhere::DeafReader];

    /// What to write to, and what must be kept for it to stay like that.
    fn open(self) -> (Stdio, Option<PipeReader>) {
        if let Nowhere::FullDisk = self {
            return (OpenOptions::new().write(true).open("/dev/full").unwrap().into(), None);
        }
        let (reader, writer) = pipe().unwrap();
        (writer.into(), matches!(self, Nowhere::DeafReader).then_some(reader))
    }
}

#[test]
fn kafka_is_counted_whatever_becomes_of_the_log() {
    for nowhere in Nowhere::ALL {
        let cluster = cluster(2);
        let mut producer = producer(&cluster);
        let flow = format!(r#"{{"as_src": 1, "as_dst": {ASN}, "bytes": 7}}"#);
        let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
        // Far more than a pipe and the queue of lines hold.
        arguments.extend(["--log-level=trace", "--kafka-config=debug=all"].map(str::to_owned));
        let (stderr, _reader) = nowhere.open();
        let child = Child::start(&arguments, |command| {
            command.stderr(stderr);
        });
        wait_for("dropped lines", LIMIT, || {
            match child.page().sum("flow_exporter_log_lines_dropped_total") {
                0 => Err("none is".to_owned()),
                _ => Ok(()),
            }
        });
        for partition in 0..2 {
            producer.send(partition, "no record");
            producer.send(partition, &flow);
        }
        producer.flush();
        child.wait_for_sum("flow_receive_bytes_total", 14);
        child.wait_for_sum("flow_exporter_decode_errors_total", 2);
        wait_for("readiness", LIMIT, || child.get("/-/ready"));
        assert_eq!(child.stop().code(), Some(0), "{nowhere:?}");
    }
}

#[test]
fn an_input_is_counted_whatever_becomes_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flows.json");
    let flow = format!("{{\"as_src\": 1, \"as_dst\": {ASN}, \"bytes\": 7}}\n");
    std::fs::write(&file, format!("no record\n{flow}no record\n{flow}")).unwrap();
    for nowhere in Nowhere::ALL {
        let arguments = [
            format!("--input={}", file.display()),
            format!("--asn={ASN}"),
            "--as-names=none".to_owned(),
        ];
        let (stderr, _reader) = nowhere.open();
        let child = Child::start(&arguments, |command| {
            command.stderr(stderr);
        });
        child.wait_for_sum("flow_receive_bytes_total", 14);
        child.wait_for_sum("flow_exporter_decode_errors_total", 2);
        assert_eq!(child.stop().code(), Some(0), "{nowhere:?}");
    }
}

/// Runs the program to its end. Returns its exit code, and its standard error, unless that takes
/// nothing either.
fn run(arguments: &[&str], stdout: Nowhere, stderr: Option<Nowhere>) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    let (out, _out_reader) = stdout.open();
    command.args(arguments).stdin(Stdio::null()).stdout(out);
    let opened = stderr.map(Nowhere::open);
    let (err, _err_reader) = opened.unwrap_or_else(|| (Stdio::piped(), None));
    let child = command.stderr(err).spawn().unwrap();
    // Otherwise it would keep the pipe open.
    drop(command);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn help_that_can_not_be_written_is_no_panic() {
    for what in [&["--version"][..], &["--help"], &["check", "--help"]] {
        let (code, said) = run(what, Nowhere::FullDisk, None);
        let expected = "flow-exporter: standard output: No space left on device (os error 28)\n";
        assert_eq!((code, said.as_str()), (Some(1), expected), "{what:?}");
        // As when it is piped to `head`.
        assert_eq!(run(what, Nowhere::GoneReader, None), (Some(0), String::new()), "{what:?}");
        for stderr in Nowhere::ALL {
            let (code, _) = run(what, Nowhere::FullDisk, Some(stderr));
            assert_eq!(code, Some(1), "{what:?}, {stderr:?}");
        }
    }
}

#[test]
fn findings_of_check_that_can_not_be_written_are_a_failure_in_a_line() {
    let check = ["check", "--log-level=error", "--input=/dev/null", "--addr=127.0.0.1:0"];
    let expected = "flow-exporter: standard output: No space left on device (os error 28)\n";
    assert_eq!(run(&check, Nowhere::FullDisk, None), (Some(1), expected.to_owned()));
    // As when it is piped to `head`: its exit code still tells what it found.
    assert_eq!(run(&check, Nowhere::GoneReader, None), (Some(0), String::new()));
}

#[test]
fn exit_codes_are_right_even_where_the_reason_can_not_be_written() {
    for (arguments, expected) in [
        (&["--no-such-flag"][..], 2),
        (&["--input=/does/not/exist", "--as-names=none"], 2),
        (&["health", "--url=http://127.0.0.1:1/"], 1),
    ] {
        for stderr in Nowhere::ALL {
            let (code, _) = run(arguments, Nowhere::GoneReader, Some(stderr));
            assert_eq!(code, Some(expected), "{arguments:?}, {stderr:?}");
        }
    }
}

#[test]
fn the_log_quotes_the_record_that_is_not_counted_and_no_other() {
    let cluster = cluster(1);
    let mut producer = producer(&cluster);
    let flow = format!(r#"{{"as_src": 1, "as_dst": {ASN}, "bytes": 7}}"#);
    producer.send(0, &format!("{}{flow} trailing", format!("{flow}\n").repeat(39)));
    producer.flush();
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    exporter.wait_for_sum("flow_receive_bytes_total", 280, LIMIT);
    let log = exporter.log();
    let line = log.lines().find(|line| line.contains("can't be decoded")).unwrap();
    assert!(line.contains(r#"it begins with \"trailing\""#), "{line}");
    assert!(!line.contains("as_src"), "{line}");
}
