//! Finds out which labels stay empty because the records lack their fields.

use std::sync::Arc;

use crate::{
    flow::{aggregate_key, json_keys},
    pipeline::fields,
    schema::{Dimension, Field, Schema},
    traffic::Counts,
};

/// So many of the newest flows decide: from twice as many on, the older ones weigh less.
const REMEMBERED: u64 = 1000;
/// A label is lacking if less than one flow in this many has it.
const FEW: u64 = 10;

/// How many of the newest flows had the values of labels.
#[derive(Debug, Default)]
pub struct LabelTally {
    /// `None` before the first table.
    schema: Option<Arc<Schema>>,
    /// By the dimension's place in [`Schema::dimensions`].
    values: Vec<Values>,
}

/// Values of one label.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    /// Flows that were counted by it, once for each view.
    flows: u64,
    /// Flows of these without a value.
    missing: u64,
}

impl LabelTally {
    /// Adds what a table says; starts from zero if views have changed.
    pub fn add(&mut self, counts: &Counts) {
        let schema = counts.schema();
        if self.schema.as_ref().is_none_or(|known| !Arc::ptr_eq(known, schema)) {
            self.values = vec![Values::default(); schema.dimensions().len()];
            self.schema = Some(Arc::clone(schema));
        }
        for (place, dimension) in schema.dimensions().iter().enumerate() {
            let views = schema.configured().iter().zip(&counts.flows_by_view);
            let using = views.filter(|(view, _)| view.dimensions().contains(dimension));
            let values = &mut self.values[place];
            values.flows += using.map(|(_, flows)| flows).sum::<u64>();
            values.missing += counts.values_missing[place].without_field;
            while values.flows >= 2 * REMEMBERED {
                values.flows /= 2;
                values.missing /= 2;
            }
        }
    }

    /// What to do about each label that no or few flows have, in the order of
    /// [`Schema::dimensions`].
    pub fn lacking(&self) -> Vec<String> {
        let dimensions = self.schema.iter().flat_map(|schema| schema.dimensions());
        let lacking = dimensions.zip(&self.values).filter_map(|(dimension, values)| {
            let having = values.flows.saturating_sub(values.missing);
            (having * FEW < values.flows).then(|| {
                let (label, cure) = (dimension.label(), cure(dimension));
                format!("label {label}: {having} of {} flows have it; {cure}", values.flows)
            })
        });
        lacking.collect()
    }
}

/// What to do if records lack the value of a dimension.
fn cure(dimension: &Dimension) -> String {
    let fields = fields(dimension);
    // Where an address will do, its network is not needed.
    let needed = fields.iter().filter(|field| match field {
        Field::SourceNetwork | Field::SourceMask => !fields.contains(&Field::SourceAddress),
        Field::DestinationNetwork | Field::DestinationMask => {
            !fields.contains(&Field::DestinationAddress)
        }
        _ => true,
    });
    let keys: Vec<_> = needed.clone().filter_map(aggregate_key).collect();
    if keys.is_empty() {
        let names: Vec<_> = needed.flat_map(json_keys).collect();
        return format!("is there a field {} in the records?", names.join(", "));
    }
    format!("pmacct's aggregate needs {}", keys.join(", "))
}
