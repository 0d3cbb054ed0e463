//! The program never shows secrets, whatever servers do with them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use testkit::{
    exporter::{Exporter, program},
    servers::{START_LIMIT, wait_for},
};

/// A server that refuses every request with a page that repeats it, head and body. Returns its
/// address. It ends with the process.
fn repeating_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer_once(stream.unwrap()));
        }
    });
    address
}

fn answer_once(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut request).unwrap(), 0, "{request}");
    }
    let length = request.to_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    request.push_str(&String::from_utf8_lossy(&body));
    let head = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length:";
    // The client may have disconnected.
    drop(write!(stream, "{head} {}\r\n\r\n{request}", request.len()));
}

#[test]
fn check_shows_no_secret_at_any_level_of_its_log_whatever_servers_repeat() {
    let (receiver, endpoint, proxy) = (repeating_server(), repeating_server(), repeating_server());
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("endpoints.yml");
    let text = format!(
        "remote_write:
  - url: http://{receiver}/basic?key=hunter2-query
    basic_auth: {{username: u, password: hunter2-password}}
    headers: {{X-Key: hunter2-header}}
  - url: http://{receiver}/bearer
    authorization: {{credentials: hunter2-token}}
  - url: http://{receiver}/oauth2
    oauth2:
      client_id: id
      client_secret: hunter2-client
      token_url: http://{endpoint}/token?key=hunter2-query
      endpoint_params: {{assertion: hunter2-assertion}}
  - url: http://{receiver}/sigv4
    sigv4: {{region: eu-central-1, access_key: AKID, secret_key: hunter2-aws}}
  - url: http://receiver.test/proxy
    proxy_url: http://u:hunter2-proxy@{proxy}
  - url: https://receiver.test/tunnel
    proxy_url: http://u:hunter2-proxy@{proxy}
  - url: http://receiver.test/environment
    proxy_from_environment: true
  - url: https://receiver.test/environment
    proxy_from_environment: true
"
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new(program())
        .args(["check", "--log-level=trace", "--config"])
        .arg(&config)
        .env("HTTP_PROXY", format!("http://u:hunter2-environment@{proxy}"))
        .env("HTTPS_PROXY", format!("http://u:hunter2-environment@{proxy}"))
        .env("NO_PROXY", "")
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(found.matches(": DOES NOT WORK\n").count(), 8, "{found}");
    // All but the tunnels show the server's words.
    assert_eq!(found.matches("403 Forbidden").count(), 6, "{found}");
    assert!(found.matches("<secret>").count() >= 6, "{found}");
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "{log}");
    for shown in [found, log] {
        let line = shown.lines().find(|line| line.contains("hunter2"));
        assert_eq!(line, None);
        // The beginning of "u:hunter2-" in Base64.
        let line = shown.lines().find(|line| line.contains("dTpodW50ZXIy"));
        assert_eq!(line, None);
    }
}

/// A Kafka broker that refuses every login, and repeats user and password in its reason.
fn repeating_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                // It ends with the connection.
                while answer_kafka(&mut stream).is_some() {}
            });
        }
    });
    address
}

/// Answers a request of Kafka's protocol (`ApiVersions` 0, `SaslHandshake` 1,
/// `SaslAuthenticate` 0).
fn answer_kafka(stream: &mut TcpStream) -> Option<()> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut request = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut request).ok()?;
    let (head, rest) = request.split_at(10);
    let client_id = usize::from(u16::from_be_bytes([head[8], head[9]]));
    let mut answer = head[4..8].to_vec();
    match head[1] {
        17 => answer.extend_from_slice(b"\0\0\0\0\0\x01\0\x05PLAIN"),
        36 => {
            let login = String::from_utf8_lossy(&rest[client_id + 4..]).replace('\0', " ");
            let reason = format!("nobody gets in, not even{login}");
            answer.extend_from_slice(&58_u16.to_be_bytes());
            answer.extend_from_slice(&u16::try_from(reason.len()).unwrap().to_be_bytes());
            answer.extend_from_slice(reason.as_bytes());
            answer.extend_from_slice(&[0; 4]);
        }
        18 => {
            // It answers that it does not know later versions, and otherwise the same.
            answer.extend_from_slice(&[0, if head[3] == 0 { 0 } else { 35 }, 0, 0, 0, 4]);
            for (request, newest) in [(3, 1), (17, 1), (18, 0), (36, 0)] {
                answer.extend_from_slice(&[0, request, 0, 0, 0, newest]);
            }
        }
        other => panic!("{other} is no request before the login"),
    }
    stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes()).ok()?;
    stream.write_all(&answer).ok()
}

#[test]
fn a_broker_that_repeats_the_password_does_not_get_it_shown() {
    let broker = repeating_broker();
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("kafka.conf");
    let text = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=u\n\
        sasl.password=hunter2-password\n";
    std::fs::write(&settings, text).unwrap();
    let arguments = vec![
        format!("--brokers={broker}"),
        "--topic=flows".to_owned(),
        format!("--kafka-config-file={}", settings.display()),
        "--asn=64500".to_owned(),
        "--as-names=none".to_owned(),
        "--log-level=debug".to_owned(),
    ];
    let checked = Command::new(program()).arg("check").args(&arguments).output().unwrap();
    assert_eq!(checked.status.code(), Some(1));
    let found = String::from_utf8(checked.stdout).unwrap();
    assert!(found.contains("nobody gets in, not even u <secret>"), "{found}");
    let log = String::from_utf8(checked.stderr).unwrap();
    let exporter = Exporter::start(&arguments);
    let ready = wait_for("the broker's words", START_LIMIT, || {
        let ready = exporter.ready().expect_err("nobody gets in");
        if ready.contains("not even u <secret>") { Ok(ready) } else { Err(ready) }
    });
    wait_for("the broker's words in the log", START_LIMIT, || {
        if exporter.log().contains("not even u <secret>") { Ok(()) } else { Err(exporter.log()) }
    });
    for shown in [found, log, ready, exporter.log()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_pipe_without_a_writer_is_refused_by_name_wherever_a_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let url = "--remote-write-url=http://127.0.0.1:1/write";
    let kafka = ["--brokers=127.0.0.1:1", "--topic=flows"];
    let of = |flag: &str| format!("{flag}={pipe}");
    let user = "--remote-write-username=u".to_owned();
    for (arguments, named) in [
        (vec![user, of("--remote-write-password-file")], "--remote-write-password-file"),
        (vec![of("--remote-write-bearer-token-file")], "--remote-write-bearer-token-file"),
        (vec![of("--remote-write-ca-file")], "--remote-write-ca-file"),
        (
            vec![of("--remote-write-cert-file"), of("--remote-write-key-file")],
            "--remote-write-cert-file",
        ),
        (vec![of("--kafka-config=ssl.key.location")], "ssl.key.location"),
        // These are read once, so a pipe is awaited.
        (vec![of("--kafka-config-file")], "--kafka-config-file"),
        (vec![of("--config")], "--config"),
    ] {
        for command in [&["check"][..], &[]] {
            let output = Command::new(program())
                .args(command)
                .args(kafka)
                .args([url, "--state-dir=none", "--addr=127.0.0.1:0", "--as-names=none"])
                .args(&arguments)
                .current_dir(directory.path())
                .output()
                .unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
            let line = error.lines().last().unwrap();
            assert!(line.contains(named) && line.contains("pipe"), "{line}");
        }
    }
}
