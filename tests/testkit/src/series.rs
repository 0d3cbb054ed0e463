//! Flow series and their totals: what the tests compare.

use std::collections::BTreeMap;

/// A flow series: the metric and its five labels; a missing label is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// The metric's name.
    pub metric: String,
    /// AS number of the source.
    pub source_as: String,
    /// Name of the source AS.
    pub source_as_name: String,
    /// AS number of the destination.
    pub destination_as: String,
    /// Name of the destination AS.
    pub destination_as_name: String,
    /// Host name of the device.
    pub hostname: String,
}

/// Bytes by series.
pub type Totals = BTreeMap<Series, u64>;

impl Series {
    /// A series of our page, which must have exactly these labels.
    pub fn from_page(metric: &str, mut labels: BTreeMap<String, String>) -> Self {
        let series = Self::take(metric.to_owned(), &mut labels, |name| {
            panic!("{metric} has no label {name}")
        });
        assert!(labels.is_empty(), "{metric} has labels that it should not have: {labels:?}");
        series
    }

    /// A series of a database, which drops empty labels and adds `job` and `instance`.
    pub fn from_database(mut labels: BTreeMap<String, String>) -> Self {
        let metric = labels.remove("__name__").expect("every series has a name");
        for origin in ["instance", "job"] {
            let value = labels.remove(origin);
            assert!(value.is_some_and(|value| !value.is_empty()), "{metric} has no {origin}");
        }
        let series = Self::take(metric, &mut labels, |_| String::new());
        assert!(labels.is_empty(), "{series:?} has labels that it should not have: {labels:?}");
        series
    }

    fn take(
        metric: String,
        labels: &mut BTreeMap<String, String>,
        missing: impl Fn(&str) -> String,
    ) -> Self {
        let mut take = |name: &str| labels.remove(name).unwrap_or_else(|| missing(name));
        Series {
            metric,
            source_as: take("source_as"),
            source_as_name: take("source_as_name"),
            destination_as: take("destination_as"),
            destination_as_name: take("destination_as_name"),
            hostname: take("hostname"),
        }
    }
}

/// A count that was transported as a float.
#[expect(clippy::cast_sign_loss, reason = "checked")]
pub fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value} is no count");
    value as u64
}

/// How much the values of a counter grow, as databases see it: one that is smaller than the one before
/// has grown from zero. The first one counts as where it began.
pub fn growth(values: impl IntoIterator<Item = u64>) -> u64 {
    let mut before = None;
    let grows = values.into_iter().map(|value| match before.replace(value) {
        Some(before) if before <= value => value - before,
        Some(_) => value,
        None => 0,
    });
    grows.sum()
}

/// Adds up the totals of several processes.
pub fn sum(parts: impl IntoIterator<Item = Totals>) -> Totals {
    let mut sum = Totals::new();
    for (series, bytes) in parts.into_iter().flatten() {
        *sum.entry(series).or_default() += bytes;
    }
    sum
}

/// An error that shows where `found` differs from `expected`.
pub fn compare(expected: &Totals, found: &Totals) -> Result<(), String> {
    const SHOWN: usize = 5;
    if expected == found {
        return Ok(());
    }
    let differing = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(key)));
    let differing = differing.filter(|series| expected.get(series) != found.get(series));
    let shown: Vec<_> = differing
        .clone()
        .take(SHOWN)
        .map(|series| {
            format!("\n{series:?}: {:?} instead of {:?}", found.get(series), expected.get(series))
        })
        .collect();
    Err(format!(
        "{} bytes in {} series instead of {} bytes in {}; {} series differ:{}",
        found.values().sum::<u64>(),
        found.len(),
        expected.values().sum::<u64>(),
        expected.len(),
        differing.count(),
        shown.concat()
    ))
}
