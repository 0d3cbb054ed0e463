//! What a page costs that is open in a real Chromium: processor time of the program with it and without, what a
//! browser takes to show it, and the memory of the history meanwhile.
//!
//! `scripts/bench --page` installs what this needs, and runs it. An exporter sends a flow of each of 100,000 series
//! once a minute, evenly, so all series grow in each minute, as the history's bound assumes. Everything is measured
//! from outside, in minutes that begin three minutes after the first flow.

use std::{
    env,
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use testkit::{
    exporter::Exporter,
    netflow::{V5, V5Flow},
    produce::ASN,
    servers::{Chromium, unused_address, wait_for},
    usage::{mib, read, status_bytes, threads_time},
};

/// Other AS with a series in each direction, unless the command line says otherwise.
const PEERS: u16 = 50_000;
/// Flows of a datagram: as many as the protocol allows.
const FLOWS: usize = 30;
const MINUTE: Duration = Duration::from_secs(60);
/// The program runs for this long before it is measured.
const BEFORE: Duration = Duration::from_secs(180);
/// How often a page is loaded.
const LOADS: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    // Cargo adds a flag.
    let peers = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(PEERS);
    println!("load average {}", read("/proc/loadavg").trim());
    let collector = unused_address();
    let exporter = Exporter::start(&[
        format!("--collect={collector}:2055"),
        format!("--asn={ASN}"),
        "--as-names=embedded".to_owned(),
        "--state-dir=none".to_owned(),
    ]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send(collector, peers, &is_over));
        thread::sleep(BEFORE);
        measure(&exporter);
        is_over.store(true, Ordering::Relaxed);
    });
    println!("load average {}", read("/proc/loadavg").trim());
}

/// Sends a flow of each series in each minute until it is over.
fn send(collector: Ipv4Addr, peers: u16, is_over: &AtomicBool) {
    let socket = UdpSocket::bind((unused_address(), 0)).expect("an address");
    let own = u16::try_from(ASN).expect("a number of two bytes");
    let flow = |asns| V5Flow { asns, ..V5Flow::default() };
    let flows: Vec<_> =
        (1..=peers).flat_map(|peer| [flow((peer, own)), flow((own, peer))]).collect();
    let each = MINUTE.div_f64(flows.chunks(FLOWS).len() as f64);
    let (mut due, mut sequence) = (Instant::now(), 0);
    for flows in flows.chunks(FLOWS).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let datagram = V5 { sequence, ..V5::new(flows.iter().copied()) };
        sequence = sequence.wrapping_add(flows.len() as u32);
        socket.send_to(&datagram.bytes(), (collector, 2055)).expect("a datagram is sent");
        due += each;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn measure(exporter: &Exporter) {
    let program = || threads_time(exporter.id(), |_| true);
    let series = exporter.page().sum("flow_exporter_series");
    println!("{series} series");
    let before = program();
    thread::sleep(MINUTE);
    let alone = program().saturating_sub(before);
    println!("without a page: {:.2} CPU s a minute", alone.as_secs_f64());

    let page = exporter.page_url().replace("/metrics", "/");
    let browser = Chromium::open(1280, 1000);
    let mut loads: Vec<_> = (0..LOADS).map(|_| load(&browser, &page)).collect();
    println!("the first load: {}", Load::line(loads[0]));
    loads.sort_by(|one, other| one.rows.total_cmp(&other.rows));
    println!("the median of {LOADS}: {}", Load::line(loads[LOADS / 2]));

    let browsing =
        || browser.processes().iter().map(|&id| threads_time(id, |_| true)).sum::<Duration>();
    let before = (program(), browsing());
    thread::sleep(MINUTE);
    let (with_page, browser_time) =
        (program().saturating_sub(before.0), browsing().saturating_sub(before.1));
    println!(
        "with a page that is open: {:.2} CPU s a minute, {:.2} more; the browser's {:.2}",
        with_page.as_secs_f64(),
        with_page.as_secs_f64() - alone.as_secs_f64(),
        browser_time.as_secs_f64()
    );
    let status = browser.run("return fetch('api/v1/status').then((answer) => answer.json())");
    let kept = status["history"]["bytes"].as_u64().expect("a size");
    let past = status["time"].as_f64().expect("a time")
        - status["history"]["since"].as_f64().expect("a time");
    println!(
        "history {:.1} MiB for {past:.0} s; memory {:.0} MiB, {:.0} MiB at most",
        mib(kept),
        mib(status_bytes(exporter.id(), "VmRSS:")),
        mib(status_bytes(exporter.id(), "VmHWM:"))
    );
}

/// Milliseconds from the beginning of a load.
#[derive(Clone, Copy)]
struct Load {
    /// Something is drawn.
    paint: f64,
    /// The answer for the first table has come.
    rows: f64,
}

impl Load {
    fn line(Load { paint, rows }: Load) -> String {
        format!("first paint after {paint:.0} ms, rows after {rows:.0} ms")
    }
}

fn load(browser: &Chromium, page: &str) -> Load {
    browser.go(page);
    wait_for("rows", LIMIT, || {
        let told = browser.run(
            "const rows = performance.getEntriesByType('resource').find(({ name }) => name.includes('by=remote_as&'));
             const paint = performance.getEntriesByName('first-contentful-paint')[0];
             return rows && paint ? [paint.startTime, rows.responseEnd] : null",
        );
        match (told[0].as_f64(), told[1].as_f64()) {
            (Some(paint), Some(rows)) => Ok(Load { paint, rows }),
            _ => Err("none".to_owned()),
        }
    })
}
