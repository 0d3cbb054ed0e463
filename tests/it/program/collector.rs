//! The collector from outside: exporters send datagrams, and nothing else is there.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use testkit::{
    child::Child,
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, program},
    http,
    netflow::{Message, Template, V5, V5Flow, Value},
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);

const BYTES: &str = "flow_transmit_bytes_total";
const MESSAGES: &str = "flow_exporter_messages_total";

/// An exporter with an address of its own, which sends to a collector.
struct Router {
    socket: UdpSocket,
    collector: SocketAddr,
    sequence: u32,
}

impl Router {
    fn new(collector: SocketAddr) -> Self {
        let socket = UdpSocket::bind((unused_address(), 0)).unwrap();
        Router { socket, collector, sequence: 0 }
    }

    /// Sends a datagram with one flow of so many bytes.
    fn send(&mut self, bytes: u32) {
        let flow = V5Flow { bytes, ..V5Flow::default() };
        let datagram = V5 { sequence: self.sequence, ..V5::new([flow]) };
        self.sequence += 1;
        self.send_bytes(&datagram.bytes());
    }

    fn send_bytes(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.collector).unwrap();
    }

    fn address(&self) -> Ipv4Addr {
        match self.socket.local_addr().unwrap() {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(address) => panic!("{address}"),
        }
    }
}

/// Where a test's collector listens.
fn address() -> SocketAddr {
    (unused_address(), 2055).into()
}

fn arguments(collector: SocketAddr) -> Vec<String> {
    vec![format!("--collect={collector}"), "--asn=64512".to_owned(), "--as-names=none".to_owned()]
}

#[test]
fn flows_of_several_exporters_are_counted_by_the_address_of_each() {
    let collector = address();
    let exporter = Exporter::start(&arguments(collector));
    let mut routers = [Router::new(collector), Router::new(collector)];
    for (router, bytes) in routers.iter_mut().zip([100, 30]) {
        router.send(bytes);
        router.send(1);
    }
    exporter.wait_for_sum(BYTES, 132, LIMIT);
    let page = exporter.page();
    for (router, bytes) in routers.iter().zip([101, 31]) {
        assert_eq!(page.sum_with(BYTES, "hostname", &router.address().to_string()), bytes);
    }
    assert_eq!(page.sum(MESSAGES), 4);
    assert!(exporter.stop().success());
}

#[test]
fn what_was_counted_is_there_after_a_crash_and_a_restart() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    let mut router = Router::new(collector);
    let exporter = Exporter::start(&arguments);
    for _ in 0..100 {
        router.send(1000);
    }
    // A page shows what the journal has.
    exporter.wait_for_sum(BYTES, 100_000, LIMIT);
    exporter.kill();
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.page().sum(BYTES), 100_000);
    router.send(1);
    exporter.wait_for_sum(BYTES, 100_001, LIMIT);
    assert!(exporter.stop().success());
}

/// Nobody looks at the page, so nothing else asks for a snapshot.
#[test]
fn a_crash_loses_no_more_than_the_last_second() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    arguments.push("--remote-write-interval=1h".to_owned());
    let mut router = Router::new(collector);
    let exporter = Exporter::start(&arguments);
    router.send(1000);
    wait_for("an interim in the journal", LIMIT, || {
        let interim = directory.path().join("journal/interim.0");
        interim.exists().then_some(()).ok_or_else(|| "none".to_owned())
    });
    exporter.kill();
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.page().sum(BYTES), 1000);
    assert!(exporter.stop().success());
}

/// What a `state` command says of a directory, and whether it succeeds.
fn state(action: &str, directory: &Path) -> (bool, String) {
    let mut command = Command::new(program());
    let output = command.args(["state", action, "--state-dir"]).arg(directory).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn counts_that_the_log_does_not_lead_to_any_more_are_named_by_a_repair_and_a_start() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    arguments.push("--remote-write-interval=1h".to_owned());
    let journal = directory.path().join("journal");
    let (interim, lost) = (journal.join("interim.0"), journal.join("interim.0.lost"));
    let mut router = Router::new(collector);
    let exporter = Exporter::start(&arguments);
    router.send(1000);
    wait_for("an interim in the journal", LIMIT, || {
        interim.exists().then_some(()).ok_or_else(|| "none".to_owned())
    });
    exporter.kill();
    for action in ["show", "verify"] {
        let (is_sound, said) = state(action, directory.path());
        assert!(is_sound && said.contains("interim.0: "), "{action}: {said}");
        assert!(said.contains(" bytes of counts behind the log, up to delta "), "{action}: {said}");
    }
    let (_, said) = state("show", directory.path());
    assert!(said.contains(", 1 series of 1 counts"), "{said}");

    let log = std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
    let log = log.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let log = log.last().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let written = std::fs::read(&interim).unwrap();
    let (is_sound, said) = state("verify", directory.path());
    assert!(!is_sound && said.contains("BROKEN: ") && said.contains("interim.0: LOST: "), "{said}");
    let (_, said) = state("repair", directory.path());
    assert!(said.contains("interim.0: LOST: ") && said.contains("set aside in "), "{said}");
    assert_eq!((interim.exists(), std::fs::read(&lost).unwrap()), (false, written.clone()));
    assert_eq!(state("verify", directory.path()), (true, "sound\n".to_owned()));

    // As the repair of an earlier version left it.
    std::fs::write(&interim, written).unwrap();
    let (_, said) = state("verify", directory.path());
    assert!(said.contains("interim.0: LOST: "), "{said}");
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_log("in the journal) are lost", LIMIT);
    router.send(10);
    exporter.wait_for_sum(BYTES, 10, LIMIT);
    assert!(exporter.stop().success());
    // The log went on.
    let (_, said) = state("verify", directory.path());
    assert!(!said.contains("LOST"), "{said}");
    let (_, said) = state("show", directory.path());
    assert!(said.contains(", 1 series of 1 counts"), "{said}");
}

#[test]
fn a_start_says_that_the_counts_of_the_last_seconds_are_damaged() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    arguments.push("--remote-write-interval=1h".to_owned());
    let interims =
        ["interim.0", "interim.1"].map(|name| directory.path().join("journal").join(name));
    let mut router = Router::new(collector);
    let exporter = Exporter::start(&arguments);
    wait_for("both interims", LIMIT, || {
        router.send(1000);
        let are_there = interims.iter().all(|interim| interim.exists());
        if are_there { Ok(()) } else { Err("not yet".to_owned()) }
    });
    exporter.kill();
    let verified = || {
        let (is_sound, said) = state("verify", directory.path());
        assert!(is_sound, "{said}");
        said
    };
    let said = verified();
    assert!(said.contains("which a start takes up") && said.ends_with("sound\n"), "{said}");
    for interim in &interims {
        let mut bytes = std::fs::read(interim).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(interim, bytes).unwrap();
    }
    let said = verified();
    assert_eq!(said.matches("not whole").count(), 2, "{said}");
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_log("they were damaged", LIMIT);
    // It is said once.
    exporter.kill();
    let said = verified();
    assert!(!said.contains("not whole"), "{said}");
}

#[test]
fn senders_that_are_not_allowed_are_counted_and_dropped() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let (mut friend, mut stranger) = (Router::new(collector), Router::new(collector));
    let file = directory.path().join("flow-exporter.yml");
    let text = format!("collector:\n  listen: {collector}\n  allow: [{}]\n", friend.address());
    std::fs::write(&file, text).unwrap();
    let exporter = Exporter::start(&[
        format!("--config={}", file.display()),
        "--asn=64512".to_owned(),
        "--as-names=none".to_owned(),
    ]);
    let refused = "flow_exporter_collector_datagrams_refused_total";
    let ready = exporter.page_url().replace("/metrics", "/-/ready");
    for times in 1..=3 {
        friend.send(7);
        exporter.wait_for_sum(BYTES, 7 * times, LIMIT);
        stranger.send(5);
        wait_for("a refused datagram", LIMIT, || {
            match exporter.page().sum_with(refused, "reason", "not_allowed") {
                sum if sum == times => Ok(()),
                other => Err(other.to_string()),
            }
        });
        // It is no trouble as long as others may be about to send.
        let answer = http::get(&ready).unwrap();
        assert!(!answer.contains("refused"), "{answer}");
    }
    exporter.wait_for_log(&stranger.address().to_string(), LIMIT);
    assert!(exporter.stop().success());
}

/// The kernel drops what does not fit the buffer of a program that does not run, and says so with the
/// next datagram that does.
#[test]
fn datagrams_that_the_kernel_drops_are_counted_exactly() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let file = directory.path().join("flow-exporter.yml");
    let text = format!("collector:\n  listen: [\"{collector}\"]\n  receive_buffer: 64KiB\n");
    std::fs::write(&file, text).unwrap();
    let arguments = [
        format!("--config={}", file.display()),
        "--asn=64512".to_owned(),
        "--as-names=none".to_owned(),
    ];
    let exporter = Exporter::start(&arguments);
    let mut router = Router::new(collector);
    router.send(1);
    exporter.wait_for_sum(MESSAGES, 1, LIMIT);
    exporter.pause();
    for _ in 0..5000 {
        router.send(1);
    }
    exporter.resume();
    // The buffer is empty again once something else has been counted.
    let drops = "flow_exporter_collector_socket_drops_total";
    wait_for("all datagrams, counted or dropped", LIMIT, || {
        router.send(1);
        let page = exporter.page();
        let (counted, dropped) = (page.sum(MESSAGES), page.sum(drops));
        let sent = u64::from(router.sequence);
        if counted + dropped == sent && dropped > 0 {
            Ok(())
        } else {
            Err(format!("{counted} counted, {dropped} dropped of {sent}"))
        }
    });
    assert!(exporter.stop().success());
}

#[test]
fn ticks_are_taken_as_they_are_due_whether_datagrams_come_or_not() {
    let mut arguments = arguments(address());
    arguments.push("--remote-write-interval=1s".to_owned());
    let exporter = Exporter::start(&arguments);
    let tick = "flow_exporter_last_tick_timestamp_seconds";
    let mut last = exporter.wait_for_more(tick, 0, LIMIT);
    for _ in 0..3 {
        last = exporter.wait_for_more(tick, last, LIMIT);
    }
    assert!(exporter.stop().success());
}

/// The kernel says when a datagram came, and none comes after one that came later. Samples need not
/// wait for any.
#[test]
fn no_datagram_is_late() {
    let collector = address();
    let mut arguments = arguments(collector);
    arguments.push("--remote-write-interval=1s".to_owned());
    arguments.push("--max-lateness=4s".to_owned());
    let exporter = Exporter::start(&arguments);
    let mut router = Router::new(collector);
    wait_for("the first sample", LIMIT, || {
        router.send(1);
        let page = exporter.page();
        assert_eq!(page.sum("flow_exporter_late_messages_total"), 0);
        let is_there = page.sum("flow_exporter_last_tick_timestamp_seconds") > 0;
        if is_there && page.sum(BYTES) > 0 { Ok(()) } else { Err("none".to_owned()) }
    });
    assert!(exporter.stop().success());
}

/// Nobody sends datagrams again, and the process is the last to know of them.
#[test]
fn a_stop_that_loses_datagrams_fails_and_says_how_many_flows_are_lost() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let (state, aside) = (directory.path().join("state"), directory.path().join("aside"));
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", state.display()));
    let exporter = Exporter::start(&arguments);
    let mut router = Router::new(collector);
    router.send(100);
    exporter.wait_for_sum(BYTES, 100, LIMIT);
    std::fs::rename(&state, &aside).unwrap();
    router.send(20);
    router.send(3);
    exporter.wait_for_sum(MESSAGES, 3, LIMIT);
    exporter.signal("TERM");
    let (status, log) = exporter.end(LIMIT);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("2 flows with 23 bytes"), "{log}");
    assert!(log.contains("was removed or moved away"), "{log}");

    // What is back can be written.
    std::fs::rename(&aside, &state).unwrap();
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.page().sum(BYTES), 100);
    router.send(1);
    exporter.wait_for_sum(BYTES, 101, LIMIT);
    assert!(exporter.stop().success());
}

/// systemd keeps the socket open while the program is not there.
#[test]
fn a_socket_that_a_supervisor_passes_loses_nothing_between_two_processes() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let socket = UdpSocket::bind(collector).unwrap();
    let mut router = Router::new(collector);
    let arguments = [
        format!("--collect={collector}"),
        "--asn=64512".to_owned(),
        "--as-names=none".to_owned(),
        format!("--state-dir={}", directory.path().display()),
    ];
    let pass = |command: &mut Command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let directory = command.get_current_dir().unwrap().to_owned();
        *command = Command::new("sh");
        // The shell becomes the program, so the process is the one that the variable names.
        command
            .args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null"])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap())))
            .stderr(Stdio::null());
    };
    for run in 1..=2 {
        router.send(10);
        let child = Child::start(&arguments, pass);
        child.wait_for_sum(BYTES, run * 20 - 10);
        router.send(10);
        child.wait_for_sum(BYTES, run * 20);
        assert!(child.stop().success());
    }
}

#[test]
fn an_address_that_is_taken_ends_the_start_with_what_to_do() {
    let collector = address();
    let _taken = UdpSocket::bind(collector).unwrap();
    let output = Command::new(program())
        .args(arguments(collector))
        .args(["--addr=none", "--remote-write-url=http://127.0.0.1:9/", "--state-dir=none"])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("--collect: can't listen on"), "{log}");
    assert!(log.contains("stop the process that listens there"), "{log}");
}

#[test]
fn templates_outlive_a_restart() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    let router = Router::new(collector);
    let template = Template::new(256, [(1, 4), (16, 4), (17, 4)]);
    let flow = |bytes: u64| [Value::from(bytes), Value::from(64512_u64), Value::from(15169_u64)];
    let message = |sequence| Message::ipfix().sequence(sequence);
    let exporter = Exporter::start(&arguments);
    let first = message(0).template(&template).data(&template, [flow(100)]);
    router.send_bytes(&first.bytes());
    exporter.wait_for_sum(BYTES, 100, LIMIT);
    assert!(exporter.stop().success());
    let exporter = Exporter::start(&arguments);
    router.send_bytes(&message(1).data(&template, [flow(23)]).bytes());
    exporter.wait_for_sum(BYTES, 123, LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_collector_undecoded_total"), 0);
    assert_eq!(page.sum("flow_exporter_collector_missing_flows_total"), 0);
    assert!(exporter.stop().success());
}

#[test]
fn what_waits_for_its_template_at_a_stop_counts_when_that_comes_and_never_again() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    let router = Router::new(collector);
    let template = Template::new(256, [(1, 4), (16, 4), (17, 4)]);
    let data = |sequence, bytes: u64| {
        let flow = [bytes, 64512, 15169].map(Value::Number);
        // Its sequence numbers count datagrams, so they need no template.
        Message::v9().sequence(sequence).data(&template, [flow]).bytes()
    };
    let exporter = Exporter::start(&arguments);
    for (sequence, bytes) in [(0, 1), (1, 10)] {
        router.send_bytes(&data(sequence, bytes));
    }
    exporter.wait_for_sum(MESSAGES, 2, LIMIT);
    assert!(exporter.stop().success());

    let exporter = Exporter::start(&arguments);
    router.send_bytes(&data(2, 100));
    router.send_bytes(&Message::v9().sequence(3).template(&template).bytes());
    exporter.wait_for_sum(BYTES, 111, LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_collector_missing_datagrams_total"), 0);
    exporter.kill();

    let exporter = Exporter::start(&arguments);
    router.send_bytes(&Message::v9().sequence(4).template(&template).bytes());
    router.send_bytes(&data(5, 1000));
    exporter.wait_for_sum(BYTES, 1111, LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn what_is_known_of_exporters_is_not_taken_from_a_damaged_file_and_a_pipe_does_not_stop_the_start()
{
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut arguments = arguments(collector);
    arguments.push(format!("--state-dir={}", directory.path().display()));
    let router = Router::new(collector);
    let template = Template::new(256, [(1, 4), (16, 4), (17, 4)]);
    let message = |sequence, bytes: u64| {
        let flow = [bytes, 64512, 15169].map(Value::Number);
        Message::ipfix().sequence(sequence).template(&template).data(&template, [flow]).bytes()
    };
    let exporter = Exporter::start(&arguments);
    router.send_bytes(&message(0, 100));
    exporter.wait_for_sum(BYTES, 100, LIMIT);
    assert!(exporter.stop().success());

    let known = directory.path().join("exporters");
    let whole = std::fs::read(&known).unwrap();
    for place in (0..whole.len()).step_by(8) {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        std::fs::write(&known, damaged).unwrap();
        let exporter = Exporter::start(&arguments);
        exporter.wait_for_log("what was known of exporters is damaged", LIMIT);
        exporter.kill();
    }
    std::fs::remove_file(&known).unwrap();
    assert!(Command::new("mkfifo").arg(&known).status().unwrap().success());
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_log("it is not a regular file", LIMIT);
    router.send_bytes(&message(1, 10));
    exporter.wait_for_sum(BYTES, 110, LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn an_exporter_has_the_name_and_the_rate_that_it_is_given() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut router = Router::new(collector);
    let file = directory.path().join("flow-exporter.yml");
    let text = format!(
        "exporters:\n  {}:\n    hostname: edge1\n    default_sampling_rate: 10\n",
        router.address()
    );
    std::fs::write(&file, &text).unwrap();
    let mut arguments = arguments(collector);
    arguments.push(format!("--config={}", file.display()));
    let exporter = Exporter::start(&arguments);
    router.send(7);
    exporter.wait_for_sum(BYTES, 70, LIMIT);
    assert_eq!(exporter.page().sum_with(BYTES, "hostname", "edge1"), 70);
    // A reload takes up other ones.
    std::fs::write(&file, text.replace("edge1", "edge2").replace("rate: 10", "rate: 3")).unwrap();
    let said = exporter.reload().unwrap();
    assert!(said.contains("what the file says of exporters changed"), "{said}");
    router.send(2);
    exporter.wait_for_sum(BYTES, 76, LIMIT);
    assert_eq!(exporter.page().sum_with(BYTES, "hostname", "edge2"), 6);
    assert!(exporter.stop().success());
}

#[test]
fn a_rate_that_the_file_gives_is_not_unknown() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let mut router = Router::new(collector);
    let file = directory.path().join("flow-exporter.yml");
    std::fs::write(&file, format!("exporters: {{{}: {{sampling_rate: 10}}}}\n", router.address()))
        .unwrap();
    let mut arguments = arguments(collector);
    arguments.push(format!("--config={}", file.display()));
    let exporter = Exporter::start(&arguments);
    router.send(7);
    exporter.wait_for_sum(BYTES, 70, LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_collector_unknown_sampling_rate_flows_total"), 0);
    assert_eq!(page.sum("flow_exporter_flows_unknown_sampling_rate_total"), 0);
    assert!(exporter.stop().success());
}

#[test]
fn the_status_says_by_name_who_sends_and_which_templates_are_awaited() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let routers = [Router::new(collector), Router::new(collector)];
    let [named, nameless] = routers.each_ref().map(Router::address);
    let file = directory.path().join("flow-exporter.yml");
    let configure = |name: &str| {
        std::fs::write(&file, format!("exporters: {{{named}: {{hostname: {name}}}}}\n")).unwrap();
    };
    configure("edge1");
    let mut arguments = arguments(collector);
    arguments.push(format!("--config={}", file.display()));
    let exporter = Exporter::start(&arguments);
    let template = Template::new(256, [(1, 4), (16, 4), (17, 4)]);
    let message = |sequence| {
        let values = [Value::from(5_u64), Value::from(64512_u64), Value::from(15169_u64)];
        Message::ipfix().sequence(sequence).data(&template, [values])
    };
    for router in &routers {
        router.send_bytes(&message(0).bytes());
    }
    // By address: hostname, templates that are awaited, and whether the last datagram is of today.
    let exporters = || {
        let status = http::get(&exporter.page_url().replace("/metrics", "/api/v1/status")).unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let now = status["time"].as_f64().unwrap();
        let exporters = status["source"]["collector"]["exporters"].as_array().unwrap().clone();
        let told = exporters.into_iter().map(|each| {
            assert_eq!(each["dropped_samples"], 0, "{each}");
            let age = now - each["last_datagram"].as_f64().unwrap();
            let address = each["exporter"].as_str().unwrap().to_owned();
            let awaited = each["awaited_templates"].as_u64().unwrap();
            (address, (each["hostname"].as_str().map(str::to_owned), awaited, age < 86_400.0))
        });
        told.collect::<std::collections::BTreeMap<_, _>>()
    };
    let wait_for_exporters = |name: &str, awaited: [u64; 2]| {
        let expected = [
            (named.to_string(), (Some(name.to_owned()), awaited[0], true)),
            (nameless.to_string(), (None, awaited[1], true)),
        ];
        wait_for("what the status says of exporters", LIMIT, || {
            // Somebody has to look.
            exporter.page();
            let told = exporters();
            if told == expected.clone().into() { Ok(()) } else { Err(format!("{told:?}")) }
        });
    };
    wait_for_exporters("edge1", [1, 1]);
    // Flows of a template that comes late count, and a reload gives another name.
    routers[1].send_bytes(&Message::ipfix().sequence(1).template(&template).bytes());
    configure("edge2");
    exporter.reload().unwrap();
    wait_for_exporters("edge2", [1, 0]);
    assert!(exporter.stop().success());
}

/// What is configured for exporters goes by the sender, beside names of original exporters.
#[test]
fn flows_of_a_mediator_are_counted_by_their_original_exporters_if_records_name_them() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let file = directory.path().join("flow-exporter.yml");
    let mediator = Router::new(collector);
    let text = format!(
        "collector: {{listen: '{collector}', netflow_exporter: record}}\n\
         exporters:\n  {}: {{hostname: mediator, sampling_rate: 10}}\n  \
         192.0.2.7: {{hostname: edge7, sampling_rate: 99}}\n",
        mediator.address()
    );
    std::fs::write(&file, &text).unwrap();
    let arguments = [
        format!("--config={}", file.display()),
        "--asn=64512".to_owned(),
        "--as-names=none".to_owned(),
        "--labels=exporter,hostname".to_owned(),
        format!("--state-dir={}", directory.path().display()),
    ];
    let named = Template::new(256, [(1, 4), (16, 4), (130, 4)]);
    let plain = Template::new(257, [(1, 4), (16, 4)]);
    let options = Template::options(258, [(144, 4)], [(130, 4)]);
    let exporter_address = |last| Value::from(Ipv4Addr::new(192, 0, 2, last));
    let numbers = |bytes: u64| [bytes, 64512].map(Value::Number);
    let flow = |bytes, last| [&numbers(bytes)[..], &[exporter_address(last)]].concat();
    let message = |sequence| Message::ipfix().domain(5).sequence(sequence);
    let exporter = Exporter::start(&arguments);
    let first = message(0).template(&named).template(&plain).template(&options);
    let first = first.data(&plain, [numbers(1)]).data(&named, [flow(20, 7), flow(300, 8)]);
    let first = first.data(&options, [[Value::Number(1), exporter_address(9)]]);
    mediator.send_bytes(&first.bytes());
    exporter.wait_for_sum(BYTES, 3210, LIMIT);
    let page = exporter.page();
    let by = |label: &str, values: [&str; 3]| values.map(|each| page.sum_with(BYTES, label, each));
    assert_eq!(by("hostname", ["mediator", "edge7", "192.0.2.8"]), [10, 200, 3000]);
    let sender = mediator.address().to_string();
    assert_eq!(by("exporter", [&sender, "192.0.2.7", "192.0.2.8"]), [10, 200, 3000]);
    let rates = "flow_exporter_sampling_rate";
    assert_eq!(page.sum_with(rates, "exporter", &sender), 10);
    assert_eq!(page.sum(rates), 10, "no other exporter has one");

    // What options said outlives a restart.
    assert!(exporter.stop().success());
    let exporter = Exporter::start(&arguments);
    mediator.send_bytes(&message(4).data(&plain, [numbers(4000)]).bytes());
    exporter.wait_for_sum(BYTES, 43_210, LIMIT);
    assert_eq!(exporter.page().sum_with(BYTES, "hostname", "192.0.2.9"), 40_000);

    // A reload takes the sender again.
    std::fs::write(&file, text.replace("record", "sender")).unwrap();
    exporter.reload().unwrap();
    mediator.send_bytes(&message(5).data(&named, [flow(50_000, 7)]).bytes());
    exporter.wait_for_sum(BYTES, 543_210, LIMIT);
    assert_eq!(exporter.page().sum_with(BYTES, "hostname", "mediator"), 500_010);
    assert!(exporter.stop().success());
}

/// Kafka's messages say when samples are due.
#[test]
fn datagrams_and_a_topic_are_counted_together_also_after_a_restart() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let cluster = cluster(1);
    let mut arguments = arguments(collector);
    arguments.push(format!("--brokers={}", cluster.bootstrap_servers()));
    arguments.push(format!("--topic={TOPIC}"));
    arguments.push("--start=earliest".to_owned());
    arguments.push("--remote-write-interval=1s".to_owned());
    arguments.push(format!("--state-dir={}", directory.path().display()));
    let mut router = Router::new(collector);
    let mut producer = producer(&cluster);
    for run in 1..=2 {
        let exporter = Exporter::start(&arguments);
        producer.send(0, r#"{"as_src": 64512, "as_dst": 1, "label": "edge1", "bytes": 1000}"#);
        producer.flush();
        router.send(7);
        exporter.wait_for_sum(BYTES, 1007 * run, LIMIT);
        let tick = "flow_exporter_last_tick_timestamp_seconds";
        let last = exporter.page().sum(tick);
        exporter.wait_for_more(tick, last, LIMIT);
        assert_eq!(exporter.page().sum(BYTES), 1007 * run);
        exporter.kill();
    }
}

#[test]
fn check_says_who_sends_and_what_is_missing() {
    let collector = address();
    let mut check = Command::new(program())
        .arg("check")
        .args(arguments(collector))
        .args(["--addr=none", "--remote-write-url=http://127.0.0.1:9/", "--state-dir=none"])
        .arg("--listen-for=2s")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut router = Router::new(collector);
    let template = Template::new(300, [(1, 4)]);
    // Of a template that is never sent.
    let stranger = Router::new(collector);
    let unknown = Message::ipfix().domain(5).data(&template, [[Value::from(1_u64)]]).bytes();
    wait_for("end of check", LIMIT, || {
        router.send(100);
        stranger.send_bytes(&unknown);
        check.try_wait().unwrap().ok_or_else(|| "it listens".to_owned())
    });
    let output = check.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        format!("collect at {collector}: DOES NOT WORK"),
        format!("{}: ", router.address()),
        format!("exporter {} does not say its sampling rate", router.address()),
        format!("exporter {} has not sent the template of its data", stranger.address()),
        "template 300, domain 5".to_owned(),
        "listen for longer".to_owned(),
    ] {
        assert!(text.contains(&expected), "no {expected:?} in {text}");
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[test]
fn check_waits_for_templates_and_sampling_rates_until_they_come() {
    let (collector, directory) = (address(), tempfile::tempdir().unwrap());
    let said = directory.path().join("said");
    let mut check = Command::new(program())
        .arg("check")
        .args(arguments(collector))
        .args(["--addr=127.0.0.1:0", "--state-dir=none", "--listen-for=1h"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let mut routers = [Router::new(collector), Router::new(collector)];
    let [silent, other] = [0, 1].map(|place| routers[place].address());
    let flows = Template::new(256, [(16, 4), (17, 4), (1, 4)]);
    let options = Template::options(257, [(1, 4)], [(34, 4)]);
    // Sends one flow, after what is said of it.
    let send = |router: &mut Router, with: &dyn Fn(Message) -> Message| {
        router.sequence += 1;
        let message = with(Message::v9().sequence(router.sequence));
        let flow = [64512, 15169, 1000].map(Value::Number);
        router.send_bytes(&message.data(&flows, [flow]).bytes());
    };
    let mut waits_for = |words: &str| {
        wait_for(words, LIMIT, || {
            let [silent, other] = &mut routers;
            send(silent, &|message| message);
            send(other, &|message| message.template(&flows));
            let said = std::fs::read_to_string(&said).unwrap();
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    };
    waits_for(&format!("waiting for the templates of {silent}"));
    waits_for(&format!("the sampling rates of {other}"));
    assert!(check.try_wait().unwrap().is_none(), "it still listens");
    let rate = [0, 100].map(Value::Number);
    wait_for("end of check", LIMIT, || {
        for router in &mut routers {
            send(router, &|message| {
                message.template(&flows).template(&options).data(&options, [&rate])
            });
        }
        check.try_wait().unwrap().ok_or_else(|| "it listens".to_owned())
    });
    let output = check.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("collect at {collector}: works")), "{text}");
    assert!(text.contains("sampling rate 100"), "{text}");
    // Some flows came before their rate.
    assert!(text.contains("hint: exporter"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn check_says_that_all_senders_are_refused_and_that_nothing_could_be_decoded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flow-exporter.yml");
    for (section, sent, expected) in [
        ("collector: {allow: [192.0.2.0/24], listen: ", 1, "all from senders that collector.allow"),
        ("collector: {listen: ", 2, "are none of NetFlow v5 or v9, IPFIX and sFlow v5"),
    ] {
        let collector = address();
        std::fs::write(&file, format!("{section}'{collector}'}}\n")).unwrap();
        let mut check = Command::new(program())
            .args(["check", "--asn=64512", "--addr=127.0.0.1:0", "--state-dir=none"])
            .arg(format!("--config={}", file.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut router = Router::new(collector);
        wait_for("end of check", LIMIT, || {
            if sent == 1 {
                router.send(100);
            } else {
                router.send_bytes(b"<13>Nov 27 syslog");
            }
            check.try_wait().unwrap().ok_or_else(|| "it listens".to_owned())
        });
        let output = check.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected) && text.contains("DOES NOT WORK"), "{text}");
        assert_eq!(output.status.code(), Some(1), "{text}");
    }
}

#[test]
fn check_says_what_to_do_if_nothing_comes() {
    let output = Command::new(program())
        .arg("check")
        .args(arguments(address()))
        .args(["--addr=127.0.0.1:0", "--state-dir=none"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("no datagram came within 10 s: check the address and port"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}
