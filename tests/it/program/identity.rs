//! Two processes on one host that push to one receiver.

use std::process::{Command, Output};

use testkit::{
    exporter::{Exporter, program},
    servers::{unused_address, wait_for},
};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Counts nothing, and pushes to this URL.
fn arguments(url: &str) -> Vec<String> {
    ["--input=/dev/null", "--asn=1", "--as-names=none", "--state-dir=none"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("--remote-write-url={url}")])
        .collect()
}

/// Runs another process with these arguments until its input is over.
fn run(arguments: &[String]) -> Output {
    Command::new(program())
        .args(arguments)
        .args(["--addr=127.0.0.1:0", "--exit-at-end"])
        .output()
        .unwrap()
}

#[test]
fn two_processes_whose_series_the_receiver_could_not_tell_apart_do_not_run_side_by_side() {
    // Nothing answers there, and no other test pushes there.
    let url = format!("http://{}:9/api/v1/write?key=hunter2", unused_address());
    let first = Exporter::start(&arguments(&url));
    let refused = run(&arguments(&url));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let line = said.lines().last().unwrap();
    assert!(line.contains("another process on this host") && line.contains("instance="), "{said}");
    assert!(line.contains("--external-label instance=NAME"), "what to do: {said}");
    assert!(!said.contains("hunter2"), "{said}");

    // What tells them apart: a label, another receiver, other rules, or that the first has ended.
    let mut apart = arguments(&url);
    apart.push("--external-label=instance=second".to_owned());
    assert!(run(&apart).status.success());
    assert!(run(&arguments(&url.replace("hunter2", "other"))).status.success());
    let config = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "remote_write:\n- url: {url}\n  write_relabel_configs: [{{action: labeldrop, regex: job}}]\n"
    );
    std::fs::write(config.path(), text).unwrap();
    let mut ruled = arguments(&url);
    *ruled.last_mut().unwrap() = format!("--config={}", config.path().display());
    assert!(run(&ruled).status.success());
    first.kill();
    wait_for("free name", LIMIT, || {
        let output = run(&arguments(&url));
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    });
}
