//! The file of `--config`: what of Prometheus' own is understood, keys of our own, and errors.

use std::time::Duration;

use flow_exporter::publish::{
    pusher::{
        Auth, AwsEnvironment, CompressionChoice, OAuth2Config, Order, ProtocolChoice, ProxyConfig,
        PusherConfig, Secret, SecretSource, SigV4Config, TlsConfig, TlsVersion,
    },
    relabel,
    remote_write::StartTimestamps,
};

use crate::check::places::run;

use super::{Files, endpoints, of_file, seconds};

/// A file with one endpoint, with these settings besides its URL.
fn section(keys: &str) -> String {
    let keys = keys.replace('\n', "\n    ");
    format!("remote_write:\n  - url: http://host/write\n    {keys}\n")
}

/// The only endpoint of a file, with these settings besides its URL.
#[track_caller]
fn of_section(keys: &str) -> PusherConfig {
    let mut endpoints = of_file(&section(keys)).unwrap();
    assert_eq!(endpoints.len(), 1);
    endpoints.remove(0)
}

/// What is wrong with a file, without the file's name.
#[track_caller]
fn error_of(config: &str) -> String {
    let files = Files::new(config);
    let line = endpoints(&[&files.flag()]).expect_err(config).to_string();
    assert!(!line.contains('\n'), "{line}");
    let name = files.path("config.yml");
    let rest = line.strip_prefix(&format!("--config {}, ", name.display()));
    rest.unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// A file as operators of Prometheus have it.
const PASTED: &str = "
global:
  external_labels:
    site: fra
    replica: 7
remote_write:
  - url: https://mimir.example.net/api/v1/push
    name: mimir
    remote_timeout: 1m30s
    headers:
      X-Scope-OrgID: tenant
    basic_auth:
      username: me
      password_file: password
    tls_config:
      ca_file: ca.pem
      cert_file: /etc/cert.pem
      key_file: key.pem
      server_name: mimir
      insecure_skip_verify: false
      min_version: TLS13
    proxy_url: http://proxy.example.net:3128
    no_proxy: localhost,10.0.0.0/8
    follow_redirects: true
    enable_http2: true
    send_exemplars: true
    send_native_histograms: false
    protobuf_message: io.prometheus.write.v2.Request
    queue_config:
      capacity: 10000
      max_shards: 50
      min_shards: 1
      max_samples_per_send: 500
      batch_send_deadline: 5s
      min_backoff: 30ms
      max_backoff: 5s
      retry_on_http_429: true
      sample_age_limit: 1h
    metadata_config:
      send: true
      send_interval: 1m
    write_relabel_configs:
      - source_labels: [hostname]
        regex: lab-.*
        action: drop
      - regex: destination_as_name
        action: labeldrop
  - url: http://victoria:8428/api/v1/write
";

#[test]
fn a_section_of_prometheus_can_be_pasted() {
    let files = Files::new(PASTED);
    let found = endpoints(&[&files.flag()]).unwrap();
    let [mimir, victoria] = found.as_slice() else { panic!("two endpoints: {found:?}") };
    let file = |name| Some(SecretSource::File(files.path(name)));
    assert_eq!(mimir.name, "mimir");
    assert_eq!(mimir.url, "https://mimir.example.net/api/v1/push");
    assert_eq!(mimir.timeout, seconds(90));
    assert_eq!(mimir.headers, [("X-Scope-OrgID".to_owned(), Secret::new("tenant"))]);
    // Relative paths start from the configuration's directory.
    let password = file("password").unwrap();
    assert_eq!(mimir.auth, Auth::Basic { username: SecretSource::value("me"), password });
    assert_eq!(
        mimir.tls,
        TlsConfig {
            ca: file("ca.pem"),
            cert: Some(SecretSource::File("/etc/cert.pem".into())),
            key: file("key.pem"),
            server_name: Some("mimir".to_owned()),
            insecure_skip_verify: false,
            min_version: Some(TlsVersion::Tls13),
            max_version: None,
        }
    );
    let (url, no_proxy) =
        (Secret::new("http://proxy.example.net:3128"), "localhost,10.0.0.0/8".to_owned());
    assert_eq!(mimir.proxy, ProxyConfig::Url { url, no_proxy });
    assert_eq!(mimir.protocol, ProtocolChoice::V2);
    assert_eq!((mimir.batch.samples, mimir.batch.series), (500, 500));
    assert_eq!((mimir.backoff.min, mimir.backoff.max), (Duration::from_millis(30), seconds(5)));
    assert_eq!(mimir.max_age, Some(seconds(3600)));
    let mut labels: Vec<_> = mimir.external_labels.clone();
    labels.retain(|(name, _)| name != "instance");
    labels.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(labels, [pair("job", "flow-exporter"), pair("replica", "7"), pair("site", "fra")]);
    let mut series = vec![
        pair("__name__", "flow_receive_bytes_total"),
        pair("destination_as_name", "A"),
        pair("hostname", "edge"),
    ];
    assert!(relabel::apply(&mimir.relabel, &mut series));
    assert_eq!(series.len(), 2);
    series[1].1 = "lab-3".to_owned();
    assert!(!relabel::apply(&mimir.relabel, &mut series));

    // The defaults are those of the endpoint of the flags, except for the proxy.
    let expected = PusherConfig {
        external_labels: mimir.external_labels.clone(),
        proxy: ProxyConfig::None,
        jitter: victoria.jitter,
        ..PusherConfig::new("http://victoria:8428/api/v1/write")
    };
    assert_eq!(*victoria, expected);
    assert_eq!(victoria.name, "http://victoria:8428/api/v1/write");
}

#[test]
fn our_own_keys_stand_beside_those_of_prometheus() {
    let ours = of_section(
        "order: newest-first\nidle_interval: 5m\nbandwidth: 8Mbit\nstale_on_exit: true\njitter: 0s\n\
         start_timestamps: series\ncompression: snappy\ntrust_2xx: true",
    );
    assert_eq!(ours.order, Order::NewestFirst);
    assert_eq!(ours.idle_interval, Some(seconds(300)));
    assert_eq!(ours.bandwidth, Some(1_000_000));
    assert!(ours.stale_on_exit);
    assert_eq!(ours.jitter, Duration::ZERO);
    assert_eq!(ours.start_timestamps, StartTimestamps::Series);
    assert_eq!(ours.compression, CompressionChoice::Snappy);
    assert!(ours.trust_2xx);
}

#[test]
fn every_way_to_authenticate_is_read() {
    let value = SecretSource::value;
    for (keys, expected) in [
        ("authorization:\n  credentials: abc", Auth::bearer(value("abc"))),
        (
            "authorization:\n  type: Token\n  credentials: abc",
            Auth::Authorization { scheme: "Token".to_owned(), credentials: value("abc") },
        ),
        // Deprecated, but Prometheus accepts it.
        ("bearer_token: abc", Auth::bearer(value("abc"))),
        ("basic_auth:\n  username: 007\n  password: ''", {
            // Neither a number nor nothing.
            Auth::Basic { username: value("007"), password: value("") }
        }),
        (
            "sigv4:\n  region: eu-central-1\n  access_key: id\n  secret_key: abc\n  profile: p\n  \
             role_arn: arn:aws:iam::1:role/a\n  external_id: e\n  use_fips_sts_endpoint: true",
            Auth::SigV4(SigV4Config {
                region: Some("eu-central-1".to_owned()),
                access_key: Some("id".to_owned()),
                secret_key: Some(value("abc")),
                profile: Some("p".to_owned()),
                role_arn: Some("arn:aws:iam::1:role/a".to_owned()),
                external_id: Some("e".to_owned()),
                use_fips_sts_endpoint: true,
                environment: AwsEnvironment::of_process(),
            }),
        ),
        (
            "oauth2:\n  client_id: me\n  client_secret: abc\n  token_url: http://t/\n  \
             scopes: [a, b]\n  endpoint_params:\n    audience: x\n  proxy_from_environment: true\n  \
             tls_config:\n    insecure_skip_verify: yes",
            Auth::OAuth2(Box::new(OAuth2Config {
                client_id: "me".to_owned(),
                client_secret: value("abc"),
                token_url: "http://t/".to_owned(),
                scopes: vec!["a".to_owned(), "b".to_owned()],
                endpoint_params: vec![("audience".to_owned(), Secret::new("x"))],
                tls: TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() },
                proxy: ProxyConfig::Environment,
            })),
        ),
    ] {
        assert_eq!(of_section(keys).auth, expected, "{keys}");
    }
}

#[test]
fn what_is_wrong_in_the_file_is_said_with_its_line_and_its_path() {
    for (config, expected) in [
        (
            section("urll: x"),
            "line 3: remote_write[0].urll: there is no such key: did you mean url?",
        ),
        (section("colour: x"), "there is no such key: correct or remove it"),
        (section("queue_config: {capcity: 1}"), "line 3: remote_write[0].queue_config.capcity"),
        (section("write_relabel_configs: [{action: keep, regexp: a}]"), "configs[0].regexp"),
        (
            section("write_relabel_configs:\n- action: keep\n- action: hold"),
            "line 5: remote_write[0].write_relabel_configs[1]: there is no action \"hold\"",
        ),
        (section("remote_timeout: 30"), "remote_timeout: \"30\" is not a duration"),
        (section("remote_timeout: 0s"), "remote_timeout: give a duration above 0"),
        (section("remote_timeout: [30s]"), "remote_timeout: one value is expected"),
        (section("stale_on_exit: maybe"), "stale_on_exit: write true or false"),
        (section("headers: [a]"), "headers: a section"),
        (section("order: random"), "order: give oldest-first or newest-first"),
        (section("bandwidth: fast"), "bandwidth: \"fast\" is not a bandwidth"),
        (section("protobuf_message: v2"), "protobuf_message: give prometheus.WriteRequest"),
        (section("azuread: {cloud: x}"), "azuread: not supported"),
        (
            section("basic_auth: {password_ref: x}"),
            "password_ref: secret managers are not supported",
        ),
        (
            section("basic_auth: {username: a, password: b, password_file: c}"),
            "basic_auth: password and password_file: give one",
        ),
        (
            section("bearer_token: a\nbasic_auth: {username: a}"),
            "remote_write[0]: basic_auth and bearer_token: give one way",
        ),
        (section("authorization: {type: Bearer}"), "authorization: give credentials"),
        (section("oauth2: {client_id: a}"), "oauth2: the client_secret"),
        (section("tls_config: {min_version: TLS14}"), "min_version: give TLS10"),
        (section("no_proxy: a"), "remote_write[0]: no_proxy goes with proxy_url"),
        (
            section("proxy_url: http://a\nproxy_from_environment: true"),
            "proxy_url and proxy_from_environment: give one",
        ),
        (
            section("queue_config: {min_backoff: 2m}"),
            "queue_config: min_backoff is longer than max_backoff",
        ),
        (section("queue_config: {max_samples_per_send: 0}"), "give a number above 0"),
        (section("url: http://other"), "line 3: url is given twice"),
        (section("<<: {name: a}"), "<<: merging is not supported"),
        ("remote_write:\n- name: a".to_owned(), "line 2: remote_write[0]: the url is missing"),
        ("remote_write: {url: a}".to_owned(), "remote_write: a list is expected"),
        (
            "remote_writes: []".to_owned(),
            "line 1: remote_writes: there is no such key: did you mean remote_write?",
        ),
        ("view: {a: {}}".to_owned(), "line 1: view: there is no such key: did you mean views?"),
        (
            String::new(),
            "line 1: the file: give remote_write, views, exporters, count_direction, formats, avro or \
             collector in it",
        ),
        (
            "remote_write: []\nscrape_configs: []".to_owned(),
            "scrape_configs: this is for Prometheus",
        ),
        (
            "global: {scrape_interval: 1m}\nremote_write: []".to_owned(),
            "line 1: global.scrape_interval: the interval is that of --remote-write-interval",
        ),
        (
            "global:\n  external_labels:\n    a: $NOT_SET_ANYWHERE\nremote_write: []".to_owned(),
            "line 3: global.external_labels.a: the environment variable NOT_SET_ANYWHERE is not set",
        ),
        ("remote_write: [\n".to_owned(), "line 2: "),
        ("a: 1\n---\nb: 2".to_owned(), "a second document begins here"),
        (format!("a: {}", "[".repeat(100)), "line 1: values are nested deeper than"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
             c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
             e: [*d,*d,*d,*d,*d,*d,*d,*d,*d]"
                .to_owned(),
            "aliases stand for more than",
        ),
    ] {
        let error = error_of(&config);
        assert!(error.contains(expected), "{config}\n{error}");
    }
}

#[test]
fn what_is_no_yaml_is_said_in_plain_words_with_its_line_and_column() {
    for (config, expected) in [
        ("views:\n\tflow: {}".to_owned(), "line 2: column 2: a tab is here: indent with spaces"),
        (
            "collector\n  listen: a".to_owned(),
            "line 2: column 9: a colon stands where no key can be: is the line above without its colon",
        ),
        (
            "views:\n  flow: {}\n other: {}".to_owned(),
            "line 3: column 2: this line is indented otherwise than the keys of its section",
        ),
        (
            "remote_write:\n  - url: a\n  name: b".to_owned(),
            "line 3: column 3: this line is no item of the list above",
        ),
        (section("name: \"a\nremote_timeout: 1s"), "a quote is opened above and not closed"),
        (section("headers: {a: b\n"), "a section in braces lacks a comma, or its closing brace"),
        (section("name: @a"), "a text that begins with this character needs quotes"),
        ("collector: {lst: a}".to_owned(), "docs/collector.md lists all keys"),
        (
            "exporters: {192.0.2.1: {colour: a}}".to_owned(),
            "exporters.192.0.2.1.colour: there is no such key: correct or remove it; docs/collector.md",
        ),
    ] {
        let error = error_of(&config);
        assert!(error.contains(expected), "{config}\n{error}");
    }
}

#[test]
fn the_keys_that_the_documents_list_are_those_that_there_are() {
    let page = include_str!("../../../docs/endpoints.md");
    // The tables' rows begin with keys in backquotes; a star stands for several keys.
    let keys: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| row.split('|').next().unwrap_or_default().split('`'))
        .filter(|word| !word.contains([' ', ',', '*']) && !word.is_empty())
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys.iter().filter(|&&key| key != "url") {
        // A key without a value has no effect, but must be known.
        of_section(&format!("{key}:"));
    }
    // The example as well.
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let found = of_file(&example.replace("$ROUTER", "r1")).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].order, Order::NewestFirst);
}

#[test]
fn aliases_stand_for_what_they_name() {
    let found = of_file(
        "remote_write:\n- url: http://a/\n  queue_config: &queue {sample_age_limit: 2d}\n\
         - url: http://b/\n  queue_config: *queue\n",
    )
    .unwrap();
    assert_eq!(found[1].max_age, Some(seconds(2 * 86_400)));
}

#[test]
fn no_secret_is_in_an_error_or_in_debug_output() {
    for keys in [
        "proxy_url: [hunter2]",
        "authorization: {credentials: hunter2, credentials_file: a}",
        "headers: {a: [hunter2]}",
        "authorization:\n  credentials: hunter2\n  scheme: Bearer",
    ] {
        let error = error_of(&section(keys));
        assert!(!error.contains("hunter2"), "{error}");
    }
    let config = of_section(
        "headers: {X-Key: hunter2}\nproxy_url: http://me:hunter2@proxy/\n\
         oauth2: {client_id: a, client_secret: hunter2, token_url: 'http://t/?hunter2', \
         endpoint_params: {a: hunter2}}",
    );
    let shown = format!("{config:?}");
    assert!(shown.contains("X-Key") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn keys_without_effect_are_named_once_for_each_endpoint() {
    let files = Files::new(
        "remote_write:\n- url: http://127.0.0.1:1/\n  queue_config: {capacity: 5, max_shards: 2}\n  \
         metadata_config: {send: false}\n  send_exemplars: true\n  enable_http2: false\n",
    );
    let (output, _) = run(vec!["check".to_owned(), files.flag()]).await;
    let log = String::from_utf8(output.stderr).unwrap();
    let line = log.lines().find(|line| line.contains("have no effect")).expect("a warning");
    assert_eq!(log.lines().count(), 1, "{log}");
    for key in [
        "queue_config.capacity",
        "queue_config.max_shards",
        "metadata_config.send",
        "send_exemplars",
    ] {
        assert!(line.contains(key), "{line}");
    }
    assert!(!line.contains("enable_http2"), "{line}");
}
