//! `--input` from other than regular files, and signals.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use testkit::{
    child::{Child, LIMIT},
    exporter::program,
    produce::ASN,
    servers::wait_for,
};

/// A named pipe in a directory of its own.
struct Pipe {
    directory: TempDir,
}

impl Pipe {
    fn new() -> Self {
        let pipe = Pipe { directory: TempDir::new().unwrap() };
        let status = Command::new("mkfifo").arg(pipe.path()).status().unwrap();
        assert!(status.success());
        pipe
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("flows")
    }

    /// A writer. Opening waits for the reader.
    fn writer(&self) -> File {
        OpenOptions::new().write(true).open(self.path()).unwrap()
    }
}

fn flow(bytes: u64) -> String {
    format!(r#"{{"as_src": 1, "as_dst": {ASN}, "bytes": {bytes}}}"#)
}

fn arguments(input: &Path) -> Vec<String> {
    vec![
        format!("--input={}", input.display()),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
    ]
}

/// Runs a line of shell in which `$0` is the program.
fn shell(line: &str) -> Output {
    let output = Command::new("bash").args(["-c", line, program()]).stdin(Stdio::null()).output();
    output.unwrap()
}

/// The totals that the program logs at its end, for these arguments.
fn totals(arguments: &str) -> (Option<i32>, String) {
    let addr = "--addr=127.0.0.1:0 --as-names=none --exit-at-end";
    let output = shell(&format!("exec \"$0\" {addr} {arguments}"));
    let said = String::from_utf8(output.stderr).unwrap();
    let totals =
        said.lines().find_map(|line| line.split_once("everything that was read is counted "));
    let totals = totals.unwrap_or_else(|| panic!("{said}")).1.to_owned();
    (output.status.code(), totals)
}

#[test]
fn a_pipe_is_served_before_its_first_writer_and_continues_with_the_next_one() {
    let pipe = Pipe::new();
    let child = Child::start(&arguments(&pipe.path()), |_| {});
    assert_eq!(child.page().sum("flow_exporter_messages_total"), 0);
    let mut writer = pipe.writer();
    writeln!(writer, "{}", flow(1)).unwrap();
    child.wait_for_sum("flow_receive_bytes_total", 1);
    // A last line without a line feed is counted when its writer leaves.
    write!(writer, "{}", flow(10)).unwrap();
    drop(writer);
    child.wait_for_sum("flow_receive_bytes_total", 11);
    // Writers in quick succession, and two at the same time.
    for _ in 0..100 {
        writeln!(pipe.writer(), "{}", flow(100)).unwrap();
    }
    child.wait_for_sum("flow_receive_bytes_total", 10_011);
    let (mut one, mut other) = (pipe.writer(), pipe.writer());
    writeln!(one, "{}", flow(100_000)).unwrap();
    drop(one);
    writeln!(other, "{}", flow(100_000)).unwrap();
    child.wait_for_sum("flow_receive_bytes_total", 210_011);
    assert_eq!(child.page().sum("flow_exporter_decode_errors_total"), 0);
    // The other writer is silent, and still there.
    assert_eq!(child.stop().code(), Some(0));
}

#[test]
fn a_pipe_without_a_writer_does_not_keep_the_program_from_ending() {
    let pipe = Pipe::new();
    let child = Child::start(&arguments(&pipe.path()), |_| {});
    assert_eq!(child.stop().code(), Some(0));
}

#[test]
fn a_pipe_in_another_ones_place_is_read_by_the_next_writer() {
    let pipe = Pipe::new();
    let child = Child::start(&arguments(&pipe.path()), |_| {});
    let mut first = pipe.writer();
    writeln!(first, "{}", flow(1)).unwrap();
    fs::remove_file(pipe.path()).unwrap();
    assert!(Command::new("mkfifo").arg(pipe.path()).status().unwrap().success());
    drop(first);
    writeln!(pipe.writer(), "{}", flow(2)).unwrap();
    child.wait_for_sum("flow_receive_bytes_total", 3);
}

#[test]
fn with_exit_at_end_a_pipe_ends_with_its_first_writer() {
    let pipe = Pipe::new();
    let mut arguments = arguments(&pipe.path());
    arguments.push("--exit-at-end".to_owned());
    let child = Child::start(&arguments, |_| {});
    writeln!(pipe.writer(), "{}", flow(1)).unwrap();
    assert_eq!(child.end().code(), Some(0));
}

#[test]
fn at_its_end_the_program_says_what_it_counted_and_what_not() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("flows");
    let foreign = r#"{"as_src": 1, "as_dst": 2, "bytes": 5}"#;
    let marker = r#"{"event_type": "purge_init"}"#;
    let lines = [&flow(1), &flow(2), foreign, marker, "{", "[7]", "[8]"];
    let text = lines.join("\n");
    fs::write(&file, &text).unwrap();
    let expected = format!(
        "messages=7 message_bytes={} flows=2 flow_bytes=3 ignored_flows=\"other_as: 1\" \
         skipped_records=\"marker: 1\" malformed_records=\"syntax: 1, not_a_record: 2\"",
        text.len() - 6
    );
    let file = file.display();
    assert_eq!(totals(&format!("--asn={ASN} --input={file}")), (Some(0), expected.clone()));
    // The same through what a shell offers as a file.
    for arguments in [
        format!("--asn={ASN} --input=- <{file}"),
        format!("--asn={ASN} --input=/dev/stdin <{file}"),
        format!("--asn={ASN} --input=<(cat {file})"),
        format!("--asn={ASN} --input=- < <(cat {file})"),
    ] {
        assert_eq!(totals(&arguments), (Some(0), expected.clone()), "{arguments}");
    }
}

#[test]
fn an_input_without_anything_is_counted_to_its_end() {
    let nothing = "messages=0 message_bytes=0 flows=0 flow_bytes=0 ignored_flows=\"none\" \
                   skipped_records=\"none\" malformed_records=\"none\"";
    for arguments in ["--input=/dev/null", "--input=- </dev/null", "--input=- <&-"] {
        assert_eq!(totals(arguments), (Some(0), nothing.to_owned()), "{arguments}");
    }
}

#[test]
fn what_can_not_be_read_as_lines_is_refused_in_one_line() {
    let addr = "--addr=127.0.0.1:0 --as-names=none";
    for (arguments, expected) in [
        ("--input=/tmp", "flow-exporter: --input /tmp: is a directory; give a file or a pipe\n"),
        (
            "--input=- </tmp",
            "flow-exporter: --input standard input: is a directory; give a file or a pipe\n",
        ),
    ] {
        let output = shell(&format!("exec \"$0\" {addr} --log-level=error {arguments}"));
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected, "{arguments}");
    }
}

#[test]
fn a_device_that_never_ends_is_read_until_the_program_is_told_to_stop() {
    let child = Child::start(&arguments(Path::new("/dev/zero")), |_| {});
    child.wait_for_sum("flow_exporter_decode_errors_total", 1);
    assert_eq!(child.stop().code(), Some(0));
}

#[test]
fn only_signals_that_ask_for_an_end_end_the_program() {
    let pipe = Pipe::new();
    let logged = pipe.directory.path().join("log");
    let child = Child::start(&arguments(&pipe.path()), |command| {
        command.stderr(File::create(&logged).unwrap());
    });
    for (signal, said) in [
        ("HUP", "configuration reloaded: nothing has changed"),
        ("USR1", "SIGUSR1: it has no meaning here"),
        ("USR2", "SIGUSR2: it has no meaning here"),
    ] {
        // At most a line a second is logged.
        wait_for(said, LIMIT, || {
            child.signal(signal);
            let log = fs::read_to_string(&logged).unwrap();
            if log.contains(said) { Ok(()) } else { Err(log) }
        });
    }
    writeln!(pipe.writer(), "{}", flow(1)).unwrap();
    child.wait_for_sum("flow_receive_bytes_total", 1);
    // SIGQUIT asks for a core dump, but is ignored by what a script starts in the background.
    child.signal("TERM");
    assert_eq!(child.end().code(), Some(0), "SIGTERM asks for an end");
}

#[test]
fn check_does_not_wait_for_the_writer_of_a_pipe() {
    let pipe = Pipe::new();
    let path = pipe.path();
    let output = shell(&format!("exec \"$0\" check --asn={ASN} --input={}", path.display()));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&format!("input {}: works", path.display())), "{said}");
}
