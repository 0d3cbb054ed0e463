//! What real receivers keep and refuse, as far as a sender can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Received};

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// Which receiver it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes 1.0 and 2.0. Of a 1.0 request it stores all or nothing; of a 2.0 request what it can.
    Prometheus3,
    /// Looks at no Content-Type: 2.0 decodes to nothing.
    Prometheus2,
    /// The same, but takes zstd, says so, and takes any order.
    VictoriaMetrics,
}

/// What a receiver has stored.
#[derive(Debug)]
pub struct Store {
    pub kind: Kind,
    /// Times and values of each series, as they came.
    series: BTreeMap<Labels, Vec<(i64, f64)>>,
    /// Series of these source AS numbers are refused with this status.
    pub poison: BTreeMap<String, u16>,
    /// Whether not even the newest sample may be sent again.
    pub strict: bool,
    /// Samples in a request at most; more is too large.
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

    /// Forgets all samples.
    pub fn forget(&mut self) {
        self.series.clear();
    }

    /// How many samples it has of flow series; panics if it has one twice.
    pub fn len(&self) -> usize {
        for (labels, samples) in &self.series {
            let times: BTreeSet<_> = samples.iter().map(|(time_ms, _)| time_ms).collect();
            assert_eq!(times.len(), samples.len(), "{labels:?} has a sample twice");
        }
        let flows = |(labels, _): &(&Labels, &Vec<_>)| labels.contains_key("source_as");
        self.series.iter().filter(flows).map(|(_, samples)| samples.len()).sum()
    }

    /// The source AS numbers of which it has samples.
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
            // The question is a 1.0 request without series, and so is 2.0 if it is read as 1.0.
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

    /// Whether it takes a sample, and whether that is new to it.
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
