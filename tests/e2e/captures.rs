//! Datagrams of real exporters. They are others' work and no part of the repository: `FLOW_CAPTURES`
//! names the folder with them and a manifest. `scripts/e2e` leaves these tests out where it is not set.

use std::{env, fs, path::PathBuf, time::Duration};

use testkit::{
    capture::Pcap,
    exporter::Exporter,
    packet::{Ipv4, udp},
    page::Page,
};

const LIMIT: Duration = Duration::from_secs(60);

/// All traffic, by exporter.
const VIEWS: &str = "views:
  all:
    labels: [exporter]
    measures: [bytes, packets, flows]
    classes: [transit]
";

fn folder() -> PathBuf {
    env::var_os("FLOW_CAPTURES").expect("FLOW_CAPTURES names the folder of captures").into()
}

/// Files of the manifest, by set, with what its reference decoder computed for the set.
fn manifest(format: &str) -> Vec<(Vec<String>, String)> {
    let text = fs::read_to_string(folder().join("MANIFEST.tsv")).expect("a manifest");
    let mut sets: Vec<(String, Vec<String>, String)> = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        let [set, file, .., computed] = columns[..] else { panic!("{line}") };
        if !columns[8].starts_with(format) {
            continue;
        }
        match sets.last_mut().filter(|(last, ..)| last == set) {
            Some((_, files, of_set)) => {
                files.push(file.to_owned());
                computed.clone_into(of_set);
            }
            None => sets.push((set.to_owned(), vec![file.to_owned()], computed.to_owned())),
        }
    }
    assert!(!sets.is_empty(), "there are sets of {format}");
    sets.into_iter().map(|(_, files, computed)| (files, computed)).collect()
}

/// The number that is called this in the manifest; 0 if it isn't there.
fn computed(of: &str, name: &str) -> u64 {
    let pairs = of.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.parse::<u64>().expect("a number"))
        .sum()
}

/// The page once the program has counted a capture of this many datagrams.
fn page(capture: &[u8], datagrams: usize) -> Page {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::write(path("flows.pcap"), capture).expect("written");
    fs::write(path("config.yml"), VIEWS).expect("written");
    let exporter = Exporter::start(&[
        format!("--input={}", path("flows.pcap")),
        format!("--config={}", path("config.yml")),
        // No flow is local.
        "--asn=4199999999".to_owned(),
        "--as-names=none".to_owned(),
    ]);
    exporter.wait_for_sum("flow_exporter_messages_total", datagrams as u64, LIMIT);
    exporter.page()
}

fn all(page: &Page, measure: &str) -> u64 {
    page.sum(&format!("flow_all_transit_{measure}_total"))
}

#[test]
fn samples_of_real_agents_count_what_the_manifest_says() {
    for (files, expected) in manifest("sFlow") {
        let datagrams: Vec<_> = files
            .iter()
            .map(|file| fs::read(folder().join(file)).expect("a datagram"))
            .map(|datagram| Ipv4::default().bytes(&udp((6343, 6343), &datagram)))
            .collect();
        let capture = Pcap { link: 101, ..Pcap::default() }.bytes(&datagrams);
        let page = page(&capture, files.len());
        let sums = ["flows", "bytes"].map(|measure| all(&page, measure));
        let expected = ["flow_samples", "ip_bytes_scaled"].map(|name| computed(&expected, name));
        assert_eq!(sums, expected, "{files:?}");
        assert_eq!(page.sum("flow_exporter_records_skipped_total"), 0, "{files:?}");
    }
}

#[test]
fn captures_of_real_routers_count_what_pmacct_states() {
    // By pmacct's own tests: records, bytes and packets, renormalized.
    for (file, datagrams, expected) in [
        ("ipfix-iosxr.pcap", 6, [12, 34_172, 34]),
        ("nf9-iosxr-mpls.pcap", 40, [51, 4500, 56]),
        ("nf9-iosxr-two-domains.pcap", 25, [35, 7594, 107]),
        ("ipfix-iosxr-sampler.pcap", 5, [3, 2_721_792, 30_976]),
    ] {
        let capture = fs::read(folder().join(file)).expect("a capture");
        let page = page(&capture, datagrams);
        let sums = ["flows", "bytes", "packets"].map(|measure| all(&page, measure));
        assert_eq!(sums, expected, "{file}");
    }
}
