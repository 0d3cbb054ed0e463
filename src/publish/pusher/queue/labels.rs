//! Gives the journal's series the labels that they have at the endpoint: external labels and
//! relabelling.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::{borrow::Cow, hash::BuildHasher, sync::Arc};

use crate::{
    publish::relabel::{self, RelabelRule},
    publish::remote_write::{ExternalLabels, Families, FamilyId, Group, LabelPool, LabelSet},
    schema::{Definition, Dimension, Value},
    slots::give_back_index,
};

/// The label that holds the metric's name.
pub(super) const METRIC_NAME: &str = "__name__";

/// Gives series the labels that they have at one endpoint.
#[derive(Debug, Clone)]
pub(in crate::publish::pusher) struct Labeler {
    families: Arc<Families>,
    external: ExternalLabels,
    relabel: Vec<RelabelRule>,
}

/// The labels of a series by one of its counts, and what else its definition says.
pub(super) struct Labelled<'l> {
    /// Sorted by name, unique, none empty.
    pub(super) labels: Vec<(&'l str, &'l str)>,
    pub(super) family: FamilyId,
    pub(super) group: Group,
}

impl Labeler {
    pub(in crate::publish::pusher) fn new(
        families: Arc<Families>,
        external: ExternalLabels,
        relabel: Vec<RelabelRule>,
    ) -> Self {
        Labeler { families, external, relabel }
    }

    /// The metrics to which series belong.
    pub(super) fn families(&self) -> &Families {
        &self.families
    }

    /// Changes when the same series get different labels.
    pub(super) fn fingerprint(&self) -> u32 {
        crc32fast::hash(format!("{:?}{:?}", self.external, self.relabel).as_bytes())
    }

    /// Hands the labels that a series has by one of its counts to `then`: `None` if that is not for
    /// this endpoint.
    ///
    /// A metric that no configured view has keeps its name: the endpoint is still to be told how its
    /// series end.
    pub(super) fn labels<T>(
        &self,
        definition: &Definition<'_>,
        count: usize,
        then: impl FnOnce(Option<Labelled<'_>>) -> T,
    ) -> T {
        let configured = self.families.of(definition, count);
        let name = match configured {
            Some(family) => Cow::Borrowed(&*self.families.get(family).name),
            None => definition.metric_names().nth(count).unwrap_or_default().into(),
        };
        let family = configured.unwrap_or_else(|| self.families.retired());
        let mut labels = vec![(METRIC_NAME, &*name)];
        labels.extend(definition.labels());
        let as_numbers = definition.columns.iter().filter_map(|column| {
            match (&column.dimension, column.value) {
                (Dimension::As { .. }, Value::Number { number, .. }) => Some(number),
                _ => None,
            }
        });
        let group = as_numbers.fold(Group::default(), Group::with);
        self.finish(labels, |labels| then(labels.map(|labels| Labelled { labels, family, group })))
    }

    /// Adds the external labels to those of a series (sorted by name), then applies the rules, in
    /// Prometheus' order, and hands the result to `then`: `None` if the series is not for this
    /// endpoint, or its labels take more than [`relabel::MAX_LABELS_BYTES`], which is possible with
    /// values from versions that did not limit them.
    pub(super) fn finish<T>(
        &self,
        labels: Vec<(&str, &str)>,
        then: impl FnOnce(Option<Vec<(&str, &str)>>) -> T,
    ) -> T {
        let labels = self.external.merge(labels);
        let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > relabel::MAX_LABELS_BYTES {
            return then(None);
        }
        if self.relabel.is_empty() {
            return then(Some(labels));
        }
        let mut owned: Vec<(String, String)> =
            labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let is_kept = relabel::apply(&self.relabel, &mut owned);
        let labels = || owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        then(is_kept.then(labels))
    }
}

/// Finds the series with given labels, by slot.
#[derive(Debug, Default)]
pub(super) struct Identities {
    hasher: DefaultHashBuilder,
    series: HashTable<u32>,
}

impl Identities {
    /// The series with these labels. `set_of` gives the label set of a series.
    pub(super) fn find(
        &self,
        pool: &LabelPool,
        labels: &[(&str, &str)],
        set_of: impl Fn(u32) -> LabelSet,
    ) -> Option<u32> {
        let same = |&slot: &u32| pool.labels(set_of(slot)).eq(labels.iter().copied());
        self.series.find(self.hash(labels.iter().copied()), same).copied()
    }

    /// Adds a series, whose labels no other one has.
    pub(super) fn insert(&mut self, pool: &LabelPool, slot: u32, set_of: impl Fn(u32) -> LabelSet) {
        let Identities { hasher, series } = self;
        let hash = |slot| hash(hasher, pool.labels(set_of(slot)));
        series.insert_unique(hash(slot), slot, |&slot| hash(slot));
    }

    pub(super) fn remove(&mut self, pool: &LabelPool, slot: u32, set: LabelSet) {
        let hash = self.hash(pool.labels(set));
        if let Ok(entry) = self.series.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// Gives memory back that removed series took.
    pub(super) fn give_back(&mut self, pool: &LabelPool, set_of: impl Fn(u32) -> LabelSet) {
        let Identities { hasher, series } = self;
        give_back_index(series, |&slot| hash(hasher, pool.labels(set_of(slot))));
    }

    fn hash<'l>(&self, labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
        hash(&self.hasher, labels)
    }
}

fn hash<'l>(hasher: &DefaultHashBuilder, labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut state = hasher.build_hasher();
    for label in labels {
        label.hash(&mut state);
    }
    state.finish()
}
