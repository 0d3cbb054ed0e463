//! Requests through proxies.

use std::{io, process::Command};

use flow_exporter::publish::pusher::{
    Auth, ProxyConfig, PusherConfig, Secret, SecretSource, Sender,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
};

use super::{
    Front, config, error, status,
    tls::{acceptor, tls_server, trusting},
};
use testkit::{certificates::Authority, receiver::Receiver};

/// An HTTP proxy that forwards everything to the receiver. It records the first line of each
/// request, and the user.
pub(crate) async fn http_proxy(receiver: &Receiver) -> Front {
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

/// A SOCKS5 proxy (RFC 1928, 1929) that forwards everything to the receiver. It records the
/// destination of each connection, and the user.
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

pub(crate) fn through(scheme_and_user: &str, proxy: &Front, no_proxy: &str) -> ProxyConfig {
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

/// The environment belongs to the process, so this test runs itself in child processes.
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
        child
            .args(["--exact", "auth::proxies::the_environment_names_the_proxy_and_the_exceptions"]);
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
