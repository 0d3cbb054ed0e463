//! goflow2, which exporters send to, and which writes their flows to Kafka.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use tempfile::TempDir;

use crate::{http, page::Page};

use super::{Kafka, Process, START_LIMIT, cached, unused_address, wait_for};

/// As `scripts/servers.sh` builds it.
const PROGRAM: &str = "goflow2-2.2.6/goflow2";

/// A running goflow2.
pub struct Goflow2 {
    address: Ipv4Addr,
    // Dropped before the directory, which it writes to.
    _process: Process,
    _directory: TempDir,
}

impl Goflow2 {
    /// Collects at an address of its own, and writes each flow to a topic: `bin` is protobuf behind its
    /// length, `json` is JSON.
    pub fn start(kafka: &Kafka, topic: &str, format: &str) -> Self {
        let directory = TempDir::with_prefix("goflow2-").expect("a temporary directory");
        let address = unused_address();
        let mut command = Command::new(cached(PROGRAM));
        command
            .arg(format!("-addr={address}:8080"))
            .arg(format!("-listen=netflow://{address}:2055,sflow://{address}:6343"))
            .arg(format!("-format={format}"))
            .arg("-transport=kafka")
            .arg(format!("-transport.kafka.brokers={}", kafka.brokers()))
            .arg(format!("-transport.kafka.topic={topic}"))
            .arg("-transport.kafka.flushfreq=100ms");
        let log = directory.path().join("log");
        let mut process = Process::start("goflow2", &mut command, log);
        wait_for("goflow2", START_LIMIT, || {
            process.assert_running();
            http::get(&format!("http://{address}:8080/__health"))
        });
        Goflow2 { address, _process: process, _directory: directory }
    }

    /// Where it takes NetFlow and IPFIX.
    pub fn netflow(&self) -> SocketAddr {
        (self.address, 2055).into()
    }

    /// Where it takes sFlow.
    pub fn sflow(&self) -> SocketAddr {
        (self.address, 6343).into()
    }

    /// Its own metrics.
    pub fn page(&self) -> Page {
        let page = http::get(&format!("http://{}:8080/metrics", self.address));
        Page(page.expect("goflow2 always answers"))
    }
}
