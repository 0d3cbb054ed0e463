//! What is in use to classify flows and to fill labels, as far as advice depends on it.

use crate::{pipeline::Counting, traffic::Rule};

/// What is in use besides the records: advice names what is missing here, and nothing that is given.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) rule: Rule,
    /// Whether there is a list of the operator's networks (`--networks`).
    pub(super) has_list: bool,
    /// Whether an AS is looked up by address in tables (`--as-table`).
    pub(super) table_says_as: bool,
    /// Whether a country is.
    pub(super) table_says_country: bool,
    /// The format that all messages are taken for, if one is given.
    pub(super) only_format: Option<String>,
}

impl From<&Counting> for Setup {
    fn from(counting: &Counting) -> Self {
        let Counting { rule, tables, table_says_as, formats, .. } = counting;
        Setup {
            rule: rule.clone(),
            has_list: tables.networks.is_some(),
            table_says_as: *table_says_as,
            table_says_country: *table_says_as || tables.has_embedded_countries,
            only_format: formats.only().map(ToString::to_string),
        }
    }
}

impl Setup {
    /// Whether an AS that the record does not have is looked for by address.
    pub(super) fn finds_as(&self) -> bool {
        self.has_list || self.table_says_as
    }
}
