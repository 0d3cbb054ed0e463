//! What is done with a flow in one view.

use crate::{
    address::Tables,
    flow::{Plan, Slot},
    schema::{
        ABSENT, Accepted, Class, Dimension, KeyHead, MAX_KEY_WIDTH, MAX_VALUE_BYTES, Measure,
        Schema, View, truncated,
    },
    traffic::{Counts, Ignored, TextId},
};

use super::{
    column::{Column, Text},
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
    /// Whether it is multiplied by the sampling rate.
    is_sampled: bool,
}

/// How flows of one class are counted.
#[derive(Debug)]
struct ClassCount {
    /// The first column of the key.
    head: u32,
    /// The other columns.
    columns: Vec<CompiledColumn>,
    /// What flows must pass.
    filters: Vec<(Column, Accepted)>,
}

#[derive(Debug)]
struct CompiledColumn {
    column: Column,
    /// What stands for a number that is absent.
    absent: u32,
    /// The dimension's place in [`Schema::dimensions`].
    dimension: usize,
}

impl CompiledView {
    pub(super) fn new(
        schema: &Schema,
        place: usize,
        view: &View,
        tables: &Tables,
        plan: &mut Plan,
    ) -> Self {
        CompiledView {
            classes: Class::ALL.map(|class| {
                schema
                    .head(place, class)
                    .map(|head| ClassCount::new(schema, head, view, tables, plan))
            }),
            measures: view
                .measures()
                .iter()
                .map(|measure| Addend {
                    slot: plan.add(measure.field()),
                    default: measure.default(),
                    is_sampled: *measure != Measure::Flows,
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
        let Some(class) = &self.classes[class as usize] else {
            return Fate::Ignored(Ignored::OtherAs);
        };
        if !class.passes(facts, values) {
            return Fate::Ignored(Ignored::Filtered);
        }
        let mut key = [0; MAX_KEY_WIDTH];
        key[0] = class.head;
        for (place, column) in key[1..].iter_mut().zip(&class.columns) {
            *place = column.get(facts, values, counts);
        }
        let mut row = [0; Measure::ALL.len()];
        for (count, addend) in row.iter_mut().zip(&self.measures) {
            let number = values.number(addend.slot).unwrap_or(addend.default);
            let factor = if addend.is_sampled { factor } else { 1 };
            let Some(number) = number.checked_mul(factor) else {
                return Fate::Ignored(Ignored::Overflow);
            };
            *count = number;
        }
        if counts.add(&key[..self.key_width], &row[..self.counts]) {
            counts.flows_by_view[self.place] += 1;
            Fate::Counted
        } else {
            Fate::Ignored(Ignored::Overflow)
        }
    }
}

impl ClassCount {
    fn new(schema: &Schema, head: KeyHead, view: &View, tables: &Tables, plan: &mut Plan) -> Self {
        let columns = view.dimensions().iter().map(|dimension| CompiledColumn {
            column: Column::new(dimension, head.class, tables, plan),
            absent: if matches!(dimension, Dimension::As { .. }) { 0 } else { ABSENT },
            dimension: schema.dimensions().iter().position(|each| each == dimension).unwrap_or(0),
        });
        let columns = columns.collect();
        let filters = view.filters().iter().map(|filter| {
            (Column::new(filter.dimension(), head.class, tables, plan), filter.accepted().clone())
        });
        ClassCount { head: head.column(), columns, filters: filters.collect() }
    }

    /// Whether the flow passes all filters.
    #[inline]
    fn passes(&self, facts: Facts<'_>, values: &impl Values) -> bool {
        self.filters.iter().all(|(column, accepted)| match column {
            Column::Number(number) => accepted.number(number.get(facts, values).unwrap_or(ABSENT)),
            Column::Text(Text::Field(slot)) => {
                accepted.text(values.text(*slot).unwrap_or_default())
            }
            Column::Text(text @ (Text::Country(..) | Text::Site(_))) => {
                let mut buffer = AddressText::new();
                accepted.text(text.get(facts, values, &mut buffer).unwrap_or_default())
            }
            Column::Text(text) => {
                text.address(values).is_some_and(|address| accepted.address(address))
            }
        })
    }
}

impl CompiledColumn {
    /// What stands in the column.
    #[inline]
    fn get(&self, facts: Facts<'_>, values: &impl Values, counts: &mut Counts) -> u32 {
        match &self.column {
            Column::Number(number) => number.get(facts, values).unwrap_or_else(|| {
                counts.values_missing[self.dimension] += 1;
                self.absent
            }),
            Column::Text(Text::Field(slot)) => self.text(values.text(*slot), counts),
            Column::Text(text) => {
                let mut buffer = AddressText::new();
                self.text(text.get(facts, values, &mut buffer), counts)
            }
        }
    }

    /// The number of a text.
    #[inline]
    fn text(&self, text: Option<&str>, counts: &mut Counts) -> u32 {
        let mut text = text.unwrap_or_else(|| {
            counts.values_missing[self.dimension] += 1;
            ""
        });
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
