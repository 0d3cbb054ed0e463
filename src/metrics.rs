//! The program's own metrics: each name, help text and label is declared here, once.
//!
//! The flow counters are not among them: they come from snapshots. What is told of what they count
//! belongs to the snapshot too, so that both are of one moment ([`Metrics::publish`]).

mod counting;
mod family;
mod wide;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

use crate::{
    flow::{Malformed, Skipped},
    process,
    schema::Schema,
    traffic::{AsSource, Ignored},
    version,
};

use family::shown;
pub use family::{Declared, Family, Kind, Sample};
pub use wide::{Sum, Wide, WideCounter, WideCounterVec};

/// Where metrics are registered.
#[derive(Default)]
struct Registries {
    /// What is shown as it is at the moment. Messages are among it, so that they are seen to arrive while
    /// a disk keeps what was counted from being published.
    momentary: Registry,
    /// What the ledger tells of flows and series, which is shown once these are published.
    counted: Registry,
}

macro_rules! metrics {
    ($($registry:ident {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ident($name:literal $(, $labels:expr $(, $buckets:expr)?)?);)*
    })*) => {
        /// The program's own metrics. The documentation of a field is its help text.
        pub struct Metrics {
            registries: Registries,
            /// What was published last of [`Registries::counted`].
            published: Mutex<Arc<[Family]>>,
            push_moves: Mutex<()>,
            /// Exporters whose sampling rate is shown.
            sampled: Mutex<HashSet<String>>,
            /// Exporters of datagrams that are shown.
            exporters: Mutex<HashSet<IpAddr>>,
            /// In seconds since the epoch; `None` if the system does not say.
            process_start: Option<f64>,
            $($($(#[doc = $help])+ pub $field: $kind,)*)*
        }

        impl Metrics {
            /// The program's own metrics, in the order of their declaration.
            pub const DECLARED: &[Declared] = &[$($(Declared {
                name: $name,
                help: concat!($($help),+),
                kind: kind!($kind),
                labels: labels!($kind $(, $labels)?),
            }),*),*];

            /// All metrics, at zero.
            pub fn new() -> Self {
                let registries = Registries::default();
                let metrics = Metrics {
                    $($($field: register(&registries.$registry, new_metric!($kind, $name, help(&[$($help),+]) $(, $labels $(, $buckets)?)?)),)*)*
                    registries,
                    published: Mutex::default(),
                    push_moves: Mutex::new(()),
                    sampled: Mutex::default(),
                    exporters: Mutex::default(),
                    process_start: process::usage().ok().and_then(|usage| process::start_time(&usage)),
                }.with_known_labels();
                metrics.publish(metrics.counted());
                metrics
            }
        }
    };
}

macro_rules! kind {
    (Histogram) => {
        Kind::Histogram
    };
    (HistogramVec) => {
        Kind::Histogram
    };
    (IntCounter) => {
        Kind::Counter
    };
    (IntCounterVec) => {
        Kind::Counter
    };
    (WideCounter) => {
        Kind::Counter
    };
    (WideCounterVec) => {
        Kind::Counter
    };
    ($kind:ident) => {
        Kind::Gauge
    };
}

macro_rules! labels {
    (Histogram, $buckets:expr) => {
        &[]
    };
    ($kind:ident, $labels:expr) => {
        &$labels
    };
    ($kind:ident) => {
        &[]
    };
}

macro_rules! new_metric {
    ($kind:ident, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        $kind::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &$labels)
    };
    (Histogram, $name:expr, $help:expr, $buckets:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    ($kind:ident, $name:expr, $help:expr, $labels:expr) => {
        $kind::new(Opts::new($name, $help), &$labels)
    };
    ($kind:ident, $name:expr, $help:expr) => {
        $kind::with_opts(Opts::new($name, $help))
    };
}

const SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// Why timestamps are unusable: missing, of another era, or ahead of the clock.
const UNTIMED: [&str; 3] = ["absent", "past", "future"];

metrics! {
    momentary {
        /// A constant 1, labelled with the version that runs, its commit, and the versions of the libraries
        /// in it.
        build_info: IntGaugeVec("flow_exporter_build_info", ["version", "revision", "librdkafka", "openssl"]);
        /// Messages taken from the source.
        messages: IntCounter("flow_exporter_messages_total");
        /// Payload bytes of these messages.
        message_bytes: IntCounter("flow_exporter_message_bytes_total");
        /// Messages that arrived too late for the tick of their timestamp; they are counted in the next
        /// one.
        late_messages: IntCounter("flow_exporter_late_messages_total");
        /// Messages with an unusable timestamp, by reason; their arrival time is used.
        untimed_messages: IntCounterVec("flow_exporter_untimed_messages_total", ["reason"]);
    }
    counted {
        /// Flow records counted in a series.
        flows: IntCounter("flow_exporter_flows_total");
        /// Bytes reported by the counted flow records.
        flow_bytes: WideCounter("flow_exporter_flow_bytes_total");
        /// Valid flow records not counted in any series, by reason.
        flows_ignored: IntCounterVec("flow_exporter_flows_ignored_total", ["reason"]);
        /// Bytes reported by the ignored flow records, by reason.
        flow_bytes_ignored: WideCounterVec("flow_exporter_flow_bytes_ignored_total", ["reason"]);
        /// Valid records that are not flows, by reason.
        records_skipped: IntCounterVec("flow_exporter_records_skipped_total", ["reason"]);
        /// Records that could not be decoded, by reason.
        decode_errors: IntCounterVec("flow_exporter_decode_errors_total", ["reason"]);
        /// Requests for a schema to the schema registry, by what came of them: a schema, none that is known
        /// or that can be used, or failed, after which it is asked again.
        schema_requests: IntCounterVec("flow_exporter_schema_registry_requests_total", ["result"]);
        /// Schemas of messages that are not known yet; partitions wait for them.
        schemas_wanted: IntGauge("flow_exporter_schemas_wanted");
        /// Label values of counted flow records truncated to 1,024 bytes, by label; values with the
        /// same beginning are counted as one.
        label_values_truncated: IntCounterVec("flow_exporter_label_values_truncated_total", ["label"]);
        /// Flow records that lacked the value of a label, by label: in each view that has it, where it is
        /// empty, or 0 for an AS; and in each that did not count them since it filters by that label.
        label_missing: IntCounterVec("flow_exporter_label_missing_total", ["label"]);
        /// Ends of flow records by where their AS number was found (record, networks or table) or why not,
        /// while --networks or --as-table is given.
        as_found: IntCounterVec("flow_exporter_as_found_total", ["by"]);
        /// Last rate by which the flows of an exporter were multiplied, by its address, or else its
        /// hostname; of 1,000 exporters at most.
        sampling_rate: IntGaugeVec("flow_exporter_sampling_rate", ["exporter"]);
        /// Flow records that were to be multiplied by their sampling rate and have none; they are
        /// counted as they are.
        flows_unknown_rate: IntCounter("flow_exporter_flows_unknown_sampling_rate_total");
        /// Datagrams of an exporter that were decoded, at least in part; of exporters beyond 1,000, as
        /// those of the exporter other.
        exporter_datagrams: IntCounterVec("flow_exporter_collector_datagrams_total", ["exporter"]);
        /// Flows in these datagrams.
        exporter_flows: IntCounterVec("flow_exporter_collector_flows_total", ["exporter"]);
        /// Bytes of these flows as the exporter reported them, not multiplied by its sampling rate.
        exporter_bytes: WideCounterVec("flow_exporter_collector_flow_bytes_total", ["exporter"]);
        /// Bytes of those of these flows that the exporter saw come in (ingress) or go out (egress), by
        /// direction, as it reported them.
        exporter_direction_bytes: WideCounterVec("flow_exporter_collector_direction_bytes_total", ["exporter", "direction"]);
        /// Of these flows, those whose sampling rate is unknown; they are counted as they are.
        exporter_unknown_rate: IntCounterVec("flow_exporter_collector_unknown_sampling_rate_flows_total", ["exporter"]);
        /// Datagrams of an exporter that are missing according to its sequence numbers (NetFlow v9,
        /// sFlow), by cause: lost in transit, in the exporter or here (lost), or sent while this program
        /// did not run (downtime).
        exporter_missing_datagrams: IntCounterVec("flow_exporter_collector_missing_datagrams_total", ["exporter", "cause"]);
        /// Flows of an exporter that are missing according to its sequence numbers (NetFlow v5, IPFIX,
        /// sFlow), by the same causes.
        exporter_missing_flows: IntCounterVec("flow_exporter_collector_missing_flows_total", ["exporter", "cause"]);
        /// What an exporter's sequence numbers say besides, by event: a datagram came late, it began from
        /// the start (restart), its numbers jumped, several processes number theirs as one (conflict),
        /// or it numbers something else than its protocol says (`unit_change`).
        exporter_sequence: IntCounterVec("flow_exporter_collector_sequence_events_total", ["exporter", "event"]);
        /// Parts of datagrams that could not be decoded, by exporter and reason. Those without a template
        /// wait for it, and count as replayed when it comes.
        exporter_undecoded: IntCounterVec("flow_exporter_collector_undecoded_total", ["exporter", "reason"]);
        /// Samples of sFlow that are no flows, by exporter and kind: of counters, of discarded packets, of
        /// vendors (foreign), or taken and dropped by the agent.
        exporter_samples: IntCounterVec("flow_exporter_collector_sflow_samples_total", ["exporter", "kind"]);
        /// Templates that data of an exporter waits for, of which no more than 16 are told.
        exporter_awaited: IntGaugeVec("flow_exporter_collector_templates_awaited", ["exporter"]);
        /// When the last of an exporter's datagrams that were decoded arrived, in seconds since the epoch.
        exporter_last: GaugeVec("flow_exporter_collector_last_datagram_timestamp_seconds", ["exporter"]);
        /// How far an exporter's clock is ahead of ours, in seconds.
        exporter_skew: GaugeVec("flow_exporter_collector_clock_skew_seconds", ["exporter"]);
        /// Duration of the longest flow that an exporter reported, in seconds: about its active timeout.
        exporter_longest_flow: GaugeVec("flow_exporter_collector_longest_flow_seconds", ["exporter"]);
        /// Valid flow records that a view does not count, by view and reason.
        view_flows_ignored: IntCounterVec("flow_exporter_view_flows_ignored_total", ["view", "reason"]);
        /// Bytes reported by the flow records that a view does not count, by view and reason.
        view_flow_bytes_ignored: WideCounterVec("flow_exporter_view_flow_bytes_ignored_total", ["view", "reason"]);
        /// Current number of flow series, by view, with those labelled other.
        series: IntGaugeVec("flow_exporter_series", ["view"]);
        /// Maximum number of flow series, by view; further flows are counted in series labelled other.
        series_limit: IntGaugeVec("flow_exporter_series_limit", ["view"]);
        /// Bytes counted in series labelled other, by view, because the number of series had reached
        /// its maximum.
        flow_bytes_other: WideCounterVec("flow_exporter_flow_bytes_other_total", ["view"]);
        /// Flow series that began at the maximum of series in the place of lighter ones, by view.
        series_admitted: IntCounterVec("flow_exporter_series_admitted_total", ["view"]);
        /// Flow series that ended at the maximum of series to make room for heavier ones, by view.
        series_dismissed: IntCounterVec("flow_exporter_series_dismissed_total", ["view"]);
        /// Flow series that ended because they had no flows for the time of --series-ttl.
        series_expired: IntCounter("flow_exporter_series_expired_total");
    }
    momentary {
        /// Time of the newest tick, in seconds since the epoch; every message before it is counted.
        last_tick: Gauge("flow_exporter_last_tick_timestamp_seconds");
        /// Snapshots published.
        snapshots: IntCounter("flow_exporter_snapshots_total");
        /// Snapshots published without the counts of a worker that did not answer in time.
        snapshots_incomplete: IntCounter("flow_exporter_snapshots_incomplete_total");
        /// Time from the start of a snapshot to its publication.
        snapshot_seconds: Histogram("flow_exporter_snapshot_duration_seconds", SECONDS);
        /// Size of the journal on disk, in bytes.
        journal_bytes: IntGauge("flow_exporter_journal_bytes");
        /// Bytes written to the journal, including checkpoints.
        journal_written: IntCounter("flow_exporter_journal_written_bytes_total");
        /// Snapshots that could not be written to the journal; their counts are part of a later one.
        journal_errors: IntCounter("flow_exporter_journal_errors_total");
        /// Messages between the last one counted and the end of the partition.
        kafka_lag: IntGaugeVec("flow_exporter_kafka_lag_messages", ["topic", "partition"]);
        /// Offset of the next message to be counted.
        kafka_position: IntGaugeVec("flow_exporter_kafka_next_offset", ["topic", "partition"]);
        /// Partitions being consumed.
        kafka_partitions: IntGauge("flow_exporter_kafka_partitions");
        /// Messages deleted by Kafka before they were counted, according to their offsets.
        kafka_lost: IntCounterVec("flow_exporter_kafka_messages_lost_total", ["topic", "partition"]);
        /// Times a partition was found to have been deleted and recreated; it is then read from its
        /// beginning.
        kafka_recreated: IntCounterVec("flow_exporter_kafka_partitions_recreated_total", ["topic", "partition"]);
        /// Times a partition was found to be missing, for example with its topic; it is read again
        /// if it comes back.
        kafka_vanished: IntCounterVec("flow_exporter_kafka_partitions_vanished_total", ["topic", "partition"]);
        /// Messages counted and published but not yet committed to the consumer group; if this process
        /// crashes, another member counts them again.
        kafka_uncommitted: IntGaugeVec("flow_exporter_kafka_uncommitted_messages", ["topic", "partition"]);
        /// Messages counted but not committed before their partition was assigned to another member,
        /// which counts them again.
        kafka_abandoned: IntCounterVec("flow_exporter_kafka_messages_abandoned_total", ["topic", "partition"]);
        /// Known brokers, by state of the connection.
        kafka_brokers: IntGaugeVec("flow_exporter_kafka_brokers", ["state"]);
        /// Errors reported by librdkafka, by its name for the error.
        kafka_errors: IntCounterVec("flow_exporter_kafka_errors_total", ["error"]);
        /// Rebalances of the consumer group, by event.
        kafka_rebalances: IntCounterVec("flow_exporter_kafka_rebalances_total", ["event"]);
        /// Datagrams that the kernel dropped before they were taken, because the receive buffer of a
        /// socket was full.
        datagrams_dropped: IntCounter("flow_exporter_collector_socket_drops_total");
        /// Datagrams that were taken and not decoded, by reason.
        datagrams_refused: IntCounterVec("flow_exporter_collector_datagrams_refused_total", ["reason"]);
        /// Whether the last attempt to load the configuration was successful.
        config_reload_successful: IntGauge("flow_exporter_config_last_reload_successful");
        /// Time of the last successful load of the configuration, in seconds since the epoch.
        config_reload_time: Gauge("flow_exporter_config_last_reload_success_timestamp_seconds");
        /// Whether the web configuration file could be used when it was last read; 1 without one.
        web_config_successful: IntGauge("flow_exporter_web_config_last_reload_successful");
        /// Time when a web configuration came into force, in seconds since the epoch; 0 without one.
        web_config_time: Gauge("flow_exporter_web_config_last_reload_success_timestamp_seconds");
        /// Log lines that could not be written, because their reader is stuck or gone, or their disk is
        /// full.
        log_lines_dropped: IntCounter("flow_exporter_log_lines_dropped_total");
        /// Number of AS names in use.
        as_names: IntGauge("flow_exporter_as_names");
        /// Attempts to refresh AS names, by result.
        as_names_refreshes: IntCounterVec("flow_exporter_as_names_refreshes_total", ["result"]);
        /// Time of the last successful refresh of AS names, in seconds since the epoch.
        as_names_updated: Gauge("flow_exporter_as_names_updated_timestamp_seconds");
        /// HTTP requests answered, by path (other for unknown ones) and status code.
        http_requests: IntCounterVec("flow_exporter_http_requests_total", ["path", "code"]);
        /// Open HTTP connections.
        http_connections: IntGauge("flow_exporter_http_connections");
        /// HTTP connections closed early by the server, by reason: too many connections or a slow
        /// client.
        http_closed: IntCounterVec("flow_exporter_http_connections_closed_total", ["reason"]);
        /// Connections that ended before they were encrypted, by reason.
        tls_failures: IntCounterVec("flow_exporter_http_tls_handshake_failures_total", ["reason"]);
        /// HTTP requests refused for their credentials, by reason: missing, wrong, or busy with verifying
        /// others.
        http_unauthorized: IntCounterVec("flow_exporter_http_unauthorized_total", ["reason"]);
        /// Time from the arrival of a scrape to the last byte of its answer.
        scrape_seconds: Histogram("flow_exporter_scrape_duration_seconds", SECONDS);
        /// Samples due to be sent, including those queued before startup and excluding suppressed idle
        /// ones.
        push_generated: IntCounterVec("flow_exporter_remote_write_samples_generated_total", ["endpoint"]);
        /// Samples confirmed by the endpoint.
        push_confirmed: IntCounterVec("flow_exporter_remote_write_samples_confirmed_total", ["endpoint"]);
        /// Samples dropped, by reason.
        push_dropped: IntCounterVec("flow_exporter_remote_write_samples_dropped_total", ["endpoint", "reason"]);
        /// Samples that are neither confirmed nor dropped yet.
        push_pending: IntGaugeVec("flow_exporter_remote_write_samples_pending", ["endpoint"]);
        /// Time of the oldest pending sample, in seconds since the epoch; 0 if none is pending.
        push_oldest_pending: GaugeVec("flow_exporter_remote_write_oldest_pending_timestamp_seconds", ["endpoint"]);
        /// Bytes of the journal kept for pending samples, in whole segments.
        push_pending_bytes: IntGaugeVec("flow_exporter_remote_write_pending_bytes", ["endpoint"]);
        /// Time until the limits of the journal cause drops, if the endpoint accepts nothing and
        /// samples keep coming at the average rate since startup.
        push_queue_full: GaugeVec("flow_exporter_remote_write_queue_full_seconds", ["endpoint"]);
        /// Requests sent, by status code, or by kind of failure if no answer came.
        push_requests: IntCounterVec("flow_exporter_remote_write_requests_total", ["endpoint", "code"]);
        /// Bytes of compressed request bodies sent, including retries.
        push_bytes: IntCounterVec("flow_exporter_remote_write_sent_bytes_total", ["endpoint"]);
        /// Time of the last confirmed request, in seconds since the epoch.
        push_last_success: GaugeVec("flow_exporter_remote_write_last_success_timestamp_seconds", ["endpoint"]);
        /// Time of the last failed or refused request, in seconds since the epoch; /-/ready shows the
        /// error.
        push_last_error: GaugeVec("flow_exporter_remote_write_last_error_timestamp_seconds", ["endpoint"]);
        /// Confirmed samples that the receiver already had from an earlier request whose answer was
        /// lost.
        push_already_stored: IntCounterVec("flow_exporter_remote_write_samples_already_stored_total", ["endpoint"]);
        /// 1 while nothing is sent because the endpoint needs the attention of its operator, else 0.
        push_held: IntGaugeVec("flow_exporter_remote_write_held", ["endpoint"]);
        /// A constant 1, labelled with the protocol and compression in use.
        push_protocol: IntGaugeVec("flow_exporter_remote_write_protocol_info", ["endpoint", "protocol", "compression"]);
        /// Time from the start of a remote-write request to its answer.
        push_seconds: HistogramVec("flow_exporter_remote_write_request_duration_seconds", ["endpoint"], SECONDS);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The metrics of the process, with the names and help texts of Prometheus' client libraries.
    /// They exist on Linux only.
    pub const PROCESS: &[Declared] = &[
        process_metric(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Total user and system CPU time spent in seconds.",
        ),
        process_metric("process_open_fds", Kind::Gauge, "Number of open file descriptors."),
        process_metric("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors."),
        process_metric(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Virtual memory size in bytes.",
        ),
        process_metric(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory size in bytes.",
        ),
        process_metric(
            "process_start_time_seconds",
            Kind::Gauge,
            "Start time of the process since unix epoch in seconds.",
        ),
        process_metric("process_threads", Kind::Gauge, "Number of OS threads in the process."),
    ];

    /// Creates the series of all label values that are known in advance, so that a rate sees their
    /// first increment.
    fn with_known_labels(self) -> Self {
        let build = [
            env!("CARGO_PKG_VERSION"),
            version::REVISION,
            &version::librdkafka(),
            version::openssl(),
        ];
        self.build_info.with_label_values(&build).set(1);
        for reason in Ignored::ALL {
            self.flows_ignored.with_label_values(&[reason.label()]);
            self.flow_bytes_ignored.with_label_values(&[reason.label()]);
        }
        for found in AsSource::ALL {
            self.as_found.with_label_values(&[found.label()]);
        }
        for reason in Skipped::ALL {
            self.records_skipped.with_label_values(&[reason.label()]);
        }
        for reason in Malformed::ALL {
            self.decode_errors.with_label_values(&[reason.label()]);
        }
        for reason in UNTIMED {
            self.untimed_messages.with_label_values(&[reason]);
        }
        self
    }

    /// Creates the series of the views that are configured now, and says how many series each may
    /// have.
    pub fn begin_views(&self, schema: &Schema) {
        self.series.reset();
        self.series_limit.reset();
        for view in schema.configured() {
            let name = view.name();
            let limit = i64::try_from(view.max_series()).unwrap_or(i64::MAX);
            self.series_limit.with_label_values(&[name]).set(limit);
            self.series.with_label_values(&[name]);
            self.flow_bytes_other.with_label_values(&[name]);
            self.series_admitted.with_label_values(&[name]);
            self.series_dismissed.with_label_values(&[name]);
            for reason in Ignored::ALL {
                self.view_flows_ignored.with_label_values(&[name, reason.label()]);
                self.view_flow_bytes_ignored.with_label_values(&[name, reason.label()]);
            }
        }
    }

    /// Runs `moves`, which moves samples between push metrics. A concurrent
    /// [`gather`](Self::gather) sees all of it or nothing, so each sample is always counted in
    /// exactly one of them.
    pub fn move_samples(&self, moves: impl FnOnce(&Self)) {
        let _alone = self.push_moves.lock().unwrap_or_else(PoisonError::into_inner);
        moves(self);
    }

    /// Removes the series of an endpoint that is no longer configured.
    pub fn forget_endpoint(&self, endpoint: &str) {
        self.move_samples(|metrics| {
            forget(&metrics.push_generated, endpoint);
            forget(&metrics.push_confirmed, endpoint);
            forget(&metrics.push_dropped, endpoint);
            forget(&metrics.push_pending, endpoint);
            forget(&metrics.push_oldest_pending, endpoint);
            forget(&metrics.push_pending_bytes, endpoint);
            forget(&metrics.push_queue_full, endpoint);
            forget(&metrics.push_requests, endpoint);
            forget(&metrics.push_bytes, endpoint);
            forget(&metrics.push_last_success, endpoint);
            forget(&metrics.push_last_error, endpoint);
            forget(&metrics.push_already_stored, endpoint);
            forget(&metrics.push_held, endpoint);
            forget(&metrics.push_protocol, endpoint);
            forget(&metrics.push_seconds, endpoint);
        });
    }

    /// What is told of flows and series, as it is now; it is shown once it is [published](Self::publish).
    pub fn counted(&self) -> Arc<[Family]> {
        self.registries.counted.gather().iter().filter_map(shown).collect()
    }

    /// Shows from now on what [`Metrics::counted`] said.
    pub fn publish(&self, counted: Arc<[Family]>) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    /// All metrics that have samples, sorted by name, with what was [published](Self::publish) last.
    pub fn gather(&self) -> Vec<Family> {
        let published = Arc::clone(&self.published.lock().unwrap_or_else(PoisonError::into_inner));
        self.gather_with(&published)
    }

    /// The same with what [`Metrics::counted`] said at some time.
    pub fn gather_with(&self, counted: &[Family]) -> Vec<Family> {
        let still = self.push_moves.lock().unwrap_or_else(PoisonError::into_inner);
        let momentary = self.registries.momentary.gather();
        drop(still);
        let mut families: Vec<_> = momentary.iter().filter_map(shown).collect();
        families.extend_from_slice(counted);
        families.extend(self.process());
        families.sort_by(|one, other| one.name.cmp(&other.name));
        families
    }

    /// [`Self::PROCESS`] with the current values.
    fn process(&self) -> impl Iterator<Item = Family> {
        let usage = process::usage().ok();
        let values = [
            usage.map(|usage| usage.cpu_seconds),
            process::open_fds().ok().map(|count| count as f64),
            process::max_fds().map(|count| count as f64),
            usage.map(|usage| usage.virtual_bytes as f64),
            usage.map(|usage| usage.resident_bytes as f64),
            self.process_start,
            usage.map(|usage| usage.threads as f64),
        ];
        Self::PROCESS.iter().zip(values).filter_map(|(declared, value)| {
            let sample = Sample { suffix: "", labels: Vec::new(), value: value? };
            Some(Family {
                name: declared.name.to_owned(),
                help: declared.help.to_owned(),
                kind: declared.kind,
                samples: vec![sample],
            })
        })
    }
}

/// Removes the samples with this value of the label `endpoint`.
fn forget<B: MetricVecBuilder>(metric: &MetricVec<B>, endpoint: &str) {
    for family in metric.collect() {
        for sample in family.get_metric() {
            let labels = sample.get_label().iter().map(|label| (label.name(), label.value()));
            let labels: HashMap<&str, &str> = labels.collect();
            if labels.get("endpoint") == Some(&endpoint) {
                // Another one may have been quicker.
                drop(metric.remove(&labels));
            }
        }
    }
}

const fn process_metric(name: &'static str, kind: Kind, help: &'static str) -> Declared {
    Declared { name, help, kind, labels: &[] }
}

/// The help text of a metric is the first line of its documentation.
fn help(documentation: &[&str]) -> String {
    documentation.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("names and labels are valid, as a test shows");
    registry.register(Box::new(metric.clone())).expect("each name is declared once");
    metric
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_cpu_time_of_the_process_has_fractions() {
        let metrics = Metrics::new();
        let cpu_seconds = || {
            let families = metrics.gather();
            let cpu = families.iter().find(|family| family.name == "process_cpu_seconds_total");
            cpu.map(|family| family.samples[0].value).expect("CPU time")
        };
        // Asking takes time as well. A tick of the kernel is a hundredth of a second.
        let started = Instant::now();
        while cpu_seconds().fract() < 0.001 {
            assert!(started.elapsed() < Duration::from_secs(60), "whole seconds alone");
        }
    }

    #[test]
    fn all_metrics_of_the_process_are_there_and_make_sense() {
        let metrics = Metrics::new();
        let families = metrics.gather();
        assert!(families.is_sorted_by(|one, other| one.name < other.name));
        let value = |name| {
            let family = families.iter().find(|family| family.name == name);
            family.map(|family| family.samples[0].value).expect(name)
        };
        let now = crate::clock::since_epoch().as_secs_f64();
        for (declared, range) in Metrics::PROCESS.iter().zip([
            0.0..1e6,
            3.0..1e6,
            value("process_open_fds")..1e12,
            1e6..1e15,
            1e5..value("process_virtual_memory_bytes"),
            1e9..now + 1.0,
            1.0..1e6,
        ]) {
            let value = value(declared.name);
            assert!(range.contains(&value), "{}: {value}", declared.name);
        }
    }
}
