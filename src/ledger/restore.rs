//! Rebuilds the series table from the journal's state at startup.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    asn::AsNames,
    clock::UnixMs,
    journal::State,
    schema::{Definition, MAX_VALUE_BYTES, Schema, Value, View},
};

use super::{
    early::{self, EarlyCounts},
    error::StoreError,
    series_table::SeriesTable,
};

/// What the ledger starts from.
#[derive(Debug)]
pub(super) struct Restored {
    /// As it was at the state's time.
    pub(super) table: SeriesTable,
    /// What was counted for later ticks.
    pub(super) early: EarlyCounts,
    /// What was counted for later ticks in series of retired views.
    pub(super) early_retired: EarlyCounts,
    /// Slots of series that can't continue under their labels, besides those of retired views. They
    /// end once the series table's state is the journal's newest.
    pub(super) ending: Vec<usize>,
}

/// Whether the program can start with this state, as far as it does not depend on flags.
///
/// # Errors
/// [`StoreError::Definition`] and [`StoreError::EarlyCounts`], as at the start.
pub fn check(state: &State) -> Result<(), StoreError> {
    restore(state, &Arc::new(Schema::original()), |_| true, &AsNames::none()).map(drop)
}

/// The series table of a state. Series keep the names that their definitions record. Those of views
/// that `schema` does not have come as those of retired views, and so do those of its views that
/// counted other flows before (`goes_on` is false).
pub(super) fn restore(
    state: &State,
    schema: &Arc<Schema>,
    goes_on: impl Fn(&View) -> bool,
    names: &AsNames,
) -> Result<Restored, StoreError> {
    let early = early::Recorded::read(&state.early_counts).ok_or(StoreError::EarlyCounts)?;
    let kept: Vec<bool> = schema.configured().iter().map(goes_on).collect();
    let mut views = RecordedViews { schema, kept, retired: Vec::new() };
    let names = Arc::new(AsNames::of(views.read(state)?).over(names));
    for view in early.views() {
        if views.place_of(|known| known.has_series_of(view)).is_none() {
            views.retired.push(view.clone());
        }
    }
    let schema_of_all = views.schema().ok_or(StoreError::EarlyCounts)?;
    let place_of = |view: &View| views.place_of(|known| known.has_series_of(view));
    let configured = |view: &View| place_of(view).filter(|&place| !views.is_retired(place));
    let retired = |view: &View| place_of(view).filter(|&place| views.is_retired(place));
    let early_retired = early.counts(&schema_of_all, retired).ok_or(StoreError::EarlyCounts)?;
    let early = early.counts(schema, configured).ok_or(StoreError::EarlyCounts)?;
    // Before the first snapshot, the state's time is that of the journal, not of what was counted; and
    // before the time of the first data was known, snapshots had the epoch.
    let time = Some(state.time).filter(|&time| state.sequence > 0 && time != UnixMs::EPOCH);
    let mut table = SeriesTable::new(schema_of_all, Arc::clone(&names), time);
    let positions = state.positions.iter();
    table.restore(state.sequence, positions.map(|(&(_, partition), &next)| (partition, next)));
    let mut ending = Vec::new();
    for slot in 0..state.slots() {
        let Some(series) = state.get(slot) else {
            table.restore_vacant();
            continue;
        };
        let definition = read(slot, series.definition)?;
        let view = views.place_of(|view| definition.is_of(view)).ok_or_else(|| misfit(slot))?;
        // A series whose AS had no name and has one now can't continue under that name; nor can
        // one with a label value from a version that did not limit them.
        let is_renamed = definition.names().any(|(asn, name)| names.get(asn) != name);
        let is_too_long = definition.columns.iter().any(
            |column| matches!(column.value, Value::Text(text) if text.len() > MAX_VALUE_BYTES),
        );
        if is_renamed || is_too_long {
            ending.push(slot as usize);
        }
        let times = (series.start, series.changed);
        if !table.restore_series(view, &definition, times, series.counts) {
            let what = "another series has the same";
            return Err(StoreError::Definition { series: slot, what });
        }
    }
    table.settled();
    Ok(Restored { table, early, early_retired, ending })
}

/// The views of the journal's series.
struct RecordedViews<'c> {
    schema: &'c Schema,
    /// Which of the configured views have series in the journal that go on.
    kept: Vec<bool>,
    /// Views of the other series, each once. Their places are behind those of the configured ones.
    retired: Vec<View>,
}

impl RecordedViews<'_> {
    /// Finds the views of all series. Returns the names of ASes, each AS' once: there may be millions
    /// of series of the same AS.
    fn read<'s>(&mut self, state: &'s State) -> Result<BTreeMap<u32, &'s str>, StoreError> {
        let mut names = BTreeMap::new();
        for series in state.series() {
            let definition = read(series.id, series.definition)?;
            for (asn, name) in definition.names() {
                if name.contains(char::is_control) {
                    let what = "a name has control characters";
                    return Err(StoreError::Definition { series: series.id, what });
                }
                if !name.is_empty() {
                    names.insert(asn, name);
                }
            }
            if self.place_of(|view| definition.is_of(view)).is_none() {
                let view = definition.to_view().filter(|view| definition.is_of(view));
                self.retired.push(view.ok_or_else(|| misfit(series.id))?);
            }
        }
        Ok(names)
    }

    /// The place of a view whose series are in the journal.
    fn place_of(&self, is_wanted: impl Fn(&View) -> bool) -> Option<u8> {
        let configured = self.schema.configured();
        let kept = configured.iter().zip(&self.kept).map(|(view, &is_kept)| (view, is_kept));
        let mut all = kept.chain(self.retired.iter().map(|view| (view, true)));
        // There is a schema of them, or these places are not used.
        all.position(|(view, is_known)| is_known && is_wanted(view)).map(|place| place as u8)
    }

    fn is_retired(&self, view: u8) -> bool {
        usize::from(view) >= self.kept.len()
    }

    /// A schema that has all of them; `None` if they are too many.
    fn schema(&self) -> Option<Arc<Schema>> {
        let all = self.kept.len() + self.retired.len();
        (all <= Schema::MAX_VIEWS)
            .then(|| Arc::new(self.schema.with_retired(self.retired.iter().cloned())))
    }
}

fn read(series: u32, definition: &[u8]) -> Result<Definition<'_>, StoreError> {
    Definition::read(definition).ok_or_else(|| misfit(series))
}

fn misfit(series: u32) -> StoreError {
    StoreError::Definition { series, what: "it does not have the form of a definition" }
}
