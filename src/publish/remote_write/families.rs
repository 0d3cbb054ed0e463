//! The metadata of metrics: type and help.

use std::borrow::Cow;

use crate::{
    metrics::{Kind, Metrics},
    schema::{Class, Definition, Measure, Schema},
};

/// Which of the metrics of a [`Families`] table a series belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(u16);

impl FamilyId {
    /// The metric at this place of a table, which begins with the flow metrics of its schema.
    pub const fn new(place: u16) -> Self {
        FamilyId(place)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is known of a metric: its metadata in either protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// The metric's name; a counter's ends in `_total`, a histogram's has no suffix.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: Kind,
    /// Its help text.
    pub help: Cow<'static, str>,
    /// Its unit, in the plural; empty where it has none.
    pub unit: &'static str,
}

/// All metrics whose series are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Families {
    /// The last one stands for all flow metrics that no configured view has.
    families: Vec<FamilyMetadata>,
    /// View, class and measure of the flow metrics, with which the table begins.
    flow: Vec<(String, Class, Measure)>,
}

impl Families {
    /// The flow metrics of a schema alone.
    pub fn flow(schema: &Schema) -> Self {
        Families::with(schema, std::iter::empty())
    }

    /// The flow metrics of a schema, the program's own, and those of its process.
    pub fn all(schema: &Schema) -> Self {
        // Doc comments, of which help texts are made, begin with a space.
        let own = Metrics::DECLARED.iter().chain(Metrics::PROCESS).map(|own| {
            FamilyMetadata::new(own.name.into(), own.kind, own.help.trim_start().into())
        });
        Families::with(schema, own)
    }

    fn with(schema: &Schema, own: impl Iterator<Item = FamilyMetadata>) -> Self {
        let families = schema.families().iter().map(|family| {
            let (name, help) = (family.name.clone(), family.help.clone());
            FamilyMetadata::new(name.into(), Kind::Counter, help.into())
        });
        let retired = FamilyMetadata::new("".into(), Kind::Counter, "".into());
        let flow = schema.families().iter().map(|family| {
            let view = schema.views()[usize::from(family.view)].name();
            (view.to_owned(), family.class, family.measure)
        });
        Families { families: families.chain(own).chain([retired]).collect(), flow: flow.collect() }
    }

    /// The metric to which the count of a series in this place belongs; `None` if no configured view
    /// has it.
    pub fn of(&self, definition: &Definition<'_>, count: usize) -> Option<FamilyId> {
        let measure = definition.measures().nth(count)?;
        let place = self.flow.iter().position(|(view, class, counted)| {
            (&**view, *class, *counted) == (definition.view, definition.class, measure)
        })?;
        u16::try_from(place).ok().map(FamilyId)
    }

    /// Stands for the metrics to which counts of series belong if no configured view has them. They
    /// are counters, and nothing else is known of them.
    pub fn retired(&self) -> FamilyId {
        FamilyId((self.families.len() - 1) as u16)
    }

    /// The metric of this name.
    pub fn find(&self, name: &str) -> Option<FamilyId> {
        let place = self.iter().position(|family| family.name == name)?;
        u16::try_from(place).ok().map(FamilyId)
    }

    /// What is known of a metric.
    ///
    /// # Panics
    /// If the id comes from a larger table.
    pub fn get(&self, id: FamilyId) -> &FamilyMetadata {
        &self.families[id.index()]
    }

    /// All metrics, in the order of their ids, without [`Families::retired`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FamilyMetadata> {
        self.families[..self.retired().index()].iter()
    }
}

impl FamilyMetadata {
    fn new(name: Cow<'static, str>, kind: Kind, help: Cow<'static, str>) -> Self {
        // Prometheus names end in the unit, but for the suffix of counters.
        let stem = name.strip_suffix("_total").unwrap_or(&name);
        let unit = ["bytes", "seconds"]
            .into_iter()
            .find(|&unit| stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')));
        FamilyMetadata { name, kind, help, unit: unit.unwrap_or_default() }
    }
}
