//! Prometheus, which scrapes and takes remote write.

use std::{fs, net::Ipv4Addr, process::Command};

use tempfile::TempDir;

use crate::{http, query, series::Totals};

use super::{Process, START_LIMIT, unused_address, wait_for};

/// A Prometheus server.
pub(crate) struct Prometheus {
    address: Ipv4Addr,
    // Dropped before the directory, which it writes to.
    _process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// A server that scrapes these targets (`HOST:PORT`) every second as the job `scrape`.
    pub(crate) fn start(targets: &[String]) -> Self {
        let directory = TempDir::with_prefix("prometheus-").expect("a temporary directory");
        let address = unused_address();
        let configuration = directory.path().join("prometheus.yml");
        let settings = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs:\n- job_name: scrape\n  static_configs: [{{targets: {targets:?}}}]\n"
        );
        fs::write(&configuration, settings).expect("prometheus.yml is written");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}:9090"))
            .arg("--web.enable-remote-write-receiver");
        let log = directory.path().join("log");
        let mut process = Process::start("Prometheus", &mut command, log);
        wait_for("ready Prometheus", START_LIMIT, || {
            process.assert_running();
            http::get(&format!("http://{address}:9090/-/ready")).map(|_| ())
        });
        Prometheus { address, _process: process, _directory: directory }
    }

    /// Where it takes remote write.
    pub(crate) fn write_url(&self) -> String {
        format!("http://{}:9090/api/v1/write", self.address)
    }

    /// The newest value of every flow series of a job.
    pub(crate) fn totals(&self, job: &str) -> Result<Totals, String> {
        let selector = format!("{{__name__=~\"{}\", job=\"{job}\"}}", query::FLOW_METRICS);
        query::instant(&format!("http://{}:9090", self.address), &selector)
    }
}
