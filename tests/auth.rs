//! Requests on their way to a receiver: credentials, certificates, proxies.

#![allow(clippy::unwrap_used)]

mod log;
mod receiver;

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flow_exporter::publish::{
    pusher::{
        Auth, Content, OAuth2Config, ProxyConfig, PusherConfig, PusherConfigError, Reply, Secret,
        SecretSource, SendError, SendErrorKind, Sender, SigV4Config, TlsConfig, TlsVersion,
        Written,
    },
    remote_write::{Compression, Protocol},
};
use log::Log;
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{NameType, Ssl, SslAcceptor, SslMethod, SslVerifyMode, SslVersion},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use receiver::{Answer, Received, Receiver};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// How long something may take that takes about a second.
const SOON: Duration = Duration::from_secs(30);

fn config(url: impl Into<String>) -> PusherConfig {
    // What the developer's environment says is no part of these tests.
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

/// Sends until this is so.
async fn send_until(sender: &Sender, mut is_so: impl FnMut(Result<Reply, SendError>) -> bool) {
    let started = Instant::now();
    while !is_so(send(sender).await) {
        assert!(started.elapsed() < SOON, "not within {SOON:?}");
    }
}

/// Sends once; the request is answered with 401 after `change`. Returns it, and the status in the
/// end.
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
    assert!(reply.words.starts_with("too old  too old"), "{}", reply.words);
    assert!(reply.words.len() <= 1 << 10, "{} bytes", reply.words.len());
    assert_eq!(send(&sender).await.expect("an answer").written, None);
    assert_eq!(send(&sender).await.expect("an answer").words, "beginning");
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
        ("two words", "hunter2", "one word"),
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
    // The same one is not tried twice.
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
    // The same length, and perhaps the same instant.
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

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_an_error_that_names_it() {
    let files = Files::new();
    let missing = SecretSource::File(files.path("missing"));
    let empty = files.write("empty", " \n");
    let large = files.write("large", "a".repeat((1 << 20) + 1));
    for (source, expected) in [(missing, "missing"), (empty, "empty"), (large, "bytes")] {
        let auth = Auth::Basic { username: SecretSource::value("u"), password: source };
        let error = error(&PusherConfig { auth, ..config("http://127.0.0.1:1") });
        assert!(error.starts_with("basic_auth.password: "), "{error}");
        assert!(error.contains(expected) && error.contains("give a file"), "{error}");
    }
}

fn oauth2(endpoint: &Receiver) -> OAuth2Config {
    OAuth2Config {
        client_id: "client:1".to_owned(),
        client_secret: SecretSource::value("hunter2 &"),
        token_url: endpoint.url("/token"),
        scopes: vec!["write".to_owned(), "read".to_owned()],
        endpoint_params: vec![("audience".to_owned(), Secret::new("a&b"))],
        tls: TlsConfig::default(),
        proxy: ProxyConfig::None,
    }
}

fn token(token: &str, more: &str) -> Answer {
    Answer::Status(200, Vec::new(), format!("{{\"access_token\":\"{token}\"{more}}}"))
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_until_it_is_refused() {
    let mut endpoint = Receiver::new();
    endpoint
        .answer([token("one", ",\"token_type\":\"bearer\",\"expires_in\":3600"), token("two", "")]);
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    for _ in 0..2 {
        assert_eq!(status(&sender).await, 204);
        assert_eq!(receiver.next().await.header("authorization"), Some("Bearer one"));
    }
    let request = endpoint.next().await;
    assert_eq!((request.method.as_str(), request.uri.path()), ("POST", "/token"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    // RFC 6749, 2.3.1: both are encoded as in forms first: client%3A1:hunter2+%26.
    let expected = Some("Basic Y2xpZW50JTNBMTpodW50ZXIyKyUyNg==");
    assert_eq!(request.header("authorization"), expected);
    assert_eq!(request.body, "grant_type=client_credentials&scope=write+read&audience=a%26b");
    assert!(endpoint.is_idle(), "the token is kept");

    receiver.answer([Answer::status(401)]);
    assert_eq!(status(&sender).await, 204);
    let tokens = [receiver.next().await, receiver.next().await];
    let tokens = tokens.each_ref().map(|request| request.header("authorization"));
    assert_eq!(tokens, [Some("Bearer one"), Some("Bearer two")]);
    endpoint.next().await;
}

#[tokio::test]
async fn a_token_just_fetched_is_not_fetched_again_for_the_same_request() {
    let mut endpoint = Receiver::new();
    endpoint.always(token("one", ""));
    let mut receiver = Receiver::new();
    receiver.always(Answer::status(401));
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    for _ in 0..2 {
        assert_eq!(status(&sender).await, 401);
        receiver.next().await;
        assert!(receiver.is_idle());
        endpoint.next().await;
        assert!(endpoint.is_idle());
    }
}

#[tokio::test]
async fn a_token_is_not_used_until_its_very_end() {
    let mut endpoint = Receiver::new();
    // Half of a second is kept as the margin.
    endpoint.answer([token("one", ",\"expires_in\":\"1\""), token("two", ",\"expires_in\":3600")]);
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    let mut used = Vec::new();
    let started = Instant::now();
    while used.last().map(String::as_str) != Some("Bearer two") {
        assert!(started.elapsed() < SOON, "never fetched again: {used:?}");
        assert_eq!(status(&sender).await, 204);
        used.push(receiver.next().await.header("authorization").unwrap().to_owned());
    }
    assert_eq!(used[0], "Bearer one");
    assert!(started.elapsed() >= Duration::from_millis(500), "too early");
    endpoint.next().await;
    endpoint.next().await;
}

#[tokio::test]
async fn an_endpoint_that_wants_the_secret_in_the_body_gets_it_there() {
    let mut endpoint = Receiver::new();
    endpoint.answer([Answer::status(401), token("one", ""), token("two", "")]);
    let receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    assert_eq!(status(&sender).await, 204);
    assert!(endpoint.next().await.header("authorization").is_some());
    let in_body = "&client_id=client%3A1&client_secret=hunter2+%26";
    let is_in_body = |request: Received| {
        request.header("authorization").is_none()
            && String::from_utf8_lossy(&request.body).ends_with(in_body)
    };
    assert!(is_in_body(endpoint.next().await));
    receiver.answer([Answer::status(401)]);
    assert_eq!(status(&sender).await, 204);
    assert!(is_in_body(endpoint.next().await), "what worked is remembered");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_endpoints_words_are_told() {
    let endpoint = Receiver::new();
    let long = "unauthorized_client ".repeat(1_000);
    let no_token = "{\"error\":\"hunter2\"}".to_owned();
    endpoint.answer([
        Answer::Status(403, Vec::new(), long),
        Answer::Status(200, Vec::new(), no_token),
        Answer::Reset,
    ]);
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    for expected in ["403 Forbidden: unauthorized_client", "no JSON with an access_token", "error"]
    {
        let error = send(&sender).await.expect_err("no token");
        assert_eq!((error.kind, error.reached), (SendErrorKind::Auth, false));
        assert!(
            error.what.contains("oauth2.token_url") && error.what.contains(expected),
            "{error}"
        );
        assert!(error.what.len() < 1_500 && !error.what.contains("hunter2"), "{error}");
    }
    assert!(receiver.is_idle());
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
    let role = SigV4Config { role_arn: Some("arn:aws:iam::1:role/a".to_owned()), ..key.clone() };
    let half = SigV4Config { secret_key: None, ..key };
    for (sigv4, expected) in [(role, "sigv4.role_arn"), (half, "go together")] {
        let error = error(&PusherConfig { auth: Auth::SigV4(sigv4), ..config("http://a/b") });
        assert!(error.contains(expected), "{error}");
    }
}

/// Who signs certificates.
struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

fn elliptic_key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap()
}

impl Authority {
    fn new() -> Self {
        let key = elliptic_key();
        let certificate = certificate("authority", &key, None);
        Authority { certificate, key }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }
}

/// A certificate of this name, for this name or IP address; an authority's own if none signs it.
fn certificate(name: &str, key: &PKey<Private>, by: Option<&Authority>) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    match by {
        None => {
            builder.set_issuer_name(&subject).unwrap();
            let is_authority = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(is_authority).unwrap();
            builder.sign(key, MessageDigest::sha256()).unwrap();
        }
        Some(authority) => {
            builder.set_issuer_name(authority.certificate.subject_name()).unwrap();
            let mut names = SubjectAlternativeName::new();
            if name.parse::<std::net::IpAddr>().is_ok() {
                names.ip(name)
            } else {
                names.dns(name)
            };
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
            builder.sign(&authority.key, MessageDigest::sha256()).unwrap();
        }
    }
    builder.build()
}

/// A listener that hands connections on to a receiver, and what it saw of them.
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
                // A connection that fails is what some tests are about.
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Front { address, seen, _task: task }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A TLS server in front of a receiver. It notes the name that the client asked for and the one in
/// the client's certificate.
async fn tls_server(receiver: &Receiver, acceptor: SslAcceptor) -> Front {
    let acceptor = Arc::new(acceptor);
    Front::new(receiver, move |stream, backend, seen| {
        let acceptor = Arc::clone(&acceptor);
        async move {
            let ssl = Ssl::new(acceptor.context())?;
            let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
            Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
            let asked = stream.ssl().servername(NameType::HOST_NAME).unwrap_or("none").to_owned();
            let client = stream.ssl().peer_certificate().map_or_else(
                || "nobody".to_owned(),
                |certificate| {
                    let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
                    names.next().unwrap().data().to_string().unwrap()
                },
            );
            seen.lock().unwrap().push(format!("{asked} {client}"));
            let mut backend = TcpStream::connect(backend).await?;
            copy_bidirectional(&mut stream, &mut backend).await.map(drop)
        }
    })
    .await
}

/// For a server of this name.
fn acceptor(authority: &Authority, name: &str) -> openssl::ssl::SslAcceptorBuilder {
    let key = elliptic_key();
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder.set_certificate(&certificate(name, &key, Some(authority))).unwrap();
    builder.set_private_key(&key).unwrap();
    builder
}

/// For a client that shows a certificate of this authority.
fn asking_clients(authority: &Authority, clients: &Authority) -> SslAcceptor {
    let mut builder = acceptor(authority, "127.0.0.1");
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.cert_store_mut().add_cert(clients.certificate.clone()).unwrap();
    builder.build()
}

fn https(server: &Front, tls: TlsConfig) -> PusherConfig {
    PusherConfig { tls, ..config(format!("https://{}/write", server.address)) }
}

fn trusting(authority: &Authority) -> TlsConfig {
    let pem = String::from_utf8(authority.pem()).unwrap();
    TlsConfig { ca: Some(SecretSource::value(pem)), ..TlsConfig::default() }
}

async fn refusal(config: &PusherConfig) -> String {
    let error = send(&Sender::new(config).expect("a sender")).await.expect_err("a refusal");
    assert_eq!((error.kind, error.reached), (SendErrorKind::Connect, false), "{error}");
    error.what
}

#[tokio::test]
async fn only_the_given_authority_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let receiver = Receiver::new();
    let server = tls_server(&receiver, acceptor(&authority, "127.0.0.1").build()).await;
    let sender = Sender::new(&https(&server, trusting(&authority))).expect("a sender");
    assert_eq!(status(&sender).await, 204);
    let what = refusal(&https(&server, trusting(&other))).await;
    assert!(what.contains("certificate verify failed"), "{what}");
    refusal(&https(&server, TlsConfig::default())).await;
    let any = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(status(&Sender::new(&https(&server, any)).expect("a sender")).await, 204);
}

#[tokio::test]
async fn a_token_endpoint_has_certificates_and_a_proxy_of_its_own() {
    let authority = Authority::new();
    let endpoint = Receiver::new();
    endpoint.always(token("one", ""));
    let server = tls_server(&endpoint, acceptor(&authority, "127.0.0.1").build()).await;
    let mut receiver = Receiver::new();
    let secure = OAuth2Config {
        token_url: format!("https://{}/token", server.address),
        tls: trusting(&authority),
        ..oauth2(&endpoint)
    };
    let proxy = http_proxy(&endpoint).await;
    let proxied = OAuth2Config {
        token_url: "http://tokens.test/token".to_owned(),
        proxy: through("http://", &proxy, ""),
        ..oauth2(&endpoint)
    };
    for config in [secure.clone(), proxied] {
        assert_eq!(status(&with_auth(&receiver, Auth::OAuth2(Box::new(config)))).await, 204);
        assert_eq!(receiver.next().await.header("authorization"), Some("Bearer one"));
    }
    assert_eq!(server.seen(), ["none nobody"]);
    assert_eq!(proxy.seen(), ["POST http://tokens.test/token HTTP/1.1 nobody"]);
    let without = OAuth2Config { tls: TlsConfig::default(), ..secure };
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(without)));
    let error = send(&sender).await.expect_err("no token");
    assert_eq!(error.kind, SendErrorKind::Auth);
    assert!(error.what.contains("certificate verify failed"), "{error}");
}

#[tokio::test]
async fn a_certificate_may_have_another_name_than_the_host() {
    let authority = Authority::new();
    let mut receiver = Receiver::new();
    let server = tls_server(&receiver, acceptor(&authority, "receiver.test").build()).await;
    refusal(&https(&server, trusting(&authority))).await;
    let named =
        |name: &str| TlsConfig { server_name: Some(name.to_owned()), ..trusting(&authority) };
    let sender = Sender::new(&https(&server, named("receiver.test"))).expect("a sender");
    assert_eq!(status(&sender).await, 204);
    assert_eq!(server.seen().last().unwrap(), "receiver.test nobody");
    let address = server.address.to_string();
    assert_eq!(receiver.next().await.header("host"), Some(address.as_str()));
    refusal(&https(&server, named("other.test"))).await;
    let by_address = error(&https(&server, named("127.0.0.2")));
    assert!(by_address.starts_with("tls_config.server_name: "), "{by_address}");
    let url = Secret::new("http://127.0.0.1:1");
    let proxy = ProxyConfig::Url { url, no_proxy: String::new() };
    let proxied = error(&PusherConfig { proxy, ..https(&server, named("receiver.test")) });
    assert!(proxied.contains("through a proxy"), "{proxied}");
}

#[tokio::test]
async fn clients_show_certificates_with_keys_of_all_kinds() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let receiver = Receiver::new();
    let server = tls_server(&receiver, asking_clients(&authority, &clients)).await;
    let what = send(&Sender::new(&https(&server, trusting(&authority))).expect("a sender")).await;
    what.expect_err("no certificate");
    let elliptic = elliptic_key();
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let sec1 = elliptic.ec_key().unwrap().private_key_to_pem().unwrap();
    let pkcs1 = rsa.rsa().unwrap().private_key_to_pem().unwrap();
    for (name, key, pem, beginning) in [
        ("pkcs8", &elliptic, elliptic.private_key_to_pem_pkcs8().unwrap(), "-----BEGIN PRIVATE"),
        ("sec1", &elliptic, sec1, "-----BEGIN EC PRIVATE"),
        ("pkcs1", &rsa, pkcs1, "-----BEGIN RSA PRIVATE"),
    ] {
        let pem = String::from_utf8(pem).unwrap();
        assert!(pem.starts_with(beginning), "{beginning}");
        let cert = certificate(name, key, Some(&clients)).to_pem().unwrap();
        let tls = TlsConfig {
            cert: Some(SecretSource::value(String::from_utf8(cert).unwrap())),
            key: Some(SecretSource::value(pem)),
            ..trusting(&authority)
        };
        assert_eq!(status(&Sender::new(&https(&server, tls)).expect("a sender")).await, 204);
        assert_eq!(server.seen().last().unwrap(), &format!("none {name}"));
    }
}

#[tokio::test]
async fn versions_of_tls_are_bounded() {
    let authority = Authority::new();
    let receiver = Receiver::new();
    let mut old = acceptor(&authority, "127.0.0.1");
    old.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    let server = tls_server(&receiver, old.build()).await;
    let from = |min| TlsConfig { min_version: Some(min), ..trusting(&authority) };
    let sender = Sender::new(&https(&server, from(TlsVersion::Tls12))).expect("a sender");
    assert_eq!(status(&sender).await, 204);
    refusal(&https(&server, from(TlsVersion::Tls13))).await;
    let contradiction =
        TlsConfig { max_version: Some(TlsVersion::Tls12), ..from(TlsVersion::Tls13) };
    assert!(error(&https(&server, contradiction)).contains("min_version"));
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change_unless_they_are_no_good() {
    let (log, _guard) = Log::capture();
    let files = Files::new();
    let (authority, clients) = (Authority::new(), Authority::new());
    let receiver = Receiver::new();
    let server = tls_server(&receiver, asking_clients(&authority, &clients)).await;
    let client = |name: &str| {
        let key = elliptic_key();
        let cert = certificate(name, &key, Some(&clients));
        (cert.to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap())
    };
    let (cert, key) = client("first");
    let tls = TlsConfig {
        ca: Some(files.write("ca", authority.pem())),
        cert: Some(files.write("cert", cert)),
        key: Some(files.write("key", key)),
        ..TlsConfig::default()
    };
    let sender = Sender::new(&https(&server, tls)).expect("a sender");
    assert_eq!(status(&sender).await, 204);
    let (cert, key) = client("second");
    files.write("cert", cert);
    // For now, the certificate is there without its key.
    send_until(&sender, |reply| {
        assert_eq!(reply.expect("an answer").status, 204);
        !log.lines("ERROR").is_empty()
    })
    .await;
    assert_eq!(server.seen(), ["none first"], "the connection from before is in use");
    files.write("key", key);
    send_until(&sender, |reply| {
        assert_eq!(reply.expect("an answer").status, 204);
        server.seen().len() > 1
    })
    .await;
    assert_eq!(server.seen(), ["none first", "none second"]);
    assert_eq!(log.lines("ERROR").len(), 1, "{}", log.text());
    files.write("ca", Authority::new().pem());
    send_until(&sender, |reply| reply.is_err()).await;
    files.write("ca", authority.pem());
    send_until(&sender, |reply| reply.is_ok()).await;
    assert!(!log.text().contains("PRIVATE KEY"));
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_errors_that_do_not_show_them() {
    let key = elliptic_key();
    let cert = String::from_utf8(certificate("a", &key, None).to_pem().unwrap()).unwrap();
    let plain = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(cipher, b"hunter2").unwrap();
    let other = elliptic_key().private_key_to_pem_pkcs8().unwrap();
    let value = |text: &str| Some(SecretSource::value(text));
    let pair = |cert: &str, key: &[u8]| TlsConfig {
        cert: value(cert),
        key: value(std::str::from_utf8(key).unwrap()),
        ..TlsConfig::default()
    };
    for (tls, expected) in [
        (TlsConfig { ca: value("hunter2"), ..TlsConfig::default() }, "ca: there is no certificate"),
        (TlsConfig { cert: value(&cert), ..TlsConfig::default() }, "cert and key go together"),
        (pair(&cert, &encrypted), "openssl pkey"),
        (pair(&cert, b"hunter2"), "no private key"),
        (pair("hunter2", plain.as_bytes()), "cert: "),
        (pair(&cert, &other), "mismatch"),
    ] {
        let error = error(&PusherConfig { tls, ..config("https://a/b") });
        assert!(error.starts_with("tls_config") && error.contains(expected), "{error}");
        assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
    }
}

/// An HTTP proxy that leads everything to the receiver. It notes the first line of each request
/// and who asks.
async fn http_proxy(receiver: &Receiver) -> Front {
    Front::new(receiver, |mut stream, backend, seen| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let text = String::from_utf8(head.clone()).unwrap();
        let first = text.lines().next().unwrap();
        let who = text.lines().find(|line| line.to_lowercase().starts_with("proxy-authorization:"));
        let who = who.map_or("nobody", |line| line.rsplit(' ').next().unwrap());
        seen.lock().unwrap().push(format!("{first} {who}"));
        let mut backend = TcpStream::connect(backend).await?;
        if first.starts_with("CONNECT") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        } else {
            backend.write_all(&head).await?;
        }
        copy_bidirectional(&mut stream, &mut backend).await.map(drop)
    })
    .await
}

/// A SOCKS5 proxy (RFC 1928, 1929) that leads everything to the receiver. It notes where
/// connections were to go and who asked.
async fn socks_proxy(receiver: &Receiver) -> Front {
    Front::new(receiver, |mut stream, backend, seen| async move {
        async fn text(stream: &mut TcpStream) -> io::Result<String> {
            let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut bytes).await?;
            Ok(String::from_utf8(bytes).unwrap())
        }
        assert_eq!(stream.read_u8().await?, 5);
        let methods = text(&mut stream).await?;
        let mut who = "nobody".to_owned();
        if methods.contains('\u{2}') {
            stream.write_all(&[5, 2]).await?;
            assert_eq!(stream.read_u8().await?, 1);
            who = format!("{}:{}", text(&mut stream).await?, text(&mut stream).await?);
            stream.write_all(&[1, 0]).await?;
        } else {
            stream.write_all(&[5, 0]).await?;
        }
        let mut request = [0; 4];
        stream.read_exact(&mut request).await?;
        let host = match request {
            [5, 1, 0, 1] => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
            [5, 1, 0, 3] => text(&mut stream).await?,
            other => panic!("{other:?} is no request for an IPv4 address or a name"),
        };
        let port = stream.read_u16().await?;
        seen.lock().unwrap().push(format!("{host}:{port} {who}"));
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        let mut backend = TcpStream::connect(backend).await?;
        copy_bidirectional(&mut stream, &mut backend).await.map(drop)
    })
    .await
}

fn through(scheme_and_user: &str, proxy: &Front, no_proxy: &str) -> ProxyConfig {
    let url = Secret::new(format!("{scheme_and_user}{}", proxy.address));
    ProxyConfig::Url { url, no_proxy: no_proxy.to_owned() }
}

#[tokio::test]
async fn requests_go_through_an_http_proxy() {
    let receiver = Receiver::new();
    let proxy = http_proxy(&receiver).await;
    for (user, who) in [("", "nobody"), ("user:hunter2@", "dXNlcjpodW50ZXIy")] {
        let proxy_config = through(&format!("http://{user}"), &proxy, "other.test");
        let config = PusherConfig { proxy: proxy_config, ..config("http://receiver.test/write") };
        assert_eq!(status(&Sender::new(&config).expect("a sender")).await, 204);
        let expected = format!("POST http://receiver.test/write HTTP/1.1 {who}");
        assert_eq!(proxy.seen().last(), Some(&expected));
    }
}

#[tokio::test]
async fn connections_with_tls_go_through_a_tunnel() {
    let authority = Authority::new();
    let receiver = Receiver::new();
    let server = tls_server(&receiver, acceptor(&authority, "receiver.test").build()).await;
    let to_server = server.address;
    let proxy = Front::new(&receiver, move |mut stream, _, seen| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        seen.lock().unwrap().push(String::from_utf8(head).unwrap());
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        let mut server = TcpStream::connect(to_server).await?;
        copy_bidirectional(&mut stream, &mut server).await.map(drop)
    })
    .await;
    let config = PusherConfig {
        tls: trusting(&authority),
        proxy: through("http://user:hunter2@", &proxy, ""),
        auth: Auth::bearer(SecretSource::value("hunter3")),
        ..config("https://receiver.test/write")
    };
    assert_eq!(status(&Sender::new(&config).expect("a sender")).await, 204);
    assert_eq!(server.seen(), ["receiver.test nobody"]);
    let seen = proxy.seen().concat();
    assert!(seen.starts_with("CONNECT receiver.test:443 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("Basic dXNlcjpodW50ZXIy") && !seen.contains("hunter3"), "{seen}");
}

#[tokio::test]
async fn requests_go_through_a_socks_proxy() {
    let receiver = Receiver::new();
    let proxy = socks_proxy(&receiver).await;
    for (scheme, host, expected) in [
        ("socks5h://", "receiver.test", "receiver.test:80 nobody"),
        ("socks5h://user:hunter2@", "receiver.test", "receiver.test:80 user:hunter2"),
        ("socks5://", "192.0.2.1", "192.0.2.1:80 nobody"),
    ] {
        let config = PusherConfig {
            proxy: through(scheme, &proxy, ""),
            ..config(format!("http://{host}/write"))
        };
        assert_eq!(status(&Sender::new(&config).expect("a sender")).await, 204);
        assert_eq!(proxy.seen().last().map(String::as_str), Some(expected));
    }
}

#[tokio::test]
async fn hosts_of_the_list_are_reached_without_the_proxy() {
    let receiver = Receiver::new();
    let proxy = http_proxy(&receiver).await;
    for no_proxy in ["127.0.0.1", "example.net, 127.0.0.0/8", "*"] {
        let proxy = through("http://", &proxy, no_proxy);
        let config = PusherConfig { proxy, ..config(receiver.url("/write")) };
        assert_eq!(status(&Sender::new(&config).expect("a sender")).await, 204);
    }
    assert_eq!(proxy.seen(), [""; 0]);
}

/// The environment belongs to the process, so this runs itself in others.
#[tokio::test]
async fn the_environment_names_the_proxy_and_the_exceptions() {
    const URL: &str = "FLOW_EXPORTER_TEST_URL";
    if let Ok(url) = std::env::var(URL) {
        assert_eq!(status(&Sender::new(&PusherConfig::new(url)).expect("a sender")).await, 204);
        return;
    }
    let receiver = Receiver::new();
    let proxy = http_proxy(&receiver).await;
    for (no_proxy, is_proxied) in [("", true), ("127.0.0.1", false)] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_environment_names_the_proxy_and_the_exceptions"]);
        for name in ["http_proxy", "all_proxy", "ALL_PROXY", "no_proxy"] {
            child.env_remove(name);
        }
        child
            .env(URL, receiver.url("/write"))
            .env("HTTP_PROXY", format!("http://{}", proxy.address))
            .env("NO_PROXY", no_proxy);
        let ended = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        assert_eq!(proxy.seen().len(), 1, "is_proxied: {is_proxied}");
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_an_error_that_does_not_show_its_url() {
    for url in ["hunter2", "ftp://user:hunter2@proxy.test", "socks5://", "http://:hunter2@"] {
        let proxy = ProxyConfig::Url { url: Secret::new(url), no_proxy: String::new() };
        let error = error(&PusherConfig { proxy, ..config("http://a/b") });
        assert!(error.starts_with("proxy_url: ") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn no_secret_is_shown_by_debug_or_by_an_error() {
    let (log, _guard) = Log::capture();
    let secret = || SecretSource::value("hunter2");
    let proxy = ProxyConfig::Url {
        url: Secret::new("http://user:hunter2@127.0.0.1:1"),
        no_proxy: String::new(),
    };
    let oauth2 = OAuth2Config {
        client_id: "client".to_owned(),
        client_secret: secret(),
        token_url: "http://127.0.0.1:1/token?key=hunter2".to_owned(),
        scopes: Vec::new(),
        endpoint_params: vec![("password".to_owned(), Secret::new("hunter2"))],
        tls: TlsConfig::default(),
        proxy: proxy.clone(),
    };
    let sigv4 = SigV4Config {
        region: Some("eu-central-1".to_owned()),
        access_key: Some("AKIDEXAMPLE".to_owned()),
        secret_key: Some(secret()),
        ..SigV4Config::default()
    };
    for auth in [
        Auth::None,
        Auth::Basic { username: SecretSource::value("u"), password: secret() },
        Auth::bearer(secret()),
        Auth::OAuth2(Box::new(oauth2)),
        Auth::SigV4(sigv4),
    ] {
        let config = PusherConfig {
            auth,
            headers: vec![("X-Key".to_owned(), Secret::new("hunter2"))],
            proxy: proxy.clone(),
            ..PusherConfig::new("http://receiver.test/write?key=hunter2")
        };
        let sender = Sender::new(&config).expect("a sender");
        let error = send(&sender).await.expect_err("no proxy is there");
        for shown in [
            format!("{config:?}"),
            format!("{config:#?}"),
            format!("{sender:?}"),
            format!("{error} {error:?}"),
            config.name.clone(),
        ] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(
                !shown.contains("dXNlcjpodW50ZXIy") && !shown.contains("dTpodW50ZXIy"),
                "{shown}"
            );
        }
    }
    assert!(!log.text().contains("hunter2"), "{}", log.text());
    let url = "http://user:hunter2@a/b";
    assert!(matches!(
        Sender::new(&PusherConfig::new(url)).expect_err("credentials in the URL"),
        PusherConfigError::Credentials
    ));
    assert!(!format!("{:?}", PusherConfig::new(url)).contains("hunter2"));
}
