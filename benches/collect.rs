//! The collector of datagrams beside pmacct's nfacctd (NetFlow v9, IPFIX) and sfacctd (sFlow): what a
//! flow costs, what is lost, and how much memory that takes.
//!
//! `scripts/bench --collect` installs what this needs, and runs it. A thread of this process sends
//! datagrams over the loopback interface at a steady rate. Both programs add up bytes by exporter and AS,
//! and are measured from outside in the same way: processor time in user and in system mode, of all
//! threads and child processes, from before the first datagram until all are taken and the program has
//! made its counts durable; and the largest memory that it had.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;

use testkit::{
    exporter::Exporter,
    netflow::{EDGE, Field, Message, Template, Value},
    packet,
    produce::ASN,
    servers::{Process, START_LIMIT, STOP_LIMIT, unused_address, wait_for},
    sflow::{FlowSample, Gateway, Sflow, raw_header},
    usage::{children, mib, read, status_bytes, threads_time},
};

/// Flows of a second, unless the command line says otherwise.
const RATE: u64 = 200_000;
const SPAN: Duration = Duration::from_secs(10);

/// At this rate of NetFlow v9 nothing may be lost.
const HIGH_RATE: u64 = 1_000_000;
const HIGH_SPAN: Duration = Duration::from_secs(5);

/// Datagrams that differ. They are sent again and again.
const DATAGRAMS: usize = 200;

/// Records of a datagram of NetFlow or IPFIX, and samples of one of sFlow, so that both have about
/// 1,400 bytes.
const RECORDS: u32 = 23;
const SAMPLES: u32 = 6;

/// The other AS.
const PEERS: u32 = 2000;

/// The receive buffers.
const BUFFER_BYTES: usize = 32 << 20;

/// How long the programs have after the last datagram to make counts durable, which ours does each second.
const SETTLE: Duration = Duration::from_millis(1500);

/// The sender sleeps once it is ahead by this much.
const AHEAD: Duration = Duration::from_millis(1);

const LIMIT: Duration = Duration::from_secs(60);

/// The port of a collector, on an address of its own.
const PORT: u16 = 2055;

/// A protocol's datagrams.
struct Traffic {
    name: &'static str,
    /// Templates.
    first: Option<Vec<u8>>,
    datagrams: Vec<Vec<u8>>,
    /// Flows of each datagram.
    flows: u32,
    /// Where a datagram's sequence number is, and by how much it grows with each.
    sequence: (usize, u32),
    /// Where the sequence numbers of samples are.
    samples: Vec<usize>,
}

/// What was sent.
struct Sent {
    flows: u64,
    seconds: f64,
}

/// What that has cost.
struct Cost {
    processor_seconds: f64,
    peak_bytes: u64,
    flows: u64,
}

/// A program that collects.
trait Collector {
    fn name(&self) -> &str;
    fn address(&self) -> Ipv4Addr;
    fn processes(&self) -> Vec<u32>;
    /// How many flows it has counted.
    fn flows(self: Box<Self>) -> u64;
}

fn main() {
    // Cargo adds a flag.
    let rate = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(RATE);
    println!(
        "load average {}, net.core.rmem_max {}",
        read("/proc/loadavg").trim(),
        read("/proc/sys/net/core/rmem_max").trim()
    );
    println!(
        "{:8} {:14} {:>10} {:>14} {:>10} {:>10} {:>10}",
        "", "", "flows/s", "CPU s/million", "flows", "lost", "peak MiB"
    );
    for traffic in [netflow("v9", &Message::v9()), netflow("IPFIX", &Message::ipfix()), sflow()] {
        let ours = measure(&traffic, Box::new(Ours::start()), rate, SPAN);
        let theirs = measure(&traffic, Box::new(Pmacct::start(&traffic)), rate, SPAN);
        println!("{:8} ratio of CPU time {:.2}", traffic.name, ours / theirs);
    }
    let traffic = netflow("v9", &Message::v9());
    measure(&traffic, Box::new(Ours::start()), HIGH_RATE, HIGH_SPAN);
    measure(&traffic, Box::new(Pmacct::start(&traffic)), HIGH_RATE, HIGH_SPAN);
}

/// Sends datagrams to a program, prints what they cost, and returns the processor time of a million
/// flows.
fn measure(traffic: &Traffic, program: Box<dyn Collector>, rate: u64, span: Duration) -> f64 {
    let name = program.name().to_owned();
    let collector = SocketAddr::from((program.address(), PORT));
    let before = processor_time(&*program);
    let sent = send(traffic, collector, rate, span);
    wait_for("empty socket", LIMIT, || match waiting_bytes(collector) {
        0 => Ok(()),
        bytes => Err(format!("{bytes} bytes wait")),
    });
    thread::sleep(SETTLE);
    let cost = Cost {
        processor_seconds: processor_time(&*program).saturating_sub(before).as_secs_f64(),
        peak_bytes: program.processes().iter().map(|&id| status_bytes(id, "VmHWM:")).sum(),
        flows: program.flows(),
    };
    let each = cost.processor_seconds / cost.flows as f64 * 1e6;
    println!(
        "{:8} {name:14} {:>10.0} {each:>14.3} {:>10} {:>10} {:>10.1}",
        traffic.name,
        sent.flows as f64 / sent.seconds,
        cost.flows,
        sent.flows - cost.flows,
        mib(cost.peak_bytes),
    );
    each
}

fn processor_time(program: &dyn Collector) -> Duration {
    program.processes().iter().map(|&id| threads_time(id, |_| true)).sum()
}

/// Sends datagrams at this rate of flows.
fn send(traffic: &Traffic, collector: SocketAddr, rate: u64, span: Duration) -> Sent {
    let socket = UdpSocket::bind((unused_address(), 0)).expect("an address");
    socket.connect(collector).expect("an address to send to");
    let send = |datagram: &[u8]| {
        socket.send(datagram).expect("a datagram is sent");
    };
    if let Some(first) = &traffic.first {
        send(first);
    }
    let mut datagrams = traffic.datagrams.clone();
    let total = rate * span.as_secs() / u64::from(traffic.flows);
    let each = span.div_f64(total as f64);
    // The datagram with the template was the first.
    let (at, step) = traffic.sequence;
    let (mut sequence, mut sample) = (1_u32, 1_u32);
    let began = Instant::now();
    for number in 0..total {
        let count = datagrams.len();
        let datagram = &mut datagrams[number as usize % count];
        datagram[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        sequence = sequence.wrapping_add(step);
        for &at in &traffic.samples {
            datagram[at..at + 4].copy_from_slice(&sample.to_be_bytes());
            sample += 1;
        }
        send(datagram);
        let due = began + each.mul_f64(number as f64);
        let now = Instant::now();
        if due > now + AHEAD {
            thread::sleep(due - now);
        }
    }
    Sent { flows: total * u64::from(traffic.flows), seconds: began.elapsed().as_secs_f64() }
}

/// Bytes that wait in a socket's receive buffer.
fn waiting_bytes(collector: SocketAddr) -> u64 {
    let SocketAddr::V4(address) = collector else { panic!("{collector}") };
    let local = format!("{:08X}:{PORT:04X}", u32::from_ne_bytes(address.ip().octets()));
    let sockets = read("/proc/net/udp");
    let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields[1] == local).expect("the socket is open");
    let (_, queue) = line[4].split_once(':').expect("two queues");
    u64::from_str_radix(queue, 16).expect("a size")
}

fn netflow(name: &'static str, message: &Message) -> Traffic {
    let mut random = SmallRng::seed_from_u64(1);
    let template = Template::new(256, EDGE.map(Field::from));
    let sampler = Template::options(512, [(1, 4)], [(48, 1), (50, 4)]);
    let mut record = |_| {
        let (source, destination) = asns(random.random());
        let value = |(number, length): (u16, u16)| match number {
            8 | 12 => Ipv4Addr::from(random.random::<u32>()).into(),
            // A packet for each flow, which pmacct adds up.
            2 | 48 => Value::Number(1),
            1 => Value::Number(random.random_range(40..1500)),
            16 => Value::Number(source.into()),
            17 => Value::Number(destination.into()),
            13 | 9 => Value::Number(24),
            61 => Value::Number(0),
            _ => Value::Number(random.random::<u64>() >> (64 - 8 * length)),
        };
        EDGE.map(value)
    };
    let mut datagram = |_| message.clone().data(&template, (0..RECORDS).map(&mut record)).bytes();
    let datagrams = (0..DATAGRAMS).map(&mut datagram).collect();
    let first = message.clone().template(&template).template(&sampler);
    let first = first.data(&sampler, [[0, 1, 1].map(Value::Number)]);
    let sequence = if message.version == 9 { (12, 1) } else { (8, RECORDS) };
    let first = Some(first.bytes());
    Traffic { name, first, datagrams, flows: RECORDS, sequence, samples: Vec::new() }
}

/// Samples of TCP packets, from a router with BGP.
fn sflow() -> Traffic {
    let mut random = SmallRng::seed_from_u64(1);
    let mut sample = |_| {
        let address = |random: &mut SmallRng| Ipv4Addr::from(random.random::<u32>());
        let ip = packet::Ipv4 {
            source: address(&mut random),
            destination: address(&mut random),
            protocol: packet::TCP,
            ..packet::Ipv4::default()
        };
        let payload = vec![0; random.random_range(100..1400)];
        let segment = [packet::tcp((random.random(), 443), 0x18), payload].concat();
        let frame = packet::ethernet(packet::IPV4, &ip.bytes(&segment));
        let (source_as, destination) = asns(random.random());
        let gateway = Gateway {
            own_as: ASN,
            source_as,
            path: vec![(2, vec![destination])],
            ..Gateway::default()
        };
        let header = raw_header(1, frame.len() as u32, &frame[..frame.len().min(128)]);
        let sample = FlowSample::new([header, (1003, gateway.record().1)]);
        FlowSample { rate: 1, ..sample }.bytes()
    };
    let mut datagram = |_| Sflow::new((0..SAMPLES).map(&mut sample)).bytes();
    let datagrams: Vec<_> = (0..DATAGRAMS).map(&mut datagram).collect();
    // Behind the header come the samples, all of the same size, each with its format and length.
    let header = 28;
    let size = (datagrams[0].len() - header) / SAMPLES as usize;
    let samples = (0..SAMPLES as usize).map(|sample| header + sample * size + 8).collect();
    Traffic { name: "sFlow", first: None, datagrams, flows: SAMPLES, sequence: (16, 1), samples }
}

/// Ours and another one, either way.
fn asns(random: u32) -> (u32, u32) {
    let other = 1 + random / 2 % PEERS;
    if random.is_multiple_of(2) { (ASN, other) } else { (other, ASN) }
}

struct Ours {
    exporter: Exporter,
    address: Ipv4Addr,
}

impl Ours {
    fn start() -> Self {
        let address = unused_address();
        let exporter =
            Exporter::start(&[format!("--collect={address}:{PORT}"), format!("--asn={ASN}")]);
        Ours { exporter, address }
    }
}

impl Collector for Ours {
    fn name(&self) -> &'static str {
        "flow-exporter"
    }

    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.exporter.id()]
    }

    fn flows(self: Box<Self>) -> u64 {
        let page = self.exporter.page();
        let of = |name: &str| page.sum(&format!("flow_exporter_collector_{name}_total"));
        println!(
            "         by its page: {} datagrams that the kernel dropped, {} datagrams and {} flows \
             missing",
            of("socket_drops"),
            of("missing_datagrams"),
            of("missing_flows"),
        );
        of("flows")
    }
}

/// nfacctd or sfacctd.
struct Pmacct {
    name: &'static str,
    process: Process,
    address: Ipv4Addr,
    directory: TempDir,
}

impl Pmacct {
    fn start(traffic: &Traffic) -> Self {
        let (name, ases, ready) = match traffic.name {
            "sFlow" => ("sfacctd", "sflow", "waiting for sFlow data"),
            _ => ("nfacctd", "netflow", "waiting for NetFlow/IPFIX data"),
        };
        let directory = TempDir::new().expect("a temporary directory");
        let address = unused_address();
        let file = directory.path().join("pmacct.conf");
        let output = directory.path().join("output");
        let text = format!(
            "daemonize: false\n\
             {name}_ip: {address}\n\
             {name}_port: {PORT}\n\
             {name}_pipe_size: {BUFFER_BYTES}\n\
             {name}_as: {ases}\n\
             plugins: print[p]\n\
             plugin_pipe_size[p]: {BUFFER_BYTES}\n\
             plugin_buffer_size[p]: 65536\n\
             aggregate[p]: peer_src_ip, src_as, dst_as\n\
             print_refresh_time[p]: 3600\n\
             print_output[p]: csv\n\
             print_output_file[p]: {}\n",
            output.display()
        );
        fs::write(&file, text).expect("its file is written");
        let mut command = Command::new(name);
        command.arg("-f").arg(file);
        let mut process = Process::start(name, &mut command, directory.path().join("log"));
        wait_for(name, START_LIMIT, || {
            process.assert_running();
            let log = process.log();
            log.contains(ready).then_some(()).ok_or(log)
        });
        Pmacct { name, process, address, directory }
    }
}

impl Collector for Pmacct {
    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn processes(&self) -> Vec<u32> {
        let id = self.process.id();
        [vec![id], children(id)].concat()
    }

    /// Each flow has one packet.
    fn flows(mut self: Box<Self>) -> u64 {
        // SIGTERM ends it only with the next datagram. The plugin writes what it has when it ends.
        self.process.signal("INT");
        self.process.wait(STOP_LIMIT);
        let output = self.directory.path().join("output");
        wait_for("output of pmacct", LIMIT, || {
            let text = fs::read_to_string(&output).map_err(|error| error.to_string())?;
            let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
            let names = lines.next().ok_or("it is empty")?;
            let column = names.iter().position(|&name| name == "PACKETS").ok_or(text.clone())?;
            let packets = lines.filter_map(|fields| fields.get(column)?.parse::<u64>().ok());
            Ok(packets.sum())
        })
    }
}
