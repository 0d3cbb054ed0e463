//! A program that counts nothing says why.

use std::{fs, process::Command, time::Duration};

use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    http,
    produce::ASN,
    servers::wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the status page and `/-/ready` say this, the latter with success.
fn wait_for_words(exporter: &Exporter, words: &str) {
    for path in ["/-/ready", "/"] {
        let url = exporter.page_url().replace("/metrics", path);
        wait_for(words, LIMIT, || {
            let page = http::get(&url)?;
            if page.contains(words) { Ok(()) } else { Err(page) }
        });
    }
}

#[test]
fn a_wrong_as_is_shown_until_flows_are_counted() {
    let cluster = cluster(1);
    let mut producer = producer(&cluster);
    let flow = |from: u32, to: u32| {
        format!(r#"{{"label": "r", "as_src": {from}, "as_dst": {to}, "bytes": 1}}"#)
    };
    for _ in 0..3 {
        producer.send(0, &flow(64512, 15169));
    }
    producer.send(0, &flow(64512, 3356));
    producer.flush();
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    wait_for_words(
        &exporter,
        &format!("0 of 4 flows have AS {ASN} at either end; most frequent: 64512, 15169"),
    );
    producer.send(0, &flow(ASN, 15169));
    producer.flush();
    exporter.wait_for_sum("flow_exporter_flows_total", 1, LIMIT);
    let ready = exporter.page_url().replace("/metrics", "/-/ready");
    wait_for("nothing degraded", LIMIT, || match http::get(&ready)?.as_str() {
        "Ready.\n" => Ok(()),
        other => Err(other.to_owned()),
    });
}

#[test]
fn another_format_is_called_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.json");
    let record =
        r#"{"type":"IPFIX","sampler_address":"192.0.2.1","bytes":5,"src_as":1,"dst_as":2}"#;
    fs::write(&path, format!("{record}\n{record}\n")).unwrap();
    let mut arguments = vec![
        format!("--input={}", path.display()),
        format!("--asn={ASN}"),
        "--as-names=none".into(),
    ];
    arguments.push("--format=pmacct".to_owned());
    let exporter = Exporter::start(&arguments);
    wait_for_words(&exporter, "0 of 2 records count: the messages are goflow2");
    drop(exporter);
    // A run that is shorter than the minute says it at its end.
    let output = Command::new(program())
        .args(&arguments)
        .args(["--exit-at-end", "--addr=127.0.0.1:0", "--state-dir=none"])
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let said = log.lines().filter(|line| line.contains("the messages are goflow2's JSON"));
    assert_eq!(said.count(), 1, "{log}");
}

#[test]
fn a_filter_on_what_no_record_has_is_shown_and_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let record = format!(r#"{{"label": "r", "as_src": {ASN}, "as_dst": 1, "bytes": 5}}"#);
    fs::write(path("flows.json"), format!("{record}\n{record}\n")).unwrap();
    fs::write(path("views.yml"), "views: {flow: {}, tagged: {where: {vlan: 1-4094}}}").unwrap();
    let arguments = [
        format!("--input={}", path("flows.json").display()),
        format!("--config={}", path("views.yml").display()),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
    ];
    let words = "view tagged filters by vlan: 0 of 2 flows have it; pmacct";
    let exporter = Exporter::start(&arguments);
    wait_for_words(&exporter, words);
    let page = exporter.page();
    assert_eq!(page.sum_with("flow_exporter_label_missing_total", "label", "vlan"), 2);
    assert_eq!(page.sum_with("flow_exporter_label_missing_total", "label", "hostname"), 0);
    drop(exporter);
    let output = Command::new(program())
        .args(&arguments)
        .args(["--exit-at-end", "--addr=127.0.0.1:0", "--state-dir=none"])
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let said = log.lines().filter(|line| line.contains("WARN") && line.contains(words));
    assert_eq!(said.count(), 1, "{log}");
}
