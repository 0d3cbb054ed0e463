//! The state directory of a running program.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use testkit::{
    child::Child,
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    produce::{Flows, Producer, unnamed},
    series::compare,
    servers::{Process, unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);

fn cluster_and_producer() -> (Cluster, Producer) {
    let cluster = cluster(2);
    let producer = producer(&cluster);
    (cluster, producer)
}

fn arguments(brokers: &str, state: &Path) -> Vec<String> {
    let mut arguments = count(brokers, TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    arguments
}

fn wait_for_refusal(exporter: &Exporter, words: &str) {
    wait_for("word of the directory", LIMIT, || {
        // A scrape asks for a snapshot.
        exporter.page();
        match exporter.ready() {
            Err(said) if said.contains(words) => Ok(()),
            said => Err(format!("{said:?}")),
        }
    });
}

#[test]
fn a_directory_that_goes_stops_publication_until_it_is_back_and_nothing_is_lost() {
    let (cluster, mut producer) = cluster_and_producer();
    let directory = tempfile::tempdir().unwrap();
    let (state, aside) = (directory.path().join("state"), directory.path().join("aside"));
    let arguments = arguments(&cluster.bootstrap_servers(), &state);
    let exporter = Exporter::start(&arguments);
    let mut flows = Flows::new(21, 2, 20);
    producer.send_flows(&mut flows, 1000, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let published = exporter.page().totals();

    fs::rename(&state, &aside).unwrap();
    producer.send_flows(&mut flows, 1000, 2);
    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), LIMIT);
    wait_for_refusal(&exporter, "was removed or moved away while the program was running");
    compare(&published, &exporter.page().totals()).unwrap();
    assert!(exporter.page().sum("flow_exporter_journal_errors_total") > 0);

    // Another process takes the path, and counts the whole topic by itself.
    let other = Exporter::start(&arguments);
    other.wait_for_totals(&flows.totals(unnamed), LIMIT);
    wait_for_refusal(&exporter, "was replaced by another directory");
    compare(&published, &exporter.page().totals()).unwrap();
    assert!(other.stop().success());
    fs::remove_dir_all(&state).unwrap();
    assert!(!state.exists());

    fs::rename(&aside, &state).unwrap();
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    wait_for("ready flow-exporter", LIMIT, || exporter.ready());
    exporter.kill();
    let exporter = Exporter::start(&arguments);
    compare(&flows.totals(unnamed), &exporter.page().totals()).unwrap();
    producer.send_flows(&mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
}

#[test]
fn after_its_directory_was_removed_it_publishes_nothing_until_a_restart_begins_from_zero() {
    let (cluster, mut producer) = cluster_and_producer();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let arguments = arguments(&cluster.bootstrap_servers(), &state);
    let exporter = Exporter::start(&arguments);
    let mut flows = Flows::new(22, 2, 20);
    producer.send_flows(&mut flows, 1000, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    fs::remove_dir_all(&state).unwrap();
    wait_for_refusal(&exporter, "was removed or moved away while the program was running");
    exporter.wait_for_log("was removed or moved away", LIMIT);
    assert!(exporter.stop().success());
    assert!(!state.exists());
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
}

/// A directory and everything in it.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut tree = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            tree.extend(self::tree(&entry.unwrap().path()));
        }
    }
    tree
}

#[test]
fn all_that_is_kept_is_private_whatever_the_umask_and_whatever_it_was_before() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = format!("{}:9092", unused_address());
    for umask in ["0000", "0277"] {
        let state = directory.path().join(umask);
        let mut arguments = arguments(&nobody, &state);
        arguments.push("--addr=none".to_owned());
        arguments.push(format!("--remote-write-url=http://{}/", unused_address()));
        for _ in ["first", "again"] {
            let script = format!("umask {umask}; exec \"$0\" \"$@\"");
            let mut command = Command::new("sh");
            command.args(["-c", &script, program()]).args(&arguments);
            let log = directory.path().join(format!("log-{umask}"));
            let mut process = Process::start("flow-exporter", &mut command, log);
            wait_for("journal, private", LIMIT, || {
                process.assert_running();
                let tree = if state.exists() { tree(&state) } else { Vec::new() };
                let has =
                    |ending: &str| tree.iter().any(|path| path.to_string_lossy().ends_with(ending));
                if !(has(".log") && has("lock") && has("acknowledged") && has("bookmarks")) {
                    return Err(format!("{tree:?}"));
                }
                for path in tree {
                    // A temporary file may be gone again.
                    let Ok(metadata) = fs::metadata(&path) else { continue };
                    let private = if metadata.is_dir() { 0o700 } else { 0o600 };
                    if metadata.mode() & 0o777 != private {
                        return Err(format!("{} is {:o}", path.display(), metadata.mode()));
                    }
                }
                Ok(())
            });
            process.kill();
            // As an earlier version left it.
            for path in tree(&state) {
                let mode = if path.is_dir() { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// The output of a `state` command.
fn state(action: &str, state: &Path, stdout: Stdio) -> Output {
    Command::new(program())
        .args(["state", action, &format!("--state-dir={}", state.display())])
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[test]
fn verify_says_sound_and_the_state_commands_do_not_mind_who_reads_them() {
    let (cluster, mut producer) = cluster_and_producer();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let exporter = Exporter::start(&arguments(&cluster.bootstrap_servers(), &path));
    let mut flows = Flows::new(23, 2, 20);
    producer.send_flows(&mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);

    let held = state("repair", &path, Stdio::piped());
    assert_eq!(held.status.code(), Some(1));
    let said = String::from_utf8_lossy(&held.stderr);
    assert!(said.contains("in use by another process"), "{said}");
    exporter.kill();

    let verified = state("verify", &path, Stdio::piped());
    assert_eq!(verified.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&verified.stdout), "sound\n");
    assert!(verified.stderr.is_empty());
    for action in ["show", "verify", "repair"] {
        // The output has no reader.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unread = state(action, &path, writer.into());
        assert_eq!(unread.status.code(), Some(0), "{action}: {unread:?}");
        assert!(unread.stderr.is_empty(), "{action}: {unread:?}");
        // The output has no room.
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let full = state(action, &path, full.into());
        assert_eq!(full.status.code(), Some(1), "{action}: {full:?}");
        let said = String::from_utf8_lossy(&full.stderr);
        assert_eq!(said.lines().count(), 1, "{action}: {said}");
        assert!(said.contains("No space left"), "{action}: {said}");
    }

    // One flipped bit in the newest record, which was published.
    let segment = tree(&path).into_iter().find(|path| path.extension().is_some_and(|e| e == "log"));
    let segment = segment.unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 4;
    fs::write(&segment, bytes).unwrap();
    let broken = state("verify", &path, Stdio::piped());
    assert_eq!(broken.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&broken.stdout).contains("sound"));
    let repaired = state("repair", &path, Stdio::piped());
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    let said = String::from_utf8_lossy(&repaired.stdout);
    assert!(said.contains("had been published"), "{said}");
    assert_eq!(state("verify", &path, Stdio::piped()).stdout, b"sound\n");

    let exporter = Exporter::start(&arguments(&cluster.bootstrap_servers(), &path));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
}

#[test]
fn what_the_system_answers_is_said_once() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("journal/0000000001.log")).unwrap();
    let output = state("verify", directory.path(), Stdio::piped());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("Is a directory").count(), 1, "{said}");
}

/// Counts this topic, which need not exist, with the default state directory in `directory`.
fn count_in(directory: &Path, topic: &str, more: &[&str]) -> Child {
    let mut arguments = count(&format!("{}:9092", unused_address()), topic);
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    Child::start(&arguments, |command| {
        command.current_dir(directory);
        command.stderr(fs::File::create(directory.join(format!("log-{topic}"))).unwrap());
    })
}

#[test]
fn processes_for_several_topics_run_in_one_working_directory_and_earlier_state_stays_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let log = |topic: &str| fs::read_to_string(directory.join(format!("log-{topic}"))).unwrap();
    let (one, other) = (count_in(directory, "a.b", &[]), count_in(directory, "a_b", &[]));
    for topic in ["a.b", "a_b"] {
        let state = format!("flow-exporter-state/{topic}");
        assert!(directory.join(&state).join("journal").is_dir());
        assert!(log(topic).contains(&format!("state is kept in {state}")), "{}", log(topic));
    }
    let verify = || {
        let mut command = Command::new(program());
        command.args(["state", "verify"]).current_dir(directory).output().unwrap()
    };
    let said = String::from_utf8(verify().stderr).unwrap();
    let both = "several state directories: give --state-dir with one of flow-exporter-state/a.b, \
                flow-exporter-state/a_b";
    assert!(said.contains(both), "{said}");
    assert!(one.stop().success() && other.stop().success());
    fs::remove_dir_all(directory.join("flow-exporter-state")).unwrap();
    let said = String::from_utf8(verify().stderr).unwrap();
    assert!(said.contains("there is no directory flow-exporter-state here"), "{said}");

    // As earlier versions left it.
    let earlier = "--state-dir=flow-exporter-data";
    assert!(count_in(directory, "a.b", &[earlier]).stop().success());
    assert_eq!(verify().status.code(), Some(0));
    let (same, new) = (count_in(directory, "a.b", &[]), count_in(directory, "new", &[]));
    assert!(
        log("a.b").contains("state is kept in flow-exporter-data, the default"),
        "{}",
        log("a.b")
    );
    assert!(!directory.join("flow-exporter-state/a.b").exists());
    assert!(directory.join("flow-exporter-state/new/journal").is_dir());
    assert!(same.stop().success() && new.stop().success());
}
