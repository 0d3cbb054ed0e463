//! However often the collector is killed, what exporters have sent is what was counted and what is missing:
//! the journal has which flow, datagram or record comes next from each.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use testkit::{
    exporter::Exporter,
    netflow::{Message, Template, V5, V5Flow, Value},
    page::Page,
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);
const BYTES: &str = "flow_transmit_bytes_total";
const ASN: u32 = 64512;

/// Flows of a datagram, each of one byte.
const FLOWS: u32 = 20;
/// The time between two datagrams.
const PACE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    V5,
    V9,
    Ipfix,
}

/// An exporter that sends without a pause.
struct Router {
    protocol: Protocol,
    address: IpAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: UdpSocket,
    collector: SocketAddr,
    began: Instant,
    is_over: AtomicBool,
    /// How many datagrams were sent.
    sent: Mutex<u32>,
    more: Condvar,
}

impl Shared {
    fn send(&self, protocol: Protocol) {
        let mut sent = self.sent.lock().unwrap();
        let elapsed = self.began.elapsed();
        let (uptime, time) =
            (100_000 + elapsed.as_millis() as u32, 1_700_000_000 + elapsed.as_secs() as u32);
        let template = Template::new(256, [(1, 4), (16, 4), (17, 4)]);
        // With its template, since the first one may get lost.
        let message = |message: Message, step| {
            let flow = [1, ASN, 15169].map(|number| Value::from(u64::from(number)));
            let message = message.sequence(*sent * step).sent(time, uptime).template(&template);
            message.data(&template, vec![flow; FLOWS as usize]).bytes()
        };
        let datagram = match protocol {
            Protocol::V5 => {
                let flow = V5Flow { bytes: 1, ..V5Flow::default() };
                let flows = vec![flow; FLOWS as usize];
                V5 { sequence: *sent * FLOWS, uptime, time, ..V5::new(flows) }.bytes()
            }
            Protocol::V9 => message(Message::v9(), 1),
            Protocol::Ipfix => message(Message::ipfix(), FLOWS),
        };
        // While nobody listens, this fails every other time.
        drop(self.socket.send_to(&datagram, self.collector));
        *sent += 1;
        self.more.notify_all();
    }
}

impl Router {
    fn start(protocol: Protocol, collector: SocketAddr) -> Self {
        let socket = UdpSocket::bind((unused_address(), 0)).unwrap();
        let shared = Arc::new(Shared {
            collector,
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            sent: Mutex::new(0),
            more: Condvar::new(),
            socket,
        });
        let sender = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !sender.is_over.load(Ordering::Relaxed) {
                sender.send(protocol);
                thread::sleep(PACE);
            }
        });
        let address = shared.socket.local_addr().unwrap().ip();
        Router { protocol, address, shared, thread: Some(thread) }
    }

    /// Waits until it has sent so many datagrams more.
    fn wait_for_more(&self, datagrams: u32) {
        let sent = self.shared.sent.lock().unwrap();
        let until = *sent + datagrams;
        let (_sent, waited) =
            self.shared.more.wait_timeout_while(sent, LIMIT, |sent| *sent < until).unwrap();
        assert!(!waited.timed_out(), "{:?} sends", self.protocol);
    }

    /// Ends it. Only with one more datagram, a listener can know of those before.
    fn stop(&mut self) -> u64 {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.shared.send(self.protocol);
        u64::from(*self.shared.sent.lock().unwrap() * FLOWS)
    }

    fn counted(&self, page: &Page) -> u64 {
        page.sum_with(BYTES, "hostname", &self.address.to_string())
    }

    /// The flows that this process has found missing.
    fn missing(&self, page: &Page) -> u64 {
        let sum = |metric: &str| {
            let name = format!("flow_exporter_collector_missing_{metric}_total");
            page.sum_with(&name, "exporter", &self.address.to_string())
        };
        match self.protocol {
            Protocol::V5 | Protocol::Ipfix => sum("flows"),
            Protocol::V9 => sum("datagrams") * u64::from(FLOWS),
        }
    }
}

#[test]
fn what_was_sent_is_what_was_counted_and_what_is_missing_whenever_the_process_is_killed() {
    let collector = SocketAddr::from((unused_address(), 2055));
    let directory = tempfile::tempdir().unwrap();
    let arguments = [
        format!("--collect={collector}"),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
        "--remote-write-interval=1h".to_owned(),
        format!("--state-dir={}", directory.path().display()),
    ];
    let mut exporter = Exporter::start(&arguments);
    let protocols = [Protocol::V5, Protocol::V9, Protocol::Ipfix];
    let mut routers = protocols.map(|protocol| Router::start(protocol, collector));
    let mut missing = [0; 3];
    let mut killed = 0;
    loop {
        let page = exporter.page();
        let before = [0, 1, 2].map(|at| routers[at].counted(&page));
        // What is on the page is on the disk. So what this process found missing when it began is what the
        // next one will not find again.
        let page = wait_for("flows of all exporters", LIMIT, || {
            let page = exporter.page();
            let counted = [0, 1, 2].map(|at| routers[at].counted(&page));
            let has_all = counted.iter().zip(before).all(|(now, before)| *now > before);
            if has_all { Ok(page) } else { Err(format!("{counted:?}")) }
        });
        for (missing, router) in missing.iter_mut().zip(&routers) {
            *missing += router.missing(&page);
        }
        if killed == 6 {
            break;
        }
        // At different times after what is on the disk.
        killed += 1;
        routers[0].wait_for_more(killed * 40);
        exporter.kill();
        routers[1].wait_for_more(25);
        exporter = Exporter::start(&arguments);
    }
    assert!(missing.iter().all(|missing| *missing > 0), "{missing:?}");
    let sent = routers.each_mut().map(Router::stop);
    for at in 0..3 {
        let router = &routers[at];
        wait_for("an account of all flows", LIMIT, || {
            let counted = router.counted(&exporter.page());
            if counted + missing[at] == sent[at] {
                return Ok(());
            }
            let protocol = router.protocol;
            Err(format!("{protocol:?}: {counted} counted, {} missing of {}", missing[at], sent[at]))
        });
    }
    assert!(exporter.stop().success());
}
