//! What a history answers, in the shape of the JSON of `/api/v1/traffic` (docs/api.md).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::schema::Measure;

/// Who talked to whom. Keys of maps are the names of classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The view.
    pub view: String,
    /// The labels that tell rows apart.
    pub by: Vec<String>,
    /// The classes.
    pub classes: Vec<&'static str>,
    /// What rows are ordered by and curves show.
    pub measure: &'static str,
    /// The time up to which all is counted, in seconds since the epoch.
    pub time: Option<f64>,
    /// The time from which on all is known, in seconds since the epoch.
    pub since: Option<f64>,
    /// The time over which sums and rates are taken; 0 if nothing is known yet.
    pub over_seconds: f64,
    /// What passed the filters.
    pub total: ClassSums,
    /// The curve of the total.
    pub curve: Curve,
    /// The heaviest rows.
    pub rows: Vec<Row>,
    /// All of the total that is in no row.
    pub rest: Rest,
}

/// Sums by class.
pub type ClassSums = BTreeMap<&'static str, Sums>;

/// Rates by class, for each point of the curve.
pub(super) type ClassCurves = BTreeMap<&'static str, Vec<f64>>;

/// What was counted within a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// By measure.
    pub counted: Vec<(Measure, u128)>,
    /// The time, in seconds.
    pub seconds: f64,
}

/// When the points of all curves are, and the curve of the total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// The ends of the points, in seconds since the epoch, oldest first.
    pub time: Vec<f64>,
    /// How long before it each began.
    pub seconds: Vec<f64>,
    /// What the numbers are.
    pub unit: &'static str,
    /// By class.
    #[serde(flatten)]
    pub classes: ClassCurves,
}

/// What has the same values of the labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The values.
    pub values: Vec<String>,
    /// Of each value that is an AS, the name.
    pub names: Vec<Option<String>>,
    /// Whether it is for what gets no series of its own.
    pub is_other: bool,
    /// The part of the total, from 0 to 1.
    pub share: Option<f64>,
    /// By class.
    #[serde(flatten)]
    pub classes: ClassSums,
    /// By class.
    pub curve: ClassCurves,
}

/// What is in no row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rest {
    /// How many rows it would be.
    pub rows: usize,
    /// The part of the total, from 0 to 1.
    pub share: Option<f64>,
    /// By class.
    #[serde(flatten)]
    pub classes: ClassSums,
    /// By class.
    pub curve: ClassCurves,
}

/// What a rate of a measure is called.
pub(super) const fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::Bytes => "bits_per_second",
        Measure::Packets => "packets_per_second",
        Measure::Flows => "flows_per_second",
    }
}

/// The rate of what was counted of a measure within a time; with as many digits as mean something.
pub(super) fn rate(measure: Measure, counted: u128, seconds: f64) -> f64 {
    if seconds <= 0.0 {
        return 0.0;
    }
    let factor = if measure == Measure::Bytes { 8.0 } else { 1.0 };
    let rate = counted as f64 * factor / seconds;
    if rate < 1000.0 { (rate * 1000.0).round() / 1000.0 } else { rate.round() }
}

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 * self.counted.len()))?;
        for &(measure, counted) in &self.counted {
            map.serialize_entry(measure.name(), &counted)?;
            map.serialize_entry(unit(measure), &rate(measure, counted, self.seconds))?;
        }
        map.end()
    }
}
