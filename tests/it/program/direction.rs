//! Several local ASes and networks, as the program counts them.

use std::{fs, time::Duration};

use testkit::exporter::Exporter;

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
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("flows.json"), FLOWS).unwrap();
    let views = "views:\n  flow: {}\n  all:\n    labels: [hostname]\n    \
                 classes: [receive, transmit, internal, transit]\n";
    fs::write(path("config.yml"), views).unwrap();
    let exporter = Exporter::start(&[
        format!("--input={}", path("flows.json").display()),
        format!("--config={}", path("config.yml").display()),
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
