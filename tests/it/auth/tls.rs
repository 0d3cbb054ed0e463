//! Certificates of both sides.

use std::{io, pin::Pin, sync::Arc};

use flow_exporter::publish::pusher::{
    Auth, OAuth2Config, ProxyConfig, PusherConfig, Secret, SecretSource, SendErrorKind, Sender,
    TlsConfig, TlsVersion,
};
use openssl::{
    nid::Nid,
    pkey::PKey,
    rsa::Rsa,
    ssl::{NameType, Ssl, SslAcceptor, SslMethod, SslVerifyMode, SslVersion},
};
use tokio::{io::copy_bidirectional, net::TcpStream};

use super::{
    Files, Front, config, error,
    oauth2::{oauth2, token},
    proxies::{http_proxy, through},
    send, send_until, status, with_auth,
};
use testkit::{
    certificates::{Authority, certificate, elliptic_key},
    log::Log,
    receiver::Receiver,
};

/// A TLS server in front of a receiver. It records the name that the client asked for and the one
/// in the client's certificate.
pub(crate) async fn tls_server(receiver: &Receiver, acceptor: SslAcceptor) -> Front {
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

/// The configuration of a server with this name.
pub(crate) fn acceptor(authority: &Authority, name: &str) -> openssl::ssl::SslAcceptorBuilder {
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

pub(crate) fn trusting(authority: &Authority) -> TlsConfig {
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
    // So far, the certificate is there without its key.
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
