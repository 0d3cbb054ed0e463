//! Prometheus.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    http,
    query::{self, Exported},
    series::Totals,
};

use super::{Database, Process, START_LIMIT, cached, unused_address, wait_for};

/// The job of scraped series.
const SCRAPED: &str = "scrape";

/// The default job of what flow-exporter pushes.
const PUSHED: &str = "flow-exporter";

/// How to start a Prometheus.
pub struct Settings {
    name: &'static str,
    program: PathBuf,
    out_of_order_window: &'static str,
    /// Certificate and key, if it uses TLS.
    tls: Option<[PathBuf; 2]>,
}

impl Settings {
    /// Debian's version, which supports remote write 1.0 only.
    pub fn debian() -> Self {
        Settings {
            name: "Prometheus",
            program: "prometheus".into(),
            out_of_order_window: "0s",
            tls: None,
        }
    }

    /// A newer version, which supports remote write 1.0 and 2.0.
    pub fn newer() -> Self {
        let program = cached("prometheus-0.316.0/prometheus");
        Settings { name: "Prometheus 3.16", program, out_of_order_window: "0s", tls: None }
    }

    /// Accepts samples that are out of order by up to `window`, such as `30m`.
    pub fn out_of_order(self, window: &'static str) -> Self {
        Settings { out_of_order_window: window, ..self }
    }

    /// Uses TLS only.
    pub fn with_tls(self, certificate: PathBuf, key: PathBuf) -> Self {
        Settings { tls: Some([certificate, key]), ..self }
    }

    /// Starts a server that scrapes these targets (`HOST:PORT`) every second.
    pub fn start(self, targets: &[String]) -> Prometheus {
        let directory = TempDir::with_prefix("prometheus-").expect("a temporary directory");
        let address = unused_address();
        let configuration = directory.path().join("prometheus.yml");
        let settings = format!(
            "global: {{scrape_interval: 1s}}\n\
             storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n\
             scrape_configs:\n- job_name: {SCRAPED}\n  static_configs: [{{targets: {targets:?}}}]\n",
            window = self.out_of_order_window,
        );
        fs::write(&configuration, settings).expect("prometheus.yml is written");
        let process = self.run(address, directory.path(), &configuration);
        Prometheus { name: self.name, address, process, _directory: directory }
    }

    /// Starts a server with this configuration file, to which paths in the file are relative.
    pub fn start_as_is(self, configuration: &Path) -> Prometheus {
        let directory = TempDir::with_prefix("prometheus-").expect("a temporary directory");
        let address = unused_address();
        let process = self.run(address, directory.path(), configuration);
        Prometheus { name: self.name, address, process, _directory: directory }
    }

    fn run(&self, address: Ipv4Addr, directory: &Path, configuration: &Path) -> Process {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}:9090"))
            .arg("--web.enable-remote-write-receiver");
        if let Some([certificate, key]) = &self.tls {
            let file = directory.join("web.yml");
            let (certificate, key) = (certificate.display(), key.display());
            let settings =
                format!("tls_server_config: {{cert_file: '{certificate}', key_file: '{key}'}}\n");
            fs::write(&file, settings).expect("web.yml is written");
            command.arg(format!("--web.config.file={}", file.display()));
        }
        let mut process = Process::start(self.name, &mut command, directory.join("log"));
        wait_for("ready Prometheus", START_LIMIT, || {
            process.assert_running();
            match http::get(&format!("http://{address}:9090/-/ready")) {
                // It says so in plain HTTP.
                Err(said) if self.tls.is_some() && said.contains("HTTPS server") => Ok(()),
                answer => answer.map(|_| ()),
            }
        });
        process
    }
}

/// A Prometheus server.
pub struct Prometheus {
    name: &'static str,
    address: Ipv4Addr,
    // Dropped before the directory, which it writes to.
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// The newest value of each flow series that it scraped.
    pub fn scraped_totals(&self) -> Result<Totals, String> {
        query::instant(&self.url(), SCRAPED)
    }

    /// All samples of all flow series that it scraped.
    pub fn scraped_samples(&self) -> Result<Vec<Exported>, String> {
        query::range(&self.url(), SCRAPED)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}:9090", self.address)
    }
}

impl Database for Prometheus {
    fn name(&self) -> &str {
        self.name
    }

    fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    fn totals(&self) -> Result<Totals, String> {
        query::instant(&self.url(), PUSHED)
    }

    fn samples(&self) -> Result<Vec<Exported>, String> {
        query::range(&self.url(), PUSHED)
    }
}
