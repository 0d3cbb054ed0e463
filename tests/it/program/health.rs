//! The command `health`, which asks a running process.

use std::process::{Command, Output};

use testkit::{
    exporter::{Exporter, program},
    produce::ASN,
    servers::{START_LIMIT, unused_address, wait_for},
};

/// Asks with these arguments, and this value of the variable that the counting process reads too.
fn health(arguments: &[&str], addr: Option<&str>) -> Output {
    let mut command = Command::new(program());
    command.arg("health").args(arguments);
    command.env_remove("FLOW_EXPORTER_ADDR").env_remove("FLOW_EXPORTER_HEALTH_URL");
    if let Some(addr) = addr {
        command.env("FLOW_EXPORTER_ADDR", addr);
    }
    command.output().unwrap()
}

#[test]
fn health_asks_where_the_exporter_is_told_to_listen() {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("flows.json");
    std::fs::write(&input, "").unwrap();
    let address = unused_address();
    let arguments =
        [format!("--input={}", input.display()), format!("--asn={ASN}"), "--as-names=none".into()];
    let exporter = Exporter::start_at(address, &arguments);
    let addr = format!("{address}:9590");
    for output in [
        health(&["--addr", &addr], None),
        health(&[], Some(&addr)),
        health(&["--addr", &addr], Some("127.0.0.1:1")),
        health(&["--url", &format!("http://{addr}/-/healthy")], Some("none")),
    ] {
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("http://{addr}/-/healthy answers: healthy\n"));
    }
    wait_for("the link", START_LIMIT, || {
        let log = exporter.log();
        if log.contains(&format!("look at http://{addr}/")) { Ok(()) } else { Err(log) }
    });
    assert!(exporter.stop().success());
    let output = health(&["--addr", &addr], None);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("asking http://{addr}/-/healthy")), "{error}");
}

#[test]
fn health_without_a_server_to_ask_is_well_and_says_so() {
    for output in [health(&["--addr=none"], None), health(&[], Some("none"))] {
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("--addr none"), "{said}");
    }
}

#[test]
fn health_at_an_address_that_cannot_be_asked_is_a_wrong_configuration() {
    for (addr, expected) in [(":0", "--url"), ("9590", "no colon before the port")] {
        let output = health(&[], Some(addr));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
