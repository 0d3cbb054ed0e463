//! Flows from a file or standard input, and what the program says to wrong flags.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use testkit::{
    exporter::{Exporter, program},
    http,
    page::Page,
    produce::{ASN, Flows, unnamed},
    series::compare,
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);

/// This many records, one a line.
fn lines(flows: &mut Flows, records: usize) -> String {
    let mut lines = String::new();
    for _ in 0..records {
        flows.write_next(&mut lines);
        lines.push('\n');
    }
    lines
}

fn arguments(input: &str) -> Vec<String> {
    vec![format!("--input={input}"), format!("--asn={ASN}"), "--as-names=none".to_owned()]
}

fn run(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    Command::new(program()).args(arguments).current_dir(directory.path()).output().unwrap()
}

#[test]
fn a_file_is_counted_to_its_last_line_and_then_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.json");
    let mut flows = Flows::new(21, 3, 40);
    let mut text = lines(&mut flows, 20_000);
    text.push_str("\r\n\n");
    // The last line has no line feed.
    flows.write_next(&mut text);
    fs::write(&path, text).unwrap();
    let exporter = Exporter::start(&arguments(path.to_str().unwrap()));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_decode_errors_total"), 0);
    assert!(exporter.stop().success());
}

#[test]
fn a_line_without_end_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.json");
    let mut flows = Flows::new(22, 1, 5);
    let mut text = lines(&mut flows, 10);
    text.push_str("{\"as_src\": \"");
    text.push_str(&"9".repeat(9 << 20));
    text.push('\n');
    text.push_str(&lines(&mut flows, 10));
    fs::write(&path, text).unwrap();
    let exporter = Exporter::start(&arguments(path.to_str().unwrap()));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_decode_errors_total"), 1);
}

#[test]
fn standard_input_is_counted_as_it_comes() {
    let address = unused_address();
    let mut child = Command::new(program())
        .args(arguments("-"))
        .arg(format!("--addr={address}:9590"))
        .arg("--state-dir=none")
        .arg("--exit-at-end")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut flows = Flows::new(23, 2, 10);
    let url = format!("http://{address}:9590/metrics");
    for _ in 0..3 {
        stdin.write_all(lines(&mut flows, 100).as_bytes()).unwrap();
        stdin.flush().unwrap();
        wait_for("totals so far", LIMIT, || {
            compare(&flows.totals(unnamed), &Page(http::get(&url)?).totals())
        });
    }
    drop(stdin);
    assert!(child.wait().unwrap().success(), "it ends with its input, as it was told");
}

#[test]
fn what_is_wrong_with_the_flags_is_one_line_and_exit_code_2() {
    for (arguments, expected) in [
        (&[][..], "no source of flows is given: give --collect=:2055"),
        (&["--topic=t"], "--brokers is missing"),
        (&["--brokers=a:1"], "--topic is missing"),
        (&["--input=/does/not/exist", "--as-names=none"], "--input /does/not/exist"),
        (&["--input=-", "--topic=t"], "one source"),
        (&["--input=-", "--addr=none"], "no output"),
        (&["--input=-", "--addr=nonsense"], "--addr"),
        (&["--input=-", "--addr=9601"], "--addr: `9601` has no colon before the port: write :9601"),
        (&["--input=-", "--as-names=/does/not/exist"], "--as-names /does/not/exist"),
        (&["--input=-", "--as-names=atuo"], "--as-names atuo: No such file"),
        (&["--input=-", "--as-names=atuo"], "did you mean auto?"),
        (&["--input=-", "--as-table=embeded"], "--as-table embeded: No such file"),
        (&["--input=-", "--as-table=embeded"], "did you mean embedded?"),
        (&["--input=-", "--networks=/does/not/exist"], "--networks /does/not/exist: No such file"),
        (&["--input=-", "--remote-write-url=ftp://a/"], "http or https"),
        (&["--input=-", "--log-level=loud=very"], "--log-level"),
        (
            &["--input=-", "--remote-write-url=http://a/", "--external-label=hostname=x"],
            "label of this name already",
        ),
        (
            &["--input=-", "--remote-write-url=http://a/", "--remote-write-username=x"],
            "--remote-write-password-file",
        ),
        (&["--brokers=a:1", "--topic=t", "--kafka-config=group.id=x"], "--group"),
        (&["--brokers=a:1", "--topic=t", "--group=g", "--partitions=1"], "leave one of them out"),
    ] {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<_> =
            said.lines().filter(|line| line.starts_with("flow-exporter: ")).collect();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(errors.len() == 1 && errors[0].contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn help_is_no_error() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--remote-write-url"));
}
