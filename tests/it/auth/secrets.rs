//! Secrets are never shown, whatever servers answer.

use std::io;

use flow_exporter::publish::pusher::{
    Auth, OAuth2Config, ProxyConfig, PusherConfig, PusherConfigError, Secret, SecretSource,
    SendErrorKind, Sender, SigV4Config, TlsConfig,
};
use openssl::base64;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Files, Front, config,
    oauth2::{oauth2, token},
    proxies::through,
    refused, send, send_until, with_auth,
};
use testkit::{
    log::Log,
    receiver::{Answer, Received, Receiver},
};

const PASSWORD: &str = "open \"sesame\" & \u{e4}/+1";

/// A request as servers quote it in their error pages.
fn repeated(request: &Received) -> String {
    let mut text = format!("{} {}\n", request.method, request.uri);
    for (name, value) in &request.headers {
        text.extend([name.as_str(), ": ", value.to_str().unwrap(), "\n"]);
    }
    text + &String::from_utf8_lossy(&request.body)
}

/// How a server encodes a text before it shows it.
const WRITERS: [fn(&str) -> String; 7] = [
    str::to_owned,
    |text| serde_json::to_string(text).unwrap(),
    |text| base64::encode_block(text.as_bytes()),
    |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat(),
    |text| text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
    |text| text.replace('&', "&amp;").replace('"', "&quot;").replace('+', "&#43;"),
    // An error page with an error within it.
    |text| format!("{{\"error\":{}}}", serde_json::to_string(&format!("<p>{text}")).unwrap()),
];

/// Every decoding of a text.
fn readings(text: &str) -> Vec<String> {
    let mut readings = vec![text.to_owned()];
    let decoded =
        form_urlencoded::parse(text.as_bytes()).map(|(name, value)| format!("{name}{value}"));
    readings.push(decoded.collect());
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    for start in [0, 1] {
        let pairs = digits[start..].chunks_exact(2);
        let bytes = pairs.map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap());
        readings.push(String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned());
    }
    for word in text.split(|each: char| !each.is_ascii_alphanumeric() && !"+/=".contains(each)) {
        for start in 0..4.min(word.len()) {
            let groups = &word.as_bytes()[start..];
            let groups = &groups[..groups.len() / 4 * 4];
            if let Ok(bytes) = base64::decode_block(std::str::from_utf8(groups).unwrap()) {
                readings.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    readings
}

#[track_caller]
fn assert_hidden(secrets: &[&str], shown: &str) {
    for reading in readings(shown) {
        for secret in secrets {
            assert!(!reading.contains(secret), "{secret} is in {reading:?}, from {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_repeats_the_request_shows_no_secret() {
    let keys = SigV4Config {
        region: Some("eu-central-1".to_owned()),
        access_key: Some("AKIDEXAMPLE".to_owned()),
        secret_key: Some(SecretSource::value("hunter2")),
        ..SigV4Config::default()
    };
    let basic = Auth::Basic {
        username: SecretSource::value("Aladdin"),
        password: SecretSource::value(PASSWORD),
    };
    for auth in
        [Auth::None, basic, Auth::bearer(SecretSource::value("hunter3==")), Auth::SigV4(keys)]
    {
        for writer in WRITERS {
            let mut receiver = Receiver::new();
            receiver.judge(move |request| {
                Some(Answer::Status(400, Vec::new(), writer(&repeated(request))))
            });
            let config = PusherConfig {
                auth: auth.clone(),
                headers: vec![("X-Api-Key".to_owned(), Secret::new("hunter4 +/"))],
                ..config(receiver.url("/write?token=hunter5%2B%2F&tenant=a"))
            };
            let message = send(&Sender::new(&config).expect("a sender")).await.expect("it").message;
            let request = receiver.next().await;
            let sent = request.header("authorization").unwrap_or("none of it");
            let signature = sent.rsplit('=').next().filter(|end| end.len() == 64);
            let secrets = [
                PASSWORD,
                "hunter3",
                "hunter4",
                "hunter5",
                sent.trim_end_matches('='),
                signature.unwrap_or("no signature"),
            ];
            assert_hidden(&secrets, &message);
            assert!(message.contains("<secret>"), "{message}");
        }
    }
}

#[tokio::test]
async fn words_that_hold_no_secret_are_shown_as_they_are() {
    let receiver = Receiver::new();
    let message = "user=42: out of order sample (err-mimir-sample-out-of-order) {\"a\":\"50%\"}";
    receiver.always(Answer::Status(400, Vec::new(), message.to_owned()));
    let auth = Auth::Basic {
        username: SecretSource::value("user"),
        // Too short to be distinguished from other text.
        password: SecretSource::value("of"),
    };
    assert_eq!(send(&with_auth(&receiver, auth)).await.expect("an answer").message, message);
}

#[tokio::test]
async fn token_endpoint_and_receiver_that_repeat_requests_show_no_secret() {
    for writer in WRITERS {
        let endpoint = Receiver::new();
        endpoint.judge(move |request| {
            Some(Answer::Status(401, Vec::new(), writer(&repeated(request))))
        });
        let receiver = Receiver::new();
        receiver.judge(move |request| {
            Some(Answer::Status(400, Vec::new(), writer(&repeated(request))))
        });
        let config = OAuth2Config {
            client_secret: SecretSource::value(PASSWORD),
            endpoint_params: vec![("assertion".to_owned(), Secret::new("hunter2 ="))],
            ..oauth2(&endpoint)
        };
        let sender = with_auth(&receiver, Auth::OAuth2(Box::new(config)));
        // The secret is sent in the header first, and then in the body, which is shown.
        let error = send(&sender).await.expect_err("no token");
        assert_eq!(error.kind, SendErrorKind::Auth);
        assert_hidden(&[PASSWORD, "hunter2"], &error.what);
        assert!(error.what.contains("<secret>"), "{error}");
        endpoint.answer([token("hunter3", "")]);
        let message = send(&sender).await.expect("an answer").message;
        assert_hidden(&["hunter3"], &message);
        assert!(message.contains("<secret>"), "{message}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_in_use_any_more_is_still_masked() {
    let files = Files::new();
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::bearer(files.write("token", "hunter2-old")));
    refused(&sender, &mut receiver, || drop(files.write("token", "hunter2-new"))).await;
    // It quotes an earlier request.
    let message = "no such token: hunter2-old, hunter2-new";
    receiver.always(Answer::Status(403, Vec::new(), message.to_owned()));
    send_until(&sender, |reply| {
        assert_eq!(reply.expect("an answer").message, "no such token: <secret>, <secret>");
        true
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_the_limit_cuts_in_two_is_masked() {
    let secret = (0..5_000).map(|number| format!("{number:04x}")).collect::<Vec<_>>().concat();
    let receiver = Receiver::new();
    // The part that is read ends within a secret, so early that its beginning would be shown.
    receiver.always(Answer::Status(400, Vec::new(), secret.repeat(20)));
    let auth = Auth::bearer(SecretSource::value(&secret));
    let message = send(&with_auth(&receiver, auth)).await.expect("an answer").message;
    assert_eq!(message.replace("<secret>", ""), "");
}

/// A proxy that refuses everything and repeats the request.
async fn refusing_proxy(receiver: &Receiver) -> Front {
    Front::new(receiver, |mut stream: TcpStream, _, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let answer = format!("HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\n\r\n", head.len());
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(&head).await?;
        io::Result::Ok(())
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_repeats_the_request_shows_no_secret() {
    let receiver = Receiver::new();
    let proxy = refusing_proxy(&receiver).await;
    for url in ["http://receiver.test/write", "https://receiver.test/write"] {
        let config = PusherConfig {
            proxy: through("http://user:hunter%322@", &proxy, ""),
            auth: Auth::bearer(SecretSource::value("hunter3")),
            ..config(url)
        };
        let shown = match send(&Sender::new(&config).expect("a sender")).await {
            Ok(reply) => reply.message,
            Err(error) => error.what,
        };
        assert_hidden(&["hunter2", "hunter3", "dXNlcjpodW50ZXIy"], &shown);
        assert_eq!(shown.contains("<secret>"), url.starts_with("http:"), "{shown}");
    }
}

#[tokio::test]
async fn a_redirection_takes_nothing_to_another_origin() {
    let mut other = Receiver::new();
    let auths = || {
        [
            Auth::None,
            Auth::bearer(SecretSource::value("hunter2")),
            Auth::Basic {
                username: SecretSource::value("u"),
                password: SecretSource::value("hunter2"),
            },
        ]
    };
    for status in [300, 301, 302, 303, 307, 308] {
        for auth in auths() {
            let mut receiver = Receiver::new();
            let location = other.url("/elsewhere/hunter2?key=hunter2#hunter2");
            let location = location.replace("http://", "http://u:hunter2@");
            receiver.always(Answer::Status(status, vec![("location", location)], String::new()));
            let config = PusherConfig {
                auth,
                headers: vec![("X-Key".to_owned(), Secret::new("hunter2"))],
                ..config(receiver.url("/write"))
            };
            let reply = send(&Sender::new(&config).expect("a sender")).await.expect("an answer");
            assert_eq!(reply.status, status);
            assert_eq!(reply.message, other.url("/elsewhere/<secret>"));
            receiver.next().await;
            assert!(receiver.is_idle() && other.is_idle());
        }
    }
    // Nor does an answer of a token endpoint.
    let endpoint = Receiver::new();
    let location = vec![("location", other.url("/token"))];
    endpoint.always(Answer::Status(307, location, String::new()));
    let receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    assert_eq!(send(&sender).await.expect_err("no token").kind, SendErrorKind::Auth);
    assert!(other.is_idle());
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
