//! Reloads of the configuration, by SIGHUP and by `POST /-/reload`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    http,
    produce::Flows,
    receiver::Receiver,
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);
const SUCCESSFUL: &str = "flow_exporter_config_last_reload_successful";
const WEB_SUCCESSFUL: &str = "flow_exporter_web_config_last_reload_successful";

/// A configuration file, in a directory for other files of a test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the file with these endpoints: names, URLs and further keys.
    fn endpoints(&self, endpoints: &[(&str, &str, &str)]) {
        let mut text = "remote_write:\n".to_owned();
        for (name, url, keys) in endpoints {
            text.extend(["- {name: ", name, ", url: '", url, "'", keys, "}\n"]);
        }
        fs::write(self.path("push.yml"), text).unwrap();
    }

    /// The arguments for counting this topic.
    fn arguments(&self, brokers: &str) -> Vec<String> {
        let mut arguments = count(brokers, TOPIC);
        arguments.push(format!("--config={}", self.path("push.yml").display()));
        arguments.push(format!("--state-dir={}", self.path("state").display()));
        arguments.push("--remote-write-interval=1s".to_owned());
        arguments
    }
}

fn receiver() -> Receiver {
    http::block_on(async { Receiver::new() })
}

/// Waits for a request with flows.
fn next(receiver: &mut Receiver) -> testkit::receiver::Received {
    http::block_on(async {
        loop {
            let request = receiver.next().await;
            if request.is_of_flows() {
                return request;
            }
        }
    })
}

/// Sends SIGHUP, and waits until the log reports this outcome.
fn hang_up(exporter: &Exporter, said: &str) {
    exporter.signal("HUP");
    exporter.wait_for_log(said, LIMIT);
}

#[test]
fn endpoints_are_added_changed_and_removed_and_the_others_go_on_undisturbed() {
    let (cluster, files) = (cluster(1), Files::new());
    let mut producer = producer(&cluster);
    let (mut stays, mut goes, mut changes, mut comes) =
        (receiver(), receiver(), receiver(), receiver());
    let urls = [&stays, &goes, &changes, &comes].map(|receiver| receiver.url("/write"));
    let [stays_url, goes_url, changes_url, comes_url] = urls.each_ref().map(String::as_str);
    files.endpoints(&[
        ("stays", stays_url, ""),
        ("goes", goes_url, ""),
        ("changes", changes_url, ""),
    ]);
    let exporter = Exporter::start(&files.arguments(&cluster.bootstrap_servers()));
    assert_eq!(exporter.page().sum(SUCCESSFUL), 1);
    let mut flows = Flows::new(41, 1, 5);
    producer.send_flows(&mut flows, 100, 1);
    let connection = next(&mut stays).connection;
    next(&mut goes);
    assert_eq!(next(&mut changes).header("x-scope-orgid"), None);

    files.endpoints(&[
        ("stays", stays_url, ""),
        ("changes", changes_url, ", headers: {X-Scope-OrgID: new}"),
        ("comes", comes_url, ""),
    ]);
    hang_up(&exporter, "configuration reloaded");
    for said in ["endpoint goes removed", "endpoint changes changed", "endpoint comes added"] {
        assert!(exporter.log().contains(said), "{}", exporter.log());
    }
    assert!(!exporter.log().contains("endpoint stays"), "{}", exporter.log());
    // What was on its way has arrived by now.
    while goes.received().is_some() {}
    producer.send_flows(&mut flows, 100, 1);
    next(&mut comes);
    wait_for("request with the new header", LIMIT, || {
        let received = next(&mut changes);
        received.header("x-scope-orgid").map(drop).ok_or_else(|| "the old one".to_owned())
    });
    while let Some(received) = stays.received() {
        assert_eq!(received.connection, connection, "its connection stays in use");
    }
    assert_eq!(next(&mut stays).connection, connection);
    assert!(goes.is_idle());
    let page = exporter.page();
    let generated = "flow_exporter_remote_write_samples_generated_total";
    for (name, is_there) in [("stays", true), ("goes", false), ("changes", true), ("comes", true)] {
        let mut samples = page.samples(generated);
        let found =
            samples.any(|sample| sample.labels.get("endpoint").is_some_and(|is| is == name));
        assert_eq!(found, is_there, "{name}");
    }
    assert_eq!(page.sum("flow_exporter_remote_write_samples_dropped_total"), 0);
    exporter.wait_for_account(LIMIT);
    exporter.wait_until_ready(LIMIT);

    // A restart continues with the endpoints that the reload left.
    assert!(exporter.stop().success());
    while changes.received().is_some() {}
    let exporter = Exporter::start(&files.arguments(&cluster.bootstrap_servers()));
    exporter.wait_for_totals(&flows.totals(testkit::produce::unnamed), LIMIT);
    next(&mut changes);
    assert!(!exporter.log().contains("no longer configured"), "{}", exporter.log());
    assert!(exporter.stop().success());
}

#[test]
fn what_waits_for_an_endpoint_that_changes_is_sent_by_the_one_that_takes_its_place() {
    let (cluster, files) = (cluster(1), Files::new());
    let mut producer = producer(&cluster);
    let mut works = receiver();
    // Nothing listens there.
    let nobody = format!("http://{}:9/write", unused_address());
    files.endpoints(&[("moves", &nobody, "")]);
    let exporter = Exporter::start(&files.arguments(&cluster.bootstrap_servers()));
    let mut flows = Flows::new(42, 1, 5);
    producer.send_flows(&mut flows, 100, 1);
    exporter.wait_for_more("flow_exporter_remote_write_samples_pending", 0, LIMIT);
    files.endpoints(&[("moves", &works.url("/write"), "")]);
    hang_up(&exporter, "endpoint moves changed");
    next(&mut works);
    wait_for("empty queue", LIMIT, || {
        let page = exporter.page();
        let of = |what: &str| page.sum(&format!("flow_exporter_remote_write_samples_{what}"));
        assert_eq!(of("dropped_total"), 0);
        let (generated, confirmed) = (of("generated_total"), of("confirmed_total"));
        if confirmed > 0 && confirmed == generated { Ok(()) } else { Err(page.0) }
    });
}

#[test]
fn a_configuration_that_can_not_be_used_changes_nothing_and_says_why() {
    let (cluster, files) = (cluster(1), Files::new());
    let mut producer = producer(&cluster);
    let mut works = receiver();
    let url = works.url("/write");
    files.endpoints(&[("works", &url, "")]);
    let kafka = files.path("kafka.conf");
    fs::write(&kafka, "client.id=one\n").unwrap();
    let mut arguments = files.arguments(&cluster.bootstrap_servers());
    arguments.push(format!("--kafka-config-file={}", kafka.display()));
    let exporter = Exporter::start(&arguments);
    let mut flows = Flows::new(43, 1, 5);
    producer.send_flows(&mut flows, 100, 1);
    let connection = next(&mut works).connection;

    let missing = format!(", tls_config: {{ca_file: {}}}", files.path("missing.pem").display());
    for (endpoints, said) in [
        (&[("works", url.as_str(), ", colour: red")][..], "works.colour: there is no such key"),
        (&[("works", "ftp://host/", "")], "the remote-write URL begins with \"ftp\""),
        (&[("works", &url, ""), ("other", "http://127.0.0.1:9/", missing.as_str())], "missing.pem"),
        (&[("works", &url, ""), ("other", &url, "")], "the same series to the same URL"),
    ] {
        files.endpoints(endpoints);
        let said = said.replace("works.", "remote_write[0].");
        let answer = exporter.reload().expect_err("refused");
        assert!(answer.contains("400") && answer.contains(&said), "{said}: {answer}");
        exporter.wait_for_log(&said.replace('"', "\\\""), LIMIT);
        assert_eq!(exporter.page().sum(SUCCESSFUL), 0);
    }
    files.endpoints(&[("works", &url, "")]);
    fs::write(&kafka, "client.id=two\n").unwrap();
    let answer = exporter.reload().expect_err("refused");
    let place = format!("--kafka-config-file {}, line 1: client.id", kafka.display());
    assert!(answer.contains("409") && answer.contains("a restart is needed"), "{answer}");
    assert!(answer.contains(&place), "{answer}");

    producer.send_flows(&mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(testkit::produce::unnamed), LIMIT);
    while works.received().is_some() {}
    assert_eq!(next(&mut works).connection, connection, "its connection stays in use");

    fs::write(&kafka, "# as it was\nclient.id=one\n").unwrap();
    let answer = exporter.reload().unwrap();
    assert_eq!(answer, "Reloaded.\nnothing has changed\n");
    assert_eq!(exporter.page().sum(SUCCESSFUL), 1);
    exporter.wait_until_ready(LIMIT);
    assert!(exporter.stop().success());
}

/// Sends SIGHUP to a process that may have ended.
fn try_to_hang_up(id: u32) {
    let mut kill = Command::new("kill");
    kill.args(["-s", "HUP", &id.to_string()]).stderr(Stdio::null());
    drop(kill.status());
}

#[test]
fn a_hangup_during_start_or_stop_ends_nothing() {
    let files = Files::new();
    let config = files.path("pipe.yml");
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    let address = unused_address();
    let mut process = Command::new(program())
        .args(["--input=/dev/null", "--asn=1", "--as-names=none", "--log-format=json"])
        .arg(format!("--addr={address}:9590"))
        .arg(format!("--config={}", config.display()))
        .stderr(fs::File::create(files.path("log")).unwrap())
        .spawn()
        .unwrap();
    // It is starting, since it reads its configuration.
    let mut pipe = open_for_writing(&config);
    for _ in 0..10 {
        try_to_hang_up(process.id());
    }
    writeln!(pipe, "remote_write: []").unwrap();
    drop(pipe);
    let log = || fs::read_to_string(files.path("log")).unwrap();
    let wait_for_log = |words: &str| {
        wait_for(words, LIMIT, || if log().contains(words) { Ok(()) } else { Err(log()) });
    };
    // It has read all of it. The reload follows the start, and reads the pipe again.
    wait_for_log("SIGHUP: reloading the configuration");
    let mut pipe = open_for_writing(&config);
    writeln!(pipe, "remote_write: []").unwrap();
    drop(pipe);
    wait_for_log("configuration reloaded");
    let id = process.id();
    assert!(Command::new("kill").arg(id.to_string()).status().unwrap().success());
    let status = wait_for("end", LIMIT, || {
        try_to_hang_up(id);
        process.try_wait().unwrap().ok_or_else(log)
    });
    assert_eq!(status.code(), Some(0), "{}", log());
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_ends_no_process_that_is_yet_to_read_its_configuration() {
    // Whether the system reports that it begins with threads of its own and would not take a SIGHUP
    // as its end (`SigIgn` and `SigCgt` in `proc_pid_status(5)`).
    let is_safe = |status: &str| {
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let signals = |name| u64::from_str_radix(field(name)?, 16).ok();
        (field("Threads:")?.parse::<u32>().ok()? > 1)
            .then_some((signals("SigIgn:")? | signals("SigCgt:")?) & 1 == 1)
    };
    let mut seen = 0;
    for _ in 0..1000 {
        let mut process =
            Command::new(program()).arg("--version").stdout(Stdio::null()).spawn().unwrap();
        while process.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", process.id()));
            if let Some(is_safe) = status.ok().as_deref().and_then(is_safe) {
                assert!(is_safe, "a SIGHUP would end it");
                seen += 1;
            }
        }
        if seen > 100 {
            return;
        }
    }
    panic!("seen only {seen} times");
}

/// Opens a pipe once it has a reader.
fn open_for_writing(pipe: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).open(pipe).unwrap()
}

#[test]
fn a_reload_reads_the_web_configuration_and_is_refused_if_that_cannot_be_used() {
    let files = Files::new();
    fs::write(files.path("flows.json"), "").unwrap();
    let headers = |value: &str| {
        let text = format!("http_server_config: {{headers: {{X-Frame-Options: {value}}}}}\n");
        fs::write(files.path("web.yml"), text).unwrap();
    };
    headers("deny");
    let arguments = [
        format!("--input={}", files.path("flows.json").display()),
        format!("--web.config.file={}", files.path("web.yml").display()),
        "--asn=64512".to_owned(),
        "--as-names=none".to_owned(),
    ];
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.reload(), Ok("Reloaded.\nnothing has changed\n".to_owned()));
    headers("allow");
    let expected = "line 1: http_server_config.headers.X-Frame-Options: give deny or sameorigin";
    for _ in 0..2 {
        let refused = exporter.reload().unwrap_err();
        assert!(refused.contains(" 400 ") && refused.contains(expected), "{refused}");
    }
    let page = exporter.page();
    assert_eq!((page.sum(SUCCESSFUL), page.sum(WEB_SUCCESSFUL)), (0, 0));
    let ready = http::get(&exporter.page_url().replace("/metrics", "/-/ready")).unwrap();
    assert!(ready.contains("web configuration: degraded: ") && ready.contains(expected), "{ready}");
    headers("sameorigin");
    exporter.reload().unwrap();
    let page = exporter.page();
    assert_eq!((page.sum(SUCCESSFUL), page.sum(WEB_SUCCESSFUL)), (1, 1));
    let log = exporter.log();
    assert_eq!(log.matches("what was read before stays in force").count(), 1, "{log}");
    assert!(exporter.stop().success());
}
