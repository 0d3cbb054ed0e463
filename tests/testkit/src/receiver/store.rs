//! Which samples real receivers store and refuse, as far as a sender can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Received};

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// The receiver it behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accepts 1.0 and 2.0. It stores a 1.0 request as a whole or not at all, and of a 2.0 request
    /// all valid samples.
    Prometheus3,
    /// Ignores Content-Type: a 2.0 request decodes to nothing.
    Prometheus2,
    /// The same, but supports zstd, says so when asked, and accepts samples in any order.
    VictoriaMetrics,
}

/// What a receiver has stored.
#[derive(Debug)]
pub struct Store {
    pub kind: Kind,
    /// Times and values of each series, in order of arrival.
    series: BTreeMap<Labels, Vec<(i64, f64)>>,
    /// Statuses with which series of these source AS are refused.
    pub poison: BTreeMap<String, u16>,
    /// Whether even a repeated newest sample is refused.
    pub strict: bool,
    /// The most samples it accepts in a request; more is 413.
    pub most: usize,
}

impl Store {
    pub(super) fn new(kind: Kind) -> Self {
        Store {
            kind,
            series: BTreeMap::new(),
            poison: BTreeMap::new(),
            strict: false,
            most: usize::MAX,
        }
    }

    /// Deletes all samples.
    pub fn forget(&mut self) {
        self.series.clear();
    }

    /// The number of samples of flow series; panics if one is stored twice.
    pub fn len(&self) -> usize {
        for (labels, samples) in &self.series {
            let times: BTreeSet<_> = samples.iter().map(|(time_ms, _)| time_ms).collect();
            assert_eq!(times.len(), samples.len(), "{labels:?} has a sample twice");
        }
        let flows = |(labels, _): &(&Labels, &Vec<_>)| labels.contains_key("source_as");
        self.series.iter().filter(flows).map(|(_, samples)| samples.len()).sum()
    }

    /// The source AS numbers with samples.
    pub fn sources(&self) -> BTreeSet<&str> {
        self.series
            .keys()
            .filter_map(|labels| labels.get("source_as"))
            .map(String::as_str)
            .collect()
    }

    pub fn write(&mut self, received: &Received) -> Answer {
        let text = |status, words: &str| Answer::Status(status, Vec::new(), words.to_owned());
        match (received.form(), self.kind) {
            ("question", Kind::VictoriaMetrics) => {
                assert!(
                    received.uri.query().unwrap_or_default().ends_with("get_vm_proto_version=1")
                );
                return text(200, "1");
            }
            ("zstd", Kind::Prometheus3) => return text(415, "only snappy"),
            ("zstd", Kind::Prometheus2) => return text(400, "snappy: corrupt input"),
            // A 1.0 request without series, which is also what 2.0 looks like when read as 1.0.
            ("question", _) | ("2.0", Kind::Prometheus2 | Kind::VictoriaMetrics) => {
                return Answer::status(204);
            }
            _ => {}
        }
        let samples = received.samples();
        if samples.len() > self.most {
            return text(413, "too large");
        }
        let results: Vec<_> = samples
            .iter()
            .map(|(labels, time_ms, value)| self.check(labels, *time_ms, *value))
            .collect();
        let first = results.iter().find_map(|result| result.as_ref().err().copied());
        let partial =
            received.form() == "2.0" && first.as_ref().is_none_or(|(status, _)| *status < 500);
        let mut written = 0;
        if first.is_none() || partial {
            for ((labels, time_ms, value), result) in samples.into_iter().zip(results) {
                if let Ok(new) = result {
                    written += 1;
                    if new {
                        self.series.entry(labels).or_default().push((time_ms, value));
                    }
                }
            }
        }
        let mut headers = Vec::new();
        if received.form() == "2.0" {
            headers.push(("x-prometheus-remote-write-samples-written", written.to_string()));
        }
        let (status, words) = first.unwrap_or((204, ""));
        Answer::Status(status, headers, words.to_owned())
    }

    /// Whether it accepts a sample, and whether the sample is new.
    fn check(
        &self,
        labels: &Labels,
        time_ms: i64,
        value: f64,
    ) -> Result<bool, (u16, &'static str)> {
        if let Some(&status) = labels.get("source_as").and_then(|source| self.poison.get(source)) {
            return Err((status, "poison"));
        }
        let Some(samples) = self.series.get(labels) else { return Ok(true) };
        if self.kind == Kind::VictoriaMetrics {
            return Ok(!samples.contains(&(time_ms, value)));
        }
        match samples.last() {
            Some(&last) if last == (time_ms, value) && !self.strict => Ok(false),
            Some(&(newest, _)) if time_ms == newest => Err((400, "duplicate sample for timestamp")),
            Some(&(newest, _)) if time_ms < newest => Err((400, "out of order sample")),
            _ => Ok(true),
        }
    }
}
