//! Requests on their way to a receiver: credentials, certificates, proxies.

mod aws;
mod oauth2;
mod proxies;
mod secrets;
mod tls;

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flow_exporter::publish::{
    pusher::{
        Auth, Content, ProxyConfig, PusherConfig, Reply, SecretSource, SendError, SendErrorKind,
        Sender, SigV4Config, Written,
    },
    remote_write::{Compression, Protocol},
};
use tempfile::TempDir;
use testkit::{
    log::Log,
    receiver::{Answer, Received, Receiver},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// A limit for what takes about a second.
const SOON: Duration = Duration::from_secs(30);

fn config(url: impl Into<String>) -> PusherConfig {
    // The developer's environment must not affect these tests.
    PusherConfig { proxy: ProxyConfig::None, ..PusherConfig::new(url) }
}

fn with_auth(receiver: &Receiver, auth: Auth) -> Sender {
    Sender::new(&PusherConfig { auth, ..config(receiver.url("/write")) }).expect("a sender")
}

async fn send(sender: &Sender) -> Result<Reply, SendError> {
    sender.send(Bytes::from_static(b"body"), Content::V1).await
}

async fn status(sender: &Sender) -> u16 {
    send(sender).await.expect("an answer").status.as_u16()
}

/// Sends until this holds.
async fn send_until(sender: &Sender, mut is_so: impl FnMut(Result<Reply, SendError>) -> bool) {
    let started = Instant::now();
    while !is_so(send(sender).await) {
        assert!(started.elapsed() < SOON, "not within {SOON:?}");
    }
}

/// Sends once; the request is answered with 401 after `change`. Returns it, and the final status.
async fn refused(
    sender: &Sender,
    receiver: &mut Receiver,
    change: impl FnOnce(),
) -> (Received, u16) {
    let gate = Arc::new(Notify::new());
    receiver.answer([Answer::Gated(Arc::clone(&gate), 401)]);
    let refusing = async {
        let request = receiver.next().await;
        change();
        gate.notify_one();
        request
    };
    tokio::join!(refusing, status(sender))
}

fn error(config: &PusherConfig) -> String {
    Sender::new(config).expect_err("an error").to_string()
}

/// A directory for files of secrets.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A pipe without a writer: opening it waits forever.
    fn pipe(&self, name: &str) -> SecretSource {
        let made = Command::new("mkfifo").arg(self.path(name)).status().unwrap();
        assert!(made.success());
        SecretSource::File(self.path(name))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> SecretSource {
        fs::write(self.path(name), text).unwrap();
        SecretSource::File(self.path(name))
    }
}

#[tokio::test]
async fn the_headers_say_what_the_body_is() {
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::None);
    let zstd = Content { protocol: Protocol::V1, compression: Compression::Zstd };
    for (content, media_type, encoding, version, own_version) in [
        (Content::V1, "application/x-protobuf", "snappy", Some("0.1.0"), None),
        (
            Content::V2,
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "snappy",
            Some("2.0.0"),
            None,
        ),
        (zstd, "application/x-protobuf", "zstd", None, Some("1")),
    ] {
        sender.send(Bytes::from_static(b"body"), content).await.expect("an answer");
        let request = receiver.next().await;
        assert_eq!(request.body, "body");
        assert_eq!(request.header("content-type"), Some(media_type));
        assert_eq!(request.header("content-encoding"), Some(encoding));
        assert_eq!(request.header("x-prometheus-remote-write-version"), version);
        assert_eq!(request.header("x-victoriametrics-remote-write-version"), own_version);
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.connection, 0, "each request comes by the same connection");
    }
}

#[tokio::test]
async fn an_answer_is_told_as_it_came() {
    let receiver = Receiver::new();
    let headers = vec![
        ("retry-after", "7".to_owned()),
        ("x-prometheus-remote-write-samples-written", "5".to_owned()),
        ("x-prometheus-remote-write-exemplars-written", "2".to_owned()),
    ];
    let unreadable = vec![("x-prometheus-remote-write-samples-written", "many".to_owned())];
    receiver.answer([
        Answer::Status(400, headers, "too old\n\x1b".repeat(1_000)),
        Answer::Status(200, unreadable, String::new()),
        Answer::Break(500),
    ]);
    let sender = with_auth(&receiver, Auth::None);
    let reply = send(&sender).await.expect("an answer");
    assert_eq!(reply.status, 400);
    assert_eq!(reply.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(reply.written, Some(Written { samples: 5, histograms: 0, exemplars: 2 }));
    assert!(reply.message.starts_with("too old  too old"), "{}", reply.message);
    assert!(reply.message.len() <= 1 << 10, "{} bytes", reply.message.len());
    assert_eq!(send(&sender).await.expect("an answer").written, None);
    assert_eq!(send(&sender).await.expect("an answer").message, "beginning");
}

#[tokio::test]
async fn without_an_answer_it_is_told_whether_the_receiver_may_have_the_request() {
    let receiver = Receiver::new();
    receiver.answer([Answer::Stall, Answer::Reset]);
    let impatient = Sender::new(&PusherConfig {
        timeout: Duration::from_millis(200),
        ..config(receiver.url("/write"))
    })
    .expect("a sender");
    let down = Receiver::refusing();
    for (sender, kind, reached) in [
        (&impatient, SendErrorKind::Timeout, true),
        (&with_auth(&receiver, Auth::None), SendErrorKind::Network, true),
        (&with_auth(&down, Auth::None), SendErrorKind::Connect, false),
    ] {
        let error = send(sender).await.expect_err("no answer");
        assert_eq!((error.kind, error.reached), (kind, reached), "{error}");
    }
}

#[tokio::test]
async fn basic_authentication_takes_user_and_password_from_values_or_files() {
    let files = Files::new();
    let mut receiver = Receiver::new();
    let value = Auth::Basic {
        username: SecretSource::value("Aladdin"),
        password: SecretSource::value("open sesame"),
    };
    let file = Auth::Basic {
        username: files.write("user", "Aladdin\n"),
        password: files.write("password", "open sesame\r\n"),
    };
    for auth in [value, file] {
        assert_eq!(status(&with_auth(&receiver, auth)).await, 204);
        // RFC 7617, 2.
        let expected = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(receiver.next().await.header("authorization"), expected);
    }
}

#[tokio::test]
async fn a_header_authorization_has_any_type_but_basic() {
    let mut receiver = Receiver::new();
    let auth = |scheme: &str, credentials: &str| Auth::Authorization {
        scheme: scheme.to_owned(),
        credentials: SecretSource::value(credentials),
    };
    assert_eq!(status(&with_auth(&receiver, auth("ApiKey", "hunter2"))).await, 204);
    assert_eq!(receiver.next().await.header("authorization"), Some("ApiKey hunter2"));
    for (scheme, credentials, expected) in [
        ("basic", "hunter2", "basic_auth"),
        ("two message", "hunter2", "one word"),
        ("Bearer", "", "empty"),
        ("Bearer", "hunter2\n", "can't hold"),
    ] {
        let auth = auth(scheme, credentials);
        let error = error(&PusherConfig { auth, ..config(receiver.url("/write")) });
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_that_was_refused_is_read_again_at_once() {
    let files = Files::new();
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::bearer(files.write("token", "old")));
    let change = || drop(files.write("token", "new"));
    let (first, status_then) = refused(&sender, &mut receiver, change).await;
    assert_eq!(status_then, 204);
    let second = receiver.next().await;
    assert_eq!(first.header("authorization"), Some("Bearer old"));
    assert_eq!(second.header("authorization"), Some("Bearer new"));
    assert_eq!(first.body, second.body);
    // The same token is not tried twice.
    receiver.answer([Answer::status(401)]);
    assert_eq!(status(&sender).await, 401);
    receiver.next().await;
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn a_secret_that_changes_is_used_soon_and_one_that_is_gone_stays_in_use() {
    let (log, _guard) = Log::capture();
    let files = Files::new();
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::bearer(files.write("token", "hunter2")));
    assert_eq!(status(&sender).await, 204);
    // The same length, and perhaps the same modification time.
    files.write("token", "hunter3");
    let mut last = String::new();
    let started = Instant::now();
    while last != "Bearer hunter3" {
        assert!(started.elapsed() < SOON, "still {last}");
        assert_eq!(status(&sender).await, 204);
        last = receiver.next().await.header("authorization").unwrap().to_owned();
    }
    fs::remove_file(files.path("token")).unwrap();
    send_until(&sender, |_| !log.lines("ERROR").is_empty()).await;
    while !receiver.is_idle() {}
    receiver.answer(vec![Answer::status(401); 3]);
    for _ in 0..3 {
        assert_eq!(status(&sender).await, 401);
        assert_eq!(receiver.next().await.header("authorization"), Some("Bearer hunter3"));
    }
    let log_text = log.text();
    assert_eq!(log.lines("ERROR").len(), 1, "{log_text}");
    assert!(log_text.contains("authorization.credentials"), "{log_text}");
    assert!(!log_text.contains("hunter"), "{log_text}");
    let change = || drop(files.write("token", "hunter4"));
    assert_eq!(refused(&sender, &mut receiver, change).await.1, 204);
    assert_eq!(receiver.next().await.header("authorization"), Some("Bearer hunter4"));
}

#[tokio::test]
async fn a_file_that_becomes_a_pipe_stops_nothing() {
    let (log, _guard) = Log::capture();
    let files = Files::new();
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::bearer(files.write("token", "hunter2")));
    fs::remove_file(files.path("token")).unwrap();
    files.pipe("token");
    send_until(&sender, |reply| {
        assert_eq!(reply.expect("an answer").status, 204);
        log.lines("ERROR").iter().any(|line| line.contains("is a pipe"))
    })
    .await;
    assert_eq!(receiver.next().await.header("authorization"), Some("Bearer hunter2"));
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_an_error_that_names_it() {
    let files = Files::new();
    let missing = SecretSource::File(files.path("missing"));
    let empty = files.write("empty", " \n");
    let large = files.write("large", "a".repeat((1 << 20) + 1));
    let pipe = files.pipe("pipe");
    for (source, expected) in
        [(missing, "missing"), (empty, "empty"), (large, "bytes"), (pipe, "is a pipe")]
    {
        let auth = Auth::Basic { username: SecretSource::value("u"), password: source };
        let error = error(&PusherConfig { auth, ..config("http://127.0.0.1:1") });
        assert!(error.starts_with("basic_auth.password: "), "{error}");
        assert!(error.contains(expected) && error.contains("give a file"), "{error}");
    }
}

#[tokio::test]
async fn requests_for_aws_are_signed_with_the_keys_as_they_are_now() {
    let files = Files::new();
    let mut receiver = Receiver::new();
    let sigv4 = SigV4Config {
        region: Some("eu-central-1".to_owned()),
        access_key: Some("AKIDEXAMPLE".to_owned()),
        secret_key: Some(files.write("key", "hunter2")),
        ..SigV4Config::default()
    };
    let sender = with_auth(&receiver, Auth::SigV4(sigv4));
    let change = || drop(files.write("key", "hunter3"));
    let (first, status) = refused(&sender, &mut receiver, change).await;
    assert_eq!(status, 204);
    let mut signatures = Vec::new();
    for request in [first, receiver.next().await] {
        let time = request.header("x-amz-date").expect("a time");
        assert_eq!(time.len(), "20150830T123600Z".len());
        let date = &time[..8];
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{date}/eu-central-1/aps/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature="
        );
        let signature = request.header("authorization").unwrap().strip_prefix(&expected);
        signatures.push(signature.expect(&expected).to_owned());
    }
    assert_ne!(signatures[0], signatures[1]);
}

#[test]
fn keys_for_aws_that_cannot_be_had_are_errors() {
    let key = SigV4Config {
        region: Some("eu-central-1".to_owned()),
        access_key: Some("AKIDEXAMPLE".to_owned()),
        secret_key: Some(SecretSource::value("hunter2")),
        ..SigV4Config::default()
    };
    let half = SigV4Config { secret_key: None, ..key };
    let error = error(&PusherConfig { auth: Auth::SigV4(half), ..config("http://a/b") });
    assert!(error.contains("go together"), "{error}");
}

/// A listener that forwards connections to a receiver, and what it saw of them.
struct Front {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    /// Ends with this handle.
    _task: JoinSet<()>,
}

impl Front {
    /// `handle` takes a connection and the address of the receiver, and notes what it sees.
    async fn new<H, F>(receiver: &Receiver, handle: H) -> Self
    where
        H: Fn(TcpStream, SocketAddr, Arc<Mutex<Vec<String>>>) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let backend: SocketAddr =
            receiver.url("").strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let notes = Arc::clone(&seen);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let connection = handle(stream, backend, Arc::clone(&notes));
                // Some tests are about connections that fail.
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Front { address, seen, _task: task }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}
