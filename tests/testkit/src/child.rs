//! The program as a child whose streams and environment the test sets up.

use std::{
    net::Ipv4Addr,
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    exporter::program,
    http,
    page::Page,
    servers::{unused_address, wait_for},
};

/// Fails a test that would hang; generous, since machines are busy.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A running program, killed when dropped.
pub struct Child {
    address: Ipv4Addr,
    process: process::Child,
    _directory: TempDir,
}

impl Child {
    /// Starts the program with these arguments after `with` has prepared the command, and waits for
    /// its page.
    pub fn start(arguments: &[String], with: impl FnOnce(&mut Command)) -> Self {
        let directory = TempDir::with_prefix("flow-exporter-").unwrap();
        let address = unused_address();
        let mut command = Command::new(program());
        command
            .arg(format!("--addr={address}:9590"))
            .arg("--log-format=json")
            .args(arguments)
            .stderr(Stdio::null())
            .current_dir(directory.path());
        with(&mut command);
        let process = command.spawn().unwrap();
        drop(command);
        let mut child = Child { address, process, _directory: directory };
        wait_for("page", LIMIT, || {
            if let Some(status) = child.process.try_wait().unwrap() {
                panic!("it has ended by itself with {status}");
            }
            child.get("/metrics").map(drop)
        });
        child
    }

    pub fn get(&self, path: &str) -> Result<String, String> {
        http::get(&format!("http://{}:9590{path}", self.address))
    }

    pub fn page(&self) -> Page {
        Page(self.get("/metrics").unwrap())
    }

    pub fn wait_for_sum(&self, metric: &str, expected: u64) {
        wait_for(&format!("{metric} of {expected}"), LIMIT, || match self.page().sum(metric) {
            sum if sum == expected => Ok(()),
            sum => Err(format!("it is {sum}")),
        });
    }

    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success(), "sending SIG{name}");
    }

    /// Waits until it exits.
    pub fn end(mut self) -> ExitStatus {
        wait_for("end", LIMIT, || self.process.try_wait().unwrap().ok_or("it runs".to_owned()))
    }

    /// Sends SIGTERM and waits until it exits.
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.end()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it has exited already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
