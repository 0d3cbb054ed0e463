//! The server through real sockets.

mod api;
mod limits;
mod reload;
mod web;

use std::{
    borrow::Cow,
    io::Read,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use flow_exporter::{
    asn::AsNames,
    flow::{Decoded, Flow},
    health::{Health, State},
    history::History,
    ledger::{Ledger, LedgerConfig, Reader, Timestamps},
    listen_addr::ListenAddr,
    metrics::Metrics,
    publish::server::{Hostnames, Listener, ServerConfig, ServerState, Web, bind, serve},
    reload::ReloadHandle,
    traffic::Rule,
};
use insta::assert_snapshot;
use testkit::counting::{Record as _, schema};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

const ASN: u32 = 64500;

/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Commands for the worker of [`Exporter`].
enum Order {
    /// Count these flows: source AS, destination AS, bytes, hostname.
    Count(Vec<(u32, u32, u64, String)>),
    /// The ledger asks for a hand-over.
    HandOver,
    End,
}

/// A server over a ledger with one worker.
struct Exporter {
    addr: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
    reader: Reader,
    worker: mpsc::Sender<Order>,
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<std::io::Result<()>>,
    /// A ledger that was not started.
    _idle: Option<Ledger>,
}

impl Exporter {
    fn start() -> Self {
        Self::with(config())
    }

    fn with(config: ServerConfig) -> Self {
        Self::build(listener("127.0.0.1:0"), config, true)
    }

    fn build(listener: Listener, config: ServerConfig, publishes: bool) -> Self {
        Self::build_with(listener, config, publishes, None, |_, _| Web::open())
    }

    /// With what is asked of clients.
    fn build_guarded(
        listener: Listener,
        config: ServerConfig,
        web: impl FnOnce(Arc<Metrics>, &Health) -> Web,
    ) -> Self {
        Self::build_with(listener, config, true, None, web)
    }

    fn build_with(
        listener: Listener,
        config: ServerConfig,
        publishes: bool,
        reload: Option<ReloadHandle>,
        web: impl FnOnce(Arc<Metrics>, &Health) -> Web,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        let (ledger, mut shards, reader, _) = Ledger::new(
            &LedgerConfig {
                schema: schema(),
                interval: Duration::from_secs(86_400),
                timestamps: Timestamps::Arrival,
                series_ttl: None,
                names_wait: Duration::ZERO,
                keeps_interims: false,
            },
            Arc::new(AsNames::default()),
            1,
            Arc::clone(&metrics),
            None,
            Health::new().register("ledger"),
        )
        .expect("there is no journal to refuse it");
        let history = History::new(1 << 20);
        let ledger = ledger.with_listener({
            let history = history.clone();
            move |snapshot| history.take(snapshot)
        });
        let (worker, orders) = mpsc::channel();
        let mut shard = shards.pop().expect("one worker has one shard");
        let waker = worker.clone();
        shard.wake_with(Arc::new(move || waker.send(Order::HandOver).expect("the worker runs")));
        std::thread::spawn(move || {
            for order in orders {
                match order {
                    Order::Count(flows) => {
                        for (source_as, destination_as, bytes, hostname) in &flows {
                            shard.counts(None).record(
                                &Rule::of_as(ASN),
                                &Decoded::Flow(Flow {
                                    source_as: *source_as,
                                    destination_as: *destination_as,
                                    bytes: *bytes,
                                    hostname: Cow::Borrowed(hostname),
                                }),
                            );
                        }
                    }
                    Order::HandOver => {
                        if shard.hand_over_is_due() {
                            shard.hand_over(vec![]);
                        }
                    }
                    Order::End => break,
                }
            }
        });
        let idle = if publishes {
            std::thread::spawn(move || ledger.run());
            None
        } else {
            Some(ledger)
        };
        let health = Health::new();
        let state = ServerState {
            about: watch::channel("AS 64500 <from> a test".to_owned()).1,
            hostnames: Hostnames::new(|_| None),
            reader: reader.clone(),
            metrics: Arc::clone(&metrics),
            history: Some(history),
            health: health.clone(),
            reload,
            web: web(Arc::clone(&metrics), &health),
        };
        let addr = listener.local_addr();
        let (shutdown, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, config, state, async move {
            drop(stopped.await);
        }));
        let shutdown = Some(shutdown);
        Exporter { addr, metrics, health, reader, worker, shutdown, server, _idle: idle }
    }

    fn count(&self, flows: &[(u32, u32, u64, &str)]) {
        let flows = flows.iter().map(|&(a, b, bytes, host)| (a, b, bytes, host.to_owned()));
        self.worker.send(Order::Count(flows.collect())).expect("the worker runs");
    }

    /// Counts so many series that the page exceeds the buffers of sockets.
    fn count_many(&self) {
        let flows = (0..100_000).map(|number| (number, ASN, 1, "h".repeat(200)));
        self.worker.send(Order::Count(flows.collect())).expect("the worker runs");
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(self.url(path)).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a whole answer"))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the server accepts")
    }

    /// Sends these bytes and returns what comes back until the connection ends.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("the server reads");
        rest(&mut stream).await
    }

    /// Waits until a metric has this value.
    async fn until<T: PartialEq>(&self, value: impl Fn(&Metrics) -> T, expected: T) {
        let reached = async {
            while value(&self.metrics) != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, reached).await.expect("the metric reaches the value");
    }

    fn requests(&self, path: &str, code: &str) -> u64 {
        self.metrics.http_requests.with_label_values(&[path, code]).get()
    }

    fn closed(&self, reason: &str) -> u64 {
        self.metrics.http_closed.with_label_values(&[reason]).get()
    }

    fn shut_down(&mut self) {
        self.shutdown.take().expect("once").send(()).expect("the server runs");
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // The worker may have ended with its test.
        drop(self.worker.send(Order::End));
    }
}

/// Every scrape sees all flows that were counted before it.
fn config() -> ServerConfig {
    ServerConfig { max_age: Duration::ZERO, snapshot_wait: PATIENCE, ..ServerConfig::default() }
}

fn listener(addr: &str) -> Listener {
    bind(&[addr.parse::<ListenAddr>().expect("an address")]).expect("a free port")
}

/// Everything that arrives until the connection ends, however it ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 * 1024];
    let read = async {
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            bytes.extend_from_slice(&part[..length]);
        }
    };
    timeout(PATIENCE, read).await.expect("the server ends the connection");
    String::from_utf8(bytes).expect("text")
}

/// The lines of the flow counters.
fn flow_lines(page: &str) -> String {
    page.split_inclusive('\n')
        .filter(|line| line.starts_with("flow_receive_") || line.starts_with("flow_transmit_"))
        .collect()
}

const FLOWS: [(u32, u32, u64, &str); 3] =
    [(ASN, 64501, 10, "edge1"), (64501, ASN, u64::MAX, "edge1"), (64502, ASN, 7, "a\"b\\c\nd")];

#[tokio::test]
async fn the_format_follows_accept() {
    let exporter = Exporter::start();
    exporter.count(&FLOWS);
    let client = reqwest::Client::new();
    for (accept, content_type, ends) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", false),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let answer = client
            .get(exporter.url("/metrics?ignored=1"))
            .header("Accept", accept)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], content_type);
        assert_eq!(answer.headers()["vary"], "Accept, Accept-Encoding");
        let page = answer.text().await.expect("a whole page");
        assert_eq!(page.ends_with("\n# EOF\n"), ends);
        assert!(page.contains("\nflow_exporter_series{view=\"flow\"} 3\n"), "{page}");
        insta::allow_duplicates!(assert_snapshot!(flow_lines(&page), @r#"
        flow_receive_bytes_total{destination_as="64500",destination_as_name="",hostname="edge1",source_as="64501",source_as_name=""} 18446744073709551615
        flow_receive_bytes_total{destination_as="64500",destination_as_name="",hostname="a\"b\\c\nd",source_as="64502",source_as_name=""} 7
        flow_transmit_bytes_total{destination_as="64501",destination_as_name="",hostname="edge1",source_as="64500",source_as_name=""} 10
        "#));
    }
    assert_eq!(exporter.requests("/metrics", "200"), 3);
    assert_eq!(exporter.metrics.scrape_seconds.get_sample_count(), 3);
}

#[tokio::test]
async fn a_scrape_holds_what_was_counted_before_it() {
    let exporter = Exporter::start();
    for bytes in [5, 7] {
        exporter.count(&[(64501, ASN, bytes, "edge1")]);
        let (_, page) = exporter.get("/metrics").await;
        let expected = if bytes == 5 { " 5\n" } else { " 12\n" };
        assert!(flow_lines(&page).ends_with(expected), "{page}");
    }
}

#[tokio::test]
async fn gzip_holds_the_same_page() {
    let exporter = Exporter::start();
    exporter.count_many();
    let client = reqwest::Client::builder().gzip(false).build().expect("a client");
    let scrape = |encoding: &'static str| {
        let request = client.get(exporter.url("/metrics")).header("Accept-Encoding", encoding);
        async move { request.send().await.expect("an answer") }
    };
    let plain = scrape("identity, gzip;q=0").await;
    assert_eq!(plain.headers().get("content-encoding"), None);
    let plain = plain.text().await.expect("a whole page");
    let packed = scrape("deflate, gzip").await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.expect("a whole page");
    let mut unpacked = String::new();
    GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).expect("gzip");
    assert!(packed.len() < unpacked.len() / 10, "{} of {}", packed.len(), unpacked.len());
    assert!(flow_lines(&plain) == flow_lines(&unpacked), "the pages differ");
}

#[tokio::test]
async fn head_has_the_head_of_get() {
    let exporter = Exporter::start();
    exporter.health.register("source").set(State::Finished);
    for path in ["/metrics", "/-/healthy", "/-/ready", "/", "/nothing"] {
        let ask = async |method: &str| {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = exporter.exchange(request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            // Without a body, nothing says how it is framed (RFC 9110, section 9.3.2).
            let lines = head.lines().filter(|line| {
                !line.starts_with("date: ") && *line != "transfer-encoding: chunked"
            });
            (lines.map(str::to_owned).collect::<Vec<_>>(), body.to_owned())
        };
        let (get, head) = (ask("GET").await, ask("HEAD").await);
        assert_eq!(head.0, get.0, "{path}");
        assert_eq!(head.1, "", "{path}");
        assert_ne!(get.1, "", "{path}");
    }
    assert_eq!(exporter.metrics.scrape_seconds.get_sample_count(), 1, "HEAD is no scrape");
}

#[tokio::test]
async fn other_paths_methods_and_bodies_are_refused() {
    let exporter = Exporter::start();
    for path in ["/nothing", "/metrics/", "/-/", "/-/healthy/x"] {
        let (code, text) = exporter.get(path).await;
        assert_eq!((code, text.as_str()), (404, "Not found. See / for what is served.\n"));
    }
    assert_eq!(exporter.requests("other", "404"), 4);

    let client = reqwest::Client::new();
    let answer = client.post(exporter.url("/metrics")).body("x").send().await.expect("an answer");
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    assert_eq!(exporter.requests("/metrics", "405"), 1);

    let answer = client.get(exporter.url("/-/healthy")).body("x").send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(exporter.requests("/-/healthy", "413"), 1);
}

#[tokio::test]
async fn a_request_that_is_no_http_is_refused() {
    let exporter = Exporter::start();
    let answer = exporter.exchange(b"flows please\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    exporter
        .until(|metrics| metrics.http_requests.with_label_values(&["other", "400"]).get(), 1)
        .await;
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let exporter = Exporter::with(ServerConfig { max_head_bytes: 8192, ..config() });
    let request =
        |bytes| format!("GET / HTTP/1.1\r\nX: {}\r\nConnection: close\r\n\r\n", "x".repeat(bytes));
    let answer = exporter.exchange(request(8000).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = exporter.exchange(request(8192).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    exporter
        .until(|metrics| metrics.http_requests.with_label_values(&["other", "431"]).get(), 1)
        .await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let head_timeout = Duration::from_millis(50);
    let exporter = Exporter::with(ServerConfig { head_timeout, ..config() });
    let started = Instant::now();
    assert_eq!(exporter.exchange(b"").await, "");
    assert!(started.elapsed() >= head_timeout);
    assert_eq!(exporter.exchange(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").await, "");
    // A connection that is kept alive is kept as long.
    let answer = exporter.exchange(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("Healthy.\n"), "{answer}");
}

#[tokio::test]
async fn before_anything_is_published_there_is_a_page_without_series() {
    let snapshot_wait = Duration::from_millis(20);
    let exporter =
        Exporter::build(listener("127.0.0.1:0"), ServerConfig { snapshot_wait, ..config() }, false);
    let started = Instant::now();
    let (code, page) = exporter.get("/metrics").await;
    assert!(started.elapsed() >= snapshot_wait, "it waits for what may come");
    assert_eq!(code, 200);
    assert!(page.starts_with(
        "# HELP flow_receive_bytes_total Bytes received.\n\
         # TYPE flow_receive_bytes_total counter\n\
         # HELP flow_transmit_bytes_total Bytes transferred.\n\
         # TYPE flow_transmit_bytes_total counter\n\
         # HELP flow_exporter_"
    ));
    assert_eq!(
        exporter.get("/-/ready").await,
        (
            503,
            "counters: starting: no snapshot is published yet: the first one follows within seconds\n"
                .to_owned()
        )
    );
    assert_eq!(exporter.get("/-/healthy").await, (200, "Healthy.\n".to_owned()));
}

#[tokio::test]
async fn health_says_what_components_say() {
    let exporter = Exporter::start();
    let kafka = exporter.health.register("kafka");
    let push = exporter.health.register("remote write");
    // A scrape shows that something is published.
    exporter.get("/metrics").await;
    let ready = || exporter.get("/-/ready");
    let healthy = || exporter.get("/-/healthy");
    let ok = |text: &str| (200, text.to_owned());
    let unavailable = |text: &str| (503, text.to_owned());
    assert_eq!(
        ready().await,
        unavailable("kafka: starting: not started yet\nremote write: starting: not started yet\n")
    );
    push.set(State::Ready);
    kafka.set(State::Starting("waiting for broker a:9092: connection refused".to_owned()));
    assert_eq!(
        ready().await,
        unavailable("kafka: starting: waiting for broker a:9092: connection refused\n")
    );
    assert_eq!(healthy().await, ok("Healthy.\n"));
    kafka.set(State::Ready);
    assert_eq!(ready().await, ok("Ready.\n"));
    push.set(State::Degraded("503: try\nlater".to_owned()));
    let degraded = "remote write: degraded: 503: try later\n";
    assert_eq!(
        ready().await,
        ok(&format!("Ready.\n{degraded}")),
        "in words, and ready all the same"
    );
    assert_eq!(healthy().await, ok("Healthy.\n"));
    kafka.set(State::Failing("no route".to_owned()));
    assert_eq!(ready().await, unavailable(&format!("kafka: failing: no route\n{degraded}")));
    kafka.set(State::Ready);
    push.set(State::Failing("401: check the token".to_owned()));
    assert_eq!(ready().await, unavailable("remote write: failing: 401: check the token\n"));
    push.finish();
    assert_eq!(ready().await, ok("Ready.\n"));
    drop(kafka);
    let died = "kafka: died: it ended unexpectedly: look for its error in the log and restart\n";
    assert_eq!(healthy().await, unavailable(died));
    assert_eq!(ready().await, unavailable(died));
}

#[tokio::test]
async fn the_page_for_people_says_what_runs() {
    let exporter = Exporter::start();
    let kafka = exporter.health.register("kafka");
    kafka.set(State::Failing("no route to <a> & \"b\"".to_owned()));
    exporter.count(&FLOWS);
    exporter.get("/metrics").await;
    let answer = reqwest::get(exporter.url("/")).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let page = answer.text().await.expect("a whole page");
    for part in [
        "AS 64500 &lt;from&gt; a test",
        env!("CARGO_PKG_VERSION"),
        "<strong>3</strong> flow series",
        "no route to &lt;a&gt; &amp; &quot;b&quot;",
        "<span class=\"state failing\">failing</span>",
        "<a href=\"metrics\">",
        "<a href=\"-/ready\">",
        "<a href=\"-/healthy\">",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[tokio::test]
async fn the_page_for_people_loads_only_files_of_the_program_and_keeps_them() {
    let exporter = Exporter::start();
    let answer = reqwest::get(exporter.url("/")).await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("a text").to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.text().await.expect("a whole page");
    let files: Vec<_> = page
        .split_whitespace()
        .filter_map(|word| word.split_once("=\"assets/")?.1.split('"').next())
        .collect();
    let expected = ["text/css", "text/css", "text/javascript", "text/javascript"];
    assert_eq!(files, ["uplot.css", "page.css", "uplot.js", "page.js"]);
    for (file, kind) in files.into_iter().zip(expected) {
        let url = exporter.url(&format!("/assets/{file}"));
        let client = reqwest::Client::new();
        let plain = client.get(&url).header("accept-encoding", "identity").send().await;
        let plain = plain.expect("an answer");
        assert_eq!(plain.headers()["content-type"], format!("{kind}; charset=utf-8"));
        assert_eq!(plain.headers()["x-content-type-options"], "nosniff");
        let etag = plain.headers()["etag"].clone();
        let text = plain.bytes().await.expect("a whole file");
        let packed = client.get(&url).header("accept-encoding", "gzip").send().await;
        let packed = packed.expect("an answer");
        assert_eq!(packed.bytes().await.expect("a whole file"), text);
        let known = client.get(&url).header("if-none-match", &etag).send().await;
        let known = known.expect("an answer");
        assert_eq!((known.status().as_u16(), &known.headers()["etag"]), (304, &etag));
        let other = client.get(&url).header("if-none-match", "\"other\"").send().await;
        assert_eq!(other.expect("an answer").status(), 200);
    }
    for missing in ["/assets/", "/assets/other.js", "/assets/../Cargo.toml", "/assets/page.js/"] {
        assert_eq!(exporter.get(missing).await.0, 404, "{missing}");
    }
}

#[tokio::test]
async fn all_addresses_are_ipv6_and_ipv4() {
    let exporter = Exporter::build(listener(":0"), config(), true);
    let port = exporter.addr.port();
    let has_ipv6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    assert_eq!(exporter.addr.is_ipv6(), has_ipv6);
    let mut addrs = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    if has_ipv6 {
        addrs.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    }
    for addr in addrs {
        let answer = reqwest::get(format!("http://{addr}/-/healthy")).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{addr}");
    }
}

#[tokio::test]
async fn a_host_name_stands_for_all_its_addresses() {
    let listener = listener("localhost:0");
    let addrs = listener.local_addrs().to_vec();
    let _exporter = Exporter::build(listener, config(), true);
    for addr in addrs {
        assert!(addr.ip().is_loopback());
        let answer = reqwest::get(format!("http://{addr}/-/healthy")).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{addr}");
    }
}

#[test]
fn an_address_that_is_taken_or_unknown_says_so() {
    let holder = listener("127.0.0.1:0");
    let taken = holder.local_addr();
    let error = bind(&[taken.to_string().parse().expect("an address")]).expect_err("it is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(
        error.to_string().starts_with(&format!("can't listen on {taken}: "))
            && error
                .to_string()
                .ends_with(": stop the process that listens there, or choose another port"),
        "{error}"
    );
    drop(holder);
    // An address for documentation (RFC 5737).
    let error = bind(&["192.0.2.1:0".parse().expect("an address")]).expect_err("it is not ours");
    assert!(error.to_string().ends_with(": choose an address of this machine, or `:port` for all"));
    let error =
        bind(&["no-such-host.invalid:1".parse().expect("an address")]).expect_err("unknown");
    assert!(error.to_string().starts_with("can't resolve the host of no-such-host.invalid:1: "));
}

#[tokio::test]
async fn a_shutdown_lets_answers_end_and_closes_idle_connections() {
    let mut exporter = Exporter::start();
    exporter.count_many();
    let mut idle = exporter.connect().await;
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\n\r\n").await.expect("the server reads");
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.expect("an answer");
    let mut scraping = exporter.connect().await;
    scraping
        .write_all(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n")
        .await
        .expect("the server reads");
    scraping.read_exact(&mut first).await.expect("an answer");
    exporter.shut_down();
    assert!(rest(&mut idle).await.ends_with("Healthy.\n"));
    assert!(TcpStream::connect(exporter.addr).await.is_err(), "no one is let in any more");
    assert!(rest(&mut scraping).await.ends_with("# EOF\n\r\n0\r\n\r\n"));
    let ended = timeout(PATIENCE, &mut exporter.server).await.expect("the server ends");
    ended.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_shutdown_has_a_deadline() {
    let shutdown_deadline = Duration::from_millis(50);
    let mut exporter = Exporter::with(ServerConfig { shutdown_deadline, ..config() });
    exporter.count_many();
    let mut scraping = exporter.connect().await;
    scraping.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("the server reads");
    let mut first = [0; 15];
    scraping.read_exact(&mut first).await.expect("an answer");
    exporter.shut_down();
    let started = Instant::now();
    let ended = timeout(PATIENCE, &mut exporter.server).await.expect("the server ends");
    ended.expect("no panic").expect("no error");
    // Only the deadline ends it: the client reads nothing.
    assert!(started.elapsed() < config().stall_timeout);
    assert_eq!(exporter.metrics.http_connections.get(), 0);
    assert!(!rest(&mut scraping).await.ends_with("\r\n0\r\n\r\n"), "the answer was cut off");
}
