//! The metrics that follow from a schema.

use super::{class::Class, measure::Measure};

/// A metric of a schema: one count of all series of one view and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The view's place in the schema.
    pub view: u8,
    /// Which of the view's classes.
    pub class: Class,
    /// What it counts.
    pub measure: Measure,
    /// The measure's place among the counts of a series.
    pub count: usize,
    /// The metric's name.
    pub name: String,
    /// The metric's help text.
    pub help: String,
}
