//! Metrics as they are declared, and as they are shown.

use prometheus::proto::{MetricFamily, MetricType};

/// What kind of metric a [`Family`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; the name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Samples are `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// The type as exposition formats call it.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The declaration of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// The name.
    pub name: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// The names of the labels.
    pub labels: &'static [&'static str],
}

/// One sample line of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What follows the family's name: nothing, `_bucket`, `_sum` or `_count`.
    pub suffix: &'static str,
    /// Label names and values, not escaped.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// A metric with all its current samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The metric's name; a counter's ends in `_total`.
    pub name: String,
    /// The help text, not escaped.
    pub help: String,
    /// The type.
    pub kind: Kind,
    /// The samples, in a stable order.
    pub samples: Vec<Sample>,
}

/// A metric of the library; `None` if it is of a kind that is not used here.
pub(super) fn shown(family: &MetricFamily) -> Option<Family> {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        _ => return None,
    };
    let mut samples = Vec::new();
    for metric in family.get_metric() {
        let labels: Vec<_> = metric
            .get_label()
            .iter()
            .map(|label| (label.name().to_owned(), label.value().to_owned()))
            .collect();
        match kind {
            Kind::Counter => {
                samples.push(Sample {
                    suffix: "",
                    labels,
                    value: metric.get_counter().get_value(),
                });
            }
            Kind::Gauge => {
                samples.push(Sample { suffix: "", labels, value: metric.get_gauge().get_value() });
            }
            Kind::Histogram => {
                let histogram = metric.get_histogram();
                let count = histogram.get_sample_count() as f64;
                let mut bucket = |bound: String, value: f64| {
                    let mut labels = labels.clone();
                    labels.push(("le".to_owned(), bound));
                    samples.push(Sample { suffix: "_bucket", labels, value });
                };
                for each in histogram.get_bucket() {
                    bucket(format!("{:?}", each.upper_bound()), each.cumulative_count() as f64);
                }
                bucket("+Inf".to_owned(), count);
                let sum = histogram.get_sample_sum();
                samples.push(Sample { suffix: "_sum", labels: labels.clone(), value: sum });
                samples.push(Sample { suffix: "_count", labels, value: count });
            }
        }
    }
    Some(Family { name: family.name().to_owned(), help: family.help().to_owned(), kind, samples })
}
