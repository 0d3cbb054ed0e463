//! Who writes the records: advice says what that must do.

use crate::{
    flow::{aggregate_key, json_keys},
    schema::Field,
};

/// Who writes the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// pmacct.
    Pmacct,
    /// Another collector, or the exporters themselves.
    Other,
}

impl Writer {
    /// What is needed so that records have these fields, as a sentence.
    pub(super) fn needs(self, fields: &[Field]) -> String {
        let keys: Vec<_> = fields.iter().filter_map(aggregate_key).collect();
        match self {
            Writer::Pmacct if keys.is_empty() => {
                format!("is there a field {} in the records?", self.names(fields))
            }
            Writer::Pmacct => format!("pmacct's aggregate needs {}", keys.join(", ")),
            Writer::Other => format!("the records need {}", self.names(fields)),
        }
    }

    /// What the fields are called.
    pub(super) fn names(self, fields: &[Field]) -> String {
        let names: Vec<_> = match self {
            Writer::Pmacct => fields.iter().flat_map(json_keys).collect(),
            Writer::Other => fields.iter().map(Field::name).collect(),
        };
        names.join(", ")
    }
}
