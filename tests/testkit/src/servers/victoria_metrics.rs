//! VictoriaMetrics.

use std::{net::Ipv4Addr, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    http,
    query::{self, Exported},
    series::Totals,
};

use super::{Database, Process, START_LIMIT, STOP_LIMIT, cached, unused_address, wait_for};

/// A VictoriaMetrics server.
pub struct VictoriaMetrics {
    name: &'static str,
    program: PathBuf,
    address: Ipv4Addr,
    process: Option<Process>,
    directory: TempDir,
}

impl VictoriaMetrics {
    /// Starts Debian's version, which supports snappy only.
    pub fn start() -> Self {
        let mut server = Self::stopped();
        server.up();
        server
    }

    /// Debian's version, not started yet.
    pub fn stopped() -> Self {
        Self::new("VictoriaMetrics", "victoria-metrics".into())
    }

    /// Starts a newer version, which also supports zstd.
    pub fn start_newer() -> Self {
        let program = cached("victoria-metrics-1.150.0/victoria-metrics");
        let mut server = Self::new("VictoriaMetrics 1.150", program);
        server.up();
        server
    }

    fn new(name: &'static str, program: PathBuf) -> Self {
        let directory = TempDir::with_prefix("victoria-metrics-").expect("a temporary directory");
        VictoriaMetrics { name, program, address: unused_address(), process: None, directory }
    }

    /// Starts the server and waits until it answers.
    pub fn up(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let directory = self.directory.path();
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-httpListenAddr={}:8428", self.address))
            .arg(format!("-storageDataPath={}", directory.join("data").display()))
            .args(["-retentionPeriod=12", "-search.latencyOffset=0s", "-search.disableCache"]);
        let mut process = Process::start(self.name, &mut command, directory.join("log"));
        wait_for("ready VictoriaMetrics", START_LIMIT, || {
            process.assert_running();
            http::get(&format!("{}/health", self.url())).map(|_| ())
        });
        self.process = Some(process);
    }

    /// Stops the server.
    pub fn stop(&mut self) {
        self.process.take().expect("the server runs").terminate(STOP_LIMIT);
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.as_ref().expect("the server runs").log()
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}:8428", self.address)
    }
}

impl Database for VictoriaMetrics {
    fn name(&self) -> &str {
        self.name
    }

    fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    fn totals(&self) -> Result<Totals, String> {
        Ok(query::newest(&self.samples()?))
    }

    fn samples(&self) -> Result<Vec<Exported>, String> {
        http::get(&format!("{}/internal/force_flush", self.url()))?;
        query::export(&self.url(), &[""])
    }
}
