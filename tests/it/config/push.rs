//! Endpoints, of the flags and of the file, and what they share.

use std::{ffi::OsString, fs};

use flow_exporter::{
    cli::{Cli, Refusal},
    config::{CheckConfig, Config},
    publish::pusher::{
        Auth, Order, ProtocolChoice, ProxyConfig, PusherConfig, Secret, SecretSource, TlsConfig,
    },
};
use tempfile::TempDir;

use crate::check::places::run;

use super::{Files, endpoints, seconds};

#[test]
fn the_flags_describe_one_endpoint() {
    let directory = TempDir::new().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    let password_flag = format!("--remote-write-password-file={}", password.display());
    let found = endpoints(&[
        "--remote-write-url=https://host/write?key=a",
        "--remote-write-protocol=1.0",
        "--remote-write-order=newest-first",
        "--remote-write-idle-interval=5m",
        "--remote-write-max-age=1h",
        "--remote-write-bandwidth=1MB",
        "--remote-write-stale-on-exit",
        "--remote-write-timeout=10s",
        "--remote-write-interval=30s",
        "--remote-write-header=X-Scope-OrgID=a=b",
        "--remote-write-username=me",
        &password_flag,
        "--remote-write-ca-file=ca.pem",
        "--remote-write-cert-file=cert.pem",
        "--remote-write-key-file=key.pem",
        "--remote-write-proxy-url=socks5://proxy:1080",
    ])
    .unwrap();
    let file = |name: &str| Some(SecretSource::File(name.into()));
    let expected = PusherConfig {
        protocol: ProtocolChoice::V1,
        order: Order::NewestFirst,
        idle_interval: Some(seconds(300)),
        max_age: Some(seconds(3600)),
        bandwidth: Some(1_000_000),
        stale_on_exit: true,
        timeout: seconds(10),
        interval: seconds(30),
        // A third of the interval would exceed the limit.
        jitter: seconds(5),
        headers: vec![("X-Scope-OrgID".to_owned(), Secret::new("a=b"))],
        auth: Auth::Basic {
            username: SecretSource::value("me"),
            // It is read again when it changes.
            password: SecretSource::File(password.clone()),
        },
        tls: TlsConfig {
            ca: file("ca.pem"),
            cert: file("cert.pem"),
            key: file("key.pem"),
            ..TlsConfig::default()
        },
        proxy: ProxyConfig::Url {
            url: Secret::new("socks5://proxy:1080"),
            no_proxy: String::new(),
        },
        external_labels: found[0].external_labels.clone(),
        ..PusherConfig::new("https://host/write?key=a")
    };
    assert_eq!(found, [expected]);
    assert_eq!(found[0].name, "https://host/write");
}

#[tokio::test]
async fn what_is_wrong_with_an_endpoint_is_said_with_the_place_where_it_was_given() {
    let files = Files::new(
        "remote_write:\n- url: http://a/\n- name: b\n  tls_config:\n    ca_file: missing.pem\n  \
         url: http://b/\n",
    );
    let wrong_url = Files::new("remote_write:\n- name: b\n  url: ftp://b/\n");
    let wrong_header = Files::new("remote_write:\n- url: http://b/\n  headers:\n    'a b': c\n");
    for (arguments, expected) in [
        (vec![files.flag()], "line 5: remote_write[1].tls_config.ca_file: "),
        (vec![wrong_url.flag()], "line 3: remote_write[0].url: the remote-write URL begins"),
        (vec![wrong_header.flag()], "line 3: remote_write[0].headers: \"a b\" is not"),
        (vec!["--remote-write-url=ftp://b/".to_owned()], ": --remote-write-url: the remote"),
        (
            vec![
                "--remote-write-url=http://b/".to_owned(),
                "--remote-write-ca-file=/missing.pem".to_owned(),
            ],
            ": --remote-write-ca-file: ",
        ),
        (
            vec![
                "--brokers=a".to_owned(),
                "--topic=b".to_owned(),
                "--kafka-config=group.id=c".to_owned(),
            ],
            ": --kafka-config: group.id: this can't be set",
        ),
    ] {
        let (output, _) = run([vec!["check".to_owned()], arguments].concat()).await;
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(expected), "{expected}\n{line}");
    }
}

#[test]
fn the_caps_of_the_queue_are_those_of_the_journal() {
    let journal = |arguments: &[&str]| {
        let source = ["flow-exporter", "--brokers=a", "--topic=b", "--state-dir=none"];
        let words = source.iter().chain(arguments).map(OsString::from);
        Config::count(Cli::read(words).unwrap().count).unwrap().push.journal()
    };
    let given = journal(&["--queue-max-bytes=2GB", "--queue-max-age=2d"]);
    assert_eq!((given.max_bytes, given.max_age), (2_000_000_000, seconds(2 * 86_400)));
    let default = journal(&[]);
    assert_eq!((default.max_bytes, default.max_age), (1 << 30, seconds(14 * 86_400)));
}

#[test]
fn the_file_and_the_flags_name_endpoints_together() {
    let files =
        Files::new("remote_write:\n- url: http://a/write\n- url: http://b/write\n  name: b\n");
    let names = |arguments: &[&str]| {
        let mut all = vec![files.flag()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        endpoints(&all).map(|found| found.into_iter().map(|one| one.name).collect::<Vec<_>>())
    };
    assert_eq!(
        names(&["--remote-write-url=http://c/write"]).unwrap(),
        ["http://a/write", "b", "http://c/write"]
    );
    // Endpoints share nothing, so each needs a name of its own.
    let error = names(&["--remote-write-url=http://a/write"]).expect_err("twice").to_string();
    assert!(error.contains("two endpoints are called http://a/write"), "{error}");
}

#[test]
fn external_labels_of_the_flags_win_over_those_of_the_file_and_these_over_ours() {
    let files = Files::new(
        "global: {external_labels: {job: file, site: file, rack: '$$1'}}\n\
         remote_write: [{url: http://a/}, {url: http://b/}]\n",
    );
    let found =
        endpoints(&[&files.flag(), "--external-label=site=flag", "--external-label=instance="])
            .unwrap();
    for endpoint in found {
        let mut labels: Vec<String> = endpoint
            .external_labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        labels.sort();
        assert_eq!(labels, ["job=file", "rack=$1", "site=flag"]);
    }
}

#[test]
fn one_receiver_does_not_get_the_same_series_twice() {
    let of = |second: &str| {
        let files = Files::new(&format!(
            "remote_write:\n- {{name: a, url: http://a/}}\n- {{name: b, {second}}}\n"
        ));
        endpoints(&[&files.flag()])
    };
    let error = of("url: http://a/").expect_err("the same").to_string();
    assert!(error.contains("the endpoints a and b send the same series"), "{error}");
    for other in [
        "url: http://b/",
        "url: http://a/, headers: {X-Scope-OrgID: b}",
        "url: http://a/, basic_auth: {username: b, password: b}",
        "url: http://a/, write_relabel_configs: [{action: labeldrop, regex: job}]",
    ] {
        assert_eq!(of(other).map(|endpoints| endpoints.len()).unwrap(), 2, "{other}");
    }
}

#[test]
fn flags_that_do_not_fit_together_are_refused() {
    let line = |arguments: &[&str]| {
        let words = std::iter::once(&"flow-exporter").chain(arguments).map(OsString::from);
        match Cli::read(words) {
            Ok(cli) => CheckConfig::new(cli.count).expect_err("refused").to_string(),
            Err(Refusal::Wrong(line)) => line,
            Err(other) => panic!("{other:?}"),
        }
    };
    let url = "--remote-write-url=http://a/";
    for (arguments, expected) in [
        (&["--remote-write-order=newest-first"][..], "--remote-write-url"),
        (&["--external-label=a=b"], "--external-label without --remote-write-url or --config"),
        (&[url, "--remote-write-cert-file=a"], "go together"),
        (&[url, "--remote-write-username=a"], "without a password"),
        (&[url, "--remote-write-password-file=/does/not/exist"], "/does/not/exist: No such file"),
        (&[url, "--remote-write-bandwidth=fast"], "not a bandwidth"),
        (&["--queue-max-bytes=much"], "not an amount of bytes"),
        (&[url, "--remote-write-protocol=3.0"], "1.0"),
        (&["--config=/does/not/exist.yml"], "--config /does/not/exist.yml: No such file"),
    ] {
        let line = line(arguments);
        assert!(line.contains(expected) && !line.contains('\n'), "{arguments:?}: {line}");
    }
}
