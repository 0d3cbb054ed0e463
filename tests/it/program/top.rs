//! `top` asks a running process, and leaves the terminal as it was.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};
use testkit::{
    exporter::{Exporter, program},
    http,
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);

fn demo() -> (Exporter, String) {
    let address = unused_address();
    let addr = format!("--addr={address}:9590");
    let exporter = Exporter::start_as_is(
        address,
        &["demo", "--collect", "--as-names=embedded", "--log-format=json", &addr],
    );
    let url = format!("http://{address}:9590");
    // What the first snapshot has is no traffic of the last hour yet.
    wait_for("rates", LIMIT, || {
        let answer = http::get(&format!("{url}/api/v1/traffic?by=remote_as"))?;
        if answer.contains("Google LLC") { Ok(()) } else { Err(answer) }
    });
    (exporter, url)
}

fn once(url: &str) -> Output {
    let arguments = ["top", "--once", "--url", url];
    Command::new(program()).args(arguments).output().expect("the program starts")
}

#[test]
fn without_a_terminal_it_prints_everything_once() {
    let (_exporter, url) = demo();
    let output = once(&url);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    for expected in
        ["AS 64500, from the demo's exporters", "Remote AS", "Google LLC AS15169", "edge2.fra"]
    {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[test]
fn what_can_not_be_asked_is_said_in_a_line_that_says_what_to_do() {
    let listener = TcpListener::bind((unused_address(), 0)).expect("an address");
    let closed = listener.local_addr().expect("it has one");
    drop(listener);
    let output = once(&format!("http://{closed}"));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("nothing listens there") && said.lines().count() == 1, "{said}");
    let output = once("http://u:secret@localhost");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("--password-file") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_signal_ends_it_while_it_waits_for_an_answer() {
    let listener = TcpListener::bind((unused_address(), 0)).expect("an address");
    let url = format!("http://{}", listener.local_addr().expect("it has one"));
    let mut top = Command::new(program())
        .args(["top", "--once", "--url", &url])
        .spawn()
        .expect("the program starts");
    // It has asked, and gets no answer.
    let _asked = listener.accept().expect("a connection");
    kill(Pid::from_raw(top.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    // No answer for 20 s would end it, too, but with an error.
    assert!(top.wait().expect("it ends").success());
}

/// A terminal of 80 columns, in which `top` runs.
struct Terminal {
    top: Child,
    keyboard: File,
    /// Open, so that its mode can be looked at after the end.
    screen: File,
    shown: Receiver<Vec<u8>>,
    all: Vec<u8>,
}

impl Terminal {
    fn start(url: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let screen = File::from(pty.slave);
        let keyboard = File::from(pty.master);
        let part = || Stdio::from(screen.try_clone().expect("another descriptor"));
        let top = Command::new(program())
            .args(["top", "--url", url])
            .stdin(part())
            .stdout(part())
            .stderr(part())
            .spawn()
            .expect("the program starts");
        let (send, shown) = channel();
        let mut output = keyboard.try_clone().expect("another descriptor");
        thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            // The other end is closed: an error.
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 || send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { top, keyboard, screen, shown, all: Vec::new() }
    }

    /// Waits until this is shown.
    fn wait_for(&mut self, words: &str) {
        let end = Instant::now() + LIMIT;
        while !String::from_utf8_lossy(&self.all).contains(words) {
            let left = end.saturating_duration_since(Instant::now());
            let more = self.shown.recv_timeout(left).unwrap_or_else(|error| {
                panic!("{error}: {words} in {}", String::from_utf8_lossy(&self.all))
            });
            self.all.extend(more);
        }
        self.all.clear();
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn is_cooked(&self) -> bool {
        let mode = tcgetattr(&self.screen).expect("it is a terminal");
        mode.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.top.kill());
        drop(self.top.wait());
    }
}

#[test]
fn in_a_terminal_keys_work_and_the_terminal_is_left_as_it_was() {
    let (_exporter, url) = demo();
    let mut terminal = Terminal::start(&url);
    assert!(terminal.is_cooked());
    terminal.wait_for("Google");
    assert!(!terminal.is_cooked());
    terminal.press("?");
    terminal.wait_for("another table");
    terminal.press("x\t\t");
    terminal.wait_for("edge2.fra");
    terminal.press("q");
    // The alternate screen is left.
    terminal.wait_for("\u{1b}[?1049l");
    assert!(terminal.top.wait().expect("it ends").success());
    assert!(terminal.is_cooked());
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was_and_a_lost_process_is_said() {
    let (exporter, url) = demo();
    let mut terminal = Terminal::start(&url);
    terminal.wait_for("Google");
    assert!(exporter.stop().success());
    terminal.press("r");
    terminal.wait_for("nothing listens there");
    kill(Pid::from_raw(terminal.top.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    terminal.wait_for("\u{1b}[?1049l");
    assert!(terminal.top.wait().expect("it ends").success());
    assert!(terminal.is_cooked());
}
