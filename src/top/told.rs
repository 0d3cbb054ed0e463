//! What the API is asked and tells (docs/api.md), as far as it is shown. All texts are as they came: what draws them
//! cleans them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is asked of `/api/v1/traffic`: parameters and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(pub Vec<(&'static str, String)>);

/// What a process tells at one moment.
#[derive(Debug)]
pub struct Answers {
    /// What was asked for, if it was traffic.
    pub traffic: Option<Traffic>,
    /// How the process is.
    pub status: Status,
}

/// Which views there are.
#[derive(Debug, Clone, Deserialize)]
pub struct Views {
    pub views: Vec<View>,
}

/// What can be asked of a view.
#[derive(Debug, Clone, Deserialize)]
pub struct View {
    pub name: String,
    pub labels: Vec<String>,
    pub derived_labels: Vec<String>,
    pub measures: Vec<String>,
}

impl View {
    /// Whether this is a label that may be asked for.
    pub(super) fn has(&self, label: &str) -> bool {
        self.labels.iter().chain(&self.derived_labels).any(|known| known == label)
    }
}

/// Counts and rates, by measure and unit.
pub(super) type Sums = BTreeMap<String, f64>;

/// Who talks to whom.
#[derive(Debug, Clone, Deserialize)]
pub struct Traffic {
    pub by: Vec<String>,
    pub classes: Vec<String>,
    pub over_seconds: f64,
    pub(super) total: BTreeMap<String, Sums>,
    pub(super) curve: Curve,
    pub(super) rows: Vec<Row>,
    pub(super) rest: Rest,
}

/// What the curves show, of all that is asked for.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Curve {
    pub(super) unit: String,
    /// By class, and what else is told by point.
    #[serde(flatten)]
    pub(super) points: BTreeMap<String, serde_json::Value>,
}

/// A combination of values.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    pub(super) values: Vec<String>,
    pub(super) names: Vec<Option<String>>,
    pub(super) is_other: bool,
    pub(super) share: Option<f64>,
    pub(super) curve: BTreeMap<String, Vec<f64>>,
    /// Sums, by class.
    #[serde(flatten)]
    pub(super) classes: BTreeMap<String, serde_json::Value>,
}

/// What is in no row.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rest {
    pub(super) rows: u64,
    pub(super) share: Option<f64>,
    #[serde(flatten)]
    pub(super) classes: BTreeMap<String, serde_json::Value>,
}

/// How the process is.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    pub version: String,
    pub about: String,
    pub(super) components: Vec<Component>,
    pub(super) source: Source,
    pub(super) views: Vec<OfView>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) process: Process,
}

/// A part of the program.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) reason: Option<String>,
}

/// Where flows come from.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Source {
    pub(super) behind_seconds: Option<f64>,
    pub(super) kafka: Option<Kafka>,
    pub(super) collector: Option<Collector>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Kafka {
    pub(super) lag_messages: u64,
    pub(super) lost_messages: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Collector {
    pub(super) socket_drops: u64,
    pub(super) exporters: Vec<Exporter>,
}

/// Who sends flows.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Exporter {
    #[serde(rename = "exporter")]
    pub(super) name: String,
    pub(super) hostname: Option<String>,
    pub(super) flows_per_second: Option<f64>,
    pub(super) sampling_rate: Option<u64>,
    pub(super) missing_datagrams: BTreeMap<String, u64>,
    pub(super) missing_flows: BTreeMap<String, u64>,
    pub(super) undecoded: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct OfView {
    pub(super) series: u64,
    pub(super) max_series: u64,
}

/// Where samples are pushed to.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) state: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) samples: Samples,
    pub(super) confirmed_per_second: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Samples {
    pub(super) dropped: u64,
    pub(super) pending: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<f64>,
}
