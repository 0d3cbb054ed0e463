//! What each view counts of the newest flows, and what it does not.

use std::sync::Arc;

use crate::{
    schema::{Class, Schema, View},
    traffic::{Counts, FilteredOut, Ignored},
};

/// Flows by view, and by the reason for which one does not count them.
pub(super) struct ViewTally {
    schema: Arc<Schema>,
    /// All flows, in the order of [`Class::ALL`].
    classes: [u64; Class::ALL.len()],
    /// In the order of [`Schema::configured`].
    views: Vec<OfView>,
}

#[derive(Default)]
struct OfView {
    counted: u64,
    overflowed: u64,
    /// In the order of [`View::filters`].
    filtered_out: Vec<FilteredOut>,
}

impl ViewTally {
    /// No flows yet.
    pub(super) fn new(schema: Arc<Schema>) -> Self {
        let of_view = |view: &View| OfView {
            filtered_out: vec![FilteredOut::default(); view.filters().len()],
            ..OfView::default()
        };
        ViewTally {
            classes: Default::default(),
            views: schema.configured().iter().map(of_view).collect(),
            schema,
        }
    }

    /// Adds what a table says.
    pub(super) fn add(&mut self, counts: &Counts) {
        for (sum, more) in self.classes.iter_mut().zip(counts.classes) {
            *sum += more;
        }
        for (place, view) in self.views.iter_mut().enumerate() {
            view.counted += counts.flows_by_view[place];
            view.overflowed += counts.ignored_by_view[place][Ignored::Overflow.index()].flows;
            for (sum, more) in view.filtered_out.iter_mut().zip(&counts.filtered_out[place]) {
                *sum += *more;
            }
        }
    }

    /// The classes that there are, in one line, and what is counted, in a line for each view.
    pub(super) fn lines(&self) -> Vec<String> {
        let found = Class::ALL.into_iter().zip(self.classes).filter(|(_, flows)| *flows > 0);
        let found: Vec<_> =
            found.map(|(class, flows)| format!("{flows} {}", class.name())).collect();
        let classes = format!("flows by class: {}", found.join(", "));
        let flows: u64 = self.classes.iter().sum();
        let views = self.schema.configured().iter().zip(&self.views);
        let views = views.map(|(view, of_view)| {
            let (name, counted) = (view.name(), of_view.counted);
            let mut line = format!("view {name} would count {counted} of {flows} flows");
            let uncounted = self.uncounted(view, of_view);
            if !uncounted.is_empty() {
                line.push_str("; not counted: ");
                line.push_str(&uncounted.join(", "));
            }
            line
        });
        std::iter::once(classes).chain(views).collect()
    }

    /// How many flows a view does not count, by reason.
    fn uncounted(&self, view: &View, of_view: &OfView) -> Vec<String> {
        let classes = Class::ALL.into_iter().zip(self.classes);
        let classes = classes.filter(|(class, _)| view.counted_as(*class).is_none());
        let classes = classes.map(|(class, flows)| {
            let meaning = if class == Class::Transit { " (neither end is local)" } else { "" };
            (flows, format!("{}{meaning}", class.name()))
        });
        let filters = view.filters().iter().zip(&of_view.filtered_out).flat_map(|(filter, out)| {
            let label = filter.dimension().label();
            [
                (out.other_value, format!("with another {label}")),
                (out.missing.values, format!("without {label}")),
            ]
        });
        let overflowed = (of_view.overflowed, "that exceed what a counter holds".to_owned());
        let all = classes.chain(filters).chain([overflowed]).filter(|(flows, _)| *flows > 0);
        all.map(|(flows, which)| format!("{flows} {which}")).collect()
    }
}
