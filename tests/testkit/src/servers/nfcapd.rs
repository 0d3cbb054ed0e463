//! nfcapd, which takes NetFlow and IPFIX, and nfdump, which reads what it wrote.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use tempfile::TempDir;

use super::{Process, START_LIMIT, STOP_LIMIT, unused_address, wait_for};

/// A running nfcapd.
pub struct Nfcapd {
    process: Process,
    address: Ipv4Addr,
    directory: TempDir,
}

/// What nfdump adds up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
}

impl Nfcapd {
    /// Takes datagrams at an address of its own.
    pub fn start() -> Self {
        let directory = TempDir::with_prefix("nfcapd-").expect("a temporary directory");
        let address = unused_address();
        let files = directory.path().join("files");
        std::fs::create_dir(&files).expect("a directory");
        let mut command = Command::new("nfcapd");
        command.args(["-b", &address.to_string(), "-p", "9995", "-t", "3600", "-w"]).arg(files);
        let mut process = Process::start("nfcapd", &mut command, directory.path().join("log"));
        wait_for("nfcapd", START_LIMIT, || {
            process.assert_running();
            let log = process.log();
            log.contains("Startup nfcapd").then_some(()).ok_or(log)
        });
        Nfcapd { process, address, directory }
    }

    /// Where it takes datagrams.
    pub fn datagrams(&self) -> SocketAddr {
        (self.address, 9995).into()
    }

    /// Stops it, and has nfdump add up all that it took, by source and destination AS.
    pub fn stop(mut self) -> BTreeMap<(u32, u32), Counts> {
        self.process.terminate(STOP_LIMIT);
        let mut command = Command::new("nfdump");
        command.arg("-R").arg(self.directory.path().join("files"));
        command.args(["-q", "-N", "-o", "fmt:%sas %das %fl %pkt %byt"]);
        let output = command.output().unwrap_or_else(|error| {
            panic!("starting {command:?}: {error}; scripts/e2e installs what the tests need")
        });
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let mut counts = BTreeMap::<_, Counts>::new();
        for line in text.lines() {
            let numbers: Option<Vec<u64>> =
                line.split_whitespace().map(|number| number.parse().ok()).collect();
            let Some(&[source, destination, flows, packets, bytes]) = numbers.as_deref() else {
                panic!("nfdump wrote: {line}")
            };
            let number = |asn| u32::try_from(asn).expect("an AS number");
            let sum = counts.entry((number(source), number(destination))).or_default();
            sum.flows += flows;
            sum.packets += packets;
            sum.bytes += bytes;
        }
        counts
    }
}
