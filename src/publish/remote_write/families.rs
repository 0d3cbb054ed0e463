//! What is known of the metrics that series belong to.

use crate::{
    metrics::{Kind, Metrics},
    traffic::Direction,
};

/// Which of the metrics of a [`Families`] table a series belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(u8);

impl FamilyId {
    /// The flow metric of a direction; every table begins with these.
    pub const fn flow(direction: Direction) -> Self {
        FamilyId(direction as u8)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is known of a metric: its metadata in either protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// The metric's name; a counter's ends in `_total`, a histogram's has no suffix.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its help text.
    pub help: &'static str,
    /// Its unit, in the plural; empty where it has none.
    pub unit: &'static str,
}

/// All metrics whose series are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Families {
    families: Vec<FamilyMetadata>,
}

impl Families {
    /// The flow metrics alone.
    pub fn flow() -> Self {
        let families = Direction::ALL.map(|direction| {
            FamilyMetadata::new(direction.metric(), Kind::Counter, direction.help())
        });
        Families { families: families.into() }
    }

    /// The flow metrics, the program's own, and those of its process.
    pub fn all() -> Self {
        let mut families = Families::flow();
        let own = Metrics::DECLARED.iter().chain(Metrics::PROCESS);
        // Doc comments, of which help texts are made, begin with a space.
        let own = own.map(|own| FamilyMetadata::new(own.name, own.kind, own.help.trim_start()));
        families.families.extend(own);
        families
    }

    /// The metric of this name.
    pub fn find(&self, name: &str) -> Option<FamilyId> {
        let place = self.families.iter().position(|family| family.name == name)?;
        u8::try_from(place).ok().map(FamilyId)
    }

    /// What is known of a metric.
    ///
    /// # Panics
    /// If the id comes from a larger table.
    pub fn get(&self, id: FamilyId) -> &FamilyMetadata {
        &self.families[id.index()]
    }

    /// All metrics, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FamilyMetadata> {
        self.families.iter()
    }
}

impl FamilyMetadata {
    fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        // Prometheus names end in the unit, but for the suffix of counters.
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let unit = ["bytes", "seconds"]
            .into_iter()
            .find(|&unit| stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')));
        FamilyMetadata { name, kind, help, unit: unit.unwrap_or_default() }
    }
}
