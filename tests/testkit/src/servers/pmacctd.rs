//! pmacctd, which observes the loopback interface.

use std::{fs, net::Ipv4Addr, process::Command};

use tempfile::TempDir;

use super::{Kafka, Process, START_LIMIT, STOP_LIMIT, wait_for};

/// A pmacctd that writes to a Kafka topic every two seconds.
pub struct Pmacctd {
    process: Process,
    _directory: TempDir,
}

impl Pmacctd {
    /// Observes UDP between `networks`, each an address and its AS number. Records have the label
    /// and the primitives of `aggregate`, and are written to the topic between markers.
    pub fn start(
        kafka: &Kafka,
        topic: &str,
        label: &str,
        networks: &[(Ipv4Addr, u32)],
        aggregate: &str,
    ) -> Self {
        let directory = TempDir::with_prefix("pmacctd-").expect("a temporary directory");
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("pmacctd's files are written");
            path.display().to_string()
        };
        let hosts: Vec<_> = networks.iter().map(|(host, _)| format!("host {host}")).collect();
        let lines = networks.iter().map(|(host, asn)| format!("{asn},{host}/32\n"));
        let networks = file("networks", lines.collect());
        let labels = file("labels", format!("set_label={label}\n"));
        let configuration = file(
            "pmacctd.conf",
            format!(
                "daemonize: false\n\
                 pcap_interface: lo\n\
                 pcap_filter: udp and ({hosts})\n\
                 plugins: kafka[k]\n\
                 aggregate[k]: label, {aggregate}\n\
                 networks_file: {networks}\n\
                 pmacctd_as: longest\n\
                 pre_tag_map: {labels}\n\
                 kafka_broker_host[k]: {broker}\n\
                 kafka_broker_port[k]: 9092\n\
                 kafka_topic[k]: {topic}\n\
                 kafka_output[k]: json\n\
                 kafka_refresh_time[k]: 2\n\
                 kafka_history[k]: 1m\n\
                 kafka_markers[k]: true\n",
                hosts = hosts.join(" or "),
                broker = kafka.address(),
            ),
        );
        let mut command = Command::new("pmacctd");
        command.args(["-f", &configuration]);
        let mut process = Process::start("pmacctd", &mut command, directory.path().join("log"));
        // Once it has logged this, it misses no packet.
        wait_for("capture by pmacctd", START_LIMIT, || {
            process.assert_running();
            let log = process.log();
            log.contains("link type is").then_some(()).ok_or(log)
        });
        Pmacctd { process, _directory: directory }
    }

    /// Flushes its cache and stops.
    pub fn stop(mut self) {
        self.process.terminate(STOP_LIMIT);
    }
}
