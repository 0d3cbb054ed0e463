//! What slow and trickling clients cost: memory, and time of other clients.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    runtime,
    time::sleep,
};

use testkit::{
    exporter::program,
    http,
    produce::ASN,
    servers::{START_LIMIT, unused_address, wait_for},
};

const SERIES: usize = 500_000;
const READERS: usize = 127;
const TRICKLERS: usize = 1_500;

/// How long each kind of client runs.
const TIME: Duration = Duration::from_secs(60);

/// Resident memory of the process, with the clients of either kind.
const LIMIT_BYTES: u64 = 300 << 20;

/// A flow-exporter that counts all series over and over, as fast as it can, so that most have
/// changed from one second to the next.
struct Busy {
    address: Ipv4Addr,
    process: Child,
}

impl Busy {
    fn start() -> Self {
        let address = unused_address();
        let program = env::var_os("PROGRAM_TO_MEASURE").unwrap_or_else(|| program().into());
        let mut process = Command::new(program)
            .args(["--input=-", "--as-names=embedded", "--state-dir=none", "--log-level=warn"])
            .arg(format!("--asn={ASN}"))
            .arg(format!("--addr={address}:9590"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let mut records = String::new();
        for number in 0..SERIES {
            let (source, host) = (1 + number % 60_000, number / 60_000);
            writeln!(
                records,
                r#"{{"event_type":"purge","label":"edge{host}.example.net","as_src":{source},"as_dst":{ASN},"bytes":1500}}"#
            )
            .unwrap();
        }
        // It ends with the process.
        thread::spawn(move || while input.write_all(records.as_bytes()).is_ok() {});
        let busy = Busy { address, process };
        wait_for("all series", START_LIMIT * 5, || {
            let page = http::get(&busy.url("/metrics"))?;
            let line = format!("\nflow_exporter_series{{view=\"flow\"}} {SERIES}\n");
            if page.contains(&line) { Ok(()) } else { Err("not yet".to_owned()) }
        });
        busy
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:9590{path}", self.address)
    }

    fn addr(&self) -> SocketAddr {
        (self.address, 9590).into()
    }

    fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Checks memory and health each second, and scrapes from time to time.
    fn watch(&self, what: &str) {
        let (mut most, mut slowest, mut scrape) = (0, Duration::ZERO, Duration::ZERO);
        let started = Instant::now();
        let mut next_scrape = Duration::from_secs(15);
        while started.elapsed() < TIME {
            let asked = Instant::now();
            http::get(&self.url("/-/healthy")).expect("it is healthy");
            slowest = slowest.max(asked.elapsed());
            if started.elapsed() > next_scrape {
                next_scrape += Duration::from_secs(15);
                let asked = Instant::now();
                let page = http::get(&self.url("/metrics")).expect("a whole page");
                scrape = scrape.max(asked.elapsed());
                println!("{what}: a page of {} MB took {:?}", page.len() >> 20, asked.elapsed());
            }
            most = most.max(self.resident_bytes());
            thread::sleep(Duration::from_secs(1));
        }
        let page = http::get(&self.url("/metrics")).unwrap();
        for line in page.lines().filter(|line| line.starts_with("flow_exporter_http_connections")) {
            println!("{what}: {line}");
        }
        println!("{what}: {} MB at most, health within {slowest:?}", most >> 20);
        assert!(most < LIMIT_BYTES, "{what}: {most} bytes");
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Reads a page at 100 kB/s, and starts again whenever it is cut off.
async fn read_slowly(addr: SocketAddr) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let Ok(mut stream) = socket.connect(addr).await else { continue };
        let mut part = vec![0; 10_000];
        if stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {
            while matches!(stream.read(&mut part).await, Ok(1..)) {
                sleep(Duration::from_millis(100)).await;
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Sends a head byte by byte, and starts again whenever it is cut off.
async fn trickle(addr: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(addr).await
            && stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.is_ok()
        {
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Needs an optimised build of the program, which must be named:
/// `PROGRAM_TO_MEASURE=target/release/flow-exporter cargo test --test it program -- --ignored
/// --nocapture slow_readers`.
#[test]
#[ignore = "measures, takes minutes and all of the machine"]
fn slow_readers_and_trickling_heads_cost_little_memory_and_no_health_check() {
    let busy = Busy::start();
    println!("alone: {} MB", busy.resident_bytes() >> 20);
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let addr = busy.addr();
    let readers: Vec<_> = (0..READERS).map(|_| runtime.spawn(read_slowly(addr))).collect();
    busy.watch("slow readers");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    for _ in 0..TRICKLERS {
        runtime.spawn(trickle(addr));
    }
    busy.watch("trickling heads");
}
