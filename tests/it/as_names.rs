//! AS names are fetched, cached and reread, from a real HTTP server and through a proxy.
use std::{
    collections::VecDeque,
    io,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flow_exporter::{
    asn::AsNames,
    metrics::Metrics,
    names::{
        Announcement, FIRST_WAIT, NamesConfig, NamesError, NamesHandle, NamesSource, Url,
        load_initial,
    },
};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot,
    },
    task::JoinHandle,
};

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// A server that gives prepared answers in turn, then 500, and records its requests.
struct Server {
    address: String,
    requests: UnboundedReceiver<Request<Incoming>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let (send, requests) = unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, send) = (Arc::clone(&answers), send.clone());
                let service = service_fn(move |request| {
                    let answer = answers.lock().unwrap().pop_front();
                    send.send(request).unwrap();
                    std::future::ready(Ok::<_, io::Error>(
                        answer.unwrap_or_else(|| answer_with(500, &[], "no more answers")),
                    ))
                });
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Server { address, requests, task }
    }

    fn source(&self) -> NamesSource {
        format!("http://{}/asn.txt", self.address).parse().unwrap()
    }

    async fn request(&mut self) -> Request<Incoming> {
        self.requests.recv().await.unwrap()
    }
}

fn answer_with(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()).unwrap()
}

/// Asks a closure for the next chunk.
struct Chunks<F>(F);

impl<F: FnMut() -> Option<io::Result<Bytes>> + Unpin> Body for Chunks<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<io::Result<Frame<Bytes>>>> {
        std::task::Poll::Ready((self.0)().map(|chunk| chunk.map(Frame::data)))
    }
}

fn answer_in_chunks(
    next: impl FnMut() -> Option<io::Result<Bytes>> + Send + Unpin + 'static,
) -> Answer {
    Response::new(Chunks(next).boxed_unsync())
}

/// A table in RIPE's format, with enough names to be accepted, and one of AS 1007.
fn table(name_of_1007: &str) -> String {
    use std::fmt::Write;
    let mut table = format!("1007 {name_of_1007}, US\n");
    for number in 4_200_000_000_u32..4_200_050_000 {
        writeln!(table, "{number} PRIVATE-{number}, ZZ").unwrap();
    }
    table
}

/// A running refresher.
struct Running {
    initial: Arc<AsNames>,
    first_wait: Duration,
    metrics: Arc<Metrics>,
    announcements: UnboundedReceiver<Announcement>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    handle: Option<NamesHandle>,
}

impl Running {
    fn start(source: NamesSource, refresh: Duration, cache_dir: Option<&Path>) -> Self {
        Self::start_with(source, refresh, cache_dir, false)
    }

    fn start_with(
        source: NamesSource,
        refresh: Duration,
        cache_dir: Option<&Path>,
        is_changeable: bool,
    ) -> Self {
        let cache_dir = cache_dir.map(Path::to_owned);
        let (initial, mut refresher) =
            load_initial(NamesConfig { source, refresh, cache_dir }).unwrap();
        let handle = is_changeable.then(|| refresher.handle());
        let first_wait = refresher.first_wait();
        let metrics = Arc::new(Metrics::new());
        let (send, announcements) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            stopped.await.ok();
        };
        let task = tokio::spawn(refresher.run(Arc::clone(&metrics), shutdown, move |announced| {
            send.send(announced).unwrap();
        }));
        Running { initial, first_wait, metrics, announcements, stop, task, handle }
    }

    async fn change(&self, source: NamesSource, refresh: Duration) -> Result<(), NamesError> {
        let config = NamesConfig { source, refresh, cache_dir: None };
        self.handle.as_ref().unwrap().change(config).await
    }

    /// The names that are announced next.
    async fn replaced(&mut self) -> Arc<AsNames> {
        match self.announcements.recv().await {
            Some(Announcement::Replace(names)) => names,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the announcement that the names stay.
    async fn kept(&mut self) {
        let announced = self.announcements.recv().await;
        assert!(matches!(announced, Some(Announcement::Keep)), "{announced:?}");
    }

    /// Attempts that ended as updated, unchanged and failed.
    fn attempts(&self) -> [u64; 3] {
        ["updated", "unchanged", "failed"]
            .map(|result| self.metrics.as_names_refreshes.with_label_values(&[result]).get())
    }

    fn names_counted(&self) -> usize {
        self.metrics.as_names.get().try_into().unwrap()
    }

    /// Ends the refresher, and checks that nothing else was announced.
    async fn stop(mut self) {
        self.stop.send(()).ok();
        self.task.await.unwrap();
        assert!(self.announcements.recv().await.is_none());
    }
}

/// The one attempt fails, and leaves the names and the disk as they were.
async fn assert_refused(answer: Answer) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([answer]).await;
    let mut running = Running::start(server.source(), HOUR, Some(folder.path()));
    running.kept().await;
    assert_eq!(running.attempts(), [0, 0, 1]);
    assert_eq!(running.names_counted(), running.initial.len());
    assert_eq!(running.metrics.as_names_updated.get().to_bits(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_fetched_table_lies_over_the_embedded_one() {
    let mut server = Server::start([answer_with(200, &[], table("FRESH"))]).await;
    let mut running = Running::start(server.source(), HOUR, None);
    assert!(*running.initial == AsNames::embedded());
    assert_eq!(running.first_wait, FIRST_WAIT);

    let names = running.replaced().await;
    assert_eq!(names.get(1007), "FRESH");
    assert_eq!(names.get(4_200_000_007), "PRIVATE-4200000007");
    assert_eq!(names.get(15169), "Google LLC", "only the embedded table has it");

    let request = server.request().await;
    let headers = request.headers();
    let agent = headers["user-agent"].to_str().unwrap();
    assert!(agent.starts_with("flow-exporter/") && agent.contains("+https://github.com/"));
    assert_eq!(headers["accept-encoding"], "gzip");
    assert!(!headers.contains_key("if-none-match") && !headers.contains_key("if-modified-since"));

    assert_eq!(running.attempts(), [1, 0, 0]);
    assert_eq!(running.names_counted(), names.len());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - running.metrics.as_names_updated.get();
    assert!((-1.0..600.0).contains(&age), "{age}");
    running.stop().await;
}

#[tokio::test]
async fn a_restart_begins_with_the_last_names_and_asks_whether_they_changed() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_owned();
    let state = [("etag", "\"v1\""), ("last-modified", "Tue, 23 Nov 2021 10:00:00 GMT")];
    let mut server = Server::start([
        answer_with(200, &state, table("FRESH")),
        answer_with(304, &[], ""),
        answer_with(200, &[("etag", "\"v2\"")], table("FRESHER")),
        answer_with(200, &[("etag", "\"v3\"")], table("FRESHER")),
        answer_with(304, &[], ""),
    ])
    .await;
    let mut running = Running::start(server.source(), HOUR, Some(&folder));
    let names = running.replaced().await;
    running.stop().await;
    server.request().await;

    let mut running = Running::start(server.source(), HOUR, Some(&folder));
    assert!(running.initial == names);
    assert_eq!(running.first_wait, Duration::ZERO);
    running.kept().await;
    assert_eq!(running.attempts(), [0, 1, 0]);
    assert!(running.metrics.as_names_updated.get() > 0.0);
    running.stop().await;
    let request = server.request().await;
    assert_eq!(request.headers()["if-none-match"], "\"v1\"");
    assert_eq!(request.headers()["if-modified-since"], "Tue, 23 Nov 2021 10:00:00 GMT");

    let mut running = Running::start(server.source(), HOUR, Some(&folder));
    assert_eq!(running.replaced().await.get(1007), "FRESHER");
    running.stop().await;
    server.request().await;

    // The same table again under another tag: nothing to announce, but the tag is noted.
    let mut running = Running::start(server.source(), HOUR, Some(&folder));
    assert_eq!(running.initial.get(1007), "FRESHER");
    running.kept().await;
    assert_eq!(running.attempts(), [0, 1, 0]);
    running.stop().await;
    let request = server.request().await;
    assert_eq!(request.headers()["if-none-match"], "\"v2\"");
    assert!(!request.headers().contains_key("if-modified-since"));

    let mut running = Running::start(server.source(), HOUR, Some(&folder));
    running.kept().await;
    running.stop().await;
    assert_eq!(server.request().await.headers()["if-none-match"], "\"v3\"");
}

#[tokio::test]
async fn a_failed_fetch_is_tried_again() {
    let server = Server::start([
        answer_with(503, &[], "later"),
        answer_with(200, &[], table("FRESH")),
        answer_with(200, &[], table("FRESHER")),
    ])
    .await;
    let mut running = Running::start(server.source(), SECOND, None);
    running.kept().await;
    assert_eq!(running.replaced().await.get(1007), "FRESH");
    assert_eq!(running.attempts(), [1, 0, 1]);
    // After that, the interval applies again.
    assert_eq!(running.replaced().await.get(1007), "FRESHER");
    assert_eq!(running.attempts(), [2, 0, 1]);
    running.stop().await;
}

#[tokio::test]
async fn a_compressed_table_is_read() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(table("FRESH").as_bytes()).unwrap();
    let answer = answer_with(200, &[("content-encoding", "gzip")], gzip.finish().unwrap());
    let server = Server::start([answer]).await;
    let mut running = Running::start(server.source(), HOUR, None);
    assert_eq!(running.replaced().await.get(1007), "FRESH");
    running.stop().await;
}

#[tokio::test]
async fn error_pages_are_refused() {
    assert_refused(answer_with(404, &[], table("NOT FOUND"))).await;
    assert_refused(answer_with(200, &[], "<html><body>Maintenance</body></html>")).await;
    // This reads as a table of one name.
    assert_refused(answer_with(200, &[], "404 Not Found")).await;
    // It was not asked whether anything changed.
    assert_refused(answer_with(304, &[], "")).await;
}

#[tokio::test]
async fn truncated_tables_are_refused() {
    let whole = table("FRESH");
    assert_refused(answer_with(200, &[], whole[..whole.len() / 2].to_owned())).await;

    let cut = Bytes::from(whole);
    let mut chunks = vec![Err(io::Error::other("cut off")), Ok(cut)];
    assert_refused(answer_in_chunks(move || chunks.pop())).await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    const MIB: usize = 1 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let chunk = Bytes::from(vec![b'\n'; MIB]);
    assert_refused(answer_in_chunks(move || {
        counter.fetch_add(MIB, Ordering::Relaxed);
        Some(Ok(chunk.clone()))
    }))
    .await;
    let sent = sent.load(Ordering::Relaxed) / MIB;
    assert!((64..128).contains(&sent), "{sent} MiB");
}

#[tokio::test]
async fn what_is_small_only_while_compressed_is_cut_off() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let blank_lines = vec![b'\n'; 1 << 20];
    for _ in 0..64 {
        gzip.write_all(&blank_lines).unwrap();
    }
    gzip.write_all(table("TOO LATE").as_bytes()).unwrap();
    let bomb = gzip.finish().unwrap();
    assert_refused(answer_with(200, &[("content-encoding", "gzip")], bomb)).await;
}

#[tokio::test]
async fn a_broken_cache_is_ignored_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let state = [("etag", "\"v1\"")];
    let mut server = Server::start([
        answer_with(200, &state, table("FRESH")),
        answer_with(200, &state, table("FRESH")),
    ])
    .await;
    let mut running = Running::start(server.source(), HOUR, Some(folder.path()));
    running.replaced().await;
    running.stop().await;
    server.request().await;

    let load = || {
        let config = NamesConfig {
            source: server.source(),
            refresh: HOUR,
            cache_dir: Some(folder.path().to_owned()),
        };
        load_initial(config).unwrap()
    };
    assert_eq!(load().0.get(1007), "FRESH");
    for (file, content) in [
        ("as-names.tsv", Some("no table\n")),
        ("as-names.tsv", Some("1007\tCUT OFF\n")),
        ("as-names.origin", Some("url\thttp://")),
        ("as-names.origin", Some("")),
        ("as-names.origin", None),
    ] {
        let path = folder.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let (names, refresher) = load();
        assert!(*names == AsNames::embedded(), "{file}: {content:?}");
        assert_eq!(refresher.first_wait(), FIRST_WAIT);
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(load().0.get(1007), "FRESH");

    std::fs::write(folder.path().join("as-names.tsv"), "no table\n").unwrap();
    let mut running = Running::start(server.source(), HOUR, Some(folder.path()));
    assert_eq!(running.replaced().await.get(1007), "FRESH");
    running.stop().await;
    assert_eq!(load().0.get(1007), "FRESH");
    assert!(!server.request().await.headers().contains_key("if-none-match"));
}

#[tokio::test]
async fn another_sources_cache_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start([answer_with(200, &[("etag", "\"v1\"")], table("FIRST"))]).await;
    let mut running = Running::start(first.source(), HOUR, Some(folder.path()));
    running.replaced().await;
    running.stop().await;

    let mut second = Server::start([answer_with(200, &[], table("SECOND"))]).await;
    let mut running = Running::start(second.source(), HOUR, Some(folder.path()));
    assert!(*running.initial == AsNames::embedded());
    assert_eq!(running.replaced().await.get(1007), "SECOND");
    running.stop().await;
    assert!(!second.request().await.headers().contains_key("if-none-match"));
}

#[tokio::test]
async fn names_are_used_even_if_they_cannot_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("a file");
    std::fs::write(&taken, "").unwrap();
    let server = Server::start([answer_with(200, &[], table("FRESH"))]).await;
    let mut running = Running::start(server.source(), HOUR, Some(&taken));
    assert_eq!(running.replaced().await.get(1007), "FRESH");
    assert_eq!(running.attempts(), [1, 0, 0]);
    running.stop().await;
}

#[tokio::test]
async fn a_password_is_sent_but_neither_shown_nor_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start([answer_with(200, &[], table("FRESH"))]).await;
    let url = format!("http://user:hunter2@{}/asn.txt?token=hunter2", server.address);
    let source: NamesSource = url.parse().unwrap();
    assert_eq!(source.to_string(), format!("http://{}/asn.txt", server.address));
    assert_eq!(format!("{source:?}"), source.to_string());
    let mut running = Running::start(source, HOUR, Some(folder.path()));
    running.replaced().await;
    running.stop().await;
    let request = server.request().await;
    assert_eq!(request.headers()["authorization"], "Basic dXNlcjpodW50ZXIy");
    let origin = std::fs::read_to_string(folder.path().join("as-names.origin")).unwrap();
    assert!(!origin.contains("user"), "{origin}");
}

#[tokio::test]
async fn a_redirection_takes_no_password_and_no_query_to_another_origin() {
    let mut other = Server::start([answer_with(200, &[], table("AT THE OTHER"))]).await;
    let location = format!("http://{}/asn.txt", other.address);
    let mut server = Server::start([answer_with(302, &[("location", &location)], "")]).await;
    let url = format!("http://user:hunter2@{}/asn.txt?token=hunter2", server.address);
    let mut running = Running::start(url.parse().unwrap(), HOUR, None);
    running.replaced().await;
    running.stop().await;
    assert!(server.request().await.headers().contains_key("authorization"));
    let request = other.request().await;
    for (name, value) in request.headers() {
        let value = value.to_str().unwrap();
        assert!(!value.contains("hunter2"), "{name}: {value}");
        assert!(!["authorization", "cookie", "referer"].contains(&name.as_str()), "{name}");
    }
    assert_eq!(request.uri().query(), None);
}

#[tokio::test]
async fn without_a_source_nothing_is_fetched() {
    for (source, names) in
        [(NamesSource::Embedded, AsNames::embedded()), (NamesSource::None, AsNames::none())]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::start(source, SECOND, Some(folder.path()));
        assert!(*running.initial == names);
        assert_eq!(running.first_wait, Duration::ZERO);
        // The refresher ends by itself, without being stopped.
        assert!(running.announcements.recv().await.is_none());
        assert_eq!(running.attempts(), [0, 0, 0]);
        assert_eq!(running.names_counted(), names.len());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_file_is_read_at_the_start_and_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asns.csv");
    std::fs::write(&path, "asn,name\nAS1007,\"One, Inc.\"\nAS1008,Two\n").unwrap();
    let source: NamesSource = path.to_str().unwrap().parse().unwrap();
    let mut running = Running::start(source, SECOND, None);
    assert_eq!(running.initial.as_tsv(), "1007\tOne, Inc.\n1008\tTwo\n");
    assert_eq!(running.first_wait, Duration::ZERO);
    running.kept().await;
    assert_eq!(running.attempts()[0], 0);
    assert!(running.metrics.as_names_updated.get() > 0.0);

    // A file may be of any size. It is renamed into place, so that it is never read half-written.
    let new = folder.path().join("new");
    std::fs::write(&new, "1007\tUno\n").unwrap();
    std::fs::rename(&new, &path).unwrap();
    let names = running.replaced().await;
    assert_eq!(names.as_tsv(), "1007\tUno\n");
    assert_eq!(running.attempts()[0], 1);
    assert_eq!(running.attempts()[2], 0);
    running.stop().await;
}

#[tokio::test]
async fn the_source_changes_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asns.tsv");
    std::fs::write(&path, "1007\tOne\n").unwrap();
    let file: NamesSource = path.to_str().unwrap().parse().unwrap();
    let mut running = Running::start_with(NamesSource::Embedded, HOUR, None, true);
    running.change(file.clone(), HOUR).await.unwrap();
    assert_eq!(running.replaced().await.as_tsv(), "1007\tOne\n");
    assert_eq!(running.names_counted(), 1);

    // An unusable source changes nothing.
    let missing = NamesSource::File(folder.path().join("missing"));
    let error = running.change(missing, HOUR).await.unwrap_err();
    assert!(matches!(error, NamesError::File { .. }), "{error}");
    let error = running.change(file.clone(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, NamesError::Refresh), "{error}");
    assert_eq!(running.names_counted(), 1);

    // The names in use stay until the first fetch, which replaces them.
    let mut server = Server::start([answer_with(200, &[], table("Uno"))]).await;
    running.change(server.source(), HOUR).await.unwrap();
    server.request().await;
    assert_eq!(running.replaced().await.get(1007), "Uno");

    // Names that stay the same are not announced again.
    running.change(NamesSource::None, HOUR).await.unwrap();
    assert_eq!(running.replaced().await.len(), 0);
    running.change(NamesSource::None, SECOND).await.unwrap();
    assert_eq!(running.names_counted(), 0);
    running.stop().await;
}

#[tokio::test]
async fn the_interval_changes_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asns.tsv");
    std::fs::write(&path, "1007\tOne\n").unwrap();
    let file: NamesSource = path.to_str().unwrap().parse().unwrap();
    let mut running = Running::start_with(file.clone(), HOUR, None, true);
    running.kept().await;
    running.change(file, SECOND).await.unwrap();
    let new = folder.path().join("new");
    std::fs::write(&new, "1007\tUno, once more\n").unwrap();
    std::fs::rename(&new, &path).unwrap();
    assert_eq!(running.replaced().await.get(1007), "Uno, once more");
    // Without its handle nothing can change it, but it runs until it is stopped.
    let handle = running.handle.take();
    drop(handle);
    running.stop().await;
}

#[test]
fn an_unusable_file_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| {
        let source = path.to_str().unwrap().parse().unwrap();
        load_initial(NamesConfig { source, refresh: HOUR, cache_dir: None }).unwrap_err()
    };
    let missing = folder.path().join("missing.txt");
    let error = load(&missing);
    assert!(matches!(error, NamesError::File { .. }));
    let message = error.to_string();
    assert!(message.starts_with(&format!("--as-names {}: ", missing.display())), "{message}");
    assert!(message.contains("No such file"), "{message}");

    let page = folder.path().join("page.html");
    std::fs::write(&page, "<html>\n").unwrap();
    let message = load(&page).to_string();
    assert!(message.starts_with(&format!("--as-names {}: ", page.display())), "{message}");
    assert!(message.contains("expected"), "{message}");

    let load_every =
        |refresh| load_initial(NamesConfig { source: NamesSource::Auto, refresh, cache_dir: None });
    let message = load_every(Duration::from_millis(999)).unwrap_err().to_string();
    assert!(message.contains("--as-names-refresh"), "{message}");
    assert!(load_every(SECOND).is_ok());
}

#[test]
fn sources_are_told_apart() {
    let parse = str::parse::<NamesSource>;
    assert_eq!(parse("auto"), Ok(NamesSource::Auto));
    assert_eq!(parse("embedded"), Ok(NamesSource::Embedded));
    assert_eq!(parse("none"), Ok(NamesSource::None));
    assert_eq!(parse("./none"), Ok(NamesSource::File("./none".into())));
    assert_eq!(parse("/etc/asn.txt"), Ok(NamesSource::File("/etc/asn.txt".into())));
    let url = Url::parse("https://bgp.tools/asns.csv").unwrap();
    assert_eq!(parse("HTTPS://bgp.tools/asns.csv"), Ok(NamesSource::Url(url)));
    for (text, says) in [
        ("", "give auto, embedded, none, a file or an http(s) URL"),
        ("file:///etc/asn.txt", "the plain path of a file"),
        ("ftp://ftp.ripe.net/asn.txt", "give http:// or https://"),
        ("http://", "empty host"),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

/// `auto` asks fixed addresses, so a proxy answers for them, in a child process: the environment
/// belongs to the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn auto_asks_ripe_then_cidr_report() {
    let mut proxy = Server::start([
        answer_with(502, &[], ""),
        answer_with(502, &[], ""),
        answer_with(200, &[], table("MIT-X - Some Org, Inc.")),
    ])
    .await;
    let address = format!("http://{}", proxy.address);
    let child = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_names::auto_through_a_proxy", "--ignored"])
            .env("HTTP_PROXY", &address)
            .env("HTTPS_PROXY", &address)
            .env("http_proxy", &address)
            .env("https_proxy", &address)
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env_remove("REQUEST_METHOD")
            .output()
            .unwrap()
    });
    for asked in [
        "CONNECT ftp.ripe.net:443",
        "CONNECT www.cidr-report.org:443",
        "GET http://www.cidr-report.org/as2.0/asn.txt",
    ] {
        let request = proxy.request().await;
        assert_eq!(format!("{} {}", request.method(), request.uri()), asked);
    }
    let output = child.await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    assert!(proxy.requests.try_recv().is_err(), "asked again");
}

#[tokio::test]
#[ignore = "a part of auto_asks_ripe_then_cidr_report, which runs it behind its proxy"]
async fn auto_through_a_proxy() {
    let mut running = Running::start(NamesSource::Auto, HOUR, None);
    assert_eq!(running.replaced().await.get(1007), "MIT-X - Some Org, Inc.");
    assert_eq!(running.attempts(), [1, 0, 2]);
    running.stop().await;
}
