//! pmacct: pmacctd, which observes the loopback interface, and nfacctd, which exporters send to.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{Kafka, Process, START_LIMIT, STOP_LIMIT, unused_address, wait_for};

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
                 networks_file: {networks}\n\
                 pmacctd_as: longest\n\
                 pre_tag_map: {labels}\n\
                 {plugin}",
                hosts = hosts.join(" or "),
                plugin = plugin(kafka, topic, &format!("label, {aggregate}")),
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

/// An nfacctd that takes NetFlow and IPFIX, has a BGP table, and writes to a Kafka topic every two
/// seconds.
pub struct Nfacctd {
    process: Process,
    address: Ipv4Addr,
    routes: PathBuf,
    _directory: TempDir,
}

impl Nfacctd {
    /// Takes everything at its own address. AS numbers, paths and networks are those of the BGP table,
    /// countries those of the MaxMind database `countries`.
    pub fn start(kafka: &Kafka, topic: &str, countries: &Path, aggregate: &str) -> Self {
        let directory = TempDir::with_prefix("nfacctd-").expect("a temporary directory");
        let address = unused_address();
        let routes = directory.path().join("routes");
        let configuration = directory.path().join("nfacctd.conf");
        let text = format!(
            "daemonize: false\n\
             nfacctd_ip: {address}\n\
             nfacctd_port: 9995\n\
             nfacctd_as: bgp\n\
             nfacctd_net: bgp\n\
             bgp_daemon: true\n\
             bgp_daemon_ip: {address}\n\
             bgp_daemon_port: 1790\n\
             bgp_peer_src_as_type: bgp\n\
             bgp_daemon_msglog_file: {routes}\n\
             geoipv2_countries_file: {countries}\n\
             {plugin}",
            routes = routes.display(),
            countries = countries.display(),
            plugin = plugin(kafka, topic, aggregate),
        );
        fs::write(&configuration, text).expect("nfacctd's file is written");
        let mut command = Command::new("nfacctd");
        command.arg("-f").arg(&configuration).process_group(0);
        let mut process = Process::start("nfacctd", &mut command, directory.path().join("log"));
        wait_for("nfacctd", START_LIMIT, || {
            process.assert_running();
            let log = process.log();
            log.contains("waiting for NetFlow/IPFIX data").then_some(()).ok_or(log)
        });
        Nfacctd { process, address, routes, _directory: directory }
    }

    /// Where it takes datagrams.
    pub fn datagrams(&self) -> SocketAddr {
        (self.address, 9995).into()
    }

    /// Where it takes BGP sessions.
    pub fn bgp(&self) -> SocketAddr {
        (self.address, 1790).into()
    }

    /// Waits until its BGP table has a network.
    pub fn wait_for_route(&self, network: &str) {
        wait_for(&format!("route to {network}"), START_LIMIT, || {
            let routes = fs::read_to_string(&self.routes).map_err(|error| error.to_string())?;
            let route = format!("\"ip_prefix\": \"{network}\"");
            routes.contains(&route).then_some(()).ok_or(routes)
        });
    }
}

impl Drop for Nfacctd {
    /// Kills it with its plugins: asked to stop, it may wait for more datagrams.
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        // An error means that all of them have exited already.
        Command::new("kill").args(["-s", "KILL", "--", &group]).status().ok();
    }
}

/// Writes the primitives of `aggregate` to a topic.
fn plugin(kafka: &Kafka, topic: &str, aggregate: &str) -> String {
    format!(
        "plugins: kafka[k]\n\
         aggregate[k]: {aggregate}\n\
         kafka_broker_host[k]: {broker}\n\
         kafka_broker_port[k]: 9092\n\
         kafka_topic[k]: {topic}\n\
         kafka_output[k]: json\n\
         kafka_refresh_time[k]: 2\n\
         kafka_history[k]: 1m\n\
         kafka_markers[k]: true\n",
        broker = kafka.address(),
    )
}
