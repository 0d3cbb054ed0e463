//! What the web configuration file asks of clients: TLS, certificates, users, headers.

use std::{
    fs,
    time::{Duration, Instant},
};

use flow_exporter::{
    config::web_file,
    health::State,
    metrics::Metrics,
    publish::server::{ServerConfig, Web},
};
use reqwest::{Certificate, Client, ClientBuilder, Identity, StatusCode};
use tempfile::TempDir;
use testkit::certificates::{Authority, certificate, elliptic_key};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{Exporter, PATIENCE, config, listener, rest};

/// The cost of test passwords: the lowest.
const COST: u32 = 4;

/// A server with a web configuration file, and the certificates that it names.
struct Guarded {
    exporter: Exporter,
    directory: TempDir,
    /// Of the server.
    authority: Authority,
    /// Of the clients.
    clients: Authority,
}

/// The server's certificate and key, in files.
const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

impl Guarded {
    fn start(file: &str) -> Self {
        Self::with(file, config())
    }

    fn with(file: &str, config: ServerConfig) -> Self {
        let directory = TempDir::new().expect("a directory");
        let (authority, clients) = (Authority::new(), Authority::new());
        let (cert, key) = authority.issue("127.0.0.1");
        for (name, text) in [
            ("cert.pem", cert.as_bytes()),
            ("key.pem", key.as_bytes()),
            ("web.yml", file.as_bytes()),
        ] {
            fs::write(directory.path().join(name), text).expect("written");
        }
        fs::write(directory.path().join("clients.pem"), clients.pem()).expect("written");
        let path = directory.path().join("web.yml");
        let exporter =
            Exporter::build_guarded(listener("127.0.0.1:0"), config, |metrics, health| {
                let component = health.register("web configuration");
                Web::new(web_file(&path), metrics, component).expect("a usable file")
            });
        Guarded { exporter, directory, authority, clients }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), text).expect("written");
    }

    /// A client that trusts the server, and makes a connection for each request.
    fn trusting(&self) -> ClientBuilder {
        let authority = Certificate::from_pem(&self.authority.pem()).expect("a certificate");
        fresh().add_root_certificate(authority)
    }

    fn https(&self, path: &str) -> String {
        format!("https://{}{path}", self.exporter.addr)
    }

    /// Waits until so many handshakes have failed: the client may know before they are counted.
    async fn until_failed(&self, reason: &str, expected: u64) {
        let failed = |metrics: &Metrics| metrics.tls_failures.with_label_values(&[reason]).get();
        self.exporter.until(failed, expected).await;
    }

    /// Asks again and again until a change of the files has come into force, or was refused.
    async fn until_read(&self, is_in_force: bool) {
        let read = async {
            while self.exporter.metrics.web_config_successful.get() != i64::from(is_in_force) {
                // Whatever it is answered.
                drop(status(fresh(), &self.exporter.url("/-/ready")).await);
            }
        };
        timeout(PATIENCE, read).await.expect("the files are read");
    }

    /// The same for a change whose effect is that this user logs in.
    async fn until_let_in(&self, user: &str, password: &str) {
        let let_in = async { while self.status_for("/metrics", user, password).await != 200 {} };
        timeout(PATIENCE, let_in).await.expect("the user is let in");
    }

    /// Why the file can't be used.
    fn degraded(&self) -> String {
        match self.exporter.health.components().remove(0).1 {
            State::Degraded(reason) => reason,
            state => panic!("{state:?}"),
        }
    }

    fn unauthorized(&self, reason: &str) -> u64 {
        self.exporter.metrics.http_unauthorized.with_label_values(&[reason]).get()
    }

    /// The status of an answer over plain HTTP to this user.
    async fn status_for(&self, path: &str, user: &str, password: &str) -> u16 {
        status_for(&self.exporter.url(path), user, password).await
    }
}

async fn status_for(url: &str, user: &str, password: &str) -> u16 {
    let request = fresh().build().expect("a client").get(url).basic_auth(user, Some(password));
    request.send().await.expect("an answer").status().as_u16()
}

fn fresh() -> ClientBuilder {
    Client::builder().no_proxy().pool_max_idle_per_host(0)
}

async fn status(client: ClientBuilder, url: &str) -> Result<StatusCode, reqwest::Error> {
    Ok(client.build().expect("a client").get(url).send().await?.status())
}

fn users(pairs: &[(&str, &str)]) -> String {
    let lines = pairs.iter().map(|(name, password)| {
        format!("  {name}: {}\n", bcrypt::hash(password, COST).expect("a hash"))
    });
    format!("basic_auth_users:\n{}", lines.collect::<String>())
}

#[tokio::test]
async fn with_a_certificate_the_server_speaks_https_alone() {
    let server = Guarded::start(TLS);
    let url = server.https("/metrics");
    assert_eq!(status(server.trusting(), &url).await.expect("an answer"), 200);
    status(fresh(), &url).await.expect_err("the authority is not known");
    server.until_failed("refused", 1).await;
    let answer = server.exporter.exchange(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with(
            "\r\n\r\nflow-exporter speaks HTTPS here: write https:// in place of http://\n"
        ),
        "{answer}"
    );
    server.until_failed("plain_http", 1).await;
    let answer = server.exporter.exchange(b"SSH-2.0-OpenSSH_10.0\r\n").await;
    assert!(!answer.contains("HTTP"), "{answer}");
    server.until_failed("not_tls", 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_is_closed() {
    let config = ServerConfig { handshake_timeout: Duration::from_millis(50), ..config() };
    let server = Guarded::with(TLS, config);
    let mut stream = server.exporter.connect().await;
    stream.write_all(&[22]).await.expect("the server reads");
    assert_eq!(rest(&mut stream).await, "");
    server.until_failed("timeout", 1).await;
    // Handshakes count as connections.
    server.exporter.until(|metrics| metrics.http_connections.get(), 0).await;
}

#[tokio::test]
async fn handshakes_give_way_when_there_are_too_many_connections() {
    let config = ServerConfig { max_connections: 2, ..config() };
    let server = Guarded::with(TLS, config);
    let mut first = server.exporter.connect().await;
    let _second = server.exporter.connect().await;
    server.exporter.until(|metrics| metrics.http_connections.get(), 2).await;
    assert_eq!(status(server.trusting(), &server.https("/")).await.expect("an answer"), 200);
    assert_eq!(rest(&mut first).await, "");
    server.exporter.until(|_| server.exporter.closed("crowded"), 1).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_connection() {
    let server = Guarded::start(TLS);
    let url = server.https("/metrics");
    assert_eq!(status(server.trusting(), &url).await.expect("an answer"), 200);
    let other = Authority::new();
    let (cert, key) = other.issue("127.0.0.1");
    server.write("cert.pem", cert);
    // The key of the certificate before does not fit, so that one is kept.
    server.until_read(false).await;
    assert_eq!(status(server.trusting(), &url).await.expect("an answer"), 200);
    server.write("key.pem", key);
    server.until_read(true).await;
    status(server.trusting(), &url).await.expect_err("the authority is another one");
    let authority = Certificate::from_pem(&other.pem()).expect("a certificate");
    let answer = status(fresh().add_root_certificate(authority), &url).await;
    assert_eq!(answer.expect("an answer"), 200);
    assert_eq!(server.exporter.metrics.web_config_successful.get(), 1);
}

#[tokio::test]
async fn clients_have_to_show_what_client_auth_type_says() {
    let ca = "  client_ca_file: clients.pem\n";
    // Without a certificate, with one of nobody's, with one of the clients' authority.
    for (auth, ca, expected) in [
        ("NoClientCert", "", [true, true, true]),
        ("RequestClientCert", "", [true, true, true]),
        ("RequireAnyClientCert", "", [false, true, true]),
        ("RequireClientCert", "", [false, true, true]),
        ("VerifyClientCertIfGiven", ca, [true, false, true]),
        ("RequireAndVerifyClientCert", ca, [false, false, true]),
    ] {
        let server = Guarded::start(&format!("{TLS}  client_auth_type: {auth}\n{ca}"));
        let key = elliptic_key();
        let own = certificate("nobody", &key, None).to_pem().expect("PEM");
        let key = key.private_key_to_pem_pkcs8().expect("PEM");
        let of_nobody = Identity::from_pkcs8_pem(&own, &key).expect("an identity");
        let clients = [None, Some(of_nobody), Some(identity(&server.clients, "prometheus.test"))];
        for (place, (client, is_let_in)) in clients.into_iter().zip(expected).enumerate() {
            let builder = match client {
                Some(identity) => server.trusting().identity(identity),
                None => server.trusting(),
            };
            let answer = status(builder, &server.https("/metrics")).await;
            assert_eq!(answer.is_ok(), is_let_in, "{auth}, client {place}: {answer:?}");
        }
        server.until_failed("no_certificate", u64::from(!expected[0])).await;
        server.until_failed("bad_certificate", u64::from(!expected[1])).await;
    }
}

fn identity(authority: &Authority, name: &str) -> Identity {
    let (cert, key) = authority.issue(name);
    Identity::from_pkcs8_pem(cert.as_bytes(), key.as_bytes()).expect("an identity")
}

#[tokio::test]
async fn a_client_certificate_must_have_one_of_the_allowed_names() {
    let server = Guarded::start(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n  \
         client_allowed_sans: [prometheus.test, 192.0.2.7, \"2001:db8::7\"]\n"
    ));
    for (name, is_let_in) in [
        ("prometheus.test", true),
        ("192.0.2.7", true),
        ("2001:db8::7", true),
        ("other.prometheus.test", false),
        ("192.0.2.8", false),
    ] {
        let client = server.trusting().identity(identity(&server.clients, name));
        let answer = status(client, &server.https("/metrics")).await;
        assert_eq!(answer.is_ok(), is_let_in, "{name}: {answer:?}");
    }
    server.until_failed("other_name", 2).await;
}

#[tokio::test]
async fn only_users_with_their_passwords_are_answered() {
    let server = Guarded::start(&users(&[("alice", "wonderland"), ("bob", "")]));
    for (user, password, expected) in [
        ("alice", "wonderland", 200),
        ("alice", "wonderland", 200),
        ("alice", "wonderlanD", 401),
        ("alice", "", 401),
        ("Alice", "wonderland", 401),
        ("nobody", "wonderland", 401),
        ("bob", "", 200),
        ("", "", 401),
    ] {
        for path in ["/metrics", "/", "/api/v1/status", "/-/ready"] {
            let status = server.status_for(path, user, password).await;
            // Nothing is published yet, so it may not be ready.
            let status = if status == 503 { 200 } else { status };
            assert_eq!(status, expected, "{user}:{password} at {path}");
        }
    }
    assert_eq!(server.unauthorized("wrong"), 20);
    for path in
        ["/metrics", "/", "/api/v1/status", "/api/v1/events", "/-/reload", "/-/ready", "/nothing"]
    {
        let (status, said) = server.exporter.get(path).await;
        assert_eq!(status, 401, "{path}");
        assert!(said.contains("Log in with a user and a password."), "{path}: {said}");
    }
    assert_eq!(server.unauthorized("missing"), 7);
    let answer = reqwest::get(server.exporter.url("/")).await.expect("an answer");
    let asked = &answer.headers()["www-authenticate"];
    assert_eq!(asked, r#"Basic realm="flow-exporter", charset="UTF-8""#);
    for header in ["Bearer abc", "Basic", "Basic ***", "Basic YWxpY2U="] {
        let request = Client::new().get(server.exporter.url("/")).header("Authorization", header);
        assert_eq!(request.send().await.expect("an answer").status(), 401, "{header}");
    }
}

#[tokio::test]
async fn whether_it_is_healthy_is_told_to_everybody_and_why_not_to_users() {
    let server = Guarded::start(&users(&[("alice", "wonderland")]));
    let healthy = server.exporter.get("/-/healthy").await;
    assert_eq!(healthy, (200, "Healthy.\n".to_owned()));
    assert_eq!(server.status_for("/-/healthy", "alice", "wrong").await, 401);
    drop(server.exporter.health.register("secret part"));
    let (status, said) = server.exporter.get("/-/healthy").await;
    assert_eq!(status, 503);
    assert!(!said.contains("secret part"), "{said}");
    let request = Client::new().get(server.exporter.url("/-/healthy"));
    let answer = request.basic_auth("alice", Some("wonderland")).send().await.expect("an answer");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.expect("text").contains("secret part: died"));
}

#[tokio::test]
async fn a_changed_file_applies_and_a_broken_one_does_not() {
    let server = Guarded::start(&users(&[("alice", "first")]));
    assert_eq!(server.status_for("/metrics", "alice", "first").await, 200);
    server.write("web.yml", users(&[("alice", "second")]));
    server.until_let_in("alice", "second").await;
    assert_eq!(server.status_for("/metrics", "alice", "first").await, 401);
    let broken = format!("{}basic_auth_user: {{}}\n", users(&[("alice", "third")]));
    server.write("web.yml", broken);
    server.until_read(false).await;
    assert_eq!(server.status_for("/metrics", "alice", "third").await, 401);
    assert_eq!(server.status_for("/metrics", "alice", "second").await, 200);
    let reason = server.degraded();
    assert!(reason.contains("line 3: basic_auth_user: there is no such key"), "{reason}");
    assert!(reason.contains("did you mean basic_auth_users?"), "{reason}");
    fs::remove_file(server.directory.path().join("web.yml")).expect("removed");
    assert_eq!(server.status_for("/metrics", "alice", "second").await, 200);
    server.write("web.yml", format!("{TLS}{}", users(&[("alice", "third")])));
    server.until_read(true).await;
    assert_eq!(server.exporter.health.components()[0].1, State::Ready);
    let request = server.trusting().build().expect("a client").get(server.https("/metrics"));
    let answer = request.basic_auth("alice", Some("third")).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_file_that_would_let_more_clients_in_is_refused_until_the_next_start() {
    let alice = users(&[("alice", "first")]);
    let verified =
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n";
    let named = format!("{verified}  client_allowed_sans: [prometheus.test]\n");
    let headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    for (before, after, expected) in [
        (alice.clone(), String::new(), "the file: it is empty: say what is asked of clients"),
        (alice.clone(), "# users:\n\n---\n".to_owned(), "the file: it is empty"),
        (alice.clone(), "null\n".to_owned(), "the file: it is empty"),
        (alice.clone(), "{}\n".to_owned(), "the file: it is empty"),
        (alice.clone(), "basic_auth_users:\n".to_owned(), "basic_auth_users: nothing is below it"),
        (alice.clone(), "basic_auth_users: {}\n".to_owned(), "basic_auth_users: there is no user"),
        (alice.clone(), headers.to_owned(), "it lacks basic_auth_users, which keeps clients out"),
        (format!("{TLS}{alice}"), alice.clone(), "it lacks tls_server_config,"),
        (format!("{TLS}{alice}"), TLS.to_owned(), "it lacks basic_auth_users,"),
        (
            format!("{TLS}{verified}"),
            TLS.to_owned(),
            "it lacks client_auth_type: RequireAndVerifyClientCert,",
        ),
        (format!("{TLS}{named}"), format!("{TLS}{verified}"), "it lacks client_allowed_sans,"),
    ] {
        let server = Guarded::start(&before);
        server.write("web.yml", &after);
        server.until_read(false).await;
        let reason = server.degraded();
        assert!(reason.contains("--web.config.file") && reason.contains(expected), "{reason}");
        assert!(reason.contains("what was read before stays in force"), "{reason}");
        if before.starts_with(TLS) {
            let plain = server.exporter.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(plain.starts_with("HTTP/1.1 400 "), "{after}: {plain}");
            let client = server.trusting().build().expect("a client");
            let answer = client.get(server.https("/metrics")).send().await;
            assert!(!answer.is_ok_and(|answer| answer.status() == 200), "{after}");
        } else {
            assert_eq!(server.exporter.get("/api/v1/status").await.0, 401, "{after}");
            assert_eq!(server.status_for("/metrics", "alice", "first").await, 200, "{after}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_taken() {
    let both = users(&[("alice", "first"), ("bob", "second")]);
    let server = Guarded::start(&both);
    let half = users(&[("alice", "third")]);
    // A machine that takes a break makes the half of it look like all.
    timeout(PATIENCE, async {
        loop {
            let began = Instant::now();
            server.write("web.yml", &half);
            let status = server.status_for("/metrics", "bob", "second").await;
            if began.elapsed() < Duration::from_millis(900) {
                assert_eq!(status, 200);
                break;
            }
            server.write("web.yml", &both);
            server.until_let_in("bob", "second").await;
        }
    })
    .await
    .expect("a look within a second");
    server.until_let_in("alice", "third").await;
    assert_eq!(server.status_for("/metrics", "bob", "second").await, 401);
}

#[tokio::test]
async fn a_stream_ends_that_was_begun_by_a_user_who_is_there_no_more() {
    let config = ServerConfig { leave_timeout: Duration::from_millis(50), ..config() };
    let server = Guarded::with(&users(&[("alice", "first")]), config);
    let request = Client::new().get(server.exporter.url("/api/v1/events"));
    let request = request.basic_auth("alice", Some("first"));
    let mut stream = request.send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    server.write("web.yml", users(&[("bob", "second")]));
    server.until_let_in("bob", "second").await;
    let ended = async { while let Ok(Some(_)) = stream.chunk().await {} };
    timeout(PATIENCE, ended).await.expect("the stream ends");
    server.exporter.until(|_| server.exporter.closed("web_config"), 1).await;
}

#[tokio::test]
async fn guessing_passwords_does_not_lock_out_who_has_logged_in() {
    let hash = bcrypt::hash("wonderland", 11).expect("a hash");
    let server = Guarded::start(&format!("basic_auth_users:\n  alice: {hash}\n"));
    assert_eq!(server.status_for("/metrics", "alice", "wonderland").await, 200);
    let guesses: Vec<_> = (0..40)
        .map(|number| {
            let url = server.exporter.url("/metrics");
            tokio::spawn(async move { status_for(&url, "alice", &format!("guess {number}")).await })
        })
        .collect();
    // Of 40, at most 16 are verified at a time, each of which takes a while.
    server.exporter.until(|_| server.unauthorized("busy") > 0, true).await;
    let verified = server.unauthorized("wrong");
    assert_eq!(server.status_for("/metrics", "alice", "wonderland").await, 200);
    assert!(server.unauthorized("wrong") < 16 + verified, "it did not wait for the guesses");
    for guess in guesses {
        assert!(matches!(guess.await.expect("an answer"), 401 | 503));
    }
    assert_eq!(server.unauthorized("wrong") + server.unauthorized("busy"), 40);
}

#[tokio::test]
async fn headers_of_the_file_are_added_to_answers_that_do_not_have_them() {
    let server = Guarded::start(
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    \
         Strict-Transport-Security: max-age=63072000\n    Content-Security-Policy: default-src 'self'\n",
    );
    let page = reqwest::get(server.exporter.url("/")).await.expect("an answer");
    let metrics = reqwest::get(server.exporter.url("/metrics")).await.expect("an answer");
    for answer in [&page, &metrics] {
        assert_eq!(answer.headers()["x-frame-options"], "deny");
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=63072000");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers().get_all("content-security-policy").iter().count(), 1);
    }
    let policy = page.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert_eq!(metrics.headers()["content-security-policy"], "default-src 'self'");
}

#[tokio::test]
async fn requests_are_bounded_by_rate_limit_except_for_health() {
    let server = Guarded::start("rate_limit:\n  interval: 1h\n  burst: 2\n");
    for expected in [200, 200, 429] {
        assert_eq!(server.exporter.get("/metrics").await.0, expected);
    }
    assert_eq!(server.exporter.get("/-/healthy").await.0, 200);
    let answer = reqwest::get(server.exporter.url("/")).await.expect("an answer");
    assert!(answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_client_that_offers_http_2_gets_http_1_1() {
    let server = Guarded::start(TLS);
    let mut builder =
        openssl::ssl::SslConnector::builder(openssl::ssl::SslMethod::tls()).expect("TLS");
    builder.set_verify(openssl::ssl::SslVerifyMode::NONE);
    builder.set_alpn_protos(b"\x02h2\x08http/1.1").expect("protocols");
    let ssl = builder.build().configure().expect("TLS").into_ssl("127.0.0.1").expect("TLS");
    let stream = server.exporter.connect().await;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).expect("TLS");
    std::pin::Pin::new(&mut stream).connect().await.expect("a handshake");
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a whole answer, and an orderly end");
    assert!(answer.ends_with("Healthy.\n"), "{answer}");
}
