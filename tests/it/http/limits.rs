//! Clients that send or read too slowly, or are too many.

use std::{net::SocketAddr, time::Duration};

use flow_exporter::publish::server::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{ASN, Exporter, PATIENCE, config, rest};

const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Limits so wide that a test only meets the one that it is about.
fn patient() -> ServerConfig {
    ServerConfig {
        head_timeout: NEVER,
        stall_timeout: NEVER,
        scrape_grace: NEVER / 2,
        scrape_timeout: NEVER,
        ..config()
    }
}

/// Requests the page, and reads only its first bytes.
async fn begin_scrape(exporter: &Exporter) -> TcpStream {
    let mut stream = exporter.connect().await;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n")
        .await
        .expect("the server reads");
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    stream
}

fn is_whole(page: &str) -> bool {
    page.ends_with("# EOF\n\r\n0\r\n\r\n")
}

/// The answer to a request for the health page from this local address.
async fn healthy_from(address: [u8; 4], exporter: &Exporter) -> String {
    let asking = async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((address, 0))).expect("an address of ours");
        let mut stream = socket.connect(exporter.addr).await.expect("the server accepts");
        stream
            .write_all(b"GET /-/healthy HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await
            .expect("the server reads");
        rest(&mut stream).await
    };
    timeout(PATIENCE, asking).await.expect("an answer")
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_connection() {
    let stall_timeout = Duration::from_millis(50);
    let exporter = Exporter::with(ServerConfig { stall_timeout, ..patient() });
    exporter.count_many();
    let mut stream = begin_scrape(&exporter).await;
    exporter.until(|metrics| metrics.http_connections.get(), 0).await;
    assert!(!rest(&mut stream).await.contains("# EOF"), "the answer was cut off");
    assert_eq!(exporter.metrics.scrape_seconds.get_sample_count(), 0, "it was no whole scrape");
    exporter.until(|_| exporter.closed("stalled"), 1).await;
}

#[tokio::test]
async fn a_client_that_would_take_too_long_for_the_whole_page_is_cut_off_early() {
    let (scrape_grace, scrape_timeout) = (Duration::from_millis(50), Duration::from_millis(100));
    let exporter = Exporter::with(ServerConfig { scrape_grace, scrape_timeout, ..patient() });
    exporter.count_many();
    let mut stream = exporter.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("the server reads");
    exporter.until(|_| exporter.closed("slow"), 1).await;
    exporter.until(|metrics| metrics.http_connections.get(), 0).await;
    assert!(!is_whole(&rest(&mut stream).await), "the answer was cut off");
    assert_eq!(exporter.metrics.scrape_seconds.get_sample_count(), 0, "it was no whole scrape");
}

#[tokio::test]
async fn of_too_many_scrapes_the_one_whose_client_reads_nothing_is_cut_off() {
    let exporter = Exporter::with(ServerConfig { max_scrapes: 2, ..patient() });
    exporter.count_many();
    let mut idle = begin_scrape(&exporter).await;
    let mut busy = begin_scrape(&exporter).await;
    let mut half = vec![0; 10_000_000];
    busy.read_exact(&mut half).await.expect("half a page");
    let mut newest = begin_scrape(&exporter).await;
    exporter.until(|_| exporter.closed("scrapes"), 1).await;
    assert!(!is_whole(&rest(&mut idle).await), "the answer was cut off");
    assert!(is_whole(&rest(&mut busy).await));
    assert!(is_whole(&rest(&mut newest).await));
}

#[tokio::test]
async fn the_snapshot_with_the_slowest_readers_is_let_go_of() {
    let exporter = Exporter::with(ServerConfig { max_snapshots: 2, ..patient() });
    exporter.count_many();
    let mut fast = begin_scrape(&exporter).await;
    let mut half = vec![0; 10_000_000];
    fast.read_exact(&mut half).await.expect("half a page");
    let mut slow = begin_scrape(&exporter).await;
    assert_eq!(exporter.closed("snapshots"), 0);
    // Each scrape here gets a snapshot of its own.
    exporter.count(&[(64501, ASN, 1, "edge1")]);
    let mut newest = begin_scrape(&exporter).await;
    exporter.until(|_| exporter.closed("snapshots"), 1).await;
    assert!(!is_whole(&rest(&mut slow).await), "the answer was cut off");
    assert!(is_whole(&rest(&mut fast).await));
    let page = rest(&mut newest).await;
    assert!(is_whole(&page) && page.contains("hostname=\"edge1\""));
}

#[tokio::test]
async fn a_client_has_one_answer_at_a_time_however_many_it_asks_for() {
    let stall_timeout = Duration::from_millis(50);
    let exporter = Exporter::with(ServerConfig { stall_timeout, ..patient() });
    exporter.count_many();
    let mut stream = exporter.connect().await;
    let requests = "GET /metrics HTTP/1.1\r\n\r\n".repeat(100);
    stream.write_all(requests.as_bytes()).await.expect("the kernel takes it");
    exporter.until(|_| exporter.closed("stalled"), 1).await;
    assert_eq!(exporter.requests("/metrics", "200"), 1);
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answer_and_is_cut_off_if_it_takes_none() {
    let stall_timeout = Duration::from_millis(50);
    let exporter = Exporter::with(ServerConfig { stall_timeout, ..patient() });
    exporter.count_many();
    let mut stream = exporter.connect().await;
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\n\r\n").await.expect("the server reads");
    stream.shutdown().await.expect("half closed");
    assert!(rest(&mut stream).await.ends_with("Healthy.\n"));
    let mut stream = begin_scrape(&exporter).await;
    stream.shutdown().await.expect("half closed");
    exporter.until(|_| exporter.closed("stalled"), 1).await;
    exporter.until(|metrics| metrics.http_connections.get(), 0).await;
}

#[tokio::test]
async fn one_connection_more_has_the_one_give_way_that_waits_longest_for_a_request() {
    let exporter = Exporter::with(ServerConfig { max_connections: 2, ..patient() });
    let request = b"GET /-/healthy HTTP/1.1\r\n\r\n";
    let ask = async |stream: &mut TcpStream| {
        stream.write_all(request).await.expect("the server reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"Healthy.\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
    };
    let mut first = exporter.connect().await;
    ask(&mut first).await;
    let mut second = exporter.connect().await;
    ask(&mut second).await;
    ask(&mut first).await;
    let mut third = exporter.connect().await;
    ask(&mut third).await;
    assert_eq!(rest(&mut second).await, "");
    ask(&mut first).await;
    ask(&mut third).await;
    exporter.until(|_| exporter.closed("crowded"), 1).await;
}

#[tokio::test]
async fn connections_with_trickling_heads_keep_no_client_out() {
    // Without the bounds, they would be served until the test ends.
    let exporter = Exporter::with(patient());
    let addr = exporter.addr;
    let mut tricklers = JoinSet::new();
    for _ in 0..400 {
        tricklers.spawn(async move {
            // Each reconnects whenever it is closed.
            for _ in 0..4 {
                let mut stream = TcpStream::connect(addr).await.expect("the server accepts");
                let mut sent = stream.write_all(b"GET / HTTP/1.1\r\nX: ").await;
                let mut byte = [0];
                while sent.is_ok() {
                    tokio::select! {
                        read = stream.read(&mut byte) => sent = read.and(Err(std::io::ErrorKind::UnexpectedEof.into())),
                        () = sleep(Duration::from_millis(20)) => sent = stream.write_all(b"x").await,
                    }
                }
            }
            std::future::pending::<()>().await;
        });
    }
    exporter.until(|_| exporter.closed("crowded") > 100, true).await;
    for address in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        for _ in 0..20 {
            let answer = healthy_from(address, &exporter).await;
            assert!(answer.ends_with("Healthy.\n"), "{answer}");
        }
    }
    // All of them are connected.
    exporter.until(|_| exporter.closed("crowded") > 1_000, true).await;
    assert!(exporter.metrics.http_connections.get() <= 512);
    let (code, _) = exporter.get("/metrics").await;
    assert_eq!(code, 200);
    let answer = healthy_from([127, 0, 0, 1], &exporter).await;
    assert!(answer.ends_with("Healthy.\n"), "{answer}");
}
