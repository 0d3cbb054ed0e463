//! Flags and environment variables, from outside.

use std::{
    fs,
    process::{Command, Output},
};

use clap::CommandFactory as _;
use flow_exporter::cli::Cli;

use testkit::{exporter::program, servers::unused_address};

/// Runs the program with these arguments and environment variables, in a directory of its own.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("flows.json"), "").unwrap();
    Command::new(program())
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .output()
        .unwrap()
}

/// Counts an empty file and ends.
const TO_THE_END: [&str; 5] =
    ["--input=flows.json", "--as-names=none", "--addr=127.0.0.1:0", "--state-dir=none", "--asn=1"];

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// The only line besides warnings, which says what is wrong.
#[track_caller]
fn refusal(output: &Output) -> String {
    let said = said(output, 2);
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with("flow-exporter: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    lines[0].to_owned()
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_unset() {
    let command = Cli::command();
    let mut names: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    names.push("FLOW_EXPORTER_REMOTE_WRITE_PASSWORD".to_owned());
    names.push("FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN".to_owned());
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let mut arguments = TO_THE_END.to_vec();
    arguments.push("--exit-at-end");
    // With an endpoint, secrets are read.
    let url = format!("--remote-write-url=http://{}/", unused_address());
    arguments.push(&url);
    let said = said(&run(&arguments, &variables), 0);
    assert!(!said.contains("FLOW_EXPORTER"), "{said}");
}

#[test]
fn switches_take_yes_and_no_in_any_words() {
    for yes in ["1", "true", "yes", "On"] {
        said(&run(&TO_THE_END, &[("FLOW_EXPORTER_EXIT_AT_END", yes)]), 0);
    }
    // Without --input, the switch alone would be refused.
    for no in ["0", "false", "No", "off"] {
        let line = refusal(&run(&[], &[("FLOW_EXPORTER_EXIT_AT_END", no)]));
        assert!(line.contains("no source of flows is given"), "{line}");
    }
    let line = refusal(&run(&TO_THE_END, &[("FLOW_EXPORTER_EXIT_AT_END", "perhaps")]));
    assert!(line.contains("--exit-at-end") && line.contains("perhaps"), "{line}");
}

#[test]
fn a_wrong_value_is_refused_with_the_variable_that_it_came_from() {
    let line = refusal(&run(&[], &[("FLOW_EXPORTER_ASN", "many")]));
    assert!(line.contains("--asn") && line.contains("(from FLOW_EXPORTER_ASN)"), "{line}");
    let line = refusal(&run(&["--asn=few"], &[("FLOW_EXPORTER_ASN", "many")]));
    assert!(line.contains("few") && !line.contains("FLOW_EXPORTER_ASN"), "{line}");
}

#[test]
fn an_unused_variable_is_warned_of() {
    let mut arguments = TO_THE_END.to_vec();
    arguments.push("--exit-at-end");
    let said = said(&run(&arguments, &[("FLOW_EXPORTER_BROKER", "a:9092")]), 0);
    let warning = said.lines().find(|line| line.contains("FLOW_EXPORTER_BROKER "));
    let warning = warning.unwrap_or_else(|| panic!("{said}"));
    assert!(warning.contains("WARN") && warning.contains("FLOW_EXPORTER_BROKERS?"), "{warning}");
}

#[test]
fn values_that_would_be_waited_for_in_vain_are_refused() {
    let source = ["--brokers=a:9092", "--topic=t", "--state-dir=none"];
    for (argument, expected) in [
        ("--brokers=::1:9092", "brackets"),
        ("--brokers=a:1 b:1", "commas"),
        ("--brokers=a;b", "commas"),
        ("--brokers=http://a:9092", "without http://"),
        ("--brokers=kafka://a:9092", "without kafka://"),
        ("--brokers=a:99999", "not a port"),
        ("--brokers=h:kafka", "not a port"),
        ("--brokers=SSL://a:9093", "security.protocol=SSL"),
        ("--topic=my topic", "one topic"),
        ("--topic=a,b", "one topic"),
        ("--start=2999-01-01T00:00:00Z", "in the future"),
        ("--asn=4294967296", "AS numbers from 0"),
        ("--asn=64512,,65010", "AS numbers from 0"),
        ("--local-network=192.0.2.1/24", "did you mean 192.0.2.0/24?"),
        ("--log-level=verbose", "error, warn, info"),
        ("--max-lateness=2y", "the longest is 1h"),
        ("--series-ttl=1s", "shorter than --remote-write-interval"),
        ("--queue-max-bytes=0", "the least is 1MiB"),
        ("--group=", "leave the flag out"),
    ] {
        let flag = argument.split('=').next().unwrap();
        let mut arguments: Vec<_> =
            source.into_iter().filter(|given| !given.starts_with(&format!("{flag}="))).collect();
        arguments.push(argument);
        let line = refusal(&run(&arguments, &[]));
        assert!(line.contains(flag) && line.contains(expected), "{argument}: {line}");
    }
}

#[test]
fn the_exit_code_of_check_does_not_depend_on_a_reader() {
    let flow = r#"{"as_src": 64512, "as_dst": 15169, "bytes": 3}"#;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flows.json");
    fs::write(&file, flow).unwrap();
    for (asn, code) in [("--asn=AS64512", 0), ("--asn=99", 1)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(program())
            .args(["check", asn, "--addr=127.0.0.1:0", "--state-dir=none"])
            .arg(format!("--input={}", file.display()))
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(said(&output, code), "");
    }
}
