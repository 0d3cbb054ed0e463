//! Tables filled with flows that a test makes up.

use std::sync::Arc;

use flow_exporter::{
    flow::{Decoded, Flow},
    pipeline::Pipeline,
    schema::{Class, KeyHead, Schema},
    traffic::{Counts, Rule},
};

/// The original's schema.
pub fn schema() -> Arc<Schema> {
    Arc::new(Schema::original())
}

/// The first column of the keys of a class in the original's schema.
pub fn head(class: Class) -> u32 {
    KeyHead::new(0, class).column()
}

/// Counts in a table as the pipeline does.
pub trait Record {
    /// Counts a record of flows that are classified by a rule.
    fn record(&mut self, rule: Rule, record: &Decoded<'_>);
}

impl Record for Counts {
    fn record(&mut self, rule: Rule, record: &Decoded<'_>) {
        Pipeline::new(&Arc::clone(self.schema()), rule).record(record, self);
    }
}

/// A table that has counted these flows.
pub fn counts<'f>(rule: Rule, flows: impl IntoIterator<Item = Flow<'f>>) -> Counts {
    let mut counts = Counts::new(schema());
    let pipeline = Pipeline::new(counts.schema(), rule);
    for flow in flows {
        pipeline.record(&Decoded::Flow(flow), &mut counts);
    }
    counts
}
