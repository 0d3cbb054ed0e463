//! AS and sites by address, as the program finds them.

use std::{fs, time::Duration};

use testkit::exporter::Exporter;

const LIMIT: Duration = Duration::from_secs(60);

/// As a pmacct without BGP writes them.
const FLOWS: &str = r#"{"as_src": 0, "as_dst": 0, "ip_src": "192.0.2.1", "ip_dst": "8.8.8.8", "label": "edge1", "bytes": 7}
{"as_src": 0, "as_dst": 0, "ip_src": "8.8.8.8", "ip_dst": "192.0.2.1", "label": "edge1", "bytes": 50}
"#;

#[test]
fn a_collector_without_bgp_gives_named_ases_sites_and_countries() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("flows.json"), FLOWS).unwrap();
    fs::write(path("networks.csv"), "prefix,as,site\n192.0.2.0/24,64512,Berlin\n").unwrap();
    let exporter = Exporter::start(&[
        format!("--input={}", path("flows.json").display()),
        format!("--networks={}", path("networks.csv").display()),
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
