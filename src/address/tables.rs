//! What is known of addresses besides what records say.

use std::sync::{Arc, LazyLock};

use super::{
    networks::Networks,
    shared::Shared,
    table::{Layer, Table},
};

/// What is known of addresses besides what records say. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// The operator's own networks.
    pub networks: Option<Shared<Networks>>,
    /// AS and country.
    pub table: Option<Shared<Table>>,
    /// Whether countries are those of the embedded ranges where there is no table.
    pub has_embedded_countries: bool,
}

/// The embedded ranges, which are unpacked when they are first needed and stay.
static EMBEDDED: LazyLock<Shared<Table>> =
    LazyLock::new(|| Shared::new(Arc::new(Table::of([Layer::embedded()]))));

impl Tables {
    /// The same for users who need countries. The first use of the embedded ranges takes some tens of
    /// milliseconds.
    #[must_use]
    pub fn with_countries(self) -> Self {
        let embedded = || self.has_embedded_countries.then(|| EMBEDDED.clone());
        Tables { table: self.table.clone().or_else(embedded), ..self }
    }
}
