//! How the program is, from what its components and metrics say.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    clock::{self, UnixMs},
    health::State,
    history::History,
    metrics::{Family, Sample},
};

use super::{
    super::state::{Hostnames, ServerState},
    parameters::OfStatus,
};

/// How the program is.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    about: String,
    time: f64,
    is_ready: bool,
    components: Vec<Component>,
    source: Source,
    flows: Flows,
    views: Vec<OfView>,
    history: Option<Kept>,
    endpoints: Vec<Endpoint>,
    process: Process,
}

#[derive(Debug, Serialize)]
struct Component {
    name: String,
    state: &'static str,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Source {
    counted_until: Option<f64>,
    behind_seconds: Option<f64>,
    newest_flow: Option<f64>,
    messages: u128,
    message_bytes: u128,
    late_messages: u128,
    kafka: Option<Kafka>,
    collector: Option<Collector>,
}

#[derive(Debug, Serialize)]
struct Kafka {
    partitions: u128,
    lag_messages: u128,
    lost_messages: u128,
    abandoned_messages: u128,
    uncommitted_messages: u128,
    brokers: BTreeMap<String, u128>,
}

#[derive(Debug, Serialize)]
struct Collector {
    socket_drops: u128,
    refused_datagrams: BTreeMap<String, u128>,
    exporter_count: usize,
    troubled_exporter_count: usize,
    missing_datagrams: u128,
    missing_flows: u128,
    exporters: Vec<Exporter>,
}

#[derive(Debug, Serialize)]
struct Exporter {
    #[serde(rename = "exporter")]
    name: String,
    hostname: Option<String>,
    last_datagram: Option<f64>,
    datagrams: u128,
    flows: u128,
    datagrams_per_second: Option<f64>,
    flows_per_second: Option<f64>,
    sampling_rate: Option<u128>,
    unknown_rate_flows: u128,
    missing_datagrams: BTreeMap<String, u128>,
    missing_flows: BTreeMap<String, u128>,
    undecoded: BTreeMap<String, u128>,
    awaited_templates: u128,
    dropped_samples: u128,
    clock_skew_seconds: Option<f64>,
}

impl Exporter {
    /// After so many seconds without a datagram, an exporter is silent: templates come more often than that.
    const SILENT_SECONDS: f64 = 300.0;

    /// Whether it is silent, or its flows are not counted because a template is missing.
    fn is_in_trouble(&self, now: f64) -> bool {
        let is_silent = self.last_datagram.is_some_and(|last| now - last > Self::SILENT_SECONDS);
        is_silent || self.awaited_templates > 0
    }
}

#[derive(Debug, Serialize)]
struct Flows {
    counted: u128,
    bytes: u128,
    ignored: BTreeMap<String, u128>,
    malformed: BTreeMap<String, u128>,
}

#[derive(Debug, Serialize)]
struct OfView {
    name: String,
    series: u128,
    max_series: u128,
    other_bytes: u128,
}

#[derive(Debug, Serialize)]
struct Kept {
    since: Option<f64>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    name: String,
    state: Option<&'static str>,
    reason: Option<String>,
    protocol: Option<String>,
    compression: Option<String>,
    is_held: bool,
    samples: Samples,
    confirmed_per_second: Option<f64>,
    pending_bytes: u128,
    oldest_pending: Option<f64>,
    queue_full_seconds: Option<f64>,
    last_success: Option<f64>,
    last_error: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Samples {
    generated: u128,
    confirmed: u128,
    dropped: u128,
    pending: u128,
}

#[derive(Debug, Serialize)]
struct Process {
    resident_bytes: Option<u128>,
    cpu_seconds: Option<f64>,
    started: Option<f64>,
}

/// All metrics, by name.
struct Told<'f>(HashMap<&'f str, &'f Family>);

impl<'f> Told<'f> {
    /// The samples of a metric that have this label.
    fn samples(
        &self,
        name: &str,
        with: Option<(&'f str, &'f str)>,
    ) -> impl Iterator<Item = &'f Sample> + use<'f> {
        let samples = self.0.get(name).map_or(&[][..], |family| &family.samples);
        samples.iter().filter(move |sample| {
            with.is_none_or(|(label, value)| label_of(sample, label) == Some(value))
        })
    }

    /// The sum of all samples of a metric.
    fn sum(&self, name: &str) -> u128 {
        self.samples(name, None).map(|sample| whole(sample.value)).sum()
    }

    /// The value of the sample with this label.
    fn of(&self, name: &str, label: &'f str, value: &'f str) -> Option<f64> {
        self.samples(name, Some((label, value))).map(|sample| sample.value).next()
    }

    /// The values of samples by another label; those that are 0 are left out.
    fn by(&self, name: &str, by: &str) -> BTreeMap<String, u128> {
        let samples = self.samples(name, None).filter(|sample| sample.value > 0.0);
        samples
            .filter_map(|sample| Some((label_of(sample, by)?.to_owned(), whole(sample.value))))
            .collect()
    }

    /// All values of a label of a metric.
    fn values(&self, name: &str, label: &'f str) -> BTreeSet<&'f str> {
        self.samples(name, None).filter_map(|sample| label_of(sample, label)).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.samples(name, None).next().is_some()
    }

    /// The samples of a metric by the exporter they are of: there may be a thousand.
    fn by_exporter(&self, name: &str) -> ByExporter<'f> {
        let mut all = HashMap::<_, Vec<_>>::new();
        for sample in self.samples(name, None) {
            if let Some(exporter) = label_of(sample, "exporter") {
                all.entry(exporter).or_default().push(sample);
            }
        }
        ByExporter(all)
    }
}

struct ByExporter<'f>(HashMap<&'f str, Vec<&'f Sample>>);

impl ByExporter<'_> {
    fn samples(&self, exporter: &str) -> impl Iterator<Item = &Sample> {
        self.0.get(exporter).into_iter().flatten().copied()
    }

    /// The only value.
    fn of(&self, exporter: &str) -> Option<f64> {
        self.samples(exporter).map(|sample| sample.value).next()
    }

    /// The values by another label; those that are 0 are left out.
    fn by(&self, exporter: &str, label: &str) -> BTreeMap<String, u128> {
        let samples = self.samples(exporter).filter(|sample| sample.value > 0.0);
        samples
            .filter_map(|sample| Some((label_of(sample, label)?.to_owned(), whole(sample.value))))
            .collect()
    }
}

fn label_of<'s>(sample: &'s Sample, label: &str) -> Option<&'s str> {
    let found = sample.labels.iter().find(|(name, _)| name == label);
    found.map(|(_, value)| value.as_str())
}

/// A count.
#[expect(clippy::cast_sign_loss, reason = "counts are not negative")]
fn whole(value: f64) -> u128 {
    value as u128
}

/// A time that is 0 while there is none.
fn time(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// The component of an endpoint begins with this.
const PUSH: &str = "push to ";

/// How the program is, now.
pub(super) fn of(state: &ServerState, rates: &Rates, asked: OfStatus) -> Status {
    let snapshot = state.reader.newest();
    let families = match &snapshot {
        Some(snapshot) => state.metrics.gather_with(snapshot.own()),
        None => state.metrics.gather(),
    };
    let told = Told(families.iter().map(|family| (&*family.name, family)).collect());
    let now = clock::since_epoch().as_secs_f64();
    let components = state.health.components();
    let extent = state.history.as_ref().map(History::extent);
    let counted_until = snapshot.as_ref().and_then(|snapshot| snapshot.time);
    let has_collector = components.iter().any(|(name, _)| name == "collector");
    let rate = rates.since(Instant::now(), counters(&told));
    Status {
        version: env!("CARGO_PKG_VERSION"),
        about: state.about.borrow().clone(),
        time: now,
        is_ready: snapshot.is_some() && components.iter().all(|(_, state)| state.is_ready()),
        source: Source {
            counted_until: counted_until.map(UnixMs::seconds),
            behind_seconds: counted_until.map(|until| (now - until.seconds()).max(0.0)),
            newest_flow: extent.and_then(|extent| extent.newest_flow).map(UnixMs::seconds),
            messages: told.sum("flow_exporter_messages_total"),
            message_bytes: told.sum("flow_exporter_message_bytes_total"),
            late_messages: told.sum("flow_exporter_late_messages_total"),
            kafka: kafka(&told),
            collector: has_collector.then(|| {
                let exporters = exporters(&told, &rate, &state.hostnames);
                collector(&told, exporters, asked.exporters, now)
            }),
        },
        flows: Flows {
            counted: told.sum("flow_exporter_flows_total"),
            bytes: told.sum("flow_exporter_flow_bytes_total"),
            ignored: told.by("flow_exporter_flows_ignored_total", "reason"),
            malformed: told.by("flow_exporter_decode_errors_total", "reason"),
        },
        views: views(&told),
        history: extent.map(|extent| Kept {
            since: extent.since.map(UnixMs::seconds),
            bytes: extent.bytes,
            max_bytes: extent.max_bytes,
        }),
        endpoints: endpoints(&told, &components, &rate),
        process: Process {
            resident_bytes: one(&told, "process_resident_memory_bytes").map(whole),
            cpu_seconds: one(&told, "process_cpu_seconds_total"),
            started: one(&told, "process_start_time_seconds"),
        },
        components: components
            .iter()
            .map(|(name, state)| Component {
                name: name.clone(),
                state: state.word(),
                reason: state.reason().map(str::to_owned),
            })
            .collect(),
    }
}

/// The only value of a metric.
fn one(told: &Told<'_>, name: &str) -> Option<f64> {
    told.samples(name, None).next().map(|sample| sample.value)
}

fn kafka(told: &Told<'_>) -> Option<Kafka> {
    let is_used = told.sum("flow_exporter_kafka_partitions") > 0
        || told.has("flow_exporter_kafka_brokers")
        || told.has("flow_exporter_kafka_lag_messages");
    is_used.then(|| Kafka {
        partitions: told.sum("flow_exporter_kafka_partitions"),
        lag_messages: told.sum("flow_exporter_kafka_lag_messages"),
        lost_messages: told.sum("flow_exporter_kafka_messages_lost_total"),
        abandoned_messages: told.sum("flow_exporter_kafka_messages_abandoned_total"),
        uncommitted_messages: told.sum("flow_exporter_kafka_uncommitted_messages"),
        brokers: told.by("flow_exporter_kafka_brokers", "state"),
    })
}

const DATAGRAMS: &str = "flow_exporter_collector_datagrams_total";
const FLOWS: &str = "flow_exporter_collector_flows_total";
const MISSING_DATAGRAMS: &str = "flow_exporter_collector_missing_datagrams_total";
const MISSING_FLOWS: &str = "flow_exporter_collector_missing_flows_total";
const CONFIRMED: &str = "flow_exporter_remote_write_samples_confirmed_total";

fn collector(told: &Told<'_>, exporters: Vec<Exporter>, most: usize, now: f64) -> Collector {
    Collector {
        socket_drops: told.sum("flow_exporter_collector_socket_drops_total"),
        refused_datagrams: told.by("flow_exporter_collector_datagrams_refused_total", "reason"),
        exporter_count: exporters.len(),
        troubled_exporter_count: exporters.iter().filter(|each| each.is_in_trouble(now)).count(),
        missing_datagrams: told.sum(MISSING_DATAGRAMS),
        missing_flows: told.sum(MISSING_FLOWS),
        exporters: foremost(exporters, most, now),
    }
}

/// All that have entries of their own, by address.
fn exporters(
    told: &Told<'_>,
    rate: &impl Fn(&'static str, &str) -> Option<f64>,
    hostnames: &Hostnames,
) -> Vec<Exporter> {
    let datagrams = told.by_exporter(DATAGRAMS);
    let flows = told.by_exporter(FLOWS);
    let sampling_rates = told.by_exporter("flow_exporter_sampling_rate");
    let unknown_rates =
        told.by_exporter("flow_exporter_collector_unknown_sampling_rate_flows_total");
    let missing_datagrams = told.by_exporter(MISSING_DATAGRAMS);
    let missing_flows = told.by_exporter(MISSING_FLOWS);
    let undecoded = told.by_exporter("flow_exporter_collector_undecoded_total");
    let awaited_templates = told.by_exporter("flow_exporter_collector_templates_awaited");
    let samples = told.by_exporter("flow_exporter_collector_sflow_samples_total");
    let last_datagrams =
        told.by_exporter("flow_exporter_collector_last_datagram_timestamp_seconds");
    let clock_skews = told.by_exporter("flow_exporter_collector_clock_skew_seconds");
    let exporter = |name: &&str| {
        let name = *name;
        let count = |samples: &ByExporter<'_>| samples.of(name).map_or(0, whole);
        Exporter {
            datagrams: count(&datagrams),
            flows: count(&flows),
            datagrams_per_second: rate(DATAGRAMS, name),
            flows_per_second: rate(FLOWS, name),
            sampling_rate: sampling_rates.of(name).map(whole),
            unknown_rate_flows: count(&unknown_rates),
            missing_datagrams: missing_datagrams.by(name, "cause"),
            missing_flows: missing_flows.by(name, "cause"),
            undecoded: undecoded.by(name, "reason"),
            awaited_templates: count(&awaited_templates),
            dropped_samples: samples.by(name, "kind").remove("dropped").unwrap_or(0),
            clock_skew_seconds: clock_skews.of(name),
            hostname: name.parse().ok().and_then(|address| hostnames.of(address)),
            last_datagram: last_datagrams.of(name),
            name: name.to_owned(),
        }
    };
    told.values(DATAGRAMS, "exporter").iter().map(exporter).collect()
}

/// No more than `most` of these: first those in trouble, which take no more than half of the places, then those that
/// send most.
fn foremost(mut exporters: Vec<Exporter>, most: usize, now: f64) -> Vec<Exporter> {
    if exporters.len() <= most {
        return exporters;
    }
    exporters.sort_by(|one, other| {
        let by_rate = other.flows_per_second.partial_cmp(&one.flows_per_second);
        by_rate.unwrap_or(Ordering::Equal).then(other.flows.cmp(&one.flows))
    });
    let mut places = most / 2;
    // This keeps the order of those that are alike, and looks at each once.
    exporters.sort_by_cached_key(|each| {
        let comes_first = places > 0 && each.is_in_trouble(now);
        places -= usize::from(comes_first);
        !comes_first
    });
    exporters.truncate(most);
    exporters
}

fn views(told: &Told<'_>) -> Vec<OfView> {
    let of_view = |name: &&str| {
        let value = |metric| told.of(metric, "view", name).map_or(0, whole);
        OfView {
            name: (*name).to_owned(),
            series: value("flow_exporter_series"),
            max_series: value("flow_exporter_series_limit"),
            other_bytes: value("flow_exporter_flow_bytes_other_total"),
        }
    };
    told.values("flow_exporter_series_limit", "view").iter().map(of_view).collect()
}

fn endpoints(
    told: &Told<'_>,
    components: &[(String, State)],
    rate: &impl Fn(&'static str, &str) -> Option<f64>,
) -> Vec<Endpoint> {
    let named =
        components.iter().filter_map(|(name, state)| Some((name.strip_prefix(PUSH)?, state)));
    let endpoint = |(name, state): (&str, &State)| {
        let value = |metric| told.of(metric, "endpoint", name);
        let sum = |metric| {
            let samples = told.samples(metric, Some(("endpoint", name)));
            samples.map(|sample| whole(sample.value)).sum()
        };
        let mut forms =
            told.samples("flow_exporter_remote_write_protocol_info", Some(("endpoint", name)));
        let form = forms.find(|form| form.value > 0.0);
        let of_form = |label| form.and_then(|form| label_of(form, label)).map(str::to_owned);
        Endpoint {
            name: name.to_owned(),
            state: Some(state.word()),
            reason: state.reason().map(str::to_owned),
            protocol: of_form("protocol"),
            compression: of_form("compression"),
            is_held: sum("flow_exporter_remote_write_held") > 0,
            samples: Samples {
                generated: sum("flow_exporter_remote_write_samples_generated_total"),
                confirmed: sum(CONFIRMED),
                dropped: sum("flow_exporter_remote_write_samples_dropped_total"),
                pending: sum("flow_exporter_remote_write_samples_pending"),
            },
            confirmed_per_second: rate(CONFIRMED, name),
            pending_bytes: sum("flow_exporter_remote_write_pending_bytes"),
            oldest_pending: value("flow_exporter_remote_write_oldest_pending_timestamp_seconds")
                .and_then(time),
            queue_full_seconds: value("flow_exporter_remote_write_queue_full_seconds")
                .filter(|seconds| seconds.is_finite()),
            last_success: value("flow_exporter_remote_write_last_success_timestamp_seconds")
                .and_then(time),
            last_error: value("flow_exporter_remote_write_last_error_timestamp_seconds")
                .and_then(time),
        }
    };
    named.map(endpoint).collect()
}

/// Counters whose rates are told, by metric and label value.
type Counters = HashMap<(&'static str, String), f64>;

fn counters(told: &Told<'_>) -> Counters {
    let mut counters = Counters::new();
    for (metric, label) in [(DATAGRAMS, "exporter"), (FLOWS, "exporter"), (CONFIRMED, "endpoint")] {
        for sample in told.samples(metric, None) {
            if let Some(value) = label_of(sample, label) {
                counters.insert((metric, value.to_owned()), sample.value);
            }
        }
    }
    counters
}

/// What counters were some time ago: nothing is kept unless somebody asks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    kept: Mutex<Vec<(Instant, Counters)>>,
}

impl Rates {
    /// Rates are taken over at least this long.
    const SHORTEST: Duration = Duration::from_secs(10);
    /// What is older says nothing about now.
    const OLDEST: Duration = Duration::from_secs(120);

    /// The rates since an earlier time, by metric and label value; each is `None` if it is not known.
    fn since(
        &self,
        now: Instant,
        counters: Counters,
    ) -> impl Fn(&'static str, &str) -> Option<f64> + use<> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let age = move |at: Instant| now.saturating_duration_since(at);
        kept.retain(|(at, _)| age(*at) <= Self::OLDEST);
        // Of those that are old enough, only the newest is needed.
        let enough = kept.iter().rposition(|(at, _)| age(*at) >= Self::SHORTEST);
        kept.drain(..enough.unwrap_or(0));
        let before = enough.and_then(|_| kept.first().cloned());
        let is_due = kept.last().is_none_or(|(at, _)| age(*at) >= Self::SHORTEST / 2);
        if is_due {
            kept.push((now, counters.clone()));
        }
        drop(kept);
        move |metric, value| {
            let (at, before) = before.as_ref()?;
            let key = (metric, value.to_owned());
            let grown = counters.get(&key)? - before.get(&key)?;
            let rate = grown / age(*at).as_secs_f64();
            Some((rate.max(0.0) * 1000.0).round() / 1000.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_ten_seconds_or_more_and_of_no_old_times() {
        let rates = Rates::default();
        let begin = Instant::now();
        let ask = |seconds: u64, value: f64| {
            let counters = Counters::from([((FLOWS, "a".to_owned()), value)]);
            let rate = rates.since(begin + Duration::from_secs(seconds), counters);
            assert_eq!(rate(FLOWS, "b"), None);
            rate(FLOWS, "a")
        };
        assert_eq!(ask(0, 100.0), None);
        assert_eq!(ask(5, 100.0), None);
        assert_eq!(ask(10, 200.0), Some(10.0));
        assert_eq!(ask(15, 300.0), Some(20.0));
        // Of the time since 10 seconds.
        assert_eq!(ask(20, 300.0), Some(10.0));
        // An endpoint that is started again counts on; one that is new begins from zero.
        assert_eq!(ask(30, 0.0), Some(0.0));
        assert_eq!(ask(1000, 500.0), None);
        assert_eq!(ask(1010, 510.0), Some(1.0));
    }
}
