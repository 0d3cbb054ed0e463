//! The demo from outside.

use std::{collections::BTreeSet, time::Duration};

use testkit::{exporter::Exporter, servers::STOP_LIMIT};

const LIMIT: Duration = Duration::from_secs(60);

/// A number of the line of the log that contains this, which is one of JSON.
fn logged(log: &str, words: &str, name: &str) -> u64 {
    let line = log.lines().find(|line| line.contains(words)).expect(words);
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    // Sums of bytes are texts: they can be larger than the numbers of JSON.
    let number = &line[name];
    number.as_u64().or_else(|| number.as_str()?.parse().ok()).expect(name)
}

#[test]
fn all_that_the_demos_exporters_send_is_collected_under_their_names() {
    // All flows are counted with these classes.
    let classes = "--classes=receive,transmit,transit";
    let exporter = Exporter::start(&["demo", "--collect", "--asn=64512", "--rate=3000", classes]);
    exporter.wait_for_more("flow_exporter_flows_total", 2000, LIMIT);
    exporter.wait_until_ready(LIMIT);
    let page = exporter.page();
    for metric in ["flow_receive_bytes_total", "flow_transmit_bytes_total"] {
        let hosts: BTreeSet<_> =
            page.samples(metric).map(|sample| sample.labels["hostname"].clone()).collect();
        assert_eq!(hosts.len(), 6, "{hosts:?}");
        assert!(hosts.iter().all(|host| host.ends_with(".example.net")), "{hosts:?}");
    }
    let rates: Vec<_> =
        page.samples("flow_exporter_sampling_rate{").map(|sample| sample.value).collect();
    assert_eq!(rates, ["100"; 6]);
    for nothing in [
        "flow_exporter_collector_unknown_sampling_rate_flows_total",
        "flow_exporter_collector_undecoded_total",
        "flow_exporter_collector_datagrams_refused_total",
        "flow_exporter_collector_missing_flows_total",
        "flow_exporter_collector_socket_drops_total",
    ] {
        assert_eq!(page.sum(nothing), 0, "{nothing}");
    }

    exporter.signal("TERM");
    let (status, log) = exporter.end(STOP_LIMIT);
    assert!(status.success());
    let sent = |name| logged(&log, "all that the demo's exporters have sent", name);
    let counted = |name| logged(&log, "everything that was read is counted", name);
    assert_eq!(sent("flows"), counted("flows"));
    assert_eq!(sent("bytes"), counted("flow_bytes"));
}
