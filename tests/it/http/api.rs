//! What the API answers, and what it refuses.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flow_exporter::{
    health::State,
    publish::server::ServerConfig,
    schema::{Class, Dimension, Measure, Schema, View},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{ASN, Exporter, PATIENCE, config, rest};

/// Flows from and to two others.
const FLOWS: [(u32, u32, u64, &str); 4] = [
    (64501, ASN, 600, "edge1"),
    (64502, ASN, 100, "edge2"),
    (ASN, 64501, 20, "edge2"),
    (64502, 64503, 7, "edge1"),
];

async fn json_of(exporter: &Exporter, path: &str) -> (u16, Value) {
    let answer = reqwest::get(exporter.url(path)).await.expect("an answer");
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
    assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    let text = answer.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
}

/// An exporter that has counted flows since its first snapshot.
fn counted() -> Exporter {
    let exporter = Exporter::start();
    exporter.count(&FLOWS);
    exporter
}

#[tokio::test]
async fn traffic_is_what_was_counted() {
    let exporter = counted();
    let (status, answer) = json_of(&exporter, "/api/v1/traffic?by=remote_as&limit=1").await;
    assert_eq!(status, 200, "{answer}");
    let (total, rest) = (&answer["total"], &answer["rest"]);
    assert_eq!(
        (&total["receive"]["bytes"], &total["transmit"]["bytes"]),
        (&json!(700), &json!(20))
    );
    let seconds = answer["over_seconds"].as_f64().expect("a number");
    let rate = answer["total"]["receive"]["bits_per_second"].as_f64().expect("a number");
    assert!((rate * seconds - 5600.0).abs() < 1.0, "{rate} for {seconds} s");
    assert_eq!(answer["rows"][0]["values"], json!(["64501"]));
    assert_eq!(answer["rows"][0]["receive"]["bytes"], 600);
    assert_eq!((&rest["rows"], &rest["receive"]["bytes"]), (&json!(1), &json!(100)));

    let path =
        "/api/v1/traffic?by=hostname&class=receive&filter=remote_as:64502&filter=remote_as:1";
    let (_, answer) = json_of(&exporter, path).await;
    assert_eq!(answer["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["rows"][0]["values"], json!(["edge2"]));
    assert_eq!(answer["classes"], json!(["receive"]));

    // Whoever asks sees all that was counted before.
    exporter.count(&[(64509, ASN, 1, "edge1")]);
    let (_, answer) = json_of(&exporter, "/api/v1/traffic?by=remote_as&search=64509").await;
    assert_eq!(answer["rows"][0]["receive"]["bytes"], 1);
    assert_eq!(exporter.requests("/api/v1/traffic", "200"), 3);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_to_do() {
    let exporter = counted();
    for (query, error) in [
        ("veiw=flow", "there is no parameter veiw: docs/api.md lists them"),
        ("view=web", "there is no view web: choose one of flow"),
        ("view=flow&view=flow", "view is given twice: give it once"),
        (
            "class=in",
            "class is one of receive, transmit, internal and transit, or several of them, separated by commas",
        ),
        ("class=transit", "the view flow does not count transit: choose from receive, transmit"),
        ("measure=bits", "measure is bytes, packets or flows"),
        ("measure=flows", "the view flow does not count flows: choose from bytes"),
        (
            "by=hostname,hostname,hostname,hostname,hostname",
            "by has more than 4 labels: give fewer",
        ),
        (
            "by=port",
            "the view flow has no label port: choose from destination_as, hostname, source_as, remote_as",
        ),
        (
            "filter=64501",
            "a filter is a label and a value with a colon between, such as remote_as:64501",
        ),
        ("limit=201", "limit is a whole number from 0 to 200"),
        ("limit=", "limit is a whole number from 0 to 200"),
        ("limit=-1", "limit is a whole number from 0 to 200"),
        ("over=4", "over is a whole number from 5 to 3600"),
        ("span=3601", "span is a whole number from 60 to 3600"),
        ("step=99999999999999", "step is a whole number from 5 to 3600"),
    ] {
        let answer = json_of(&exporter, &format!("/api/v1/traffic?{query}")).await;
        assert_eq!(answer, (400, json!({ "error": error })), "{query}");
        let answer = json_of(&exporter, &format!("/api/v1/events?{query}")).await;
        let is_known_first = answer.0 == 400;
        assert!(
            is_known_first || error.contains("the view") || error.contains("no view"),
            "{query}"
        );
    }
    let filters = "filter=hostname:a&".repeat(17);
    let (status, _) = json_of(&exporter, &format!("/api/v1/traffic?{filters}")).await;
    assert_eq!(status, 400);
    // A hostile name is neither repeated at length nor left unescaped.
    let long = "%22%3Cscript%3E".repeat(200);
    let (status, answer) = json_of(&exporter, &format!("/api/v1/traffic?view={long}")).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().is_some_and(|error| error.len() < 300), "{answer}");
    for (path, error) in [
        ("/api/v1/views?x", "there is no parameter x: leave it out"),
        ("/api/v1/status?x=1", "there is no parameter x: docs/api.md lists them"),
        ("/api/v1/status?exporters=1002", "exporters is a whole number from 0 to 1001"),
        ("/api/v1/events?exporters=all", "exporters is a whole number from 0 to 1001"),
        ("/api/v1/traffic?exporters=1", "there is no parameter exporters: docs/api.md lists them"),
    ] {
        assert_eq!(json_of(&exporter, path).await, (400, json!({ "error": error })), "{path}");
    }
    let nothing = "/api/v1/events?traffic=no&status=no";
    assert_eq!(json_of(&exporter, nothing).await.0, 400);
    let error = json!({ "error": "Not found. See docs/api.md for what is served." });
    assert_eq!(json_of(&exporter, "/api/v2/status").await, (404, error));
    let client = reqwest::Client::new();
    let answer = client.post(exporter.url("/api/v1/status")).send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );
    assert_eq!(answer.text().await.expect("a text"), r#"{"error":"Use GET or HEAD."}"#);
}

#[tokio::test]
async fn views_say_what_can_be_asked() {
    let exporter = Exporter::start();
    let (status, answer) = json_of(&exporter, "/api/v1/views").await;
    assert_eq!(status, 200);
    let expected = json!({ "views": [{
        "name": "flow",
        "labels": ["destination_as", "hostname", "source_as"],
        "derived_labels": ["remote_as"],
        "classes": ["receive", "transmit"],
        "measures": ["bytes"],
        "filters": "",
        "kept_labels": ["hostname"],
        "max_series": usize::MAX,
    }]});
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_status_says_what_components_and_metrics_say() {
    let exporter = counted();
    let source = exporter.health.register("source");
    source.set(State::Ready);
    let push = exporter.health.register("push to mimir");
    push.set(State::Degraded("samples wait: 503".to_owned()));
    let metrics = &exporter.metrics;
    metrics.push_confirmed.with_label_values(&["mimir"]).inc_by(40);
    metrics.push_dropped.with_label_values(&["mimir", "refused"]).inc_by(2);
    metrics.push_pending.with_label_values(&["mimir"]).set(3);
    metrics.push_protocol.with_label_values(&["mimir", "2.0", "zstd"]).set(1);
    metrics.kafka_partitions.set(2);
    metrics.kafka_lag.with_label_values(&["flows", "0"]).set(4);
    metrics.kafka_lag.with_label_values(&["flows", "1"]).set(5);
    json_of(&exporter, "/api/v1/traffic").await;
    let (status, answer) = json_of(&exporter, "/api/v1/status").await;
    assert_eq!(status, 200);
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(answer["about"], "AS 64500 <from> a test");
    assert_eq!(answer["is_ready"], true);
    let expected = json!([
        { "name": "source", "state": "ready", "reason": null },
        { "name": "push to mimir", "state": "degraded", "reason": "samples wait: 503" },
    ]);
    assert_eq!(answer["components"], expected);
    assert_eq!(answer["flows"]["counted"], 3);
    assert_eq!(answer["flows"]["ignored"], json!({ "other_as": 1 }));
    assert_eq!(answer["views"][0]["series"], 3);
    assert_eq!(answer["source"]["kafka"]["lag_messages"], 9);
    assert_eq!(answer["source"]["collector"], Value::Null);
    let endpoint = &answer["endpoints"][0];
    assert_eq!((&endpoint["name"], &endpoint["state"]), (&json!("mimir"), &json!("degraded")));
    let samples = json!({ "generated": 0, "confirmed": 40, "dropped": 2, "pending": 3 });
    assert_eq!(endpoint["samples"], samples);
    assert_eq!((&endpoint["protocol"], &endpoint["compression"]), (&json!("2.0"), &json!("zstd")));
    assert_eq!(answer["history"]["max_bytes"], 1 << 20);
    let time = answer["time"].as_f64().expect("a time");
    let behind = answer["source"]["behind_seconds"].as_f64().expect("a span");
    let until = answer["source"]["counted_until"].as_f64().expect("a time");
    assert!((time - behind - until).abs() < 0.01, "{answer}");
    assert!(answer["source"]["newest_flow"].as_f64() <= Some(until), "{answer}");
}

#[tokio::test]
async fn a_status_of_few_exporters_has_some_in_trouble_and_those_that_send_most() {
    let exporter = Exporter::start();
    exporter.health.register("collector").set(State::Ready);
    let metrics = &exporter.metrics;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
    // By flows: the two last ones are silent, and two before them wait for templates.
    for (number, (awaited, age)) in
        [(0, 1.0), (0, 1.0), (0, 1.0), (1, 1.0), (2, 1.0), (0, 400.0), (0, 400.0)]
            .iter()
            .enumerate()
    {
        let address = format!("192.0.2.{number}");
        let label = [address.as_str()];
        metrics.exporter_datagrams.with_label_values(&label).inc_by(1);
        metrics.exporter_flows.with_label_values(&label).inc_by(100 - number as u64);
        metrics.exporter_missing_flows.with_label_values(&[&address, "lost"]).inc_by(3);
        metrics.exporter_awaited.with_label_values(&label).set(*awaited);
        metrics.exporter_last.with_label_values(&label).set(now - age);
    }
    // They show with the next snapshot.
    exporter.count(&FLOWS);
    json_of(&exporter, "/api/v1/traffic").await;
    for (query, expected) in [
        ("", &[0, 1, 2, 3, 4, 5, 6][..]),
        ("?exporters=4", &[3, 4, 0, 1]),
        ("?exporters=1", &[0]),
        ("?exporters=0", &[]),
    ] {
        let (_, answer) = json_of(&exporter, &format!("/api/v1/status{query}")).await;
        let collector = &answer["source"]["collector"];
        let told = collector["exporters"].as_array().expect("a list").iter();
        let told: Vec<_> = told.map(|each| each["exporter"].as_str().expect("a text")).collect();
        let expected: Vec<_> = expected.iter().map(|number| format!("192.0.2.{number}")).collect();
        assert_eq!(told, expected, "{query}");
        assert_eq!(collector["exporter_count"], 7, "{query}");
        assert_eq!(collector["troubled_exporter_count"], 4, "{query}");
        assert_eq!(collector["missing_flows"], 21, "{query}");
    }
}

/// Reads events until this many of a kind have come.
async fn events(stream: &mut TcpStream, kind: &str, enough: usize) -> String {
    let begin = format!("event: {kind}\n");
    let has_come = |read: &str| {
        let mut of_kind = read.split(&begin).skip(enough);
        of_kind.next().is_some_and(|last| last.contains("\n\n"))
    };
    let mut read = String::new();
    let reading = async {
        let mut part = [0; 4096];
        while !has_come(&read) {
            let length = stream.read(&mut part).await.expect("the stream goes on");
            assert!(length > 0, "the stream has ended: {read}");
            read.push_str(std::str::from_utf8(&part[..length]).expect("ASCII"));
        }
    };
    timeout(PATIENCE, reading).await.expect("events come");
    read
}

async fn watch(exporter: &Exporter, query: &str) -> TcpStream {
    let mut stream = exporter.connect().await;
    let request = format!("GET /api/v1/events?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    stream
}

/// The JSON of the last event of this kind.
fn last(read: &str, kind: &str) -> Value {
    let (_, event) = read.rsplit_once(&format!("event: {kind}\ndata: ")).expect("an event");
    let data = event.lines().next().expect("a line");
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))
}

fn often() -> ServerConfig {
    ServerConfig { event_interval: Duration::from_millis(20), ..config() }
}

#[tokio::test]
async fn events_tell_what_is_counted_meanwhile_and_end_with_the_server() {
    let mut exporter = Exporter::with(often());
    exporter.count(&FLOWS);
    let mut stream = watch(&exporter, "by=remote_as").await;
    let read = events(&mut stream, "status", 1).await;
    assert!(read.contains("content-type: text/event-stream\r\n"), "{read}");
    assert_eq!(last(&read, "traffic")["total"]["receive"]["bytes"], 700);
    assert_eq!(last(&read, "status")["flows"]["counted"], 3);
    exporter.count(&[(64501, ASN, 50, "edge1")]);
    // The first of these may have been on its way before.
    let read = events(&mut stream, "traffic", 3).await;
    assert_eq!(last(&read, "traffic")["total"]["receive"]["bytes"], 750);
    exporter.shut_down();
    assert!(rest(&mut stream).await.ends_with("0\r\n\r\n"), "it ends as a whole answer");
}

#[tokio::test]
async fn events_may_be_of_one_kind() {
    let exporter = Exporter::with(often());
    let mut stream = watch(&exporter, "traffic=no").await;
    assert!(!events(&mut stream, "status", 2).await.contains("event: traffic"));
    let mut stream = watch(&exporter, "status=no").await;
    assert!(!events(&mut stream, "traffic", 2).await.contains("event: status"));
}

#[tokio::test]
async fn a_stream_of_a_view_that_a_reload_removes_says_so_and_ends() {
    let exporter = Exporter::with(often());
    let mut stream = watch(&exporter, "view=flow").await;
    events(&mut stream, "traffic", 1).await;
    let view = View::new("device", &[Dimension::Hostname], &[Class::Receive], &[Measure::Bytes]);
    let schema = Arc::new(Schema::new(vec![view]));
    exporter.reader.change(schema, None).await.expect("the ledger takes it up");
    let read = events(&mut stream, "error", 1).await;
    let error = json!({ "error": "there is no view flow: choose one of device" });
    assert_eq!(last(&read, "error"), error);
    // The connection can be used for other requests.
    let request = b"GET /-/healthy HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("the server reads");
    assert!(rest(&mut stream).await.ends_with("Healthy.\n"));
}

#[tokio::test]
async fn a_reload_keeps_what_views_counted_that_go_on() {
    let exporter = counted();
    json_of(&exporter, "/api/v1/traffic").await;
    let view = View::new("device", &[Dimension::Hostname], &[Class::Receive], &[Measure::Bytes]);
    let schema = Arc::new(Schema::new(vec![view, View::original()]));
    exporter.reader.change(schema, None).await.expect("the ledger takes it up");
    exporter.count(&[(64501, ASN, 5, "edge1")]);
    let (_, answer) = json_of(&exporter, "/api/v1/traffic?view=flow&by=remote_as").await;
    assert_eq!(answer["rows"][0]["receive"]["bytes"], 605, "{answer}");
    assert_eq!(answer["total"]["receive"]["bytes"], 705, "{answer}");
    let (_, answer) = json_of(&exporter, "/api/v1/traffic?by=hostname").await;
    assert_eq!(answer["rows"][0]["receive"]["bytes"], 5, "{answer}");
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_ends_makes_room() {
    let exporter = Exporter::with(ServerConfig { max_event_streams: 1, ..often() });
    let mut stream = watch(&exporter, "").await;
    events(&mut stream, "traffic", 1).await;
    let answer = reqwest::get(exporter.url("/api/v1/events")).await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    assert_eq!(
        answer.text().await.expect("a text"),
        r#"{"error":"1 streams of events are open, which is the most: close a page, or ask again later"}"#
    );
    drop(stream);
    exporter.until(|metrics| metrics.http_connections.get(), 0).await;
    let mut stream = watch(&exporter, "").await;
    events(&mut stream, "traffic", 1).await;
}

#[tokio::test]
async fn who_has_gone_makes_room_before_the_next_events_are_due() {
    let hour = Duration::from_secs(3600);
    let exporter = Exporter::with(ServerConfig { event_interval: hour, ..config() });
    exporter.count(&FLOWS);
    let mut stream = watch(&exporter, "").await;
    events(&mut stream, "status", 1).await;
    drop(stream);
    exporter.until(|metrics| metrics.http_connections.get(), 0).await;
}

#[tokio::test]
async fn who_reads_no_events_is_cut_off() {
    let stall_timeout = Duration::from_millis(200);
    let exporter =
        Exporter::with(ServerConfig { stall_timeout, event_interval: Duration::ZERO, ..config() });
    exporter.count(&FLOWS);
    let _stream = watch(&exporter, "by=remote_as,hostname&span=3600&step=5").await;
    exporter.until(|_| exporter.closed("stalled"), 1).await;
    exporter.until(|metrics| metrics.http_connections.get(), 0).await;
}

#[tokio::test]
async fn head_of_events_is_no_stream() {
    let exporter = Exporter::with(ServerConfig { max_event_streams: 0, ..often() });
    let request = b"HEAD /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exporter.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/event-stream\r\n"), "{answer}");
}

#[tokio::test]
async fn the_examples_of_the_documents_work() {
    let exporter = counted();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md"));
    let page = page.expect("the document");
    let examples: Vec<_> = page
        .lines()
        .filter_map(|line| line.trim().strip_prefix("curl -s 'http://localhost:9590"))
        .filter_map(|line| line.strip_suffix('\''))
        .collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for path in examples {
        let (status, answer) = json_of(&exporter, path).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

/// All keys in JSON, as paths; of arrays, those of the first item.
fn keys(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        // What these hold depends on what happened.
        Value::Object(map)
            if !["ignored", "malformed", "brokers", "undecoded"]
                .iter()
                .any(|end| path.ends_with(end)) =>
        {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                keys(value, &path, out);
                out.push(path);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                keys(first, path, out);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_documents_show_the_keys_that_answers_have() {
    let exporter = Exporter::start();
    exporter.count(&FLOWS);
    exporter.count(&[(64501, ASN, 1, "edge1"), (ASN, 64502, 1, "edge1")]);
    exporter.health.register("push to mimir").set(State::Ready);
    exporter.metrics.kafka_partitions.set(1);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md"));
    let page = page.expect("the document");
    let examples: Vec<Value> = page
        .split("```json\n")
        .skip(1)
        .filter_map(|part| part.split("```").next())
        .map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect();
    let [traffic, views, status] = &examples[..] else { panic!("{} examples", examples.len()) };
    for (path, example) in [
        ("/api/v1/traffic?by=remote_as&limit=1", traffic),
        ("/api/v1/views", views),
        ("/api/v1/status", status),
    ] {
        let (_, answer) = json_of(&exporter, path).await;
        let (mut told, mut shown) = (Vec::new(), Vec::new());
        keys(&answer, "", &mut told);
        keys(example, "", &mut shown);
        // Nothing is collected here.
        shown.retain(|key| !key.starts_with(".source.collector."));
        told.sort_unstable();
        shown.sort_unstable();
        assert_eq!(told, shown, "{path}");
    }
}
