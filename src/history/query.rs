//! What can be asked of a history, checked against the views that there are.

use std::sync::Arc;

use crate::{
    clock::Millis,
    ledger::{Cell, Series},
    schema::{AsOf, Class, Decimal, Dimension, KeyHead, Label, Measure, OTHER, Schema, View},
};

use super::ring::Departed;

/// What somebody asks for, before it is known whether that exists. Spans are within their bounds.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The name of a view; `None` for the first.
    pub view: Option<String>,
    /// The labels by whose values rows are told apart; without any, there are no rows.
    pub by: Vec<String>,
    /// The classes; none for all of the view.
    pub classes: Vec<Class>,
    /// What rows are ordered by, and what curves show; `None` for the view's first.
    pub measure: Option<Measure>,
    /// Labels and values: of values of one label any passes, of several labels each must.
    pub filters: Vec<(String, String)>,
    /// A text that occurs in the values or names of each row.
    pub search: String,
    /// The most rows.
    pub limit: usize,
    /// The least time over which rates are taken.
    pub over: Millis,
    /// How far back curves reach.
    pub span: Millis,
    /// The least time that a point of a curve is the average of.
    pub step: Millis,
}

impl Default for Asked {
    fn default() -> Self {
        Asked {
            view: None,
            by: Vec::new(),
            classes: Vec::new(),
            measure: None,
            filters: Vec::new(),
            search: String::new(),
            limit: 20,
            over: Millis::new(60_000),
            span: Millis::new(3_600_000),
            step: Millis::new(60_000),
        }
    }
}

/// Why something can't be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No snapshot is published.
    #[error("nothing is published yet: ask again in some seconds")]
    NothingYet,
    /// There is no such view.
    #[error("there is no view {0}: choose one of {1}")]
    View(String, String),
    /// The view has no such label.
    #[error("the view {view} has no label {label}: choose from {labels}")]
    Label {
        /// The view.
        view: String,
        /// What was asked for.
        label: String,
        /// What there is.
        labels: String,
    },
    /// The view does not count this class.
    #[error("the view {view} does not count {class}: choose from {classes}")]
    Class {
        /// The view.
        view: String,
        /// What was asked for.
        class: &'static str,
        /// What there is.
        classes: String,
    },
    /// The view does not count this measure.
    #[error("the view {view} does not count {measure}: choose from {measures}")]
    Measure {
        /// The view.
        view: String,
        /// What was asked for.
        measure: &'static str,
        /// What there is.
        measures: String,
    },
}

/// Where a value comes from: a dimension of the view by its place, for received traffic and for the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    receive: usize,
    rest: usize,
}

impl Source {
    fn place(self, class: Class) -> usize {
        if class == Class::Receive { self.receive } else { self.rest }
    }
}

/// A checked question.
#[derive(Debug)]
pub struct Query<'a> {
    pub(super) asked: &'a Asked,
    /// The schema's place of the view.
    place: u8,
    pub(super) view: &'a View,
    pub(super) classes: Vec<Class>,
    pub(super) measure: Measure,
    /// The place of `measure` among the counts.
    pub(super) count: usize,
    pub(super) by: Vec<Source>,
    /// Each with the values that pass.
    filters: Vec<(Source, Vec<&'a str>)>,
}

/// A series, alive or not.
pub(super) trait Known {
    fn head(&self) -> KeyHead;
    fn cell(&self, place: usize) -> Cell;
}

impl Known for Series<'_> {
    fn head(&self) -> KeyHead {
        self.head
    }

    fn cell(&self, place: usize) -> Cell {
        Series::cell(self, place)
    }
}

impl Known for Departed {
    fn head(&self) -> KeyHead {
        self.head
    }

    fn cell(&self, place: usize) -> Cell {
        self.cells[place].clone()
    }
}

/// The labels that can be made of those of a view.
pub fn derived_labels(view: &View) -> Vec<&'static str> {
    remote_as(view).map(|_| REMOTE_AS).into_iter().collect()
}

const REMOTE_AS: &str = "remote_as";

/// The AS of the end that is not ours, if it is not a label itself.
fn remote_as(view: &View) -> Option<Source> {
    let find = |of| {
        let is_it =
            |dimension: &Dimension| matches!(dimension, Dimension::As { of: is, .. } if *is == of);
        view.dimensions().iter().position(is_it)
    };
    if find(AsOf::Remote).is_some() {
        return None;
    }
    Some(Source { receive: find(AsOf::Source)?, rest: find(AsOf::Destination)? })
}

fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    Vec::from_iter(names).join(", ")
}

impl<'a> Query<'a> {
    /// Finds what is asked for among the configured views.
    ///
    /// # Errors
    /// If it is not there: what there is.
    pub fn new(asked: &'a Asked, schema: &'a Schema) -> Result<Self, QueryError> {
        let views = schema.configured();
        let place = match &asked.view {
            None => (!views.is_empty()).then_some(0),
            Some(name) => views.iter().position(|view| view.name() == name),
        };
        let Some(place) = place else {
            let names = listed(views.iter().map(View::name));
            return Err(QueryError::View(asked.view.clone().unwrap_or_default(), names));
        };
        let view = &views[place];
        let name = || view.name().to_owned();
        let classes = if asked.classes.is_empty() { view.classes() } else { &asked.classes };
        if let Some(class) = classes.iter().find(|class| !view.classes().contains(class)) {
            let classes = listed(view.classes().iter().map(|class| class.name()));
            return Err(QueryError::Class { view: name(), class: class.name(), classes });
        }
        let measure = asked.measure.unwrap_or(view.measures()[0]);
        let Some(count) = view.count_of(measure) else {
            let measures = listed(view.measures().iter().map(|measure| measure.name()));
            return Err(QueryError::Measure { view: name(), measure: measure.name(), measures });
        };
        let source = |label: &str| source(view, label);
        let by = asked.by.iter().map(|label| source(label)).collect::<Result<_, _>>()?;
        let mut filters: Vec<(&str, (Source, Vec<&str>))> = Vec::new();
        for (label, value) in &asked.filters {
            match filters.iter_mut().find(|(other, _)| other == label) {
                Some((_, (_, values))) => values.push(value),
                None => filters.push((label, (source(label)?, vec![value]))),
            }
        }
        let filters = filters.into_iter().map(|(_, filter)| filter).collect();
        let mut classes = classes.to_vec();
        classes.sort_unstable();
        classes.dedup();
        Ok(Query { asked, place: place as u8, view, classes, measure, count, by, filters })
    }

    /// The place of a series' class among those that are asked for, if the series is.
    pub(super) fn class_of(&self, series: &impl Known) -> Option<usize> {
        let head = series.head();
        let class = self.classes.iter().position(|class| *class == head.class)?;
        let passes = self.filters.iter().all(|(source, values)| {
            let place = source.place(head.class);
            let is_it = |text: &str| values.contains(&text);
            shown(self.view, place, &series.cell(place), is_it)
        });
        passes.then_some(class)
    }

    /// Whether a living series is of the view.
    pub(super) fn is_of_view(&self, head: KeyHead) -> bool {
        head.view == self.place
    }

    /// The place of the view among the configured ones.
    pub(super) fn place(&self) -> usize {
        usize::from(self.place)
    }

    /// What tells the row of a series apart.
    pub(super) fn key(&self, series: &impl Known) -> Arc<[Cell]> {
        let class = series.head().class;
        self.by.iter().map(|source| series.cell(source.place(class))).collect()
    }

    /// The values of a row as labels show them.
    pub(super) fn values(&self, key: &[Cell]) -> Vec<String> {
        let value =
            |(source, cell): (&Source, &Cell)| shown(self.view, source.rest, cell, str::to_owned);
        self.by.iter().zip(key).map(value).collect()
    }

    /// The number of the AS that a value of a row is, by the value's place.
    pub(super) fn as_number(&self, at: usize, cell: &Cell) -> Option<u32> {
        let dimension = &self.view.dimensions()[self.by[at].rest];
        match (dimension, cell) {
            (Dimension::As { .. }, Cell::Number(number)) => Some(*number),
            _ => None,
        }
    }
}

/// Where the value of a label comes from.
fn source(view: &View, label: &str) -> Result<Source, QueryError> {
    let is_it = |dimension: &Dimension| dimension.label() == label;
    if let Some(place) = view.dimensions().iter().position(is_it) {
        return Ok(Source { receive: place, rest: place });
    }
    let derived = if label == REMOTE_AS { remote_as(view) } else { None };
    derived.ok_or_else(|| {
        let own = view.dimensions().iter().map(Dimension::label);
        let labels = listed(own.chain(derived_labels(view)));
        QueryError::Label { view: view.name().to_owned(), label: label.to_owned(), labels }
    })
}

/// Gives `then` what the label of a dimension shows.
fn shown<T>(view: &View, place: usize, cell: &Cell, then: impl FnOnce(&str) -> T) -> T {
    match cell {
        Cell::Other => then(OTHER),
        Cell::Text(text) => then(text),
        Cell::Number(number) => {
            let first = view.dimensions()[place].labels().next();
            let digits = Decimal::new(*number);
            then(first.map_or("", |Label { shown, .. }| shown.of_number(*number, &digits)))
        }
    }
}
