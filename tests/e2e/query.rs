//! Questions to the databases.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    http,
    series::{Series, Totals, whole},
};

/// A pattern of PromQL that matches the names of the flow metrics.
pub(crate) const FLOW_METRICS: &str = "flow_(receive|transmit)_bytes_total";

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<InstantSample>,
}

#[derive(Deserialize)]
struct InstantSample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// The newest value of every series that `selector` selects, by Prometheus' query API.
pub(crate) fn instant(url: &str, selector: &str) -> Result<Totals, String> {
    let body = http::get_with(&format!("{url}/api/v1/query"), &[("query", selector)])?;
    let answer: Answer = sonic_rs::from_str(&body).map_err(|error| error.to_string())?;
    let mut totals = Totals::new();
    for sample in answer.data.result {
        let value: f64 = sample.value.1.parse().expect("Prometheus sends numbers as text");
        let series = Series::from_database(sample.metric);
        let twice = totals.insert(series.clone(), whole(value));
        assert!(twice.is_none(), "{selector} selects {series:?} of several instances");
    }
    Ok(totals)
}

/// All samples of a series.
pub(crate) struct Exported {
    /// The series.
    pub(crate) series: Series,
    /// Timestamps in milliseconds and values, oldest first.
    pub(crate) samples: Vec<(i64, u64)>,
}

#[derive(Deserialize)]
struct ExportedLine {
    metric: BTreeMap<String, String>,
    values: Vec<f64>,
    timestamps: Vec<i64>,
}

/// All samples of all flow series, by the export API of VictoriaMetrics.
pub(crate) fn export(url: &str) -> Result<Vec<Exported>, String> {
    let selector = format!("{{__name__=~\"{FLOW_METRICS}\"}}");
    let body = http::get_with(&format!("{url}/api/v1/export"), &[("match[]", &selector)])?;
    let exported = |line: &str| {
        let line: ExportedLine = sonic_rs::from_str(line).map_err(|error| error.to_string())?;
        let mut samples: Vec<_> =
            line.timestamps.into_iter().zip(line.values.into_iter().map(whole)).collect();
        samples.sort_unstable();
        Ok(Exported { series: Series::from_database(line.metric), samples })
    };
    body.lines().map(exported).collect()
}
