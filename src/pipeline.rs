//! From payloads to counts: records are decoded, flows classified, and counted in each view.
//!
//! All decisions about a flow are made here, between the decoder, which knows formats, and the
//! worker's table, which only adds. The fields that are wanted are compiled once into slots of the
//! decoder's rows, so nothing is looked up by name for a record.

use crate::{
    flow::{Decoder, Malformed, Plan, Record, Row, Slot},
    schema::{
        Class, Dimension, Field, KeyHead, MAX_KEY_WIDTH, MAX_VALUE_BYTES, Measure, Schema, View,
        truncated,
    },
    traffic::{Counts, Ignored, Rule, TextId},
};

/// Decodes messages and counts their flows, for one worker.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    counter: FlowCounter,
}

impl Pipeline {
    /// A pipeline for tables of this schema.
    pub fn new(schema: &Schema, rule: Rule) -> Self {
        let counter = FlowCounter::new(schema, rule);
        Pipeline { decoder: Decoder::pmacct(&counter.plan), counter }
    }

    /// Decodes a message and counts what is in it. Calls `malformed` for each record that can't be
    /// decoded, with the reason and the record's text.
    #[inline]
    pub fn message(
        &mut self,
        payload: &[u8],
        counts: &mut Counts,
        mut malformed: impl FnMut(Malformed, &str),
    ) {
        let Pipeline { decoder, counter } = self;
        counts.messages += 1;
        counts.payload_bytes += payload.len() as u64;
        decoder.decode(payload, &mut |record| match record {
            Record::Flow(row) => counter.flow(&row, counts),
            Record::Skipped(reason) => counts.skipped[reason.index()] += 1,
            Record::Malformed(reason, text) => {
                counts.malformed[reason.index()] += 1;
                malformed(reason, text);
            }
        });
        if counts.counted.flows == 0 {
            counts.evidence.keep_message(payload);
        }
    }
}

/// The values of a flow record, by the slots of a [`Plan`].
pub trait Values {
    /// The number in a slot; `None` if the record doesn't have the field.
    fn number(&self, slot: Slot) -> Option<u64>;
    /// The text in a slot; `None` if the record doesn't have the field.
    fn text(&self, slot: Slot) -> Option<&str>;
}

impl Values for Row<'_> {
    #[inline]
    fn number(&self, slot: Slot) -> Option<u64> {
        Row::number(self, slot)
    }

    #[inline]
    fn text(&self, slot: Slot) -> Option<&str> {
        Row::text(self, slot)
    }
}

/// Classifies flows and counts them in the views of a schema.
#[derive(Debug)]
pub struct FlowCounter {
    plan: Plan,
    rule: Rule,
    source_as: Slot,
    destination_as: Slot,
    key_width: usize,
    counts: usize,
    views: Vec<CompiledView>,
}

/// What is done with a flow in one view.
#[derive(Debug)]
struct CompiledView {
    /// The first column of the key, by class; `None` if the class is not counted.
    heads: [Option<u32>; Class::ALL.len()],
    /// The other columns.
    columns: Vec<Column>,
    /// What is added to each count: the number in a slot, or 1.
    measures: Vec<Option<Slot>>,
}

/// What stands in a column of a key.
#[derive(Debug)]
enum Column {
    /// A number as it is.
    Number(Slot),
    /// The number of a text.
    Text(Slot, Dimension),
}

impl FlowCounter {
    /// A counter for tables of this schema.
    pub fn new(schema: &Schema, rule: Rule) -> Self {
        let mut plan = Plan::new(schema.fields());
        // The rule's own.
        let (source_as, destination_as) =
            (plan.add(Field::SourceAs), plan.add(Field::DestinationAs));
        let views = schema.configured().iter().enumerate();
        let views = views.map(|(place, view)| CompiledView::new(schema, place, view, &mut plan));
        FlowCounter {
            views: views.collect(),
            plan,
            rule,
            source_as,
            destination_as,
            key_width: schema.key_width(),
            counts: schema.counts(),
        }
    }

    /// The fields that it uses.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Counts one flow.
    #[inline]
    pub fn flow(&self, values: &impl Values, counts: &mut Counts) {
        // Fields of AS numbers have 32 bits.
        let number = |slot| values.number(slot).unwrap_or_default() as u32;
        let (source_as, destination_as) = (number(self.source_as), number(self.destination_as));
        let class = self.rule.classify(source_as, destination_as);
        let mut fate = Fate::Ignored(Ignored::OtherAs);
        for view in &self.views {
            if let Some(head) = view.heads[class as usize] {
                fate = fate.or(self.count(view, head, values, counts));
            }
        }
        let bytes = values.number(Slot::BYTES).unwrap_or_default();
        match fate {
            Fate::Counted => counts.counted.add(bytes),
            Fate::Ignored(reason) => {
                counts.ignored[reason.index()].add(bytes);
                if reason == Ignored::OtherAs {
                    counts.evidence.keep_flow(source_as, destination_as);
                }
            }
        }
    }

    /// Counts a flow in one view.
    #[inline]
    fn count(
        &self,
        view: &CompiledView,
        head: u32,
        values: &impl Values,
        counts: &mut Counts,
    ) -> Fate {
        let mut key = [0; MAX_KEY_WIDTH];
        key[0] = head;
        for (place, column) in key[1..].iter_mut().zip(&view.columns) {
            *place = match *column {
                Column::Number(slot) => values.number(slot).unwrap_or_default() as u32,
                Column::Text(slot, dimension) => {
                    text(dimension, values.text(slot).unwrap_or_default(), counts)
                }
            };
        }
        let mut row = [0; Measure::ALL.len()];
        for (count, measure) in row.iter_mut().zip(&view.measures) {
            *count = measure.map_or(1, |slot| values.number(slot).unwrap_or_default());
        }
        if counts.add(&key[..self.key_width], &row[..self.counts]) {
            Fate::Counted
        } else {
            Fate::Ignored(Ignored::Overflow)
        }
    }
}

impl CompiledView {
    fn new(schema: &Schema, place: usize, view: &View, plan: &mut Plan) -> Self {
        let columns = view.dimensions().iter().map(|&dimension| {
            let slot = plan.add(dimension.field());
            if dimension.is_text() { Column::Text(slot, dimension) } else { Column::Number(slot) }
        });
        let columns = columns.collect();
        let measures = view.measures().iter();
        CompiledView {
            heads: Class::ALL.map(|class| schema.head(place, class).map(KeyHead::column)),
            columns,
            measures: measures
                .map(|measure| measure.field().map(|field| plan.add(field)))
                .collect(),
        }
    }
}

/// The number of a label value.
#[inline]
fn text(dimension: Dimension, mut value: &str, counts: &mut Counts) -> u32 {
    if value.len() > MAX_VALUE_BYTES {
        value = truncated(value);
        counts.values_truncated[dimension.index()] += 1;
    }
    let TextId(id) = counts.intern(value);
    id
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Counted,
    Ignored(Ignored),
}

impl Fate {
    /// What became of a flow that had this fate in some views and `next` in another one: it is
    /// counted if one of them counts it.
    const fn or(self, next: Fate) -> Fate {
        if matches!(self, Fate::Counted) { self } else { next }
    }
}
