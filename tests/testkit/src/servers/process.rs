//! A child process that logs to a file and never outlives its owner.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use super::wait_for;

/// Lines of the log that are shown when a test fails.
const TAIL_LINES: usize = 40;

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    pub fn start(name: &str, command: &mut Command, log: PathBuf) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.unwrap_or_else(|error| panic!("opening {}: {error}", log.display()));
        let errors = output.try_clone().expect("a file can be cloned");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("starting {command:?}: {error}; scripts/e2e installs what the tests need")
        });
        Process { name: name.to_owned(), child, log }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails the test if the process has exited.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("{} has ended by itself with {status}", self.name);
        }
    }

    /// Sends SIGTERM and waits until the process exits.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(limit)
    }

    /// Waits until the process exits.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("end of {}", self.name);
        wait_for(&what, limit, || {
            let status = self.child.try_wait().expect("a child can be waited for");
            status.ok_or_else(|| "it is still running".to_owned())
        })
    }

    /// Kills the process (SIGKILL).
    pub fn kill(&mut self) {
        // An error means that it has exited already.
        self.child.kill().ok();
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "sending SIG{name} to {}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprint!("{}", tail(&self.name, &self.log));
        }
    }
}

/// The last lines of a log, under a heading.
fn tail(name: &str, log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let mut tail = format!("---- {name} said last:\n");
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        writeln!(tail, "{line}").expect("a string takes all that is written");
    }
    tail
}
