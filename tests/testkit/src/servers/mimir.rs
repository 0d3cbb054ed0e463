//! Grafana Mimir in one process, for one tenant.

use std::{fs, net::Ipv4Addr, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    http,
    query::{self, Exported},
    series::Totals,
};

use super::{Database, Process, cached, unused_address, wait_for};

/// How long it may take to start: its parts wait for each other, 20 s even on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The default job of what flow-exporter pushes.
const PUSHED: &str = "flow-exporter";

/// A Mimir server.
pub struct Mimir {
    address: Ipv4Addr,
    // Dropped before the directory, which it writes to.
    _process: Process,
    _directory: TempDir,
}

impl Mimir {
    /// Starts a server.
    pub fn start() -> Self {
        let directory = TempDir::with_prefix("mimir-").expect("a temporary directory");
        let address = unused_address();
        let configuration = directory.path().join("mimir.yml");
        fs::write(&configuration, settings(address)).expect("mimir.yml is written");
        let mut command = Command::new(cached(PROGRAM));
        // It stores data in the working directory.
        command
            .arg(format!("-config.file={}", configuration.display()))
            .current_dir(directory.path());
        let log = directory.path().join("log");
        let mut process = Process::start("Mimir", &mut command, log);
        wait_for("ready Mimir", START_LIMIT, || {
            process.assert_running();
            http::get(&format!("http://{address}:9009/ready")).map(|_| ())
        });
        Mimir { address, _process: process, _directory: directory }
    }

    fn query_url(&self) -> String {
        format!("http://{}:9009/prometheus", self.address)
    }
}

impl Database for Mimir {
    fn name(&self) -> &'static str {
        "Mimir"
    }

    fn write_url(&self) -> String {
        format!("http://{}:9009/api/v1/push", self.address)
    }

    fn totals(&self) -> Result<Totals, String> {
        query::instant(&self.query_url(), PUSHED)
    }

    fn samples(&self) -> Result<Vec<Exported>, String> {
        query::range(&self.query_url(), PUSHED)
    }
}

/// The program, in the scripts' cache.
const PROGRAM: &str = "mimir-1.3.1-0.20260423142704-aced80d74930/mimir";

/// A configuration that listens on one address only, and lifts the limits of a tenant's rate and
/// series: tests push in seconds what tenants push in minutes.
fn settings(address: Ipv4Addr) -> String {
    let ring = format!("{{kvstore: {{store: inmemory}}, instance_addr: {address}}}");
    let lone_ring = format!(
        "{{kvstore: {{store: inmemory}}, instance_addr: {address}, replication_factor: 1}}"
    );
    format!(
        "target: all\n\
         multitenancy_enabled: false\n\
         usage_stats: {{enabled: false}}\n\
         server: {{http_listen_address: {address}, http_listen_port: 9009, \
         grpc_listen_address: {address}, grpc_listen_port: 9095, log_level: warn}}\n\
         common: {{storage: {{backend: filesystem}}}}\n\
         memberlist: {{bind_addr: [{address}]}}\n\
         distributor: {{ring: {ring}}}\n\
         ingester: {{ring: {lone_ring}}}\n\
         store_gateway: {{sharding_ring: {lone_ring}}}\n\
         compactor: {{sharding_ring: {ring}}}\n\
         ruler: {{ring: {ring}}}\n\
         query_scheduler: {{ring: {ring}}}\n\
         frontend: {{address: {address}, scheduler_address: \"{address}:9095\"}}\n\
         frontend_worker: {{scheduler_address: \"{address}:9095\"}}\n\
         limits: {{ingestion_rate: 1e9, ingestion_burst_size: 1000000000, \
         max_global_series_per_user: 0}}\n"
    )
}
