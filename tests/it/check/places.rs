//! What `check` says about endpoints, the topic, the address for scrapes and the state.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    health::Health,
    journal::JournalConfig,
    ledger::{Identity, Ledger, LedgerConfig, Store, Timestamps},
    metrics::Metrics,
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

use crate::config::Files;

/// Runs the program, in a directory of its own.
pub(crate) async fn run(arguments: Vec<String>) -> (Output, bool) {
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
    assert!(text.contains("\npush: no endpoint is given"), "{text}");
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
    assert!(text.contains("have no topic flowz: did you mean flows?"), "{text}");
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
        interval: Duration::from_secs(15),
        timestamps: Timestamps::Arrival,
        series_ttl: None,
        names_wait: Duration::ZERO,
        keeps_interims: false,
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
    ledger.run().unwrap();
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
    ledger.run().unwrap();
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
