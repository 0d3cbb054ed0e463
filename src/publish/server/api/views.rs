//! What traffic can be asked about.

use serde::Serialize;

use crate::{
    history::derived_labels,
    schema::{Dimension, Schema, View},
};

/// All views.
#[derive(Debug, Serialize)]
pub(super) struct Views {
    views: Vec<OfView>,
}

#[derive(Debug, Serialize)]
struct OfView {
    name: String,
    labels: Vec<String>,
    derived_labels: Vec<&'static str>,
    classes: Vec<&'static str>,
    measures: Vec<&'static str>,
    filters: String,
    kept_labels: Vec<String>,
    max_series: usize,
}

/// The views that are configured.
pub(super) fn of(schema: &Schema) -> Views {
    let of_view = |view: &View| {
        let labels = || view.dimensions().iter().map(Dimension::label).map(str::to_owned);
        let kept = labels().zip(view.keeps()).filter(|(_, is_kept)| **is_kept);
        OfView {
            name: view.name().to_owned(),
            labels: labels().collect(),
            derived_labels: derived_labels(view),
            classes: view.classes().iter().map(|class| class.name()).collect(),
            measures: view.measures().iter().map(|measure| measure.name()).collect(),
            filters: view.filters_text(),
            kept_labels: kept.map(|(label, _)| label).collect(),
            max_series: view.max_series(),
        }
    };
    Views { views: schema.configured().iter().map(of_view).collect() }
}
