//! The command `health`, which asks a running process.

use std::{
    fs,
    path::Path,
    process::{self, Command, Output, Stdio},
};

use testkit::{
    certificates::Authority,
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

/// Starts an exporter that reads an empty input, with this web configuration beside a certificate and its
/// key.
fn guarded(directory: &Path, web: &str) -> (Child, String) {
    let authority = Authority::new();
    let (cert, key) = authority.issue("exporter.test");
    let file = |name: &str, text: &[u8]| {
        fs::write(directory.join(name), text).unwrap();
        directory.join(name)
    };
    file("cert.pem", cert.as_bytes());
    file("key.pem", key.as_bytes());
    file("ca.pem", &authority.pem());
    let web = file("web.yml", web.as_bytes());
    let input = file("flows.json", b"");
    let addr = format!("{}:9590", unused_address());
    let mut command = Command::new(program());
    command
        .arg(format!("--input={}", input.display()))
        .arg(format!("--web.config.file={}", web.display()))
        .arg(format!("--web.listen-address={addr}"))
        .args(["--asn=64500", "--as-names=none", "--log-level=warn"])
        .stderr(Stdio::null())
        .current_dir(directory);
    (Child(command.spawn().unwrap()), addr)
}

/// Killed when dropped.
struct Child(process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn health_needs_neither_the_certificate_nor_the_password_of_the_exporter() {
    const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";
    const USERS: &str =
        "basic_auth_users:\n  a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7z.\n";
    let asks = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    for (web, expected) in [
        (USERS.to_owned(), "http://ADDR/-/healthy answers: healthy\n"),
        (format!("{TLS}{USERS}"), "https://ADDR/-/healthy answers: healthy\n"),
        (format!("{TLS}{asks}"), "https://ADDR/-/healthy asks for a client certificate: it runs\n"),
        (
            format!("{TLS}{asks}  max_version: TLS12\n"),
            "https://ADDR/-/healthy asks for a client certificate: it runs\n",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (_child, addr) = guarded(directory.path(), &web);
        let said = wait_for("health", START_LIMIT, || {
            let output = health(&["--addr", &addr], None);
            if output.status.success() { Ok(output.stdout) } else { Err(format!("{output:?}")) }
        });
        assert_eq!(String::from_utf8(said).unwrap(), expected.replace("ADDR", &addr), "{web}");
        // Another one would not be started there, and is told why.
        let output = Command::new(program())
            .args(["check", "--input=flows.json", "--asn=64500", "--as-names=none"])
            .arg(format!("--addr={addr}"))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("a flow-exporter already listens there"), "{said}");
    }
}

#[test]
fn a_web_configuration_that_cannot_be_used_is_refused_at_the_start_and_by_a_check() {
    for command in [&["check"][..], &[]] {
        let directory = tempfile::tempdir().unwrap();
        let web = directory.path().join("web.yml");
        fs::write(&web, "basic_auth_users:\n  alice: wonderland\n").unwrap();
        fs::write(directory.path().join("flows.json"), "").unwrap();
        let output = Command::new(program())
            .args(command)
            .args(["--input=flows.json", "--asn=64500", "--as-names=none"])
            .arg(format!("--addr={}:9590", unused_address()))
            .arg(format!("--web.config.file={}", web.display()))
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        let last = error.lines().last().unwrap();
        let expected = format!(
            "flow-exporter: --web.config.file {}, line 2: basic_auth_users.alice: this is no bcrypt hash",
            web.display()
        );
        assert!(last.starts_with(&expected), "{error}");
        assert!(!error.contains("wonderland"), "{error}");
    }
}
