//! From payloads to counts: records are decoded, flows classified, and counted in each view.
//!
//! All decisions about a flow are made here, between the decoder, which knows formats, and the
//! worker's table, which knows none of them.

use crate::{
    flow::{Decoded, Flow, Malformed, pmacct},
    schema::{
        Class, Dimension, KeyHead, MAX_KEY_WIDTH, MAX_VALUE_BYTES, Measure, Schema, truncated,
    },
    traffic::{Counts, Ignored, Rule, TextId},
};

/// Decodes messages and counts their flows in tables of one schema.
#[derive(Debug, Clone)]
pub struct Pipeline {
    rule: Rule,
    key_width: usize,
    counts: usize,
    views: Vec<CompiledView>,
}

/// What is done with a flow in one view.
#[derive(Debug, Clone)]
struct CompiledView {
    /// The first column of the key, by class; `None` where the class is not counted.
    heads: [Option<u32>; Class::ALL.len()],
    dimensions: Vec<Dimension>,
    measures: Vec<Measure>,
}

impl Pipeline {
    /// A pipeline for tables of this schema.
    pub fn new(schema: &Schema, rule: Rule) -> Self {
        let views = schema.configured().iter().enumerate().map(|(place, view)| CompiledView {
            heads: Class::ALL.map(|class| schema.head(place, class).map(KeyHead::column)),
            dimensions: view.dimensions().to_vec(),
            measures: view.measures().to_vec(),
        });
        let views = views.collect();
        Pipeline { rule, key_width: schema.key_width(), counts: schema.counts(), views }
    }

    /// Decodes a message and counts what is in it. Hands the reasons why records can't be decoded
    /// to `malformed`.
    #[inline]
    pub fn message(
        &mut self,
        payload: &[u8],
        counts: &mut Counts,
        mut malformed: impl FnMut(Malformed),
    ) {
        counts.messages += 1;
        counts.payload_bytes += payload.len() as u64;
        pmacct::decode(payload, &mut |record| {
            if let Decoded::Malformed(reason) = &record {
                malformed(*reason);
            }
            self.record(&record, counts);
        });
        if counts.counted.flows == 0 {
            counts.evidence.keep_message(payload);
        }
    }

    /// Counts one record, whatever it turned out to be.
    #[inline]
    pub fn record(&self, record: &Decoded<'_>, counts: &mut Counts) {
        match record {
            Decoded::Flow(flow) => self.flow(flow, counts),
            Decoded::Skipped(reason) => counts.skipped[reason.index()] += 1,
            Decoded::Malformed(reason) => counts.malformed[reason.index()] += 1,
        }
    }

    #[inline]
    fn flow(&self, flow: &Flow<'_>, counts: &mut Counts) {
        let class = self.rule.classify(flow.source_as, flow.destination_as);
        let mut fate = Fate::Ignored(Ignored::OtherAs);
        for view in &self.views {
            if let Some(head) = view.heads[class as usize] {
                fate = fate.or(self.count(view, head, flow, counts));
            }
        }
        match fate {
            Fate::Counted => counts.counted.add(flow.bytes),
            Fate::Ignored(reason) => {
                counts.ignored[reason.index()].add(flow.bytes);
                if reason == Ignored::OtherAs {
                    counts.evidence.keep_flow(flow.source_as, flow.destination_as);
                }
            }
        }
    }

    /// Counts a flow in one view.
    #[inline]
    fn count(&self, view: &CompiledView, head: u32, flow: &Flow<'_>, counts: &mut Counts) -> Fate {
        let mut key = [0; MAX_KEY_WIDTH];
        key[0] = head;
        for (column, &dimension) in key[1..].iter_mut().zip(&view.dimensions) {
            *column = match dimension {
                Dimension::SourceAs => flow.source_as,
                Dimension::DestinationAs => flow.destination_as,
                Dimension::Hostname => text(dimension, &flow.hostname, counts),
            };
        }
        let mut row = [0; Measure::ALL.len()];
        for (count, measure) in row.iter_mut().zip(&view.measures) {
            *count = match measure {
                Measure::Bytes => flow.bytes,
                // No format gives them yet, and no view asks for them.
                Measure::Packets => 0,
                Measure::Flows => 1,
            };
        }
        if counts.add(&key[..self.key_width], &row[..self.counts]) {
            Fate::Counted
        } else {
            Fate::Ignored(Ignored::Overflow)
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
    /// counted if one counts it.
    const fn or(self, next: Fate) -> Fate {
        if matches!(self, Fate::Counted) { self } else { next }
    }
}
