//! The pusher with receivers that work as they should, and with others.
//!
//! Tests of what a specification asks for begin with the name of its section.

// Small whole numbers go in and come out.
#![allow(clippy::unwrap_used, clippy::float_cmp, clippy::cast_sign_loss)]

mod failures;
mod held;
mod negotiation;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    flow::{Decoded, Flow},
    health::{Health, State},
    ledger::{Identity, Ledger, LedgerConfig, Store, Timestamps},
    metrics::Metrics,
    publish::{
        pusher::{
            self, Auth, BackoffBounds, CompressionChoice, ProtocolChoice, Pusher, PusherConfig,
            PusherConfigError, Secret, SecretSource,
        },
        remote_write::{BatchBounds, LabelError},
    },
    schema::Schema,
    traffic::Rule,
};
use testkit::{
    accounting::Samples,
    counting::{Record as _, schema},
    fake_ledger::{ASN, FakeLedger},
    log::Log,
    receiver::{Answer, Receiver},
};
use tokio::{sync::Notify, task::JoinHandle};

/// Series in most ticks here.
const SERIES: u32 = 5;

/// Waits that keep a test short.
const SHORT: BackoffBounds = BackoffBounds {
    min: Duration::from_millis(10),
    max: Duration::from_millis(40),
    retry_after_max: Duration::from_secs(5),
};

fn config(receiver: &Receiver) -> PusherConfig {
    PusherConfig {
        external_labels: vec![("instance".to_owned(), "a".to_owned())],
        backoff: SHORT,
        protocol: ProtocolChoice::V1,
        compression: CompressionChoice::Snappy,
        ..PusherConfig::new(receiver.url("/api/v1/write"))
    }
}

fn in_batches_of(series: usize, config: PusherConfig) -> PusherConfig {
    PusherConfig { batch: BatchBounds { series, ..BatchBounds::default() }, ..config }
}

/// A running pusher, and the ledger that it follows.
struct Push {
    series: u32,
    ledger: FakeLedger,
    task: JoinHandle<()>,
    metrics: Arc<Metrics>,
    health: Health,
}

impl Push {
    fn start(config: &PusherConfig) -> Self {
        Push::start_in(config, None)
    }

    fn start_in(config: &PusherConfig, state_dir: Option<&Path>) -> Self {
        Push::start_of(SERIES, config, state_dir)
    }

    /// One of so many series.
    fn start_of(series: u32, config: &PusherConfig, state_dir: Option<&Path>) -> Self {
        let metrics = Arc::new(Metrics::new());
        testkit::log::everything_is_logged();
        let health = Health::new();
        let component = health.register("remote write");
        let schema = Schema::original();
        let pusher =
            Pusher::new(config, &schema, Arc::clone(&metrics), component, state_dir).unwrap();
        let ledger = FakeLedger::of_series(series);
        pusher::claim(&ledger.log(), [&pusher]).unwrap();
        let task = tokio::spawn(pusher.run(ledger.log(), ledger.news.subscribe()));
        Push { series, ledger, task, metrics, health }
    }

    /// The state that the pusher reports.
    fn state(&self) -> State {
        self.health.components()[0].1.clone()
    }

    /// Returns once this holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let until = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), until).await.expect("within a minute");
    }

    /// A tick with all series, each of which has counted this many bytes since the last one.
    fn publish(&mut self, time_ms: i64, bytes: u64) {
        for source_as in 1..=self.series {
            self.ledger.count(source_as, bytes);
        }
        self.ledger.append(time_ms, true);
    }

    /// Ends the ledger, waits for the pusher's end, and returns what became of the samples.
    async fn end(mut self) -> Samples {
        self.ledger.close();
        self.task.await.expect("the pusher does not panic");
        Samples::of(&self.metrics)
    }

    /// Returns when the pusher has taken this many samples in.
    async fn until_generated(&self, samples: u64) {
        self.until(|push| Samples::of(&push.metrics).generated >= samples).await;
    }

    /// Returns when the receiver has confirmed this many samples.
    async fn until_confirmed(&self, samples: u64) {
        self.until(|push| Samples::of(&push.metrics).confirmed >= samples).await;
    }
}

/// Nothing is left pending.
fn samples<const N: usize>(generated: u64, confirmed: u64, dropped: [(&str, u64); N]) -> Samples {
    let dropped = dropped.map(|(reason, samples)| (reason.to_owned(), samples)).into();
    Samples { generated, confirmed, pending: 0, dropped }
}

/// The values of a metric, by all labels but the endpoint.
fn values(metrics: &Metrics, name: &str) -> BTreeMap<String, f64> {
    let families = metrics.gather();
    let samples = families.into_iter().filter(|family| family.name == name);
    samples
        .flat_map(|family| family.samples)
        .map(|sample| {
            let labels = sample.labels.into_iter().filter(|(name, _)| name != "endpoint");
            let labels: Vec<_> = labels.map(|(_, value)| value).collect();
            (labels.join(" "), sample.value)
        })
        .collect()
}

fn requests(metrics: &Metrics) -> BTreeMap<String, u64> {
    let families = metrics.gather();
    let requests = families
        .into_iter()
        .find(|family| family.name == "flow_exporter_remote_write_requests_total")
        .expect("requests");
    requests
        .samples
        .into_iter()
        .map(|sample| {
            let code = sample.labels.into_iter().find(|(name, _)| name == "code");
            (code.expect("a code").1, sample.value as u64)
        })
        .collect()
}

#[tokio::test]
async fn protocol_a_request_is_a_post_with_the_headers_of_version_0_1_0() {
    let mut receiver = Receiver::new();
    let mut push = Push::start(&PusherConfig {
        headers: vec![("X-Scope-OrgID".to_owned(), Secret::new("tenant"))],
        ..PusherConfig::new(receiver.url("/api/v1/push?extra_label=a"))
    });
    push.publish(1_000, 1);
    let request = receiver.next().await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.uri, "/api/v1/push?extra_label=a");
    assert_eq!(request.header("content-encoding"), Some("snappy"));
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(request.header("x-prometheus-remote-write-version"), Some("0.1.0"));
    let user_agent = format!("flow-exporter/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(request.header("user-agent"), Some(user_agent.as_str()));
    assert_eq!(request.header("x-scope-orgid"), Some("tenant"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    push.end().await;
}

#[tokio::test]
async fn protocol_every_series_goes_out_with_the_time_and_value_of_its_snapshot() {
    let mut receiver = Receiver::new();
    let mut push = Push::start(&config(&receiver));
    for (time_ms, value) in [(15_000, 10.0), (30_000, 20.0), (45_000, 30.0)] {
        push.publish(time_ms, 10);
        let sent = receiver.next().await.samples();
        let sources: Vec<_> = sent.iter().map(|(labels, ..)| labels["source_as"].clone()).collect();
        assert_eq!(sources, ["1", "2", "3", "4", "5"]);
        for (labels, sent_ms, sent_value) in sent {
            assert_eq!((sent_ms, sent_value), (time_ms, value));
            assert_eq!(labels["__name__"], "flow_receive_bytes_total");
            assert_eq!(labels["instance"], "a");
        }
    }
    assert_eq!(push.end().await, samples(15, 15, []));
}

#[tokio::test]
async fn requests_use_one_connection_and_follow_one_after_the_other() {
    let mut receiver = Receiver::new();
    let gate = Arc::new(Notify::new());
    receiver.answer([Answer::Gated(Arc::clone(&gate), 200)]);
    let mut push = Push::start(&in_batches_of(2, config(&receiver)));
    push.publish(1_000, 1);
    let first = receiver.next().await;
    push.until_generated(5).await;
    assert!(receiver.is_idle(), "a second request before the first is answered");
    gate.notify_one();
    let others = [receiver.next().await, receiver.next().await];
    let sizes = [&first, &others[0], &others[1]].map(|request| request.samples().len());
    assert_eq!(sizes, [2, 2, 1]);
    for request in [&first, &others[0], &others[1]] {
        assert_eq!(request.connection, 0);
    }
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn metadata_travels_once_a_minute_with_the_first_request_of_a_snapshot() {
    let mut receiver = Receiver::new();
    let mut push = Push::start(&in_batches_of(3, config(&receiver)));
    let mut with_metadata = Vec::new();
    for time_ms in [0, 15_000, 30_000, 45_000, 60_000].map(|time_ms| time_ms + 1_000_000) {
        push.publish(time_ms, 1);
        for _ in 0..2 {
            with_metadata.push(!receiver.next().await.write_request().metadata.is_empty());
        }
    }
    let expected = [true, false, false, false, false, false, false, false, true, false];
    assert_eq!(with_metadata, expected);
    push.end().await;
}

#[tokio::test]
async fn retries_backoff_a_5xx_is_retried_with_the_same_bytes() {
    let mut receiver = Receiver::new();
    receiver.answer([500, 503, 599].map(Answer::status));
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    let first = receiver.next().await;
    for _ in 0..3 {
        assert_eq!(receiver.next().await.body, first.body);
    }
    let metrics = Arc::clone(&push.metrics);
    assert_eq!(push.end().await, samples(5, 5, []));
    // Before the confirmation counts, the receiver is probed with undecodable bytes: a 400.
    let expected = ["500", "503", "599", "204", "400"].map(|code| (code.to_owned(), 1));
    assert_eq!(requests(&metrics), expected.into());
}

#[tokio::test]
async fn retries_backoff_a_429_is_retried_not_before_its_retry_after() {
    let mut receiver = Receiver::new();
    let wait = vec![("retry-after", "1".to_owned())];
    receiver.answer([Answer::Status(429, wait, "too many".to_owned())]);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    let first = receiver.next().await;
    let answered = Instant::now();
    assert_eq!(receiver.next().await.body, first.body);
    assert!(answered.elapsed() >= Duration::from_secs(1), "{:?}", answered.elapsed());
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn retries_backoff_a_retry_after_beyond_the_bound_is_cut_to_it() {
    let mut receiver = Receiver::new();
    let wait = vec![("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT".to_owned())];
    receiver.answer([Answer::Status(503, wait, String::new())]);
    let bound = Duration::from_millis(50);
    let backoff = BackoffBounds { retry_after_max: bound, ..SHORT };
    let mut push = Push::start(&PusherConfig { backoff, ..config(&receiver) });
    push.publish(1_000, 1);
    let first = receiver.next().await;
    let answered = Instant::now();
    assert_eq!(receiver.next().await.body, first.body);
    assert!(answered.elapsed() >= bound);
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn an_answer_of_the_receiver_is_logged_cut_and_without_control_characters() {
    let (log, _guard) = Log::capture();
    let receiver = Receiver::new();
    let words = "a\x1b[2J\r\nb\u{85}".repeat(100_000);
    receiver.judge(move |received| {
        received.is_of_flows().then(|| Answer::Status(422, Vec::new(), words.clone()))
    });
    let mut push = Push::start(&in_batches_of(1, config(&receiver)));
    push.publish(1_000, 1);
    push.until(|push| Samples::of(&push.metrics).dropped.get("http_422") == Some(&5)).await;
    assert_eq!(push.end().await, samples(5, 0, [("http_422", 5)]));
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), 1, "at a limited rate: {warnings:?}");
    assert!(warnings[0].contains("a [2J  b"), "{}", warnings[0]);
    assert!(warnings[0].len() < 2_000, "{} bytes", warnings[0].len());
    assert!(!log.text().contains(|each: char| each.is_control() && each != '\n'));
}

#[tokio::test]
async fn what_only_the_operator_can_mend_is_held_and_said_once() {
    for status in [401, 403, 404] {
        let (log, _guard) = Log::capture();
        let mut receiver = Receiver::new();
        receiver.answer(vec![Answer::status(status); 3]);
        let mut push = Push::start(&config(&receiver));
        push.publish(1_000, 1);
        let first = receiver.next().await;
        let mut since = Instant::now();
        for _ in 0..3 {
            assert_eq!(receiver.next().await.body, first.body);
            let waited = since.elapsed();
            assert!(waited >= SHORT.max.mul_f64(0.9), "again after {waited:?}");
            since = Instant::now();
        }
        assert_eq!(push.end().await, samples(5, 5, []));
        let errors = log.lines("ERROR");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(&status.to_string()), "{errors:?}");
    }
}

#[tokio::test]
async fn a_redirection_is_not_followed_but_told() {
    let (log, _guard) = Log::capture();
    let mut receiver = Receiver::new();
    let elsewhere = Receiver::new();
    let location = elsewhere.url("/there?token=hunter2");
    receiver.answer([Answer::Status(307, vec![("location", location)], String::new())]);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    let first = receiver.next().await;
    assert_eq!(receiver.next().await.body, first.body);
    assert_eq!(push.end().await, samples(5, 5, []));
    let errors = log.lines("ERROR");
    assert!(errors[0].contains(&elsewhere.url("/there;")), "{errors:?}");
    assert!(!log.text().contains("hunter2"));
}

#[tokio::test]
async fn an_endpoint_that_is_down_gets_the_samples_when_it_is_up() {
    let (log, _guard) = Log::capture();
    let mut receiver = Receiver::refusing();
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    let metrics = Arc::clone(&push.metrics);
    let failed = async {
        while log.lines("WARN").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed).await.expect("within a minute");
    receiver.listen();
    assert_eq!(receiver.next().await.samples().len(), 5);
    assert_eq!(push.end().await, samples(5, 5, []));
    let requests = requests(&metrics);
    assert!(requests["connect"] >= 1, "{requests:?}");
    assert_eq!(requests["204"], 1);
    assert!(log.lines("WARN")[0].contains("refused"), "{}", log.text());
    assert_eq!(log.lines("INFO").len(), 1, "{}", log.text());
}

#[tokio::test]
async fn a_request_without_an_answer_is_sent_again() {
    for (answer, code) in
        [(Answer::Stall, "timeout"), (Answer::Reset, "network"), (Answer::Break(503), "503")]
    {
        let mut receiver = Receiver::new();
        receiver.answer([answer]);
        let timeout = Duration::from_millis(500);
        let mut push = Push::start(&PusherConfig { timeout, ..config(&receiver) });
        push.publish(1_000, 1);
        let first = receiver.next().await;
        assert_eq!(receiver.next().await.body, first.body);
        let metrics = Arc::clone(&push.metrics);
        assert_eq!(push.end().await, samples(5, 5, []));
        let expected = [code, "204", "400"].map(|code| (code.to_owned(), 1));
        assert_eq!(requests(&metrics), expected.into());
    }
}

#[tokio::test]
async fn a_confirmation_counts_even_if_its_body_breaks_off() {
    let mut receiver = Receiver::new();
    receiver.answer([Answer::Break(200)]);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    receiver.next().await;
    assert_eq!(push.end().await, samples(5, 5, []));
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn a_slow_receiver_gets_all_that_waited_in_few_requests() {
    let mut receiver = Receiver::new();
    let gate = Arc::new(Notify::new());
    receiver.answer([Answer::Gated(Arc::clone(&gate), 200)]);
    let mut push = Push::start(&in_batches_of(3, config(&receiver)));
    push.publish(1_000, 1);
    assert_eq!(receiver.next().await.time_ms(), 1_000);
    for (time_ms, generated) in [(2_000, 10), (3_000, 15), (4_000, 20)] {
        push.publish(time_ms, 1);
        push.until_generated(generated).await;
    }
    gate.notify_one();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        sizes.push(receiver.next().await.samples().len());
    }
    assert_eq!(sizes, [2, 9, 6]);
    assert_eq!(push.end().await, samples(20, 20, []));
}

#[tokio::test]
async fn ordering_a_tick_that_is_not_newer_is_left_out() {
    let mut receiver = Receiver::new();
    let mut push = Push::start(&config(&receiver));
    push.publish(2_000, 1);
    assert_eq!(receiver.next().await.time_ms(), 2_000);
    push.publish(1_000, 1);
    push.publish(2_000, 1);
    push.publish(3_000, 1);
    assert_eq!(receiver.next().await.time_ms(), 3_000);
    assert_eq!(push.end().await, samples(20, 10, [("not_newer", 10)]));
}

#[tokio::test]
async fn all_that_is_there_is_sent_before_the_end() {
    let mut receiver = Receiver::new();
    let gate = Arc::new(Notify::new());
    receiver.answer([Answer::Gated(Arc::clone(&gate), 200)]);
    let mut push = Push::start(&in_batches_of(5, config(&receiver)));
    push.publish(1_000, 1);
    assert_eq!(receiver.next().await.time_ms(), 1_000);
    push.publish(2_000, 1);
    let ending = tokio::spawn(push.end());
    // The end has to be known before the first request is answered.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    gate.notify_one();
    assert_eq!(receiver.next().await.time_ms(), 2_000);
    assert_eq!(ending.await.unwrap(), samples(10, 10, []));
}

#[tokio::test]
async fn the_end_waits_for_an_answer_no_longer_than_its_deadline() {
    let mut receiver = Receiver::new();
    receiver.always(Answer::Stall);
    let shutdown_timeout = Duration::from_millis(100);
    let mut push = Push::start(&PusherConfig { shutdown_timeout, ..config(&receiver) });
    push.publish(1_000, 1);
    receiver.next().await;
    let ended = Instant::now();
    assert_eq!(push.end().await, samples(5, 0, [("shutdown", 5)]));
    // Far below the 30 s of the request.
    assert!(ended.elapsed() >= shutdown_timeout && ended.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn the_end_does_not_disturb_an_endpoint_that_is_not_well() {
    let (log, _guard) = Log::capture();
    let mut receiver = Receiver::new();
    receiver.always(Answer::status(503));
    let minute = Duration::from_secs(60);
    let backoff = BackoffBounds { min: minute, max: minute, retry_after_max: minute };
    let mut push = Push::start(&PusherConfig { backoff, ..config(&receiver) });
    push.publish(1_000, 1);
    receiver.next().await;
    push.publish(2_000, 1);
    push.until_generated(10).await;
    let ended = Instant::now();
    assert_eq!(push.end().await, samples(10, 0, [("shutdown", 10)]));
    assert!(ended.elapsed() < Duration::from_secs(15), "{:?}", ended.elapsed());
    assert!(receiver.is_idle());
    assert!(log.lines("WARN").last().unwrap().contains("samples=10"), "{}", log.text());
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let basic = Auth::Basic {
        username: SecretSource::value("u"),
        password: SecretSource::value("hunter2"),
    };
    let bearer = Auth::bearer(SecretSource::value("hunter2"));
    for (auth, header) in [(basic, "Basic dTpodW50ZXIy"), (bearer, "Bearer hunter2")] {
        let (log, _guard) = Log::capture();
        let mut receiver = Receiver::new();
        receiver.answer([
            Answer::status(401),
            Answer::Reset,
            Answer::status(503),
            Answer::status(307),
            Answer::status(400),
        ]);
        let config = PusherConfig {
            auth,
            headers: vec![("X-Key".to_owned(), Secret::new("hunter2"))],
            backoff: SHORT,
            ..PusherConfig::new(receiver.url("/write?key=hunter2"))
        };
        let component = Health::new().register("remote write");
        let schema = Schema::original();
        let pusher = Pusher::new(&config, &schema, Arc::default(), component, None).unwrap();
        for shown in [format!("{config:?}"), format!("{pusher:?}")] {
            assert!(!shown.contains("hunter2") && !shown.contains("dTpod"), "{shown}");
        }
        let mut push = Push::start(&config);
        push.publish(1_000, 1);
        for _ in 0..5 {
            let request = receiver.next().await;
            assert_eq!(request.header("authorization"), Some(header));
            assert_eq!(request.header("x-key"), Some("hunter2"));
        }
        let metrics = Arc::clone(&push.metrics);
        push.end().await;
        for family in metrics.gather() {
            for sample in family.samples {
                for (_, value) in sample.labels {
                    assert!(!value.contains("hunter2"), "{value}");
                }
            }
        }
        let log = log.text();
        assert!(log.contains("/write"), "{log}");
        assert!(!log.contains("hunter2") && !log.contains("dTpod"), "{log}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_an_error() {
    let url = "http://127.0.0.1:1/write";
    let error = |config: PusherConfig| {
        let metrics = Arc::new(Metrics::new());
        let component = Health::new().register("remote write");
        let error = Pusher::new(&config, &Schema::original(), metrics, component, None)
            .expect_err("an error");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        error
    };
    assert!(matches!(error(PusherConfig::new("no URL")), PusherConfigError::Url(_)));
    assert!(matches!(error(PusherConfig::new("ftp://a/b")), PusherConfigError::Scheme(_)));
    assert!(matches!(
        error(PusherConfig::new("http://user:hunter2@a/b")),
        PusherConfigError::Credentials
    ));
    let header = |name: &str, value: &str| {
        error(PusherConfig {
            headers: vec![(name.to_owned(), Secret::new(value))],
            auth: Auth::bearer(SecretSource::value("hunter2")),
            ..PusherConfig::new(url)
        })
    };
    for reserved in [
        "Content-Encoding",
        "content-type",
        "X-Prometheus-Remote-Write-Version",
        "User-Agent",
        "Content-Length",
        "Host",
        "Authorization",
    ] {
        assert!(matches!(header(reserved, "a"), PusherConfigError::HeaderReserved(_)));
    }
    assert!(matches!(header("a b", "a"), PusherConfigError::HeaderName(_)));
    assert!(matches!(header("a", "hunter2\n"), PusherConfigError::HeaderValue(_)));
    let auth = |auth| error(PusherConfig { auth, ..PusherConfig::new(url) });
    let bearer = Auth::bearer(SecretSource::value("hunter2\n"));
    assert!(matches!(auth(bearer), PusherConfigError::Token));
    let basic = Auth::Basic {
        username: SecretSource::value("a:b"),
        password: SecretSource::value("hunter2"),
    };
    assert!(matches!(auth(basic), PusherConfigError::Username));
    let external_labels = vec![("hostname".to_owned(), "a".to_owned())];
    assert!(matches!(
        error(PusherConfig { external_labels, ..PusherConfig::new(url) }),
        PusherConfigError::Label(LabelError::Taken(_))
    ));
    for batch in [
        BatchBounds { series: 0, samples: 1, bytes: 1 },
        BatchBounds { series: 1, samples: 1, bytes: 0 },
        BatchBounds { series: 1, samples: 1, bytes: 33 << 20 },
    ] {
        let config = PusherConfig { batch, ..PusherConfig::new(url) };
        assert!(matches!(error(config), PusherConfigError::Batch(_)));
    }
    for backoff in [
        BackoffBounds { min: Duration::ZERO, ..SHORT },
        BackoffBounds { max: Duration::ZERO, ..SHORT },
        BackoffBounds { retry_after_max: Duration::ZERO, ..SHORT },
    ] {
        let config = PusherConfig { backoff, ..PusherConfig::new(url) };
        assert!(matches!(error(config), PusherConfigError::Backoff(_)));
    }
}

#[tokio::test]
async fn at_every_moment_each_sample_is_confirmed_pending_or_dropped() {
    let mut receiver = Receiver::new();
    let mut push = Push::start(&in_batches_of(1, config(&receiver)));
    let over = Arc::new(AtomicBool::new(false));
    let observer = thread::spawn({
        let (metrics, over) = (Arc::clone(&push.metrics), Arc::clone(&over));
        move || {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                // Fails unless all are accounted for.
                Samples::of(&metrics);
                seen += 1;
            }
            seen
        }
    });
    for time_ms in 1..=100 {
        receiver.answer([200, 400, 503, 200, 404].map(Answer::status));
        push.publish(time_ms, 1);
        receiver.next().await;
    }
    let metrics = Arc::clone(&push.metrics);
    let samples = push.end().await;
    over.store(true, Ordering::Relaxed);
    assert!(observer.join().expect("all is accounted for") > 0);
    assert_eq!(samples, Samples::of(&metrics));
    assert_eq!(samples.pending, 0, "{samples:?}");
    assert_eq!(samples.generated, 500);
    assert!(samples.confirmed > 0 && samples.dropped["http_400"] > 0, "{samples:?}");
}

#[tokio::test]
async fn what_the_ledger_counted_last_arrives() {
    let mut receiver = Receiver::new();
    let metrics = Arc::new(Metrics::new());
    let ledger_config = LedgerConfig {
        schema: schema(),
        // Longer than the test: only the last snapshot is a tick.
        interval: Duration::from_secs(86_400),
        timestamps: Timestamps::Arrival,
        series_ttl: None,
        names_wait: Duration::ZERO,
        keeps_interims: false,
    };
    let identity = Identity { topic: "flows".into(), rule: Rule::of_as(ASN) };
    let store = Store::in_memory(&identity, &schema(), UnixMs::EPOCH, u64::MAX);
    let log = store.log();
    let (ledger, mut shards, reader, _names) = Ledger::new(
        &ledger_config,
        Arc::new(AsNames::default()),
        1,
        Arc::clone(&metrics),
        Some(store),
        Health::new().register("ledger"),
    )
    .expect("there is no journal to refuse it");
    let component = Health::new().register("remote write");
    let pusher =
        Pusher::new(&config(&receiver), &Schema::original(), Arc::clone(&metrics), component, None)
            .unwrap();
    pusher::claim(&log, [&pusher]).unwrap();
    let task = tokio::spawn(pusher.run(log, reader.news()));
    let ledger = thread::spawn(move || ledger.run());
    let mut shard = shards.pop().expect("a shard");
    let flow = Flow { source_as: 1, destination_as: ASN, bytes: 42, hostname: "edge1".into() };
    shard.counts(None).record(&Rule::of_as(ASN), &Decoded::Flow(flow));
    shard.hand_over(Vec::new());
    drop(shard);
    let values = receiver.next().await.samples();
    assert_eq!(values.iter().map(|sample| sample.2).collect::<Vec<_>>(), [0.0, 42.0]);
    task.await.expect("ends with the ledger");
    ledger.join().expect("ends with its shards").unwrap();
    assert_eq!(Samples::of(&metrics), samples(2, 2, []));
}
