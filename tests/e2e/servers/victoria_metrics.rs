//! VictoriaMetrics, which takes remote write.

use std::{net::Ipv4Addr, process::Command};

use tempfile::TempDir;

use crate::{http, query, series::Totals};

use super::{Process, START_LIMIT, STOP_LIMIT, unused_address, wait_for};

/// A VictoriaMetrics server.
pub(crate) struct VictoriaMetrics {
    address: Ipv4Addr,
    process: Option<Process>,
    directory: TempDir,
}

impl VictoriaMetrics {
    /// A server that answers.
    pub(crate) fn start() -> Self {
        let mut server = Self::stopped();
        server.up();
        server
    }

    /// A server that does not run yet.
    pub(crate) fn stopped() -> Self {
        let directory = TempDir::with_prefix("victoria-metrics-").expect("a temporary directory");
        VictoriaMetrics { address: unused_address(), process: None, directory }
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn up(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let directory = self.directory.path();
        let mut command = Command::new("victoria-metrics");
        command
            .arg(format!("-httpListenAddr={}:8428", self.address))
            .arg(format!("-storageDataPath={}", directory.join("data").display()))
            .args(["-retentionPeriod=12", "-search.latencyOffset=0s", "-search.disableCache"]);
        let mut process = Process::start("VictoriaMetrics", &mut command, directory.join("log"));
        wait_for("ready VictoriaMetrics", START_LIMIT, || {
            process.assert_running();
            http::get(&format!("{}/health", self.url())).map(|_| ())
        });
        self.process = Some(process);
    }

    /// Stops the server.
    pub(crate) fn stop(&mut self) {
        self.process.take().expect("the server runs").terminate(STOP_LIMIT);
    }

    /// Where it takes remote write.
    pub(crate) fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// The newest value of every flow series, summed over instances.
    pub(crate) fn totals(&self) -> Result<Totals, String> {
        http::get(&format!("{}/internal/force_flush", self.url()))?;
        let mut totals = Totals::new();
        for exported in query::export(&self.url())? {
            let newest = exported.samples.last().map_or(0, |&(_, value)| value);
            *totals.entry(exported.series).or_default() += newest;
        }
        Ok(totals)
    }

    /// Where it answers questions.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:8428", self.address)
    }
}
