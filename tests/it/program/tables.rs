//! AS and sites by address, as the program finds them.

use std::time::Duration;

use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, KeptOnPanic, count},
};

const LIMIT: Duration = Duration::from_secs(60);

/// As a pmacct without BGP writes them.
const FLOWS: &str = r#"{"as_src": 0, "as_dst": 0, "ip_src": "192.0.2.1", "ip_dst": "8.8.8.8", "label": "edge1", "bytes": 7}
{"as_src": 0, "as_dst": 0, "ip_src": "8.8.8.8", "ip_dst": "192.0.2.1", "label": "edge1", "bytes": 50}
"#;

#[test]
fn a_collector_without_bgp_gives_named_ases_sites_and_countries() {
    let directory = KeptOnPanic::new("flow-exporter-tables-");
    let networks = "prefix,as,site\n192.0.2.0/24,64512,Berlin\n";
    let exporter = Exporter::start(&[
        directory.file("--input", "flows.json", FLOWS),
        directory.file("--networks", "networks.csv", networks),
        "--as-table=embedded".to_owned(),
        "--as-names=embedded".to_owned(),
        "--labels=remote_as,remote_as_name,remote_country,site".to_owned(),
    ]);
    exporter.wait_for_sum("flow_receive_bytes_total", 50, LIMIT);
    exporter.wait_for_sum("flow_transmit_bytes_total", 7, LIMIT);
    let page = exporter.page();
    for sample in page.samples("flow_receive_").chain(page.samples("flow_transmit_")) {
        let label = |name: &str| sample.labels[name].as_str();
        assert_eq!((label("remote_as"), label("remote_country")), ("15169", "US"), "{sample:?}");
        assert!(label("remote_as_name").contains("Google"), "{sample:?}");
        assert_eq!(label("site"), "Berlin", "{sample:?}");
    }
    assert_eq!(page.sum_with("flow_exporter_as_found_total", "by", "networks"), 2);
    assert_eq!(page.sum_with("flow_exporter_as_found_total", "by", "table"), 2);
    assert!(exporter.stop().success());
}

#[test]
fn a_list_of_networks_that_changes_counts_from_then_on_and_a_broken_one_changes_nothing() {
    let (cluster, directory) = (cluster(1), KeptOnPanic::new("flow-exporter-tables-"));
    let mut producer = producer(&cluster);
    let mut send = || {
        for record in FLOWS.lines() {
            producer.send(0, record);
        }
        producer.flush();
    };
    let list = |text| directory.file("--networks", "networks.csv", text);
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.retain(|argument| !argument.starts_with("--asn="));
    arguments.extend([
        list("prefix,as,site\n192.0.2.0/24,64512,Berlin\n"),
        format!("--state-dir={}", directory.path().join("state").display()),
        "--labels=source_as,site".to_owned(),
    ]);
    let exporter = Exporter::start(&arguments);
    let received = "flow_receive_bytes_total";
    let at = |site: &str| exporter.page().sum_with(received, "site", site);
    send();
    exporter.wait_for_sum(received, 50, LIMIT);
    assert_eq!((at("Berlin"), at("Hamburg")), (50, 0));

    list("prefix,as,site\n192.0.2.0/24,64512\n");
    exporter.wait_for_log("networks have changed, and can't be used", LIMIT);
    let why = "networks.csv: line 2: the row has 2 fields and the first line 3";
    assert!(exporter.log().contains(why), "{}", exporter.log());
    send();
    exporter.wait_for_sum(received, 100, LIMIT);
    assert_eq!((at("Berlin"), at("Hamburg")), (100, 0));
    let answer = exporter.reload().expect_err("it is still broken");
    assert!(answer.contains("400") && answer.contains(why), "{answer}");

    list("prefix,as,site\n192.0.2.0/25,64513,Hamburg\n");
    // A reload does not wait until somebody looks.
    let answer = exporter.reload().unwrap();
    assert_eq!(answer, "Reloaded.\nnetworks have changed, and are in use\n");
    assert_eq!(exporter.reload().unwrap(), "Reloaded.\nnothing has changed\n");
    send();
    exporter.wait_for_sum(received, 150, LIMIT);
    // The series of the earlier list has not ended.
    assert_eq!((at("Berlin"), at("Hamburg")), (100, 50));
    let page = exporter.page();
    let by_as = |asn: &str| page.sum_with("flow_transmit_bytes_total", "source_as", asn);
    assert_eq!((by_as("64512"), by_as("64513")), (14, 7));
    assert!(exporter.stop().success());
}
