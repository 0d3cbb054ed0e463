//! The configuration that flags and the file of `--config` lead to, their errors, and `check`.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use flow_exporter::{
    address::Tables,
    asn::AsNames,
    cli::{Cli, Refusal},
    clock::UnixMs,
    config::{CheckConfig, Config, ConfigError, SourceConfig, StateDir},
    health::Health,
    journal::JournalConfig,
    ledger::{Identity, Ledger, LedgerConfig, Store, Timestamps},
    metrics::Metrics,
    publish::{
        pusher::{
            Auth, AwsEnvironment, CompressionChoice, OAuth2Config, Order, ProtocolChoice,
            ProxyConfig, PusherConfig, Secret, SecretSource, SigV4Config, TlsConfig, TlsVersion,
        },
        relabel,
        remote_write::StartTimestamps,
    },
    schema::{Class, Measure, View},
    traffic::Rule,
};
use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use testkit::{
    counting::schema,
    exporter::program,
    receiver::{Answer, Receiver},
};

/// A directory with a configuration file in it.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(config: &str) -> Self {
        let files = Files { directory: TempDir::new().unwrap() };
        fs::write(files.path("config.yml"), config).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn flag(&self) -> String {
        format!("--config={}", self.path("config.yml").display())
    }
}

/// The endpoints of a command line.
fn endpoints(arguments: &[&str]) -> Result<Vec<PusherConfig>, ConfigError> {
    let words = std::iter::once(&"flow-exporter").chain(arguments).map(OsString::from);
    let cli = Cli::read(words).expect("flags that are there");
    let config = CheckConfig::new(cli.count)?;
    Ok(config.endpoints().iter().map(|endpoint| endpoint.config.clone()).collect())
}

/// The endpoints of a file.
fn of_file(config: &str) -> Result<Vec<PusherConfig>, ConfigError> {
    endpoints(&[&Files::new(config).flag()])
}

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

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
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
        (String::new(), "line 1: the file: give remote_write, views or exporters in it"),
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
fn the_keys_that_the_documents_list_are_those_that_there_are() {
    let page = include_str!("../../docs/endpoints.md");
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

/// The configuration of counting with these flags.
fn count(arguments: &[&str]) -> Result<Config, ConfigError> {
    let words = std::iter::once(&"flow-exporter").chain(arguments).map(OsString::from);
    Config::count(Cli::read(words).expect("flags that are there").count)
}

#[test]
fn a_configuration_is_a_value_whose_settings_know_where_they_were_given() {
    let files = Files::new("remote_write:\n- url: http://a/\n");
    let kafka = files.path("kafka.conf");
    fs::write(&kafka, "sasl.password=hunter2\n").unwrap();
    let kafka_flag = format!("--kafka-config-file={}", kafka.display());
    let config = files.flag();
    let read = || {
        count(&["--brokers=a", "--topic=b", "--kafka-config=client.id=x", &kafka_flag, &config])
            .unwrap()
    };
    let first = read();
    assert_eq!(first, first.clone());
    // The place of a setting is not part of its value.
    fs::write(&kafka, "# moved\n\nsasl.password=hunter2\n").unwrap();
    fs::write(files.path("config.yml"), "\n\nremote_write:\n- url: http://a/\n").unwrap();
    let moved = read();
    assert_eq!(first, moved);
    assert!(first.fixed_changes(&moved).is_empty());
    // Endpoints can change while the program runs, and Kafka's settings can't.
    fs::write(files.path("config.yml"), "remote_write:\n- url: http://b/\n").unwrap();
    let other = read();
    assert_ne!(first, other);
    assert!(first.fixed_changes(&other).is_empty());
    fs::write(&kafka, "sasl.password=hunter3\nsasl.username=me\n").unwrap();
    let fixed = first.fixed_changes(&read()).to_string();
    let path = kafka.display();
    assert_eq!(
        fixed,
        format!(
            "--kafka-config-file {path}, line 1: sasl.password; --kafka-config-file {path}, line 2: \
             sasl.username"
        )
    );
    for secret in [format!("{first:?}"), fixed] {
        assert!(!secret.contains("hunter"), "{secret}");
    }
    let one = count(&["--brokers=a", "--topic=b", "--asn=1"]).unwrap();
    let other = ["--brokers=a", "--topic=c", "--asn=2", "--series-ttl=1h"];
    let other = count(&other).unwrap();
    assert_eq!(one.fixed_changes(&other).to_string(), "--topic; --series-ttl; --state-dir");
}

#[test]
fn local_ases_and_networks_make_one_rule_and_the_default_counts_only_without_them() {
    let rule = |arguments: &[&str]| {
        count(&[&["--brokers=a", "--topic=b"], arguments].concat()).unwrap().rule().to_string()
    };
    assert_eq!(rule(&[]), "AS 0");
    assert_eq!(rule(&["--asn=15169"]), "AS 15169");
    assert_eq!(
        rule(&["--asn=64512,65010-65019", "--asn", "AS64496"]),
        "AS 64496, 64512, 65010-65019"
    );
    let network = "--local-network=192.0.2.0/25,2001:db8::/32";
    assert_eq!(rule(&[network]), "networks 192.0.2.0/25, 2001:db8::/32");
    assert_eq!(
        rule(&["--asn=0", "--local-network=192.0.2.128/25", network]),
        "AS 0 or networks 192.0.2.0/24, 2001:db8::/32"
    );
    let many: Vec<_> = (0..1001).map(|number| (2 * number).to_string()).collect();
    let error = count(&["--brokers=a", "--topic=b", "--asn", &many.join(",")]).unwrap_err();
    assert_eq!(error.to_string(), "--asn: there are more than 1000 ASes: give ranges of them");
}

#[test]
fn views_of_the_file_and_of_the_flags_are_what_is_counted() {
    let views = |text: &str, flags: &[&str]| {
        let files = Files::new(text);
        let config = files.flag();
        let arguments = [&["--brokers=a", "--topic=b", &*config], flags].concat();
        count(&arguments).map(|config| config.views.value)
    };
    let page = include_str!("../../docs/views.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let found = views(example, &[]).unwrap();
    let metrics: Vec<Vec<String>> = found
        .iter()
        .map(|view| {
            let classes = view.classes().iter();
            classes.map(|&class| view.metric_name(class, view.measures()[0])).collect()
        })
        .collect();
    assert_eq!(metrics[0], ["flow_receive_bytes_total", "flow_transmit_bytes_total"]);
    assert_eq!(
        metrics[1],
        ["flow_service_receive_bytes_total", "flow_service_transmit_bytes_total"]
    );
    assert_eq!(metrics[2], ["flow_prefix_receive_bytes_total", "flow_prefix_transit_bytes_total"]);
    let limits: Vec<_> = found.iter().map(View::max_series).collect();
    assert_eq!(limits, [1_000_000, 5000, 100_000]);
    assert!(found[0].has_series_of(&View::original()));
    assert_eq!(found[2].filters().len(), 1);

    // Flags change the view flow, and need it.
    let flags = [
        "--labels=remote_as, source_prefix/24,48",
        "--measures=flows,bytes",
        "--classes=transit, receive",
        "--max-series=7",
    ];
    let [flow] = views("views: {flow: {max_series: 9}}", &flags).unwrap().try_into().unwrap();
    let labels: Vec<_> = flow.labels().iter().map(|label| &*label.name).collect();
    assert_eq!((labels, flow.max_series()), (vec!["remote_as", "source_prefix"], 7));
    assert_eq!(flow.measures(), [Measure::Bytes, Measure::Flows]);
    assert_eq!(flow.classes(), [Class::Receive, Class::Transit]);
    for flag in ["--labels=vlan", "--measures=bytes", "--classes=transit", "--max-series=7"] {
        let error = views("views: {a: {}}", &[flag]).unwrap_err().to_string();
        let (flag, _) = flag.split_once('=').unwrap();
        assert!(error.contains(&format!("{flag}: this flag is for the view flow")), "{error}");
    }
    let [kept] = views("views: {flow: {keep: [source_as]}}", &[]).unwrap().try_into().unwrap();
    assert_eq!(kept.keeps(), [false, false, true]);
    let text =
        "views: {flow: {labels: [source_prefix/24, field.rd], keep: [source_prefix/24, field.rd]}}";
    let [kept] = views(text, &[]).unwrap().try_into().unwrap();
    assert_eq!(kept.keeps(), [true, true]);
}

#[test]
fn what_is_wrong_with_views_is_said_with_its_line_and_its_cure() {
    let many: Vec<_> = (0..33).map(|number| format!("  v{number}: {{}}")).collect();
    let many = many.join("\n");
    for (text, expected) in [
        ("  {}", "views: name at least one view"),
        ("  Flow: {}", "line 2: views.Flow: name it in lower-case letters"),
        ("  a_: {}", "single underscores between them"),
        ("  a__b: {}", "single underscores between them"),
        ("  receive: {}", "views.receive: in names of metrics, receive beside the view's name"),
        ("  internal_net: {}", "neither begins nor ends with internal"),
        ("  by_transit: {}", "neither begins nor ends with transit"),
        ("  exporter_a: {}", "the names of the program's own metrics begin with flow_exporter"),
        (
            "  a: {labels: [hostnam]}",
            "line 2: views.a.labels: there is no label hostnam: did you mean hostname?",
        ),
        ("  a: {labels: [zzzzzzzzz]}", "docs/views.md lists all labels"),
        ("  a: {labels: [src_port]}", "there is no label src_port: did you mean source_port?"),
        ("  a: {labels: [vlan, ~]}", "line 2: views.a.labels[1]: a value is missing"),
        ("  a: {labels: [source_as_name]}", "list that as well"),
        ("  a: {labels: [vlan, vlan]}", "vlan is listed twice"),
        ("  a: {labels: [source_prefix/33]}", "source_prefix/24,48"),
        ("  a: {labels: [field.job]}", "Prometheus itself uses the label job"),
        ("  a: {labels: [field.__x]}", "Prometheus itself uses the label __x"),
        ("  a: {labels: [field.port_src]}", "field.port_src: did you mean source_port?"),
        ("  a: {labels: [field.vlan_id, field.vlan_id]}", "listed twice"),
        ("  a: {measures: [bits]}", "views.a.measures: there is no measure bits: give bytes"),
        ("  a: {measures: []}", "views.a.measures: list at least one"),
        ("  a: {classes: [both]}", "there is no class both"),
        ("  a: {max_series: 0}", "views.a.max_series: give a number from 1"),
        (
            "  a: {keep: [vlan]}",
            "keep: vlan isn't a label of the view, whose labels are destination_as, destination_as_name",
        ),
        ("  a: {where: {protocol: carrier-pigeon}}", "views.a.where.protocol: \"carrier-pigeon\""),
        ("  a: {where: {protocol: 256}}", "\"256\" isn't a value of protocol: give IANA's name"),
        ("  a: {where: {service_port: 9-3}}", "the range is reversed: write 3-9"),
        ("  a: {where: {proto: tcp}}", "there is no label proto: did you mean protocol?"),
        ("  a: {where: {source_as_name: x}}", "use the AS number"),
        ("  a: {where: {vlan: []}}", "vlan: list at least one value"),
        ("  a: {where: {vlan: }}", "line 2: views.a.where.vlan: a value is missing"),
        ("  a: {label: [vlan]}", "did you mean labels? docs/views.md"),
        (&many, "there are more than 32 views: remove some"),
    ] {
        let files = Files::new(&format!("views:\n{text}\n"));
        let error = count(&["--brokers=a", "--topic=b", &files.flag()]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (flag, expected) in [
        (
            "--format=goflow-json",
            "--format: there is no format goflow-json: did you mean goflow2-json?",
        ),
        ("--labels=hostnam", "--labels: there is no label hostnam: did you mean hostname?"),
        ("--measures=bits", "--measures: there is no measure bits"),
        ("--classes=receive,both", "--classes: there is no class both"),
        (
            "--classes=",
            "--classes: there is no class : give receive, transmit, internal or transit",
        ),
    ] {
        let error = count(&["--brokers=a", "--topic=b", flag]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn filters_that_no_flow_passes_are_refused_with_the_reason() {
    let error = |view: &str, flags: &[&str]| {
        let files = Files::new(&format!("views:\n  a: {view}\n"));
        let config = files.flag();
        let error = count(&[&["--brokers=a", "--topic=b", &*config], flags].concat()).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let asn = "--asn=64512,65010-65019";
    let network = "--local-network=192.0.2.0/24";
    for (view, flags, expected) in [
        (
            "{where: {ip_version: 4, source_address: '2001:db8::/32'}}",
            &[][..],
            "line 2: views.a: where: no flow passes ip_version and source_address: its addresses \
             are either all of IPv4 or all of IPv6",
        ),
        ("{where: {source_prefix/24: 192.0.2.0/24, destination_prefix/24: '::/0'}}", &[], "IPv6"),
        (
            "{where: {source_as: 65011-65012}, classes: receive}",
            &[asn],
            "line 2: views.a: where: no flow of the view's classes passes: source_as asks for a \
             source that is local, and that of receive isn't",
        ),
        (
            "{where: {source_as: 64512}, classes: [receive, transit]}",
            &[asn],
            "that of transit isn't",
        ),
        ("{where: {source_as: 15169}, classes: transmit}", &[asn], "that of transmit is"),
        ("{where: {remote_as: 64512}, classes: [receive, transit]}", &[asn], "remote_as asks for"),
        ("{where: {destination_address: 192.0.2.7}, classes: transit}", &[network], "is local"),
        ("{where: {source_prefix/24: 192.0.3.0/24}, classes: internal}", &[network], "isn't local"),
        ("{where: {site: Berlin}}", &[], "where: no flow has a site: give --networks"),
    ] {
        let line = error(view, flags);
        assert!(line.contains(expected), "{view}: {line:?}");
    }
    // Something is left of each of these.
    for (view, flags) in [
        ("{where: {ip_version: [4, 6], source_address: '2001:db8::/32'}}", &[][..]),
        ("{where: {ip_version: 4, source_address: ['2001:db8::/32', '']}}", &[]),
        ("{where: {ip_version: 4, exporter: '2001:db8::/32'}}", &[]),
        ("{where: {source_as: 64512}}", &[asn]),
        // Without a class of their own, internal flows are transmitted.
        ("{where: {destination_as: 64512}, classes: transmit}", &[asn]),
        ("{where: {source_as: 64512-65010}, classes: receive}", &[asn]),
        ("{where: {source_as: 15169}, classes: transmit}", &[asn, network]),
        ("{where: {source_as: 15169}, classes: transmit}", &[asn, "--networks=list.csv"]),
        ("{where: {source_address: 192.0.0.0/16}, classes: receive}", &[network]),
        // The network of a record may be larger than its first address says.
        ("{where: {source_prefix: 192.0.2.0/24}, classes: receive}", &[network]),
        ("{where: {site: [Berlin, '']}}", &[]),
        (
            "{where: {source_as: 64512}, classes: receive}\nexporters: {e: {external_interfaces: 1}}",
            &[asn],
        ),
    ] {
        assert_eq!(error(view, flags), "", "{view}");
    }
}

#[test]
fn exporters_have_interfaces_and_rates_and_what_is_wrong_with_them_is_said_with_the_line() {
    let count = |text: &str| {
        let files = Files::new(text);
        count(&["--brokers=a", "--topic=b", &files.flag()])
    };
    let config = count(
        "exporters:\n  192.0.2.1: {external_interfaces: [7, 3-5], sampling_rate: 1000}\n  \
         edge 1: {external_interfaces: 9}\n  2001:db8::/32: {sampling_rate: 1}\n",
    );
    let config = config.unwrap();
    assert_eq!(config.rule().to_string(), "interfaces of 2 exporters");
    let whole = "interfaces of 192.0.2.1 (3-5, 7) edge%201 (9)";
    assert_eq!(format!("{:#}", config.rule()), whole);
    assert_eq!(config.counting(Tables::default()).sampling.overrides.len(), 2);
    for (text, expected) in [
        ("a: {}", "line 2: exporters.a: give external_interfaces, sampling_rate, or both"),
        ("a: {sampling_rate: 0}", "line 2: exporters.a.sampling_rate: give a number above 0"),
        (
            "a: {external_interfaces: [1, x]}",
            "exporters.a.external_interfaces[1]: give SNMP indexes",
        ),
        ("a: {sampling_rat: 1}", "did you mean sampling_rate?"),
        ("192.0.2.1: {sampling_rate: 1}\n  192.0.2.1/32: {sampling_rate: 1}", "line 3: "),
        ("a: {external_interfaces: 9-3}", "the range is reversed: write 3-9"),
        // Neither is a host name.
        ("192.0.2.256: {sampling_rate: 1}", "exporters.192.0.2.256: give an address, or a prefix"),
        ("192.0.2.1/24: {sampling_rate: 1}", "did you mean 192.0.2.0/24?"),
        ("'2001:db8::/129': {sampling_rate: 1}", "give an address, or a prefix such as"),
    ] {
        let error = count(&format!("exporters:\n  {text}\n")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn by_default_each_topic_has_a_state_directory_of_its_own() {
    let of = |arguments: &[&str]| count(arguments).unwrap().state_dir.value;
    let default = |path: &str| StateDir::Default(PathBuf::from("flow-exporter-state").join(path));
    assert_eq!(of(&["--brokers=a", "--topic=pmacct.acct"]), default("pmacct.acct"));
    assert_eq!(of(&["--brokers=a", "--topic=pmacct_acct"]), default("pmacct_acct"));
    assert_eq!(of(&["--brokers=b", "--topic=b", "--asn=9"]), default("b"));
    let named = StateDir::Named("here".into());
    assert_eq!(of(&["--brokers=a", "--topic=b", "--state-dir=here"]), named);
    assert_eq!(of(&["--brokers=a", "--topic=b", "--state-dir=none"]), StateDir::None);
    assert_eq!(of(&["--input=-"]), StateDir::None);
    assert_eq!(of(&["--input=-", "--state-dir=here"]), named);
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

/// Runs the program, in a directory of its own.
async fn run(arguments: Vec<String>) -> (Output, bool) {
    let work = move || {
        let directory = TempDir::new().unwrap();
        let output =
            Command::new(program()).args(arguments).current_dir(directory.path()).output().unwrap();
        (output, fs::read_dir(directory.path()).unwrap().next().is_none())
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The output and the exit code of `check` for a receiver with these answers.
async fn check(answers: &[Answer], more: &[&str]) -> (String, Option<i32>) {
    check_at(&mut Receiver::new(), answers, more).await
}

async fn check_at(
    receiver: &mut Receiver,
    answers: &[Answer],
    more: &[&str],
) -> (String, Option<i32>) {
    receiver.answer(answers.iter().take(1).cloned());
    receiver.answer_questions(answers.iter().skip(1).cloned());
    let mut arguments =
        vec!["check".to_owned(), format!("--remote-write-url={}", receiver.url("/api/v1/write"))];
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    let (output, left_nothing) = run(arguments).await;
    assert!(left_nothing, "check keeps nothing");
    // No sample goes out: an empty message, or in 2.0 one with the empty symbol alone.
    while let Some(received) = receiver.received() {
        assert!(received.protobuf().is_empty(), "{received:?}");
    }
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test]
async fn check_finds_out_what_an_endpoint_takes() {
    // It answers 2xx to everything, as receivers do that know only 1.0.
    let (text, code) = check(&[], &[]).await;
    assert!(text.contains("write: works") && text.contains("204"), "{text}");
    assert!(text.contains("1.0 is used: it does not know 2.0"), "{text}");
    assert!(text.contains("source: none is given"), "{text}");
    assert_eq!(code, Some(0));

    let written = Answer::Status(
        204,
        vec![("x-prometheus-remote-write-samples-written", "0".to_owned())],
        String::new(),
    );
    let (text, code) = check(&[Answer::status(204), written], &[]).await;
    assert!(text.contains("remote write 2.0 is used"), "{text}");
    assert_eq!(code, Some(0));

    let one = Answer::Status(200, Vec::new(), "1".to_owned());
    let (text, _) = check(&[Answer::status(204), Answer::status(204), one], &[]).await;
    assert!(text.contains("takes zstd"), "{text}");

    // What accepts anything is not a receiver.
    for (trusted, expected) in [(false, Some(1)), (true, Some(0))] {
        let mut receiver = Receiver::new();
        receiver.takes_anything(true);
        let files = Files::new(&format!(
            "remote_write:\n- url: {}\n  trust_2xx: {trusted}\n",
            receiver.url("/api/v1/import")
        ));
        let config = files.flag();
        let (output, _) = run(vec!["check".to_owned(), config]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.contains("no receiver of remote write answers"), !trusted, "{text}");
        assert_eq!(output.status.code(), expected, "{text}");
        assert_eq!(receiver.received().map(|received| received.protobuf().len()), Some(0));
    }
    let page = vec![("content-type", "text/html".to_owned())];
    let page = Answer::Status(200, page, "<html>Log in".to_owned());
    let (text, code) = check(&[page], &[]).await;
    assert!(text.contains("web page") && text.contains("DOES NOT WORK"), "{text}");
    assert_eq!(code, Some(1));

    // 2.0 is configured, and its samples would be lost.
    let (text, code) = check(&[], &["--remote-write-protocol=2.0"]).await;
    assert!(
        text.contains("DOES NOT WORK") && text.contains("does not know remote write 2.0"),
        "{text}"
    );
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn check_says_what_to_do_about_an_endpoint_that_does_not_work() {
    for (answer, expected) in [
        (
            Answer::Status(401, Vec::new(), "who are you?".to_owned()),
            "401 Unauthorized (who are you?): check user, password, token or tenant",
        ),
        (Answer::status(404), "check the URL's path"),
        (
            Answer::Status(301, vec![("location", "http://other/write".to_owned())], String::new()),
            "redirects to http://other/write: configure that URL",
        ),
        (Answer::status(503), "has a problem: it answers 503"),
        (Answer::status(400), "check that the URL is one for remote write"),
        (Answer::Reset, "the connection breaks"),
    ] {
        let (text, code) = check(std::slice::from_ref(&answer), &[]).await;
        assert!(text.contains("DOES NOT WORK") && text.contains(expected), "{answer:?}: {text}");
        assert_eq!(code, Some(1), "{text}");
    }
    let nobody = Receiver::refusing();
    let url = format!("--remote-write-url={}", nobody.url("/"));
    let (output, _) = run(vec!["check".to_owned(), url]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("it can't be reached") && text.contains("refused"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn check_tells_a_wrong_configuration_from_what_does_not_work() {
    let files = Files::new(
        "remote_write:\n- url: http://127.0.0.1:1/\n  tls_config: {ca_file: missing.pem}\n",
    );
    for arguments in [
        vec![files.flag()],
        vec!["--remote-write-url=ftp://host/".to_owned()],
        vec!["--brokers=a".to_owned()],
        vec!["--input=/does/not/exist".to_owned()],
        vec![
            "--remote-write-url=http://host/".to_owned(),
            "--external-label=hostname=a".to_owned(),
        ],
    ] {
        let mut all = vec!["check".to_owned()];
        all.extend(arguments.clone());
        let (output, _) = run(all).await;
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.starts_with("flow-exporter: "), "{line}");
    }
}

#[tokio::test]
async fn check_looks_at_the_topic_and_what_is_newest_in_it() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("flows", 3, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let send = |partition, payload: &str| {
        let record = BaseRecord::<(), str>::to("flows").partition(partition).payload(payload);
        producer.send(record).unwrap();
        producer.flush(Duration::from_secs(60)).unwrap();
    };
    let flow = r#"{"label": "a", "as_src": 1, "as_dst": 15169, "bytes": 3}"#;
    send(0, "{");
    send(0, &format!("{flow}\n{flow}"));
    send(1, r#"{"event_type": "purge_init"}"#);
    let check = |topic: &str, more: &str| {
        let mut arguments =
            vec!["check".to_owned(), format!("--brokers={brokers}"), format!("--topic={topic}")];
        let more = if more.is_empty() { "--asn=1" } else { more };
        arguments.extend([more, "--as-names=embedded", "--addr=127.0.0.1:0"].map(str::to_owned));
        async {
            let (output, left_nothing) = run(arguments).await;
            assert!(left_nothing);
            (String::from_utf8(output.stdout).unwrap(), output.status.code())
        }
    };
    // Messages that can't be decoded don't matter if newer ones can.
    let (text, code) = check("flows", "").await;
    assert!(
        text.contains("topic flows: works") && text.contains("3 partitions with 3 messages"),
        "{text}"
    );
    assert!(
        text.contains(
            "in the newest 3 messages: 2 flows, 1 records that are no flows, 1 that can't be decoded"
        ),
        "{text}"
    );
    assert!(text.contains("flows of AS 1 (") && text.contains("): works"), "{text}");
    assert!(text.contains("view flow would count 2 of 2 flows\n"), "{text}");
    assert!(text.contains("scrape at 127.0.0.1:0: works"), "{text}");
    assert!(
        text.contains("state in flow-exporter-state/flows: works\n  it can be created"),
        "{text}"
    );
    assert!(text.contains("push: no endpoint is configured"), "{text}");
    assert!(text.ends_with("\nresult: nothing is wrong\n"), "{text}");
    assert_eq!(code, Some(0), "{text}");

    let (text, code) = check("flows", "--asn=99").await;
    assert!(text.contains("topic flows: works"), "{text}");
    assert!(text.contains("flows of AS 99: DOES NOT WORK"), "{text}");
    assert!(
        text.contains("0 of 2 flows have AS 99 at either end; most frequent: 1, 15169"),
        "{text}"
    );
    assert!(text.contains("  AS 15169 is Google LLC"), "{text}");
    assert!(text.ends_with("\nresult: DOES NOT WORK: flows of AS 99\n"), "{text}");
    assert_eq!(code, Some(1), "{text}");

    let (text, code) = check("flows", "--partitions=0,7").await;
    assert!(text.contains("no partition 7: it has 3"), "{text}");
    assert_eq!(code, Some(1));
    let (text, code) = check("flowz", "").await;
    assert!(text.contains("not for topic flowz"), "{text}");
    assert_eq!(code, Some(1));

    let (output, _) =
        run(vec!["check".to_owned(), "--brokers=127.0.0.1:1".to_owned(), "--topic=a".to_owned()])
            .await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("127.0.0.1:1 can't be reached") && text.contains("refused"), "{text}");
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(log, "");

    send(2, "what?");
    let (text, code) = check("flows", "").await;
    assert!(text.contains("partition 2 has records that can't be decoded"), "{text}");
    assert_eq!(code, Some(1));
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

#[test]
fn files_of_any_editor_are_read() {
    let files = Files::new("\u{feff}remote_write:\r\n- url: http://host/write\r\n");
    assert_eq!(endpoints(&[&files.flag()]).unwrap().len(), 1);
    let kafka = files.path("kafka.conf");
    fs::write(&kafka, "\u{feff}security.protocol=SSL\r\n\r\n# TLS\r\nssl.key.password=a b \r\n")
        .unwrap();
    let flag = format!("--kafka-config-file={}", kafka.display());
    let read = || {
        let words = ["flow-exporter", "--brokers=ssl://a", "--topic=b", "--state-dir=none", &flag];
        Config::count(Cli::read(words.map(OsString::from)).unwrap().count).map(|it| it.source)
    };
    let SourceConfig::Kafka(config) = read().unwrap() else { panic!("a topic") };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = [pair("security.protocol", "SSL"), pair("ssl.key.password", "a b")];
    assert_eq!(config.lower().settings, expected);
    // A file in another encoding is reported as such.
    fs::write(&kafka, b"\xff\xfes\0s\0l\0").unwrap();
    let line = read().expect_err("UTF-16").to_string();
    assert!(line.contains("--kafka-config-file") && line.contains("is UTF-16"), "{line}");
    fs::write(files.path("config.yml"), b"# M\xfcnchen\n").unwrap();
    let line = endpoints(&[&files.flag()]).expect_err("Latin-1").to_string();
    assert!(line.contains("--config") && line.contains("is not UTF-8 (in line 1)"), "{line}");
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_a_password() {
    let files = Files::new("");
    fs::write(files.path("token"), "\u{feff}abc\r\n").unwrap();
    let mut receiver = Receiver::new();
    receiver.answer([]);
    let url = format!("--remote-write-url={}", receiver.url("/"));
    let token = format!("--remote-write-bearer-token-file={}", files.path("token").display());
    let (output, _) = run(vec!["check".to_owned(), url, token]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(receiver.next().await.header("authorization"), Some("Bearer abc"));
}

#[tokio::test]
async fn check_looks_at_the_address_for_scrapes_and_at_the_state() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("flows", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("--addr={}", taken.local_addr().unwrap());
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("state");
    let identity = |topic: &str| Identity { topic: topic.into(), rule: Rule::of_as(7) };
    let check = |asn: &str, addr: &str, state: &Path| {
        let mut arguments: Vec<String> =
            ["check", asn, addr, "--topic=flows"].map(str::to_owned).into();
        arguments.push(format!("--brokers={brokers}"));
        arguments.push(format!("--state-dir={}", state.display()));
        async {
            let (output, left_nothing) = run(arguments).await;
            assert!(left_nothing);
            (String::from_utf8(output.stdout).unwrap(), output.status.code())
        }
    };
    let free = "--addr=127.0.0.1:0";
    let (text, code) = check("--asn=7", free, &state).await;
    assert!(text.contains("works\n  it can be created"), "{text}");
    assert!(text.contains("flows of AS 7") && text.contains("there is no message"), "{text}");
    assert_eq!(code, Some(0), "{text}");
    assert!(!state.exists(), "check makes no directory");
    // Another program has the port.
    let (text, code) = check("--asn=7", &addr, &state).await;
    assert!(text.contains("scrape at") && text.contains("DOES NOT WORK"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    // A file is in the way.
    fs::write(&state, "").unwrap();
    let (text, code) = check("--asn=7", free, &state).await;
    assert!(text.contains("is not a directory"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    fs::remove_file(&state).unwrap();

    // As a running program has it: open, and in use.
    let journal = state.join("journal");
    fs::create_dir_all(&state).unwrap();
    let caps = JournalConfig::default();
    let open = |topic| Store::open(&journal, &identity(topic), caps, UnixMs::new(1));
    let store = open("flows").unwrap();
    let config = LedgerConfig {
        schema: schema(),
        interval: seconds(15),
        timestamps: Timestamps::Arrival,
        series_ttl: None,
        names_wait: Duration::ZERO,
    };
    let names = Arc::new(AsNames::none());
    let metrics = Arc::new(Metrics::new());
    let component = Health::new().register("ledger");
    let (ledger, shards, _reader, _names) =
        Ledger::new(&config, names, 1, metrics, Some(store), component).unwrap();
    let (text, code) = check("--asn=7", free, &state).await;
    assert!(text.contains("a running flow-exporter uses it"), "{text}");
    assert_eq!(code, Some(0), "{text}");
    drop(shards);
    ledger.run();
    let (text, code) = check("--asn=7", free, &state).await;
    assert!(
        text.contains("it holds the counts of 0 series, from which counting continues"),
        "{text}"
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("all series end"), "{text}");
    // Another AS ends the series; another topic has other positions.
    let (text, code) = check("--asn=8", free, &state).await;
    assert!(
        text.contains("it holds the counts of 0 series, from which counting continues"),
        "{text}"
    );
    assert!(text.contains("they are of AS 7: for AS 8, all series end"), "{text}");
    assert_eq!(code, Some(0), "{text}");
    let elsewhere = directory.path().join("elsewhere");
    let of_other =
        Store::open(&elsewhere.join("journal"), &identity("other"), caps, UnixMs::new(1)).unwrap();
    let component = Health::new().register("ledger");
    let (ledger, ..) =
        Ledger::new(&config, AsNames::none().into(), 0, Arc::default(), Some(of_other), component)
            .unwrap();
    ledger.run();
    let (text, code) = check("--asn=7", free, &elsewhere).await;
    assert!(text.contains("the state directory holds the counts of topic other"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    // A broken journal is refused, and not changed.
    let segment = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
    let mut segments = segment.filter(|path| path.is_file() && path.metadata().unwrap().len() > 0);
    let segment = segments.next().expect("a segment");
    fs::write(&segment, "nonsense").unwrap();
    let (text, code) = check("--asn=7", free, &state).await;
    assert!(text.contains("is broken at offset"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(fs::read_to_string(&segment).unwrap(), "nonsense");
}

#[tokio::test]
async fn check_finds_a_running_program_at_the_address_for_scrapes_well() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("--addr={}", listener.local_addr().unwrap());
    let page = "<title>flow-exporter</title>";
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let serve = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let files = Files::new("");
    let flow = r#"{"as_src": 7, "as_dst": 8, "bytes": 3}"#;
    fs::write(files.path("flows.json"), format!("{flow}\n{flow}\n")).unwrap();
    let input = format!("--input={}", files.path("flows.json").display());
    let labels = "--labels=remote_as,hostname,service_port";
    let arguments = ["check", "--asn=7", &addr, &input, labels].map(str::to_owned);
    let (output, _) = run(arguments.into()).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("a flow-exporter already listens there"), "{text}");
    let found = "): works
  flows by class: 2 transmit
  view flow would count 2 of 2 flows
  hint: label hostname: 0 of 2 flows have it; pmacct's aggregate needs label
  hint: label service_port: 0 of 2 flows have it; pmacct's aggregate needs src_port, dst_port, proto
";
    assert!(text.contains(found), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    serve.abort();
}
