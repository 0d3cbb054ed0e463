//! What is done with a flow in one view.

use crate::{
    flow::{Plan, Slot},
    schema::{
        Accepted, Class, KeyHead, MAX_KEY_WIDTH, MAX_VALUE_BYTES, Measure, Schema, View, truncated,
    },
    traffic::{Counts, FilteredOut, Ignored, TextId},
};

use super::{
    column::{Column, Given, Text},
    text::AddressText,
    values::{Facts, Values},
};

/// A view, by the class of flows.
#[derive(Debug)]
pub(super) struct CompiledView {
    /// `None` if the class is not counted.
    classes: [Option<ClassCount>; Class::ALL.len()],
    /// What is added to each count.
    measures: Vec<Addend>,
    key_width: usize,
    counts: usize,
    /// The view's place in [`Schema::configured`].
    place: usize,
}

/// What is added to a count.
#[derive(Debug)]
struct Addend {
    /// Where the number is.
    slot: Slot,
    /// What stands for it where it is absent.
    default: u64,
    /// What is added.
    measure: Measure,
}

/// How flows of one class are counted.
#[derive(Debug)]
struct ClassCount {
    /// The first column of the key.
    head: u32,
    /// The other columns.
    columns: Vec<CompiledColumn>,
    /// What flows must pass.
    filters: Vec<CompiledFilter>,
}

#[derive(Debug)]
struct CompiledFilter {
    column: Column,
    /// What stands for a number that is not known.
    absent: u32,
    accepted: Accepted,
}

#[derive(Debug)]
struct CompiledColumn {
    column: Column,
    /// What stands for a number that is not known.
    absent: u32,
    /// The dimension's place in [`Schema::dimensions`].
    dimension: usize,
}

impl CompiledView {
    pub(super) fn new(
        schema: &Schema,
        place: usize,
        view: &View,
        given: &Given,
        plan: &mut Plan,
    ) -> Self {
        CompiledView {
            classes: Class::ALL.map(|class| {
                schema
                    .head(place, class)
                    .map(|head| ClassCount::new(schema, head, view, given, plan))
            }),
            measures: view
                .measures()
                .iter()
                .map(|measure| Addend {
                    slot: plan.add(measure.field()),
                    default: measure.default(),
                    measure: *measure,
                })
                .collect(),
            key_width: schema.key_width(),
            counts: schema.counts(),
            place,
        }
    }

    /// Counts a flow of this class, if the view does. Bytes and packets are multiplied by `factor`.
    #[inline]
    pub(super) fn count(
        &self,
        class: Class,
        facts: Facts<'_>,
        factor: u64,
        values: &impl Values,
        counts: &mut Counts,
    ) -> Fate {
        let Some(counted) = &self.classes[class as usize] else {
            return Fate::Ignored(match class {
                Class::Transit => Ignored::OtherAs,
                Class::Receive | Class::Transmit | Class::Internal => Ignored::OtherClass,
            });
        };
        if !counted.passes(facts, values, &mut counts.filtered_out[self.place]) {
            return Fate::Ignored(Ignored::Filtered);
        }
        let mut key = [0; MAX_KEY_WIDTH];
        key[0] = counted.head;
        for (place, column) in key[1..].iter_mut().zip(&counted.columns) {
            *place = column.get(facts, values, counts);
        }
        let mut row = [0; Measure::ALL.len()];
        let mut lacks_packets = false;
        for (count, addend) in row.iter_mut().zip(&self.measures) {
            let number = values.number(addend.slot).unwrap_or_else(|| {
                lacks_packets |= addend.measure == Measure::Packets;
                addend.default
            });
            let factor = if addend.measure == Measure::Flows { 1 } else { factor };
            let Some(number) = number.checked_mul(factor) else {
                return Fate::Ignored(Ignored::Overflow);
            };
            *count = number;
        }
        if counts.add(&key[..self.key_width], &row[..self.counts]) {
            counts.flows_by_view[self.place] += 1;
            counts.packets_missing += u64::from(lacks_packets);
            Fate::Counted
        } else {
            Fate::Ignored(Ignored::Overflow)
        }
    }
}

impl ClassCount {
    fn new(schema: &Schema, head: KeyHead, view: &View, given: &Given, plan: &mut Plan) -> Self {
        let columns = view.dimensions().iter().map(|dimension| CompiledColumn {
            column: Column::new(dimension, head.class, given, plan),
            absent: dimension.absent(),
            dimension: schema.dimensions().iter().position(|each| each == dimension).unwrap_or(0),
        });
        let columns = columns.collect();
        let filters = view.filters().iter().map(|filter| CompiledFilter {
            column: Column::new(filter.dimension(), head.class, given, plan),
            absent: filter.dimension().absent(),
            accepted: filter.accepted().clone(),
        });
        ClassCount { head: head.column(), columns, filters: filters.collect() }
    }

    /// Whether the flow passes all filters; if not, the first that it does not pass is noted.
    #[inline]
    fn passes(
        &self,
        facts: Facts<'_>,
        values: &impl Values,
        filtered_out: &mut [FilteredOut],
    ) -> bool {
        let failed = self.filters.iter().position(|filter| !filter.passes(facts, values));
        if let Some(place) = failed {
            self.filters[place].note(facts, values, &mut filtered_out[place]);
        }
        failed.is_none()
    }
}

impl CompiledFilter {
    /// Whether the flow passes it.
    #[inline]
    fn passes(&self, facts: Facts<'_>, values: &impl Values) -> bool {
        let CompiledFilter { column, absent, accepted } = self;
        match column {
            Column::Number(number) => accepted.number(number.get(facts, values).unwrap_or(*absent)),
            Column::Text(Text::Field(slot)) => {
                accepted.text(values.text(*slot).unwrap_or_default())
            }
            Column::Text(text @ (Text::Country(..) | Text::Site(_) | Text::Interface(_))) => {
                let mut buffer = AddressText::new();
                accepted.text(text.get(facts, values, &mut buffer).unwrap_or_default())
            }
            Column::Text(text) => accepted.address(text.address(values)),
        }
    }

    /// Notes why the flow did not pass it.
    fn note(&self, facts: Facts<'_>, values: &impl Values, filtered_out: &mut FilteredOut) {
        let (is_missing, has_field) = match &self.column {
            Column::Number(number) => {
                (number.get(facts, values).is_none(), number.has_field(facts, values))
            }
            Column::Text(text) => {
                let mut buffer = AddressText::new();
                (text.get(facts, values, &mut buffer).is_none(), text.has_field(values))
            }
        };
        if is_missing {
            filtered_out.missing.note(has_field);
        } else {
            filtered_out.other_value += 1;
        }
    }
}

impl CompiledColumn {
    /// What stands in the column.
    #[inline]
    fn get(&self, facts: Facts<'_>, values: &impl Values, counts: &mut Counts) -> u32 {
        match &self.column {
            Column::Number(number) => number.get(facts, values).unwrap_or_else(|| {
                counts.values_missing[self.dimension].note(number.has_field(facts, values));
                self.absent
            }),
            Column::Text(text) => {
                let mut buffer;
                let known = match text {
                    Text::Field(slot) => values.text(*slot).unwrap_or_default(),
                    text => {
                        buffer = AddressText::new();
                        text.get(facts, values, &mut buffer).unwrap_or_default()
                    }
                };
                if known.is_empty() {
                    counts.values_missing[self.dimension].note(text.has_field(values));
                }
                self.text(known, counts)
            }
        }
    }

    /// The number of a text.
    #[inline]
    fn text(&self, mut text: &str, counts: &mut Counts) -> u32 {
        if text.len() > MAX_VALUE_BYTES {
            text = truncated(text);
            counts.values_truncated[self.dimension] += 1;
        }
        let TextId(id) = counts.intern(text);
        id
    }
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Counted,
    Ignored(Ignored),
}

impl Fate {
    /// What became of a flow that had this fate in some views and `next` in another one: it is
    /// counted if one of them counts it. Of reasons, that of the view that came closest counts.
    pub(super) fn or(self, next: Fate) -> Fate {
        match (self, next) {
            (Fate::Counted, _) | (_, Fate::Counted) => Fate::Counted,
            (Fate::Ignored(one), Fate::Ignored(other)) => Fate::Ignored(one.max(other)),
        }
    }
}
