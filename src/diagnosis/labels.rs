//! Finds out which labels stay empty, and which filters let nothing pass, because flows lack values.

use std::sync::Arc;

use crate::{
    schema::{Dimension, Field, Measure, Schema, View},
    traffic::{Counts, Ignored, Missing},
};

use super::{cure::Cure, setup::Setup, writer::Writer};

/// So many of the newest flows decide: from twice as many on, the older ones weigh less.
const REMEMBERED: u64 = 1000;
/// How many labels or AS numbers are named at once.
pub(super) const NAMED: usize = 3;
/// A value is lacking if less than one flow in this many has it.
const FEW: u64 = 10;

/// How many flows had the values that views ask for.
#[derive(Debug)]
pub struct LabelTally {
    setup: Setup,
    /// Whether older flows weigh less.
    forgets: bool,
    /// `None` before the first table.
    schema: Option<Arc<Schema>>,
    /// By the dimension's place in [`Schema::dimensions`].
    labels: Vec<Asked>,
    /// By the view's place in [`Schema::configured`], and by the filter's in the view.
    filters: Vec<Vec<Asked>>,
    packets: Asked,
    messages: u64,
    /// Those of these that pmacct did not write.
    messages_of_others: u64,
    /// Those of these that exporters have sent themselves.
    datagrams: u64,
}

/// How often a value was asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// Flows, once for each view.
    flows: u64,
    /// Those of these without a value.
    missing: Missing,
}

/// Something that few flows have and a view asks for.
#[derive(Debug)]
pub struct Lack {
    /// For people: what it is, and what to do.
    pub text: String,
    /// What it leads to.
    pub gravity: Gravity,
}

/// What it leads to that flows lack a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// A label is empty, as it was in the original, or as the traffic is.
    Hint,
    /// What the operator asks for is empty, or nearly nothing passes a filter.
    Trouble,
    /// Nothing passes a filter.
    Nothing,
}

impl Asked {
    fn add(&mut self, flows: u64, missing: Missing, forgets: bool) {
        self.flows += flows;
        self.missing += missing;
        while forgets && self.flows >= 2 * REMEMBERED {
            self.flows /= 2;
            self.missing.values /= 2;
            self.missing.without_field /= 2;
        }
    }

    /// How many have a value.
    fn having(&self) -> u64 {
        self.flows.saturating_sub(self.missing.values)
    }

    /// Whether no or few flows have a value.
    fn is_lacking(&self) -> bool {
        self.having() * FEW < self.flows
    }

    /// Whether most of those without a value have the field.
    fn has_field(&self) -> bool {
        self.missing.without_field * 2 < self.missing.values
    }
}

impl LabelTally {
    /// For the newest flows, counted with this setup.
    pub fn of_newest(setup: Setup) -> Self {
        LabelTally {
            setup,
            forgets: true,
            schema: None,
            labels: Vec::new(),
            filters: Vec::new(),
            packets: Asked::default(),
            messages: 0,
            messages_of_others: 0,
            datagrams: 0,
        }
    }

    /// For all flows, counted with this setup.
    pub fn of_all(setup: Setup) -> Self {
        LabelTally { forgets: false, ..Self::of_newest(setup) }
    }

    /// Adds what a table says; starts from zero if views have changed.
    pub fn add(&mut self, counts: &Counts) {
        let schema = counts.schema();
        let views = schema.configured();
        if self.schema.as_ref().is_none_or(|known| !Arc::ptr_eq(known, schema)) {
            self.labels = vec![Asked::default(); schema.dimensions().len()];
            self.filters =
                views.iter().map(|view| vec![Asked::default(); view.filters().len()]).collect();
            self.packets = Asked::default();
            self.schema = Some(Arc::clone(schema));
        }
        self.messages += counts.messages;
        self.messages_of_others += counts.messages_of_others;
        self.datagrams += counts.datagrams;
        while self.forgets && self.messages >= 2 * REMEMBERED {
            self.messages /= 2;
            self.messages_of_others /= 2;
            self.datagrams /= 2;
        }
        let of_views = |asks: &dyn Fn(&View) -> bool| {
            let views = views.iter().zip(&counts.flows_by_view);
            views.filter(|(view, _)| asks(view)).map(|(_, flows)| flows).sum::<u64>()
        };
        for ((dimension, asked), missing) in
            schema.dimensions().iter().zip(&mut self.labels).zip(&counts.values_missing)
        {
            let flows = of_views(&|view| view.dimensions().contains(dimension));
            asked.add(flows, *missing, self.forgets);
        }
        for (place, asked) in self.filters.iter_mut().enumerate() {
            let overflowed = counts.ignored_by_view[place][Ignored::Overflow.index()].flows;
            let mut flows = counts.flows_by_view[place] + overflowed;
            // A filter is asked about those that passed the ones before it.
            for (asked, out) in asked.iter_mut().zip(&counts.filtered_out[place]).rev() {
                flows += out.flows();
                asked.add(flows, out.missing, self.forgets);
            }
        }
        let missing =
            Missing { values: counts.packets_missing, without_field: counts.packets_missing };
        let flows = of_views(&|view| view.measures().contains(&Measure::Packets));
        self.packets.add(flows, missing, self.forgets);
    }

    /// Whether no or few flows have something that a view asks for.
    pub fn is_lacking(&self) -> bool {
        let filters = self.filters.iter().flatten();
        self.labels.iter().chain(filters).chain([&self.packets]).any(Asked::is_lacking)
    }

    /// What no or few flows have: what filters ask for, then labels in the order of
    /// [`Schema::dimensions`], then packets.
    pub fn lacking(&self) -> Vec<Lack> {
        let mut lacking: Vec<_> = self.lacking_filters().collect();
        lacking.extend(self.lacking_labels());
        if self.packets.is_lacking() {
            let (having, flows) = (self.packets.having(), self.packets.flows);
            let needs = self.writer().needs(&[Field::Packets]);
            let text = format!("packets: {having} of {flows} flows have them; {needs}");
            lacking.push(Lack { text, gravity: Gravity::Trouble });
        }
        lacking
    }

    /// Filters that let no or few flows pass because these lack the label.
    pub fn lacking_filters(&self) -> impl Iterator<Item = Lack> {
        let views = self.schema.iter().flat_map(|schema| schema.configured());
        let filters = views.zip(&self.filters).flat_map(|(view, asked)| {
            view.filters().iter().zip(asked).map(move |(filter, asked)| (view, filter, asked))
        });
        filters.filter(|(.., asked)| asked.is_lacking()).map(|(view, filter, asked)| {
            let dimension = filter.dimension();
            let Cure { text, is_needed } = self.cure(dimension, asked);
            let gravity = match (is_needed, asked.having()) {
                (false, _) => Gravity::Hint,
                (true, 0) => Gravity::Nothing,
                (true, _) => Gravity::Trouble,
            };
            let (view, label) = (view.name(), dimension.label());
            let (having, flows) = (asked.having(), asked.flows);
            let text = format!(
                "view {view} filters by {label}: {having} of {flows} flows have it; {text}"
            );
            Lack { text, gravity }
        })
    }

    fn lacking_labels(&self) -> impl Iterator<Item = Lack> {
        let original = View::original();
        let labels = self.schema.iter().flat_map(move |schema| {
            // Labels that nobody chose were empty in the original as well.
            let chosen = schema.configured().iter().filter({
                let original = original.clone();
                move |view| view.dimensions() != original.dimensions()
            });
            let chosen: Vec<_> = chosen.flat_map(View::dimensions).collect();
            schema.dimensions().iter().map(move |each| (each, chosen.contains(&each)))
        });
        let lacking = labels.zip(&self.labels).filter(|(_, asked)| asked.is_lacking());
        lacking.map(|((dimension, is_chosen), asked)| {
            let Cure { text, is_needed } = self.cure(dimension, asked);
            let (label, having, flows) = (dimension.label(), asked.having(), asked.flows);
            let text = format!("label {label}: {having} of {flows} flows have it; {text}");
            let gravity = if is_chosen && is_needed { Gravity::Trouble } else { Gravity::Hint };
            Lack { text, gravity }
        })
    }

    fn cure(&self, dimension: &Dimension, asked: &Asked) -> Cure {
        Cure::of(dimension, asked.has_field(), self.writer(), &self.setup)
    }

    /// Who writes most of the records.
    pub(super) fn writer(&self) -> Writer {
        if self.datagrams * 2 > self.messages {
            Writer::Exporters
        } else if self.messages_of_others * 2 > self.messages {
            Writer::Other
        } else {
            Writer::Pmacct
        }
    }

    /// What flows are counted by; `None` before the first table.
    pub(super) fn schema(&self) -> Option<&Schema> {
        self.schema.as_deref()
    }
}
