//! Exporters that observe the loopback interface and send to a collector: softflowd, fprobe, and
//! pmacctd with nfprobe or sfprobe.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::process::CommandExt,
    process::Command,
};

use tempfile::TempDir;

use super::{Process, START_LIMIT, unused_address, wait_for};

/// An exporter that reports flows of UDP a second or two after their last packet.
pub struct Probe {
    filler: Filler,
    // Dropped before the directory, which it writes to.
    process: Process,
    _directory: TempDir,
}

impl Probe {
    /// softflowd, which observes one in `rate` packets from or to a host, and sends NetFlow 5 or 9, or
    /// IPFIX (10).
    pub fn softflowd(version: u16, rate: u32, host: Ipv4Addr, collector: SocketAddr) -> Self {
        let (directory, filler) = (directory(), Filler::new(BLOCK_PACKETS));
        let mut command = Command::new("softflowd");
        command
            .args(["-d", "-i", "lo", "-n", &collector.to_string(), "-v", &version.to_string()])
            .args(["-s", &rate.to_string(), "-t", "udp=1", "-t", "expint=1"])
            .arg("-p")
            .arg(directory.path().join("pid"))
            .arg("-c")
            .arg(directory.path().join("control"))
            .arg(filler.filter(host));
        Self::start("softflowd", command, "Exporting flows", directory, filler)
    }

    /// fprobe, which observes packets from or to a host, and sends NetFlow 5.
    pub fn fprobe(host: Ipv4Addr, collector: SocketAddr) -> Self {
        let filler = Filler::new(BLOCK_PACKETS);
        let mut command = Command::new("fprobe");
        command
            // It stays in the foreground and writes its log to its output.
            .args(["-i", "lo", "-l", "2", "-s", "1", "-d", "1", "-e", "2"])
            // Packets that may wait for it; the default is 100.
            .args(["-q", "10000"])
            .args(["-f", &filler.filter(host), &collector.to_string()]);
        Self::start("fprobe", command, "collector #1", directory(), filler)
    }

    /// pmacctd with nfprobe, which observes packets from or to a host, and sends NetFlow 5 or 9, or
    /// IPFIX (10).
    pub fn nfprobe(version: u16, host: Ipv4Addr, collector: SocketAddr) -> Self {
        let plugin = format!(
            "plugins: nfprobe\n\
             aggregate: src_host, dst_host, src_port, dst_port, proto, tos\n\
             nfprobe_receiver: {collector}\n\
             nfprobe_version: {version}\n\
             nfprobe_timeouts: expint=1:general=1:udp=1:maxlife=2\n"
        );
        Self::pmacctd(&plugin, host)
    }

    /// pmacctd with sfprobe, which sends a sample of each packet from or to a host as sFlow.
    pub fn sfprobe(host: Ipv4Addr, collector: SocketAddr) -> Self {
        let plugin = format!("plugins: sfprobe\nsfprobe_receiver: {collector}\nsampling_rate: 1\n");
        Self::pmacctd(&plugin, host)
    }

    fn pmacctd(plugin: &str, host: Ipv4Addr) -> Self {
        let (directory, filler) = (directory(), Filler::new(BUFFER_PACKETS));
        let file = directory.path().join("pmacctd.conf");
        let text = format!(
            "daemonize: false\npcap_interface: lo\npcap_filter: {}\n{plugin}",
            filler.filter(host)
        );
        fs::write(&file, text).expect("pmacctd's file is written");
        let mut command = Command::new("pmacctd");
        command.arg("-f").arg(file);
        Self::start("pmacctd", command, "Exporting flows", directory, filler)
    }

    /// Starts a program and waits until it says that it is ready.
    fn start(
        name: &str,
        mut command: Command,
        ready: &str,
        directory: TempDir,
        filler: Filler,
    ) -> Self {
        // pmacctd's plugins are in its group.
        command.process_group(0);
        let mut process = Process::start(name, &mut command, directory.path().join("log"));
        wait_for(&format!("capture by {name}"), START_LIMIT, || {
            process.assert_running();
            let log = process.log();
            log.contains(ready).then_some(()).ok_or(log)
        });
        Probe { filler, process, _directory: directory }
    }

    /// Has it get the packets that wait until there are more. The flows of the packets which that takes
    /// are reported as well.
    pub fn flush(&self) {
        self.filler.fill();
    }
}

impl Drop for Probe {
    /// Kills it with its plugins.
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        // An error means that all of them have exited already.
        Command::new("kill").args(["-s", "KILL", "--", &group]).status().ok();
    }
}

fn directory() -> TempDir {
    TempDir::with_prefix("probe-").expect("a temporary directory")
}

/// Packets that fill a block of the buffer which the kernel and a program share: the kernel gives full
/// blocks alone to a program that has not limited its wait, as softflowd and fprobe have not.
const BLOCK_PACKETS: u16 = 2000;

/// Packets that fill the buffers between the processes of pmacctd.
const BUFFER_PACKETS: u16 = 64;

/// Packets that push a test's packets through buffers, and as many flows as fprobe waits for, which
/// sends full datagrams only.
struct Filler {
    socket: UdpSocket,
    address: Ipv4Addr,
    packets: u16,
}

impl Filler {
    /// Flows that are more than one datagram has.
    const FLOWS: u16 = 64;

    fn new(packets: u16) -> Self {
        let address = unused_address();
        let socket = UdpSocket::bind((address, 0)).expect("an address");
        Filler { socket, address, packets }
    }

    /// Of libpcap, for packets from or to a host, and for these.
    fn filter(&self, host: Ipv4Addr) -> String {
        format!("udp and (host {host} or host {})", self.address)
    }

    fn fill(&self) {
        for number in 0..self.packets {
            let port = 10_000 + number % Self::FLOWS;
            self.socket.send_to(&[0; 100], (self.address, port)).expect("a packet is sent");
        }
    }
}
