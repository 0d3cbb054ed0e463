//! Tables filled with flows that a test makes up.

use std::{cell::RefCell, net::IpAddr, sync::Arc};

use flow_exporter::{
    flow::{Decoded, Flow, Plan, Slot},
    pipeline::{FlowCounter, Values},
    schema::{Class, Field, KeyHead, Schema, View},
    traffic::{Counts, Rule},
};

/// The original's schema.
pub fn schema() -> Arc<Schema> {
    Arc::new(Schema::original())
}

/// The original's schema with no more series than this, besides `other` series.
pub fn limited(max_series: usize) -> Arc<Schema> {
    Arc::new(Schema::new(vec![View::original().limited(max_series)]))
}

/// The first column of the keys of a class in the original's schema.
pub fn head(class: Class) -> u32 {
    KeyHead::new(0, class).column()
}

/// Counts in a table as the pipeline does.
pub trait Record {
    /// Counts a record of flows that are classified by a rule.
    fn record(&mut self, rule: &Rule, record: &Decoded<'_>);
}

impl Record for Counts {
    fn record(&mut self, rule: &Rule, record: &Decoded<'_>) {
        match record {
            Decoded::Flow(flow) => COUNTER.with_borrow_mut(|kept| {
                let schema = self.schema();
                let fits = |kept: &Kept| Arc::ptr_eq(&kept.schema, schema) && kept.rule == *rule;
                let Kept { counter, .. } = match kept.take_if(|kept| fits(kept)) {
                    Some(fitting) => kept.insert(fitting),
                    None => kept.insert(Kept {
                        counter: FlowCounter::new(schema, rule),
                        schema: Arc::clone(schema),
                        rule: rule.clone(),
                    }),
                };
                counter.flow(&MadeUp { flow, plan: counter.plan() }, self);
            }),
            Decoded::Skipped(reason) => self.skipped[reason.index()] += 1,
            Decoded::Malformed(reason) => self.malformed[reason.index()] += 1,
        }
    }
}

/// A counter, and what it was made for.
struct Kept {
    schema: Arc<Schema>,
    rule: Rule,
    counter: FlowCounter,
}

thread_local! {
    /// The counter of the last flow: most tests have many flows of one schema.
    static COUNTER: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// A flow that no decoder has read.
struct MadeUp<'f> {
    flow: &'f Flow<'f>,
    plan: &'f Plan,
}

impl MadeUp<'_> {
    fn field(&self, slot: Slot) -> &Field {
        self.plan.fields().find(|(of, _)| *of == slot).expect("a slot of the plan").1
    }
}

impl Values for MadeUp<'_> {
    fn number(&self, slot: Slot) -> Option<u64> {
        match self.field(slot) {
            Field::SourceAs => Some(self.flow.source_as.into()),
            Field::DestinationAs => Some(self.flow.destination_as.into()),
            Field::Bytes => Some(self.flow.bytes),
            _ => None,
        }
    }

    fn text(&self, slot: Slot) -> Option<&str> {
        (*self.field(slot) == Field::Hostname).then_some(&*self.flow.hostname)
    }

    fn address(&self, _: Slot) -> Option<IpAddr> {
        None
    }
}

/// A table that has counted these flows.
pub fn counts<'f>(rule: &Rule, flows: impl IntoIterator<Item = Flow<'f>>) -> Counts {
    counts_of(schema(), rule, flows)
}

/// A table of a schema that has counted these flows.
pub fn counts_of<'f>(
    schema: Arc<Schema>,
    rule: &Rule,
    flows: impl IntoIterator<Item = Flow<'f>>,
) -> Counts {
    let mut counts = Counts::new(schema);
    for flow in flows {
        counts.record(rule, &Decoded::Flow(flow));
    }
    counts
}
