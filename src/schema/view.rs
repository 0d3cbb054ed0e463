//! A view: one way to add up flows.

use std::sync::Arc;

use super::{
    bytes::{read_text, write_text},
    class::Class,
    dimension::{AsOf, Dimension, LabelRequest, Shown, UnknownLabel},
    filter::Filter,
    key::MAX_KEY_WIDTH,
    measure::Measure,
};

/// One way to add up flows: which classes are counted, by which dimensions, and in which measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    name: Arc<str>,
    dimensions: Vec<Dimension>,
    labels: Vec<ViewLabel>,
    classes: Vec<Class>,
    measures: Vec<Measure>,
    /// By dimension: whether `other` series keep the value.
    keeps: Vec<bool>,
    filters: Vec<Filter>,
    max_series: usize,
}

/// A label of a view's series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewLabel {
    /// Its name.
    pub name: Arc<str>,
    /// The place of its dimension in [`View::dimensions`].
    pub dimension: usize,
    /// What its value shows.
    pub shown: Shown,
    /// Whether `other` series keep its value.
    pub is_kept: bool,
}

/// Why a list of labels makes no view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// One of them makes no sense.
    #[error(transparent)]
    Unknown(#[from] UnknownLabel),
    /// The same label twice.
    #[error("{0} is listed twice: list it once")]
    Twice(String),
    /// The name of an AS without its number: ASes of the same name, or without one, would have the
    /// same labels.
    #[error(
        "{name} needs {number} beside it, since several ASes may have the same name: list that as well"
    )]
    NameAlone {
        /// The label with the name.
        name: String,
        /// The one with the number.
        number: String,
    },
    /// More than a key holds.
    #[error("a view has at most {} labels, not counting names of ASes: list fewer", MAX_KEY_WIDTH - 1)]
    TooMany,
}

impl View {
    /// The name of the original's view: the one that metric names don't mention.
    pub const ORIGINAL: &str = "flow";

    /// A view with all labels of these dimensions, whose `other` series keep the host name, unless that is
    /// all that they have.
    /// Their order, and that of classes and measures, says nothing.
    pub fn new(
        name: &str,
        dimensions: &[Dimension],
        classes: &[Class],
        measures: &[Measure],
    ) -> Self {
        let mut dimensions = dimensions.to_vec();
        // What is written in the order of the columns needs no sorting, neither for exposition nor
        // for remote write.
        dimensions.sort_by(|one, other| one.label().cmp(other.label()));
        let (mut classes, mut measures) = (classes.to_vec(), measures.to_vec());
        classes.sort_unstable();
        classes.dedup();
        measures.sort_unstable();
        measures.dedup();
        let (name, labels, keeps, filters) = (name.into(), Vec::new(), Vec::new(), Vec::new());
        let max_series = usize::MAX;
        let has_others = dimensions.len() > 1;
        View { name, dimensions, labels, classes, measures, keeps, filters, max_series }
            .keeping(|dimension| has_others && *dimension == Dimension::Hostname)
    }

    /// Has the `other` series keep the values of the dimensions for which `keeps` is true.
    #[must_use]
    pub fn keeping(mut self, keeps: impl Fn(&Dimension) -> bool) -> Self {
        self.keeps = self.dimensions.iter().map(keeps).collect();
        let labels = self.dimensions.iter().enumerate().flat_map(|(place, dimension)| {
            let is_kept = self.keeps[place];
            dimension.labels().map(move |label| ViewLabel {
                name: label.name.into(),
                dimension: place,
                shown: label.shown,
                is_kept,
            })
        });
        let mut labels: Vec<_> = labels.collect();
        labels.sort_by(|one, other| one.name.cmp(&other.name));
        self.labels = labels;
        self
    }

    /// Counts only flows that pass all of these filters.
    #[must_use]
    pub fn filtered(self, filters: Vec<Filter>) -> Self {
        View { filters, ..self }
    }

    /// Lets no further series begin while so many live; what gets none is counted in those for the
    /// rest.
    #[must_use]
    pub fn limited(self, max_series: usize) -> Self {
        View { max_series, ..self }
    }

    /// The dimensions that a list of labels asks for.
    ///
    /// # Errors
    /// If a label makes no sense or is listed twice, or if they are too many.
    pub fn dimensions_of<'l>(
        labels: impl IntoIterator<Item = &'l str>,
    ) -> Result<Vec<Dimension>, LabelsError> {
        let mut dimensions: Vec<Dimension> = Vec::new();
        let mut named: Vec<(AsOf, &str)> = Vec::new();
        for label in labels {
            match Dimension::of_label(label)? {
                LabelRequest::AsName(of) => {
                    if named.iter().any(|(other, _)| *other == of) {
                        return Err(LabelsError::Twice(label.to_owned()));
                    }
                    named.push((of, label));
                }
                LabelRequest::Dimension(dimension) => {
                    if dimensions.iter().any(|other| other.label() == dimension.label()) {
                        return Err(LabelsError::Twice(dimension.label().to_owned()));
                    }
                    dimensions.push(dimension);
                }
            }
        }
        for (of, name) in named {
            let number = Dimension::As { of, named: false };
            let Some(place) = dimensions.iter_mut().find(|dimension| **dimension == number) else {
                let number = number.label().to_owned();
                return Err(LabelsError::NameAlone { name: name.to_owned(), number });
            };
            *place = Dimension::As { of, named: true };
        }
        if dimensions.len() >= MAX_KEY_WIDTH {
            return Err(LabelsError::TooMany);
        }
        Ok(dimensions)
    }

    /// A view with the classes and measures of [`View::counted_bits`]; `None` if these are invalid.
    pub(super) fn of_bits(name: &str, dimensions: &[Dimension], counted: u8) -> Option<Self> {
        if dimensions.len() >= MAX_KEY_WIDTH {
            return None;
        }
        let (classes, measures) = (classes_of(counted), measures_of(counted)?);
        let classes: Vec<_> = classes.collect();
        let measures: Vec<_> = measures.collect();
        Some(View::new(name, dimensions, &classes, &measures))
    }

    /// Appends what tells its series apart, for [`View::read`].
    pub fn write(&self, out: &mut Vec<u8>) {
        write_text(&self.name, out);
        out.extend_from_slice(&[self.counted_bits(), self.dimensions.len() as u8]);
        for dimension in &self.dimensions {
            dimension.write(0, out);
        }
    }

    /// Reads a view from the beginning of `bytes` and moves on behind it. `None` if they hold none.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let name = read_text(bytes)?;
        let [counted, count, rest @ ..] = *bytes else { return None };
        *bytes = rest;
        let mut dimensions = Vec::new();
        for _ in 0..*count {
            let (&code, rest) = bytes.split_first()?;
            *bytes = rest;
            dimensions.push(Dimension::read(code, bytes)?);
        }
        Self::of_bits(name, &dimensions, *counted)
    }

    /// The original's view: bytes received and sent, by both ASes and the exporting device.
    pub fn original() -> Self {
        View::new(
            Self::ORIGINAL,
            &[Dimension::SOURCE_AS, Dimension::DESTINATION_AS, Dimension::Hostname],
            &[Class::Receive, Class::Transmit],
            &[Measure::Bytes],
        )
    }

    /// Whether the series of this view and of the other one have the same names, labels and counts.
    pub fn has_series_of(&self, other: &View) -> bool {
        self.name == other.name
            && self.counted_bits() == other.counted_bits()
            && self.dimensions == other.dimensions
    }

    /// Whether the series of `before` go on as series of this view: it counts the same flows by the
    /// same names, labels and measures. Series for the rest go on only if the same is kept as well.
    pub fn continues(&self, before: &View) -> bool {
        self.has_series_of(before) && self.filters_text() == before.filters_text()
    }

    /// Which flows it counts, in one line; empty if all. The same for all filters that let the same
    /// values pass.
    pub fn filters_text(&self) -> String {
        let mut texts: Vec<_> = self.filters.iter().map(Filter::text).collect();
        texts.sort_unstable();
        texts.join("; ")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dimensions, in the order of the columns.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The labels of its series, sorted by name, without the metric's name.
    pub fn labels(&self) -> &[ViewLabel] {
        &self.labels
    }

    /// By dimension: whether `other` series keep the value.
    pub fn keeps(&self) -> &[bool] {
        &self.keeps
    }

    /// What flows must pass to be counted.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// How many series there may be besides those for the rest.
    pub fn max_series(&self) -> usize {
        self.max_series
    }

    /// The classes that it counts, in the order in which they are exposed.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// What its series count, in the order of their counts.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// The class in which it counts flows of this one: internal ones as transmitted if it has no
    /// class for them. `None` if it does not count them.
    pub fn counted_as(&self, class: Class) -> Option<Class> {
        let has = |class: Class| self.classes.contains(&class).then_some(class);
        has(class).or_else(|| if class == Class::Internal { has(Class::Transmit) } else { None })
    }

    /// The place of a measure among the counts of its series.
    pub fn count_of(&self, measure: Measure) -> Option<usize> {
        self.measures.iter().position(|counted| *counted == measure)
    }

    /// Its classes and measures as a set of bits.
    pub(super) fn counted_bits(&self) -> u8 {
        let classes = self.classes.iter().fold(0, |bits, class| bits | class.bit());
        let measures = self.measures.iter().fold(0, |bits, measure| bits | measure.bit());
        classes << CLASSES_SHIFT | measures
    }

    /// Columns of its series' keys.
    pub fn key_width(&self) -> usize {
        1 + self.dimensions.len()
    }

    /// The name of a metric of this view.
    pub fn metric_name(&self, class: Class, measure: Measure) -> String {
        metric_name(&self.name, class, measure)
    }

    /// The help text of a metric of this view; as in the original where that has the metric.
    pub fn help(&self, class: Class, measure: Measure) -> String {
        let what = match measure {
            Measure::Bytes => "Bytes",
            Measure::Packets => "Packets",
            Measure::Flows => "Flows",
        };
        let way = match class {
            Class::Receive => "received",
            Class::Transmit => "transferred",
            Class::Internal => "exchanged between monitored networks",
            Class::Transit => "in transit",
        };
        if &*self.name == Self::ORIGINAL {
            format!("{what} {way}.")
        } else {
            format!("{what} {way}, in the view {}.", self.name)
        }
    }
}

/// Where in [`View::counted_bits`] the classes begin.
const CLASSES_SHIFT: u32 = 4;

/// The classes in [`View::counted_bits`].
pub(super) fn classes_of(counted: u8) -> impl Iterator<Item = Class> {
    let classes = counted >> CLASSES_SHIFT;
    Class::ALL.into_iter().filter(move |class| classes & class.bit() != 0)
}

/// The measures in [`View::counted_bits`]; `None` for an empty set, or with an unknown measure.
pub(super) fn measures_of(counted: u8) -> Option<impl Iterator<Item = Measure>> {
    let measures = counted & ((1 << CLASSES_SHIFT) - 1);
    let known = Measure::ALL.iter().fold(0, |bits, measure| bits | measure.bit());
    (measures != 0 && measures & !known == 0)
        .then(|| Measure::ALL.into_iter().filter(move |measure| measures & measure.bit() != 0))
}

/// The name of the metric of a class and a measure in the view of this name.
pub(super) fn metric_name(view: &str, class: Class, measure: Measure) -> String {
    let (class, measure) = (class.name(), measure.name());
    if view == View::ORIGINAL {
        format!("flow_{class}_{measure}_total")
    } else {
        format!("flow_{view}_{class}_{measure}_total")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_view_has_the_names_of_the_original_program() {
        let view = View::original();
        let labels: Vec<_> = view.labels().iter().map(|label| &*label.name).collect();
        assert_eq!(
            labels,
            ["destination_as", "destination_as_name", "hostname", "source_as", "source_as_name"]
        );
        let metrics = view.classes().iter().map(|&class| {
            (view.metric_name(class, Measure::Bytes), view.help(class, Measure::Bytes))
        });
        assert_eq!(
            metrics.collect::<Vec<_>>(),
            [
                ("flow_receive_bytes_total".to_owned(), "Bytes received.".to_owned()),
                ("flow_transmit_bytes_total".to_owned(), "Bytes transferred.".to_owned()),
            ]
        );
    }

    #[test]
    fn metrics_of_other_views_are_named_after_view_class_and_measure() {
        let view = View::new(
            "service",
            &[Dimension::Hostname],
            &[Class::Internal, Class::Transit],
            &[Measure::Packets, Measure::Flows],
        );
        assert_eq!(
            view.metric_name(Class::Internal, Measure::Packets),
            "flow_service_internal_packets_total"
        );
        assert_eq!(
            view.help(Class::Transit, Measure::Flows),
            "Flows in transit, in the view service."
        );
        assert_eq!(view.key_width(), 2);
    }
}
