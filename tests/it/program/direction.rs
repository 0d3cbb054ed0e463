//! Several local ASes and networks, interfaces and sampling rates, as the program counts them.

use std::{collections::BTreeMap, fs, time::Duration};

use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, KeptOnPanic, count},
    http,
    page::Page,
    produce::ASN,
    receiver::Receiver,
    series::{growth, whole},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Flows of 1, 20, 300, 4000 bytes and so on.
const FLOWS: &str = r#"{"as_src": 64512, "as_dst": 1, "label": "edge1", "bytes": 1}
{"as_src": 1, "as_dst": 65015, "label": "edge1", "bytes": 20}
{"as_src": 0, "as_dst": 1, "ip_src": "192.0.2.1", "ip_dst": "198.51.100.1", "label": "edge1", "bytes": 300}
{"as_src": 65010, "as_dst": 0, "ip_dst": "192.0.2.1", "label": "edge1", "bytes": 4000}
{"as_src": 1, "as_dst": 2, "ip_src": "198.51.100.1", "label": "edge1", "bytes": 50000}
"#;

#[test]
fn flows_of_several_ases_and_of_networks_without_one_are_counted_by_class() {
    let directory = KeptOnPanic::new("flow-exporter-direction-");
    let views = "views:\n  flow: {}\n  all:\n    labels: [hostname]\n    \
                 classes: [receive, transmit, internal, transit]\n";
    let exporter = Exporter::start(&[
        directory.file("--input", "flows.json", FLOWS),
        directory.file("--config", "config.yml", views),
        "--asn=64512,65010-65019".to_owned(),
        "--local-network=192.0.2.0/24".to_owned(),
        "--as-names=none".to_owned(),
    ]);
    exporter.wait_for_sum("flow_all_transit_bytes_total", 50_000, LIMIT);
    let page = exporter.page();
    for (metric, expected) in [
        ("flow_all_transmit_bytes_total", 301),
        ("flow_all_receive_bytes_total", 20),
        ("flow_all_internal_bytes_total", 4000),
        // In the original's classes, internal flows are transmitted.
        ("flow_transmit_bytes_total", 4301),
        ("flow_receive_bytes_total", 20),
    ] {
        assert_eq!(page.sum(metric), expected, "{metric}");
    }
    assert!(exporter.stop().success());
}

/// Received and transmitted bytes.
fn both_ways(page: &Page) -> [u64; 2] {
    ["receive", "transmit"].map(|class| page.sum(&format!("flow_{class}_bytes_total")))
}

#[test]
fn exporters_change_by_a_reload_and_only_another_rule_ends_series() {
    let (cluster, mut receiver) = (cluster(1), http::block_on(async { Receiver::new() }));
    let mut producer = producer(&cluster);
    let directory = KeptOnPanic::new("flow-exporter-exporters-");
    let config = directory.path().join("config.yml");
    let configure = |exporter: &str| {
        let url = receiver.url("/write");
        let text =
            format!("exporters: {{192.0.2.1: {exporter}}}\nremote_write: [{{url: '{url}'}}]\n");
        fs::write(&config, text).unwrap();
    };
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.extend([
        format!("--config={}", config.display()),
        format!("--state-dir={}", directory.path().join("state").display()),
        "--remote-write-interval=200ms".to_owned(),
    ]);
    let mut produce = || {
        let record = format!(
            r#"{{"as_src": {ASN}, "as_dst": 1, "label": "edge1", "peer_ip_src": "192.0.2.1",
            "sampling_direction": "ingress", "iface_in": 3, "iface_out": 4, "bytes": 100}}"#
        );
        producer.send(0, &record);
        producer.flush();
    };

    configure("{sampling_rate: 10}");
    let exporter = Exporter::start(&arguments);
    let wait_for = |[received, transmitted]: [u64; 2]| {
        exporter.wait_for_sum("flow_receive_bytes_total", received, LIMIT);
        exporter.wait_for_sum("flow_transmit_bytes_total", transmitted, LIMIT);
    };
    produce();
    wait_for([0, 1000]);
    configure("{sampling_rate: 20}");
    let answer = exporter.reload().unwrap();
    assert!(answer.starts_with("Reloaded.\nsampling rates changed: series continue\n"), "{answer}");
    produce();
    wait_for([0, 3000]);

    configure("{sampling_rate: 20, direction: egress}");
    let answer = exporter.reload().unwrap();
    assert_eq!(answer, "Reloaded.\ndirections that count changed: series continue\n");
    produce();
    exporter.wait_for_sum("flow_exporter_flow_bytes_ignored_total", 2000, LIMIT);
    assert_eq!(both_ways(&exporter.page()), [0, 3000]);

    configure("{sampling_rate: 20, external_interfaces: 3}");
    let answer = exporter.reload().unwrap();
    assert!(answer.contains("interfaces of 1 exporters: all series end"), "{answer}");
    assert_eq!(both_ways(&exporter.page()), [0, 0]);
    let home = http::get(exporter.page_url().trim_end_matches("metrics")).unwrap();
    assert!(home.contains("interfaces of 1 exporters, from topic"), "{home}");
    produce();
    wait_for([2000, 0]);
    configure("{sampling_rate: 20, external_interfaces: 4}");
    exporter.reload().unwrap();
    produce();
    produce();
    wait_for([0, 4000]);
    exporter.wait_for_account(LIMIT);
    assert!(exporter.stop().success());

    let exporter = Exporter::start(&arguments);
    assert_eq!(both_ways(&exporter.page()), [0, 4000]);
    assert!(!exporter.log().contains("since the last run"), "{}", exporter.log());
    assert!(exporter.stop().success());

    let mut values: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    while let Some(request) = receiver.received() {
        if request.is_undecodable() {
            continue;
        }
        for (mut labels, time_ms, value) in request.samples() {
            let name = labels.remove("__name__").unwrap_or_default();
            if !value.is_nan() && name.starts_with("flow_") && !name.starts_with("flow_exporter_") {
                values.entry(name).or_default().insert(time_ms, whole(value));
            }
        }
    }
    let grown: Vec<_> = values.into_values().map(|values| growth(values.into_values())).collect();
    assert_eq!(grown, [2000, 7000]);
}
