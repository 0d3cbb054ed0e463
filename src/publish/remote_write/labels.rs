//! Labels that the operator adds to every series.

use crate::schema::{MAX_VALUE_BYTES, Schema, View};

/// External labels take no more than this together, names and values, in bytes.
const MAX_EXTERNAL_BYTES: usize = 32 << 10;

/// The label that holds the metric's name.
pub(super) const METRIC_NAME: &str = "__name__";

/// Why labels can't be added to the series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Remote-Write 1.0, Labels: names match `[a-zA-Z_][a-zA-Z0-9_]*`.
    #[error(
        "external label {0:?}: a label's name has letters, digits and underscores, and does not \
         begin with a digit"
    )]
    Name(String),
    /// The same name twice.
    #[error("external label {0:?} is given twice: give it once")]
    Twice(String),
    /// A name or a value that is longer than those of flows.
    #[error(
        "external label {name:?}: its {part} has {length} bytes, and no more than {MAX_VALUE_BYTES} \
         are sent: shorten it"
    )]
    TooLong {
        /// The beginning of the name.
        name: String,
        /// Name or value.
        part: &'static str,
        /// How long it is, in bytes.
        length: usize,
    },
    /// More than every series can carry.
    #[error(
        "external labels: together they have {0} bytes, and no more than {MAX_EXTERNAL_BYTES} are \
         sent with every series: leave some out"
    )]
    TooMany(usize),
    /// A name that the series have already.
    #[error("external label {0:?}: the series have a label of this name already, choose another")]
    Taken(String),
}

/// Labels that are the same for all series of an endpoint: valid, unique, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalLabels {
    sorted: Vec<(String, String)>,
}

impl ExternalLabels {
    /// Checks `labels` (name, value) for series of `schema`. A label without a value is left out,
    /// since to Prometheus it is the same as no label.
    pub fn new(labels: &[(String, String)], schema: &Schema) -> Result<Self, LabelError> {
        let mut sorted = labels.to_vec();
        sorted.sort();
        for pair in sorted.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(LabelError::Twice(pair[0].0.clone()));
            }
        }
        let mut bytes = 0;
        for (name, value) in &sorted {
            for (part, text) in [("name", name), ("value", value)] {
                if text.len() > MAX_VALUE_BYTES {
                    let name = name.chars().take(64).collect();
                    return Err(LabelError::TooLong { name, part, length: text.len() });
                }
                bytes += text.len();
            }
            if !is_label_name(name) {
                return Err(LabelError::Name(name.clone()));
            }
            if series_labels(schema).any(|taken| taken == name) {
                return Err(LabelError::Taken(name.clone()));
            }
        }
        if bytes > MAX_EXTERNAL_BYTES {
            return Err(LabelError::TooMany(bytes));
        }
        sorted.retain(|(_, value)| !value.is_empty());
        Ok(ExternalLabels { sorted })
    }

    /// The labels of a series (name, value; sorted by name) with these added, sorted by name and
    /// without those that have no value. Where both have a name, the series' own value stays.
    pub fn merge<'l>(
        &'l self,
        series: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Vec<(&'l str, &'l str)> {
        let mut external = self.sorted.iter().map(|(name, value)| (&**name, &**value)).peekable();
        let mut merged = Vec::new();
        for (name, value) in series {
            while let Some(label) = external.next_if(|&(external, _)| external < name) {
                merged.push(label);
            }
            external.next_if(|&(external, _)| external == name);
            if !value.is_empty() {
                merged.push((name, value));
            }
        }
        merged.extend(external);
        merged
    }
}

/// The names of the labels of series of `schema`, the metric's name included.
fn series_labels(schema: &Schema) -> impl Iterator<Item = &str> {
    let labels = schema.configured().iter().flat_map(View::labels);
    std::iter::once(METRIC_NAME).chain(labels.map(|label| &*label.name))
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
