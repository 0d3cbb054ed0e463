//! Queries to databases.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    http,
    series::{Series, Totals, whole},
};

/// A pattern of PromQL that matches the names of the flow metrics.
const FLOW_METRICS: &str = "flow_(receive|transmit)_bytes_total";

/// How far back range queries reach, which is longer than any test runs.
const RANGE: &str = "12h";

#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
struct Answer<S> {
    data: Data<S>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
struct Data<S> {
    result: Vec<S>,
}

#[derive(Deserialize)]
struct InstantSample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Deserialize)]
struct RangeOfSamples {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// The newest value of every flow series of a job, by Prometheus' query API.
pub fn instant(url: &str, job: &str) -> Result<Totals, String> {
    let mut totals = Totals::new();
    for sample in ask::<InstantSample>(url, &flows_with(&format!("job=\"{job}\"")))? {
        *totals.entry(Series::from_database(sample.metric)).or_default() += count(&sample.value.1);
    }
    Ok(totals)
}

/// All samples of all flow series of a job, by Prometheus' query API, which omits stale markers.
pub fn range(url: &str, job: &str) -> Result<Vec<Exported>, String> {
    let selector = flows_with(&format!("job=\"{job}\""));
    let ranges = ask::<RangeOfSamples>(url, &format!("{selector}[{RANGE}]"))?;
    let exported = |RangeOfSamples { metric, values }| {
        let samples = values.iter().map(|(seconds, value)| (milliseconds(*seconds), count(value)));
        let samples = samples.collect();
        Exported { series: Series::from_database(metric), samples, stale: Vec::new() }
    };
    Ok(ranges.into_iter().map(exported).collect())
}

/// The result of an instant query at a time in seconds since the epoch.
pub fn evaluate(
    url: &str,
    query: &str,
    time: u64,
) -> Result<BTreeMap<BTreeMap<String, String>, f64>, String> {
    let parameters = [("query", query.to_owned()), ("time", time.to_string())];
    let body = http::get_with(&format!("{url}/api/v1/query"), &parameters)?;
    let answer: Answer<InstantSample> =
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
    let value = |sample: InstantSample| {
        (sample.metric, sample.value.1.parse().expect("Prometheus sends numbers as text"))
    };
    Ok(answer.data.result.into_iter().map(value).collect())
}

/// What a query that adds up counts comes to now; 0 where it finds none. VictoriaMetrics adds up
/// with an error far below 1.
pub fn newest_sum(url: &str, query: &str) -> Result<u64, String> {
    let result = ask::<InstantSample>(url, query)?;
    let sum = result.first().map(|sample| sample.value.1.parse::<f64>());
    let sum = sum.transpose().map_err(|error| error.to_string())?.unwrap_or_default();
    Ok(whole(sum.round()))
}

/// A selector of flow series, by a label with a value.
fn flows_with(matcher: &str) -> String {
    format!("{{__name__=~\"{FLOW_METRICS}\", {matcher}}}")
}

fn ask<S: for<'de> Deserialize<'de>>(url: &str, query: &str) -> Result<Vec<S>, String> {
    let body = http::get_with(&format!("{url}/api/v1/query"), &[("query", query.to_owned())])?;
    let answer: Answer<S> = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    Ok(answer.data.result)
}

fn count(value: &str) -> u64 {
    whole(value.parse().expect("Prometheus sends numbers as text"))
}

/// A time in milliseconds, which Prometheus sends as seconds with a fraction.
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// All samples of a series of one instance.
pub struct Exported {
    /// The series.
    pub series: Series,
    /// Timestamps in milliseconds and values, oldest first.
    pub samples: Vec<(i64, u64)>,
    /// The timestamps of stale markers, where the database shows them, oldest first.
    pub stale: Vec<i64>,
}

#[derive(Deserialize)]
struct ExportedLine {
    metric: BTreeMap<String, String>,
    /// A stale marker is null.
    values: Vec<Option<f64>>,
    timestamps: Vec<i64>,
}

/// All samples of those flow series that any of the matchers matches (a label with a value, or
/// nothing), by the export API of VictoriaMetrics.
pub fn export(url: &str, matchers: &[&str]) -> Result<Vec<Exported>, String> {
    let selectors = matchers.iter().map(|matcher| flows_with(matcher));
    let selectors: Vec<_> = selectors.map(|selector| ("match[]", selector)).collect();
    let body = http::get_with(&format!("{url}/api/v1/export"), &selectors)?;
    let exported = |line: &str| {
        let line: ExportedLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let (mut samples, mut stale) = (Vec::new(), Vec::new());
        for (time, value) in line.timestamps.into_iter().zip(line.values) {
            match value {
                Some(value) => samples.push((time, whole(value))),
                None => stale.push(time),
            }
        }
        samples.sort_unstable();
        stale.sort_unstable();
        // If an answer got lost, the same sample was sent and stored again.
        samples.dedup();
        stale.dedup();
        Ok(Exported { series: Series::from_database(line.metric), samples, stale })
    };
    body.lines().map(exported).collect()
}

/// The newest value of every series, summed over instances.
pub fn newest(all: &[Exported]) -> Totals {
    let mut totals = Totals::new();
    for exported in all {
        let newest = exported.samples.last().map_or(0, |&(_, value)| value);
        *totals.entry(exported.series.clone()).or_default() += newest;
    }
    totals
}

/// Asserts that no series falls or has two samples with the same time, either of which `rate()`
/// would take for a reset.
pub fn assert_rising(all: &[Exported]) {
    for Exported { series, samples, .. } in all {
        let fall = samples.windows(2).find(|pair| pair[1].0 <= pair[0].0 || pair[1].1 < pair[0].1);
        assert_eq!(fall, None, "{series:?} falls between these samples");
    }
}

/// Asserts that every series begins with zero, so that `rate()` sees its first increment.
pub fn assert_zero_first(all: &[Exported]) {
    for Exported { series, samples, .. } in all {
        assert_eq!(samples.first().map(|&(_, value)| value), Some(0), "{series:?} begins so");
    }
}
