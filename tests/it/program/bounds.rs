//! Input of any size: counts stay exact, and memory stays bounded.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use flow_exporter::{
    clock::UnixMs,
    journal::{CheckpointHead, CheckpointSource, Delta, Journal, JournalConfig, Series},
};

use testkit::{
    cluster::{Cluster, TOPIC, client, cluster},
    exporter::{Exporter, count, program},
    produce::{ASN, Producer},
    servers::unused_address,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A cluster, a producer for it, and the arguments to count its messages, with a receiver that is
/// down.
struct Setup {
    _cluster: Cluster,
    producer: Producer,
    arguments: Vec<String>,
    _state: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let cluster = cluster(1);
        let mut config = client(&cluster);
        config.set("compression.type", "lz4").set("message.max.bytes", "2000000");
        let producer = Producer::new(&config, TOPIC);
        let state = tempfile::tempdir().unwrap();
        let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
        arguments.push(format!("--state-dir={}", state.path().display()));
        arguments.push(format!("--remote-write-url=http://{}:9/write", unused_address()));
        arguments.push("--remote-write-interval=1s".to_owned());
        Setup { _cluster: cluster, producer, arguments, _state: state }
    }

    /// Sends records of 7 bytes each with labels of this length, which differ at their beginning.
    fn send(&mut self, records: u32, label_bytes: usize) {
        let rest = "l".repeat(label_bytes - 8);
        for record in 0..records {
            self.producer.send(
                0,
                &format!(r#"{{"as_src":{ASN},"as_dst":1,"bytes":7,"label":"{record:08}{rest}"}}"#),
            );
            // What waits to be sent is bounded as well.
            if record % 16 == 15 {
                self.producer.flush();
            }
        }
        self.producer.flush();
    }
}

/// The number of series, and their sum; each label value has the maximum length.
fn transmitted(exporter: &Exporter) -> (usize, u64) {
    let totals = exporter.page().totals();
    (totals.len(), totals.values().sum())
}

#[test]
fn labels_of_any_length_are_truncated_and_counted_and_survive_a_restart() {
    const RECORDS: u64 = 48;
    let mut setup = Setup::new();
    setup.send(RECORDS as u32, 900_000);
    let exporter = Exporter::start(&setup.arguments);
    exporter.wait_for_sum("flow_exporter_flows_total", RECORDS, LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_label_values_truncated_total"), RECORDS);
    // Counted is earlier than published.
    exporter.wait_for_sum("flow_transmit_bytes_total", 7 * RECORDS, LIMIT);
    let page = exporter.page();
    assert!(page.0.len() < 1 << 20, "{} bytes", page.0.len());
    assert_eq!(transmitted(&exporter), (RECORDS as usize, 7 * RECORDS));
    assert!(exporter.stop().success());

    setup.send(RECORDS as u32, 900_000);
    let exporter = Exporter::start(&setup.arguments);
    exporter.wait_for_sum("flow_exporter_flows_total", RECORDS, LIMIT);
    exporter.wait_for_sum("flow_transmit_bytes_total", 2 * 7 * RECORDS, LIMIT);
    assert_eq!(transmitted(&exporter), (RECORDS as usize, 2 * 7 * RECORDS));
}

/// The peak memory of a process, in MB.
fn peak_mb(exporter: &Exporter) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024 / 1_000_000
}

/// `PROGRAM_TO_MEASURE=target/release/flow-exporter cargo test --test it program -- --ignored
/// --nocapture huge_labels` measures the program as it is released.
#[test]
#[ignore = "sends 6 GB through the program"]
fn huge_labels_take_less_than_300_mb_while_counting_and_after_a_restart() {
    let program = env::var_os("PROGRAM_TO_MEASURE")
        .map_or(PathBuf::from(program()), |path| fs::canonicalize(path).expect("the program"));
    for (records, label_bytes) in [(1_300, 900_000), (4_950, 950_000), (300, 1_000_000)] {
        let mut setup = Setup::new();
        let start = |arguments: &[String]| {
            let address = unused_address();
            let addr = format!("--addr={address}:9590");
            let arguments: Vec<&String> = arguments.iter().chain([&addr]).collect();
            Exporter::start_program(&program, address, &arguments)
        };
        let exporter = start(&setup.arguments);
        setup.send(records, label_bytes);
        exporter.wait_for_sum("flow_exporter_flows_total", records.into(), 10 * LIMIT);
        exporter.wait_for_more("flow_exporter_remote_write_samples_pending", 0, LIMIT);
        assert_eq!(transmitted(&exporter), (records as usize, 7 * u64::from(records)));
        let counting = peak_mb(&exporter);
        assert!(exporter.stop().success());
        let exporter = start(&setup.arguments);
        assert_eq!(transmitted(&exporter), (records as usize, 7 * u64::from(records)));
        let restarted = peak_mb(&exporter);
        println!(
            "{records} labels of {label_bytes} bytes: {counting} MB at most while counting, \
             {restarted} MB after a restart"
        );
        assert!(counting < 300 && restarted < 300, "{counting} and {restarted} MB");
    }
}

/// The state before the first delta.
struct Beginning;

impl CheckpointSource for Beginning {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        visit(CheckpointHead {
            identity: b"AS 1 in topic t by labels",
            sequence: 0,
            time: UnixMs::EPOCH,
            positions: &[],
            early_counts: b"",
            width: 1,
            slots: 0,
            live: 0,
        });
    }

    fn visit(&self, _: &mut dyn FnMut(Series<'_>)) {}
}

#[test]
fn verify_finds_what_a_start_would_find_and_says_which_series_it_is() {
    // Direction, destination AS with a name, host name, source AS with a name.
    let sound: Vec<u8> = [
        &0_u32.to_le_bytes()[..],
        &ASN.to_le_bytes(),
        &4_u32.to_le_bytes(),
        b"Ours",
        &1_u32.to_le_bytes(),
        b"a",
        &7_u32.to_le_bytes(),
        &0_u32.to_le_bytes(),
    ]
    .concat();
    let mut with_line_feed = sound.clone();
    with_line_feed[12] = b'\n';
    let mut of_another_host = sound.clone();
    of_another_host[20] = b'b';
    for (third, expected) in [
        (&sound[..], Some("another series has the same")),
        (&sound[..sound.len() - 1], Some("it does not have the form")),
        (&with_line_feed, Some("a name has control characters")),
        (&of_another_host, None),
    ] {
        let state = tempfile::tempdir().unwrap();
        let journal = state.path().join("journal");
        let (mut journal, _) = Journal::open(&journal, JournalConfig::default()).unwrap();
        let mut delta = Delta::new(1);
        delta.sequence = 1;
        let mut first = sound.clone();
        first[20] = b'c';
        for (id, definition) in [first.as_slice(), &sound, third].into_iter().enumerate() {
            delta.start(id as u32, UnixMs::new(1), definition);
        }
        journal.append(&mut delta, &Beginning, UnixMs::EPOCH).unwrap();
        drop(journal);
        let verified = Command::new(program())
            .args(["state", "verify", "--state-dir"])
            .arg(state.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert_eq!(verified.status.success(), expected.is_none(), "{said}");
        if let Some(expected) = expected {
            assert!(said.contains("series 2") && said.contains(expected), "{said}");
        }
    }
}
